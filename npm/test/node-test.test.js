import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { ASK, KEY, THREAD, cassettes, project, run, standIn } from "./support.js";

const NODE = ["node", "--import", "mistral-cassette/node-test", "--test", "--test-reporter=tap"];

const TESTS = (word) => `
import assert from "node:assert/strict";
import { once } from "node:events";
import { after, afterEach, before, describe, it, test } from "node:test";
import { Worker } from "node:worker_threads";
import { current } from "mistral-cassette";
import { ask } from "../ask.js";

let early;
before(async () => {
  early = await ask("in a hook");
});
afterEach(async (t) => {
  if (t.name === "in a thread") await ask("after each");
});
after(async () => {
  await ask("at the end, ${word}").catch(() => undefined);
});

test("skips itself", (t) => t.skip());
test("in a thread", async () => {
  const thread = new Worker("./thread.js", { workerData: "from a thread" });
  assert.deepEqual(await once(thread, "message"), ["FROM A THREAD"]);
});
test("the capital", async (t) => {
  assert.equal(early, "IN A HOOK");
  assert.equal(await ask("of France"), "OF FRANCE");
  await t.test("of another country", async () => {
    assert.equal(await ask("of Italy"), "OF ITALY");
  });
  assert.equal(await ask("of Spain"), "OF SPAIN");
});
describe("a suite", () => {
  it("swallows the error", async () => {
    await ask("${word}").catch(() => undefined);
  });
});
describe("at the same time", { concurrency: true }, () => {
  for (const word of ["one", "two"]) {
    it("asks " + word, async (t) => {
      assert.equal(await ask(word, { headers: current(t).headers }), word.toUpperCase());
    });
  }
});
`;

/** Ends its process in the middle of a test. */
const EXITS = `
import { test } from "node:test";
import { ask } from "../ask.js";

test("exits", async () => {
  await ask("before the exit").catch(() => undefined);
  process.exit(0);
});
`;

test("node:test records and replays each test in its own scope, and a missing recording fails its own test", async (context) => {
  const server = await standIn();
  context.after(() => server.close());
  const tests = { "tests/a.test.js": TESTS("a"), "tests/b.test.js": TESTS("b"), "tests/c.test.js": EXITS };
  const folder = project(context, { "ask.js": ASK, "thread.js": THREAD, ...tests });
  const files = ["tests/a.test.js", "tests/b.test.js"];
  const variables = { MISTRAL_CASSETTE_UPSTREAM: server.url };
  const recorded = await run(folder, [...NODE, ...files], { ...variables, MISTRAL_API_KEY: KEY });
  assert.equal(recorded.status, 0, recorded.text);
  const names = cassettes(folder);
  assert.deepEqual(names.slice(0, names.length / 2), [
    "tests/a.test.js/a-suite/swallows-the-error/chat-completions/a",
    "tests/a.test.js/at-the-same-time/asks-one/chat-completions/one",
    "tests/a.test.js/at-the-same-time/asks-two/chat-completions/two",
    "tests/a.test.js/chat-completions/at-the-end-a",
    "tests/a.test.js/chat-completions/in-a-hook",
    "tests/a.test.js/in-a-thread/chat-completions/after-each",
    "tests/a.test.js/in-a-thread/chat-completions/from-a-thread",
    "tests/a.test.js/the-capital/chat-completions/of-france",
    "tests/a.test.js/the-capital/chat-completions/of-spain",
    "tests/a.test.js/the-capital/of-another-country/chat-completions/of-italy",
  ]);
  const sent = server.count;
  writeFileSync(path.join(folder, "tests/b.test.js"), TESTS("c"));
  const missed = await run(folder, [...NODE, ...files, "tests/c.test.js"], { ...variables, CI: "true" });
  assert.equal(missed.status, 1, missed.text);
  assert.match(missed.text, /not ok 1 - swallows the error/);
  assert.match(missed.text, /1 request was not recorded \(tests\/b\.test\.js\/a-suite\/swallows-the-error\)/);
  assert.match(missed.text, /- b\n.*\+ c\n.*hint: to record it/);
  assert.match(missed.text, /error: \|-\n +1 request was not recorded \(tests\/b\.test\.js\)/);
  assert.match(missed.text, /# mistral-cassette: 1 request was not recorded \(tests\/c\.test\.js\/exits\)/);
  assert.match(missed.text, /not ok \d+ - .*c\.test\.js\n/);
  // The test, the hook, and the file.
  assert.match(missed.text, /# fail 3\n/);
  assert.equal(server.count, sent);
});
