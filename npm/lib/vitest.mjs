// For `setupFiles` of vitest: a session for each test, and one for the hooks of its file.
import { beforeAll, beforeEach, expect } from "vitest";
import worker from "./worker.cjs";

const { closeFile, closeTest, isUnderRun, openTest } = worker;
/** The tests that are expected to fail. */
const failing = new WeakSet();

/** Ends the session of a test. */
async function endTest(task, session) {
  const hasFailed = task.result?.state === "fail";
  const closing = closeTest(session, { isSuccessful: hasFailed === failing.has(task) });
  const verdict = await closing.then(
    (verdict) => verdict,
    (error) => {
      // It is not the failure that is expected.
      task.fails = false;
      return error.verdict;
    },
  );
  // For reporters.
  if (verdict) task.meta.mistralCassette = { outcome: verdict.outcome, counts: verdict.counts };
  await closing;
}

/** The titles of the suites of a test, and its own. */
function titlesOf(task) {
  return task.suite ? [...titlesOf(task.suite), task.name] : [task.name];
}

// Under `mistral-cassette run` each request is served already.
if (!isUnderRun()) {
  // Before the test file is loaded, which may make clients and send requests.
  const ofFile = await openTest({ file: expect.getState().testPath, titles: [] });

  beforeEach(async ({ task, onTestFinished }) => {
    if (task.fails) failing.add(task);
    // For a retry.
    task.fails = failing.has(task);
    const isConcurrent = task.concurrent === true;
    const session = await openTest({ file: task.file.filepath, titles: titlesOf(task), context: task, isConcurrent });
    // After all hooks, also if one of them fails.
    onTestFinished(() => endTest(task, session));
  });

  // After the hooks `afterAll`, in whatever order they run.
  beforeAll(() => () => closeFile(ofFile));
}
