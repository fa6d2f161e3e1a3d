//! Reads and writes JSON lines: one interaction per line, a form that is easy to write for any tool.
//!
//! ```json
//! {"request":{"method":"POST","url":"https://…","headers":{},"body":"…","body_encoding":"utf-8"},"response":{"status":200,"headers":{},"body":"…"}}
//! ```
//!
//! The response of a WebSocket has `session`: a list of frames (`type` is `send` or `receive`, `opcode`, `data`, `time_ms`),
//! and at its end one of the type `close` (`by`, `code`, `reason`). A request can have `path` instead of `url`. A body is
//! text, or base64 when `body_encoding` says so. A line with an unknown member is an error, so that a misspelt name does not
//! lose a body.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::body;
use super::fields::{check_members, headers, required_text, status, timestamp};
use super::interaction::{CREATOR, Headers, Interaction, SourceEntry, Timing};
use super::session::Session;

const LINE: [&str; 9] = [
    "request",
    "response",
    "recorded_at",
    "timing_ms",
    "by",
    "from",
    "host",
    "scope",
    "test",
];
/// Members for notes, which are ignored, as are those whose names begin with an underscore.
const NOTES: [&str; 8] = [
    "id",
    "source",
    "licence",
    "kind",
    "streaming",
    "tool_calls",
    "fidelity",
    "notes",
];
const REQUEST: [&str; 6] = ["method", "url", "path", "headers", "body", "body_encoding"];
/// The last three are ignored: they describe what the other members hold.
const RESPONSE: [&str; 8] = [
    "session",
    "status",
    "headers",
    "body",
    "body_encoding",
    "status_text",
    "content_encoding",
    "stored_as",
];

/// Whether a document that is no JSON document has a line that is an interaction.
pub(super) fn is_jsonl(document: &[u8]) -> bool {
    let is_interaction = |line: &[u8]| {
        let value = serde_json::from_slice::<Value>(line).ok();
        value.is_some_and(|value| value["request"].is_object())
    };
    document.trim_ascii_start().starts_with(b"{") && document.split(|byte| *byte == b'\n').any(is_interaction)
}

pub(super) fn read(document: &[u8]) -> Vec<SourceEntry> {
    // One interaction can also be written on several lines.
    if let Ok(single) = serde_json::from_slice::<Value>(document) {
        return vec![read_line(1, &single)];
    }
    let lines = document.split(|byte| *byte == b'\n').enumerate();
    let lines = lines.filter(|(_, line)| !line.trim_ascii().is_empty());
    lines
        .map(|(at, line)| match serde_json::from_slice::<Value>(line) {
            Ok(value) => read_line(at + 1, &value),
            Err(error) => {
                let message = error.to_string();
                // The location names the line already.
                let message = message
                    .rsplit_once(" at line ")
                    .map_or(&*message, |(message, _)| message);
                let unknown = [&Value::Null; 2];
                SourceEntry::new("line", at + 1, unknown, Err(format!("invalid JSON: {message}")))
            }
        })
        .collect()
}

fn read_line(number: usize, line: &Value) -> SourceEntry {
    let request = &line["request"];
    let named = [&request["method"], url(request)];
    SourceEntry::new("line", number, named, read_interaction(line))
}

fn url(request: &Value) -> &Value {
    if request["url"].is_string() {
        &request["url"]
    } else {
        &request["path"]
    }
}

