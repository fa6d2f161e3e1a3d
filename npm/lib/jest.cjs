"use strict";
// For `setupFilesAfterEnv` of Jest: a session for each test, and one for the hooks of its file.
const { setKey } = require("./patch.cjs");
const { closeFile, isUnderRun, openTest } = require("./worker.cjs");

const { afterAll, afterEach, beforeAll, beforeEach, expect } = globalThis;
let ofFile;
let session;

// Jest waits for the process only in `beforeAll`, and the test file is loaded before that.
setKey();

/** The running test of jest-circus, which Jest itself does not show to hooks. */
function running() {
  const symbol = Object.getOwnPropertySymbols(globalThis).find(
    ({ description }) => description === "JEST_STATE_SYMBOL",
  );
  return globalThis[symbol]?.currentlyRunningTest;
}

function titlesOf(test) {
  // The first suite is the file.
  return test.parent ? [...titlesOf(test.parent), test.name] : [];
}

function file() {
  return expect.getState().testPath;
}

// Under `mistral-cassette run` each request is served already.
if (!isUnderRun()) {
  beforeAll(async () => {
    ofFile = await openTest({ file: file(), titles: [] });
  });

  beforeEach(async () => {
    const test = running();
    const titles = test ? titlesOf(test) : [expect.getState().currentTestName];
    session = await openTest({ file: file(), titles });
  });

  afterEach(async () => {
    const test = running();
    const closing = session;
    session = undefined;
    await closing?.close({ isSuccessful: !test?.errors.length });
  });

  afterAll(async () => {
    if (ofFile) await closeFile(ofFile);
  });
}
