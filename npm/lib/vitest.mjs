// For `setupFiles` of vitest: a session for each test, and one for the hooks of its file.
import { afterAll, afterEach, beforeEach, expect } from "vitest";
import worker from "./worker.cjs";

const { closeFile, isUnderRun, openTest } = worker;
const sessions = new WeakMap();

/** The titles of the suites of a test, and its own. */
function titlesOf(task) {
  return task.suite ? [...titlesOf(task.suite), task.name] : [task.name];
}

// Under `mistral-cassette run` each request is served already.
if (!isUnderRun()) {
  // Before the test file is loaded, which may make clients and send requests.
  const ofFile = await openTest({ file: expect.getState().testPath, titles: [] });

  beforeEach(async ({ task }) => {
    const isConcurrent = task.concurrent === true;
    const session = await openTest({ file: task.file.filepath, titles: titlesOf(task), context: task, isConcurrent });
    sessions.set(task, session);
  });

  afterEach(async ({ task }) => {
    const session = sessions.get(task);
    sessions.delete(task);
    if (!session) return;
    const closing = session.close({ isSuccessful: task.result?.state !== "fail" });
    const verdict = await closing.catch((error) => error.verdict);
    // For reporters.
    if (verdict) task.meta.mistralCassette = { outcome: verdict.outcome, counts: verdict.counts };
    await closing;
  });

  afterAll(() => closeFile(ofFile));
}
