"use strict";
// What a recording says. Bodies become turns `{who, name, blocks, notes}` of blocks `{kind, …}`; no elements are made here.

/** The value of a JSON text; undefined when it is none. */
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

// JSON as people read it

/** The tokens of a JSON text with line ends and indents, as `[kind, text]`; numbers and strings stay as they were sent. */
function indented(text) {
  const tokens = text.match(/"[^"\\]*(?:\\.[^"\\]*)*"|[{}[\],:]|[^\s{}[\],:"]+/gs) ?? [];
  const out = [];
  let depth = 0;
  // What is nested deeper is not indented further: no one reads it, and it would fill the memory.
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

// Pictures and sound

const LEFT_OUT = /\[left out: \d+ characters of base64\]/;

/** The media types that are shown, each by how its bytes begin; a type that a recording claims counts for nothing. */
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

/** A block for a `data:` URL or bare base64: a picture, sound, or a note of what it is. `what` names it. */
function media(source, what) {
  const [, claimed, data] = /^data:([^,]*?)(?:;base64)?,([^]*)$/.exec(source) ?? [null, "", source];
  const base64 = data.replace(LEFT_OUT, "").replace(/\s/g, "");
  const kept = Number(/\[left out: (\d+)/.exec(data)?.[1] ?? base64.length);
  let head = "";
  try {
    head = atob(base64.slice(0, 64));
  } catch {
    return { kind: "text", text: source };
  }
  const type = MEDIA.find(([, begins]) => begins.test(head))?.[0];
  const pdf = head.startsWith("%PDF") ? "application/pdf" : "";
  const told = [what, type ?? (pdf || claimed || "no known media type"), inBytes(Math.floor((kept * 3) / 4))].join(
    ", ",
  );
  if (LEFT_OUT.test(data)) return { kind: "note", text: `${told}: left out of this page, --with-media puts it in` };
  if (!type) return { kind: "note", text: told };
  return { kind: type.split("/")[0], url: `data:${type};base64,${base64}`, text: told };
}

/** Pieces of base64, each whole in itself, as one. */
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

/** A text; as JSON where it is an object or a list, as structured output is. */
function saidBlock(value) {
  const isJson = /^\s*[{[]/.test(value) && typeof parsed(value) === "object";
  return isJson ? { kind: "json", text: value } : textBlock(value);
}

function blocksOf(content) {
  if (content === null || content === undefined || content === "") return [];
  if (typeof content === "string") return [saidBlock(content)];
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

/** One part of a content, of any API of theirs: chat, conversations, responses. */
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
      return linked(part.image_url, "Picture");
    case "document_url":
      return linked(part.document_url, part.document_name ?? "Document");
    case "input_audio": {
      const sound = isObject(part.input_audio) ? part.input_audio.data : part.input_audio;
      if (typeof sound !== "string") return [jsonBlock(part)];
      return [/^https?:/.test(sound) ? noteBlock(`Sound: ${sound}`) : media(sound, "Sound")];
    }
    case "reference":
      return [noteBlock(`refers to ${list(part.reference_ids).join(", ")}`)];
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
  const written = typeof given === "string" ? given : JSON.stringify(given ?? {});
  return {
    kind: "call",
    name: String(name ?? "?"),
    id: typeof id === "string" && id !== "null" ? id : "",
    text: written,
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
      const did = [call(entry.name, "", entry.arguments)];
      if (entry.info) did.push(jsonBlock(entry.info));
      return { who: "tool", name: entry.name, blocks: did };
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

/** The turns of a value that holds them: one text, texts, one message, messages. */
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

/** What was asked: `{settings: [[name, value]], tools, turns}`. */
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
        blocks: [/^data:|^[A-Za-z0-9+/=]{200}/.test(member) ? media(member, name) : saidBlock(member)],
      });
    } else {
      read.settings.push([name, member]);
    }
  }
  // Instructions come before what they are for, wherever they stand.
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

/** A body that is no JSON object. */
function bodyBlocks(body, what) {
  if (!body) return [noteBlock("empty")];
  if (body.left_out !== undefined) {
    return [noteBlock(`${what}, ${inBytes(body.left_out)}: left out of this page, --with-media puts it in`)];
  }
  return body.base64 !== undefined ? [media(body.base64, what)] : [saidBlock(body.text)];
}

// Responses

/** The events of a stream: `{name, data}`, data undefined for a comment; in the places that `timing_ms` counts. */
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

/** Adds text or chunks to what was said so far; neighbours of one kind grow together. */
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

/** A stream so far, put together as the answer that would have come in one piece. */
class Stream {
  #choices = new Map();
  #outputs = new Map();
  #audio = [];
  #answer = {};
  #others = [];

  add({ name, data }) {
    if (data === undefined || data === "[DONE]") return;
    const event = parsed(data);
    if (!isObject(event)) {
      this.#others.push(event ?? data);
      return;
    }
    if (isObject(event.usage)) this.#answer.usage = event.usage;
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
        this.#answer.conversation_id = event.conversation_id;
        return;
      case "conversation.response.done":
      case "transcription.done":
      case "speech.audio.done":
        for (const member of ["text", "language", "segments"])
          this.#answer[member] = event[member] ?? this.#answer[member];
        return;
      case "transcription.text.delta":
        return grow(this.#answer, "text", event.text);
      case "transcription.language":
        this.#answer.language = event.audio_language;
        return;
      case "transcription.segment":
        (this.#answer.segments ??= []).push(event);
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
        this.#answer.usage = event.response?.usage ?? this.#answer.usage;
        return;
      default:
        // What these say was said by deltas before, or will be.
        if (!/^response\.(created|in_progress|content_part|output_item|.*\.done$)/.test(type ?? ""))
          this.#others.push(event);
    }
  }

  /** The answer so far. */
  answer() {
    const answer = { ...this.#answer };
    for (const name of Object.keys(answer)) if (answer[name] === undefined) delete answer[name];
    if (this.#choices.size) answer.choices = [...this.#choices.values()];
    if (this.#outputs.size) answer.outputs = [...this.#outputs.values()];
    if (this.#audio.length) answer.audio_data = joinedBase64(this.#audio);
    if (this.#others.length) answer.events = this.#others;
    return answer;
  }
}

const isStream = (response) =>
  response.headers.some(([name, value]) => name === "content-type" && /^\s*text\/event-stream/i.test(value));

const headOf = (response) => [
  `HTTP ${response.status} ${response.reason ?? ""}`,
  ...response.headers.map((header) => header.join(": ")),
];

/** What was taken, in words; nothing for nothing. */
function inWords({ input = 0, output = 0, pages, seconds, characters }) {
  const tokens = `${counted(input + output, "token")} (${input.toLocaleString("en")} in, ${output.toLocaleString("en")} out)`;
  return [
    input + output ? tokens : "",
    pages ? counted(pages, "page") : "",
    seconds ? `${counted(seconds, "second")} of sound` : "",
    characters ? `${counted(characters, "character")} spoken` : "",
  ].filter(Boolean);
}

/** An amount of US dollars, as `stats` has it. */
function inDollars(amount) {
  if (amount === 0 || amount >= 1) return `$${amount.toFixed(2)}`;
  if (amount < 0.000001) return "< $0.000001";
  return `$${amount.toFixed(6).replace(/0+$/, "")}`;
}

/** The answer of a response: the value of its JSON, its stream put together, or undefined. */
function answerOf(response) {
  const body = response.body?.text;
  if (body === undefined) return undefined;
  if (!isStream(response)) return parsed(body);
  const stream = new Stream();
  events(body).forEach((event) => stream.add(event));
  return stream.answer();
}

/** The turns of an answer. */
function readAnswer(answer, response) {
  if (!response.body) return [];
  if (answer === undefined)
    return [{ who: response.status < 400 ? "answer" : "error", blocks: bodyBlocks(response.body, "Body") }];
  if (response.status >= 400) return [failure(answer)];
  if (Array.isArray(answer)) return [{ who: "answer", blocks: [idTable(answer) ?? jsonBlock(answer)] }];
  if (!isObject(answer)) return [{ who: "answer", blocks: [jsonBlock(answer)] }];
  const { usage, usage_info, ...rest } = answer;
  const read = KINDS.flatMap(([member, reading]) => {
    if (rest[member] === undefined || rest[member] === null) return [];
    const found = reading(rest[member], rest);
    if (found.length) for (const name of [member, ...PLAIN]) delete rest[name];
    return found;
  });
  if (!read.length) return [{ who: "answer", blocks: [jsonBlock(answer)] }];
  // What no reading has taken is shown too.
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

/** Members of answers that say nothing to a reader; they stand in the raw view. */
const PLAIN = ["id", "object", "created", "created_at", "model", "has_more", "total"];

const isEntry = (value) => typeof (value?.type ?? value?.role) === "string";

/** What an answer may hold, and how that is read. */
const KINDS = [
  ["choices", (choices) => list(choices).map(readChoice)],
  ["outputs", (outputs) => (list(outputs).every(isEntry) ? list(outputs).map(turn) : [])],
  ["output", (output) => (list(output).every(isEntry) ? list(output).map(turn) : [])],
  ["messages", (messages) => list(messages).map(turn)],
  ["entries", (entries) => list(entries).map(turn)],
  ["pages", (pages) => list(pages).map(readPage)],
  ["document_annotation", (annotation) => [{ who: "annotation", blocks: blocksOf(annotation) }]],
  ["text", (spoken, rest) => readTranscript(spoken, rest)],
  ["audio_data", (sound) => (typeof sound === "string" ? [{ who: "assistant", blocks: [media(sound, "Sound")] }] : [])],
  ["data", (data) => readData(list(data))],
  ["results", (results) => list(results).map(readResult)],
];

function failure(answer) {
  const { message, detail, type, code, ...rest } = isObject(answer) ? answer : { message: answer };
  const why = message ?? detail ?? answer;
  const told = [];
  for (const one of Array.isArray(why) ? why : [why]) {
    if (isObject(one) && one.msg) told.push(textBlock(`${list(one.loc).join(" › ")}: ${one.msg}`));
    else if (typeof one === "string") told.push(textBlock(one));
    else told.push(jsonBlock(one));
  }
  const left = Object.entries(rest).filter(
    ([name, value]) => value !== null && name !== "object" && name !== "raw_status_code",
  );
  if (left.length && why !== answer) told.push(jsonBlock(Object.fromEntries(left)));
  return { who: "error", blocks: told, notes: [type, code && `code ${code}`].filter(Boolean) };
}

function readChoice(choice, at) {
  const read = turn(choice?.message ?? {});
  read.who = choice?.message?.role ?? "assistant";
  if (at > 0) read.name = `choice ${at + 1}`;
  read.notes = choice?.finish_reason && choice.finish_reason !== "stop" ? [`finished: ${choice.finish_reason}`] : [];
  return read;
}

function readPage(page) {
  const pictures = list(page?.images).flatMap((image) => {
    const shown =
      typeof image?.image_base64 === "string"
        ? media(image.image_base64, image.id ?? "Picture")
        : noteBlock(image?.id ?? "Picture");
    return image?.image_annotation ? [shown, ...blocksOf(image.image_annotation)] : [shown];
  });
  const tables = list(page?.tables).map((table) => textBlock(String(table?.content ?? "")));
  const { width, height, dpi } = page?.dimensions ?? {};
  return {
    who: `page ${(page?.index ?? 0) + 1}`,
    blocks: [page?.header, page?.markdown, page?.footer]
      .filter((part) => typeof part === "string" && part !== "")
      .map(textBlock)
      .concat(tables, pictures),
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
  if (!data.length) return [{ who: "answer", blocks: [noteBlock("an empty list")] }];
  const isVector = (item) => Array.isArray(item?.embedding) || typeof item?.embedding === "string";
  if (!data.every(isVector)) {
    const table = idTable(data);
    return table ? [{ who: "answer", blocks: [table] }] : [];
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
    { who: "embeddings", blocks: [{ kind: "table", head: ["#", "numbers", "length", "begins with"], rows: body }] },
  ];
}

/** A list of objects with ids as a table; undefined when it is none. */
function idTable(items) {
  if (!items.length || !items.every((item) => isObject(item) && item.id !== undefined)) return undefined;
  const isPlain = (value) => typeof value !== "object" && value !== "";
  const wanted = [
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
  const head = wanted
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

// Searching

/** Every name and value in this, into a list. */
function collect(value, into) {
  const left = [value];
  while (left.length) {
    const one = left.pop();
    if (typeof one === "string") into.push(one);
    else if (typeof one === "number" || typeof one === "boolean") into.push(String(one));
    else if (Array.isArray(one)) {
      // Nobody looks for a number of a vector.
      if (!(one.length > 16 && typeof one[0] === "number")) left.push(...one.slice(0, 10000).reverse());
    } else if (one) {
      for (const [name, member] of Object.entries(one).reverse()) {
        left.push(member);
        into.push(name);
      }
    }
  }
}

/** All that a recording says, in lower case; of streams what they add up to. */
function searchable(name, recording) {
  const said = [name, recording.line ?? "", recording.key ?? "", recording.error ?? "", recording.from ?? ""];
  const add = (body, value) => {
    if (value !== undefined) collect(value, said);
    else if (body?.text !== undefined) said.push(body.text);
    for (const part of body?.parts ?? []) {
      said.push(part.name, part.filename ?? "", part.content_type ?? "", part.body?.text ?? "");
    }
  };
  add(recording.body, recording.body?.text === undefined ? undefined : parsed(recording.body.text));
  for (const response of recording.responses ?? []) {
    said.push(...headOf(response));
    add(response.body, answerOf(response));
  }
  return said.join("\n").toLowerCase();
}
