//! Values that the API makes and that a later request may repeat: ids, signed URLs, names of files.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use percent_encoding::percent_decode_str;
use serde_json::Value;

use crate::cassette::{Blob, RecordedBody, RecordedRequest, RecordedResponse};
use crate::cli::change::{is_random, normalized_content};
use crate::http::parse_json;

/// The minimum length of a value whose member name does not say that it is an id. A shorter text could be any word.
const MIN_UNNAMED: usize = 6;

/// The maximum length of a value that a member names, such as `id`.
const MAX_NAMED: usize = 4096;

/// The minimum and maximum length of a text of several words, such as a message of the assistant, that a later request may
/// repeat.
const WORDS: std::ops::RangeInclusive<usize> = 16..=65536;

/// The last words in the names of members with values that requests repeat.
const NAMES: [&str; 9] = [
    "id", "ids", "file", "files", "filename", "url", "uri", "token", "cursor",
];

/// Returns the values of a response, by JSON pointer. The events of a stream are joined.
pub(super) fn values(response: &RecordedResponse) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    collect(&normalized_content(response), "", "", &mut found);
    found
}

/// Returns the ids that a request names: random segments of its path, and random members such as `file_id`.
pub(super) fn references(request: &RecordedRequest) -> BTreeSet<String> {
    let mut named = BTreeMap::new();
    if let RecordedBody::Blob(Blob::Inline(bytes)) = &request.body
        && let Some(body) = parse_json(bytes)
    {
        collect(&body, "", "", &mut named);
    }
    let has_name = |pointer: &str| {
        let mut names = pointer
            .rsplit('/')
            .skip_while(|name| name.bytes().all(|byte| byte.is_ascii_digit()));
        names.next().is_some_and(is_named)
    };
    let named = named
        .into_iter()
        .filter(|(pointer, _)| has_name(pointer))
        .map(|(_, id)| id);
    let all = path_segments(&request.path).chain(named);
    all.filter(|id| is_random(id)).collect()
}

/// Returns the segments of a path, decoded.
pub(super) fn path_segments(path: &str) -> impl Iterator<Item = String> {
    let segments = path.split('/');
    segments.map(|segment| percent_decode_str(segment).decode_utf8_lossy().into_owned())
}

/// Returns all texts in the content of a response.
pub(super) fn texts_in(content: &Value) -> HashSet<String> {
    match content {
        Value::Object(members) => members.values().flat_map(texts_in).collect(),
        Value::Array(items) => items.iter().flat_map(texts_in).collect(),
        Value::String(text) => HashSet::from([text.clone()]),
        _ => HashSet::new(),
    }
}

fn collect(value: &Value, pointer: &str, name: &str, found: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                let step = name.replace('~', "~0").replace('/', "~1");
                collect(value, &format!("{pointer}/{step}"), name, found);
            }
        }
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                collect(item, &format!("{pointer}/{at}"), name, found);
            }
        }
        Value::String(text) if is_value(name, text) => {
            found.insert(pointer.to_owned(), text.clone());
        }
        Value::Number(number) if is_named(name) && number.is_u64() => {
            found.insert(pointer.to_owned(), number.to_string());
        }
        _ => {}
    }
}

/// Whether the text of a member may be repeated by a request.
fn is_value(name: &str, text: &str) -> bool {
    // The names of models are words of the program.
    name != "model"
        && !text.is_empty()
        && (is_random(text) || is_named(name) && text.len() <= MAX_NAMED || is_words(text))
}

/// Whether the name of a member says that its value is an id or an address.
pub(super) fn is_named(name: &str) -> bool {
    let last = name.rsplit('_').next().unwrap_or_default();
    NAMES.contains(&last)
}

/// Whether a text is a sentence or more, so that it is hardly the same by chance.
fn is_words(text: &str) -> bool {
    WORDS.contains(&text.len()) && text.trim().contains(char::is_whitespace)
}

/// Whether a value counts as a part of another text, too.
pub(super) fn is_part(value: &str) -> bool {
    is_random(value) || is_words(value) || is_mixed(value)
}

/// Whether a value has lower-case letters before capitals. A random id of nine letters and digits may have no digit.
fn is_mixed(value: &str) -> bool {
    const MIN_LENGTH: usize = 8;
    let letters = value.as_bytes();
    let is_inner_capital = |pair: &[u8]| pair[0].is_ascii_lowercase() && pair[1].is_ascii_uppercase();
    value.len() >= MIN_LENGTH
        && letters.iter().all(u8::is_ascii_alphanumeric)
        && letters.windows(2).any(is_inner_capital)
}

/// Whether a value counts wherever it is a complete text, and not only where an id is expected.
pub(super) fn is_unnamed(value: &str) -> bool {
    value.len() >= MIN_UNNAMED
}

/// The state of a job or a document, in lower case.
pub(super) fn state(response: &RecordedResponse) -> Option<String> {
    let content = normalized_content(response);
    let members = content.as_object()?;
    let is_state = |name: &&String| *name == "state" || *name == "status" || name.ends_with("_status");
    let mut texts = members.iter().filter(|(name, _)| is_state(name));
    texts.find_map(|(_, value)| value.as_str()).map(str::to_ascii_lowercase)
}

