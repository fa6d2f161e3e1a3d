// The header: the totals, and the filters.

/** Recordings that exist now. With `--since`, the page also has those that exist no more. */
const isPresent = (one) => one.change !== "gone";
const isChanged = (one) => one.change !== undefined && one.change !== "same";
/** What "Changed only" shows. Whether an unreadable recording has changed is not known, so it is shown, too. */
const isOfInterest = (one) => isChanged(one) || one.is_damaged === true;

function writeHead() {
  document.title = `${index.location}: ${index.live ? "live view" : "recordings"}`;
  const present = recordings.filter(isPresent);
  const { responses, usage } = sumOf(present);
  const damaged = recordings.filter((one) => one.is_damaged).length;
  const summary = [
    index.location,
    counted(present.length, "recording"),
    counted(responses, "response"),
    ...inWords(usage),
    costOf(present),
    damaged ? `${damaged} damaged` : "",
  ];
  byId("about").textContent = summary.filter(Boolean).join(" · ");
  const { date, source } = index.prices;
  byId("about").title = `written ${index.at} by ${index.by}; cost estimated at the prices of ${date}, from ${source}`;
  if (index.since) writeComparison(damaged);
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

/** The responses and the usage of recordings. */
function sumOf(recordings) {
  const usage = { input: 0, output: 0 };
  let responses = 0;
  for (const one of recordings) {
    responses += one.statuses?.length ?? one.responses ?? 0;
    for (const name of Object.keys(usage)) usage[name] += one.usage?.[name] ?? 0;
  }
  return { responses, usage };
}

/** The totals of the changes: how many recordings, and what they add up to before and now. */
function writeComparison(damaged) {
  const number = (isOne) => recordings.filter((one) => !one.is_damaged && isOne(one)).length;
  const parts = [
    ["new", number((one) => one.change === "new"), "good"],
    ["changed", number((one) => isChanged(one) && one.change !== "new" && isPresent(one)), "changed"],
    ["gone", number((one) => !isPresent(one)), "bad"],
    ["unchanged", number((one) => !isChanged(one)), "note"],
  ];
  const counts = parts
    .filter(([, many]) => many > 0)
    .map(([word, many, names]) => make("span", names, `${many.toLocaleString("en")} ${word}`));
  const line = byId("since");
  line.append(make("span", "", `Compared with ${index.since}:`), ...(counts.length ? counts : ["nothing recorded"]));
  line.hidden = false;
  if (damaged || index.problems.length) {
    line.append(make("span", "note", "the sums are not compared, because recordings cannot be read"));
    return;
  }
  const before = recordings.filter((one) => one.change !== "new").map((one) => one.old ?? one);
  const now = recordings.filter(isPresent);
  const [was, is] = [sumOf(before), sumOf(now)];
  const compared = (from, to, what) =>
    from === to ? "" : make("span", "", `${from.toLocaleString("en")} → ${to.toLocaleString("en")} ${what}`);
  const tokens = ({ usage }) => usage.input + usage.output;
  const sums = [compared(was.responses, is.responses, "responses"), compared(tokens(was), tokens(is), "tokens")];
  const [costBefore, costNow] = [costOf(before), costOf(now)];
  if (costBefore !== costNow) sums.push(make("span", "", `${costBefore || "$0.00"} → ${costNow || "$0.00"}`));
  const differing = sums.filter(Boolean);
  line.append(...(differing.length ? differing : [make("span", "note", "as many responses and tokens as before")]));
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
/** The options of each filter, by its values; and the label of "Changed only". */
const options = new Map();
let onlyChanged = false;
const changedLabel = make("span");

/** Whether the filters show a recording; `except` leaves out one of them. */
function isWanted(one, except) {
  if (onlyChanged && except !== isOfInterest && !isOfInterest(one)) return false;
  return [...chosen].every(([valuesOf, value]) => valuesOf === except || valuesOf(one).includes(value));
}

/** Writes a filter for each fact in which the recordings differ; again when there are other recordings. */
function writeFilters() {
  const form = byId("filters");
  for (const label of form.querySelectorAll(".filter")) label.remove();
  options.clear();
  for (const [label, valuesOf] of FILTERS) {
    const values = new Set(recordings.flatMap(valuesOf));
    if (values.size < 2) continue;
    const select = make("select", "", new Option("all", ""));
    select.id = `filter-${label.toLowerCase()}`;
    const named = new Map([...values].sort().map((value) => [value, new Option(value, `=${value}`)]));
    options.set(valuesOf, named);
    select.append(...named.values());
    if (chosen.has(valuesOf)) select.value = `=${chosen.get(valuesOf)}`;
    select.addEventListener("change", () => {
      if (select.value) chosen.set(valuesOf, select.value.slice(1));
      else chosen.delete(valuesOf);
      narrow();
    });
    form.append(make("label", "filter", label, select));
  }
  if (index.since) {
    const box = make("input");
    box.type = "checkbox";
    box.id = "only-changed";
    // The page opens with the changes.
    onlyChanged = box.checked = recordings.some(isOfInterest);
    box.addEventListener("change", () => {
      onlyChanged = box.checked;
      narrow();
    });
    form.append(make("label", "check", box, changedLabel));
  }
}

/** Writes beside each value how many of the found recordings have it that the other filters show. */
function writeNumbers(found) {
  const all = found.map((at) => recordings[at]);
  for (const [valuesOf, named] of options) {
    const numbers = new Map();
    for (const one of all)
      if (isWanted(one, valuesOf)) for (const value of valuesOf(one)) numbers.set(value, (numbers.get(value) ?? 0) + 1);
    for (const [value, option] of named) option.text = `${value} (${(numbers.get(value) ?? 0).toLocaleString("en")})`;
  }
  const changed = all.filter((one) => isOfInterest(one) && isWanted(one, isOfInterest)).length;
  changedLabel.textContent = `Changed only (${changed.toLocaleString("en")})`;
}
