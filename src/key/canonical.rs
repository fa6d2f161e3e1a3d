//! The canonical request: a typed form that equivalent requests share, and its text.
//!
//! # Key scheme 1
//! The request key is the SHA-256 of this JSON object in the canonical form of
//! [RFC 8785](https://www.rfc-editor.org/rfc/rfc8785):
//!
//! - `method` and `path`: strings. The path is percent-encoded in one way only: every byte that
//!   [RFC 3986](https://www.rfc-editor.org/rfc/rfc3986#section-3.3) does not allow in a segment is encoded and no other,
//!   so that `ft:m` and `ft%3Am` name the same model.
//! - `host`, only of a request to another host than those of the API: a string in lower case, with the port unless it is the
//!   default.
//! - `query`, unless it is empty: the decoded pairs, each as an array of two strings, ordered by name. Pairs of one name keep
//!   their order. A pair whose bytes are not UTF-8 has a third string, the SHA-256 of these bytes.
//! - `body`, unless it is empty: an object with one member. `json` holds the value; `multipart` the list of
//!   [parts](CanonicalPart), ordered by name, with parts of one name in their order; `text` the text; `sha256` the hash of
//!   bytes that are not UTF-8; `messages`, of a WebSocket session, the list of what the client sends: each an object with
//!   `json`, `text`, `sha256` (a binary frame) or `audio`, the SHA-256 of consecutive frames of audio. A body is JSON when it
//!   is a JSON object or array in which no object has two members of one name, whatever its content type is. A form that cannot
//!   be parsed completely counts as text or bytes.
//!
//! RFC 8785 writes every number as the nearest double and would merge integers above 2^53. Such an integer is written as the
//! object `{"$integer":"<its digits>"}` instead, and a member named `$integer` (`$$integer`, …) gets one more dollar sign. What
//! [`Matching`] ignores or replaces is ignored or replaced first. In the path, that is done after the encoding, and never in
//! the version at its beginning.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};
use serde_json::{Map, Number, Value, json};

use super::part::CanonicalPart;
use crate::cassette::{Blob, RecordedBody, RecordedRequest, SentMessage};
use crate::hash::sha256_hex;
use crate::http::{parse_json, serialize_number};
use crate::settings::matching::Matching;

/// The largest integer up to which every integer is a double.
const LARGEST_SAFE_INTEGER: u64 = (1 << 53) - 1;

/// The member that holds the digits of a larger integer.
const INTEGER: &str = "$integer";

/// The bytes that are percent-encoded in a path segment: all except `pchar` of RFC 3986.
const NO_PCHAR: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'!')
    .remove(b'$')
    .remove(b'&')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b'+')
    .remove(b',')
    .remove(b';')
    .remove(b'=')
    .remove(b':')
    .remove(b'@');

/// A request in canonical form. Requests with equal canonical forms share a request key.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub(crate) struct CanonicalRequest {
    pub(crate) method: String,
    pub(crate) path: String,
    /// Only of a request to another host than those of the API.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) host: Option<String>,
    /// Ordered by name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) query: Vec<QueryPair>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) body: Option<CanonicalBody>,
}

/// A pair of a query: name, value, and the SHA-256 of its bytes if they are not UTF-8.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct QueryPair {
    pub(crate) name: String,
    pub(crate) value: String,
    pub(crate) sha256: Option<String>,
}

/// A body that is not empty.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum CanonicalBody {
    /// A JSON object or array.
    Json(#[serde(serialize_with = "serialize_guarded")] Value),
    /// The parts of a form, ordered by name.
    Multipart(Vec<CanonicalPart>),
    /// Any other text.
    Text(String),
    /// The SHA-256 of bytes that are not UTF-8 or that are stored outside the cassette.
    Sha256(String),
    /// What the client sends in a WebSocket session.
    Messages(Vec<CanonicalMessage>),
}

/// A message that the client sends in a WebSocket session.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum CanonicalMessage {
    Json(#[serde(serialize_with = "serialize_guarded")] Value),
    Text(String),
    Sha256(String),
    Audio(String),
}

