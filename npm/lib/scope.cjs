"use strict";
// The names of scopes: a folder for the file of a test, each suite in it, and the test. What a scope may be: docs/cassettes.md.
const { createHash } = require("node:crypto");
const path = require("node:path");

const LONGEST = 200;
const LONGEST_FOLDER = 100;
const DIGITS = 10;
const RESERVED = /^(bodies|.*\.yaml|(con|prn|aux|nul|com\d|lpt\d)(\..*)?)$/i;

/** The words of a name, and digits of a hash of all of it. */
function hashed(name, longest = LONGEST_FOLDER) {
  const words = name
    .normalize("NFKD")
    .replace(/\p{M}/gu, "")
    .replace(/[^A-Za-z0-9_]+/g, "-")
    .replace(/^-/, "")
    .slice(0, longest - DIGITS - 1)
    .replace(/-$/, "");
  const digits = createHash("sha256").update(name).digest("hex").slice(0, DIGITS);
  return [words, digits].filter(Boolean).join("-");
}

/** The folder of a file or a function: its name, if that can be a folder on each system and is not the one of another. */
function folderOf(name) {
  const isPortable = /^[A-Za-z0-9_-]([A-Za-z0-9_.-]*[A-Za-z0-9_-])?$/.test(name) && !RESERVED.test(name);
  const isOfAnother = new RegExp(`(^|-)[0-9a-f]{${DIGITS}}$`).test(name);
  return isPortable && !isOfAnother && name.length <= LONGEST_FOLDER ? name : hashed(name);
}

/** The folder of a title: its words with `-` between them, and digits of a hash where a character is lost. */
function folderOfTitle(title) {
  const isOnlyWords = /^[A-Za-z0-9_]+( [A-Za-z0-9_]+)*$/.test(title);
  return isOnlyWords ? folderOf(title.replaceAll(" ", "-")) : hashed(title);
}

/** The scope of a test: `test/chat.test.js/the-capital`. It depends only on the path below the package, and the titles. */
function scopeOf(file, titles, root) {
  const parts = path.relative(root, file).split(path.sep);
  const folders = [...parts.map(folderOf), ...titles.map((title) => folderOfTitle(title.normalize("NFC")))];
  const scope = folders.join("/");
  if (scope.length <= LONGEST) return scope;
  // Folders in the middle are left out, and the digits are those of all.
  const last = hashed([...parts, ...titles].join("/"), 80);
  const kept = [];
  for (const folder of folders.slice(0, -1)) {
    if ([...kept, folder, last].join("/").length > LONGEST) break;
    kept.push(folder);
  }
  return [...kept, last].join("/");
}

module.exports = { scopeOf };
