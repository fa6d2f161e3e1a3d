"use strict";
// A session: a scope with turns, counts and a verdict of its own.
const { CassetteError } = require("./errors.cjs");

class Session {
  #worker;
  #number;
  #isHeldBack;
  #failuresAllowed = false;
  #closed;

  constructor(worker, scope, opened, { isCurrent, isHeldBack, test }) {
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
  close({ isSuccessful = true } = {}) {
    this.#closed ??= this.#close(isSuccessful);
    return this.#closed;
  }

  async #close(isSuccessful) {
    // First: if a hook of the runner waits too long for the verdict, the next test starts meanwhile.
    await this.#worker.detach(this);
    const verdict = await this.verdict();
    const error = this.#failuresAllowed ? undefined : CassetteError.ofVerdict(verdict, this.scope);
    if (this.#isHeldBack && (error || !isSuccessful)) await this.discard();
    await this.#worker.request("close", { session: this.#number });
    if (error) throw error;
    return verdict;
  }

  async [Symbol.asyncDispose]() {
    await this.close();
  }
}

module.exports = { Session };
