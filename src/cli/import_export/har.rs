//! Reads HAR 1.2 as browsers and proxies write it, and writes it for `export`.
//!
//! HAR has no member for some of what a cassette has. `export` adds members whose names begin with an underscore, as the
//! format allows: `_timing_ms`, `_from`, `_host`, `_scope`, `_test`.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::body;
use super::fields::{can_have_body, check_body_member, headers, required_text, status, timestamp};
use super::interaction::{CREATOR, Frame, Headers, Interaction, SourceEntry, Timing, header, split_url};
use super::session::Session;
use crate::http::{Part, write_multipart};

/// The origin that `export` writes before a path when the origin is unknown, since HAR requires a URL. `_from` is then
/// null.
const UNKNOWN_ORIGIN: &str = "https://api.mistral.ai";

const REQUEST: [&str; 9] = [
    "method",
    "url",
    "httpVersion",
    "cookies",
    "headers",
    "queryString",
    "headersSize",
    "bodySize",
    "comment",
];
const CONTENT: [&str; 5] = ["size", "mimeType", "encoding", "compression", "comment"];

const NO_REQUEST_BODY: &str = "the request body is not in the file";

pub(super) fn read(document: &Value) -> Vec<SourceEntry> {
    read_entries(document, |content, headers, is_own_export| {
        // HAR has decoded bodies. Nothing in a body tells whether it is still encoded with one of these two encodings.
        let is_decoded = |name: &str, value: &str| {
            name.eq_ignore_ascii_case("content-encoding") && matches!(value, "br" | "deflate")
        };
        headers.retain(|(name, value)| is_own_export || !is_decoded(name, value));
        let body = read_content(content)?;
        check_size(content, body.len())?;
        Ok(body)
    })
}

/// Reads the entries of a HAR. `read_response_body` reads the member `content` of a response; it can change the
/// response headers, and it gets whether this tool exported the file.
pub(super) fn read_entries(
    document: &Value,
    read_response_body: impl Fn(&Value, &mut Headers, bool) -> Result<Bytes, String>,
) -> Vec<SourceEntry> {
    let log = &document["log"];
    let is_own_export = log["creator"]["name"] == CREATOR;
    let entries = log["entries"].as_array().into_iter().flatten();
    let mut entries: Vec<(usize, &Value)> = entries.enumerate().collect();
    // Polly.js inserts new entries at the front, and numbers the entries of one request.
    entries.sort_by_key(|(_, entry)| entry["_order"].as_u64());
    let read = |(at, entry): (usize, &Value)| {
        let request = &entry["request"];
        let interaction = read_entry(entry, is_own_export, &read_response_body);
        SourceEntry::new("entry", at + 1, [&request["method"], &request["url"]], interaction)
    };
    entries.into_iter().map(read).collect()
}

fn read_entry(
    entry: &Value,
    is_own_export: bool,
    read_response_body: impl Fn(&Value, &mut Headers, bool) -> Result<Bytes, String>,
) -> Result<Interaction, String> {
    let (request, response) = (&entry["request"], &entry["response"]);
    let error = ["_error", "_errorText"]
        .iter()
        .find_map(|name| response[*name].as_str().or_else(|| entry[*name].as_str()));
    let status = status(&response["status"]).map_err(|message| match error {
        Some(error) => format!("{message}: {error}"),
        None => message,
    })?;
    if let Some(error) = error.filter(|error| !error.is_empty()) {
        return Err(format!("the response was not received completely: {error}"));
    }
    let mut request_headers = headers(&request["headers"])?;
    let request_body = read_request_body(request, &mut request_headers, is_own_export)?;
    check_body_member(request, &["postData"], &REQUEST, "request")?;
    let content = &response["content"];
    check_body_member(content, &["text"], &CONTENT, "response")?;
    let mut response_headers = headers(&response["headers"])?;
    if !is_own_export {
        add_content_type(content, &mut response_headers);
    }
    let response_body = read_response_body(content, &mut response_headers, is_own_export)?;
    if response_body.is_empty() && can_have_body(status, request["method"].as_str().unwrap_or_default()) {
        check_not_missing(response, &response_headers, is_own_export)?;
    }
    let recorded_at = entry["startedDateTime"].as_str().and_then(timestamp);
    let session = Session::of_har(entry, recorded_at)?;
    let text = |name: &str| entry[name].as_str().map(str::to_owned);
    let url = required_text(&request["url"], "URL")?;
    let has_unknown_origin = is_own_export && entry.get("_from").is_some_and(Value::is_null);
    let path = url.strip_prefix(UNKNOWN_ORIGIN).filter(|_| has_unknown_origin);
    Ok(Interaction {
        method: required_text(&request["method"], "method")?,
        url: path.map(str::to_owned).unwrap_or(url),
        request_headers,
        request_body,
        status,
        response_headers,
        response_body,
        recorded_at,
        timing: read_timing(entry),
        session,
        from: text("_from"),
        host: text("_host"),
        scope: text("_scope"),
        test: text("_test"),
        is_own_export,
    })
}

