// What is on the page. Elements are made one by one and texts are set as texts, so that nothing of a recording becomes markup.

/** How many rows of the list are made at once; more come when they are looked for. */
const ROWS = 200;
/** A text is shown up to here at first, in characters. */
const LONGEST = 6000;
/** How long searching may keep the page from answering, in milliseconds. */
const SLICE = 30;

const byId = (id) => document.getElementById(id);
const index = parsed(byId("index").textContent);
const all = index.recordings;
const topOfPage = byId("top");
const rowsOf = byId("list");
const detail = byId("detail");
const search = byId("search");

/** A new element: its class names, then what is inside. */
function make(tag, names, ...inside) {
  const element = document.createElement(tag);
  if (names) element.className = names;
  element.append(...inside.filter((one) => one !== null && one !== undefined && one !== ""));
  return element;
}

function button(label, does) {
  const element = make("button", "", label);
  element.type = "button";
  element.addEventListener("click", does);
  return element;
}

const recordingAt = (at) => parsed(byId(`r${at}`).textContent);

// The head: what there is, and the filters

function writeHead() {
  document.title = `${index.place}: recordings`;
  const kept = all.filter((one) => one.change !== "gone");
  const sum = (name) => kept.reduce((total, one) => total + (one.usage?.[name] ?? 0), 0);
  const responses = kept.reduce((sum, one) => sum + (one.statuses?.length ?? 0), 0);
  const told = [
    index.place,
    counted(kept.length, "recording"),
    counted(responses, "response"),
    ...inWords({ input: sum("input"), output: sum("output") }),
    costOf(kept),
  ];
  const damaged = all.filter((one) => one.is_damaged).length;
  if (damaged) told.push(`${damaged} damaged`);
  if (index.since) told.push(`compared with ${index.since}`);
  byId("about").textContent = told.filter(Boolean).join(" · ");
  const { date, source } = index.prices;
  byId("about").title = `written ${index.at} by ${index.by}; cost estimated at the prices of ${date}, from ${source}`;
  if (index.problems.length) {
    const problems = make(
      "details",
      "note",
      make("summary", "bad", `${counted(index.problems.length, "recording")} of ${index.since} cannot be read`),
    );
    problems.append(make("pre", "", index.problems.join("\n")));
    topOfPage.append(problems);
  }
}

/** What recordings cost, where there is anything to tell; more where a price is not known. */
function costOf(recordings) {
  const known = recordings.reduce((sum, one) => sum + (one.cost ?? 0), 0);
  const unknown = recordings.some((one) => one.cost === null);
  if (!known) return unknown ? "no price" : "";
  return `${unknown ? "> " : ""}${inDollars(known)}`;
}

const statusKinds = (one) =>
  one.is_damaged ? ["damaged"] : [...new Set(one.statuses.map((status) => `${String(status)[0]}xx`))];

/** What the list can be narrowed by: a label, and the values that a recording has. */
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
    for (const one of all) for (const value of valuesOf(one)) numbers.set(value, (numbers.get(value) ?? 0) + 1);
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

/** The numbers of the recordings that are shown, in their order; how many of them have a row. */
let shown = [];
let made = 0;
const texts = [];
let searching = 0;

const textOf = (at) => (texts[at] ??= searchable(all[at].name, recordingAt(at)));

/** The words that are looked for: each for itself, or several in quotes as one. */
const wanted = () => [...search.value.toLowerCase().matchAll(/"([^"]+)"?|(\S+)/g)].map((found) => found[1] ?? found[2]);

/** Shows what fits the filters and the search; a long search goes on between the frames. */
function narrow() {
  const mine = (searching += 1);
  const words = wanted();
  const fits = (one) =>
    (!onlyChanged || isChanged(one)) && [...chosen].every(([valuesOf, value]) => valuesOf(one).includes(value));
  const candidates = [...all.keys()].filter((at) => fits(all[at]));
  let next = 0;
  shown = [];
  made = 0;
  rowsOf.replaceChildren();
  rowsOf.scrollTop = 0;
  const go = () => {
    if (mine !== searching) return;
    const until = performance.now() + SLICE;
    while (next < candidates.length && performance.now() < until) {
      const at = candidates[next++];
      if (words.every((word) => textOf(at).includes(word))) shown.push(at);
    }
    const isDone = next === candidates.length;
    if (made < ROWS) writeRows();
    byId("count").textContent =
      `${isDone ? "" : "searching… "}${shown.length.toLocaleString("en")} of ${counted(all.length, "recording")}`;
    if (!isDone) setTimeout(go);
  };
  go();
}

