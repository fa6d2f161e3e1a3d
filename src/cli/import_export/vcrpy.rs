//! VCR.py, in its YAML and its JSON form, and what test suites make of it.
//!
//! A body is text, `!!binary`, or bytes that a file of the time held; a response has it in `body.string`, as older
//! versions had that of httpx in `content`. Suites that want to read their bodies keep a `parsed_body` in place of it.

use bytes::Bytes;
use serde_json::Value;

use super::{Exchange, Found, body, headers, interactions, status, wanted};

pub(super) fn read(document: &Value) -> Vec<Found> {
    interactions(document, "interactions", "uri", one)
}

fn one(interaction: &Value) -> Result<Exchange, String> {
    let (request, response) = (&interaction["request"], &interaction["response"]);
    let code = if response.get("status_code").is_some() {
        &response["status_code"]
    } else {
        &response["status"]["code"]
    };
    Ok(Exchange {
        method: wanted(&request["method"], "method")?,
        url: wanted(&request["uri"], "URL")?,
        request_headers: headers(&request["headers"])?,
        request_body: body_of(request, "request")?,
        status: status(code)?,
        response_headers: headers(&response["headers"])?,
        response_body: body_of(response, "response")?,
        ..Exchange::default()
    })
}

fn body_of(side: &Value, whose: &str) -> Result<Bytes, String> {
    if let Some(parsed) = side.get("parsed_body").filter(|parsed| !parsed.is_null()) {
        return body::json(parsed);
    }
    let kept = match &side["body"] {
        Value::Null => &side["content"],
        kept => kept,
    };
    if let Some(text) = kept.get("string") {
        return body::bytes(text, whose);
    }
    if let Some(base64) = kept.get("base64_string").and_then(Value::as_str) {
        return body::from_base64(base64);
    }
    // A Python object: its first member is what it held.
    if let Some(state) = kept.get("state") {
        return body::bytes(&state[0], whose);
    }
    body::bytes(kept, whose)
}
