//! Reads fixtures of nock, for Node.js: a JSON list of definitions with `scope`, `method`, `path`, `body`, `status` and
//! `response`.
//!
//! A body that is JSON is saved as parsed JSON, another one as text, a binary one in hexadecimal digits; a compressed
//! response is a list of chunks in hexadecimal digits. Response headers are in `rawHeaders`, in turn name and value.

use bytes::Bytes;
use serde_json::Value;

use super::body;
use super::fields::{can_have_body, check_members, headers, required_text, status};
use super::interaction::{Headers, Interaction, SourceEntry, header};

const DEFINITION: [&str; 17] = [
    "scope",
    "port",
    "method",
    "path",
    "body",
    "status",
    "reply",
    "response",
    "responseIsBinary",
    "rawHeaders",
    "headers",
    "reqheaders",
    "reqHeaders",
    "badheaders",
    "options",
    "delay",
    "times",
];

/// Whether a JSON document is a definition or a list of definitions.
pub(super) fn is_fixture(document: &Value) -> bool {
    let is_definition = |value: &Value| value["scope"].is_string() && value.get("path").is_some();
    match document {
        Value::Array(definitions) => !definitions.is_empty() && definitions.iter().all(is_definition),
        document => is_definition(document),
    }
}

pub(super) fn read(document: &Value) -> Vec<SourceEntry> {
    let definitions = match document {
        Value::Array(definitions) => definitions.as_slice(),
        document => std::slice::from_ref(document),
    };
    let entry = |(at, definition): (usize, &Value)| {
        let named = [&definition["method"], &definition["path"]];
        SourceEntry::new("definition", at + 1, named, read_definition(definition))
    };
    definitions.iter().enumerate().map(entry).collect()
}

fn read_definition(definition: &Value) -> Result<Interaction, String> {
    check_members(definition, &DEFINITION, "the definition")?;
    let reply = if definition["status"].is_null() {
        "reply"
    } else {
        "status"
    };
    let request_headers = headers(match &definition["reqheaders"] {
        Value::Null => &definition["reqHeaders"],
        headers => headers,
    })?;
    let response_headers = response_headers(definition)?;
    let method = required_text(&definition["method"], "method")?;
    let status = status(&definition[reply])?;
    if definition.get("response").is_none() && can_have_body(status, &method) {
        return Err("the definition has no response".to_owned());
    }
    Ok(Interaction {
        method,
        url: url(definition)?,
        request_body: request_body(&definition["body"])?,
        request_headers,
        status,
        response_body: response_body(definition, &response_headers)?,
        response_headers,
        ..Interaction::default()
    })
}

/// The origin with the path. A scope names the port, also if it is that of the scheme.
fn url(definition: &Value) -> Result<String, String> {
    let scope = required_text(&definition["scope"], "scope")?;
    let scope = scope.trim_end_matches('/');
    let path = definition["path"].as_str().filter(|path| path.starts_with('/'));
    let path = path.ok_or("the path of the request is not text that begins with /")?;
    let default_port = if scope.starts_with("https://") { ":443" } else { ":80" };
    let origin = scope.strip_suffix(default_port).unwrap_or(scope);
    match body::text_of_scalar(&definition["port"]).map(|port| format!(":{port}")) {
        Some(port) if port != default_port && !scope.ends_with(&port) => Ok(format!("{origin}{port}{path}")),
        _ => Ok(format!("{origin}{path}")),
    }
}

fn request_body(body: &Value) -> Result<Bytes, String> {
    match body.as_str() {
        // Nothing marks a binary body. nock writes digits only for bytes that are not UTF-8.
        Some(text) => match body::hex(text) {
            Some(bytes) if std::str::from_utf8(&bytes).is_err() => Ok(bytes),
            _ => Ok(text.to_owned().into()),
        },
        None => body::bytes(body, "request"),
    }
}

fn response_body(definition: &Value, headers: &Headers) -> Result<Bytes, String> {
    let response = &definition["response"];
    let is_encoded = header(headers, "content-encoding").is_some_and(|name| !matches!(name.trim(), "" | "identity"));
    if let Some(chunks) = response.as_array().filter(|_| is_encoded) {
        let chunks = chunks.iter().map(|chunk| chunk.as_str().and_then(body::hex));
        // A list that is not of digits is the decoded body.
        if let Some(chunks) = chunks.collect::<Option<Vec<Bytes>>>() {
            return Ok(chunks.concat().into());
        }
    }
    match response.as_str() {
        Some(digits) if definition["responseIsBinary"] == true => body::from_hex(digits, "response"),
        Some(text) if is_encoded => Ok(body::hex(text).unwrap_or_else(|| text.to_owned().into())),
        _ => body::bytes(response, "response"),
    }
}