impl CanonicalRequest {
    /// Returns the canonical form of a redacted request.
    pub(crate) fn of(request: &RecordedRequest, matching: &Matching) -> Self {
        Self {
            method: request.method.clone(),
            path: matched_path(canonical_path(&request.path), matching),
            host: request.host.clone(),
            query: canonical_query(request.query.as_deref(), matching),
            body: CanonicalBody::of(&request.body, matching),
        }
    }

    /// Returns the text whose SHA-256 is the request key.
    pub(crate) fn text(&self) -> String {
        // Only maps with keys other than strings and numbers that are not finite cannot be written. JSON has neither.
        serde_json_canonicalizer::to_string(self).unwrap_or_else(|_| self.to_value().to_string())
    }

    /// Returns the canonical form as a JSON value for comparisons, with large integers as numbers.
    pub(crate) fn to_value(&self) -> Value {
        self.clone().into_value()
    }

    /// As [`to_value`](Self::to_value).
    pub(crate) fn into_value(self) -> Value {
        let mut members = Map::new();
        members.insert("method".to_owned(), self.method.into());
        if let Some(host) = self.host {
            members.insert("host".to_owned(), host.into());
        }
        members.insert("path".to_owned(), self.path.into());
        if !self.query.is_empty() {
            members.insert("query".to_owned(), json!(self.query));
        }
        if let Some(body) = self.body {
            members.insert("body".to_owned(), body.into_value());
        }
        Value::Object(members)
    }
}

impl CanonicalBody {
    /// Returns `None` for an empty body.
    fn of(body: &RecordedBody, matching: &Matching) -> Option<Self> {
        let bytes = match body {
            RecordedBody::Multipart(parts) => {
                let parts = parts.iter().filter_map(|part| CanonicalPart::of(part, matching));
                let mut parts: Vec<CanonicalPart> = parts.collect();
                // Parts of one name keep their order.
                parts.sort_by_cached_key(CanonicalPart::sort_key);
                return Some(Self::Multipart(parts));
            }
            RecordedBody::Blob(Blob::External { sha256 }) => return Some(Self::Sha256(sha256.clone())),
            RecordedBody::Blob(Blob::Inline(bytes)) if bytes.is_empty() => return None,
            RecordedBody::Blob(Blob::Inline(bytes)) => bytes,
            RecordedBody::Messages(messages) => {
                let messages = messages.iter().map(|message| CanonicalMessage::of(message, matching));
                return Some(Self::Messages(messages.collect()));
            }
        };
        if let Some(value) = matched_json(bytes, matching) {
            return Some(Self::Json(value));
        }
        Some(match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(matching.replaced(text)),
            Err(_) => Self::Sha256(sha256_hex(bytes)),
        })
    }

    fn into_value(self) -> Value {
        match self {
            Self::Json(value) => json!({ "json": value }),
            Self::Multipart(parts) => {
                let parts: Vec<Value> = parts.iter().map(CanonicalPart::to_value).collect();
                json!({ "multipart": parts })
            }
            Self::Text(text) => json!({ "text": text }),
            Self::Sha256(sha256) => json!({ "sha256": sha256 }),
            Self::Messages(messages) => {
                let messages: Vec<Value> = messages.iter().map(CanonicalMessage::to_value).collect();
                json!({ "messages": messages })
            }
        }
    }
}

impl CanonicalMessage {
    pub(crate) fn of(message: &SentMessage, matching: &Matching) -> Self {
        match message {
            SentMessage::Text(text) => match matched_json(text, matching) {
                Some(value) => Self::Json(value),
                None => Self::Text(matching.replaced(&String::from_utf8_lossy(text))),
            },
            SentMessage::Binary(sha256) => Self::Sha256(sha256.clone()),
            SentMessage::Audio(sha256) => Self::Audio(sha256.clone()),
        }
    }

    /// As a JSON value for comparisons.
    pub(crate) fn to_value(&self) -> Value {
        match self {
            Self::Json(value) => json!({ "json": value }),
            Self::Text(text) => json!({ "text": text }),
            Self::Sha256(sha256) => json!({ "sha256": sha256 }),
            Self::Audio(sha256) => json!({ "audio": sha256 }),
        }
    }
}

/// Returns a JSON object or array without what the settings ignore or replace; `None` for other bytes.
fn matched_json(bytes: &[u8], matching: &Matching) -> Option<Value> {
    let mut value = parse_json(bytes).filter(|value| value.is_object() || value.is_array())?;
    for pointer in &matching.ignore {
        remove(&mut value, pointer.segments());
    }
    if !matching.replace.is_empty() {
        replace_strings(&mut value, matching);
    }
    Some(value)
}

