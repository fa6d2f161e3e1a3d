//! The values of refreshed responses in place of the recorded ones: values that the API makes, and messages of the assistant.

use std::collections::{BTreeSet, HashMap};

use aho_corasick::{AhoCorasick, MatchKind};
use bytes::Bytes;
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::values::{is_named, is_part, is_unnamed, values};
use crate::cassette::{Blob, RecordedBody, RecordedRequest, RecordedResponse};
use crate::cli::change::{is_index, is_random, normalized_content};
use crate::diff::Difference;
use crate::http::{PlainJson, parse_json};

/// A message of the assistant: its text and its tool calls.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Hash, Serialize)]
pub(super) struct AssistantMessage {
    pub(super) text: String,
    /// The name and the arguments of each call.
    pub(super) calls: Vec<(String, String)>,
}

impl AssistantMessage {
    /// Returns the message in a request; `None` when it is not of the assistant, or empty.
    pub(super) fn in_request(message: &Value) -> Option<Self> {
        (message["role"] == "assistant").then(|| Self::read(message)).flatten()
    }

    /// Reads a message of a request or response; `None` when it has neither text nor tool calls.
    fn read(message: &Value) -> Option<Self> {
        let text = match &message["content"] {
            Value::String(text) => text.clone(),
            Value::Array(chunks) => chunks.iter().filter_map(|chunk| chunk["text"].as_str()).collect(),
            _ => String::new(),
        };
        let call = |call: &Value| {
            let function = if call["function"].is_object() {
                &call["function"]
            } else {
                call
            };
            let arguments = match &function["arguments"] {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            (function["name"].as_str().unwrap_or_default().to_owned(), arguments)
        };
        let calls = match &message["tool_calls"] {
            Value::Array(calls) => calls.iter().map(call).collect(),
            // `normalized_content` joins the tool calls of a stream in an object.
            Value::Object(calls) => calls.values().map(call).collect(),
            _ => Vec::new(),
        };
        (!text.is_empty() || !calls.is_empty()).then_some(Self { text, calls })
    }

    /// Returns the message in the first choice of a response.
    pub(super) fn in_response(response: &RecordedResponse) -> Option<Self> {
        let content = normalized_content(response);
        let choice = content["choices"].get(0)?;
        Self::read(if choice["message"].is_object() {
            &choice["message"]
        } else {
            choice
        })
    }
}

/// The values of refreshed responses that replace the recorded ones in later requests.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(from = "Pairs", into = "Pairs")]
pub(crate) struct Substitutions {
    values: HashMap<String, String>,
    messages: HashMap<AssistantMessage, AssistantMessage>,
}

/// [`Substitutions`] as lists of pairs: a message cannot be the name of a JSON member.
#[derive(Deserialize, Serialize)]
struct Pairs {
    #[serde(rename = "ids")]
    values: Vec<(String, String)>,
    #[serde(rename = "said")]
    messages: Vec<(AssistantMessage, AssistantMessage)>,
}

impl From<Pairs> for Substitutions {
    fn from(pairs: Pairs) -> Self {
        Self {
            values: pairs.values.into_iter().collect(),
            messages: pairs.messages.into_iter().collect(),
        }
    }
}

impl From<Substitutions> for Pairs {
    fn from(substitutions: Substitutions) -> Self {
        Self {
            values: substitutions.values.into_iter().collect(),
            messages: substitutions.messages.into_iter().collect(),
        }
    }
}

/// Why a request that follows a changed tool call cannot be sent.
const TOOL_CALL_CHANGED: &str = "the tool call before it has changed, and only the program knows the new tool result";

/// Why a request that repeats a message of several chunks cannot be sent.
const CHUNKS_CHANGED: &str = "the message of the assistant that it repeats has changed, and has several chunks";

impl Substitutions {
    /// Adds what differs between a recorded response and a new one: the values that other requests need, and the message of
    /// the assistant.
    ///
    /// # Errors
    /// Why the program would send other requests: the new response lacks a value, or calls a tool for the first time.
    pub(super) fn add(
        &mut self,
        old: &RecordedResponse,
        new: &RecordedResponse,
        needed: &BTreeSet<String>,
    ) -> Result<(), String> {
        let new_content = normalized_content(new);
        for (pointer, value) in values(old) {
            if !needed.contains(&value) {
                continue;
            }
            let now = new_content.pointer(&pointer).and_then(|now| match now {
                Value::String(text) => Some(text.clone()),
                Value::Number(number) => Some(number.to_string()),
                _ => None,
            });
            match now {
                Some(now) if now == value => {}
                Some(now) => {
                    self.values.insert(value, now);
                }
                // Another member may have the value, too.
                None if self.values.contains_key(&value) => {}
                None => {
                    return Err(format!(
                        "the new response has no {pointer}, which a later request needs"
                    ));
                }
            }
        }
        let messages = (AssistantMessage::in_response(old), AssistantMessage::in_response(new));
        if let (Some(old), Some(new)) = messages
            && old != new
        {
            if old.calls.is_empty() && !new.calls.is_empty() {
                return Err("the model calls a tool now, and only the program knows the result".to_owned());
            }
            self.messages.insert(old, new);
        }
        Ok(())
    }

