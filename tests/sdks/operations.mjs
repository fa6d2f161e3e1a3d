// The calls of operations.py, made by the official TypeScript client. Prints a line of JSON for each.
import { createInterface } from "node:readline";

import { Mistral } from "@mistralai/mistralai";
import { z } from "zod";

const model = "mistral-small-latest";
const question = [{ role: "user", content: "Où souffle le mistral ?" }];
const tools = [
  {
    type: "function",
    function: {
      name: "get_weather",
      description: "The weather in a city",
      parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
    },
  },
];
const toolChat = [
  { role: "user", content: "What is the weather in Paris?" },
  {
    role: "assistant",
    content: "",
    toolCalls: [{ id: "D681PevKs", function: { name: "get_weather", arguments: '{"city": "Paris"}' } }],
  },
  { role: "tool", name: "get_weather", toolCallId: "D681PevKs", content: "sunny, 24 °C" },
];
const citySchema = {
  type: "object",
  properties: { name: { type: "string" }, population: { type: "integer" } },
  required: ["name", "population"],
  additionalProperties: false,
};
const City = z.object({ name: z.string(), population: z.number().int() });
const pixel =
  "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII=";
const wave = Buffer.from("524946462400000057415645666d74201000000001000100401f0000803e0000020010006461746100000000", "hex");
const fileId = "6f9a3f6e-3f0e-4b0e-9a55-5b8a1c9d0e11";
const jobId = "0b84028a-1b1e-4d0c-8f31-2f0c9a7e1d22";
const libraryId = "7d5c1a9e-2c3f-4e7b-8a61-3e1d0b9c2f33";
const documentId = "9c1b7e5d-4a2f-4c8e-b071-4f2e1c0d3a44";
const groupId = "5e2d8c4b-6f3a-4d9c-a182-5a3f2d1e4b55";
const agentId = "ag_0123456789";
const conversationId = "conv_0123456789";
const document = { libraryId, documentId };
const describe = [{ role: "user", content: "Describe Paris as JSON." }];
const winter = [{ role: "user", content: "And in winter?" }];

async function events(stream) {
  const all = [];
  for await (const event of await stream) all.push(event);
  return all;
}

