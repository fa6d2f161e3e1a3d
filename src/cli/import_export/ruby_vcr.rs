//! Reads cassettes of Ruby's VCR and of the tools that use its format: the Rust crates rvcr and vcr-cassette, Betamax
//! for Python, vcr for R.
//!
//! A body is `{encoding, string}`, `{encoding, base64_string}` or a string. `recorded_at` has the form of an HTTP
//! header, or no time zone.

use bytes::Bytes;
use serde_json::Value;

use super::body;
use super::fields::{check_body_member, check_members, headers, interactions, required_text, status, timestamp};
use super::interaction::{Interaction, SourceEntry};

const REQUEST: [&str; 3] = ["method", "uri", "headers"];
const RESPONSE: [&str; 5] = ["status", "headers", "http_version", "adapter_metadata", "url"];
/// Members of a body, besides those that hold it.
const BODY: [&str; 1] = ["encoding"];

pub(super) fn read(document: &Value) -> Vec<SourceEntry> {
    interactions(document, "http_interactions", "uri", read_interaction)
}

fn read_interaction(interaction: &Value) -> Result<Interaction, String> {
    let (request, response) = (&interaction["request"], &interaction["response"]);
    check_body_member(request, &["body"], &REQUEST, "request")?;
    check_body_member(response, &["body"], &RESPONSE, "response")?;
    let code = &response["status"];
    let code = ["code", "status_code"]
        .iter()
        .find_map(|name| code.get(*name))
        .unwrap_or(code);
    Ok(Interaction {
        method: required_text(&request["method"], "method")?,
        url: required_text(&request["uri"], "URL")?,
        request_headers: headers(&request["headers"])?,
        request_body: read_body(&request["body"], "request")?,
        status: status(code)?,
        response_headers: headers(&response["headers"])?,
        response_body: read_body(&response["body"], "response")?,
        recorded_at: interaction["recorded_at"].as_str().and_then(timestamp),
        ..Interaction::default()
    })
}

fn read_body(body: &Value, side: &str) -> Result<Bytes, String> {
    if body["file"] == true {
        return Err(format!("the {side} body is in another file"));
    }
    if let Some(base64) = body["base64_string"].as_str() {
        return body::from_base64(base64);
    }
    if let Some(text) = body.get("string") {
        return body::in_encoding(text, body["encoding"].as_str(), side);
    }
    if let Some(json) = body.get("json") {
        return body::json(json);
    }
    if body.is_object() && !body::is_binary(body) {
        check_members(body, &BODY, &format!("the {side} body"))?;
        return Ok(Bytes::new());
    }
    body::bytes(body, side)
}