impl Serialize for QueryPair {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq([&self.name, &self.value].into_iter().chain(&self.sha256))
    }
}

/// Percent-encodes each segment in one way. A segment with a `%` that starts no escape stays as it is.
fn canonical_path(path: &str) -> String {
    let canonical = |segment: &str| {
        let is_escape = |rest: &str| rest.len() >= 2 && rest.bytes().take(2).all(|byte| byte.is_ascii_hexdigit());
        if segment.split('%').skip(1).all(is_escape) {
            let bytes: Vec<u8> = percent_decode_str(segment).collect();
            percent_encode(&bytes, NO_PCHAR).to_string()
        } else {
            segment.to_owned()
        }
    };
    path.split('/').map(canonical).collect::<Vec<_>>().join("/")
}

/// Ignores and replaces what the settings name. The version (`/v1`) stays, because `\\d` matches it too.
fn matched_path(path: String, matching: &Matching) -> String {
    if matching.ignore_path.is_empty() && matching.replace.is_empty() {
        return path;
    }
    let ignored = matching
        .ignore_path
        .iter()
        .fold(path, |path, pattern| pattern.apply(&path).unwrap_or(path));
    let matched = canonical_path(&matching.replaced(&ignored));
    let Some(version) = ignored.split('/').nth(1).filter(|first| is_version(first)) else {
        return matched;
    };
    match matched.strip_prefix('/') {
        Some(rest) => format!("/{version}{}", rest.find('/').map_or("", |at| &rest[at..])),
        None => matched,
    }
}

/// Whether a segment of a path is a version, such as `v1`.
pub(crate) fn is_version(segment: &str) -> bool {
    segment
        .strip_prefix('v')
        .is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
}

fn canonical_query(query: Option<&str>, matching: &Matching) -> Vec<QueryPair> {
    let canonical = |pair: &str| {
        let (name, value) = form_urlencoded::parse(pair.as_bytes()).next()?;
        let raw_name = pair.split('=').next().unwrap_or_default();
        if matching.ignore_query.iter().any(|ignored| *ignored == name) {
            return None;
        }
        let decoded = |text: &str| -> Vec<u8> { percent_decode_str(&text.replace('+', " ")).collect() };
        let bytes = decoded(pair);
        let pair = QueryPair {
            value: matching.replaced(&value),
            sha256: std::str::from_utf8(&bytes).is_err().then(|| sha256_hex(&bytes)),
            name: name.into_owned(),
        };
        // In bytes, because names that are not UTF-8 may look the same.
        Some((decoded(raw_name), pair))
    };
    let pairs = query.into_iter().flat_map(|query| query.split('&'));
    let mut pairs: Vec<(Vec<u8>, QueryPair)> = pairs.filter_map(canonical).collect();
    // Pairs of one name keep their order: it has a meaning for many servers.
    pairs.sort_by(|(a, _), (b, _)| a.cmp(b));
    pairs.into_iter().map(|(_, pair)| pair).collect()
}

/// Removes the values at a path in which `*` is any member or item. An array item becomes null, so that the items after
/// it keep their indexes.
fn remove(value: &mut Value, path: &[String]) {
    let [first, rest @ ..] = path else { return };
    match value {
        Value::Object(members) if rest.is_empty() => {
            if first == "*" {
                members.clear();
            }
            members.shift_remove(first);
        }
        Value::Object(members) => {
            for (_, member) in members.iter_mut().filter(|(name, _)| first == "*" || first == *name) {
                remove(member, rest);
            }
        }
        Value::Array(items) if rest.is_empty() => {
            if first == "*" {
                items.clear();
            } else if let Some(at) = first.parse::<usize>().ok().filter(|at| *at < items.len()) {
                items[at] = Value::Null;
            }
        }
        Value::Array(items) => {
            for (at, item) in items.iter_mut().enumerate() {
                if first == "*" || first.parse::<usize>() == Ok(at) {
                    remove(item, rest);
                }
            }
        }
        _ => {}
    }
}

