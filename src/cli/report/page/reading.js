"use strict";
// Reads bodies into turns `{who, name, blocks, notes}` of blocks `{kind, …}`, which blocks.js turns into elements. What a search
// marks is recorded: texts and names. The labels and notes beside them are not.

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
  if (OMITTED.test(data)) return noteBlock("", `${label}: omitted, --with-media includes it`);
  if (!type) return noteBlock("", label);
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
/** A recorded text that is not part of the conversation, with a label in front of it. */
const noteBlock = (value, label = "") => ({ kind: "note", text: value, label });
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
  return [url.startsWith("data:") ? media(url, what) : noteBlock(url, what)];
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
      return [/^https?:/.test(audio) ? noteBlock(audio, "Audio") : media(audio, "Audio")];
    }
    case "reference":
      return [noteBlock(list(part.reference_ids).join(", "), "references")];
    case "tool_reference":
      return [noteBlock([part.title, part.url, part.description].filter(Boolean).join(" · "), "source")];
    case "file":
    case "tool_file":
      return [noteBlock([part.file_name, part.file_type, part.file_id].filter(Boolean).join(" · "), "File")];
    case "resource":
      return [noteBlock(String(part.uri), "Resource"), ...blocksOf(part.content)];
    case "resource_link":
      return [noteBlock(String(part.uri), "Resource")];
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
  if (!body) return [noteBlock("", "empty")];
  if (body.omitted !== undefined) {
    return [noteBlock("", `${what}, ${inBytes(body.omitted)}: omitted, --with-media includes it`)];
  }
  return body.base64 !== undefined ? [media(body.base64, what)] : [contentBlock(body.text)];
}