fn read_timing(entry: &Value) -> Timing {
    if let Some(pieces) = entry["_timing_ms"].as_array() {
        return Timing::Pieces(pieces.iter().filter_map(Value::as_u64).collect());
    }
    match entry["time"].as_f64() {
        Some(total) if total > 0.0 => Timing::Total(total.round() as u64),
        _ => Timing::Unknown,
    }
}

/// Adds the media type of `postData` or `content` when the header `content-type` is missing.
fn add_content_type(body: &Value, headers: &mut Headers) {
    // Chromium writes `x-unknown` for a body without a media type.
    let kind = body["mimeType"].as_str().filter(|kind| kind.contains('/'));
    if let Some(kind) = kind.filter(|_| header(headers, "content-type").is_none()) {
        headers.push(("content-type".to_owned(), kind.to_owned()));
    }
}

/// Fails when the file has only the beginning of a body: `in_file` bytes. `content.size` is the size after content
/// decoding.
pub(super) fn check_size(content: &Value, in_file: usize) -> Result<(), String> {
    match content["size"].as_u64() {
        Some(size) if size > in_file as u64 && in_file > 0 => Err(format!(
            "the response body is not complete in the file: {in_file} of {size} bytes"
        )),
        _ => Ok(()),
    }
}

/// Fails when an empty body stands for one that is not in the file. In an export of this tool, only the member `size` shows
/// that.
fn check_not_missing(response: &Value, headers: &Headers, is_own_export: bool) -> Result<(), String> {
    let content = &response["content"];
    // A compressed empty body has a few bytes.
    let is_encoded = header(headers, "content-encoding").is_some();
    let length = header(headers, "content-length").and_then(|length| length.parse().ok());
    let sent = [response["bodySize"].as_u64(), length];
    let was_sent = sent
        .into_iter()
        .flatten()
        .any(|sent| sent > if is_encoded { 32 } else { 0 });
    let has_comment = content["comment"].as_str().is_some_and(|comment| !comment.is_empty());
    if content["size"] != 0 || !is_own_export && (was_sent || has_comment) {
        return Err("the response body is not in the file".to_owned());
    }
    Ok(())
}

fn read_request_body(request: &Value, headers: &mut Headers, is_own_export: bool) -> Result<Bytes, String> {
    let data = &request["postData"];
    let params = data["params"].as_array().map(Vec::as_slice).unwrap_or_default();
    let text = data["text"].as_str();
    if text.unwrap_or_default().is_empty() && params.is_empty() {
        return match is_request_body_missing(request, headers) {
            true => Err(NO_REQUEST_BODY.to_owned()),
            false => Ok(Bytes::new()),
        };
    }
    if !is_own_export {
        add_content_type(data, headers);
    }
    let Some(text) = text.filter(|text| !text.is_empty() || params.is_empty()) else {
        let kind = data["mimeType"].as_str().unwrap_or_default();
        return form_body(params, kind, headers);
    };
    let encoding = data["_encoding"].as_str().or_else(|| data["encoding"].as_str());
    let body: Bytes = match encoding {
        None | Some("") => text.to_owned().into(),
        Some("base64") => body::from_base64(text)?,
        Some(other) => return Err(body::unsupported_encoding("request", other)),
    };
    let sent = request["bodySize"].as_u64().unwrap_or_default();
    // Some tools count headers as well, but a truncated JSON text is not valid.
    if sent > body.len() as u64 && serde_json::from_slice::<serde::de::IgnoredAny>(&body).is_err() {
        return Err(format!(
            "the request body is not complete in the file: {} of {sent} bytes",
            body.len()
        ));
    }
    Ok(body)
}

