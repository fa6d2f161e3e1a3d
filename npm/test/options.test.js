import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import options from "../lib/options.cjs";
import { project } from "./support.js";

const { check, checkSession, commandLine, optionsFor, packageRoot, sessionMembers } = options;

/** Sets variables of this process until the end of the test. */
function setVariables(context, variables) {
  for (const [name, value] of Object.entries(variables)) {
    const before = process.env[name];
    process.env[name] = value;
    context.after(() => (before === undefined ? delete process.env[name] : (process.env[name] = before)));
  }
}

test("code overrides the environment, which overrides package.json", (context) => {
  const own = { mode: "live", dir: "recordings", save: "on-success", intercept: ["a.example"] };
  const root = project(context, { "package.json": { "mistral-cassette": own } });
  setVariables(context, { MISTRAL_CASSETTE_MODE: "replay", MISTRAL_CASSETTE_INTERCEPT: "b.example, c.example" });
  setVariables(context, { MISTRAL_CASSETTE_BLOCK_NETWORK: "0" });
  assert.deepEqual(optionsFor(root, { mode: "strict", dir: undefined }), {
    mode: "strict",
    dir: "recordings",
    save: "on-success",
    intercept: ["b.example", "c.example"],
    blockNetwork: false,
  });
});

test("an unknown or invalid option is an error that lists what is allowed", () => {
  assert.throws(
    () => check({ modus: "strict" }, "configure()"),
    /unknown option "modus" in configure\(\)\nhint: .*mode, dir/,
  );
  assert.throws(
    () => check({ mode: "strikt" }, "configure()"),
    /"strikt"\nhint: it must be one of record, replay, strict, live/,
  );
  assert.throws(() => check({ blockNetwork: "yes" }, "configure()"), /true or false/);
  assert.throws(() => check({ intercept: "a" }, "configure()"), /a list of strings/);
  assert.throws(() => checkSession({ upstream: "http://x" }), /unknown option "upstream" in the options of a session/);
});

test("an invalid option of package.json names the file", (context) => {
  const root = project(context, { "package.json": { "mistral-cassette": { save: "on_success" } } });
  assert.throws(() => optionsFor(root, {}), /the option save in "mistral-cassette" of .*package\.json is invalid/);
});

test("the options of the process become those of the command", () => {
  const given = {
    mode: "strict",
    upstream: "http://x",
    intercept: ["a", "b=http://c"],
    blockNetwork: true,
    allowCi: false,
    dir: "d",
  };
  const expected = [
    "--mode",
    "strict",
    "--upstream",
    "http://x",
    "--intercept",
    "a",
    "--intercept",
    "b=http://c",
    "--block-network",
  ];
  assert.deepEqual(commandLine(given), expected);
});

test("a folder is relative to the package of the test, and the URL of a cache stays", (context) => {
  const root = project(context, {});
  const nested = path.join(root, "src/deep");
  mkdirSync(nested, { recursive: true });
  assert.equal(packageRoot(nested), root);
  assert.equal(sessionMembers({ dir: "cassettes" }, root, root).directory, "cassettes");
  assert.equal(sessionMembers({ dir: "cassettes" }, root, nested).directory, path.join(root, "cassettes"));
  assert.equal(sessionMembers({ dir: "sqlite:cache.db" }, root, nested).directory, "sqlite:cache.db");
});
