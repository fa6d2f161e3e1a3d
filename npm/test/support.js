// A stand-in for the API, and projects that have the package in their node_modules, as after `npm install`.
import { spawn } from "node:child_process";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";

const here = path.dirname(fileURLToPath(import.meta.url));
export const PACKAGE = path.dirname(here);
const SDKS = path.join(PACKAGE, "../tests/sdks/node_modules");

export const KEY = "test-key-0123456789abcdef";

/** The command, from the repository's own build. */
export const COMMAND = process.env.MISTRAL_CASSETTE_COMMAND;

/** A stand-in that answers a question with its words in upper case, as a stream or not. `count` is the number of requests. */
export async function standIn() {
  const server = createServer(async (request, response) => {
    server.count += 1;
    if (request.method !== "POST") return response.writeHead(404).end();
    const { messages, stream } = JSON.parse(await text(request));
    const words = messages.at(-1).content.toUpperCase();
    const common = { id: "cmpl-1", created: 1, model: "mistral-small-latest" };
    if (!stream) {
      response.setHeader("content-type", "application/json");
      const choices = [{ index: 0, finish_reason: "stop", message: { role: "assistant", content: words } }];
      response.end(JSON.stringify({ ...common, object: "chat.completion", choices, usage: USAGE }));
      return;
    }
    response.setHeader("content-type", "text/event-stream");
    const pieces = words.split(/(?<= )/);
    for (const [at, content] of pieces.entries()) {
      const finish_reason = at === pieces.length - 1 ? "stop" : null;
      const choices = [{ index: 0, finish_reason, delta: { role: "assistant", content } }];
      response.write(`data: ${JSON.stringify({ ...common, object: "chat.completion.chunk", choices })}\n\n`);
      await new Promise((resolve) => setTimeout(resolve, server.gap));
    }
    response.end("data: [DONE]\n\n");
  });
  server.count = 0;
  server.gap = 0;
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  server.url = `http://127.0.0.1:${server.address().port}`;
  return server;
}

const USAGE = { prompt_tokens: 7, completion_tokens: 3, total_tokens: 10 };

async function text(stream) {
  let read = "";
  for await (const chunk of stream) read += chunk;
  return read;
}

/** The variables of the tests themselves say nothing to the programs that they start. */
export function environment(more = {}) {
  const variables = { ...process.env };
  for (const name of Object.keys(variables)) {
    const isOwn = /^(MISTRAL_|NODE_TEST_CONTEXT|NODE_OPTIONS|NODE_USE_ENV_PROXY|NODE_EXTRA_CA_CERTS)/.test(name);
    if (isOwn || /^(CI|(https?|no|all)_proxy|SSL_CERT_FILE|VITEST.*)$/i.test(name)) delete variables[name];
  }
  return { ...variables, NO_COLOR: "1", MISTRAL_CASSETTE_COMMAND: COMMAND, ...more };
}

/** A temporary project with these files, removed at the end of the test. */
export function project(context, files, packages = []) {
  const folder = mkdtempSync(path.join(tmpdir(), "mistral-cassette-npm-"));
  context.after(() => rmSync(folder, { recursive: true, force: true }));
  const installed = path.join(folder, "node_modules");
  mkdirSync(path.join(installed, "mistral-cassette"), { recursive: true });
  for (const name of ["bin", "lib", "types", "package.json"]) {
    cpSync(path.join(PACKAGE, name), path.join(installed, "mistral-cassette", name), { recursive: true });
  }
  for (const name of packages) {
    const from = [path.join(here, "node_modules", name), path.join(SDKS, name)].find(existsSync);
    if (!from) throw new Error(`${name} is not installed\nhint: ./scripts/test installs it`);
    mkdirSync(path.dirname(path.join(installed, name)), { recursive: true });
    symlinkSync(from, path.join(installed, name), "dir");
  }
  for (const [name, content] of Object.entries({ "package.json": '{"type":"module"}', ...files })) {
    const file = path.join(folder, name);
    mkdirSync(path.dirname(file), { recursive: true });
    writeFileSync(file, typeof content === "string" ? content : JSON.stringify(content));
  }
  return folder;
}

/** Runs a program to its end; `text` is all that it prints. */
export function run(folder, command, variables = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(command[0], command.slice(1), {
      cwd: folder,
      env: environment(variables),
      stdio: ["ignore", "pipe", "pipe"],
    });
    let printed = "";
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk) => (printed += chunk));
    child.on("error", reject);
    child.on("close", (status, signal) => resolve({ status, signal, text: printed }));
  });
}

/** The cassettes of a project, without the digits of their names. */
export function cassettes(folder) {
  const directory = path.join(folder, "cassettes");
  if (!existsSync(directory)) return [];
  return readdirSync(directory, { recursive: true })
    .map((file) => file.split(path.sep).join("/"))
    .filter((file) => file.endsWith(".yaml"))
    .map((file) => file.replace(/-[0-9a-f]{16}\.yaml$/, ""))
    .sort();
}

/** A thread that asks what it is given. */
export const THREAD = `
import { parentPort, workerData } from "node:worker_threads";
import { ask } from "./ask.js";

parentPort.postMessage(await ask(workerData));
`;

/** An unmodified program, which knows nothing of the proxy. */
export const ASK = `
export async function ask(content, options = {}) {
  const answer = await fetch("https://api.mistral.ai/v1/chat/completions", {
    method: "POST",
    body: JSON.stringify({ model: "mistral-small-latest", messages: [{ role: "user", content }] }),
    headers: { "content-type": "application/json", authorization: "Bearer " + process.env.MISTRAL_API_KEY, ...options.headers },
  });
  if (!answer.ok) throw new Error("status " + answer.status + ": " + (await answer.text()));
  return (await answer.json()).choices[0].message.content;
}
`;
