"use strict";
// The names of scopes: a folder for the file of a test, each suite in it, and the test.
const { createHash } = require("node:crypto");
const path = require("node:path");

const LONGEST = 80;
const RESERVED_BY_WINDOWS = /^(con|prn|aux|nul|com\d|lpt\d)(\.|$)/i;

function hashed(name) {
  const words = name
    .replace(/[^A-Za-z0-9]+/g, "-")
    .slice(0, LONGEST)
    .replace(/^-+|-+$/g, "");
  const digits = createHash("sha256").update(name).digest("hex").slice(0, 8);
  return [words, digits].filter(Boolean).join("-");
}

/** The folder of a file or a function: its name, if that can be a folder on each system. */
function folderOf(name) {
  const isValid = /^[A-Za-z0-9_][A-Za-z0-9_.-]*$/.test(name) && !name.endsWith(".");
  return isValid && name.length <= LONGEST && !RESERVED_BY_WINDOWS.test(name) ? name : hashed(name);
}

/**
 * The folder of a title: its words with `-` between them, and eight digits of a hash if another title could have the same
 * folder.
 */
function folderOfTitle(title) {
  const isWords = /^[A-Za-z0-9_]+( [A-Za-z0-9_]+)*$/.test(title);
  return isWords ? folderOf(title.replaceAll(" ", "-")) : hashed(title);
}

/** The folders of a file below its package. */
function foldersOfFile(file, root) {
  const relative = path.relative(root, file);
  return relative.split(path.sep).map(folderOf);
}

/** The scope of a test: `test/chat.test.js/the-capital`. */
function scopeOf(file, titles, root) {
  return [...foldersOfFile(file, root), ...titles.map(folderOfTitle)].join("/");
}

module.exports = { scopeOf };
