//! Reads cassettes of VCR.py, in YAML and JSON, and the variants that test suites make of them.
//!
//! A body is text, `!!binary`, or a serialized `BytesIO` object. A response has its body in `body.string`; older
//! versions wrote `content` for httpx. Some test suites replace a JSON body with the member `parsed_body`.

use bytes::Bytes;
use serde_json::Value;

use super::body;
use super::fields::{check_body_member, headers, interactions, required_text, status};
use super::interaction::{Interaction, SourceEntry};

const BODY: [&str; 3] = ["body", "parsed_body", "content"];
const REQUEST: [&str; 3] = ["method", "uri", "headers"];
const RESPONSE: [&str; 9] = [
    "status",
    "status_code",
    "headers",
    "http_version",
    "protocol",
    "version",
    "url",
    "effective_url",
    "reason",
];

pub(super) fn read(document: &Value) -> Vec<SourceEntry> {
    interactions(document, "interactions", "uri", read_interaction)
}

fn read_interaction(interaction: &Value) -> Result<Interaction, String> {
    let (request, response) = (&interaction["request"], &interaction["response"]);
    check_body_member(request, &BODY, &REQUEST, "request")?;
    check_body_member(response, &BODY, &RESPONSE, "response")?;
    let code = if response.get("status_code").is_some() {
        &response["status_code"]
    } else {
        &response["status"]["code"]
    };
    Ok(Interaction {
        method: required_text(&request["method"], "method")?,
        url: required_text(&request["uri"], "URL")?,
        request_headers: headers(&request["headers"])?,
        request_body: read_body(request, "request")?,
        status: status(code)?,
        response_headers: headers(&response["headers"])?,
        response_body: read_body(response, "response")?,
        ..Interaction::default()
    })
}

/// Reads the body of a request or response; `side` says which.
fn read_body(message: &Value, side: &str) -> Result<Bytes, String> {
    if let Some(parsed) = message.get("parsed_body").filter(|parsed| !parsed.is_null()) {
        return body::json(parsed);
    }
    let body = match &message["body"] {
        Value::Null => &message["content"],
        body => body,
    };
    if let Some(text) = body.get("string") {
        return body::bytes(text, side);
    }
    if let Some(base64) = body.get("base64_string").and_then(Value::as_str) {
        return body::from_base64(base64);
    }
    // A serialized Python object: the first item of its state is the content.
    if let Some(state) = body.get("state") {
        return body::bytes(&state[0], side);
    }
    if side == "response" && body.is_object() && !body::is_binary(body) {
        return Err("the response body has none of the members string and base64_string".to_owned());
    }
    body::bytes(body, side)
}
