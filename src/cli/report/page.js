// Renders the page. Elements are created one by one and texts are set as text, so that no recorded text becomes markup.

/** How many rows are created at once; scrolling creates more. */
const ROWS = 200;
/** A longer text is truncated at first, in characters. */
const MAX_SHOWN = 6000;
/** How long a search may block the page, in milliseconds. */
const SLICE = 30;

const byId = (id) => document.getElementById(id);
const index = parsed(byId("index").textContent);
const recordings = index.recordings;
const header = byId("top");
const listElement = byId("list");
const detail = byId("detail");
const search = byId("search");

/** Creates an element with class names and children; empty children are skipped. */
function make(tag, names, ...children) {
  const element = document.createElement(tag);
  if (names) element.className = names;
  element.append(...children.filter((one) => one !== null && one !== undefined && one !== ""));
  return element;
}

function button(label, onClick) {
  const element = make("button", "", label);
  element.type = "button";
  element.addEventListener("click", onClick);
  return element;
}

const recordingAt = (at) => parsed(byId(`r${at}`).textContent);

// The header: a summary and the filters

function writeHead() {
  document.title = `${index.location}: recordings`;
  const present = recordings.filter((one) => one.change !== "gone");
  const sum = (name) => present.reduce((total, one) => total + (one.usage?.[name] ?? 0), 0);
  const responses = present.reduce((sum, one) => sum + (one.statuses?.length ?? 0), 0);
  const summary = [
    index.location,
    counted(present.length, "recording"),
    counted(responses, "response"),
    ...inWords({ input: sum("input"), output: sum("output") }),
    costOf(present),
  ];
  const damaged = recordings.filter((one) => one.is_damaged).length;
  if (damaged) summary.push(`${damaged} damaged`);
  if (index.since) summary.push(`compared with ${index.since}`);
  byId("about").textContent = summary.filter(Boolean).join(" · ");
  const { date, source } = index.prices;
  byId("about").title = `written ${index.at} by ${index.by}; cost estimated at the prices of ${date}, from ${source}`;
  if (index.problems.length) {
    const problems = make(
      "details",
      "note",
      make("summary", "bad", `${counted(index.problems.length, "recording")} of ${index.since} cannot be read`),
    );
    problems.append(make("pre", "", index.problems.join("\n")));
    header.append(problems);
  }
}

/** The cost of recordings, with `>` when a price is unknown; empty when there is no cost. */
function costOf(recordings) {
  const known = recordings.reduce((sum, one) => sum + (one.cost ?? 0), 0);
  const unknown = recordings.some((one) => one.cost === null);
  if (!known) return unknown ? "no price" : "";
  return `${unknown ? "> " : ""}${inDollars(known)}`;
}

const statusKinds = (one) =>
  one.is_damaged ? ["damaged"] : [...new Set(one.statuses.map((status) => `${String(status)[0]}xx`))];

/** The filters: a label, and the values of a recording. */
const FILTERS = [
  ["Endpoint", (one) => [one.endpoint]],
  ["Scope", (one) => [one.scope || "(none)"]],
  ["Model", (one) => [one.model ?? "(none)"]],
  ["Status", statusKinds],
  ["Test", (one) => [one.test ?? "(none)"]],
  ["Change", (one) => (one.change ? [one.change] : [])],
];
const chosen = new Map();
let onlyChanged = false;

const isChanged = (one) => one.change !== undefined && one.change !== "same";