/// The texts of a request that may repeat a value.
#[derive(Default)]
pub(super) struct RequestTexts {
    /// Complete strings: segments of the path, values of the query, strings of the body.
    pub(super) complete: HashSet<String>,
    /// Those of them that stand where an id is expected: segments of the path, and members such as `file_id`.
    pub(super) named: HashSet<String>,
    /// All texts, one for each line. A random value may be a part of one.
    pub(super) all: String,
}

impl RequestTexts {
    pub(super) fn of(request: &RecordedRequest) -> Self {
        let mut texts = Self::default();
        for segment in path_segments(&request.path) {
            texts.add(&segment, true);
        }
        for (name, value) in form_urlencoded::parse(request.query.as_deref().unwrap_or_default().as_bytes()) {
            texts.add_part(&name);
            texts.add(&value, is_named(&name));
        }
        match &request.body {
            RecordedBody::Blob(blob) => texts.add_blob(blob, false),
            RecordedBody::Multipart(parts) => {
                for part in parts {
                    texts.add_part(&part.name);
                    texts.add(part.filename.as_deref().unwrap_or_default(), false);
                    texts.add_blob(&part.content, is_named(&part.name));
                }
            }
            RecordedBody::Messages(_) => {}
        }
        texts
    }

    /// Whether the request repeats a value.
    pub(super) fn contain(&self, value: &str) -> bool {
        self.named.contains(value)
            || is_unnamed(value) && self.complete.contains(value)
            || is_part(value) && self.all.contains(value)
    }

    fn add(&mut self, text: &str, is_named: bool) {
        if text.is_empty() {
            return;
        }
        if is_named {
            self.named.insert(text.to_owned());
        }
        self.complete.insert(text.to_owned());
        self.add_part(text);
    }

    fn add_part(&mut self, text: &str) {
        self.all.push_str(text);
        self.all.push('\n');
    }

    fn add_blob(&mut self, blob: &Blob, is_named: bool) {
        let Blob::Inline(bytes) = blob else { return };
        match parse_json(bytes) {
            Some(body) => self.add_json(&body, ""),
            None => {
                if let Ok(text) = std::str::from_utf8(bytes) {
                    self.add(text, is_named);
                }
            }
        }
    }

    fn add_json(&mut self, value: &Value, name: &str) {
        match value {
            Value::Object(members) => members.iter().for_each(|(name, value)| self.add_json(value, name)),
            Value::Array(items) => items.iter().for_each(|item| self.add_json(item, name)),
            Value::String(text) if name == "model" => self.add_part(text),
            Value::String(text) => self.add(text, is_named(name)),
            Value::Number(number) if is_named(name) => self.add(&number.to_string(), true),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use serde_json::json;

    use super::*;

    fn values_of(body: &Value) -> Vec<String> {
        let response = RecordedResponse {
            status: StatusCode::OK,
            headers: vec![("content-type".to_owned(), "application/json".to_owned())],
            body: bytes::Bytes::from(body.to_string()).into(),
            timing_ms: vec![1],
            messages: Vec::new(),
        };
        values(&response).into_values().collect()
    }

    #[test]
    fn ids_urls_and_random_texts_are_values() {
        let found = values_of(&json!({
            "id": "file-a",
            "output_file": "f0e1d2c3-aaaa",
            "nested": [{ "url": "https://files.example.com/x?sig=abc" }],
            "other": "x-9f86d081884c",
            "content": "Words of the assistant",
            "job_id": 42,
        }));
        assert_eq!(found.len(), 6, "{found:?}");
        let other = values_of(&json!({
            "short": "file-a",
            "model": "ft:9f86d081884c7d65",
            "object": "chat.completion",
            "status": "SUCCESS",
            "content": "A few words",
            "created": "2026-11-27T10:00:00Z",
            "date": "mistral-small-2506",
        }));
        assert!(other.is_empty(), "{other:?}");
    }

    #[test]
    fn references_are_named_and_random() {
        let request = RecordedRequest::new(
            "POST",
            "/v1/files/9f86d081884c7d65/url",
            json!({ "input_files": ["file-1a2b3c4d"], "agent_id": "ours", "user": "u-1a2b3c4d5e" }).to_string(),
        );
        let found: Vec<String> = references(&request).into_iter().collect();
        assert_eq!(found, ["9f86d081884c7d65", "file-1a2b3c4d"]);
    }

    #[test]
    fn a_request_repeats_a_value_as_a_whole_or_a_random_one_as_a_part() {
        let request = RecordedRequest {
            host: None,
            method: "POST".to_owned(),
            path: "/v1/files/file%2Da/url".to_owned(),
            query: Some("page_token=a%2Fb-9f86d081884c".to_owned()),
            content_type: None,
            body: RecordedBody::Blob(
                bytes::Bytes::from_static(br#"{"model":"file-b","text":"see x-9f86d081884c\/y, file-c"}"#).into(),
            ),
        };
        let texts = RequestTexts::of(&request);
        for value in ["file-a", "a/b-9f86d081884c", "x-9f86d081884c/y"] {
            assert!(texts.contain(value), "{value}");
        }
        assert!(is_part("TMnTfWvhQ") && !is_part("file-a") && !is_part("weather"));
        for other in ["file-b", "file-c", "x-9f86d081884d"] {
            assert!(!texts.contain(other), "{other}");
        }
    }
}
