import assert from "node:assert/strict";
import { existsSync, writeFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { ASK, KEY, PACKAGE, cassettes, project, run, standIn } from "./support.js";

const VITEST = ["node", path.join(PACKAGE, "test/node_modules/vitest/vitest.mjs"), "run"];
const skip = existsSync(VITEST[1]) ? false : "vitest is not installed: ./scripts/test installs it";

const TESTS = `
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
    const folder = project(context, { "vitest.config.js": CONFIG, "ask.js": ASK, ...tests }, ["vitest"]);
    const upstream = { MISTRAL_CASSETTE_UPSTREAM: server.url };
    const recorded = await run(folder, [...VITEST, "--pool=forks"], { ...upstream, MISTRAL_API_KEY: KEY });
    assert.equal(recorded.status, 0, recorded.text);
    assert.deepEqual(cassettes(folder), [
      "tests/a.test.js/a-suite/asks-one/chat-completions/of-france",
      "tests/a.test.js/a-suite/asks-one/chat-completions/one",
      "tests/a.test.js/a-suite/asks-two/chat-completions/of-france",
      "tests/a.test.js/a-suite/asks-two/chat-completions/two",
      "tests/a.test.js/chat-completions/in-a-hook",
      "tests/a.test.js/the-capital/chat-completions/of-france",
      "tests/b.test.js/an-innocent-test/chat-completions/of-france",
      "tests/b.test.js/expects-the-error/chat-completions/something",
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
    assert.match(missed.text, /Tests +1 failed \| 8 passed/);
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
`;
    const lost = `
import { test } from "vitest";
import { ask } from "../ask.js";

test.concurrent("names no scope", async () => {
  await ask("three").catch(() => undefined);
});
`;
    const options = { name: "p", type: "module", "mistral-cassette": { save: "on-success", upstream: server.url } };
    const files = {
      "package.json": options,
      "vitest.config.js": CONFIG,
      "ask.js": ASK,
      "tests/d.test.js": fails,
      "tests/e.test.js": lost,
    };
    const folder = project(context, files, ["vitest"]);
    const recorded = await run(folder, VITEST, { MISTRAL_API_KEY: KEY });
    assert.equal(recorded.status, 1, recorded.text);
    assert.equal(server.count, 2);
    assert.deepEqual(cassettes(folder), ["tests/d.test.js/succeeds/chat-completions/one"]);
    assert.match(recorded.text, /FAIL +tests\/d.test.js > fails/);
    assert.match(
      recorded.text,
      /FAIL +tests\/e.test.js \[ tests\/e.test.js \]\nCassetteError: 1 request has failed \(of no test\)/,
    );
  },
);
