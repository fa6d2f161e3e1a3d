// The data of the page, and how its elements are made: one by one, with texts set as text, so that no recorded text becomes
// markup.

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
  element.append(...children.filter((one) => one !== null && one !== undefined && one !== "" && one !== false));
  return element;
}

function button(label, onClick) {
  const element = make("button", "", label);
  element.type = "button";
  element.addEventListener("click", onClick);
  return element;
}

/** The recordings that a live view has loaded, by name: `{summary, details}`. */
const loaded = new Map();

/** The content of a recording. A report has all of them; a live view those that were opened. */
const recordingAt = (at) =>
  index.live ? loaded.get(recordings[at].name)?.details : parsed(byId(`r${at}`).textContent);

const narrowScreen = matchMedia("(max-width: 52rem)");
/** Whether the list and a recording are shown in place of each other, and not side by side. */
const isNarrow = () => narrowScreen.matches;
