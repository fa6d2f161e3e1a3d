// Polly.js with fetch, as the tools in src/main.rs are called: pollyjs_tool.mjs TASK FOLDER RECORDINGS URL QUESTIONS.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

// Where run has installed it.
const require = createRequire(join(process.env.POLLYJS, "index.js"));
const { Polly } = require("@pollyjs/core");
Polly.register(require("@pollyjs/adapter-fetch"));
Polly.register(require("@pollyjs/persister-fs"));

const ROUNDS = 1000;
const PATIENCE = 10_000;
const ASKED = 20;

const [task, folder, count, url, questions] = process.argv.slice(2);
const isRecording = task === "record";

const polly = new Polly("field", {
  adapters: ["fetch"],
  persister: "fs",
  persisterOptions: { fs: { recordingsDir: folder } },
  mode: isRecording ? "record" : "replay",
  recordIfMissing: isRecording,
  // The whole request counts, as it does in the other tools, and how often it was asked does not.
  matchRequestsBy: { headers: false, order: false },
  logLevel: "warn",
});

function question(number) {
  const { path, body } = JSON.parse(readFileSync(join(questions, `${number}.json`), "utf8"));
  return [url + path, body];
}

async function send([address, body]) {
  const response = await fetch(address, { method: "POST", headers: { "content-type": "application/json" }, body });
  const text = await response.text();
  if (response.status !== 200 || text.length <= 1000) throw new Error(`${response.status}: ${text}`);
}

if (isRecording) {
  for (let number = 0; number < count; number++) await send(question(number));
} else if (task === "warm") {
  const asked = Array.from({ length: ASKED }, (_, at) => question((at * 7919) % count));
  for (const one of asked) await send(one);
  const times = [];
  const start = performance.now();
  for (let number = 0; number < ROUNDS && performance.now() - start < PATIENCE; number++) {
    const before = performance.now();
    await send(asked[number % ASKED]);
    times.push(performance.now() - before);
  }
  times.sort((a, b) => a - b);
  console.log(times[Math.floor(times.length / 2)] * 1000);
} else {
  const first = Math.floor((count * 7) / 10);
  for (let at = 0; at < (task === "five" ? 5 : 1); at++) await send(question(first + at));
}
await polly.stop();
if (!isRecording) {
  const status = readFileSync("/proc/self/status", "utf8");
  console.log(Number(status.match(/VmHWM:\s*(\d+)/)[1]) / 1024);
}
