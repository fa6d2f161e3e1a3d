"use strict";
// The process `mistral-cassette serve --control stdio`, and the lines of JSON that control it (docs/control.md).
const { spawn } = require("node:child_process");
const { createInterface } = require("node:readline");
const { CassetteError } = require("./errors.cjs");
const { findCommand } = require("./command.cjs");

const PROTOCOL = 1;
/** What the process has printed is part of the error if it ends. */
const SHOWN_LINES = 20;

class Channel {
  #child;
  #pending = new Map();
  #next = 1;
  #printed = [];
  #ended;
  #started = withResolvers();

  /** Starts the command with these options, and waits until it listens. */
  static async start(options, { cwd }) {
    const channel = new Channel(options, cwd);
    channel.ready = await channel.#started.promise;
    return channel;
  }

  constructor(options, cwd) {
    const child = spawn(findCommand(), ["serve", "--control", "stdio", ...options], {
      cwd,
      stdio: ["pipe", "pipe", "pipe"],
      windowsHide: true,
    });
    this.#child = child;
    createInterface({ input: child.stdout }).on("line", (line) => this.#receive(line));
    createInterface({ input: child.stderr }).on("line", (line) => this.#print(line));
    // After the last line of its output.
    child.on("close", (status, signal) => this.#end(`ended with ${signal ?? `exit status ${status}`}`));
    child.on("error", (error) => this.#end(`cannot be started: ${error.message}`));
    // A write to a process that has ended; `close` says so.
    child.stdin.on("error", () => {});
  }

  /** Sends a command, and returns its answer. */
  request(command, members = {}) {
    if (this.#ended) return Promise.reject(this.#ended);
    const id = this.#next++;
    const answer = withResolvers();
    this.#pending.set(id, answer);
    this.#keepAlive(true);
    this.#child.stdin.write(`${JSON.stringify({ id, do: command, ...members })}\n`);
    return answer.promise;
  }

  get hasEnded() {
    return this.#ended !== undefined;
  }

  #receive(line) {
    let message;
    try {
      message = JSON.parse(line);
    } catch {
      this.#print(line);
      return;
    }
    if (message.event === "ready") return this.#begin(message);
    const answer = this.#pending.get(message.id);
    if (!answer) return;
    this.#pending.delete(message.id);
    if (this.#pending.size === 0) this.#keepAlive(false);
    if (message.error) answer.reject(CassetteError.from(message.error));
    else answer.resolve(message.ok);
  }

  #begin(message) {
    this.#keepAlive(false);
    if (message.protocol === PROTOCOL) return this.#started.resolve(message);
    const text = `the command speaks protocol ${message.protocol} of the control channel, this package ${PROTOCOL}`;
    this.#started.reject(new CassetteError(`${text}\nhint: install the same version of both (${message.version})`));
    this.#child.stdin.end();
  }

  #print(line) {
    this.#printed.push(line);
    if (this.#printed.length > SHOWN_LINES) this.#printed.shift();
    // Before it is ready, they are the reason of its end.
    if (this.ready && /\bwarning\b|\berror\b/i.test(line)) process.stderr.write(`${line}\n`);
  }

  #end(how) {
    const printed = this.#printed.map((line) => `\n${line}`).join("");
    this.#ended ??= new CassetteError(`the process mistral-cassette ${how}${printed}`);
    this.#started.reject(this.#ended);
    for (const answer of this.#pending.values()) answer.reject(this.#ended);
    this.#pending.clear();
  }

  /** The process ends with its standard input, and this one must not wait for it, unless an answer is outstanding. */
  #keepAlive(isWaiting) {
    const change = isWaiting ? "ref" : "unref";
    for (const each of [this.#child, this.#child.stdin, this.#child.stdout, this.#child.stderr]) each[change]?.();
  }
}

/** `Promise.withResolvers` of Node.js 22. */
function withResolvers() {
  let resolve, reject;
  const promise = new Promise((first, second) => {
    resolve = first;
    reject = second;
  });
  return { promise, resolve, reject };
}

module.exports = { Channel };