function writeRows(upTo = ROWS) {
  const end = Math.min(shown.length, Math.max(upTo, made));
  rowsOf.append(...shown.slice(made, end).map(row));
  made = end;
  lookForEnd.disconnect();
  if (made < shown.length && rowsOf.lastElementChild) lookForEnd.observe(rowsOf.lastElementChild);
}

const lookForEnd = new IntersectionObserver((entries) => {
  if (entries.some((entry) => entry.isIntersecting)) writeRows(made + ROWS);
});

/** A few words of the request, as they stand in the name of the file; where these say nothing, the line of the request. */
function titleOf({ name, line }) {
  const words = name.replace(/^.*\//, "").replace(/(-[0-9a-f]{16})?\.yaml$/, "");
  return line && /^(get|post|put|patch|delete)$/.test(words) ? line : words.replaceAll("-", " ");
}

function badges(one) {
  const told = [];
  if (one.is_damaged) told.push(make("span", "badge bad", "damaged"));
  for (const status of new Set(one.statuses ?? []))
    if (status >= 400) told.push(make("span", "badge bad", String(status)));
  if (isChanged(one))
    told.push(make("span", one.change === "only volatile fields" ? "badge quiet" : "badge changed", one.change));
  return told;
}

function row(at) {
  const one = all[at];
  const where = make(
    "span",
    "where",
    make("span", "", one.endpoint),
    one.scope && make("span", "", one.scope),
    one.model && make("span", "", one.model),
  );
  const [took] = inWords(one.usage ?? {});
  if (took) where.append(make("span", "", took.replace(/ \(.*/, "")));
  if (one.statuses?.length > 1) where.append(make("span", "", counted(one.statuses.length, "response")));
  const link = make("a", "", make("span", "first", make("span", "title", titleOf(one)), ...badges(one)), where);
  link.href = placeOf(at);
  link.title = one.name;
  link.dataset.at = at;
  if (at === open) link.setAttribute("aria-current", "true");
  return make("li", "", link);
}

const placeOf = (at) => `#/${encodeURIComponent(all[at].name)}`;
const linkOf = (at) => rowsOf.querySelector(`a[data-at="${at}"]`);

/** Brings the row of a recording into view, which may not have one yet. */
function showRow(at) {
  const place = shown.indexOf(at);
  if (place >= made) writeRows(place + ROWS);
  linkOf(at)?.scrollIntoView({ block: "nearest" });
}

function focusRow(at) {
  showRow(at);
  linkOf(at)?.focus({ preventScroll: true });
}

// One recording

let open = -1;
let stopPlaying = () => {};

/** Shows what the address names. */
function follow() {
  const name = /^#\/(.*)$/.exec(location.hash)?.[1];
  let wantedName;
  try {
    wantedName = name === undefined ? undefined : decodeURIComponent(name);
  } catch {
    wantedName = name;
  }
  const before = open;
  open = wantedName === undefined ? -1 : all.findIndex((one) => one.name === wantedName);
  linkOf(before)?.removeAttribute("aria-current");
  if (open >= 0 && !isNarrow()) showRow(open);
  linkOf(open)?.setAttribute("aria-current", "true");
  document.body.classList.toggle("is-open", open >= 0);
  stopPlaying();
  if (open < 0) {
    detail.replaceChildren(make("p", "empty", all.length ? "Choose a recording." : "There are no recordings here."));
    if (before >= 0) focusRow(before);
    return;
  }
  detail.replaceChildren(...written(open));
  detail.setAttribute("aria-label", titleOf(all[open]));
  detail.scrollTop = 0;
  if (isNarrow()) scrollTo(0, 0);
  if (before !== open) detail.focus({ preventScroll: true });
  highlight();
}

const isNarrow = () => matchMedia("(max-width: 52rem)").matches;
const close = () => (location.hash = "");

/** Opens the recording that comes this far behind the open one in the list. */
function step(by) {
  const to = shown[shown.indexOf(open) + by];
  if (to !== undefined && shown.includes(open)) location.hash = placeOf(to);
}

function written(at) {
  const one = all[at];
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
  const told = make("div", "facts");
  const tell = (...inside) => told.append(make("span", "", ...inside));
  told.append(...badges(one));
  if (recording.line) tell(make("code", "", recording.line));
  if (one.model) tell(one.model);
  if (one.usage) inWords(one.usage).forEach((words) => tell(words));
  if (costOf([one])) tell(costOf([one]));
  if (recording.at) tell(`recorded ${recording.at}`, recording.from ? ` from ${recording.from}` : "");
  if (recording.test) tell(`by ${recording.test}`);
  tell(make("code", "", one.name));
  return told;
}

function requestOf(recording) {
  const section = make("section", "", make("div", "line", make("h3", "", "Request")));
  const read = attempt(() => readRequest(recording.body), { settings: [], tools: [], turns: asItIs(recording.body) });
  if (read.settings.length) {
    section.append(make("div", "settings", ...read.settings.map(setting)));
  }
  if (read.tools.length) section.append(toolsOf(read.tools));
  section.append(turnsOf(read.turns), raw("Raw request", [recording.line], recording.body));
  return section;
}

/** What can be read, or this: recordings may hold what nobody has thought of. */
function attempt(reading, otherwise) {
  try {
    return reading();
  } catch (error) {
    console.warn(error);
    return otherwise;
  }
}

const asItIs = (body) => [{ who: "body", blocks: bodyBlocks(body, "Body") }];

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
    make("div", "line", make("h3", "", title), status, make("span", "note", tookOf(response))),
  );
  section.append(answerTurns(response));
  section.append(raw("Raw response", headOf(response), response.body));
  return section;
}

