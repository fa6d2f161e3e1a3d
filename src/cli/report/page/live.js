// The live view: the requests of a proxy as they are answered, and their recordings, which are loaded when they are opened.
// A report has none of these.

/** How many requests the list has at most, as the log of the proxy. */
const MAX_REQUESTS = 1000;
/** How many recordings are kept that were opened. */
const MAX_LOADED = 50;

const requestList = byId("requests");
/** The requests by their numbers, the first one first. */
const requests = new Map();
/** The requests that arrived since the list was written. */
let arrived = [];

const OUTCOMES = {
  replayed: ["replayed", "quiet"],
  recorded: ["recorded", "good"],
  not_recorded: ["not recorded", "changed"],
  passed_on: ["passed on", "quiet"],
  injected: ["injected", "changed"],
  missed: ["missed", "bad"],
  failed: ["failed", "bad"],
  refused: ["refused", "changed"],
};

function startLive() {
  byId("live").hidden = false;
  byId("proxy").textContent = `Requests to ${index.live.proxy}`;
  say("connecting…");
  const source = new EventSource("events");
  const on = (name, take) => source.addEventListener(name, take);
  on("open", () => say("connected"));
  on("error", () =>
    say(
      source.readyState === EventSource.CLOSED
        ? "The proxy does not answer any more. Reload the page to try again."
        : "The connection is lost, and the session may have ended. Trying again…",
      "bad",
    ),
  );
  on("summary", ({ data }) => (byId("session").textContent = data));
  on("missing", ({ data }) => arrive(undefined, { missing: Number(data) }));
  on("request", ({ data, lastEventId }) => arrive(Number(lastEventId), parsed(data)));
  on("ended", ({ data }) => {
    source.close();
    byId("session").textContent = data;
    say("The session has ended.", "changed");
  });
  showAddressed();
}

function say(text, names = "") {
  byId("state").textContent = text;
  byId("state").className = names;
}

/** Adds a request. The list is written once for all that arrive together. */
function arrive(number, request) {
  if (!arrived.length) setTimeout(writeArrived);
  arrived.push([number, request]);
  if (arrived.length > MAX_REQUESTS) arrived.shift();
}

function writeArrived() {
  const rows = arrived.map(([number, request]) => {
    if (number === undefined) return make("li", "note", `${counted(request.missing, "request")} not shown`);
    requests.set(number, request);
    return requestRow(number, request);
  });
  requestList.prepend(...rows.reverse());
  while (requestList.childElementCount > MAX_REQUESTS) requestList.lastElementChild.remove();
  for (const number of requests.keys()) if (requests.size > MAX_REQUESTS) requests.delete(number);
  const numbers = arrived.map(([number]) => number);
  // The list has the recordings of requests that were answered before the page was made.
  const recorded = arrived.filter(([number, { outcome }]) => number > index.live.last && outcome === "recorded");
  arrived = [];
  if (numbers.includes(addressedRequest())) showAddressed();
  renew(recorded.map(([, { cassette }]) => cassette));
}

const requestTitle = ({ title, method, path }) => title ?? `${method} ${path}`;
const requestAddress = (number) => `#request-${number}`;
const timeOf = ({ at }) => new Date(at).toLocaleTimeString("en-GB");

function outcomeBadge({ outcome, detail }) {
  const [words, names] = OUTCOMES[outcome] ?? [outcome, ""];
  const isBrief = outcome === "replayed" || outcome === "injected";
  return make("span", `badge ${names}`, isBrief ? `${words} ${detail}` : words);
}

function requestRow(number, request) {
  const { method, path, status, milliseconds, scope, title } = request;
  const facts = [
    status === null ? "" : String(status),
    timeOf(request),
    title === null ? "" : `${method} ${path}`,
    inSeconds(milliseconds),
    scope,
  ];
  const link = make(
    "a",
    "",
    make("span", "first", make("span", "title", requestTitle(request)), outcomeBadge(request)),
    make("span", "where", ...facts.filter(Boolean).map((fact) => make("span", "", fact))),
  );
  link.href = requestAddress(number);
  if (number === addressedRequest()) link.setAttribute("aria-current", "true");
  return make("li", "", link);
}