fn replace_strings(value: &mut Value, matching: &Matching) {
    match value {
        Value::String(text) => *text = matching.replaced(text),
        Value::Array(items) => items.iter_mut().for_each(|item| replace_strings(item, matching)),
        Value::Object(members) => members
            .values_mut()
            .for_each(|member| replace_strings(member, matching)),
        _ => {}
    }
}

/// Serializes a JSON value with each integer that is not a double as an object, and [`INTEGER`] members renamed.
fn serialize_guarded<S: Serializer>(value: &Value, serializer: S) -> Result<S::Ok, S::Error> {
    Guarded(value).serialize(serializer)
}

struct Guarded<'a>(&'a Value);

impl Serialize for Guarded<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Null => serializer.serialize_unit(),
            Value::Bool(value) => serializer.serialize_bool(*value),
            Value::Number(number) if is_unsafe_integer(number) => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry(INTEGER, &number.to_string())?;
                map.end()
            }
            Value::Number(number) => serialize_number(number, serializer),
            Value::String(text) => serializer.serialize_str(text),
            Value::Array(items) => {
                let mut seq = serializer.serialize_seq(Some(items.len()))?;
                for item in items {
                    seq.serialize_element(&Guarded(item))?;
                }
                seq.end()
            }
            Value::Object(members) => {
                let mut map = serializer.serialize_map(Some(members.len()))?;
                for (name, value) in members {
                    if is_reserved(name) {
                        map.serialize_entry(&format!("${name}"), &Guarded(value))?;
                    } else {
                        map.serialize_entry(name, &Guarded(value))?;
                    }
                }
                map.end()
            }
        }
    }
}

fn is_unsafe_integer(number: &Number) -> bool {
    let magnitude = number.as_i64().map(i64::unsigned_abs).or_else(|| number.as_u64());
    magnitude.is_some_and(|magnitude| magnitude > LARGEST_SAFE_INTEGER)
}

