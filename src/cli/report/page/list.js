// The list of recordings.

/** The positions of the recordings that are shown, and how many of them have a row. */
let shown = [];
let rowCount = 0;
let searches = 0;

/** Shows what matches the filters and the search. A long search pauses so that the page stays responsive. */
function narrow() {
  const current = (searches += 1);
  const words = searchWords();
  const all = positions();
  const found = [];
  let next = 0;
  shown = [];
  rowCount = 0;
  listElement.replaceChildren();
  listElement.scrollTop = 0;
  const searchSlice = () => {
    if (current !== searches) return;
    const until = performance.now() + SLICE;
    while (next < all.length && performance.now() < until) {
      const at = all[next++];
      if (!words.every((word) => textOf(at).includes(word))) continue;
      found.push(at);
      if (isWanted(recordings[at])) shown.push(at);
    }
    const isDone = next === all.length;
    if (rowCount < ROWS) writeRows();
    byId("count").textContent = `${isDone ? "" : "searching… "}${index.live?.unlisted ?? countOf(shown)}`;
    if (!isDone) return void setTimeout(searchSlice);
    writeNumbers(found);
    if (open < 0 && addressedRequest() === undefined) showAddressed();
    highlight();
  };
  searchSlice();
}

/** The positions of all recordings, in the order of their names. Those that a live view has got are at the end. */
function positions() {
  const all = [...recordings.keys()];
  return index.live ? all.sort((a, b) => (recordings[a].name < recordings[b].name ? -1 : 1)) : all;
}

/** How many recordings are shown, of how many; those that are gone are counted for themselves, as in the header. */
function countOf(positions) {
  const of = (isOne) => {
    const all = recordings.filter(isOne).length;
    return [positions.filter((at) => isOne(recordings[at])).length.toLocaleString("en"), all];
  };
  const [present, all] = of(isPresent);
  const [gone, allGone] = of((one) => !isPresent(one));
  return `${present} of ${counted(all, "recording")}${allGone ? `, ${gone} of ${allGone.toLocaleString("en")} gone` : ""}`;
}

function writeRows(upTo = ROWS) {
  const end = Math.min(shown.length, Math.max(upTo, rowCount));
  listElement.append(...shown.slice(rowCount, end).map(row));
  rowCount = end;
  endObserver.disconnect();
  if (rowCount < shown.length && listElement.lastElementChild) endObserver.observe(listElement.lastElementChild);
}

const endObserver = new IntersectionObserver((entries) => {
  if (!entries.some((entry) => entry.isIntersecting)) return;
  writeRows(rowCount + ROWS);
  highlight();
});

/** The prompt or the request line; of an unreadable recording, the words in the name of its file. */
const titleOf = ({ title, name }) =>
  title ??
  name
    .replace(/^.*\//, "")
    .replace(/(-[0-9a-f]{16})?\.yaml$/, "")
    .replaceAll("-", " ");

function badges(one) {
  const elements = [];
  if (one.is_damaged) elements.push(make("span", "badge bad", "damaged"));
  if (isChanged(one))
    elements.push(make("span", one.change === "only volatile fields" ? "badge quiet" : "badge changed", one.change));
  return elements;
}

/** Each status once. */
const statusesOf = (one) =>
  [...new Set(one.statuses ?? [])].map((status) => make("span", status < 400 ? "" : "bad", String(status)));

/** A time to the minute. */
const minuteOf = (time) => time.replace(/^(\d{4}-\d\d-\d\d)T(\d\d:\d\d).*$/, "$1 $2");

function row(at) {
  const one = recordings[at];
  const where = make("span", "where", ...statusesOf(one));
  const [usage] = inWords(one.usage ?? {});
  const facts = [
    one.at && minuteOf(one.at),
    one.endpoint,
    one.scope,
    one.model,
    usage?.replace(/ \(.*/, ""),
    one.statuses?.length > 1 ? counted(one.statuses.length, "response") : "",
  ];
  where.append(...facts.filter(Boolean).map((fact) => make("span", "", fact)));
  const link = make(
    "a",
    "",
    make("span", "first", make("span", "title", titleOf(one)), ...badges(one)),
    one.answer && make("span", "answer", one.answer),
    where,
  );
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