const operations = {
  "chat.complete": (m) => m.chat.complete({ model, messages: question }),
  "chat.complete, every parameter": (m) =>
    m.chat.complete({
      model,
      messages: [{ role: "system", content: "Be brief." }, ...question],
      temperature: 0,
      topP: 1,
      maxTokens: 100,
      stop: ["\n\n"],
      randomSeed: 7,
      n: 1,
      presencePenalty: 0.5,
      frequencyPenalty: 0.25,
      safePrompt: true,
    }),
  "chat.complete, tools": (m) =>
    m.chat.complete({ model, messages: toolChat.slice(0, 1), tools, toolChoice: "any", parallelToolCalls: false }),
  "chat.complete, result of a tool": (m) => m.chat.complete({ model, messages: toolChat, tools }),
  "chat.complete, image": (m) => {
    const content = [{ type: "text", text: "What is this?" }, { type: "image_url", imageUrl: pixel }];
    return m.chat.complete({ model, messages: [{ role: "user", content }] });
  },
  "chat.complete, document": (m) => {
    const content = [{ type: "text", text: "Sum it up." }, { type: "document_url", documentUrl: "https://example.com/a.pdf" }];
    return m.chat.complete({ model, messages: [{ role: "user", content }] });
  },
  "chat.complete, JSON object": (m) =>
    m.chat.complete({ model, messages: question, responseFormat: { type: "json_object" } }),
  "chat.complete, JSON schema": (m) => {
    const jsonSchema = { name: "city", schemaDefinition: citySchema, strict: true };
    return m.chat.complete({ model, messages: describe, responseFormat: { type: "json_schema", jsonSchema } });
  },
  "chat.parse": async (m) =>
    (await m.chat.parse({ model, messages: describe, responseFormat: City })).choices[0].message.parsed,
  "chat.stream": (m) => events(m.chat.stream({ model, messages: question })),
  "chat.stream, tools": (m) => events(m.chat.stream({ model, messages: toolChat.slice(0, 1), tools })),
  "chat.complete, refused": (m) => m.chat.complete({ model: "no-such-model", messages: question }),
  "chat.complete, busy at first": (m) => {
    const backoff = { initialInterval: 1, maxInterval: 10, exponent: 1.1, maxElapsedTime: 10_000 };
    const retries = { strategy: "backoff", backoff, retryConnectionErrors: false };
    return m.chat.complete({ model, messages: [{ role: "user", content: "Are you busy?" }] }, { retries });
  },
  "chat.complete, async": (m) => m.chat.complete({ model, messages: winter }),
  "chat.stream, async": (m) => events(m.chat.stream({ model, messages: winter })),
  "chat.complete, four at once": (m) =>
    Promise.all(
      [0, 1, 2, 3].map((number) =>
        m.chat.complete({ model, messages: [{ role: "user", content: `Question ${number}` }] }),
      ),
    ),
  "agents.complete": (m) => m.agents.complete({ agentId, messages: question }),
  "agents.stream": (m) => events(m.agents.stream({ agentId, messages: question })),
  "fim.complete": (m) =>
    m.fim.complete({ model: "codestral-latest", prompt: "def add(a, b):", suffix: "\nprint(add(1, 2))", temperature: 0.2 }),
  "fim.stream": (m) => events(m.fim.stream({ model: "codestral-latest", prompt: "def add(a, b):", maxTokens: 20 })),

  "embeddings.create": (m) => m.embeddings.create({ model: "mistral-embed", inputs: "The mistral is a wind." }),
  "embeddings.create, a list": (m) =>
    m.embeddings.create({ model: "codestral-embed", inputs: ["one", "deux"], outputDimension: 8, outputDtype: "float" }),
  "classifiers.moderate": (m) =>
    m.classifiers.moderate({ model: "mistral-moderation-latest", inputs: ["I like the wind."] }),
  "classifiers.moderate_chat": (m) =>
    m.classifiers.moderateChat({ model: "mistral-moderation-latest", inputs: question }),
  "classifiers.classify": (m) => m.classifiers.classify({ model: "my-classifier", inputs: ["I like the wind."] }),
  "classifiers.classify_chat": (m) =>
    m.classifiers.classifyChat({ model: "my-classifier", input: [{ messages: question }] }),
  "ocr.process": (m) =>
    m.ocr.process({
      model: "mistral-ocr-latest",
      document: { type: "document_url", documentUrl: "https://example.com/a.pdf" },
      pages: [0, 1],
      includeImageBase64: false,
    }),
  "ocr.process, image": (m) =>
    m.ocr.process({ model: "mistral-ocr-latest", document: { type: "image_url", imageUrl: pixel } }),
  "audio.transcriptions.complete": (m) =>
    m.audio.transcriptions.complete({
      model: "voxtral-mini-latest",
      file: { fileName: "wind.wav", content: wave },
      language: "fr",
    }),
  "audio.transcriptions.stream": (m) =>
    events(m.audio.transcriptions.stream({ model: "voxtral-mini-latest", file: { fileName: "wind.wav", content: wave } })),
  "audio.speech.complete": (m) =>
    m.audio.speech.complete({ input: "Bonjour", model: "voxtral-tts-latest", voiceId: "v1", responseFormat: "wav" }),
  "audio.voices.list": (m) => m.audio.voices.list({}),

  "models.list": (m) => m.models.list(),
  "models.retrieve": (m) => m.models.retrieve({ modelId: model }),
  "models.delete": (m) => m.models.delete({ modelId: "ft:my-model:1" }),
  "models.update": (m) =>
    m.models.update({
      modelId: "ft:my-model:1",
      updateModelRequest: { name: "winds", description: "Knows the winds" },
    }),
  "models.archive": (m) => m.models.archive({ modelId: "ft:my-model:1" }),
  "models.unarchive": (m) => m.models.unarchive({ modelId: "ft:my-model:1" }),
  "files.upload": (m) =>
    m.files.upload({ file: { fileName: "batch.jsonl", content: Buffer.from('{"custom_id": "0"}\n') }, purpose: "batch" }),
  "files.list": (m) => m.files.list({ page: 0, pageSize: 10, purpose: "batch" }),
  "files.retrieve": (m) => m.files.retrieve({ fileId }),
  "files.download": async (m) =>
    Buffer.from(await new Response(await m.files.download({ fileId })).arrayBuffer()).toString("hex"),
  "files.get_signed_url": (m) => m.files.getSignedUrl({ fileId, expiry: 12 }),
  "files.delete": (m) => m.files.delete({ fileId }),
  "batch.jobs.create": (m) =>
    m.batch.jobs.create({
      endpoint: "/v1/chat/completions",
      model,
      inputFiles: [fileId],
      metadata: { suite: "winds" },
      timeoutHours: 2,
    }),
  "batch.jobs.list": (m) => m.batch.jobs.list({ page: 0, pageSize: 10 }),
  "batch.jobs.get": (m) => m.batch.jobs.get({ jobId }),
  "batch.jobs.cancel": (m) => m.batch.jobs.cancel({ jobId }),
  "batch.jobs.delete": (m) => m.batch.jobs.delete({ jobId }),

  "beta.agents.create": (m) =>
    m.beta.agents.create({
      model: "mistral-medium-latest",
      name: "winds",
      instructions: "Speak of winds.",
      tools: [{ type: "web_search" }, ...tools],
      completionArgs: { temperature: 0.3 },
    }),
  "beta.agents.list": (m) => m.beta.agents.list({ page: 0, pageSize: 5 }),
  "beta.agents.get": (m) => m.beta.agents.get({ agentId }),
  "beta.agents.update": (m) =>
    m.beta.agents.update({ agentId, updateAgentRequest: { description: "Knows the winds" } }),
  "beta.agents.update_version": (m) => m.beta.agents.updateVersion({ agentId, version: 2 }),
  "beta.agents.list_versions": (m) => m.beta.agents.listVersions({ agentId, page: 0, pageSize: 5 }),
  "beta.agents.get_version": (m) => m.beta.agents.getVersion({ agentId, version: "2" }),
  "beta.agents.delete": (m) => m.beta.agents.delete({ agentId }),
  "beta.conversations.start": (m) =>
    m.beta.conversations.start({
      model: "mistral-medium-latest",
      inputs: "Which wind is cold?",
      instructions: "Be brief.",
      tools: [{ type: "web_search" }],
      completionArgs: { temperature: 0.3 },
      store: true,
    }),
  "beta.conversations.start, entries": (m) =>
    m.beta.conversations.start({
      agentId,
      inputs: [{ type: "message.input", role: "user", content: "Which wind is cold?" }],
    }),
  "beta.conversations.start_stream": (m) =>
    events(m.beta.conversations.startStream({ model: "mistral-medium-latest", inputs: "Which wind is cold?" })),
  "beta.conversations.append": (m) =>
    m.beta.conversations.append({ conversationId, conversationAppendRequest: { inputs: "And which is warm?" } }),
  "beta.conversations.append_stream": (m) =>
    events(
      m.beta.conversations.appendStream({ conversationId, conversationAppendStreamRequest: { inputs: "And which is warm?" } }),
    ),
  "beta.conversations.restart": (m) =>
    m.beta.conversations.restart({
      conversationId,
      conversationRestartRequest: { fromEntryId: "msg_1", inputs: "And dry?" },
    }),
  "beta.conversations.restart_stream": (m) =>
    events(
      m.beta.conversations.restartStream({
        conversationId,
        conversationRestartStreamRequest: { fromEntryId: "msg_1", inputs: "And dry?" },
      }),
    ),
  "beta.conversations.list": (m) => m.beta.conversations.list({ page: 0, pageSize: 5 }),
  "beta.conversations.get": (m) => m.beta.conversations.get({ conversationId }),
  "beta.conversations.get_history": (m) => m.beta.conversations.getHistory({ conversationId }),
  "beta.conversations.get_messages": (m) => m.beta.conversations.getMessages({ conversationId }),
  "beta.conversations.delete": (m) => m.beta.conversations.delete({ conversationId }),

  "beta.libraries.create": (m) => m.beta.libraries.create({ name: "winds", description: "All winds" }),
  "beta.libraries.list": (m) => m.beta.libraries.list(),
  "beta.libraries.get": (m) => m.beta.libraries.get({ libraryId }),
  "beta.libraries.update": (m) =>
    m.beta.libraries.update({ libraryId, updateLibraryRequest: { name: "all winds" } }),
  "beta.libraries.delete": (m) => m.beta.libraries.delete({ libraryId }),
  "beta.libraries.documents.upload": (m) =>
    m.beta.libraries.documents.upload({
      libraryId,
      requestBody: { file: { fileName: "winds.txt", content: Buffer.from("Le mistral, la tramontane…") } },
    }),
  "beta.libraries.documents.list": (m) => m.beta.libraries.documents.list({ libraryId, page: 0, pageSize: 5 }),
  "beta.libraries.documents.get": (m) => m.beta.libraries.documents.get(document),
  "beta.libraries.documents.status": (m) => m.beta.libraries.documents.status(document),
  "beta.libraries.documents.text_content": (m) => m.beta.libraries.documents.textContent(document),
  "beta.libraries.documents.get_signed_url": (m) => m.beta.libraries.documents.getSignedUrl(document),
  "beta.libraries.documents.delete": (m) => m.beta.libraries.documents.delete(document),
  "beta.libraries.accesses.list": (m) => m.beta.libraries.accesses.list({ libraryId }),
  "beta.libraries.accesses.update_or_create": (m) =>
    m.beta.libraries.accesses.updateOrCreate({
      libraryId,
      sharingRequest: { level: "Viewer", shareWithUuid: groupId, shareWithType: "User" },
    }),
  "beta.libraries.accesses.delete": (m) =>
    m.beta.libraries.accesses.delete({
      libraryId,
      sharingDelete: { shareWithUuid: groupId, shareWithType: "User" },
    }),
};

async function run(base, names) {
  for (const operation of names.length ? names : Object.keys(operations)) {
    const scope = operation.replace(/[^\p{L}\p{N}._]/gu, "-");
    const client = new Mistral({ apiKey: process.env.MISTRAL_API_KEY, ...(base && { serverURL: `${base}/c/${scope}` }) });
    let answer;
    try {
      answer = (await operations[operation](client)) ?? null;
    } catch (error) {
      answer = { error: error.name, status: error.statusCode ?? null, body: error.body ?? String(error) };
    }
    console.log(JSON.stringify({ operation, answer }));
  }
}

const [, , ...names] = process.argv;
if (names[0] === "--worker") {
  for await (const line of createInterface({ input: process.stdin })) {
    const { base, names } = JSON.parse(line);
    await run(base, names);
    console.log();
  }
} else {
  await run(process.env.UNMODIFIED ? null : process.env.MISTRAL_SERVER_URL, names);
}
