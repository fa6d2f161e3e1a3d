"use strict";
// Loaded first in a thread that a test starts: its clients reach the same proxy as those of the test.
const { isMainThread } = require("node:worker_threads");
const { patch, preloadIn } = require("./patch.cjs");
const { givenByParent } = require("./threads.cjs");

// A program that a thread starts may inherit the option that loads this file.
const given = isMainThread ? undefined : givenByParent();
if (given) {
  // Node.js may have loaded it before this file, because NODE_OPTIONS names it. It comes after the certificate.
  delete require.cache[require.resolve(preloadIn(given.ready.environment.NODE_OPTIONS))];
  patch(given.ready, given.options, given.replacesProxy);
}
