"use strict";
// The process `mistral-cassette serve --control stdio`, and the lines of JSON that control it (docs/control.md).
const { spawn } = require("node:child_process");
const { readSync, writeSync } = require("node:fs");
const { createInterface } = require("node:readline");
const { CassetteError } = require("./errors.cjs");
const { findCommand } = require("./command.cjs");

const PROTOCOL = 1;
/** What the process has printed is part of the error if it ends. */
const SHOWN_LINES = 20;
/** How long the end of this process waits for an answer, and how often it looks for one. */
const LAST_WAIT_MS = 3000;
const POLL_MS = 2;

class Channel {
  #child;
  #pending = new Map();
  #next = 1;
  #printed = [];
  /** The beginning of a line of its output. */
  #rest = Buffer.alloc(0);
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
    child.stdout.on("data", (chunk) => this.#read(chunk));
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

  /** The same without the event loop, which does not run at the end of a process. */
  requestSync(command, members = {}) {
    if (this.#ended) throw this.#ended;
    const [input, output] = [this.#child.stdin, this.#child.stdout].map((stream) => stream._handle?.fd ?? -1);
    if (input < 0 || output < 0) throw new CassetteError("the process mistral-cassette cannot be asked at the end");
    const id = this.#next++;
    let answer;
    const take = (isOk) => (value) => (answer = { isOk, value });
    this.#pending.set(id, { resolve: take(true), reject: take(false) });
    writeSync(input, `${JSON.stringify({ id, do: command, ...members })}\n`);
    for (const end = Date.now() + LAST_WAIT_MS; !answer && Date.now() < end;) this.#read(readNow(output));
    if (!answer) throw new CassetteError(`the process mistral-cassette has not answered in ${LAST_WAIT_MS} ms`);
    if (answer.isOk) return answer.value;
    throw answer.value;
  }

  get hasEnded() {
    return this.#ended !== undefined;
  }

  #read(chunk) {
    const lines = Buffer.concat([this.#rest, chunk]);
    let at = 0;
    for (let end; (end = lines.indexOf("\n", at)) >= 0; at = end + 1) this.#receive(lines.toString("utf8", at, end));
    this.#rest = lines.subarray(at);
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
    if (this.ready && /\bwarn(ing)?\b|\berror\b|\bnot saved\b/i.test(line)) process.stderr.write(`${line}\n`);
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

/** What can be read now, after a short wait if that is nothing. */
function readNow(file) {
  const buffer = Buffer.alloc(1 << 16);
  try {
    const length = readSync(file, buffer);
    if (length > 0) return buffer.subarray(0, length);
  } catch (error) {
    if (error.code !== "EAGAIN") throw error;
  }
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, POLL_MS);
  return Buffer.alloc(0);
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
