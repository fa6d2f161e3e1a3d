//! JSON lines: an interaction a line, which is easy to write for a tool that is none of the others.
//!
//! ```json
//! {"request":{"method":"POST","url":"https://…","headers":{},"body":"…","body_encoding":"utf-8"},"response":{"status":200,"headers":{},"body":"…"}}
//! ```
//!
//! `path` may stand in place of `url`; a body is text, or base64 where `body_encoding` says so.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::{Exchange, Found, Headers, OURS, Timing, body, headers, status, time, wanted};

/// Whether the first line is an interaction.
pub(super) fn begins(document: &[u8]) -> bool {
    let first = document
        .split(|byte| *byte == b'\n')
        .find(|line| !line.trim_ascii().is_empty());
    let first = first.and_then(|line| serde_json::from_slice::<Value>(line).ok());
    first.is_some_and(|value| value["request"].is_object())
}

pub(super) fn read(document: &[u8]) -> Vec<Found> {
    // An object on several lines is one interaction all the same.
    if let Ok(whole) = serde_json::from_slice::<Value>(document) {
        return vec![found(1, &whole)];
    }
    let lines = document.split(|byte| *byte == b'\n').enumerate();
    let lines = lines.filter(|(_, line)| !line.trim_ascii().is_empty());
    lines
        .map(|(at, line)| match serde_json::from_slice::<Value>(line) {
            Ok(value) => found(at + 1, &value),
            Err(error) => {
                let said = error.to_string();
                // The line stands in the place.
                let what = said.rsplit_once(" at line ").map_or(&*said, |(what, _)| what);
                Found::new(
                    "line",
                    at + 1,
                    [&Value::Null; 2],
                    Err(format!("it is not JSON: {what}")),
                )
            }
        })
        .collect()
}

fn found(line: usize, value: &Value) -> Found {
    let request = &value["request"];
    Found::new("line", line, [&request["method"], url(request)], one(value))
}

fn url(request: &Value) -> &Value {
    if request["url"].is_string() {
        &request["url"]
    } else {
        &request["path"]
    }
}

fn one(row: &Value) -> Result<Exchange, String> {
    let (request, response) = (&row["request"], &row["response"]);
    let text = |name: &str| row[name].as_str().map(str::to_owned);
    let timing = match &row["timing_ms"] {
        Value::Array(pieces) => Timing::Pieces(pieces.iter().filter_map(Value::as_u64).collect()),
        value => value.as_u64().map_or(Timing::Unknown, Timing::Total),
    };
    Ok(Exchange {
        method: wanted(&request["method"], "method")?,
        url: wanted(url(request), "URL")?,
        request_headers: headers(&request["headers"])?,
        request_body: body_of(request, "request")?,
        status: status(&response["status"])?,
        response_headers: headers(&response["headers"])?,
        response_body: body_of(response, "response")?,
        at: row["recorded_at"].as_str().and_then(time),
        timing,
        from: text("from"),
        scope: text("scope"),
        test: text("test"),
        is_ours: row["by"].as_str().is_some_and(|by| by.starts_with(OURS)),
    })
}

fn body_of(side: &Value, whose: &str) -> Result<Bytes, String> {
    match (side["body_encoding"].as_str(), &side["body"]) {
        (Some("base64"), Value::String(text)) => body::from_base64(text),
        (None | Some("" | "utf-8" | "utf8" | "json" | "absent"), kept) => body::bytes(kept, whose),
        (Some(_), Value::Null) => Ok(Bytes::new()),
        (Some(other), _) => Err(body::unknown_encoding(whose, other)),
    }
}

pub(super) fn write(exchanges: &[Exchange]) -> String {
    exchanges
        .iter()
        .map(|exchange| format!("{}\n", row(exchange)))
        .collect()
}

fn row(exchange: &Exchange) -> Value {
    let mut request = Map::new();
    request.insert("method".to_owned(), exchange.method.as_str().into());
    let name = if exchange.url.starts_with('/') { "path" } else { "url" };
    request.insert(name.to_owned(), exchange.url.as_str().into());
    request.insert("headers".to_owned(), grouped(&exchange.request_headers));
    put_body(&mut request, &exchange.request_body);
    let mut response = Map::new();
    response.insert("status".to_owned(), exchange.status.into());
    response.insert("headers".to_owned(), grouped(&exchange.response_headers));
    put_body(&mut response, &exchange.response_body);
    let mut row = Map::new();
    let mut add = |name: &str, value: Value| row.insert(name.to_owned(), value);
    add("request", request.into());
    add("response", response.into());
    if let Some(at) = exchange.at {
        add("recorded_at", at.to_string().into());
    }
    add("by", concat!("mistral-cassette ", env!("CARGO_PKG_VERSION")).into());
    match &exchange.timing {
        Timing::Pieces(pieces) => drop(add("timing_ms", json!(pieces))),
        Timing::Total(total) => drop(add("timing_ms", json!(total))),
        Timing::Unknown => {}
    }
    for (name, value) in [
        ("from", &exchange.from),
        ("scope", &exchange.scope),
        ("test", &exchange.test),
    ] {
        if let Some(value) = value {
            add(name, value.as_str().into());
        }
    }
    row.into()
}

fn put_body(side: &mut Map<String, Value>, bytes: &Bytes) {
    let (body, encoding) = match std::str::from_utf8(bytes) {
        Ok("") => (Value::Null, "absent"),
        Ok(text) => (text.into(), "utf-8"),
        Err(_) => (body::to_base64(bytes).into(), "base64"),
    };
    side.insert("body".to_owned(), body);
    side.insert("body_encoding".to_owned(), encoding.into());
}

/// Headers as an object of lists.
fn grouped(headers: &Headers) -> Value {
    let mut names = Map::new();
    for (name, value) in headers {
        let values = names.entry(name.clone()).or_insert_with(|| json!([]));
        if let Value::Array(values) = values {
            values.push(value.as_str().into());
        }
    }
    names.into()
}