function writeFilters() {
  const form = byId("filters");
  form.addEventListener("submit", (event) => event.preventDefault());
  for (const [label, valuesOf] of FILTERS) {
    const numbers = new Map();
    for (const one of recordings)
      for (const value of valuesOf(one)) numbers.set(value, (numbers.get(value) ?? 0) + 1);
    if (numbers.size < 2) continue;
    const select = make("select", "", new Option("all", ""));
    select.id = `filter-${label.toLowerCase()}`;
    for (const value of [...numbers.keys()].sort())
      select.append(new Option(`${value} (${numbers.get(value)})`, `=${value}`));
    select.addEventListener("change", () => {
      if (select.value) chosen.set(valuesOf, select.value.slice(1));
      else chosen.delete(valuesOf);
      narrow();
    });
    form.append(make("label", "", label, select));
  }
  if (index.since) {
    const box = make("input");
    box.type = "checkbox";
    box.id = "only-changed";
    box.addEventListener("change", () => {
      onlyChanged = box.checked;
      narrow();
    });
    form.append(make("label", "check", box, "Changed only"));
  }
  search.addEventListener("input", narrow);
}

// The list

/** The positions of the recordings that match, and how many of them have a row. */
let shown = [];
let rowCount = 0;
const texts = [];
let searches = 0;

const textOf = (at) => (texts[at] ??= searchable(recordings[at].name, recordingAt(at)));

/** The words to search for; words in quotes are one phrase. */
const searchWords = () =>
  [...search.value.toLowerCase().matchAll(/"([^"]+)"?|(\S+)/g)].map((found) => found[1] ?? found[2]);

/** Shows what matches the filters and the search. A long search pauses so that the page stays responsive. */
function narrow() {
  const current = (searches += 1);
  const words = searchWords();
  const matches = (one) =>
    (!onlyChanged || isChanged(one)) && [...chosen].every(([valuesOf, value]) => valuesOf(one).includes(value));
  const candidates = [...recordings.keys()].filter((at) => matches(recordings[at]));
  let next = 0;
  shown = [];
  rowCount = 0;
  listElement.replaceChildren();
  listElement.scrollTop = 0;
  const searchSlice = () => {
    if (current !== searches) return;
    const until = performance.now() + SLICE;
    while (next < candidates.length && performance.now() < until) {
      const at = candidates[next++];
      if (words.every((word) => textOf(at).includes(word))) shown.push(at);
    }
    const isDone = next === candidates.length;
    if (rowCount < ROWS) writeRows();
    byId("count").textContent =
      `${isDone ? "" : "searching… "}${shown.length.toLocaleString("en")} of ${counted(recordings.length, "recording")}`;
    if (!isDone) setTimeout(searchSlice);
  };
  searchSlice();
}

function writeRows(upTo = ROWS) {
  const end = Math.min(shown.length, Math.max(upTo, rowCount));
  listElement.append(...shown.slice(rowCount, end).map(row));
  rowCount = end;
  endObserver.disconnect();
  if (rowCount < shown.length && listElement.lastElementChild) endObserver.observe(listElement.lastElementChild);
}

const endObserver = new IntersectionObserver((entries) => {
  if (entries.some((entry) => entry.isIntersecting)) writeRows(rowCount + ROWS);
});

