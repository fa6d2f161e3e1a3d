import assert from "node:assert/strict";
import { existsSync, writeFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { ASK, KEY, PACKAGE, THREAD, cassettes, project, run, standIn } from "./support.js";

const VITEST = ["node", path.join(PACKAGE, "test/node_modules/vitest/vitest.mjs"), "run"];
const skip = existsSync(VITEST[1]) ? false : "vitest is not installed: ./scripts/test installs it";

const TESTS = `
import { once } from "node:events";
import { Worker } from "node:worker_threads";
import { beforeAll, describe, expect, test } from "vitest";
import { current } from "mistral-cassette";
import { ask } from "../ask.js";

let before;
beforeAll(async () => {
  before = await ask("in a hook");
});

test("the capital", async () => {
  expect(before).toBe("IN A HOOK");
  expect(await ask("of France")).toBe("OF FRANCE");
  expect(current().scope).toBe("tests/a.test.js/the-capital");
});

test("in a thread", async () => {
  const thread = new Worker("./thread.js", { workerData: "from a thread" });
  expect(await once(thread, "message")).toEqual(["FROM A THREAD"]);
});

describe("a suite", () => {
  test.each([["one"], ["two"]])("asks %s", async (word) => {
    expect(await ask("of France")).toBe("OF FRANCE");
    expect(await ask(word)).toBe(word.toUpperCase());
  });
});
`;

const CONFIG = `export default { test: { setupFiles: ["mistral-cassette/vitest"] } };`;

/** With a word that is recorded, and one that is not. */
const FAILS = (word) => `
import { expect, test } from "vitest";
import { current } from "mistral-cassette";
import { ask } from "../ask.js";

test("an innocent test", async () => {
  expect(await ask("of France")).toBe("OF FRANCE");
});
test("swallows the error", async () => {
  await ask("${word}").catch(() => undefined);
});
test("expects the error", async () => {
  current().allowFailures();
  await ask("${word}").catch(() => undefined);
});
test("sends nothing", () => {});
test.fails("is expected to fail", async () => {
  await ask("${word}").catch(() => undefined);
  throw new Error("as expected");
});
`;

const CONCURRENT = `
import { describe, expect, test } from "vitest";
import { current } from "mistral-cassette";
import { ask } from "../ask.js";

describe.concurrent("at the same time", () => {
  test.for(["three", "four"])("asks %s", async (word, context) => {
    const session = current(context);
    expect(await ask(word, { headers: session.headers })).toBe(word.toUpperCase());
  });
});
`;

test(
  "vitest records each test in its own scope, replays them, and a missing recording fails its own test",
  { skip },
  async (context) => {
    const server = await standIn();
    context.after(() => server.close());
    const tests = { "tests/a.test.js": TESTS, "tests/b.test.js": FAILS("something"), "tests/c.test.js": CONCURRENT };
    const files = { "vitest.config.js": CONFIG, "ask.js": ASK, "thread.js": THREAD, ...tests };
    const folder = project(context, files, ["vitest"]);
    const upstream = { MISTRAL_CASSETTE_UPSTREAM: server.url };
    const recorded = await run(folder, [...VITEST, "--pool=forks"], { ...upstream, MISTRAL_API_KEY: KEY });
    assert.equal(recorded.status, 0, recorded.text);
    assert.deepEqual(cassettes(folder), [
      "tests/a.test.js/a-suite/asks-one/chat-completions/of-france",
      "tests/a.test.js/a-suite/asks-one/chat-completions/one",
      "tests/a.test.js/a-suite/asks-two/chat-completions/of-france",
      "tests/a.test.js/a-suite/asks-two/chat-completions/two",
      "tests/a.test.js/chat-completions/in-a-hook",
      "tests/a.test.js/in-a-thread/chat-completions/from-a-thread",
      "tests/a.test.js/the-capital/chat-completions/of-france",
      "tests/b.test.js/an-innocent-test/chat-completions/of-france",
      "tests/b.test.js/expects-the-error/chat-completions/something",
      "tests/b.test.js/is-expected-to-fail/chat-completions/something",
      "tests/b.test.js/swallows-the-error/chat-completions/something",
      "tests/c.test.js/at-the-same-time/asks-four/chat-completions/four",
      "tests/c.test.js/at-the-same-time/asks-three/chat-completions/three",
    ]);
    const sent = server.count;
    writeFileSync(path.join(folder, "tests/b.test.js"), FAILS("something else"));
    // Without a key, and in the other kind of worker.
    const missed = await run(folder, [...VITEST, "--pool=threads", "--reporter=verbose"], { ...upstream, CI: "true" });
    assert.equal(missed.status, 1, missed.text);
    assert.match(missed.text, /✓ tests\/b.test.js > an innocent test/);
    assert.match(missed.text, /✓ tests\/b.test.js > expects the error/);
    assert.match(missed.text, /FAIL +tests\/b.test.js > swallows the error/);
    assert.match(missed.text, /1 request was not recorded \(tests\/b.test.js\/swallows-the-error\)/);
    assert.match(missed.text, /- something\n.*\+ something else\n.*hint: to record it/);
    assert.match(
      missed.text,
      /FAIL +tests\/b.test.js > is expected to fail\nCassetteError: 1 request was not recorded/,
    );
    assert.match(missed.text, /Tests +2 failed \| 9 passed/);
    assert.equal(server.count, sent);
  },
);

test(
  "vitest saves only what a successful test has recorded, and fails a file with requests that belong to no test",
  { skip },
  async (context) => {
    const server = await standIn();
    context.after(() => server.close());
    const fails = `
import { expect, test } from "vitest";
import { ask } from "../ask.js";

test("succeeds", async () => expect(await ask("one")).toBe("ONE"));
test("fails", async () => expect(await ask("two")).toBe("three"));
test.fails("is expected to fail", async () => expect(await ask("three")).toBe("four"));
test("fails in a hook", async ({ onTestFinished }) => {
  onTestFinished(() => {
    throw new Error("in a hook");
  });
  await ask("five");
});
`;
    const left = `
import { afterAll, beforeAll, expect, test } from "vitest";
import { use } from "mistral-cassette";
import { ask } from "../ask.js";

beforeAll(async () => {
  await use("of-the-file", { mode: "strict" });
  await ask("for the file").catch(() => undefined);
});
afterAll(async () => {
  await use("at-the-end");
  expect(await ask("at the end")).toBe("AT THE END");
});
test("leaves a session open", async () => {
  await use("left", { mode: "strict" });
  await ask("for the test").catch(() => undefined);
});
test("follows", async () => expect(await ask("six")).toBe("SIX"));
`;
    const lost = `
import { test } from "vitest";
import { ask } from "../ask.js";

test.concurrent("names no scope", async () => {
  await ask("three").catch(() => undefined);
});
for (const word of ["one", "two"]) {
  test.concurrent("has a namesake", () => {});
}
`;
    const hooks = `export default { test: { setupFiles: ["mistral-cassette/vitest"], sequence: { hooks: "list" } } };`;
    const options = { name: "p", type: "module", "mistral-cassette": { save: "on-success", upstream: server.url } };
    const files = {
      "package.json": options,
      "vitest.config.js": hooks,
      "ask.js": ASK,
      "tests/d.test.js": fails,
      "tests/e.test.js": lost,
      "tests/f.test.js": left,
    };
    const folder = project(context, files, ["vitest"]);
    const recorded = await run(folder, VITEST, { MISTRAL_API_KEY: KEY });
    assert.equal(recorded.status, 1, recorded.text);
    assert.equal(server.count, 6);
    assert.deepEqual(cassettes(folder), [
      "at-the-end/chat-completions/at-the-end",
      "tests/d.test.js/is-expected-to-fail/chat-completions/three",
      "tests/d.test.js/succeeds/chat-completions/one",
      "tests/f.test.js/follows/chat-completions/six",
    ]);
    assert.match(recorded.text, /FAIL +tests\/d.test.js > fails/);
    assert.match(recorded.text, /FAIL +tests\/d.test.js > fails in a hook/);
    assert.match(
      recorded.text,
      /FAIL +tests\/e.test.js \[ tests\/e.test.js \]\nCassetteError: 1 request has failed \(of no test\)/,
    );
    assert.match(recorded.text, /no session is current\nhint: a concurrent test names its session/);
    assert.match(recorded.text, /> has a namesake\nCassetteError: two concurrent tests have the same name.*\nhint: /);
    const notClosed = (scope) =>
      `CassetteError: 1 request was not recorded \\(${scope}\\)[^]*?scope ${scope} was not closed\nhint: close it`;
    assert.match(recorded.text, new RegExp(`FAIL +tests/f.test.js > leaves a session open\n${notClosed("left")}`));
    assert.match(
      recorded.text,
      new RegExp(`FAIL +tests/f.test.js \\[ tests/f.test.js \\]\n${notClosed("of-the-file")}`),
    );
    assert.match(recorded.text, /Tests +4 failed \| 4 passed \| 1 expected fail/);
  },
);
