import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { PACKAGE, project, run } from "./support.js";

const TSC = path.join(PACKAGE, "test/node_modules/.bin/tsc");
const skip = existsSync(TSC) ? false : "typescript is not installed: ./scripts/test installs it";

const CONSUMER = `
import "mistral-cassette/vitest";
import "mistral-cassette/node-test";
import "mistral-cassette/jest";
import { CassetteError, configure, current, findCommand, pace, use } from "mistral-cassette";
import type { Mode, Options, Session, Verdict } from "mistral-cassette";

const options: Options = { mode: "strict", save: "on-success", intercept: ["api.example.com"], blockNetwork: true };
configure(options);
const command: string = findCommand();

export async function example(context: object): Promise<string | undefined> {
  await using session = await use("name", { mode: "replay", pace: "0.5x" });
  const other: Session = current(context).allowFailures();
  const base: string = session.baseUrl;
  const verdict: Verdict = await other.verdict({ waitMs: 10 });
  const mode: Mode = session.mode;
  const headers: Record<string, string> = { ...pace("recorded"), ...session.headers };
  try {
    await session.close({ waitMs: 10_000 });
  } catch (error) {
    if (error instanceof CassetteError) return error.verdict?.failures[0]?.text;
  }
  return [command, base, verdict.outcome, mode, headers].join();
}

// @ts-expect-error: it is no mode
configure({ mode: "sometimes" });
// @ts-expect-error: there is no such option
await use("name", { upstream: "http://x" });
`;

/** The same for a program without ES modules. */
const COMMON = CONSUMER.replace(/^await use/m, "void use").replace(
  /import "mistral-cassette\/(vitest|node-test)";\n/g,
  "",
);

test("the types hold for programs in strict TypeScript, with ES modules and without", { skip }, async (context) => {
  const compilerOptions = {
    strict: true,
    noEmit: true,
    module: "nodenext",
    target: "es2022",
    lib: ["es2022", "esnext.disposable"],
    types: ["node"],
  };
  const files = {
    "tsconfig.json": { compilerOptions, include: ["*.mts", "*.cts"] },
    "a.mts": CONSUMER,
    "b.cts": COMMON,
  };
  const folder = project(context, files, ["@types/node", "vitest"]);
  const checked = await run(folder, [TSC, "--project", "."]);
  assert.deepEqual(checked, { status: 0, signal: null, text: "" });
});
