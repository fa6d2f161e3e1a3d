"use strict";
// One process of the command for each worker of the test runner, and the sessions that are open in it.
const path = require("node:path");
const tls = require("node:tls");
const { Channel } = require("./channel.cjs");
const { CassetteError, joined } = require("./errors.cjs");
const { check, checkSession, commandLine, optionsFor, packageRoot, sessionMembers } = require("./options.cjs");
const { UNDER_RUN, isGivenUp, patch, usesProxyOfEnvironment } = require("./patch.cjs");
const { scopeOf } = require("./scope.cjs");
const { Session } = require("./session.cjs");
const { isPatchedThread } = require("./threads.cjs");

/**
 * The state of this worker is a member of a module of Node.js: a runner may load this file again for each test file, while
 * that module stays, and stays patched. A worker thread has modules of its own.
 */
const STATE = Symbol.for("mistral-cassette.worker");
const state = (tls[STATE] ??= {
  configured: {},
  /** The process for each set of options, and those that run. */
  workers: new Map(),
  running: new Set(),
  byContext: new WeakMap(),
  /** The tests that are running, and the last one with each name in their file. */
  tests: new Set(),
  named: new Map(),
  /** The errors of tests that the runner does not report. */
  unreported: [],
  hasConcurrentTests: false,
});

class Worker {
  #channel;
  /** Those that are open, in the order in which they were opened. */
  #sessions = [];
  /** The session to which requests belong that name no scope, for the process. */
  #attributed = null;
  /** The failures of requests of no session that were reported. */
  #reported = 0;

  constructor(channel, cwd) {
    this.#channel = channel;
    this.cwd = cwd;
  }

  static async start(options, root) {
    if (!state.isPatched && isPatchedThread()) {
      const hint = "hint: open it in the test; what its threads send belongs to it";
      throw new CassetteError(`a session cannot be opened in a thread that a test has started\n${hint}`);
    }
    if (isUnderRun()) {
      const hint = "hint: run the tests without it, or use only the base URL that it sets (MISTRAL_SERVER_URL)";
      throw new CassetteError(`a session cannot be opened under \`mistral-cassette run\`\n${hint}`);
    }
    const channel = await Channel.start(commandLine(options), { cwd: root });
    state.usesProxyOfEnvironment ??= usesProxyOfEnvironment();
    patch(channel.ready, options, state.usesProxyOfEnvironment);
    if (!state.isPatched) process.on("exit", endProcess);
    state.isPatched = true;
    const worker = new Worker(channel, root);
    state.running.add(worker);
    return worker;
  }

  get hasEnded() {
    return this.#channel.hasEnded;
  }

  request(command, members) {
    return this.#channel.request(command, members);
  }

  requestSync(command, members) {
    return this.#channel.requestSync(command, members);
  }

  async open(scope, members, test) {
    const isCurrent = members.current !== false;
    const opened = await this.request("open", { scope, ...members, current: false });
    const isHeldBack = members.save === "on_success";
    const owner = test ? undefined : (this.current?.owner ?? this.current);
    const session = new Session(this, scope, opened, { isCurrent, isHeldBack, test, owner });
    this.#sessions.push(session);
    await this.#attribute();
    return session;
  }

  /** Requests that name no scope do not belong to a session any more: its test has ended. */
  async detach(session) {
    state.tests.delete(session.test);
    this.#sessions = this.#sessions.filter((each) => each !== session);
    await this.#attribute();
  }

