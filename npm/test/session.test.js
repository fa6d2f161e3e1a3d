import assert from "node:assert/strict";
import { once } from "node:events";
import { existsSync } from "node:fs";
import https from "node:https";
import { createRequire } from "node:module";
import { after, test } from "node:test";
import { pathToFileURL } from "node:url";
import { CassetteError, configure, current, pace, use } from "../lib/index.mjs";
import worker from "../lib/worker.cjs";
import { ASK, KEY, PACKAGE, cassettes, environment, project, run, standIn } from "./support.js";

// This process is the one whose clients are intercepted.
for (const name of Object.keys(process.env)) {
  if (!(name in environment()) && name !== "NODE_TEST_CONTEXT") delete process.env[name];
}
process.env.MISTRAL_API_KEY = KEY;

const URL = "https://api.mistral.ai/v1/chat/completions";
const server = await standIn();
// Left before it is removed: hooks run in the order of their calls.
after(() => process.chdir(PACKAGE));
const folder = project({ after }, {});
process.chdir(folder);
configure({ upstream: server.url });
after(() => server.close());

function request(content, more = {}) {
  const body = JSON.stringify({ model: "mistral-small-latest", messages: [{ role: "user", content }], ...more });
  const headers = { "content-type": "application/json", authorization: `Bearer ${process.env.MISTRAL_API_KEY}` };
  return { method: "POST", body, headers };
}

async function ask(content) {
  const answer = await fetch(URL, request(content));
  return answer.ok ? (await answer.json()).choices[0].message.content : answer.status;
}

test("a session records, then replays, and its verdict says so", async () => {
  const recording = await use("kinds/verdict");
  assert.equal(recording.mode, "replay");
  assert.equal(current(), recording);
  assert.equal(await ask("hello"), "HELLO");
  const recorded = await recording.close();
  assert.equal(recorded.outcome, "recorded");
  assert.deepEqual(
    cassettes(folder).filter((name) => name.startsWith("kinds/")),
    ["kinds/verdict/chat-completions/hello"],
  );

  const replaying = await use("kinds/verdict", { mode: "strict" });
  assert.equal(await ask("hello"), "HELLO");
  const { outcome, counts, requests, unused } = await replaying.verdict();
  assert.deepEqual([outcome, counts.replayed, unused], ["replayed", 1, []]);
  assert.match(requests[0].cassette, /^kinds\/verdict\/chat-completions\/hello-[0-9a-f]{16}\.yaml$/);
  await replaying[Symbol.asyncDispose]();
  assert.throws(() => current(), /no session is open/);
});

test("a missed request ends a session with an error that has all of the message", async () => {
  const session = await use("missed", { mode: "strict" });
  assert.equal(await ask("unknown"), 424);
  const error = await session.close().then(
    () => undefined,
    (error) => error,
  );
  assert.ok(error instanceof CassetteError);
  assert.equal(error.kind, "miss");
  assert.match(
    error.message,
    /^1 request was not recorded \(missed\)\n\nnot recorded: POST \/v1\/chat\/completions .*hint: to record it/s,
  );
  assert.equal(error.verdict.outcome, "missed");
  const allowed = (await use("missed", { mode: "strict" })).allowFailures();
  assert.equal(await ask("unknown"), 424);
  assert.equal((await allowed.close()).outcome, "missed");
});

test("a base URL and headers name a session that is not current", async () => {
  const outer = await use("outer");
  const inner = await use("inner", { current: false });
  assert.equal(await ask("from outside"), "FROM OUTSIDE");
  const byUrl = await fetch(`${inner.baseUrl}/v1/chat/completions`, request("by url"));
  const named = request("by header");
  const byHeader = await fetch(URL, { ...named, headers: { ...named.headers, ...inner.headers } });
  assert.deepEqual([byUrl.status, byHeader.status], [200, 200]);
  assert.deepEqual([(await inner.close()).counts.recorded, (await outer.close()).counts.recorded], [2, 1]);
});

test("a session that waits for a response in progress is not current any more", async () => {
  const session = await use("slow");
  server.gap = 50;
  const answer = fetch(URL, request("one two three", { stream: true }));
  await once(server, "request");
  const closing = session.close();
  assert.throws(() => current(), /no session is open/);
  await (await answer).text();
  assert.equal((await closing).outcome, "recorded");
});

