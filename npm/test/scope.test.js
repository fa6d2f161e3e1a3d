import assert from "node:assert/strict";
import path from "node:path";
import { test } from "node:test";
import scope from "../lib/scope.cjs";

const root = path.resolve("/project");
const scopeOf = (file, ...titles) => scope.scopeOf(path.join(root, file), titles, root);

test("the scope of a test is its file, its suites and its title", () => {
  assert.equal(scopeOf("src/chat.test.ts"), "src/chat.test.ts");
  assert.equal(scopeOf("src/chat.test.ts", "a suite", "the capital"), "src/chat.test.ts/a-suite/the-capital");
  assert.equal(scopeOf("src/my-chat.test.ts", "test_capital"), "src/my-chat.test.ts/test_capital");
});

test("titles that could have the same folder get a hash", () => {
  const titles = ["a b", "a-b", "a  b", "a b!", " a b", "à b", "", ".", "..", "???"];
  const scopes = titles.map((title) => scopeOf("x.test.js", title));
  assert.equal(new Set(scopes).size, titles.length);
  assert.equal(scopes[0], "x.test.js/a-b");
  assert.match(scopes[1], /^x\.test\.js\/a-b-[0-9a-f]{10}$/);
});

test("each folder is one that every system allows", () => {
  for (const title of [
    "bodies",
    "x.yaml",
    "con",
    "NUL",
    "lpt9",
    "aux",
    "x".repeat(300),
    "日本語",
    "a/b\\c",
    "tab\t",
    "-",
    "a.",
  ]) {
    const folder = scopeOf("x.test.js", title).slice("x.test.js/".length);
    assert.match(folder, /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}$/);
    assert.doesNotMatch(folder, /^(con|nul|lpt9|aux|bodies)$|\.$|\.yaml$/i);
  }
  assert.match(scopeOf("../other/[id].test.js"), /^[0-9a-f]{10}\/other\/id-test-js-[0-9a-f]{10}$/);
});

test("a scope has at most 200 characters, and two tests never have the same one", () => {
  const suites = Array.from({ length: 9 }, (_, at) => `a suite with number ${at} and a long title`);
  const scopes = ["one", "two"].map((title) => scopeOf("x.test.js", ...suites, title));
  for (const scope of scopes) assert.ok(scope.length <= 200 && scope.startsWith("x.test.js/a-suite-with-number-0"));
  assert.notEqual(...scopes);
});