  /** The error of requests that belonged to no session, since the last one. */
  ofOthers(verdict) {
    const isUnnamed = ({ message }) => message.startsWith("the request names no scope");
    const failures = verdict.failures
      .slice(this.#reported)
      .filter((failure) => !isGivenUp(failure))
      // Its hint is for those who speak with the process.
      .map((failure) => (isUnnamed(failure) ? { ...failure, hint: undefined, text: failure.message } : failure));
    this.#reported = verdict.failures.length;
    if (failures.length === 0) return undefined;
    const count = (isCounted) => failures.filter(({ kind }) => (kind === "miss") === isCounted).length;
    const counts = { missed: count(true), failed: count(false) };
    const error = CassetteError.ofVerdict({ ...verdict, outcome: "failed", counts, failures }, "of no test");
    if (failures.some(isUnnamed)) {
      const hint = state.hasConcurrentTests
        ? "a concurrent test names its session: current(context).headers or .baseUrl"
        : "send requests in tests and their hooks, and await them there";
      error.message += `\nhint: ${hint}`;
    }
    return error;
  }

  /** The open sessions, the newest one first. */
  get sessions() {
    return this.#sessions.toReversed();
  }

  /** The session to which requests belong that name no scope: the newest one. Those of concurrent tests have to name theirs. */
  get current() {
    if (this.#sessions.some((session) => session.test?.isConcurrent)) return undefined;
    return this.#sessions.findLast((session) => session.isCurrent);
  }

  async #attribute() {
    const session = this.current?.number ?? null;
    if (session === this.#attributed) return;
    this.#attributed = session;
    await this.request("scope", { session });
  }
}

/** Whether a `mistral-cassette run` serves this process already. The variable is also one of those that this process sets. */
function isUnderRun() {
  return process.env[UNDER_RUN] !== undefined && !state.isPatched;
}

/** Sets options for all sessions that are opened afterwards in this process. */
function configure(options) {
  Object.assign(state.configured, check(options, "configure()"));
}

/** The process that serves the tests of a package, and their options. */
async function workerFor(folder) {
  const root = packageRoot(folder);
  const options = optionsFor(root, state.configured);
  // Each session has its own mode and directory, so that one process serves all of them.
  const { mode, dir, settings, save, pace, inject, ...ofProcess } = options;
  const id = JSON.stringify(ofProcess);
  if ((await state.workers.get(id))?.hasEnded) state.workers.delete(id);
  if (!state.workers.has(id)) state.workers.set(id, Worker.start(options, root));
  state.newest = await state.workers.get(id);
  return { worker: state.newest, options, root };
}

/** Opens a session with this scope. */
async function use(scope, options = {}) {
  if (typeof scope !== "string") throw new CassetteError(`the scope must be a string: ${JSON.stringify(scope)}`);
  const { worker, options: common, root } = await workerFor(process.cwd());
  return worker.open(scope, sessionMembers({ ...common, ...checkSession(options) }, root, worker.cwd));
}

/** Notes that a test is running. Other tests that run at the same time become concurrent ones, too. */
function begin(test) {
  const isAbove = (other) =>
    other.file === test.file &&
    other.titles.length < test.titles.length &&
    other.titles.every((title, at) => title === test.titles[at]);
  const others = [...state.tests].filter((other) => !isAbove(other));
  test.isConcurrent ||= others.length > 0;
  for (const other of others) other.isConcurrent = true;
  state.hasConcurrentTests ||= test.isConcurrent;
  const name = JSON.stringify([test.file, ...test.titles]);
  const same = state.named.get(name);
  state.named.set(name, test);
  // A retry has the same context.
  if (same?.isConcurrent && test.isConcurrent && same.context !== test.context) {
    throw new CassetteError(
      `two concurrent tests have the same name, and so the same recordings: ${test.titles.join(" > ")}\n` +
        "hint: give each of them a title of its own",
    );
  }
  state.tests.add(test);
  return test;
}

/**
 * Opens the session of a test, for the integrations. `titles` are those of its suites and its own, none for the file itself,
 * and `context` is what the runner passes to the test.
 */
async function openTest({ file, titles, context, isConcurrent = false }) {
  if (titles.length === 0) await beginFile();
  const running = begin({ file, titles, isConcurrent, context });
  try {
    const { worker, options, root } = await workerFor(path.dirname(file));
    const test = [path.relative(root, file).split(path.sep).join("/"), ...titles].join(" > ");
    const members = sessionMembers({ ...options, test }, root, worker.cwd);
    const session = await worker.open(scopeOf(file, titles, root), members, running);
    if (context) state.byContext.set(context, session);
    return session;
  } catch (error) {
    state.tests.delete(running);
    throw error;
  }
}

/** Forgets the tests of the file before. If one of its hooks has failed, its sessions may still be open. */
async function beginFile() {
  for (const session of openSessions().filter(({ test }) => test)) {
    await session.close({ isSuccessful: false, waitMs: 0 }).catch(() => {});
  }
  state.tests.clear();
  state.named.clear();
  state.hasConcurrentTests = false;
}

function openSessions() {
  return [...state.running].flatMap((worker) => (worker.hasEnded ? [] : worker.sessions));
}

/** Closes sessions that their tests have left open, and returns their errors. */
async function closeLeft(sessions, { isSuccessful = true } = {}) {
  const errors = [];
  for (const session of sessions) {
    // The session of the test or file waits, too.
    const error = await session.close({ isSuccessful, waitMs: 500 }).then(
      () => undefined,
      (error) => error,
    );
    if (error) errors.push(leftOpen(session, error));
  }
  return errors;
}

function leftOpen(session, error) {
  const hint = "hint: close it where its requests end: await session.close()";
  error.message += `\n\nthe session in the scope ${session.scope} was not closed\n${hint}`;
  return error;
}

/** Ends the session of a test, and those that it has left open. `isExpectedToFail`: the runner does not report the error. */
async function closeTest(session, { isSuccessful, isExpectedToFail = false }) {
  const left = openSessions().filter(({ owner }) => owner === session);
  const errors = await closeLeft(left, { isSuccessful });
  let verdict;
  try {
    verdict = await session.close({ isSuccessful: isSuccessful && errors.length === 0 });
  } catch (error) {
    errors.unshift(error);
  }
  const error = joined(errors);
  if (error && isExpectedToFail) state.unreported.push(error);
  if (error) throw error;
  return verdict;
}

/** Ends the session of a file, if it has one, and all that is open. Requests that belonged to no session fail it, too. */
async function closeFile(session) {
  const errors = state.unreported.splice(0);
  const opened = openSessions();
  // Those that were opened before may be for more than this file.
  const at = opened.indexOf(session);
  errors.push(...(await closeLeft(at < 0 ? opened : opened.slice(0, at))));
  await session?.close().catch((error) => errors.push(error));
  for (const worker of state.running) {
    if (worker.hasEnded) continue;
    errors.push(worker.ofOthers(await worker.request("verdict", { session: null, wait_ms: 0 })));
  }
  const error = joined(errors.filter(Boolean));
  if (error) throw error;
}

/** At the end of the process: what is still open is closed, and fails the process as it would have failed its test. */
function endProcess(status) {
  const errors = state.unreported.splice(0);
  for (const session of openSessions()) {
    try {
      const error = session.closeSync({ isSuccessful: status === 0 && errors.length === 0 });
      if (error) errors.push(session.test ? error : leftOpen(session, error));
    } catch (error) {
      // Without a verdict, the session of a file is no error: it is open until the end.
      if (session.test?.titles.length !== 0) errors.push(leftOpen(session, error));
    }
  }
  if (errors.length === 0) return;
  process.stderr.write(`mistral-cassette: ${joined(errors).message}\n`);
  process.exitCode ||= 1;
}

/** The session of the test with this context, or the one to which requests belong now. */
function current(context) {
  const session = context ? state.byContext.get(context.task ?? context) : state.newest?.current;
  if (session) return session;
  throw new CassetteError(
    "no session is open for this test\n" +
      "hint: load the integration for your test runner (mistral-cassette/vitest, /node-test or /jest), which is off under " +
      "`mistral-cassette run`; a test that runs concurrently passes its context: current(context)",
  );
}

/** Headers that set the pace of one replayed response: `none`, `recorded` or a factor such as `0.5x`. */
function pace(value) {
  if (/^(none|recorded|\d+(\.\d+)?x)$/.test(value)) return { "mistral-cassette-pace": value };
  throw new CassetteError(`the pace is invalid: ${value}\nhint: it must be none, recorded or a factor such as 0.5x`);
}

module.exports = { closeFile, closeTest, configure, current, isUnderRun, openTest, pace, use, workerFor };