test("a response that is not complete in time is an error that says so", async () => {
  const session = await use("incomplete");
  server.gap = 100;
  const abort = new AbortController();
  const answer = fetch(URL, { ...request("one two three four five six", { stream: true }), signal: abort.signal });
  await once(server, "request");
  await assert.rejects(
    session.close({ waitMs: 10 }),
    /^CassetteError: 1 request was not complete at the end \(incomplete\)\n\nhint: await each response, or abort it$/,
  );
  abort.abort();
  await answer.then(({ body }) => body.cancel()).catch(() => undefined);
});

test("a request that belongs to no session is an error of the file", async () => {
  // An aborted request, as in the test before, is none.
  await worker.closeFile();
  assert.equal(await ask("to nobody"), 400);
  await assert.rejects(worker.closeFile(), ({ message }) => {
    assert.match(
      message,
      /^1 request has failed \(of no test\)\n\nthe request names no scope, .*\nhint: send requests in tests/,
    );
    assert.doesNotMatch(message, /concurrent|control channel/);
    return true;
  });
  await worker.closeFile();
});

test("what is open at the end of the process is closed, and a missing recording fails the process", async () => {
  const script = `
    import { use } from "mistral-cassette";
    import { ask } from "./ask.js";
    await use("held", { save: "on-success" });
    console.log(await ask("held back"));
    if (process.argv[2]) await use("strict", { mode: "strict" });
    await ask(process.argv[2] ?? "held back").catch(() => undefined);
    process.exit(0);
  `;
  const left = project({ after }, { "left.mjs": script, "ask.js": ASK });
  const variables = { MISTRAL_CASSETTE_UPSTREAM: server.url, MISTRAL_API_KEY: KEY };
  const failed = await run(left, ["node", "left.mjs", "missing"], variables);
  assert.equal(failed.status, 1);
  assert.match(failed.text, /mistral-cassette: 1 recording not saved: the session in the scope held was not closed\n/);
  assert.match(failed.text, /mistral-cassette: 1 request was not recorded \(strict\)\n.*\nhint: close it/s);
  assert.deepEqual(cassettes(left), []);
  assert.deepEqual(await run(left, ["node", "left.mjs"], variables), { status: 0, signal: null, text: "HELD BACK\n" });
  assert.deepEqual(cassettes(left), ["held/chat-completions/held-back"]);
});

