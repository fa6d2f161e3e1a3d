"use strict";
// Threads that a test starts (`node:worker_threads`) have modules of their own, which are patched before their program runs.
const { syncBuiltinESMExports } = require("node:module");
const path = require("node:path");
const threads = require("node:worker_threads");

/** What threads get of the thread that starts them. */
const GIVEN = "mistral-cassette";
const ORIGINAL = Symbol.for("mistral-cassette.Worker");
const PRELOAD = path.join(__dirname, "thread-preload.cjs");

/** The options with which a thread loads the preload. Those that are inherited may be invalid for it: then without them. */
function withPreload(options = {}) {
  const { env, execArgv } = options;
  if (execArgv || env === threads.SHARE_ENV) {
    const withArguments = (others) => ({ ...options, execArgv: [...others, "--require", PRELOAD] });
    return execArgv ? [withArguments(execArgv)] : [withArguments(process.execArgv), withArguments([])];
  }
  // Only so do the options of the command line still apply.
  const require = `--require "${PRELOAD.replace(/[\\"]/g, "\\$&")}"`;
  const variables = env ?? process.env;
  const withOptions = (...all) => ({ ...options, env: { ...variables, NODE_OPTIONS: all.filter(Boolean).join(" ") } });
  const inherited = withOptions(variables.NODE_OPTIONS, require);
  return env ? [inherited] : [inherited, withOptions(require)];
}

/** Patches threads that are started from now on, as soon as there is a proxy. */
function interceptThreads() {
  // Jest loads this file again for each test file, whose `process` it takes away at its end.
  threads[ORIGINAL] ??= threads.Worker;
  threads.Worker = new Proxy(threads[ORIGINAL], {
    construct(target, [file, options, ...others], newTarget) {
      const start = (given) => Reflect.construct(target, [file, given, ...others], newTarget);
      if (!givenByParent()) return start(options);
      const [first, second] = withPreload(options);
      try {
        return start(first);
      } catch (error) {
        if (!second || error.code !== "ERR_WORKER_INVALID_EXEC_ARGV") throw error;
        return start(second);
      }
    },
  });
  syncBuiltinESMExports();
}

/** What the preload needs in threads that are started from now on. */
function giveToThreads(value) {
  threads.setEnvironmentData(GIVEN, value);
}

function givenByParent() {
  return threads.getEnvironmentData(GIVEN);
}

/** Whether this is a thread that a patched one has started; asked before it is patched by itself. */
function isPatchedThread() {
  return !threads.isMainThread && givenByParent() !== undefined;
}

module.exports = { giveToThreads, givenByParent, interceptThreads, isPatchedThread };
