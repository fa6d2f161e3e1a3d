"use strict";
// One process of the command for each worker of the test runner, and the sessions that are open in it.
const path = require("node:path");
const tls = require("node:tls");
const { Channel } = require("./channel.cjs");
const { CassetteError } = require("./errors.cjs");
const { check, checkSession, commandLine, optionsFor, packageRoot, sessionMembers } = require("./options.cjs");
const { UNDER_RUN, patch, usesProxyOfEnvironment } = require("./patch.cjs");
const { scopeOf } = require("./scope.cjs");
const { Session } = require("./session.cjs");

/**
 * The state of this worker is a member of a module of Node.js: a runner may load this file again for each test file, while
 * that module stays, and stays patched. A worker thread has modules of its own.
 */
const STATE = Symbol.for("mistral-cassette.worker");
const state = (tls[STATE] ??= { configured: {}, workers: new Map(), byContext: new WeakMap(), tests: new Set() });

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
    if (isUnderRun()) {
      const hint = "hint: run the tests without it, or use only the base URL that it sets (MISTRAL_SERVER_URL)";
      throw new CassetteError(`a session cannot be opened under \`mistral-cassette run\`\n${hint}`);
    }
    const channel = await Channel.start(commandLine(options), { cwd: root });
    state.usesProxyOfEnvironment ??= usesProxyOfEnvironment();
    patch(channel.ready, options, state.usesProxyOfEnvironment);
    state.isPatched = true;
    return new Worker(channel, root);
  }

  get hasEnded() {
    return this.#channel.hasEnded;
  }

  request(command, members) {
    return this.#channel.request(command, members);
  }

  async open(scope, members, test) {
    const isCurrent = members.current !== false;
    const opened = await this.request("open", { scope, ...members, current: false });
    const session = new Session(this, scope, opened, { isCurrent, isHeldBack: members.save === "on_success", test });
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

  /** Throws the failures of requests that belonged to no session. */
  async checkOthers() {
    const verdict = await this.request("verdict", { session: null });
    const failures = verdict.failures.slice(this.#reported);
    this.#reported = verdict.failures.length;
    const error = CassetteError.ofVerdict({ ...verdict, failures }, "of no test");
    if (!error || failures.length === 0) return;
    error.message += "\n\nhint: a concurrent test names its session: current(context).headers or .baseUrl";
    throw error;
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
  const isAbove = (other) => other.file === test.file && other.titles.every((title, at) => title === test.titles[at]);
  const others = [...state.tests].filter((other) => !isAbove(other));
  test.isConcurrent ||= others.length > 0;
  for (const other of others) other.isConcurrent = true;
  state.tests.add(test);
  return test;
}

/**
 * Opens the session of a test, for the integrations. `titles` are those of its suites and its own, none for the file itself,
 * and `context` is what the runner passes to the test.
 */
async function openTest({ file, titles, context, isConcurrent = false }) {
  const running = begin({ file, titles, isConcurrent });
  const { worker, options, root } = await workerFor(path.dirname(file));
  const test = [path.relative(root, file).split(path.sep).join("/"), ...titles].join(" > ");
  const members = sessionMembers({ ...options, test }, root, worker.cwd);
  const session = await worker.open(scopeOf(file, titles, root), members, running);
  if (context) state.byContext.set(context, session);
  return session;
}

/** Ends the session of a file. Requests of concurrent tests that named no scope fail it, too. */
async function closeFile(session) {
  await session.close();
  await state.newest?.checkOthers();
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

module.exports = { closeFile, configure, current, isUnderRun, openTest, pace, use, workerFor };