/// Whether a request without text and fields had a body. An empty `postData` does not say so.
fn is_request_body_missing(request: &Value, headers: &Headers) -> bool {
    let length = header(headers, "content-length").and_then(|length| length.parse::<u64>().ok());
    let size = request["bodySize"].as_i64();
    let data = &request["postData"];
    let can_have_body = matches!(request["method"].as_str(), Some("POST" | "PUT" | "PATCH"));
    let is_unknown = size.is_none_or(|size| size < 0) && length.is_none() && data["text"].is_null();
    size.is_some_and(|size| size > 0)
        || length.is_some_and(|length| length > 0)
        || !data.is_null() && can_have_body && is_unknown
}

/// Builds the body of a form from its fields: some browsers save only these.
fn form_body(params: &[Value], kind: &str, headers: &mut Headers) -> Result<Bytes, String> {
    const BOUNDARY: &str = "mistral-cassette-import";
    let text = |param: &Value, name: &str| param[name].as_str().map(str::to_owned);
    let is_complete = |param: &Value| param["name"].is_string() && param["value"].is_string();
    if params.is_empty() || !params.iter().all(is_complete) {
        return Err(NO_REQUEST_BODY.to_owned());
    }
    if !kind.starts_with("multipart/") {
        let mut form = form_urlencoded::Serializer::new(String::new());
        for param in params {
            form.append_pair(
                &text(param, "name").unwrap_or_default(),
                &text(param, "value").unwrap_or_default(),
            );
        }
        return Ok(form.finish().into());
    }
    let parts: Vec<Part> = params
        .iter()
        .map(|param| Part {
            headers: Vec::new(),
            name: text(param, "name").unwrap_or_default(),
            filename: text(param, "fileName"),
            content_type: text(param, "contentType"),
            content: text(param, "value").unwrap_or_default().into(),
        })
        .collect();
    headers.retain(|(name, _)| !name.eq_ignore_ascii_case("content-type"));
    headers.push((
        "content-type".to_owned(),
        format!("multipart/form-data; boundary={BOUNDARY}"),
    ));
    write_multipart(&parts, BOUNDARY).ok_or_else(|| "cannot write the form fields as one body".to_owned())
}

/// Reads the body of a response: text or base64.
pub(super) fn read_content(content: &Value) -> Result<Bytes, String> {
    let Some(text) = content["text"].as_str() else {
        return Ok(Bytes::new());
    };
    match content["encoding"].as_str() {
        None | Some("" | "utf-8" | "utf8") => Ok(text.to_owned().into()),
        Some("base64") => body::from_base64(text),
        Some(other) => Err(body::unsupported_encoding("response", other)),
    }
}

/// The document without its entries.
pub(super) fn frame(is_empty: bool) -> Frame {
    let creator = json!({ "name": CREATOR, "version": env!("CARGO_PKG_VERSION") });
    let entries: &[Value] = if is_empty { &[] } else { &[Value::Null] };
    let document = json!({ "log": { "version": "1.2", "creator": creator, "pages": [], "entries": entries } });
    let document = format!("{document:#}\n");
    let (start, end) = document.split_once("null").unwrap_or((&document, ""));
    Frame {
        start: start.to_owned(),
        between: ",\n      ",
        end: end.to_owned(),
    }
}

/// One entry of a document.
pub(super) fn write_one(interaction: &Interaction) -> String {
    // The indentation of entries in a document. A line break in a string is escaped.
    format!("{:#}", write_entry(interaction)).replace('\n', "\n      ")
}

