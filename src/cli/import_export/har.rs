//! HAR 1.2, as browsers and proxies write it, and as it is written here.
//!
//! What HAR has no member for stands in members of our own, whose names begin with an underscore as the format has it:
//! `_timing_ms`, `_from`, `_scope`, `_test`.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::{Exchange, Found, Headers, OURS, Timing, body, header, headers, polly, split_url, status, time, wanted};
use crate::http::{Part, write_multipart};

/// What stands in front of a path where nobody knows who answered, since HAR demands a URL; `_from` is null then.
const NOWHERE_ELSE: &str = "https://api.mistral.ai";

const BODY_IS_MISSING: &str = "the body of its request is not in the file";

pub(super) fn read(document: &Value, is_polly: bool) -> Vec<Found> {
    let log = &document["log"];
    let is_ours = log["creator"]["name"] == OURS;
    let entries = log["entries"].as_array().into_iter().flatten();
    let mut entries: Vec<(usize, &Value)> = entries.enumerate().collect();
    // Polly.js puts new ones in front, and numbers those of one request.
    entries.sort_by_key(|(_, entry)| entry["_order"].as_u64());
    let found = |(at, entry): (usize, &Value)| {
        let request = &entry["request"];
        let exchange = one(entry, is_ours, is_polly);
        Found::new("entry", at + 1, [&request["method"], &request["url"]], exchange)
    };
    entries.into_iter().map(found).collect()
}

fn one(entry: &Value, is_ours: bool, is_polly: bool) -> Result<Exchange, String> {
    let (request, response) = (&entry["request"], &entry["response"]);
    let failed = ["_error", "_errorText"]
        .iter()
        .find_map(|name| response[*name].as_str());
    let status = status(&response["status"]).map_err(|what| match failed {
        Some(failed) => format!("{what}: {failed}"),
        None => what,
    })?;
    let mut request_headers = headers(&request["headers"])?;
    let request_body = request_body(request, &mut request_headers, is_ours)?;
    let mut response_headers = headers(&response["headers"])?;
    let content = &response["content"];
    let kind = content["mimeType"]
        .as_str()
        .filter(|kind| kind.contains('/') && !is_ours);
    if let Some(kind) = kind.filter(|kind| *kind != "x-unknown" && header(&response_headers, "content-type").is_none())
    {
        response_headers.push(("content-type".to_owned(), kind.to_owned()));
    }
    let response_body = if is_polly {
        polly::body(content, &response_headers)?
    } else {
        // The format has bodies after decoding; of these two nobody could tell whether they are.
        let is_decoded = |name: &str, value: &str| {
            name.eq_ignore_ascii_case("content-encoding") && matches!(value, "br" | "deflate")
        };
        response_headers.retain(|(name, value)| is_ours || !is_decoded(name, value));
        self::body(content)?
    };
    let has_body = !matches!(status, 101 | 204 | 304) && request["method"] != "HEAD";
    if content.get("text").is_none() && has_body && content["size"].as_i64().unwrap_or_default() > 0 {
        return Err("the body of its response is not in the file".to_owned());
    }
    let timing = match entry["_timing_ms"].as_array() {
        Some(pieces) => Timing::Pieces(pieces.iter().filter_map(Value::as_u64).collect()),
        None => match entry["time"].as_f64() {
            Some(total) if total > 0.0 => Timing::Total(total.round() as u64),
            _ => Timing::Unknown,
        },
    };
    let text = |name: &str| entry[name].as_str().map(str::to_owned);
    let url = wanted(&request["url"], "URL")?;
    let is_path = is_ours && entry.get("_from").is_some_and(Value::is_null);
    let path = url.strip_prefix(NOWHERE_ELSE).filter(|_| is_path).map(str::to_owned);
    Ok(Exchange {
        method: wanted(&request["method"], "method")?,
        url: path.unwrap_or(url),
        request_headers,
        request_body,
        status,
        response_headers,
        response_body,
        at: entry["startedDateTime"].as_str().and_then(time),
        timing,
        from: text("_from"),
        scope: text("_scope"),
        test: text("_test"),
        is_ours,
    })
}

fn request_body(request: &Value, headers: &mut Headers, is_ours: bool) -> Result<Bytes, String> {
    let data = &request["postData"];
    if data.is_null() {
        let is_missing = request["bodySize"].as_i64().unwrap_or_default() > 0;
        return if is_missing {
            Err(BODY_IS_MISSING.to_owned())
        } else {
            Ok(Bytes::new())
        };
    }
    let kind = data["mimeType"].as_str().unwrap_or_default();
    if !is_ours && kind.contains('/') && header(headers, "content-type").is_none() {
        headers.push(("content-type".to_owned(), kind.to_owned()));
    }
    let params = data["params"].as_array().map(Vec::as_slice).unwrap_or_default();
    let Some(text) = data["text"]
        .as_str()
        .filter(|text| !text.is_empty() || params.is_empty())
    else {
        return from_params(params, kind, headers);
    };
    let encoding = data["_encoding"].as_str().or_else(|| data["encoding"].as_str());
    match encoding {
        None | Some("") => Ok(text.to_owned().into()),
        Some("base64") => body::from_base64(text),
        Some(other) => Err(body::unknown_encoding("request", other)),
    }
}