/// Whether a member is named [`INTEGER`], with any number of additional dollar signs in front.
fn is_reserved(name: &str) -> bool {
    name.ends_with(INTEGER) && name.trim_start_matches('$') == &INTEGER[1..]
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::cassette::RecordedPart;

    fn request(path: &str, query: Option<&str>, body: RecordedBody) -> RecordedRequest {
        RecordedRequest {
            host: None,
            method: "POST".to_owned(),
            path: path.to_owned(),
            query: query.map(str::to_owned),
            content_type: None,
            body,
        }
    }

    fn blob(bytes: &[u8]) -> RecordedBody {
        RecordedBody::Blob(Blob::Inline(Bytes::copy_from_slice(bytes)))
    }

    #[track_caller]
    fn assert_text(request: &RecordedRequest, matching: &Matching, text: &str) {
        assert_eq!(CanonicalRequest::of(request, matching).text(), text);
    }

    /// Request keys depend on these texts: a change of one makes every recording a miss.
    #[test]
    fn the_canonical_text_follows_the_scheme() {
        let sha256 = "ab".repeat(32);
        let part = |name: &str, filename: Option<&str>, content: &str| RecordedPart {
            name: name.to_owned(),
            filename: filename.map(str::to_owned),
            content_type: Some("application/octet-stream".to_owned()).filter(|_| filename.is_some()),
            headers: Vec::new(),
            content: Blob::Inline(content.to_owned().into()),
        };
        let (abc, ab) = (sha256_hex(b"abc"), sha256_hex(b"ab"));
        let parts = || {
            RecordedBody::Multipart(vec![
                part("file", Some("b.txt"), "abc"),
                part("a!", None, "abc"),
                part("a", None, "abc"),
                part("file", Some("a.txt"), "abc"),
                part("a", None, "ab"),
            ])
        };
        for (request, text) in [
            (request("/v1/x", None, blob(b"")), r#"{"method":"POST","path":"/v1/x"}"#.to_owned()),
            (
                request("/v1/ft%3am", Some("b=2&a=%20&a=1&"), blob(b"")),
                r#"{"method":"POST","path":"/v1/ft:m","query":[["a"," "],["a","1"],["b","2"]]}"#.to_owned(),
            ),
            (
                request("/", Some("b=2&a=2&%61=1&a=2"), blob(b"")),
                r#"{"method":"POST","path":"/","query":[["a","2"],["a","1"],["a","2"],["b","2"]]}"#.to_owned(),
            ),
            (
                request("/", None, blob(br#"{"a":1,"a":2}"#)),
                r#"{"body":{"text":"{\"a\":1,\"a\":2}"},"method":"POST","path":"/"}"#.to_owned(),
            ),
            (
                request("/", Some("a=%FF"), blob(b"")),
                format!(
                    r#"{{"method":"POST","path":"/","query":[["a","{}","{}"]]}}"#,
                    '\u{fffd}',
                    sha256_hex(b"a=\xff")
                ),
            ),
            (
                request("/", None, blob(br#"{"b":1.0,"a":["\u00e9",9007199254740993,-9007199254740992,null],"$integer":{"$$integer":0}}"#)),
                r#"{"body":{"json":{"$$integer":{"$$$integer":0},"a":["é",{"$integer":"9007199254740993"},{"$integer":"-9007199254740992"},null],"b":1}},"method":"POST","path":"/"}"#.to_owned(),
            ),
            (
                request("/", None, blob(b"{\"a\"")),
                r#"{"body":{"text":"{\"a\""},"method":"POST","path":"/"}"#.to_owned(),
            ),
            (
                request("/", None, blob(b"\"a\"")),
                r#"{"body":{"text":"\"a\""},"method":"POST","path":"/"}"#.to_owned(),
            ),
            (
                request("/", None, blob(b"\xff")),
                format!(r#"{{"body":{{"sha256":"{}"}},"method":"POST","path":"/"}}"#, sha256_hex(b"\xff")),
            ),
            (
                request("/", None, RecordedBody::Blob(Blob::External { sha256: sha256.clone() })),
                format!(r#"{{"body":{{"sha256":"{sha256}"}},"method":"POST","path":"/"}}"#),
            ),
            (
                request("/", None, parts()),
                format!(
                    r#"{{"body":{{"multipart":[{{"name":"a!","sha256":"{abc}"}},{{"name":"a","sha256":"{abc}"}},{{"name":"a","sha256":"{ab}"}},{{"filename":"b.txt","name":"file","sha256":"{abc}"}},{{"filename":"a.txt","name":"file","sha256":"{abc}"}}]}},"method":"POST","path":"/"}}"#
                ),
            ),
        ] {
            assert_text(&request, &Matching::default(), &text);
        }
    }

    #[test]
    fn settings_change_the_canonical_text() {
        let settings = "matching:\n  ignore: [/a, /b/1, /c/*/d]\n  ignore_path: [/v1/12/x/*]\n  ignore_query: [page]\n  replace: [{pattern: '\\d+', with: N}]";
        let matching = crate::settings::Settings::from_yaml(settings.as_bytes(), "settings.yaml")
            .unwrap()
            .matching;
        assert_text(
            &request(
                "/v1/12/x/abc",
                Some("page=1&at=12"),
                blob(br#"{"a":1,"b":["1","2","3"],"c":[{"d":1},{"e":"12"}],"f":12}"#),
            ),
            &matching,
            r#"{"body":{"json":{"b":["N",null,"N"],"c":[{},{"e":"N"}],"f":12}},"method":"POST","path":"/v1/N/x/*","query":[["at","N"]]}"#,
        );
        let part = |name: &str| RecordedPart {
            name: name.to_owned(),
            filename: Some("12.wav".to_owned()),
            content_type: None,
            headers: Vec::new(),
            content: Blob::Inline("12".into()),
        };
        assert_text(
            &request("/", None, RecordedBody::Multipart(vec![part("a"), part("g")])),
            &matching,
            &format!(
                r#"{{"body":{{"multipart":[{{"filename":"N.wav","name":"g","sha256":"{}"}}]}},"method":"POST","path":"/"}}"#,
                sha256_hex(b"N")
            ),
        );
    }

    #[test]
    fn the_value_for_comparisons_has_plain_numbers() {
        let canonical = CanonicalRequest::of(
            &request("/v1/x", Some("a=1"), blob(br#"{"seed":9007199254740993,"$integer":1}"#)),
            &Matching::default(),
        );
        assert_eq!(
            canonical.into_value().to_string(),
            r#"{"method":"POST","path":"/v1/x","query":[["a","1"]],"body":{"json":{"seed":9007199254740993,"$integer":1}}}"#
        );
    }
}