/// `rawHeaders`, in turn name and value, or an object; older versions have only `headers`.
fn response_headers(definition: &Value) -> Result<Headers, String> {
    let Some(raw) = definition["rawHeaders"].as_array() else {
        let raw = &definition["rawHeaders"];
        return headers(if raw.is_null() { &definition["headers"] } else { raw });
    };
    let pair = |pair: &[Value]| match pair {
        [Value::String(name), value] => Some((name.clone(), body::text_of_scalar(value)?)),
        _ => None,
    };
    let pairs: Option<Headers> = raw.chunks(2).map(pair).collect();
    pairs.ok_or_else(|| "rawHeaders is not a list of names and values".to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn definition(members: Value) -> Value {
        let mut definition = json!({ "scope": "https://a.example:443", "method": "POST", "path": "/v1/x", "status": 200, "response": "" });
        for (name, value) in members.as_object().unwrap() {
            definition[name] = value.clone();
        }
        definition
    }

    fn read_one(members: Value) -> Result<Interaction, String> {
        let definition = definition(members);
        assert!(is_fixture(&definition));
        read(&definition).remove(0).interaction
    }

    #[test]
    fn bodies_are_json_text_or_digits() {
        for (members, body) in [
            (
                json!({ "response": { "b": 1, "a": [0.5] } }),
                &br#"{"b":1,"a":[0.5]}"#[..],
            ),
            (json!({ "response": ["1f"] }), br#"["1f"]"#),
            (json!({ "response": "data: x\n\n" }), b"data: x\n\n"),
            (json!({ "response": "00ff", "responseIsBinary": true }), b"\x00\xff"),
            (json!({ "response": "00ff", "responseIsBinary": false }), b"00ff"),
            (
                json!({ "response": ["1f8b", "00"], "rawHeaders": ["Content-Encoding", "gzip"] }),
                b"\x1f\x8b\x00",
            ),
            (
                json!({ "response": { "a": 1 }, "headers": { "content-encoding": "gzip" } }),
                br#"{"a":1}"#,
            ),
            (json!({ "response": "" }), b""),
        ] {
            assert_eq!(read_one(members.clone()).unwrap().response_body, body, "{members}");
        }
        for (body, bytes) in [
            (json!({ "model": "m" }), &br#"{"model":"m"}"#[..]),
            (json!("a=b"), b"a=b"),
            (json!("2d2dff"), b"--\xff"),
            (json!("2d2d"), b"2d2d"),
            (json!(""), b""),
        ] {
            assert_eq!(read_one(json!({ "body": body })).unwrap().request_body, bytes, "{body}");
        }
    }

    #[test]
    fn the_origin_has_no_default_port() {
        let url = |members| read_one(members).unwrap().url;
        assert_eq!(url(json!({})), "https://a.example/v1/x");
        assert_eq!(url(json!({ "scope": "http://a.example:80" })), "http://a.example/v1/x");
        assert_eq!(
            url(json!({ "scope": "http://a.example:8080" })),
            "http://a.example:8080/v1/x"
        );
        assert_eq!(
            url(json!({ "scope": "http://a.example", "port": 8080 })),
            "http://a.example:8080/v1/x"
        );
        assert_eq!(
            url(json!({ "scope": "https://a.example", "port": "443" })),
            "https://a.example/v1/x"
        );
    }

    #[test]
    fn definitions_that_are_no_exchange_are_errors() {
        for (members, reported) in [
            (json!({ "path": { "regex": "/v1/.*" } }), "the path of the request"),
            (json!({ "respons": {} }), "unknown member: respons"),
            (json!({ "status": null }), "no status"),
            (json!({ "response": "0", "responseIsBinary": true }), "not valid hex"),
            (json!({ "rawHeaders": ["a"] }), "rawHeaders"),
        ] {
            let problem = read_one(members).unwrap_err();
            assert!(problem.contains(reported), "{problem}");
        }
        assert!(!is_fixture(&json!([])) && !is_fixture(&json!([{ "scope": "x" }])));
    }
}
