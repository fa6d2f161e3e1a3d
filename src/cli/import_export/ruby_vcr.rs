//! Ruby's VCR, and those that took its members: the Rust crates rvcr and vcr-cassette, Betamax for Python, vcr for R.
//!
//! A body is `{encoding, string}` or `{encoding, base64_string}`, or a string; `recorded_at` is written as in an HTTP
//! header, or without a time zone.

use bytes::Bytes;
use serde_json::Value;

use super::{Exchange, Found, body, headers, interactions, status, time, wanted};

pub(super) fn read(document: &Value) -> Vec<Found> {
    interactions(document, "http_interactions", "uri", one)
}

fn one(interaction: &Value) -> Result<Exchange, String> {
    let (request, response) = (&interaction["request"], &interaction["response"]);
    let kept = &response["status"];
    let code = ["code", "status_code"]
        .iter()
        .find_map(|name| kept.get(*name))
        .unwrap_or(kept);
    Ok(Exchange {
        method: wanted(&request["method"], "method")?,
        url: wanted(&request["uri"], "URL")?,
        request_headers: headers(&request["headers"])?,
        request_body: body_of(&request["body"], "request")?,
        status: status(code)?,
        response_headers: headers(&response["headers"])?,
        response_body: body_of(&response["body"], "response")?,
        at: interaction["recorded_at"].as_str().and_then(time),
        ..Exchange::default()
    })
}

fn body_of(kept: &Value, whose: &str) -> Result<Bytes, String> {
    if let Some(base64) = kept["base64_string"].as_str() {
        return body::from_base64(base64);
    }
    if let Some(text) = kept.get("string") {
        return body::in_encoding(text, kept["encoding"].as_str(), whose);
    }
    if let Some(json) = kept.get("json") {
        return body::json(json);
    }
    body::bytes(kept, whose)
}