    /// The new value in place of a recorded one.
    pub(super) fn value(&self, old: &str) -> Option<&str> {
        self.values.get(old).map(String::as_str)
    }

    /// Whether a difference between two responses is only that of an id which these substitutions replace. The words of the
    /// assistant are no id.
    pub(crate) fn ids(&self) -> impl Fn(&Difference) -> bool {
        let is_id = |old: &str| !old.contains(char::is_whitespace);
        let replacer = Replacer::new(&self.values, is_id);
        let text = |value: &Option<Value>| match value {
            Some(Value::String(text)) => Some(text.clone()),
            Some(Value::Number(number)) => Some(number.to_string()),
            _ => None,
        };
        move |difference| {
            let mut names = difference.pointer.rsplit('/');
            let is_named = names.find(|name| !is_index(name)).is_some_and(is_named);
            match (text(&difference.old), text(&difference.new)) {
                (Some(old), Some(new)) if is_named && is_id(&old) && self.value(&old) == Some(&new) => true,
                (Some(old), Some(new)) => replacer.in_random_parts(&old) == Some(new),
                _ => false,
            }
        }
    }

    /// Whether a recorded response has a value that is replaced.
    pub(super) fn occur_in(&self, old: &RecordedResponse) -> bool {
        !self.values.is_empty() && values(old).values().any(|value| self.values.contains_key(value))
    }

    pub(crate) fn extend(&mut self, more: Self) {
        self.values.extend(more.values);
        self.messages.extend(more.messages);
    }

    /// Returns the request with the new values in place of the recorded ones. `messages` are the new messages of the assistant
    /// by their index in the request; the others are identified by their recorded text.
    ///
    /// # Errors
    /// Why the new request is unknown.
    pub(super) fn apply(
        &self,
        request: &RecordedRequest,
        messages: &HashMap<usize, AssistantMessage>,
    ) -> Result<RecordedRequest, &'static str> {
        let mut request = request.clone();
        let values = Replacer::new(&self.values, |_| true);
        request.path = values.in_path(&request.path);
        request.query = request.query.map(|query| values.in_query(&query));
        match &mut request.body {
            RecordedBody::Blob(blob) => self.replace_in_blob(blob, &values, messages)?,
            RecordedBody::Multipart(parts) => {
                for part in parts {
                    part.filename = part
                        .filename
                        .take()
                        .map(|name| values.in_text(&name, false).unwrap_or(name));
                    self.replace_in_blob(&mut part.content, &values, messages)?;
                }
            }
            RecordedBody::Messages(_) => {}
        }
        Ok(request)
    }

