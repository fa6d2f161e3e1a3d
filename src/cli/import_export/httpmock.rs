//! Reads recordings of httpmock, the mock server for Rust: YAML documents of `when` and `then`.
//!
//! A recording names the path, the query, some headers and the body of a request. What a person writes can have other
//! members, which match many requests; such a document is no recording.

use bytes::Bytes;
use serde_json::Value;

use super::body;
use super::body_files::BodyFiles;
use super::fields::{check_members, check_no_pattern, headers, required_text, status};
use super::interaction::{Interaction, SourceEntry, Timing};

const WHEN: [&str; 11] = [
    "scheme",
    "host",
    "port",
    "path",
    "method",
    "query_param",
    "header",
    "cookie",
    "body",
    "body_base64",
    "json_body",
];
const THEN: [&str; 7] = [
    "status",
    "header",
    "body",
    "body_base64",
    "json_body",
    "body_from_file",
    "delay",
];

/// Whether a YAML document, or each of several, is a recording.
pub(super) fn is_recording(document: &Value) -> bool {
    let is_one = |document: &Value| document["when"].is_object() && document["then"].is_object();
    match document {
        Value::Array(documents) => !documents.is_empty() && documents.iter().all(is_one),
        document => is_one(document),
    }
}

pub(super) fn read(document: &Value, files: BodyFiles<'_>) -> Vec<SourceEntry> {
    let documents = match document {
        Value::Array(documents) => documents.as_slice(),
        document => std::slice::from_ref(document),
    };
    let entry = |(at, document): (usize, &Value)| {
        let when = &document["when"];
        let interaction = read_interaction(document, files);
        SourceEntry::new("document", at + 1, [&when["method"], &when["path"]], interaction)
    };
    documents.iter().enumerate().map(entry).collect()
}

fn read_interaction(document: &Value, files: BodyFiles<'_>) -> Result<Interaction, String> {
    let (when, then) = (&document["when"], &document["then"]);
    check_no_pattern(when, &WHEN)?;
    check_members(then, &THEN, "the response")?;
    Ok(Interaction {
        method: required_text(&when["method"], "method")?,
        url: url(when)?,
        request_headers: headers(&when["header"])?,
        request_body: read_body(when, "request", files)?,
        status: status(&then["status"])?,
        response_headers: headers(&then["header"])?,
        response_body: read_body(then, "response", files)?,
        timing: timing(&then["delay"]),
        ..Interaction::default()
    })
}

/// The path with its query, after the origin if that is recorded.
fn url(when: &Value) -> Result<String, String> {
    let path = required_text(&when["path"], "path")?;
    let origin = match when["host"].as_str() {
        Some(host) => {
            let port = when["port"].as_u64().map(|port| format!(":{port}")).unwrap_or_default();
            format!("{}://{host}{port}", when["scheme"].as_str().unwrap_or("https"))
        }
        None => String::new(),
    };
    let pairs = when["query_param"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut query = form_urlencoded::Serializer::new(String::new());
    for pair in pairs {
        let part = |name: &str| body::text_of_scalar(&pair[name]).ok_or("a query parameter is not text");
        query.append_pair(&part("name")?, &part("value")?);
    }
    let query = query.finish();
    let separator = if query.is_empty() { "" } else { "?" };
    Ok(format!("{origin}{path}{separator}{query}"))
}

/// Reads the body of a request or response; `side` says which.
fn read_body(message: &Value, side: &str, files: BodyFiles<'_>) -> Result<Bytes, String> {
    if let Some(name) = message["body_from_file"].as_str() {
        return files.beside(name);
    }
    if let Some(base64) = message["body_base64"].as_str() {
        return body::from_base64(base64);
    }
    if let Some(text) = body::text_of_scalar(&message["body"]) {
        return Ok(text.into());
    }
    match &message["json_body"] {
        Value::Null => body::bytes(&message["body"], side),
        // The text of the document, or the document itself.
        Value::String(text) => match serde_json::from_str::<Value>(text) {
            Ok(value) => body::json(&value),
            Err(_) => Err(format!("json_body of the {side} is not valid JSON")),
        },
        value => body::json(value),
    }
}

/// Reads a delay: a number of milliseconds, or seconds and nanoseconds.
fn timing(delay: &Value) -> Timing {
    let parts = || Some(delay["secs"].as_u64()? * 1000 + delay["nanos"].as_u64()? / 1_000_000);
    match delay.as_u64().or_else(parts) {
        Some(milliseconds) => Timing::Total(milliseconds),
        None => Timing::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read_one(when: Value, then: Value) -> Result<Interaction, String> {
        let document = json!({ "when": when, "then": then });
        assert!(is_recording(&document));
        read(&document, BodyFiles(None)).remove(0).interaction
    }

    #[test]
    fn a_query_and_an_origin_become_a_url() {
        let when = json!({
            "scheme": "http", "host": "a.example", "port": 8080, "method": "GET", "path": "/v1/files",
            "query_param": [{ "name": "page", "value": 0 }, { "name": "q", "value": "a b&c" }],
        });
        let read = read_one(
            when,
            json!({ "status": 200, "json_body": "{ \"a\": 1 }", "delay": { "secs": 1, "nanos": 5_000_000 } }),
        )
        .unwrap();
        assert_eq!(read.url, "http://a.example:8080/v1/files?page=0&q=a+b%26c");
        assert_eq!(
            (read.response_body, read.timing),
            (Bytes::from(r#"{"a":1}"#), Timing::Total(1005))
        );
    }

    #[test]
    fn a_document_that_matches_many_requests_is_an_error() {
        let get = json!({ "method": "GET", "path": "/v1/models", "header_exists": [], "body_contains": null });
        assert!(read_one(get, json!({ "status": 200 })).is_ok());
        for condition in ["path_prefix", "body_contains", "json_body_includes", "bdy"] {
            let when = json!({ "method": "GET", "path": "/v1/models", condition: ["x"] });
            let problem = read_one(when, json!({ "status": 200 })).unwrap_err();
            assert!(problem.contains(condition), "{problem}");
        }
        let then = json!({ "status": 200, "bdy": "x" });
        assert!(read_one(json!({ "method": "GET", "path": "/v1/models" }), then).is_err());
        let then = json!({ "status": 200, "body_from_file": "a.bin" });
        assert!(read_one(json!({ "method": "GET", "path": "/v1/models" }), then).is_err());
    }
}