fn read_interaction(line: &Value) -> Result<Interaction, String> {
    let (request, response) = (&line["request"], &line["response"]);
    check_members(line, &[&LINE[..], &NOTES].concat(), "the line")?;
    check_members(request, &REQUEST, "the request")?;
    check_members(response, &RESPONSE, "the response")?;
    let text = |name: &str| line[name].as_str().map(str::to_owned);
    let timing = match &line["timing_ms"] {
        Value::Array(pieces) => Timing::Pieces(pieces.iter().filter_map(Value::as_u64).collect()),
        value => value.as_u64().map_or(Timing::Unknown, Timing::Total),
    };
    Ok(Interaction {
        method: required_text(&request["method"], "method")?,
        url: required_text(url(request), "URL")?,
        request_headers: headers(&request["headers"])?,
        request_body: read_body(request, "request")?,
        status: status(&response["status"])?,
        response_headers: headers(&response["headers"])?,
        response_body: read_body(response, "response")?,
        recorded_at: line["recorded_at"].as_str().and_then(timestamp),
        timing,
        session: Session::of_json(&response["session"])?,
        from: text("from"),
        host: text("host"),
        scope: text("scope"),
        test: text("test"),
        is_own_export: line["by"].as_str().is_some_and(|by| by.starts_with(CREATOR)),
    })
}

/// Reads the body of a request or response; `side` says which.
fn read_body(message: &Value, side: &str) -> Result<Bytes, String> {
    match (message["body_encoding"].as_str(), &message["body"]) {
        (Some("base64"), Value::String(text)) => body::from_base64(text),
        (None | Some("" | "utf-8" | "utf8" | "json" | "absent"), body) => body::bytes(body, side),
        (Some(_), Value::Null) => Ok(Bytes::new()),
        (Some(other), _) => Err(body::unsupported_encoding(side, other)),
    }
}

pub(super) fn write_one(interaction: &Interaction) -> String {
    format!("{}\n", write_line(interaction))
}

fn write_line(interaction: &Interaction) -> Value {
    let mut request = Map::new();
    request.insert("method".to_owned(), interaction.method.as_str().into());
    let name = if interaction.url.starts_with('/') {
        "path"
    } else {
        "url"
    };
    request.insert(name.to_owned(), interaction.url.as_str().into());
    request.insert("headers".to_owned(), header_lists(&interaction.request_headers));
    write_body(&mut request, &interaction.request_body);
    let mut response = Map::new();
    response.insert("status".to_owned(), interaction.status.into());
    response.insert("headers".to_owned(), header_lists(&interaction.response_headers));
    write_body(&mut response, &interaction.response_body);
    if let Some(session) = &interaction.session {
        response.insert("session".to_owned(), session.to_json());
    }
    let mut line = Map::new();
    let mut add = |name: &str, value: Value| line.insert(name.to_owned(), value);
    add("request", request.into());
    add("response", response.into());
    if let Some(at) = interaction.recorded_at {
        add("recorded_at", at.to_string().into());
    }
    add("by", concat!("mistral-cassette ", env!("CARGO_PKG_VERSION")).into());
    match &interaction.timing {
        Timing::Pieces(pieces) => drop(add("timing_ms", json!(pieces))),
        Timing::Total(total) => drop(add("timing_ms", json!(total))),
        Timing::Unknown => {}
    }
    for (name, value) in [
        ("from", &interaction.from),
        ("host", &interaction.host),
        ("scope", &interaction.scope),
        ("test", &interaction.test),
    ] {
        if let Some(value) = value {
            add(name, value.as_str().into());
        }
    }
    line.into()
}

fn write_body(message: &mut Map<String, Value>, bytes: &Bytes) {
    let (body, encoding) = match std::str::from_utf8(bytes) {
        Ok("") => (Value::Null, "absent"),
        Ok(text) => (text.into(), "utf-8"),
        Err(_) => (body::to_base64(bytes).into(), "base64"),
    };
    message.insert("body".to_owned(), body);
    message.insert("body_encoding".to_owned(), encoding.into());
}

/// Writes headers as an object of lists of values.
fn header_lists(headers: &Headers) -> Value {
    let mut names = Map::new();
    for (name, value) in headers {
        let values = names.entry(name.clone()).or_insert_with(|| json!([]));
        if let Value::Array(values) = values {
            values.push(value.as_str().into());
        }
    }
    names.into()
}