test("on-success saves at the end, and not if the session is discarded", async () => {
  const session = await use("held", { save: "on-success" });
  assert.equal(await ask("held back"), "HELD BACK");
  assert.equal(await session.discard(), 1);
  await session.close();
  const saved = await use("saved", { save: "on-success" });
  await ask("held back");
  await saved.close();
  const names = cassettes(folder).filter((name) => /^(held|saved)\//.test(name));
  assert.deepEqual(names, ["saved/chat-completions/held-back"]);
});

test("a client of node:https is intercepted, too", async () => {
  const session = await use("https");
  const { method, headers, body } = request("by https");
  const status = await new Promise((resolve, reject) => {
    const sent = https.request(URL, { method, headers }, (response) => resolve(response.resume().statusCode));
    sent.on("error", reject).end(body);
  });
  assert.equal(status, 200);
  assert.equal((await session.close()).outcome, "recorded");
});

/** Reads a stream, and aborts it after its first chunk. Returns what it has read. */
async function readAndAbort(headers) {
  const abort = new AbortController();
  const asked = request("one two three four", { stream: true });
  const answer = await fetch(URL, { ...asked, headers: { ...asked.headers, ...headers }, signal: abort.signal });
  const read = [];
  try {
    for await (const chunk of answer.body.pipeThrough(new TextDecoderStream())) {
      read.push(chunk);
      abort.abort();
    }
  } catch (error) {
    assert.equal(error.name, "AbortError");
  }
  return read.join("");
}

test("a replay at the recorded pace can be aborted in the middle of a stream", async () => {
  server.gap = 100;
  const recording = await use("stream");
  await (await fetch(URL, request("one two three four", { stream: true }))).text();
  await recording.close();
  const session = await use("stream", { mode: "strict" });
  assert.match(await readAndAbort({}), /ONE .*FOUR/s);
  const read = await readAndAbort(pace("recorded"));
  assert.match(read, /ONE /);
  assert.doesNotMatch(read, /FOUR/);
  assert.equal((await session.close()).outcome, "replayed");
  assert.throws(() => pace("slow"), /the pace is invalid: slow\nhint: it must be none, recorded or a factor/);
});

const SDK = `${PACKAGE}/../tests/sdks/node_modules/@mistralai/mistralai/package.json`;
const skip = existsSync(SDK) ? false : "@mistralai/mistralai is not installed: ./scripts/test installs it";

test("the official client is recorded and replayed without a changed line", { skip }, async () => {
  const { Mistral } = await import(pathToFileURL(createRequire(SDK).resolve("@mistralai/mistralai")));
  const mistral = new Mistral({ apiKey: process.env.MISTRAL_API_KEY });
  const question = { model: "mistral-small-latest", messages: [{ role: "user", content: "to the client" }] };
  const answer = async () => (await mistral.chat.complete(question)).choices[0].message.content;
  const recording = await use("client");
  assert.equal(await answer(), "TO THE CLIENT");
  await recording.close();
  const replaying = await use("client", { mode: "strict" });
  assert.equal(await answer(), "TO THE CLIENT");
  const streamed = mistral.chat.stream({ ...question, stream: true });
  await assert.rejects(streamed, { statusCode: 424 });
  replaying.allowFailures();
  assert.deepEqual((await replaying.close()).counts.replayed, 1);
});

test("an invalid scope, mode or option is an error that says what is allowed", async () => {
  await assert.rejects(use("a b"), CassetteError);
  await assert.rejects(use("x", { mode: "often" }), /the option mode .*record, replay, strict, live/s);
  await assert.rejects(use("x", { speed: 1 }), /unknown option "speed"/);
  await assert.rejects(use(undefined), /the scope must be a string/);
});

test("with blockNetwork, only this machine and allowed hosts are reached", async () => {
  const script = `
    import { use } from "mistral-cassette";
    const session = await use("blocked", { mode: "strict" });
    for (const url of ["http://192.0.2.1/", "https://example.invalid/", "${server.url}", "https://api.mistral.ai/v1/models"]) {
      const told = (error) => error.cause?.message.split("\\n")[0] ?? error.message;
      console.log(await fetch(url, { method: "POST", body: "{\\"messages\\":[{\\"content\\":\\"\\"}]}" }).then((answer) => answer.status, told));
    }
    await session.allowFailures().close();
  `;
  const blocked = project({ after }, { "blocked.mjs": script });
  const done = await run(blocked, ["node", "blocked.mjs"], { MISTRAL_CASSETTE_BLOCK_NETWORK: "1" });
  const refused = "connections to other hosts are blocked (blockNetwork)";
  assert.equal(done.text, `${refused}: 192.0.2.1\n${refused}: example.invalid\n200\n424\n`);
});

test("a proxy of the environment that Node.js uses already is replaced", async () => {
  const script = `
    import https from "node:https";
    import { use } from "mistral-cassette";
    // Makes the clients that have read the environment.
    await fetch("${server.url}").catch(() => {});
    const session = await use("proxied", { mode: "strict" });
    console.log(await fetch("https://api.mistral.ai/v1/models").then((answer) => answer.status, (error) => error.cause));
    https.get("https://api.mistral.ai/v1/models", async (answer) => {
      console.log(answer.resume().statusCode, (await session.allowFailures().close()).counts.missed);
    });
  `;
  const proxied = project({ after }, { "proxied.mjs": script });
  const variables = { NODE_USE_ENV_PROXY: "1", HTTPS_PROXY: "http://127.0.0.1:9", NO_PROXY: "127.0.0.1" };
  const done = await run(proxied, ["node", "proxied.mjs"], variables);
  assert.equal(done.text.replace(/^.*(Warning|--trace).*\n/gm, ""), "424\n424 2\n");
});

test("a command that does not start is an error with what it has printed", async () => {
  configure({ intercept: ["not a host"] });
  await assert.rejects(use("x"), /the process mistral-cassette ended with exit status 2\n.*not a host/s);
  configure({ intercept: undefined });
});
