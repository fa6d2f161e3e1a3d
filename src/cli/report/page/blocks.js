// Makes elements of turns and their blocks.

const turnsOf = (turns) => make("div", "turns", ...turns.map(turnOf));

function turnOf({ who, name, blocks, notes }) {
  const role = ["user", "assistant", "tool", "error"].includes(who)
    ? who
    : who === "transcript"
      ? "assistant"
      : "other";
  const small = (names, texts) => texts.filter(Boolean).map((text) => make("small", names, String(text)));
  const inside = blocks.length ? blocks.map(blockOf) : [make("span", "note", "(empty)")];
  const head = make("div", "who", who, ...small("value", [name]), ...small("", notes ?? []));
  return make("div", `turn ${role}`, head, make("div", "content", ...inside));
}

function blockOf(block) {
  switch (block.kind) {
    case "text":
      return clipped(block.text, "div", "text");
    case "json":
      return make("div", "box", jsonOf(block.text));
    case "call": {
      const id = block.id && make("small", "value", ` ${block.id}`);
      return make(
        "div",
        "box",
        make("h4", "", "calls ", make("span", "value", block.name), id),
        parsed(block.text) === undefined ? clipped(block.text, "pre", "") : jsonOf(block.text),
      );
    }
    case "thinking":
      return make("div", "thinking", make("span", "note", "thinking"), ...block.blocks.map(blockOf));
    case "image": {
      const image = make("img");
      image.alt = block.text;
      image.src = block.url;
      return make("figure", "", image, make("figcaption", "", block.text));
    }
    case "audio": {
      const audio = make("audio");
      audio.controls = true;
      audio.preload = "metadata";
      audio.src = block.url;
      audio.setAttribute("aria-label", block.text);
      return make("figure", "", audio, make("figcaption", "", block.text));
    }
    case "table":
      return tableOf(block);
    default:
      return noteOf(block);
  }
}

function noteOf({ label, text }) {
  if (text === "") return make("div", "note", label);
  return make("div", "note", label && `${label}: `, make("span", "value", text));
}

function tableOf({ head, rows }) {
  const cells = (tag, values) => make("tr", "", ...values.map((value) => make(tag, "", String(value ?? ""))));
  const body = make("tbody");
  const more = (from) => {
    body.append(...rows.slice(from, from + ROWS).map((values) => cells("td", values)));
    return from + ROWS < rows.length;
  };
  const holder = make("div", "wide-table", make("table", "", make("thead", "", cells("th", head)), body));
  let from = 0;
  if (more(from)) {
    const next = button(`${counted(rows.length - ROWS, "more row")}`, () => {
      from += ROWS;
      if (!more(from)) next.remove();
    });
    holder.append(make("p", "more", next));
  }
  return holder;
}

/** A text. A long one is truncated, with a button that shows all of it. */
function clipped(text, tag, names, write = (element, shown) => (element.textContent = shown)) {
  const element = make(tag, names);
  if (text.length <= MAX_SHOWN) {
    write(element, text);
    return element;
  }
  write(element, `${text.slice(0, MAX_SHOWN)}…`);
  const more = button(`Show all ${text.length.toLocaleString("en")} characters`, () => {
    write(element, text);
    more.parentElement.remove();
  });
  return make("div", "", element, make("p", "more", more));
}

/** A JSON text, indented and coloured. */
function jsonOf(text) {
  const tokens = indented(text);
  if (tokens.length > 3000) return clipped(tokens.map(([, token]) => token).join(""), "pre", "");
  const pre = make("pre");
  for (const [kind, token] of tokens) {
    if (kind === "space" || kind === "sign") pre.append(token);
    else if (token.length > MAX_SHOWN) pre.append(clipped(token, "span", kind));
    else pre.append(make("span", kind, token));
  }
  return pre;
}

/** A section whose content is created when it is opened. */
function lazy(names, label, content) {
  const element = make("details", names, make("summary", "", label));
  const fill = () => {
    element.append(content());
    highlight();
  };
  element.addEventListener("toggle", fill, { once: true });
  return element;
}

/** A section with a raw body. */
function raw(label, head, body) {
  return lazy("raw", label, () => {
    const inside = make("div", "", make("pre", "head", head.join("\n")));
    inside.append(...rawBody(body));
    return inside;
  });
}

function rawBody(body) {
  if (!body) return [make("p", "note", "no body")];
  if (body.parts) {
    return body.parts.flatMap((part) => {
      const head = [part.name, part.filename, part.content_type, inBytes(part.bytes)].filter(Boolean).join(" · ");
      return [make("pre", "head", head), ...rawBody(part.body)];
    });
  }
  const parts = [];
  if (body.omitted !== undefined)
    parts.push(make("p", "note", `${inBytes(body.omitted)}, omitted: --with-media includes it`));
  else if (body.base64 !== undefined)
    parts.push(make("p", "note", "binary data in base64"), clipped(body.base64, "pre", "box"));
  else {
    let isIndented = false;
    const holder = make("div", "box", clipped(body.text, "pre", ""));
    if (parsed(body.text) !== undefined) {
      const change = button("Indent", () => {
        isIndented = !isIndented;
        change.textContent = isIndented ? "Show raw" : "Indent";
        holder.replaceChildren(isIndented ? jsonOf(body.text) : clipped(body.text, "pre", ""));
      });
      parts.push(make("div", "", change));
    }
    parts.push(holder);
  }
  return parts;
}
