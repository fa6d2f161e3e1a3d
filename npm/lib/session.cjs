"use strict";
// A session: a scope with turns, counts and a verdict of its own.
const { CassetteError } = require("./errors.cjs");

/** How long `close` waits for requests in progress: less than the time limits of hooks, which are 5 and 10 seconds. */
const WAIT_MS = 4000;
/** At the end of the process, clients read nothing any more. */
const LAST_WAIT_MS = 100;

class Session {
  #worker;
  #number;
  #isHeldBack;
  #failuresAllowed = false;
  #closed;

  constructor(worker, scope, opened, { isCurrent, isHeldBack, test, owner }) {
    this.#worker = worker;
    this.#number = opened.session;
    this.#isHeldBack = isHeldBack;
    this.scope = scope;
    this.mode = opened.mode;
    this.baseUrl = opened.base_url;
    this.proxyUrl = opened.proxy_url;
    this.caFile = opened.ca_file;
    /** Whether requests that name no scope belong to it while it is the newest one. */
    this.isCurrent = isCurrent;
    /** The test that it is for. */
    this.test = test;
    /** The session of the test that opened it. */
    this.owner = owner;
  }

  /** The number of this session on the control channel. */
  get number() {
    return this.#number;
  }

  /** Headers with which a request names this scope. */
  get headers() {
    return { "x-mistral-cassette-scope": this.scope };
  }

  /** A missed or failed request does not fail the test. */
  allowFailures() {
    this.#failuresAllowed = true;
    return this;
  }

  /** What happened so far, after the requests in progress are complete. */
  verdict({ waitMs } = {}) {
    return this.#worker.request("verdict", { session: this.#number, wait_ms: waitMs });
  }

  /** Does not save what `save: "on-success"` holds back. */
  async discard() {
    const { discarded } = await this.#worker.request("discard", { session: this.#number });
    return discarded;
  }

  /**
   * Ends the session. Returns its verdict, and throws it if a request was missed or has failed. With `save: "on-success"`
   * nothing is saved then, nor if the test has not succeeded.
   */
  close({ isSuccessful = true, waitMs = WAIT_MS } = {}) {
    this.#closed ??= this.#close(isSuccessful, waitMs);
    return this.#closed;
  }

  async #close(isSuccessful, waitMs) {
    // First: if a hook of the runner waits too long for the verdict, the next test starts meanwhile.
    await this.#worker.detach(this);
    const verdict = await this.verdict({ waitMs });
    const error = this.#errorOf(verdict);
    // The verdict has waited.
    const members = { session: this.#number, wait_ms: 0 };
    if (this.#isHeldBack && (error || !isSuccessful)) await this.#worker.request("discard", members);
    await this.#worker.request("close", members);
    if (error) throw error;
    return verdict;
  }

  /**
   * Ends the session at the end of the process, and returns the error of its verdict. What it holds back is saved if it was
   * opened by hand, and the process succeeds.
   */
  closeSync({ isSuccessful }) {
    const members = { session: this.#number, wait_ms: LAST_WAIT_MS };
    const error = this.#errorOf(this.#worker.requestSync("verdict", members));
    members.wait_ms = 0;
    if (this.#isHeldBack && (error || this.test || !isSuccessful)) {
      const { discarded } = this.#worker.requestSync("discard", members);
      const recordings = discarded === 1 ? "1 recording" : `${discarded} recordings`;
      const reason = `the session in the scope ${this.scope} was not closed`;
      if (discarded > 0) process.stderr.write(`mistral-cassette: ${recordings} not saved: ${reason}\n`);
    }
    this.#worker.requestSync("close", members);
    return error;
  }

  #errorOf(verdict) {
    return this.#failuresAllowed ? undefined : CassetteError.ofVerdict(verdict, this.scope);
  }

  async [Symbol.asyncDispose]() {
    await this.close();
  }
}

module.exports = { Session };