function tookOf(response) {
  const last = response.timing_ms.at(-1);
  const told = [last ? inSeconds(last) : "", ...inWords(response.usage ?? {})];
  if (isStream(response)) told.push(counted(response.timing_ms.length, "event"));
  return told.filter(Boolean).join(" · ");
}

/** The answer of a response; of a stream with what plays it at its pace. */
function answerTurns(response) {
  const holder = make("div");
  const show = (answer) => turnsOf(attempt(() => readAnswer(answer, response), asItIs(response.body)));
  holder.append(show(attempt(() => answerOf(response))));
  if (!isStream(response) || response.body?.text === undefined || !(response.timing_ms.at(-1) > response.timing_ms[0]))
    return holder;
  holder.prepend(player(response, (answer) => holder.lastElementChild.replaceWith(show(answer))));
  return holder;
}

/** A strip with a mark for each event, and a button that shows the answer again as it came. */
function player(response, show) {
  const times = response.timing_ms;
  const last = times.at(-1);
  const blocks = events(response.body.text);
  const strip = make("canvas");
  const clock = make("span", "", `first ${inSeconds(times[0])}, last ${inSeconds(last)}`);
  const draw = (now) => {
    const [width, height] = [strip.clientWidth * devicePixelRatio, strip.clientHeight * devicePixelRatio];
    [strip.width, strip.height] = [width, height];
    const pen = strip.getContext("2d");
    const style = getComputedStyle(strip);
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
  strip.setAttribute("role", "img");
  strip.setAttribute(
    "aria-label",
    `${counted(times.length, "event")}, the first after ${inSeconds(times[0])}, the last after ${inSeconds(last)}`,
  );
  new ResizeObserver(() => draw(last)).observe(strip);
  let isPlaying = false;
  const finish = () => {
    isPlaying = false;
    play.textContent = "▶ Play";
    play.setAttribute("aria-label", "Play at the recorded pace");
    const complete = new Stream();
    blocks.forEach((event) => complete.add(event));
    show(complete.answer());
    draw(last);
    clock.textContent = `first ${inSeconds(times[0])}, last ${inSeconds(last)}`;
  };
  const start = () => {
    stopPlaying();
    isPlaying = true;
    stopPlaying = () => isPlaying && finish();
    play.textContent = "■ Stop";
    play.setAttribute("aria-label", "Stop playing");
    const since = performance.now();
    const stream = new Stream();
    let next = 0;
    show(stream.answer());
    const frame = () => {
      if (!isPlaying) return;
      const now = performance.now() - since;
      const before = next;
      while (next < blocks.length && (times[next] ?? last) <= now) stream.add(blocks[next++]);
      if (next > before) show(stream.answer());
      draw(Math.min(now, last));
      clock.textContent = inSeconds(Math.round(Math.min(now, last)));
      if (next < blocks.length) requestAnimationFrame(frame);
      else finish();
    };
    requestAnimationFrame(frame);
  };
  const play = button("▶ Play", () => (isPlaying ? finish() : start()));
  play.setAttribute("aria-label", "Play at the recorded pace");
  return make("div", "pace", play, strip, clock);
}

// Turns and what they are made of

const turnsOf = (turns) => make("div", "turns", ...turns.map(turnOf));

function turnOf({ who, name, blocks, notes }) {
  const role = ["user", "assistant", "tool", "error"].includes(who)
    ? who
    : who === "transcript"
      ? "assistant"
      : "other";
  const small = [name, ...(notes ?? [])].filter(Boolean).map((one) => make("small", "", String(one)));
  const inside = blocks.length ? blocks.map(blockOf) : [make("span", "note", "(nothing)")];
  return make("div", `turn ${role}`, make("div", "who", who, ...small), make("div", "said", ...inside));
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

/** A text, of which the end can be asked for when it is long. */
function clipped(text, tag, names, write = (element, shown) => (element.textContent = shown)) {
  const element = make(tag, names);
  if (text.length <= LONGEST) {
    write(element, text);
    return element;
  }
  write(element, `${text.slice(0, LONGEST)}…`);
  const more = button(`Show all ${text.length.toLocaleString("en")} characters`, () => {
    write(element, text);
    more.parentElement.remove();
  });
  return make("div", "", element, make("p", "more", more));
}

/** A JSON text with line ends and colours. */
function jsonOf(text) {
  const tokens = indented(text);
  if (tokens.length > 3000) return clipped(tokens.map(([, token]) => token).join(""), "pre", "");
  const pre = make("pre");
  for (const [kind, token] of tokens) {
    if (kind === "space" || kind === "sign") pre.append(token);
    else if (token.length > LONGEST) pre.append(clipped(token, "span", kind));
    else pre.append(make("span", kind, token));
  }
  return pre;
}

/** A part that is made when it is opened. */
function lazy(names, label, inside) {
  const element = make("details", names, make("summary", "", label));
  element.addEventListener("toggle", () => element.append(inside()), { once: true });
  return element;
}

/** A body as it was sent. */
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
  if (body.left_out !== undefined)
    parts.push(make("p", "note", `${inBytes(body.left_out)}, left out of this page: --with-media puts it in`));
  else if (body.base64 !== undefined)
    parts.push(make("p", "note", "bytes that are no text, in base64"), clipped(body.base64, "pre", "box"));
  else {
    let isIndented = false;
    const holder = make("div", "box", clipped(body.text, "pre", ""));
    if (parsed(body.text) !== undefined) {
      const change = button("Indent", () => {
        isIndented = !isIndented;
        change.textContent = isIndented ? "As it was sent" : "Indent";
        holder.replaceChildren(isIndented ? jsonOf(body.text) : clipped(body.text, "pre", ""));
      });
      parts.push(make("div", "", change));
    }
    parts.push(holder);
  }
  return parts;
}

// What has changed

function changes(one, recording) {
  const section = make(
    "section",
    "compared",
    make(
      "div",
      "line",
      make("h3", "", "What has changed"),
      make("span", isChanged(one) ? "badge changed" : "badge quiet", one.change),
    ),
  );
  const { differences, more_differences, old } = recording;
  if (one.change === "gone")
    section.append(make("p", "note", `It is in ${index.since} and not here any more; this is what it was.`));
  if (one.change === "new") section.append(make("p", "note", `It is not in ${index.since}.`));
  if (one.change === "same") section.append(make("p", "note", `The same as in ${index.since}, byte for byte.`));
  if (one.change === "only volatile fields")
    section.append(make("p", "note", "Ids, times, padding or token counts differ, and nothing else."));
  section.append(...differences.map(field));
  if (more_differences) section.append(make("p", "note", counted(more_differences, "more difference")));
  if (!old) return [section];
  const side = (title, responses) => make("div", "", make("h3", "", title), ...responses.map(answerTurns));
  const both = lazy("answers", "Both answers side by side", () =>
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
    make("pre", tag, text === undefined ? make("span", "note", "(not there)") : make(tag, "", text));
  const sides = pieces ? [marked("del", -1), marked("ins", 1)] : [value("del", old), value("ins", now)];
  sides.forEach((side, at) => {
    side.setAttribute("role", "group");
    side.setAttribute("aria-label", at ? "Now" : "Before");
  });
  return make("div", "field", make("code", "", pointer || "/"), make("div", "both", ...sides));
}

/** What has not changed of a long text, up to what stands around the changes. */
function shortened(text, isFirst, isLast) {
  const most = 400;
  if (text.length <= 2 * most) return text;
  if (isFirst) return `…${text.slice(-most)}`;
  if (isLast) return `${text.slice(0, most)}…`;
  return `${text.slice(0, most)} … ${text.slice(-most)}`;
}

// Words that were looked for are marked, where the browser can do so without a change of the page.
function highlight() {
  if (!globalThis.CSS?.highlights) return;
  CSS.highlights.delete("found");
  const words = wanted();
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

// Keys

/** Moves the focus in the list; where the list is not to be seen, to the next recording. */
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
  const isInList = rowsOf.contains(target);
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

addEventListener("hashchange", follow);
writeHead();
writeFilters();
narrow();
follow();
