// The search: the text of a recording, and the marks of the words that were found.

/** Adds every name and value to a list. */
function collect(value, into) {
  const left = [value];
  while (left.length) {
    const one = left.pop();
    if (typeof one === "string") into.push(one);
    else if (typeof one === "number" || typeof one === "boolean") into.push(String(one));
    else if (Array.isArray(one)) {
      // The numbers of a vector are not searchable.
      if (!(one.length > 16 && typeof one[0] === "number")) left.push(...one.slice(0, 10000).reverse());
    } else if (one) {
      for (const [name, member] of Object.entries(one).reverse()) {
        left.push(member);
        into.push(name);
      }
    }
  }
}

const texts = [];
/** The searchable text of a recording, which is made when it is first needed. */
const textOf = (at) => (texts[at] ??= searchable(recordings[at], recordingAt(at) ?? {}));

/** The searchable text of a recording in lower case; streams are joined. */
function searchable({ name, title, answer, model }, recording) {
  const texts = [
    name,
    title,
    answer,
    model,
    recording.line,
    recording.key,
    recording.error,
    recording.from,
    recording.test,
  ];
  const add = (body, value) => {
    if (value !== undefined) collect(value, texts);
    else if (body?.text !== undefined) texts.push(body.text);
    for (const part of body?.parts ?? []) texts.push(part.name, part.filename, part.content_type, part.body?.text);
  };
  add(recording.body, recording.body?.text === undefined ? undefined : parsed(recording.body.text));
  for (const response of recording.responses ?? []) {
    texts.push(...headOf(response));
    add(
      response.body,
      attempt(() => contentOf(response)),
    );
  }
  return texts.filter(Boolean).join("\n").toLowerCase();
}

/** The words to search for; words in quotes are one phrase. */
const searchWords = () =>
  [...search.value.toLowerCase().matchAll(/"([^"]+)"?|(\S+)/g)].map((found) => found[1] ?? found[2]);

/** The elements with recorded text, as opposed to the labels and buttons of the page. */
const RECORDED = "h2, .title, .answer, .text, .value, pre, code, td";

/** Marks the words of the search in recorded text, in browsers with the CSS Custom Highlight API. */
function highlight() {
  if (!globalThis.CSS?.highlights) return;
  CSS.highlights.delete("found");
  const words = searchWords();
  if (!words.length) return;
  const ranges = [detail, listElement].flatMap((root) => rangesIn(root, words));
  CSS.highlights.set("found", new Highlight(...ranges));
}

function rangesIn(root, words) {
  const isRecorded = ({ parentElement }) =>
    parentElement.closest(RECORDED) && !parentElement.closest("button, span.note");
  const ranges = [];
  const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  while (walker.nextNode() && ranges.length < 1000) {
    const node = walker.currentNode;
    if (!isRecorded(node)) continue;
    const text = node.data.toLowerCase();
    for (const word of words) {
      for (let at = text.indexOf(word); at >= 0; at = text.indexOf(word, at + word.length)) {
        if (at + word.length > node.length) break;
        const range = new Range();
        range.setStart(node, at);
        range.setEnd(node, at + word.length);
        ranges.push(range);
      }
    }
  }
  return ranges;
}
