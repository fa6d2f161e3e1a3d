// Reads responses into turns: their JSON, and streams, whose events are joined to the content of one response.

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
        typeof value === "object" ? jsonBlock({ [name]: value }) : noteBlock(String(value), name),
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
  read.notes =
    choice?.finish_reason && choice.finish_reason !== "stop" ? [`finish reason: ${choice.finish_reason}`] : [];
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
  if (!data.length) return [{ who: "response", blocks: [noteBlock("", "empty list")] }];
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
