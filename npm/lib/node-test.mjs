// For `node --import mistral-cassette/node-test --test`: a session for each test, and one for the hooks of its file.
import { AsyncResource } from "node:async_hooks";
import { statSync } from "node:fs";
import path from "node:path";
import { after, beforeEach } from "node:test";
import threads from "./threads.cjs";
import worker from "./worker.cjs";

const { closeFile, closeTest, isUnderRun, openTest, workerFor } = worker;
/** Outside of tests and hooks. */
const outside = new AsyncResource("mistral-cassette");

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

/** Ends the session of a test. */
async function endTest(context, session) {
  // A test that is expected to fail has both.
  const isExpectedToFail = context.passed === true && Boolean(context.error);
  await closeTest(session, { isSuccessful: context.passed !== false, isExpectedToFail });
}

// Under `mistral-cassette run` each request is served already, and in a thread of a test.
if (!isOnlyRunner() && !isUnderRun() && !threads.isPatchedThread()) {
  // Before the test file is loaded, which may make clients and send requests.
  await workerFor(process.cwd());
  const main = process.execArgv.includes("--test") ? undefined : mainFile();
  const ofFile = main && (await openTest({ file: main, titles: [] }));

  beforeEach(async (context) => {
    const file = context.filePath ?? main ?? path.resolve("tests");
    const session = await openTest({ file, titles: titlesOf(context), context });
    // It runs after the hooks `afterEach`, also if one of them fails or the test skips itself.
    context.after(() => endTest(context, session));
  });

  // The requests of the hooks of the file come before: this one is added behind them while they run.
  after(() => outside.runInAsyncScope(() => after(() => closeFile(ofFile))));
}
