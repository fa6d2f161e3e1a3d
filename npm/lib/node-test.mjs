// For `node --import mistral-cassette/node-test --test`: a session for each test, and one for the hooks of its file.
import { statSync } from "node:fs";
import path from "node:path";
import { after, afterEach, before, beforeEach } from "node:test";
import worker from "./worker.cjs";

const { closeFile, isUnderRun, openTest, workerFor } = worker;
const sessions = new WeakMap();
let ofFile;

/** The file of the tests of this process; with `--test` the parent process has none. */
function mainFile() {
  const [, main] = process.argv;
  const file = main && path.resolve(main);
  return file && statSync(file, { throwIfNoEntry: false })?.isFile() ? file : undefined;
}

function titlesOf(context) {
  return context.fullName.split(" > ");
}

/** Whether this process only starts one process for each file. */
function isOnlyRunner() {
  const options = process.execArgv;
  const isInOneProcess = options.some((option) => /^--(experimental-)?test-isolation=none$/.test(option));
  return options.includes("--test") && !process.env.NODE_TEST_CONTEXT && !isInOneProcess;
}

// Under `mistral-cassette run` each request is served already.
if (!isOnlyRunner() && !isUnderRun()) {
  // Before the test file is loaded, which may make clients.
  await workerFor(process.cwd());
  const main = process.execArgv.includes("--test") ? undefined : mainFile();

  before(async () => {
    if (main) ofFile = await openTest({ file: main, titles: [] });
  });

  beforeEach(async (context) => {
    const file = context.filePath ?? main ?? path.resolve("tests");
    sessions.set(context, await openTest({ file, titles: titlesOf(context), context }));
  });

  afterEach(async (context) => {
    const session = sessions.get(context);
    sessions.delete(context);
    await session?.close({ isSuccessful: context.passed !== false });
  });

  after(async () => {
    if (ofFile) await closeFile(ofFile);
  });
}
