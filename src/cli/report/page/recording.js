// One recording: its facts, its request and its responses.

let open = -1;
/** The address of what is shown. */
let openHash = "";
let stopPlaying = () => {};
/** Whether the page has opened the recording by itself: the focus stays where it is. */
let isOpenedByPage = false;

/** The name of a recording in the address; undefined when there is none. */
function addressedName() {
  const name = /^#\/(.*)$/.exec(location.hash)?.[1];
  try {
    return name === undefined ? undefined : decodeURIComponent(name);
  } catch {
    return name;
  }
}

/** Shows what the address names. Beside the list of a report there is always something to read, at first the first recording. */
function showAddressed() {
  const [name, number] = [addressedName(), addressedRequest()];
  const isNothing = name === undefined && number === undefined;
  const [before, hashBefore] = [open, openHash];
  open = name === undefined ? -1 : recordings.findIndex((one) => one.name === name);
  openHash = location.hash;
  for (const link of document.querySelectorAll('[aria-current="true"]')) link.removeAttribute("aria-current");
  stopPlaying();
  if (isNothing && !index.live && !isNarrow() && shown.length) {
    isOpenedByPage = true;
    location.replace(addressOf(shown[0]));
    return;
  }
  if (open >= 0 && !isNarrow()) showRow(open);
  (linkOf(open) ?? linkOfRequest(number))?.setAttribute("aria-current", "true");
  document.body.classList.toggle("is-open", !isNothing);
  const takesFocus = openHash !== hashBefore && !isOpenedByPage;
  isOpenedByPage = false;
  if (number !== undefined) return showRequest(number, takesFocus);
  if (open >= 0) return showRecording(open, takesFocus);
  showInstead(isNothing ? nothingToShow() : `There is no recording ${name}.`);
  if (document.activeElement === search) return;
  if (before >= 0) focusRow(before);
  else linkOfRequest(addressedRequest(hashBefore))?.focus();
}

function nothingToShow() {
  if (index.live) return `Requests to ${index.live.proxy} appear in the list as they are answered.`;
  if (!recordings.length) return "No recordings.";
  return shown.length ? "Choose a recording." : "No recording matches.";
}

function showInstead(text) {
  detail.replaceChildren(barOf(), make("p", "empty", text));
}

function showDetail(elements, label, takesFocus) {
  detail.replaceChildren(...elements);
  detail.setAttribute("aria-label", label);
  detail.scrollTop = 0;
  if (isNarrow()) scrollTo(0, 0);
  if (takesFocus) detail.focus({ preventScroll: true });
  highlight();
}

/** Goes from the open recording to its row in the list, or on a narrow screen to the list in place of the recording. */
function leave() {
  if (isNarrow()) {
    location.hash = "";
    document.body.classList.remove("is-open");
  } else if (shown.includes(open)) focusRow(open);
  else (linkOfRequest(addressedRequest()) ?? search).focus();
}

/** The way back and on; only on narrow screens, where the list is hidden. */
const barOf = () =>
  make(
    "div",
    "bar",
    button("‹ Back to the list", leave),
    button("Previous", () => step(-1)),
    button("Next", () => step(1)),
  );

/** Opens the recording, or the request, at this distance from the open one in its list. */
function step(by) {
  if (addressedRequest() !== undefined) return stepInRequests(by);
  const to = shown[shown.indexOf(open) + by];
  if (to !== undefined && shown.includes(open)) location.hash = addressOf(to);
}

function showRecording(at, takesFocus) {
  const one = recordings[at];
  const recording = recordingAt(at);
  const title = make("h2", "", titleOf(one));
  if (recording) {
    const head = make("div", "", title, facts(one, recording));
    return showDetail([barOf(), head, ...sectionsOf(one, recording)], titleOf(one), takesFocus);
  }
  const content = make("div");
  showDetail([barOf(), title, content], titleOf(one), takesFocus);
  showContent(one.name, content, (summary, details) => [facts(summary, details), ...sectionsOf(summary, details)]);
}

/** The sections of a recording; in a live view, `replayed` is the response that a request got. */
function sectionsOf(one, recording, replayed = -1) {
  if (recording.error) return [make("section", "", make("pre", "box bad", recording.error))];
  const { differences, responses } = recording;
  return [
    ...(differences ? changes(one, recording) : []),
    requestOf(recording),
    ...responses.map((response, number) => responseOf(response, number, responses.length, number === replayed)),
  ];
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
  const read = attempt(() => readRequest(recording.body), {
    settings: [],
    tools: [],
    turns: bodyTurns(recording.body),
  });
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
    return make("span", "", make("b", "", `${name} `), make("span", "value", brief));
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
          make("h3", "value", nameOf(tool)),
          described && make("p", "note text", String(described)),
        );
        const rest = tool?.function?.parameters ?? tool;
        box.append(jsonOf(JSON.stringify(rest)));
        return box;
      }),
    ),
  );
}

function responseOf(response, number, of, isReplayed) {
  const title = of > 1 ? `Response ${number + 1} of ${of}` : "Response";
  const status = make("span", response.status < 400 ? "good" : "bad", `${response.status} ${response.reason ?? ""}`);
  const section = make(
    "section",
    "",
    make(
      "div",
      "line",
      make("h3", "", title),
      status,
      isReplayed && of > 1 && make("span", "badge good", "replayed"),
      make("span", "note", timingOf(response)),
    ),
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