fn write_entry(interaction: &Interaction) -> Value {
    let pieces = match &interaction.timing {
        Timing::Pieces(pieces) => pieces.clone(),
        Timing::Total(total) => vec![*total],
        Timing::Unknown => Vec::new(),
    };
    let (wait, total) = (
        pieces.first().copied().unwrap_or_default(),
        pieces.last().copied().unwrap_or_default(),
    );
    let mut entry = Map::new();
    let mut add = |name: &str, value: Value| entry.insert(name.to_owned(), value);
    add(
        "startedDateTime",
        interaction.recorded_at.unwrap_or_default().to_string().into(),
    );
    add("time", total.into());
    add("request", write_request(interaction));
    add("response", write_response(interaction));
    add("cache", json!({}));
    add(
        "timings",
        json!({ "send": 0, "wait": wait, "receive": total.saturating_sub(wait) }),
    );
    add("_timing_ms", pieces.into());
    if interaction.url.starts_with('/') {
        add("_from", Value::Null);
    }
    for (name, value) in [
        ("_from", &interaction.from),
        ("_host", &interaction.host),
        ("_scope", &interaction.scope),
        ("_test", &interaction.test),
    ] {
        if let Some(value) = value {
            add(name, value.as_str().into());
        }
    }
    if let Some(session) = &interaction.session {
        session.add_to_har(&mut entry, interaction.recorded_at.unwrap_or_default());
    }
    Value::Object(entry)
}

fn write_request(interaction: &Interaction) -> Value {
    let query = match split_url(&interaction.url) {
        Some((_, target)) => target
            .split_once('?')
            .map(|(_, query)| query.to_owned())
            .unwrap_or_default(),
        None => String::new(),
    };
    let pairs = form_urlencoded::parse(query.as_bytes()).map(|(name, value)| json!({ "name": name, "value": value }));
    let origin = if interaction.url.starts_with('/') {
        UNKNOWN_ORIGIN
    } else {
        ""
    };
    let mut request = json!({
        "method": interaction.method,
        "url": format!("{origin}{}", interaction.url),
        "httpVersion": "HTTP/1.1",
        "cookies": [],
        "headers": write_headers(&interaction.request_headers),
        "queryString": pairs.collect::<Vec<_>>(),
        "headersSize": -1,
        "bodySize": interaction.request_body.len(),
    });
    if !interaction.request_body.is_empty() {
        let kind = header(&interaction.request_headers, "content-type").unwrap_or("application/octet-stream");
        request["postData"] = match std::str::from_utf8(&interaction.request_body) {
            Ok(text) => json!({ "mimeType": kind, "text": text }),
            Err(_) => {
                json!({ "mimeType": kind, "text": body::to_base64(&interaction.request_body), "_encoding": "base64" })
            }
        };
    }
    request
}

fn write_response(interaction: &Interaction) -> Value {
    let reason = http::StatusCode::from_u16(interaction.status)
        .ok()
        .and_then(|status| status.canonical_reason());
    let kind = header(&interaction.response_headers, "content-type").unwrap_or("x-unknown");
    let size = interaction.response_body.len();
    let content = match std::str::from_utf8(&interaction.response_body) {
        Ok("") => json!({ "size": 0, "mimeType": kind }),
        Ok(text) => json!({ "size": size, "mimeType": kind, "text": text }),
        Err(_) => {
            json!({ "size": size, "mimeType": kind, "text": body::to_base64(&interaction.response_body), "encoding": "base64" })
        }
    };
    json!({
        "status": interaction.status,
        "statusText": reason.unwrap_or_default(),
        "httpVersion": "HTTP/1.1",
        "cookies": [],
        "headers": write_headers(&interaction.response_headers),
        "content": content,
        "redirectURL": header(&interaction.response_headers, "location").unwrap_or_default(),
        "headersSize": -1,
        "bodySize": size,
    })
}

fn write_headers(headers: &Headers) -> Vec<Value> {
    headers
        .iter()
        .map(|(name, value)| json!({ "name": name, "value": value }))
        .collect()
}
