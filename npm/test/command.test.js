import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import command from "../lib/command.cjs";
import { PACKAGE, environment, project, run } from "./support.js";

const LAUNCHER = ["node", "node_modules/mistral-cassette/bin/mistral-cassette.cjs"];
const isWindows = process.platform === "win32";
const skip = isWindows && "the stand-in for the command is a shell script";

/** A stand-in for the command, as the package for this platform has it. */
function installPlatform(folder, script) {
  const name = `@mistral-cassette/${command.platform()}`;
  write(path.join(folder, "node_modules", name), script);
  writeFileSync(path.join(folder, "node_modules", name, "package.json"), JSON.stringify({ name }));
}

function write(folder, script) {
  mkdirSync(folder, { recursive: true });
  const file = path.join(folder, command.executableName());
  writeFileSync(file, `#!/bin/sh\n${script}\n`);
  chmodSync(file, 0o755);
  return file;
}

const NOT_GIVEN = { MISTRAL_CASSETTE_COMMAND: "" };

test("the launcher passes arguments and the exit status", { skip }, async (context) => {
  const folder = project(context, {});
  installPlatform(folder, 'echo "[$*]"; exit 7');
  const done = await run(folder, [...LAUNCHER, "run", "--", "a b"], NOT_GIVEN);
  assert.deepEqual(done, { status: 7, signal: null, text: "[run -- a b]\n" });
});

test("the launcher passes signals on, and ends by the signal of the command", { skip }, async (context) => {
  const folder = project(context, {});
  installPlatform(
    folder,
    "trap 'echo got TERM; trap - TERM; kill -TERM $$' TERM; echo started; while :; do sleep 0.01; done",
  );
  const child = spawn("node", LAUNCHER.slice(1), {
    cwd: folder,
    env: environment(NOT_GIVEN),
    stdio: ["ignore", "pipe", "inherit"],
  });
  let printed = "";
  child.stdout.on("data", (chunk) => {
    if (printed === "") child.kill("SIGTERM");
    printed += chunk;
  });
  const signal = await new Promise((resolve) => child.on("close", (_, signal) => resolve(signal)));
  assert.equal(printed, "started\ngot TERM\n");
  assert.equal(signal, "SIGTERM");
});

test("without the package of the platform, the error names it and says what to do", { skip }, async (context) => {
  const folder = project(context, {});
  const PATH = path.dirname(process.execPath);
  const done = await run(folder, LAUNCHER, { ...NOT_GIVEN, PATH });
  assert.equal(done.status, 2);
  assert.match(done.text, new RegExp(`the package @mistral-cassette/${command.platform()} is not installed\nhint: `));
});

test("MISTRAL_CASSETTE_COMMAND comes first, then the package, then the PATH", { skip }, async (context) => {
  const folder = project(context, {});
  const onPath = path.join(folder, "path");
  write(onPath, "echo path");
  const given = write(path.join(folder, "given"), "echo given");
  const PATH = [onPath, process.env.PATH].join(path.delimiter);
  assert.equal((await run(folder, LAUNCHER, { ...NOT_GIVEN, PATH })).text, "path\n");
  installPlatform(folder, "echo package");
  assert.equal((await run(folder, LAUNCHER, { ...NOT_GIVEN, PATH })).text, "package\n");
  assert.equal((await run(folder, LAUNCHER, { MISTRAL_CASSETTE_COMMAND: given, PATH })).text, "given\n");
  const missing = await run(folder, LAUNCHER, { MISTRAL_CASSETTE_COMMAND: `${given}-not`, PATH });
  assert.match(missing.text, /cannot execute the command that MISTRAL_CASSETTE_COMMAND names: .*given.*-not\n/);
});

test("the manifest names the package of each platform, in its own version", () => {
  const manifest = JSON.parse(readFileSync(path.join(PACKAGE, "package.json"), "utf8"));
  const expected = command.PLATFORMS.map((platform) => [`@mistral-cassette/${platform}`, manifest.version]);
  assert.deepEqual(Object.entries(manifest.optionalDependencies), expected);
});
