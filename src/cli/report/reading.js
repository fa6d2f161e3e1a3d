"use strict";
// Reads bodies into turns `{who, name, blocks, notes}` of blocks `{kind, …}`, which page.js turns into elements.

/** Parses a JSON text; undefined when it is invalid. */
function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);
const list = (value) => (Array.isArray(value) ? value : []);
const counted = (number, thing) => `${number.toLocaleString("en")} ${thing}${number === 1 ? "" : "s"}`;

function inBytes(number) {
  if (number < 1000) return counted(number, "byte");
  return number < 1e6 ? `${(number / 1000).toFixed(1)} kB` : `${(number / 1e6).toFixed(1)} MB`;
}

function inSeconds(milliseconds) {
  return milliseconds < 1000 ? `${milliseconds} ms` : `${(milliseconds / 1000).toFixed(1)} s`;
}

// Indented JSON

/** The tokens of a JSON text with line breaks and indents, as `[kind, text]`. Numbers and strings do not change. */
function indented(text) {
  const tokens = text.match(/"[^"\\]*(?:\\.[^"\\]*)*"|[{}[\],:]|[^\s{}[\],:"]+/gs) ?? [];
  const out = [];
  let depth = 0;
  // Deeper nesting is not indented further: the spaces would fill the memory.
  const line = () => out.push(["space", "\n" + "  ".repeat(Math.min(depth, 40))]);
  // Vectors stay on one line.
  const flat = new Set();
  const open = [];
  tokens.forEach((token, at) => {
    if (token === "[" || token === "{") open.push([at, token === "["]);
    else if (token === "]" || token === "}") {
      const [start, isFlat] = open.pop() ?? [at, false];
      if (isFlat) flat.add(start).add(at);
    } else if (token !== "," && !/^[-\d]/.test(token) && open.length) open[open.length - 1][1] = false;
    if ((token === "[" || token === "{") && open.length > 1) open[open.length - 2][1] = false;
  });
  let inFlat = false;
  tokens.forEach((token, at) => {
    const isEmpty = tokens[at + 1] === "]" || tokens[at + 1] === "}";
    if (token === "[" || token === "{") {
      out.push(["sign", token]);
      inFlat = flat.has(at);
      depth += 1;
      if (!inFlat && !isEmpty) line();
    } else if (token === "]" || token === "}") {
      depth = Math.max(0, depth - 1);
      if (!inFlat && tokens[at - 1] !== "[" && tokens[at - 1] !== "{") line();
      inFlat = false;
      out.push(["sign", token]);
    } else if (token === ",") {
      out.push(["sign", inFlat ? ", " : ","]);
      if (!inFlat) line();
    } else if (token === ":") {
      out.push(["sign", ": "]);
    } else {
      const kind = token[0] !== '"' ? "number" : tokens[at + 1] === ":" ? "name" : "string";
      out.push([kind, token]);
    }
  });
  return out;
}

// Images and audio

const OMITTED = /\[omitted: \d+ characters of base64\]/;

/** The media types that the page shows, by their first bytes. The type that a recording claims is ignored. */
const MEDIA = [
  ["image/png", /^\x89PNG/],
  ["image/jpeg", /^\xff\xd8\xff/],
  ["image/gif", /^GIF8/],
  ["image/webp", /^RIFF[^]{4}WEBP/],
  ["image/avif", /^[^]{4}ftypavi/],
  ["audio/mpeg", /^ID3|^\xff[\xe2\xe3\xf2\xf3\xfa\xfb]/],
  ["audio/wav", /^RIFF[^]{4}WAVE/],
  ["audio/ogg", /^OggS/],
  ["audio/flac", /^fLaC/],
  ["audio/webm", /^\x1aE\xdf\xa3/],
  ["audio/mp4", /^[^]{4}ftyp/],
];

/** A block for a `data:` URL or bare base64: an image, audio, or a note with the type. `what` names it. */
function media(source, what) {
  const [, claimed, data] = /^data:([^,]*?)(?:;base64)?,([^]*)$/.exec(source) ?? [null, "", source];
  const base64 = data.replace(OMITTED, "").replace(/\s/g, "");
  const length = Number(/\[omitted: (\d+)/.exec(data)?.[1] ?? base64.length);
  let head = "";
  try {
    head = atob(base64.slice(0, 64));
  } catch {
    return { kind: "text", text: source };
  }
  const type = MEDIA.find(([, start]) => start.test(head))?.[0];
  const pdf = head.startsWith("%PDF") ? "application/pdf" : "";
  const label = [what, type ?? (pdf || claimed || "unknown media type"), inBytes(Math.floor((length * 3) / 4))].join(
    ", ",
  );
  if (OMITTED.test(data)) return { kind: "note", text: `${label}: omitted, --with-media includes it` };
  if (!type) return { kind: "note", text: label };
  return { kind: type.split("/")[0], url: `data:${type};base64,${base64}`, text: label };
}

/** Joins pieces of base64 that were encoded separately. */
function joinedBase64(pieces) {
  try {
    return btoa(pieces.map(atob).join(""));
  } catch {
    return pieces.join("");
  }
}

// Messages

const textBlock = (value) => ({ kind: "text", text: value });
const noteBlock = (value) => ({ kind: "note", text: value });
const jsonBlock = (value) => ({ kind: "json", text: JSON.stringify(value) ?? "null" });

/** A text block, or a JSON block when the text is an object or a list, such as structured output. */
function contentBlock(value) {
  const isJson = /^\s*[{[]/.test(value) && typeof parsed(value) === "object";
  return isJson ? { kind: "json", text: value } : textBlock(value);
}

function blocksOf(content) {
  if (content === null || content === undefined || content === "") return [];
  if (typeof content === "string") return [contentBlock(content)];
  if (Array.isArray(content)) return content.flatMap(chunk);
  return chunk(content);
}

function urlOf(value) {
  return typeof value === "string" ? value : typeof value?.url === "string" ? value.url : undefined;
}

function linked(value, what) {
  const url = urlOf(value);
  if (url === undefined) return [jsonBlock(value)];
  return [url.startsWith("data:") ? media(url, what) : noteBlock(`${what}: ${url}`)];
}

/** One part of the content of a message, in any of the APIs: chat, conversations, responses. */
function chunk(part) {
  if (typeof part === "string") return blocksOf(part);
  if (!isObject(part)) return [jsonBlock(part)];
  switch (part.type) {
    case "text":
    case "input_text":
    case "output_text":
    case "reasoning_text":
    case "summary_text":
      return typeof part.text === "string" ? blocksOf(part.text) : [jsonBlock(part)];
    case "thinking":
      return [{ kind: "thinking", blocks: blocksOf(part.thinking) }];
    case "image_url":
    case "input_image":
      return linked(part.image_url, "Image");
    case "document_url":
      return linked(part.document_url, part.document_name ?? "Document");
    case "input_audio": {
      const audio = isObject(part.input_audio) ? part.input_audio.data : part.input_audio;
      if (typeof audio !== "string") return [jsonBlock(part)];
      return [/^https?:/.test(audio) ? noteBlock(`Audio: ${audio}`) : media(audio, "Audio")];
    }
    case "reference":
      return [noteBlock(`references: ${list(part.reference_ids).join(", ")}`)];
    case "tool_reference":
      return [noteBlock([`source: ${part.title}`, part.url, part.description].filter(Boolean).join(" · "))];
    case "file":
    case "tool_file":
      return [noteBlock(["File", part.file_name, part.file_type, part.file_id].filter(Boolean).join(" · "))];
    case "resource":
      return [noteBlock(`Resource: ${part.uri}`), ...blocksOf(part.content)];
    case "resource_link":
      return [noteBlock(`Resource: ${part.uri}`)];
    default:
      return [jsonBlock(part)];
  }
}

function call(name, id, given) {
  const text = typeof given === "string" ? given : JSON.stringify(given ?? {});
  return {
    kind: "call",
    name: String(name ?? "?"),
    id: typeof id === "string" && id !== "null" ? id : "",
    text,
  };
}

/** A message `{role, content, tool_calls}`, or an entry `{type, …}` of a conversation. */
function turn(entry) {
  if (!isObject(entry)) return { who: "message", blocks: blocksOf(entry) };
  const id = entry.tool_call_id ?? entry.call_id;
  switch (entry.type) {
    case "function.call":
    case "function_call":
      return { who: "assistant", blocks: [call(entry.name, id, entry.arguments)] };
    case "function.result":
    case "function_call_output":
      return { who: "tool", name: id, blocks: blocksOf(entry.result ?? entry.output) };
    case "tool.execution": {
      const blocks = [call(entry.name, "", entry.arguments)];
      if (entry.info) blocks.push(jsonBlock(entry.info));
      return { who: "tool", name: entry.name, blocks };
    }
    case "agent.handoff": {
      const [from, to] = ["previous", "next"].map((side) => entry[`${side}_agent_name`] ?? entry[`${side}_agent_id`]);
      return { who: "handoff", blocks: [noteBlock(`${from ?? "?"} → ${to ?? "?"}`)] };
    }
    case "reasoning":
      return { who: "assistant", blocks: [{ kind: "thinking", blocks: blocksOf(entry.content ?? entry.summary) }] };
  }
  if (entry.role === undefined && entry.content === undefined)
    return { who: entry.type ?? "entry", blocks: [jsonBlock(entry)] };
  const calls = list(entry.tool_calls).map((one) => call(one?.function?.name, one?.id, one?.function?.arguments));
  return {
    who: String(entry.role ?? entry.type ?? "message"),
    name: entry.name ?? entry.tool_call_id,
    blocks: [...blocksOf(entry.content), ...calls],
    notes: entry.prefix === true ? ["prefix"] : [],
  };
}

// Requests

/** The turns of an input: one text, several texts, one message or several messages. */
function turnsIn(value, who) {
  const isText = (one) => typeof one === "string";
  if (Array.isArray(value) && !value.every(isObject)) {
    if (value.every(isText))
      return value.map((one, at) => ({ who, name: value.length > 1 ? String(at + 1) : "", blocks: [textBlock(one)] }));
    return value.flatMap((one) => turnsIn(one, who));
  }
  if (Array.isArray(value)) return value.map(turn);
  return isObject(value) ? [turn(value)] : [{ who, blocks: blocksOf(value) }];
}

/** Reads a request: `{settings: [[name, value]], tools, turns}`. */
function readRequest(body) {
  const read = { settings: [], tools: [], turns: [] };
  if (!body) return read;
  if (body.parts) {
    for (const part of body.parts) readPart(part, read);
    return read;
  }
  const value = body.text === undefined ? undefined : parsed(body.text);
  if (!isObject(value)) {
    read.turns.push({ who: "body", blocks: bodyBlocks(body, "Body") });
    return read;
  }
  for (const [name, member] of Object.entries(value)) {
    if (["messages", "inputs", "input", "prompt", "instructions", "suffix"].includes(name) && member !== null) {
      const who =
        name === "instructions"
          ? "system"
          : name === "suffix"
            ? "suffix"
            : name === "input" && typeof member !== "object"
              ? "input"
              : "user";
      const conversation = isObject(member) && Array.isArray(member.messages) ? member.messages : member;
      read.turns.push(...turnsIn(conversation, who));
    } else if (name === "document") {
      read.turns.push({ who: "document", blocks: blocksOf(member) });
    } else if (name === "tools" && Array.isArray(member)) {
      read.tools = member;
    } else if (typeof member === "string" && (member.length > 200 || member.startsWith("data:"))) {
      read.turns.push({
        who: name,
        blocks: [/^data:|^[A-Za-z0-9+/=]{200}/.test(member) ? media(member, name) : contentBlock(member)],
      });
    } else {
      read.settings.push([name, member]);
    }
  }
  // Instructions come first, whatever their position in the request.
  read.turns.sort((a, b) => (b.who === "system") - (a.who === "system"));
  return read;
}

function readPart(part, read) {
  const isFile = part.filename !== null || part.content_type !== null;
  if (!isFile && part.body?.text !== undefined && part.body.text.length <= 200) {
    read.settings.push([part.name, part.body.text]);
    return;
  }
  const notes = [part.content_type, inBytes(part.bytes)].filter(Boolean);
  read.turns.push({
    who: part.name,
    name: part.filename ?? "",
    blocks: bodyBlocks(part.body, part.filename ?? part.name),
    notes,
  });
}

/** The blocks of a body that is not a JSON object. */
function bodyBlocks(body, what) {
  if (!body) return [noteBlock("empty")];
  if (body.omitted !== undefined) {
    return [noteBlock(`${what}, ${inBytes(body.omitted)}: omitted, --with-media includes it`)];
  }
  return body.base64 !== undefined ? [media(body.base64, what)] : [contentBlock(body.text)];
}

// Responses

/** The events of a stream: `{name, data}`. A comment has no data, and counts because `timing_ms` has a time for it. */
function events(body) {
  return (body.match(/[^]*?(?:\r\n\r\n|\n\n|\r\r)+|[^]+$/g) ?? []).map((block) => {
    let name;
    let data;
    for (const line of block.split(/\r\n|\n|\r/)) {
      const [, field, value] = /^([^:]*):? ?(.*)$/s.exec(line);
      if (field === "event") name = value;
      if (field === "data") data = data === undefined ? value : `${data}\n${value}`;
    }
    return { name, data };
  });
}

/** Appends text or chunks to the content so far; adjacent chunks of one type are joined. */
function merged(soFar, more) {
  if (more === null || more === undefined) return soFar;
  if (soFar === null || soFar === undefined || soFar === "") return more;
  if (typeof soFar === "string" && typeof more === "string") return soFar + more;
  const parts = (value) =>
    Array.isArray(value) ? value : [typeof value === "string" ? { type: "text", text: value } : value];
  const all = [...parts(soFar)];
  for (const part of parts(more)) {
    const last = all.at(-1);
    if (part?.type === "text" && last?.type === "text") all[all.length - 1] = { ...last, text: last.text + part.text };
    else if (part?.type === "thinking" && last?.type === "thinking") {
      all[all.length - 1] = { ...last, thinking: merged(last.thinking, part.thinking) };
    } else all.push(part);
  }
  return all;
}

/** Joins the events of a stream to the content that a response without streaming would have. */
class Stream {
  #choices = new Map();
  #outputs = new Map();
  #audio = [];
  #content = {};
  #others = [];

  add({ name, data }) {
    if (data === undefined || data === "[DONE]") return;
    const event = parsed(data);
    if (!isObject(event)) {
      this.#others.push(event ?? data);
      return;
    }
    if (isObject(event.usage)) this.#content.usage = event.usage;
    if (Array.isArray(event.choices)) {
      for (const choice of event.choices) this.#choice(choice);
    } else this.#event(event.type ?? name, event);
  }

  #choice(choice) {
    if (!isObject(choice)) return;
    const at = choice.index ?? 0;
    if (!this.#choices.has(at))
      this.#choices.set(at, { index: at, message: { role: "assistant", content: "", tool_calls: [] } });
    const soFar = this.#choices.get(at);
    const { message } = soFar;
    message.content = merged(message.content, choice.delta?.content);
    for (const piece of list(choice.delta?.tool_calls)) {
      const isSame = (known) =>
        known.index === piece.index && (!piece.id || piece.id === "null" || known.id === piece.id);
      const known = message.tool_calls.find(isSame);
      if (known) known.function.arguments = merged(known.function.arguments, piece.function?.arguments);
      else message.tool_calls.push({ ...piece, function: { ...piece.function } });
    }
    if (choice.finish_reason) soFar.finish_reason = choice.finish_reason;
  }

  #output(id, entry) {
    const key = `${entry.type} ${id}`;
    if (!this.#outputs.has(key)) this.#outputs.set(key, entry);
    return this.#outputs.get(key);
  }

  #event(type, event) {
    const { id, item_id } = event;
    const grow = (entry, member, more) => (entry[member] = merged(entry[member], more));
    switch (type) {
      case "message.output.delta":
        return grow(
          this.#output(id, { type: "message.output", role: "assistant", content: "" }),
          "content",
          event.content,
        );
      case "function.call.delta":
        return grow(
          this.#output(id, {
            type: "function.call",
            name: event.name,
            tool_call_id: event.tool_call_id,
            arguments: "",
          }),
          "arguments",
          event.arguments,
        );
      case "tool.execution.started":
      case "tool.execution.delta":
      case "tool.execution.done": {
        const entry = this.#output(id, { type: "tool.execution", name: event.name, arguments: "" });
        entry.info = event.info ?? entry.info;
        return grow(entry, "arguments", event.arguments);
      }
      case "agent.handoff.started":
      case "agent.handoff.done":
        return Object.assign(this.#output(id, { type: "agent.handoff" }), event, { type: "agent.handoff" });
      case "conversation.response.started":
        this.#content.conversation_id = event.conversation_id;
        return;
      case "conversation.response.done":
      case "transcription.done":
      case "speech.audio.done":
        for (const member of ["text", "language", "segments"])
          this.#content[member] = event[member] ?? this.#content[member];
        return;
      case "transcription.text.delta":
        return grow(this.#content, "text", event.text);
      case "transcription.language":
        this.#content.language = event.audio_language;
        return;
      case "transcription.segment":
        (this.#content.segments ??= []).push(event);
        return;
      case "speech.audio.delta":
        return void this.#audio.push(String(event.audio_data ?? ""));
      case "response.output_text.delta":
      case "response.reasoning_text.delta": {
        const part = type.includes("reasoning") ? "reasoning" : "message";
        return grow(this.#output(item_id, { type: part, role: "assistant", content: "" }), "content", event.delta);
      }
      case "response.output_item.added":
        if (event.item?.type === "function_call") this.#output(event.item.id, { ...event.item, arguments: "" });
        return;
      case "response.function_call_arguments.delta":
        return grow(this.#output(item_id, { type: "function_call", arguments: "" }), "arguments", event.delta);
      case "response.completed":
      case "response.incomplete":
        this.#content.usage = event.response?.usage ?? this.#content.usage;
        return;
      default:
        // The deltas have the content of these events.
        if (!/^response\.(created|in_progress|content_part|output_item|.*\.done$)/.test(type ?? ""))
          this.#others.push(event);
    }
  }

  /** The content so far. */
  content() {
    const content = { ...this.#content };
    for (const name of Object.keys(content)) if (content[name] === undefined) delete content[name];
    if (this.#choices.size) content.choices = [...this.#choices.values()];
    if (this.#outputs.size) content.outputs = [...this.#outputs.values()];
    if (this.#audio.length) content.audio_data = joinedBase64(this.#audio);
    if (this.#others.length) content.events = this.#others;
    return content;
  }
}

const STREAM_TYPE = /^\s*(text\/event-stream|application\/vnd\.amazon\.eventstream)\s*(;|$)/i;

const isStream = (response) =>
  response.headers.some(([name, value]) => name === "content-type" && STREAM_TYPE.test(value));

/** The events of a response that is a stream. Those of a binary format are in the data of the page. */
const eventsOf = (response) => response.events ?? events(response.body.text);

const headOf = (response) => [
  `HTTP ${response.status} ${response.reason ?? ""}`,
  ...response.headers.map((header) => header.join(": ")),
];

/** The usage as texts; units without usage are skipped. */
function inWords({ input = 0, output = 0, pages, seconds, characters }) {
  const tokens = `${counted(input + output, "token")} (${input.toLocaleString("en")} in, ${output.toLocaleString("en")} out)`;
  return [
    input + output ? tokens : "",
    pages ? counted(pages, "page") : "",
    seconds ? `${counted(seconds, "second")} of audio` : "",
    characters ? `${counted(characters, "character")} of speech` : "",
  ].filter(Boolean);
}

/** An amount of US dollars, in the form of `stats`. */
function inDollars(amount) {
  if (amount === 0 || amount >= 1) return `$${amount.toFixed(2)}`;
  if (amount < 0.000001) return "< $0.000001";
  return `$${amount.toFixed(6).replace(/0+$/, "")}`;
}

/** The content of a response: its JSON, its joined stream, or undefined. */
function contentOf(response) {
  const body = response.body?.text;
  if (body === undefined) return undefined;
  if (!isStream(response)) return parsed(body);
  const stream = new Stream();
  eventsOf(response).forEach((event) => stream.add(event));
  return stream.content();
}

/** The turns of the content of a response. */
function readContent(content, response) {
  if (!response.body) return [];
  if (content === undefined)
    return [{ who: response.status < 400 ? "response" : "error", blocks: bodyBlocks(response.body, "Body") }];
  if (response.status >= 400) return [failure(content)];
  if (Array.isArray(content)) return [{ who: "response", blocks: [idTable(content) ?? jsonBlock(content)] }];
  if (!isObject(content)) return [{ who: "response", blocks: [jsonBlock(content)] }];
  const { usage, usage_info, ...rest } = content;
  const read = KINDS.flatMap(([member, reading]) => {
    if (rest[member] === undefined || rest[member] === null) return [];
    const found = reading(rest[member], rest);
    if (found.length) for (const name of [member, ...RAW_ONLY]) delete rest[name];
    return found;
  });
  if (!read.length) return [{ who: "response", blocks: [jsonBlock(content)] }];
  // The remaining members are shown too.
  const left = Object.entries(rest).filter(
    ([, value]) => value !== null && value !== undefined && String(value) !== "",
  );
  if (left.length)
    read.push({
      who: "more",
      blocks: left.map(([name, value]) =>
        typeof value === "object" ? jsonBlock({ [name]: value }) : noteBlock(`${name}: ${value}`),
      ),
    });
  return read;
}

/** Members that only the raw view shows. */
const RAW_ONLY = ["id", "object", "created", "created_at", "model", "has_more", "total"];

const isEntry = (value) => typeof (value?.type ?? value?.role) === "string";

/** The members that can have content, and how to read them. */
const KINDS = [
  ["choices", (choices) => list(choices).map(readChoice)],
  ["outputs", (outputs) => (list(outputs).every(isEntry) ? list(outputs).map(turn) : [])],
  ["output", (output) => (list(output).every(isEntry) ? list(output).map(turn) : [])],
  ["messages", (messages) => list(messages).map(turn)],
  ["entries", (entries) => list(entries).map(turn)],
  ["pages", (pages) => list(pages).map(readPage)],
  ["document_annotation", (annotation) => [{ who: "annotation", blocks: blocksOf(annotation) }]],
  ["text", (spoken, rest) => readTranscript(spoken, rest)],
  ["audio_data", (audio) => (typeof audio === "string" ? [{ who: "assistant", blocks: [media(audio, "Audio")] }] : [])],
  ["data", (data) => readData(list(data))],
  ["results", (results) => list(results).map(readResult)],
];

function failure(content) {
  const { message, detail, type, code, ...rest } = isObject(content) ? content : { message: content };
  const why = message ?? detail ?? content;
  const blocks = [];
  for (const one of Array.isArray(why) ? why : [why]) {
    if (isObject(one) && one.msg) blocks.push(textBlock(`${list(one.loc).join(" › ")}: ${one.msg}`));
    else if (typeof one === "string") blocks.push(textBlock(one));
    else blocks.push(jsonBlock(one));
  }
  const left = Object.entries(rest).filter(
    ([name, value]) => value !== null && name !== "object" && name !== "raw_status_code",
  );
  if (left.length && why !== content) blocks.push(jsonBlock(Object.fromEntries(left)));
  return { who: "error", blocks, notes: [type, code && `code ${code}`].filter(Boolean) };
}

function readChoice(choice, at) {
  const read = turn(choice?.message ?? {});
  read.who = choice?.message?.role ?? "assistant";
  if (at > 0) read.name = `choice ${at + 1}`;
  read.notes = choice?.finish_reason && choice.finish_reason !== "stop" ? [`finish reason: ${choice.finish_reason}`] : [];
  return read;
}

function readPage(page) {
  const images = list(page?.images).flatMap((image) => {
    const shown =
      typeof image?.image_base64 === "string"
        ? media(image.image_base64, image.id ?? "Image")
        : noteBlock(image?.id ?? "Image");
    return image?.image_annotation ? [shown, ...blocksOf(image.image_annotation)] : [shown];
  });
  const tables = list(page?.tables).map((table) => textBlock(String(table?.content ?? "")));
  const { width, height, dpi } = page?.dimensions ?? {};
  return {
    who: `page ${(page?.index ?? 0) + 1}`,
    blocks: [page?.header, page?.markdown, page?.footer]
      .filter((part) => typeof part === "string" && part !== "")
      .map(textBlock)
      .concat(tables, images),
    notes: width ? [`${width} × ${height} px, ${dpi} dpi`] : [],
  };
}

function readTranscript(spoken, rest) {
  if (typeof spoken !== "string") return [];
  const read = { who: "transcript", blocks: spoken ? [textBlock(spoken)] : [], notes: [rest.language].filter(Boolean) };
  const segments = list(rest.segments);
  if (segments.length) {
    const time = (seconds) => (typeof seconds === "number" ? seconds.toFixed(2) : "");
    const body = segments.map((one) => [time(one?.start), time(one?.end), one?.speaker_id ?? "", one?.text ?? ""]);
    read.blocks.push({ kind: "table", head: ["from (s)", "to (s)", "speaker", "text"], rows: body });
  }
  for (const name of ["segments", "language", "finish_reason"]) delete rest[name];
  return [read];
}

function readData(data) {
  if (!data.length) return [{ who: "response", blocks: [noteBlock("empty list")] }];
  const isVector = (item) => Array.isArray(item?.embedding) || typeof item?.embedding === "string";
  if (!data.every(isVector)) {
    const table = idTable(data);
    return table ? [{ who: "response", blocks: [table] }] : [];
  }
  const short = (number) => (Number.isInteger(number) ? number : Number(number).toPrecision(4));
  const body = data.map(({ index, embedding }) => {
    if (typeof embedding === "string")
      return [index, `${embedding.length} characters of base64`, "", embedding.slice(0, 40) + "…"];
    const length = Math.sqrt(embedding.reduce((sum, number) => sum + number * number, 0));
    return [
      index,
      embedding.length.toLocaleString("en"),
      length.toFixed(4),
      embedding.slice(0, 5).map(short).join(", ") + (embedding.length > 5 ? ", …" : ""),
    ];
  });
  return [
    { who: "embeddings", blocks: [{ kind: "table", head: ["#", "numbers", "norm", "first numbers"], rows: body }] },
  ];
}

/** A table of objects with ids; undefined for any other list. */
function idTable(items) {
  if (!items.length || !items.every((item) => isObject(item) && item.id !== undefined)) return undefined;
  const isPlain = (value) => typeof value !== "object" && value !== "";
  const columns = [
    "id",
    "name",
    "filename",
    "status",
    "purpose",
    "model",
    "description",
    "owned_by",
    "bytes",
    "created_at",
    "created",
  ];
  const head = columns
    .filter((name) => items.some((item) => item[name] !== undefined && isPlain(item[name])))
    .slice(0, 5);
  return {
    kind: "table",
    head,
    rows: items.map((item) => head.map((name) => (isPlain(item[name]) ? item[name] : ""))),
  };
}

function readResult(result, at) {
  const read = { who: "result", name: String(at + 1), blocks: [] };
  const scores = result?.category_scores;
  if (!isObject(scores)) return { ...read, blocks: [jsonBlock(result)] };
  const body = Object.entries(scores).map(([name, score]) => [
    name,
    typeof score === "number" ? score.toPrecision(3) : String(score),
    result.categories?.[name] === true ? "flagged" : "no",
  ]);
  body.sort((a, b) => Number(b[1]) - Number(a[1]));
  read.blocks.push({ kind: "table", head: ["category", "score", "flag"], rows: body });
  return read;
}

// Search

/** Adds every name and value to a list. */
function collect(value, into) {
  const left = [value];
  while (left.length) {
    const one = left.pop();
    if (typeof one === "string") into.push(one);
    else if (typeof one === "number" || typeof one === "boolean") into.push(String(one));
    else if (Array.isArray(one)) {
      // The numbers of a vector are not searchable.
      if (!(one.length > 16 && typeof one[0] === "number")) left.push(...one.slice(0, 10000).reverse());
    } else if (one) {
      for (const [name, member] of Object.entries(one).reverse()) {
        left.push(member);
        into.push(name);
      }
    }
  }
}

/** The searchable text of a recording in lower case; streams are joined. */
function searchable(name, recording) {
  const texts = [name, recording.line ?? "", recording.key ?? "", recording.error ?? "", recording.from ?? ""];
  const add = (body, value) => {
    if (value !== undefined) collect(value, texts);
    else if (body?.text !== undefined) texts.push(body.text);
    for (const part of body?.parts ?? []) {
      texts.push(part.name, part.filename ?? "", part.content_type ?? "", part.body?.text ?? "");
    }
  };
  add(recording.body, recording.body?.text === undefined ? undefined : parsed(recording.body.text));
  for (const response of recording.responses ?? []) {
    texts.push(...headOf(response));
    add(response.body, contentOf(response));
  }
  return texts.join("\n").toLowerCase();
}