/** The words in the name of the file, or the request line when the name has only the method. */
function titleOf({ name, line }) {
  const words = name.replace(/^.*\//, "").replace(/(-[0-9a-f]{16})?\.yaml$/, "");
  return line && /^(get|post|put|patch|delete)$/.test(words) ? line : words.replaceAll("-", " ");
}

function badges(one) {
  const elements = [];
  if (one.is_damaged) elements.push(make("span", "badge bad", "damaged"));
  for (const status of new Set(one.statuses ?? []))
    if (status >= 400) elements.push(make("span", "badge bad", String(status)));
  if (isChanged(one))
    elements.push(make("span", one.change === "only volatile fields" ? "badge quiet" : "badge changed", one.change));
  return elements;
}

function row(at) {
  const one = recordings[at];
  const where = make(
    "span",
    "where",
    make("span", "", one.endpoint),
    one.scope && make("span", "", one.scope),
    one.model && make("span", "", one.model),
  );
  const [usage] = inWords(one.usage ?? {});
  if (usage) where.append(make("span", "", usage.replace(/ \(.*/, "")));
  if (one.statuses?.length > 1) where.append(make("span", "", counted(one.statuses.length, "response")));
  const link = make("a", "", make("span", "first", make("span", "title", titleOf(one)), ...badges(one)), where);
  link.href = addressOf(at);
  link.title = one.name;
  link.dataset.at = at;
  if (at === open) link.setAttribute("aria-current", "true");
  return make("li", "", link);
}

const addressOf = (at) => `#/${encodeURIComponent(recordings[at].name)}`;
const linkOf = (at) => listElement.querySelector(`a[data-at="${at}"]`);

/** Scrolls the row of a recording into view, and creates it if needed. */
function showRow(at) {
  const position = shown.indexOf(at);
  if (position >= rowCount) writeRows(position + ROWS);
  linkOf(at)?.scrollIntoView({ block: "nearest" });
}

function focusRow(at) {
  showRow(at);
  linkOf(at)?.focus({ preventScroll: true });
}

// One recording

let open = -1;
let stopPlaying = () => {};

/** Shows the recording that the address names. */
function showAddressed() {
  const name = /^#\/(.*)$/.exec(location.hash)?.[1];
  let decoded;
  try {
    decoded = name === undefined ? undefined : decodeURIComponent(name);
  } catch {
    decoded = name;
  }
  const before = open;
  open = decoded === undefined ? -1 : recordings.findIndex((one) => one.name === decoded);
  linkOf(before)?.removeAttribute("aria-current");
  if (open >= 0 && !isNarrow()) showRow(open);
  linkOf(open)?.setAttribute("aria-current", "true");
  document.body.classList.toggle("is-open", open >= 0);
  stopPlaying();
  if (open < 0) {
    detail.replaceChildren(make("p", "empty", recordings.length ? "Choose a recording." : "No recordings."));
    if (before >= 0) focusRow(before);
    return;
  }
  detail.replaceChildren(...detailOf(open));
  detail.setAttribute("aria-label", titleOf(recordings[open]));
  detail.scrollTop = 0;
  if (isNarrow()) scrollTo(0, 0);
  if (before !== open) detail.focus({ preventScroll: true });
  highlight();
}

const isNarrow = () => matchMedia("(max-width: 52rem)").matches;
const close = () => (location.hash = "");

/** Opens the recording at this distance from the open one in the list. */
function step(by) {
  const to = shown[shown.indexOf(open) + by];
  if (to !== undefined && shown.includes(open)) location.hash = addressOf(to);
}

function detailOf(at) {
  const one = recordings[at];
  const recording = recordingAt(at);
  const bar = make(
    "div",
    "bar",
    button("‹ Back to the list", close),
    button("Previous", () => step(-1)),
    button("Next", () => step(1)),
  );
  const head = make("div", "", make("h2", "", titleOf(one)), facts(one, recording));
  if (recording.error) {
    return [bar, head, make("section", "", make("pre", "box bad", recording.error))];
  }
  const parts = [bar, head];
  if (recording.differences) parts.push(...changes(one, recording));
  parts.push(requestOf(recording));
  recording.responses.forEach((response, number) =>
    parts.push(responseOf(response, number, recording.responses.length)),
  );
  return parts;
}

function facts(one, recording) {
  const element = make("div", "facts");
  const add = (...children) => element.append(make("span", "", ...children));
  element.append(...badges(one));
  if (recording.line) add(make("code", "", recording.line));
  if (one.model) add(one.model);
  if (one.usage) inWords(one.usage).forEach((words) => add(words));
  if (costOf([one])) add(costOf([one]));
  if (recording.at) add(`recorded ${recording.at}`, recording.from ? ` from ${recording.from}` : "");
  if (recording.test) add(`by ${recording.test}`);
  add(make("code", "", one.name));
  return element;
}

function requestOf(recording) {
  const section = make("section", "", make("div", "line", make("h3", "", "Request")));
  const read = attempt(() => readRequest(recording.body), { settings: [], tools: [], turns: bodyTurns(recording.body) });
  if (read.settings.length) {
    section.append(make("div", "settings", ...read.settings.map(setting)));
  }
  if (read.tools.length) section.append(toolsOf(read.tools));
  section.append(turnsOf(read.turns), raw("Raw request", [recording.line], recording.body));
  return section;
}

/** The result of `read`, or `fallback` when it throws: a recording can have any content. */
function attempt(read, fallback) {
  try {
    return read();
  } catch (error) {
    console.warn(error);
    return fallback;
  }
}

const bodyTurns = (body) => [{ who: "body", blocks: bodyBlocks(body, "Body") }];

function setting([name, value]) {
  const brief = typeof value === "string" ? value : JSON.stringify(value);
  if (typeof value !== "object" || value === null || brief.length < 60) {
    return make("span", "", make("b", "", `${name} `), brief);
  }
  return lazy("", make("b", "", name), () => jsonOf(brief));
}

function toolsOf(tools) {
  const nameOf = (tool) => String(tool?.function?.name ?? tool?.name ?? tool?.type ?? "?");
  const label = `${counted(tools.length, "tool")}: ${tools.map(nameOf).join(", ")}`;
  return lazy("tools", label, () =>
    make(
      "div",
      "",
      ...tools.map((tool) => {
        const described = tool?.function?.description ?? tool?.description;
        const box = make(
          "div",
          "",
          make("h3", "", nameOf(tool)),
          described && make("p", "note text", String(described)),
        );
        const rest = tool?.function?.parameters ?? tool;
        box.append(jsonOf(JSON.stringify(rest)));
        return box;
      }),
    ),
  );
}

function responseOf(response, number, of) {
  const title = of > 1 ? `Response ${number + 1} of ${of}` : "Response";
  const status = make("span", response.status < 400 ? "good" : "bad", `${response.status} ${response.reason ?? ""}`);
  const section = make(
    "section",
    "",
    make("div", "line", make("h3", "", title), status, make("span", "note", timingOf(response))),
  );
  section.append(responseTurns(response));
  section.append(raw("Raw response", headOf(response), response.body));
  return section;
}

function timingOf(response) {
  const last = response.timing_ms.at(-1);
  const parts = [last ? inSeconds(last) : "", ...inWords(response.usage ?? {})];
  if (isStream(response)) parts.push(counted(response.timing_ms.length, "event"));
  return parts.filter(Boolean).join(" · ");
}

/** The turns of a response; a stream gets a player. */
function responseTurns(response) {
  const holder = make("div");
  const show = (content) => turnsOf(attempt(() => readContent(content, response), bodyTurns(response.body)));
  holder.append(show(attempt(() => contentOf(response))));
  if (!isStream(response) || response.body?.text === undefined || !(response.timing_ms.at(-1) > response.timing_ms[0]))
    return holder;
  holder.prepend(player(response, (content) => holder.lastElementChild.replaceWith(show(content))));
  return holder;
}

/** A canvas with a mark for each event, and a function that draws it for a given time. */
function timeline(times) {
  const last = times.at(-1);
  const canvas = make("canvas");
  const draw = (now) => {
    const [width, height] = [canvas.clientWidth * devicePixelRatio, canvas.clientHeight * devicePixelRatio];
    [canvas.width, canvas.height] = [width, height];
    const pen = canvas.getContext("2d");
    const style = getComputedStyle(canvas);
    const x = (time) => 2 + (time / last) * (width - 4);
    for (const time of times) {
      pen.fillStyle = style.getPropertyValue(time <= now ? "--accent" : "--faint");
      pen.fillRect(x(time) - 1, height * 0.2, 2, height * 0.6);
    }
    if (now < last) {
      pen.fillStyle = style.getPropertyValue("--ink");
      pen.fillRect(x(now), 0, 1, height);
    }
  };
  canvas.setAttribute("role", "img");
  canvas.setAttribute(
    "aria-label",
    `${counted(times.length, "event")}, the first after ${inSeconds(times[0])}, the last after ${inSeconds(last)}`,
  );
  new ResizeObserver(() => draw(last)).observe(canvas);
  return [canvas, draw];
}

/** A timeline, and a button that plays the response at the recorded pace. */
function player(response, show) {
  const times = response.timing_ms;
  const last = times.at(-1);
  const blocks = eventsOf(response);
  const [canvas, draw] = timeline(times);
  const range = `first ${inSeconds(times[0])}, last ${inSeconds(last)}`;
  const clock = make("span", "", range);
  let isPlaying = false;
  const setIsPlaying = (value) => {
    isPlaying = value;
    play.textContent = value ? "■ Stop" : "▶ Play";
    play.setAttribute("aria-label", value ? "Stop playing" : "Play at the recorded pace");
  };
  const finish = () => {
    setIsPlaying(false);
    const complete = new Stream();
    blocks.forEach((event) => complete.add(event));
    show(complete.content());
    draw(last);
    clock.textContent = range;
  };
  const start = () => {
    stopPlaying();
    setIsPlaying(true);
    stopPlaying = () => isPlaying && finish();
    const since = performance.now();
    const stream = new Stream();
    let next = 0;
    show(stream.content());
    const frame = () => {
      if (!isPlaying) return;
      const now = performance.now() - since;
      const before = next;
      while (next < blocks.length && (times[next] ?? last) <= now) stream.add(blocks[next++]);
      if (next > before) show(stream.content());
      draw(Math.min(now, last));
      clock.textContent = inSeconds(Math.round(Math.min(now, last)));
      if (next < blocks.length) requestAnimationFrame(frame);
      else finish();
    };
    requestAnimationFrame(frame);
  };
  const play = button("", () => (isPlaying ? finish() : start()));
  setIsPlaying(false);
  return make("div", "pace", play, canvas, clock);
}

// Turns and their blocks

const turnsOf = (turns) => make("div", "turns", ...turns.map(turnOf));

function turnOf({ who, name, blocks, notes }) {
  const role = ["user", "assistant", "tool", "error"].includes(who)
    ? who
    : who === "transcript"
      ? "assistant"
      : "other";
  const small = [name, ...(notes ?? [])].filter(Boolean).map((one) => make("small", "", String(one)));
  const inside = blocks.length ? blocks.map(blockOf) : [make("span", "note", "(empty)")];
  return make("div", `turn ${role}`, make("div", "who", who, ...small), make("div", "content", ...inside));
}

function blockOf(block) {
  switch (block.kind) {
    case "text":
      return clipped(block.text, "div", "text");
    case "json":
      return make("div", "box", jsonOf(block.text));
    case "call": {
      const id = block.id && make("small", "", ` ${block.id}`);
      return make(
        "div",
        "box",
        make("h4", "", `calls ${block.name}`, id),
        parsed(block.text) === undefined ? clipped(block.text, "pre", "") : jsonOf(block.text),
      );
    }
    case "thinking":
      return make("div", "thinking", make("span", "note", "thinking"), ...block.blocks.map(blockOf));
    case "image": {
      const image = make("img");
      image.alt = block.text;
      image.src = block.url;
      return make("figure", "", image, make("figcaption", "", block.text));
    }
    case "audio": {
      const audio = make("audio");
      audio.controls = true;
      audio.preload = "metadata";
      audio.src = block.url;
      audio.setAttribute("aria-label", block.text);
      return make("figure", "", audio, make("figcaption", "", block.text));
    }
    case "table":
      return tableOf(block);
    default:
      return make("div", "note", block.text);
  }
}

function tableOf({ head, rows }) {
  const cells = (tag, values) => make("tr", "", ...values.map((value) => make(tag, "", String(value ?? ""))));
  const body = make("tbody");
  const more = (from) => {
    body.append(...rows.slice(from, from + ROWS).map((values) => cells("td", values)));
    return from + ROWS < rows.length;
  };
  const holder = make("div", "wide-table", make("table", "", make("thead", "", cells("th", head)), body));
  let from = 0;
  if (more(from)) {
    const next = button(`${counted(rows.length - ROWS, "more row")}`, () => {
      from += ROWS;
      if (!more(from)) next.remove();
    });
    holder.append(make("p", "more", next));
  }
  return holder;
}

/** A text. A long one is truncated, with a button that shows all of it. */
function clipped(text, tag, names, write = (element, shown) => (element.textContent = shown)) {
  const element = make(tag, names);
  if (text.length <= MAX_SHOWN) {
    write(element, text);
    return element;
  }
  write(element, `${text.slice(0, MAX_SHOWN)}…`);
  const more = button(`Show all ${text.length.toLocaleString("en")} characters`, () => {
    write(element, text);
    more.parentElement.remove();
  });
  return make("div", "", element, make("p", "more", more));
}

/** A JSON text, indented and coloured. */
function jsonOf(text) {
  const tokens = indented(text);
  if (tokens.length > 3000) return clipped(tokens.map(([, token]) => token).join(""), "pre", "");
  const pre = make("pre");
  for (const [kind, token] of tokens) {
    if (kind === "space" || kind === "sign") pre.append(token);
    else if (token.length > MAX_SHOWN) pre.append(clipped(token, "span", kind));
    else pre.append(make("span", kind, token));
  }
  return pre;
}

/** A section whose content is created when it is opened. */
function lazy(names, label, content) {
  const element = make("details", names, make("summary", "", label));
  element.addEventListener("toggle", () => element.append(content()), { once: true });
  return element;
}

/** A section with a raw body. */
function raw(label, head, body) {
  return lazy("raw", label, () => {
    const inside = make("div", "", make("pre", "head", head.join("\n")));
    inside.append(...rawBody(body));
    return inside;
  });
}

function rawBody(body) {
  if (!body) return [make("p", "note", "no body")];
  if (body.parts) {
    return body.parts.flatMap((part) => {
      const head = [part.name, part.filename, part.content_type, inBytes(part.bytes)].filter(Boolean).join(" · ");
      return [make("pre", "head", head), ...rawBody(part.body)];
    });
  }
  const parts = [];
  if (body.omitted !== undefined)
    parts.push(make("p", "note", `${inBytes(body.omitted)}, omitted: --with-media includes it`));
  else if (body.base64 !== undefined)
    parts.push(make("p", "note", "binary data in base64"), clipped(body.base64, "pre", "box"));
  else {
    let isIndented = false;
    const holder = make("div", "box", clipped(body.text, "pre", ""));
    if (parsed(body.text) !== undefined) {
      const change = button("Indent", () => {
        isIndented = !isIndented;
        change.textContent = isIndented ? "Show raw" : "Indent";
        holder.replaceChildren(isIndented ? jsonOf(body.text) : clipped(body.text, "pre", ""));
      });
      parts.push(make("div", "", change));
    }
    parts.push(holder);
  }
  return parts;
}

// Changes

function changes(one, recording) {
  const section = make(
    "section",
    "compared",
    make(
      "div",
      "line",
      make("h3", "", "Changes"),
      make("span", isChanged(one) ? "badge changed" : "badge quiet", one.change),
    ),
  );
  const { differences, more_differences, old } = recording;
  if (one.change === "gone")
    section.append(make("p", "note", `Removed since ${index.since}. This is the earlier version.`));
  if (one.change === "new") section.append(make("p", "note", `New since ${index.since}.`));
  if (one.change === "same") section.append(make("p", "note", `Identical to ${index.since}.`));
  if (one.change === "only volatile fields")
    section.append(make("p", "note", "Only ids, times, padding or token counts differ."));
  section.append(...differences.map(field));
  if (more_differences) section.append(make("p", "note", counted(more_differences, "more difference")));
  if (!old) return [section];
  const side = (title, responses) => make("div", "", make("h3", "", title), ...responses.map(responseTurns));
  const both = lazy("versions", "Both versions side by side", () =>
    make("div", "both", side(`Before: ${index.since}`, old.responses), side("Now", recording.responses)),
  );
  both.open = isChanged(one) && one.change !== "only volatile fields";
  const olds = old.responses.map((response, number) => {
    return raw(
      old.responses.length > 1 ? `Raw response ${number + 1} before` : "Raw response before",
      headOf(response),
      response.body,
    );
  });
  section.append(both, ...olds);
  return [section];
}

function field({ pointer, old, new: now, pieces }) {
  const marked = (tag, sign) => {
    const text = make("div", `text ${tag}`);
    pieces.forEach(([kind, piece], at) => {
      if (kind === 0) text.append(shortened(piece, at === 0, at === pieces.length - 1));
      else if (kind === sign) text.append(make(tag, "", piece));
    });
    return text;
  };
  const value = (tag, text) =>
    make("pre", tag, text === undefined ? make("span", "note", "(missing)") : make(tag, "", text));
  const sides = pieces ? [marked("del", -1), marked("ins", 1)] : [value("del", old), value("ins", now)];
  sides.forEach((side, at) => {
    side.setAttribute("role", "group");
    side.setAttribute("aria-label", at ? "Now" : "Before");
  });
  return make("div", "field", make("code", "", pointer || "/"), make("div", "both", ...sides));
}

/** An unchanged piece of a text; of a long piece only the parts next to the changes. */
function shortened(text, isFirst, isLast) {
  const most = 400;
  if (text.length <= 2 * most) return text;
  if (isFirst) return `…${text.slice(-most)}`;
  if (isLast) return `${text.slice(0, most)}…`;
  return `${text.slice(0, most)} … ${text.slice(-most)}`;
}

// Highlights the search words, in browsers with the CSS Custom Highlight API.
function highlight() {
  if (!globalThis.CSS?.highlights) return;
  CSS.highlights.delete("found");
  const words = searchWords();
  if (!words.length || open < 0) return;
  const ranges = [];
  const walker = document.createTreeWalker(detail, NodeFilter.SHOW_TEXT);
  while (walker.nextNode() && ranges.length < 1000) {
    const text = walker.currentNode.data.toLowerCase();
    for (const word of words) {
      for (let at = text.indexOf(word); at >= 0; at = text.indexOf(word, at + word.length)) {
        if (at + word.length > walker.currentNode.length) break;
        const range = new Range();
        range.setStart(walker.currentNode, at);
        range.setEnd(walker.currentNode, at + word.length);
        ranges.push(range);
      }
    }
  }
  CSS.highlights.set("found", new Highlight(...ranges));
}

// Keyboard

/** Moves the focus in the list, or opens the next recording when the list is hidden. */
function move(by) {
  if (open >= 0 && isNarrow()) return step(by);
  const focused = document.activeElement?.dataset?.at;
  const from = focused === undefined ? shown.indexOf(open) : shown.indexOf(Number(focused));
  const to = shown[Math.max(0, Math.min(shown.length - 1, from < 0 ? 0 : from + by))];
  if (to !== undefined) focusRow(to);
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const { target, key } = event;
  const isTyping = target === search || target.tagName === "SELECT";
  const isInList = listElement.contains(target);
  if (key === "Escape") {
    if (target === search && search.value) search.value = "";
    else if (open >= 0) return close();
    else return target.blur();
    narrow();
  } else if (key === "/" && !isTyping) {
    if (open >= 0 && isNarrow()) close();
    search.focus();
    search.select();
  } else if (key === "Enter" && target === search && shown.length) {
    focusRow(shown[0]);
  } else if (key === "ArrowDown" && (isInList || target === search || target === document.body))
    move(target === search ? 0 : 1);
  else if (key === "ArrowUp" && (isInList || target === document.body)) move(-1);
  else if (key === "j" && !isTyping) move(1);
  else if (key === "k" && !isTyping) move(-1);
  else return;
  event.preventDefault();
});

addEventListener("hashchange", showAddressed);
writeHead();
writeFilters();
narrow();
showAddressed();
