import assert from "node:assert/strict";
import { existsSync, writeFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { ASK, KEY, PACKAGE, THREAD, cassettes, project, run, standIn } from "./support.js";

const JEST = ["node", path.join(PACKAGE, "test/node_modules/jest/bin/jest.js"), "--color=false"];
const skip = existsSync(JEST[1]) ? false : "jest is not installed: ./scripts/test installs it";

const TESTS = (word) => `
const { once } = require("node:events");
const { Worker } = require("node:worker_threads");
const { current } = require("mistral-cassette");
const { ask } = require("../ask.js");

let before;
beforeAll(async () => {
  before = await ask("in a hook");
});
afterEach(async () => {
  await ask("after each");
});
afterAll(async () => {
  await ask("${word} at the end").catch(() => undefined);
});

test("the capital", async () => {
  expect(before).toBe("IN A HOOK");
  expect(await ask("of France")).toBe("OF FRANCE");
  expect(current().scope).toMatch(/the-capital$/);
});
test("in a thread", async () => {
  const thread = new Worker("./thread.mjs", { workerData: "from a thread" });
  expect(await once(thread, "message")).toEqual(["FROM A THREAD"]);
});
describe("a suite", () => {
  test("swallows the error", async () => {
    await ask("${word}").catch(() => undefined);
  });
});
`;

test(
  "Jest records each test in its own scope, replays them, and a missing recording fails its own test",
  { skip },
  async (context) => {
    const server = await standIn();
    context.after(() => server.close());
    const files = {
      "package.json": { jest: { setupFilesAfterEnv: ["mistral-cassette/jest"] } },
      "ask.js": ASK.replace("export async function", "exports.ask = async function"),
      "ask.mjs": ASK,
      "thread.mjs": THREAD.replace("ask.js", "ask.mjs"),
      "tests/a.test.js": TESTS("something"),
      "tests/b.test.js": TESTS("something"),
    };
    const folder = project(context, files);
    const upstream = { MISTRAL_CASSETTE_UPSTREAM: server.url };
    // All files in one process.
    const recorded = await run(folder, [...JEST, "--runInBand"], { ...upstream, MISTRAL_API_KEY: KEY });
    assert.equal(recorded.status, 0, recorded.text);
    const names = cassettes(folder);
    assert.deepEqual(names.slice(0, names.length / 2), [
      "tests/a.test.js/a-suite/swallows-the-error/chat-completions/after-each",
      "tests/a.test.js/a-suite/swallows-the-error/chat-completions/something",
      "tests/a.test.js/chat-completions/in-a-hook",
      "tests/a.test.js/chat-completions/something-at-the-end",
      "tests/a.test.js/in-a-thread/chat-completions/after-each",
      "tests/a.test.js/in-a-thread/chat-completions/from-a-thread",
      "tests/a.test.js/the-capital/chat-completions/after-each",
      "tests/a.test.js/the-capital/chat-completions/of-france",
    ]);
    const sent = server.count;
    writeFileSync(path.join(folder, "tests/b.test.js"), TESTS("something else"));
    const missed = await run(folder, JEST, { ...upstream, CI: "true" });
    assert.equal(missed.status, 1, missed.text);
    assert.match(missed.text, /● a suite › swallows the error/);
    assert.match(missed.text, /1 request was not recorded \(tests\/b.test.js\/a-suite\/swallows-the-error\)/);
    assert.match(missed.text, /- something\n.*\+ something else\n[^]*?hint: to record it/);
    assert.match(
      missed.text,
      /● Test suite failed to run\n+ +CassetteError: 1 request was not recorded \(tests\/b.test.js\)/,
    );
    assert.match(missed.text, /Tests: +1 failed, 5 passed, 6 total/);
    assert.equal(server.count, sent);
  },
);