/** The number of the request in the address; undefined when there is none. */
function addressedRequest(hash = location.hash) {
  const number = /^#request-(\d+)$/.exec(hash)?.[1];
  return number === undefined ? undefined : Number(number);
}

const linkOfRequest = (number) => requestList.querySelector(`a[href="${requestAddress(number)}"]`);

function stepInRequests(by) {
  const links = [...requestList.querySelectorAll("a")];
  const to = links[links.indexOf(linkOfRequest(addressedRequest())) + by];
  if (to) location.hash = to.getAttribute("href");
}

function showRequest(number, takesFocus) {
  const request = requests.get(number);
  if (!request) return showInstead(`Request ${number} is not in the list.`);
  const content = make("div");
  const head = make("div", "", make("h2", "", requestTitle(request)), requestFacts(request));
  showDetail([barOf(), head, content], requestTitle(request), takesFocus);
  if (request.error) content.append(make("section", "", errorOf(request.error)));
  else if (request.detail && !["replayed", "injected"].includes(request.outcome))
    content.append(make("section", "", make("p", "text", request.detail)));
  const replayed = request.outcome === "replayed" ? Number.parseInt(request.detail) - 1 : -1;
  if (request.cassette)
    showContent(request.cassette, content, (summary, details) => sectionsOf(summary, details, replayed));
}

function requestFacts(request) {
  const { method, path, status, milliseconds, scope, cassette } = request;
  const facts = make("div", "facts", outcomeBadge(request), make("code", "", `${method} ${path}`));
  const texts = [
    status && `status ${status}`,
    `${timeOf(request)}, in ${inSeconds(milliseconds)}`,
    scope && `scope ${scope}`,
  ];
  facts.append(...texts.filter(Boolean).map((text) => make("span", "", text)));
  if (cassette) facts.append(make("code", "", cassette));
  return facts;
}

/** The text of an error; the lines of a diff are coloured. */
function errorOf(text) {
  const names = { "@": "at", "-": "minus", "+": "plus" };
  const lines = text
    .split("\n")
    .flatMap((line, at) => [at ? "\n" : "", make("span", names[/^([-+@])[ +-]/.exec(line)?.[1]], line)]);
  return make("pre", "box", ...lines);
}

/** Loads a recording, and appends what `parts` makes of its summary and details. */
async function showContent(name, holder, parts) {
  const hash = location.hash;
  const shown = await load(name).then(
    ({ summary, details }) => parts(summary, details),
    (error) => [make("section", "", make("p", "bad", `The recording cannot be loaded: ${error.message}`))],
  );
  if (location.hash !== hash) return;
  holder.append(...shown);
  highlight();
}

/** The summary and the details of a recording. */
async function load(name) {
  if (!loaded.has(name)) {
    const response = await fetch(`recording/${encodeURIComponent(name)}`).catch(() => undefined);
    if (!response) throw new Error("the proxy does not answer any more.");
    if (!response.ok) throw new Error(await response.text());
    loaded.set(name, await response.json());
    for (const earlier of loaded.keys()) if (loaded.size > MAX_LOADED) loaded.delete(earlier);
  }
  return loaded.get(name);
}

/** Brings the recordings that were made up to date: in the list, and when they are opened again. */
async function renew(names) {
  for (const name of new Set(names)) {
    loaded.delete(name);
    if (index.live.unlisted) continue;
    const summary = await load(name).then(
      (content) => content.summary,
      () => undefined,
    );
    if (!summary) continue;
    const at = recordings.findIndex((one) => one.name === name);
    if (at >= 0) recordings[at] = summary;
    else recordings.push(summary);
    delete texts[at];
    writeHead();
    writeFilters();
    narrowInPlace();
  }
}

/** Narrows the list again: where it is scrolled to, and where the focus is. */
function narrowInPlace() {
  const { scrollTop } = listElement;
  const rows = rowCount;
  const focused = listElement.contains(document.activeElement) ? Number(document.activeElement.dataset.at) : -1;
  narrow();
  writeRows(rows);
  listElement.scrollTop = scrollTop;
  linkOf(focused)?.focus({ preventScroll: true });
}
