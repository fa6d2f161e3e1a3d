"use strict";
// For `setupFilesAfterEnv` of Jest: a session for each test, and one for the hooks of its file.
const { interceptThreads, setKey } = require("./patch.cjs");
const { closeFile, closeTest, isUnderRun, openTest } = require("./worker.cjs");

const { afterAll, afterEach, beforeAll, beforeEach, expect } = globalThis;
let ofFile;
let session;

// Jest waits for the process only in `beforeAll`, and the test file is loaded before that.
setKey();
interceptThreads();

/** The state of jest-circus, which Jest itself does not show to hooks. */
function circus() {
  const symbol = Object.getOwnPropertySymbols(globalThis).find(
    ({ description }) => description === "JEST_STATE_SYMBOL",
  );
  return globalThis[symbol];
}

/** Moves a hook behind those of the test file. Jest has listed them already, so only what they do moves. */
function moveToEnd(own) {
  const all = circus()?.rootDescribeBlock.hooks ?? [];
  const at = all.findIndex((hook) => hook.fn === own);
  const hooks = all.slice(at).filter((hook) => hook.type === all[at].type);
  const moved = [...hooks.slice(1), hooks[0]].map((hook) => ({ ...hook }));
  hooks.forEach((hook, index) => Object.assign(hook, moved[index]));
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
  const endTest = async () => {
    const closing = session;
    session = undefined;
    if (closing) await closeTest(closing, { isSuccessful: !circus()?.currentlyRunningTest?.errors.length });
  };
  const endFile = async () => {
    if (ofFile) await closeFile(ofFile);
  };

  beforeAll(async () => {
    // The requests of all other hooks come before.
    for (const own of [endTest, endFile]) moveToEnd(own);
    ofFile = await openTest({ file: file(), titles: [] });
  });

  beforeEach(async () => {
    const test = circus()?.currentlyRunningTest;
    const titles = test ? titlesOf(test) : [expect.getState().currentTestName];
    session = await openTest({ file: file(), titles });
  });

  afterEach(endTest);
  afterAll(endFile);
}