    fn replace_in_blob(
        &self,
        blob: &mut Blob,
        values: &Replacer<'_>,
        messages: &HashMap<usize, AssistantMessage>,
    ) -> Result<(), &'static str> {
        let Blob::Inline(bytes) = &*blob else { return Ok(()) };
        let new = match parse_json(bytes) {
            Some(old) => {
                let mut body = old.clone();
                // A message of the assistant whose source is known is not replaced again.
                let mut contents = Vec::new();
                if let Some(in_request) = body.get_mut("messages").and_then(Value::as_array_mut) {
                    for (index, message) in in_request.iter_mut().enumerate() {
                        self.replace_message(message, messages.get(&index))?;
                        if messages.contains_key(&index) {
                            contents.push((index, message["content"].take()));
                        }
                    }
                }
                values.in_json(&mut body, "");
                for (index, content) in contents {
                    body["messages"][index]["content"] = content;
                }
                (body != old).then(|| serde_json::to_vec(&PlainJson(&body)).unwrap_or_default())
            }
            None => std::str::from_utf8(bytes)
                .ok()
                .and_then(|text| values.in_text(text, false))
                .map(String::into_bytes),
        };
        if let Some(new) = new {
            *blob = Bytes::from(new).into();
        }
        Ok(())
    }

    fn replace_message(&self, message: &mut Value, new: Option<&AssistantMessage>) -> Result<(), &'static str> {
        let Some(old) = AssistantMessage::in_request(message) else {
            return Ok(());
        };
        let Some(new) = new.or_else(|| self.messages.get(&old)).filter(|new| **new != old) else {
            return Ok(());
        };
        if old.calls != new.calls {
            return Err(TOOL_CALL_CHANGED);
        }
        if !message["content"].is_string() {
            return Err(CHUNKS_CHANGED);
        }
        message["content"] = new.text.clone().into();
        Ok(())
    }
}

/// The messages of a chat request.
pub(super) fn messages_of(request: &RecordedRequest) -> Vec<Value> {
    let RecordedBody::Blob(Blob::Inline(bytes)) = &request.body else {
        return Vec::new();
    };
    let mut body = parse_json(bytes).unwrap_or_default();
    match body.get_mut("messages").map(Value::take) {
        Some(Value::Array(messages)) => messages,
        _ => Vec::new(),
    }
}

/// Replaces values in requests.
struct Replacer<'a> {
    values: &'a HashMap<String, String>,
    /// Finds the values that are replaced within other texts, too.
    parts: Option<AhoCorasick>,
    replacements: Vec<&'a str>,
}

impl<'a> Replacer<'a> {
    /// `counts_within` selects the values that are also replaced within other texts.
    fn new(values: &'a HashMap<String, String>, counts_within: impl Fn(&str) -> bool) -> Self {
        let is_within = |(old, _): &(&String, &String)| is_part(old) && counts_within(old);
        let parts: Vec<(&String, &String)> = values.iter().filter(is_within).collect();
        // A URL may contain an id: the longest match is replaced.
        let automaton = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .build(parts.iter().map(|(old, _)| old))
            .ok();
        Self {
            values,
            parts: automaton.filter(|_| !parts.is_empty()),
            replacements: parts.into_iter().map(|(_, new)| new.as_str()).collect(),
        }
    }

    /// The text with new values, or `None` if it has none of the old ones. `is_named` says that an id is expected.
    fn in_text(&self, text: &str, is_named: bool) -> Option<String> {
        if let Some(new) = self.values.get(text).filter(|_| is_named || is_unnamed(text)) {
            return Some(new.clone());
        }
        self.in_random_parts(text)
    }

    /// The text with new values in place of the random ones; `None` if it has none.
    fn in_random_parts(&self, text: &str) -> Option<String> {
        let parts = self.parts.as_ref().filter(|parts| parts.is_match(text))?;
        Some(parts.replace_all(text, &self.replacements))
    }

    fn in_path(&self, path: &str) -> String {
        let segments = path.split('/').map(|segment| {
            let decoded = percent_decode_str(segment).decode_utf8_lossy();
            match self.in_text(&decoded, true) {
                Some(new) => encode(&new),
                None => segment.to_owned(),
            }
        });
        segments.collect::<Vec<_>>().join("/")
    }

    fn in_query(&self, query: &str) -> String {
        let pairs = query.split('&').map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let decoded = percent_decode_str(&value.replace('+', " "))
                .decode_utf8_lossy()
                .into_owned();
            match self.in_text(&decoded, is_named(name)) {
                Some(new) => format!("{name}={}", encode(&new)),
                None => pair.to_owned(),
            }
        });
        pairs.collect::<Vec<_>>().join("&")
    }

    fn in_json(&self, value: &mut Value, name: &str) {
        match value {
            Value::Object(members) => members.iter_mut().for_each(|(name, value)| self.in_json(value, name)),
            Value::Array(items) => items.iter_mut().for_each(|item| self.in_json(item, name)),
            // The name of a model is a word of the program, unless it is random.
            Value::String(text) if name == "model" && !is_random(text) => {}
            Value::String(text) => {
                if let Some(new) = self.in_text(text, is_named(name)) {
                    *text = new;
                }
            }
            Value::Number(number) if is_named(name) => {
                if let Some(new) = self.values.get(&number.to_string()) {
                    *value = new.parse().map_or_else(|_| new.clone().into(), Value::Number);
                }
            }
            _ => {}
        }
    }
}

