//! Reads cassettes of cassetter, for Python, JavaScript, Go and Rust, in YAML and TOML.
//!
//! A body has a type: `json` (parsed, in TOML as text), `text`, `binary` (hexadecimal digits) or `none`. Cassettes can
//! hold gRPC calls and WebSocket connections too, which cannot be imported.

use bytes::Bytes;
use serde_json::Value;

use super::body;
use super::fields::{check_members, headers, interactions, required_text, status, timestamp};
use super::interaction::{Interaction, SourceEntry};
use crate::error::{Error, ErrorKind};

const TYPES: [&str; 4] = ["json", "text", "binary", "none"];
const REQUEST: [&str; 6] = ["method", "uri", "headers", "body", "body_type", "body_content"];
const RESPONSE: [&str; 5] = ["status", "headers", "body", "body_type", "body_content"];

/// Whether the bodies of a document have types, or it has lists that only cassetter writes.
pub(super) fn is_cassette(document: &Value) -> bool {
    let is_typed = |message: &Value| {
        let has_type = |name: Option<&str>| name.is_some_and(|name| TYPES.contains(&name));
        let members = message["body"].as_object();
        let is_envelope = members.is_some_and(|members| members.keys().all(|name| name == "type" || name == "content"));
        is_envelope && has_type(message["body"]["type"].as_str()) || has_type(message["body_type"].as_str())
    };
    let mut listed = document["interactions"].as_array().into_iter().flatten();
    listed.any(|interaction| is_typed(&interaction["request"]) || is_typed(&interaction["response"]))
        || document["grpc_interactions"].is_array()
        || document["ws_interactions"].is_array()
}

/// Whether a document is a cassette in TOML: a table of interactions begins a line.
pub(super) fn is_toml(document: &[u8]) -> bool {
    let mut lines = document.split(|byte| *byte == b'\n');
    lines.any(|line| line.trim_ascii() == b"[[interactions]]")
}

/// Reads TOML as a JSON value.
///
/// # Errors
/// [`ErrorKind::Io`] when the document is damaged.
pub(super) fn read_toml(document: &[u8], source: &str) -> Result<Value, Error> {
    toml::from_slice(document).map_err(|error| {
        let before = error.span().and_then(|span| document.get(..span.start));
        let line = before.map(|before| before.split(|byte| *byte == b'\n').count());
        let line = line.map(|line| format!("line {line}: ")).unwrap_or_default();
        Error::new(
            ErrorKind::Io,
            format!("cannot read {source}: {line}{}", error.message()),
        )
    })
}

pub(super) fn read(document: &Value) -> Vec<SourceEntry> {
    let mut entries = interactions(document, "interactions", "uri", read_interaction);
    for (list, kind, protocol) in [
        ("grpc_interactions", "gRPC interaction", "gRPC calls"),
        ("ws_interactions", "WebSocket interaction", "WebSocket connections"),
    ] {
        let others = document[list].as_array().into_iter().flatten().enumerate();
        entries.extend(others.map(|(at, other)| {
            let named = [&other["request"]["method"], &other["uri"]];
            SourceEntry::new(kind, at + 1, named, Err(format!("{protocol} are not supported")))
        }));
    }
    entries
}

fn read_interaction(interaction: &Value) -> Result<Interaction, String> {
    let (request, response) = (&interaction["request"], &interaction["response"]);
    check_members(request, &REQUEST, "the request")?;
    check_members(response, &RESPONSE, "the response")?;
    Ok(Interaction {
        method: required_text(&request["method"], "method")?,
        url: required_text(&request["uri"], "URL")?,
        request_headers: headers(&request["headers"])?,
        request_body: read_body(request, "request")?,
        status: status(&response["status"])?,
        response_headers: headers(&response["headers"])?,
        response_body: read_body(response, "response")?,
        recorded_at: interaction["recorded_at"].as_str().and_then(timestamp),
        ..Interaction::default()
    })
}

/// Reads the body of a request or response; `side` says which.
fn read_body(message: &Value, side: &str) -> Result<Bytes, String> {
    let is_toml = message["body"].is_null() && !message["body_type"].is_null();
    let (kind, content) = match &message["body"] {
        _ if is_toml => (&message["body_type"], &message["body_content"]),
        Value::Null => return Ok(Bytes::new()),
        body => (&body["type"], &body["content"]),
    };
    let text = content.as_str();
    match (kind.as_str(), text) {
        (Some("none"), None) if content.is_null() => Ok(Bytes::new()),
        (Some("json"), Some(text)) if is_toml => match serde_json::from_str::<Value>(text) {
            Ok(_) => Ok(text.to_owned().into()),
            Err(error) => Err(format!("the {side} body is not valid JSON: {error}")),
        },
        (Some("json"), _) if !content.is_null() => body::json(content),
        (Some("text"), Some(text)) => Ok(text.to_owned().into()),
        (Some("binary"), Some(digits)) => body::from_hex(digits, side),
        (Some(kind), _) if TYPES.contains(&kind) => Err(format!("the {side} body of type {kind} has no such content")),
        _ => Err(format!("the {side} body has no known type")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_body_is_read_by_its_type() {
        for (message, body) in [
            (
                json!({ "body": { "type": "json", "content": { "b": 1.5, "a": null } } }),
                &br#"{"b":1.5,"a":null}"#[..],
            ),
            (
                json!({ "body": { "type": "text", "content": "é\n" } }),
                "é\n".as_bytes(),
            ),
            (json!({ "body": { "type": "binary", "content": "00ff" } }), b"\x00\xff"),
            (json!({ "body": { "type": "none" } }), b""),
            (
                json!({ "body_type": "json", "body_content": "{ \"a\":1 }" }),
                b"{ \"a\":1 }",
            ),
            (json!({ "body_type": "none" }), b""),
            (json!({}), b""),
        ] {
            assert_eq!(read_body(&message, "request").unwrap(), body, "{message}");
        }
        for message in [
            json!({ "body": { "type": "json" } }),
            json!({ "body": { "type": "binary", "content": 123 } }),
            json!({ "body": { "type": "none", "content": "x" } }),
            json!({ "body": { "type": "xml", "content": "x" } }),
            json!({ "body": "x" }),
            json!({ "body_type": "json", "body_content": "{" }),
        ] {
            assert!(read_body(&message, "request").is_err(), "{message}");
        }
    }

    #[test]
    fn a_cassette_has_typed_bodies_or_other_protocols() {
        let with = |body: Value| json!({ "interactions": [{ "request": { "body": body } }] });
        assert!(is_cassette(&with(json!({ "type": "none" }))));
        assert!(is_cassette(&json!({ "ws_interactions": [] })));
        assert!(!is_cassette(&with(
            json!({ "type": "json", "content": {}, "model": "m" })
        )));
        assert!(!is_cassette(&with(json!({ "type": "function" }))));
        assert!(!is_cassette(&with(json!("none"))));
    }
}