/// A form that was kept field by field.
fn from_params(params: &[Value], kind: &str, headers: &mut Headers) -> Result<Bytes, String> {
    const BOUNDARY: &str = "mistral-cassette-import";
    let text = |param: &Value, name: &str| param[name].as_str().map(str::to_owned);
    let is_whole = |param: &Value| param["name"].is_string() && param["value"].is_string();
    if params.is_empty() || !params.iter().all(is_whole) {
        return Err(BODY_IS_MISSING.to_owned());
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
    write_multipart(&parts, BOUNDARY).ok_or_else(|| "the fields of its form cannot be put together".to_owned())
}

/// The body of a response: text, or base64.
pub(super) fn body(content: &Value) -> Result<Bytes, String> {
    let Some(text) = content["text"].as_str() else {
        return Ok(Bytes::new());
    };
    match content["encoding"].as_str() {
        None | Some("" | "utf-8" | "utf8") => Ok(text.to_owned().into()),
        Some("base64") => body::from_base64(text),
        Some(other) => Err(body::unknown_encoding("response", other)),
    }
}

pub(super) fn write(exchanges: &[Exchange]) -> String {
    let creator = json!({ "name": OURS, "version": env!("CARGO_PKG_VERSION") });
    let entries: Vec<Value> = exchanges.iter().map(entry).collect();
    let document = json!({ "log": { "version": "1.2", "creator": creator, "pages": [], "entries": entries } });
    format!("{document:#}\n")
}

fn entry(exchange: &Exchange) -> Value {
    let pieces = match &exchange.timing {
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
    add("startedDateTime", exchange.at.unwrap_or_default().to_string().into());
    add("time", total.into());
    add("request", request(exchange));
    add("response", response(exchange));
    add("cache", json!({}));
    add(
        "timings",
        json!({ "send": 0, "wait": wait, "receive": total.saturating_sub(wait) }),
    );
    add("_timing_ms", pieces.into());
    if exchange.url.starts_with('/') {
        add("_from", Value::Null);
    }
    for (name, value) in [
        ("_from", &exchange.from),
        ("_scope", &exchange.scope),
        ("_test", &exchange.test),
    ] {
        if let Some(value) = value {
            add(name, value.as_str().into());
        }
    }
    Value::Object(entry)
}

fn request(exchange: &Exchange) -> Value {
    let query = match split_url(&exchange.url) {
        Some((_, target)) => target
            .split_once('?')
            .map(|(_, query)| query.to_owned())
            .unwrap_or_default(),
        None => String::new(),
    };
    let pairs = form_urlencoded::parse(query.as_bytes()).map(|(name, value)| json!({ "name": name, "value": value }));
    let front = if exchange.url.starts_with('/') {
        NOWHERE_ELSE
    } else {
        ""
    };
    let mut request = json!({
        "method": exchange.method,
        "url": format!("{front}{}", exchange.url),
        "httpVersion": "HTTP/1.1",
        "cookies": [],
        "headers": named(&exchange.request_headers),
        "queryString": pairs.collect::<Vec<_>>(),
        "headersSize": -1,
        "bodySize": exchange.request_body.len(),
    });
    if !exchange.request_body.is_empty() {
        let kind = header(&exchange.request_headers, "content-type").unwrap_or("application/octet-stream");
        request["postData"] = match std::str::from_utf8(&exchange.request_body) {
            Ok(text) => json!({ "mimeType": kind, "text": text }),
            Err(_) => {
                json!({ "mimeType": kind, "text": body::to_base64(&exchange.request_body), "_encoding": "base64" })
            }
        };
    }
    request
}

fn response(exchange: &Exchange) -> Value {
    let reason = http::StatusCode::from_u16(exchange.status)
        .ok()
        .and_then(|status| status.canonical_reason());
    let kind = header(&exchange.response_headers, "content-type").unwrap_or("x-unknown");
    let size = exchange.response_body.len();
    let content = match std::str::from_utf8(&exchange.response_body) {
        Ok("") => json!({ "size": 0, "mimeType": kind }),
        Ok(text) => json!({ "size": size, "mimeType": kind, "text": text }),
        Err(_) => {
            json!({ "size": size, "mimeType": kind, "text": body::to_base64(&exchange.response_body), "encoding": "base64" })
        }
    };
    json!({
        "status": exchange.status,
        "statusText": reason.unwrap_or_default(),
        "httpVersion": "HTTP/1.1",
        "cookies": [],
        "headers": named(&exchange.response_headers),
        "content": content,
        "redirectURL": header(&exchange.response_headers, "location").unwrap_or_default(),
        "headersSize": -1,
        "bodySize": size,
    })
}

fn named(headers: &Headers) -> Vec<Value> {
    headers
        .iter()
        .map(|(name, value)| json!({ "name": name, "value": value }))
        .collect()
}