/// Encodes a text for a path or a query as clients do.
fn encode(text: &str) -> String {
    const UNRESERVED: &percent_encoding::AsciiSet =
        &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
    utf8_percent_encode(text, UNRESERVED).to_string()
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_replaced_id_is_no_change_of_words() {
        let mut substitutions = Substitutions::default();
        let pairs = [
            ("f1", "f22"),
            ("file-1a2b3c4d", "file-9f8e7d6c"),
            ("The old words.", "The new words."),
        ];
        let owned = pairs.map(|(old, new)| (old.to_owned(), new.to_owned()));
        substitutions.values.extend(owned);
        let is_id = substitutions.ids();
        let difference = |pointer: &str, old: Value, new: Value| Difference {
            pointer: pointer.to_owned(),
            old: Some(old),
            new: Some(new),
        };
        assert!(is_id(&difference("/output_files/0", "f1".into(), "f22".into())));
        assert!(!is_id(&difference("/content", "f1".into(), "f22".into())), "any word");
        assert!(!is_id(&difference("/output_file", "f1".into(), "f3".into())));
        let text = |id: &str| format!("Saved as file-{id}.").into();
        assert!(is_id(&difference("/content", text("1a2b3c4d"), text("9f8e7d6c"))));
        assert!(!is_id(&difference(
            "/content",
            "The old words.".into(),
            "The new words.".into()
        )));
    }

    /// Whether the request changes, or is unknown.
    fn affects(substitutions: &Substitutions, request: &RecordedRequest) -> bool {
        let new = substitutions.apply(request, &HashMap::new());
        new.map_or(true, |new| new != *request)
    }

    fn request(path: &str, body: &Value) -> RecordedRequest {
        RecordedRequest::new("POST", path, body.to_string())
    }

    fn response(body: &Value) -> RecordedResponse {
        RecordedResponse {
            status: StatusCode::OK,
            headers: vec![("content-type".to_owned(), "application/json".to_owned())],
            body: Bytes::from(body.to_string()).into(),
            timing_ms: vec![1],
            messages: Vec::new(),
        }
    }

    fn says(text: &str) -> Value {
        json!({ "choices": [{ "message": { "role": "assistant", "content": text } }] })
    }

    fn calls(city: &str) -> Value {
        let function = json!({ "name": "weather", "arguments": json!({ "city": city }).to_string() });
        json!({ "choices": [{ "message": { "role": "assistant", "content": "", "tool_calls": [{ "function": function }] } }] })
    }

    fn between(old: &Value, new: &Value) -> Substitutions {
        let (old, new) = (response(old), response(new));
        let mut substitutions = Substitutions::default();
        let needed = values(&old).into_values().collect();
        substitutions.add(&old, &new, &needed).unwrap();
        substitutions
    }

    fn body_of(request: &RecordedRequest) -> Value {
        let RecordedBody::Blob(Blob::Inline(bytes)) = &request.body else {
            panic!("{request:?}")
        };
        parse_json(bytes).unwrap()
    }

    #[test]
    fn new_ids_replace_recorded_ids_in_path_and_body() {
        let substitutions = between(&json!({ "id": "file-old" }), &json!({ "id": "file-new" }));
        let old = request("/v1/files/file-old", &json!({ "files": ["file-old", "file-older"] }));
        let new = substitutions.apply(&old, &HashMap::new()).unwrap();
        assert_eq!(new.path, "/v1/files/file-new");
        assert_eq!(body_of(&new), json!({ "files": ["file-new", "file-older"] }));
        assert!(affects(&substitutions, &old));
        assert!(!affects(&substitutions, &new));
    }

    #[test]
    fn random_values_are_replaced_wherever_they_stand() {
        let (old, new) = (
            "https://a.example/file-9f86d081884c?sig=1",
            "https://a.example/file-77aa00bb1122?sig=2",
        );
        let substitutions = between(
            &json!({ "id": "file-9f86d081884c", "url": old }),
            &json!({ "id": "file-77aa00bb1122", "url": new }),
        );
        let mut request = request(
            "/v1/files/file-9f86d081884c/url",
            &json!({ "document_url": old, "text": "Read file-9f86d081884c!" }),
        );
        request.query = Some("a=1&from=https%3A%2F%2Fa.example%2Ffile-9f86d081884c%3Fsig%3D1".to_owned());
        let replaced = substitutions.apply(&request, &HashMap::new()).unwrap();
        assert_eq!(replaced.path, "/v1/files/file-77aa00bb1122/url");
        assert_eq!(
            replaced.query.as_deref(),
            Some("a=1&from=https%3A%2F%2Fa.example%2Ffile-77aa00bb1122%3Fsig%3D2")
        );
        assert_eq!(
            body_of(&replaced),
            json!({ "document_url": new, "text": "Read file-77aa00bb1122!" })
        );
        request.body = RecordedBody::Blob(Bytes::from_static(b"{\"id\":\"file-9f86d081884c\"}\n{}\n").into());
        let RecordedBody::Blob(Blob::Inline(lines)) = substitutions.apply(&request, &HashMap::new()).unwrap().body
        else {
            panic!()
        };
        assert_eq!(lines, "{\"id\":\"file-77aa00bb1122\"}\n{}\n");
    }

    #[test]
    fn a_needed_value_that_is_missing_is_an_error() {
        let (old, new) = (
            response(&json!({ "output_file": "file-1" })),
            response(&json!({ "output_file": null })),
        );
        let mut substitutions = Substitutions::default();
        substitutions.add(&old, &new, &BTreeSet::new()).unwrap();
        let needed = BTreeSet::from(["file-1".to_owned()]);
        let error = substitutions.add(&old, &new, &needed).unwrap_err();
        assert_eq!(
            error,
            "the new response has no /output_file, which a later request needs"
        );
        let (old, new) = (response(&says("It is Paris.")), response(&calls("Paris")));
        let error = substitutions.add(&old, &new, &BTreeSet::new()).unwrap_err();
        assert!(error.starts_with("the model calls a tool now"), "{error}");
    }

    #[test]
    fn a_short_id_counts_only_where_an_id_is_expected() {
        let substitutions = between(&json!({ "id": "old" }), &json!({ "id": "new" }));
        let body = json!({ "text": "old", "file_id": "old", "ids": ["old"], "number": 1 });
        let new = substitutions
            .apply(&request("/v1/files/old", &body), &HashMap::new())
            .unwrap();
        assert_eq!(new.path, "/v1/files/new");
        assert_eq!(
            body_of(&new),
            json!({ "text": "old", "file_id": "new", "ids": ["new"], "number": 1 })
        );
        let numbers = between(&json!({ "id": 41 }), &json!({ "id": 42 }));
        let new = numbers.apply(
            &request("/v1/jobs/41", &json!({ "job_id": 41, "n": 41 })),
            &HashMap::new(),
        );
        assert_eq!(body_of(&new.unwrap()), json!({ "job_id": 42, "n": 41 }));
    }

    #[test]
    fn the_new_message_of_the_assistant_replaces_the_recorded_one() {
        let substitutions = between(&says("It is Paris."), &says("It is Lyon."));
        let messages = |text: &str| {
            json!({ "messages": [
                { "role": "user", "content": "It is Paris." },
                { "role": "assistant", "content": text },
            ] })
        };
        let new = substitutions
            .apply(&request("/v1/x", &messages("It is Paris.")), &HashMap::new())
            .unwrap();
        assert_eq!(body_of(&new), messages("It is Lyon."));
    }

    #[test]
    fn a_request_after_a_changed_tool_call_is_unknown() {
        let substitutions = between(&calls("Paris"), &calls("Lyon"));
        let message = calls("Paris")["choices"][0]["message"].clone();
        let old = request("/v1/x", &json!({ "messages": [message] }));
        assert_eq!(substitutions.apply(&old, &HashMap::new()), Err(TOOL_CALL_CHANGED));
        assert!(affects(&substitutions, &old));
    }

    #[test]
    fn substitutions_are_the_same_after_serialization() {
        let mut substitutions = between(&json!({ "id": "file-old" }), &json!({ "id": "file-new" }));
        substitutions.extend(between(&says("a"), &says("b")));
        let written = serde_json::to_value(&substitutions).unwrap();
        let read: Substitutions = serde_json::from_value(written.clone()).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), written);
        assert!(written["ids"].is_array() && written["said"].is_array(), "{written}");
    }
}
