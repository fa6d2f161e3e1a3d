//! Values that a later request repeats from an earlier response: ids, and the messages of the assistant.

use std::collections::HashMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::cassette::{Blob, RecordedBody, RecordedRequest, RecordedResponse};
use crate::cli::change::normalized_content;
use crate::http::{PlainJson, parse_json};

/// A shorter text could be any word, so it does not count as an id.
const SHORTEST_ID: usize = 6;

/// Returns every id in the responses, by its JSON pointer.
pub(super) fn ids(responses: &[RecordedResponse]) -> HashMap<String, String> {
    fn collect(value: &Value, pointer: &str, name: &str, ids: &mut HashMap<String, String>) {
        match value {
            Value::Object(members) => {
                for (name, value) in members {
                    collect(value, &format!("{pointer}/{name}"), name, ids);
                }
            }
            Value::Array(items) => {
                for (at, item) in items.iter().enumerate() {
                    collect(item, &format!("{pointer}/{at}"), name, ids);
                }
            }
            Value::String(id) if (name == "id" || name.ends_with("_id")) && id.len() >= SHORTEST_ID => {
                ids.insert(pointer.to_owned(), id.clone());
            }
            _ => {}
        }
    }
    let mut all = HashMap::new();
    for (number, response) in responses.iter().enumerate() {
        collect(&normalized_content(response), &number.to_string(), "", &mut all);
    }
    all
}

/// A message of the assistant: its text and its tool calls.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Hash, Serialize)]
pub(super) struct AssistantMessage {
    pub(super) text: String,
    /// The name and the arguments of each call.
    pub(super) calls: Vec<(String, String)>,
}

impl AssistantMessage {
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
    ids: HashMap<String, String>,
    messages: HashMap<AssistantMessage, AssistantMessage>,
}

/// [`Substitutions`] as lists of pairs: a message cannot be the name of a JSON member.
#[derive(Deserialize, Serialize)]
struct Pairs {
    ids: Vec<(String, String)>,
    #[serde(rename = "said")]
    messages: Vec<(AssistantMessage, AssistantMessage)>,
}

impl From<Pairs> for Substitutions {
    fn from(pairs: Pairs) -> Self {
        Self {
            ids: pairs.ids.into_iter().collect(),
            messages: pairs.messages.into_iter().collect(),
        }
    }
}

impl From<Substitutions> for Pairs {
    fn from(substitutions: Substitutions) -> Self {
        Self {
            ids: substitutions.ids.into_iter().collect(),
            messages: substitutions.messages.into_iter().collect(),
        }
    }
}

/// Why a request that follows a changed tool call cannot be sent.
const TOOL_CALL_CHANGED: &str = "the tool call before it has changed, and only the program knows the new tool result";

impl Substitutions {
    /// Returns what differs between the recorded and the new responses to one request.
    pub(super) fn between(old: &[RecordedResponse], new: &[RecordedResponse]) -> Self {
        let mut substitutions = Self::default();
        let new_ids = ids(new);
        for (pointer, old) in ids(old) {
            if let Some(new) = new_ids.get(&pointer).filter(|new| **new != old) {
                substitutions.ids.insert(old, new.clone());
            }
        }
        for (old, new) in old.iter().zip(new) {
            let messages = (AssistantMessage::in_response(old), AssistantMessage::in_response(new));
            if let (Some(old), Some(new)) = messages
                && old != new
            {
                substitutions.messages.insert(old, new);
            }
        }
        substitutions
    }

    pub(super) fn extend(&mut self, more: Self) {
        self.ids.extend(more.ids);
        self.messages.extend(more.messages);
    }

    /// Returns the request with the new values in place of the recorded ones.
    ///
    /// # Errors
    /// Why the new request is unknown.
    pub(super) fn apply(&self, request: &RecordedRequest) -> Result<RecordedRequest, &'static str> {
        let mut request = request.clone();
        for (old, new) in &self.ids {
            request.path = request.path.replace(old, new);
            request.query = request.query.map(|query| query.replace(old, new));
        }
        let RecordedBody::Blob(Blob::Inline(bytes)) = &request.body else {
            return Ok(request);
        };
        let Some(old) = parse_json(bytes) else {
            return Ok(request);
        };
        let mut body = old.clone();
        if let Some(messages) = body.get_mut("messages").and_then(Value::as_array_mut) {
            for message in messages {
                self.replace_message(message)?;
            }
        }
        self.replace_ids(&mut body);
        if body != old {
            let text = serde_json::to_vec(&PlainJson(&body)).unwrap_or_default();
            request.body = RecordedBody::Blob(Bytes::from(text).into());
        }
        Ok(request)
    }

    /// Whether these substitutions change the request, or make it unknown.
    pub(crate) fn affects(&self, request: &RecordedRequest) -> bool {
        self.apply(request).map_or(true, |new| new != *request)
    }

    fn replace_message(&self, message: &mut Value) -> Result<(), &'static str> {
        if message["role"] != "assistant" {
            return Ok(());
        }
        let Some(old) = AssistantMessage::read(message) else {
            return Ok(());
        };
        let Some(new) = self.messages.get(&old) else {
            return Ok(());
        };
        if old.calls != new.calls {
            return Err(TOOL_CALL_CHANGED);
        }
        if message["content"].is_string() {
            message["content"] = new.text.clone().into();
        }
        Ok(())
    }

    fn replace_ids(&self, value: &mut Value) {
        match value {
            Value::Object(members) => members.values_mut().for_each(|value| self.replace_ids(value)),
            Value::Array(items) => items.iter_mut().for_each(|item| self.replace_ids(item)),
            Value::String(text) => {
                if let Some(new) = self.ids.get(text.as_str()) {
                    text.clone_from(new);
                }
            }
            _ => {}
        }
    }
}

/// Returns the texts of a request that can be ids of earlier responses, and its messages of the assistant.
pub(super) fn references(request: &RecordedRequest) -> (Vec<String>, Vec<AssistantMessage>) {
    fn collect(value: &Value, texts: &mut Vec<String>) {
        match value {
            Value::Object(members) => members.values().for_each(|value| collect(value, texts)),
            Value::Array(items) => items.iter().for_each(|item| collect(item, texts)),
            Value::String(text) => texts.push(text.clone()),
            _ => {}
        }
    }
    let mut texts: Vec<String> = request.path.split('/').map(str::to_owned).collect();
    let mut messages = Vec::new();
    if let RecordedBody::Blob(Blob::Inline(bytes)) = &request.body
        && let Some(body) = parse_json(bytes)
    {
        collect(&body, &mut texts);
        let all = body["messages"].as_array().into_iter().flatten();
        messages.extend(
            all.filter(|message| message["role"] == "assistant")
                .filter_map(AssistantMessage::read),
        );
    }
    (texts, messages)
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use serde_json::json;

    use super::*;

    fn request(path: &str, body: &Value) -> RecordedRequest {
        RecordedRequest {
            method: "POST".to_owned(),
            path: path.to_owned(),
            query: None,
            content_type: None,
            body: RecordedBody::Blob(Bytes::from(body.to_string()).into()),
        }
    }

    fn response(body: &Value) -> RecordedResponse {
        RecordedResponse {
            status: StatusCode::OK,
            headers: vec![("content-type".to_owned(), "application/json".to_owned())],
            body: Bytes::from(body.to_string()).into(),
            timing_ms: vec![1],
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
        Substitutions::between(&[response(old)], &[response(new)])
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
        let new = substitutions.apply(&old).unwrap();
        assert_eq!(new.path, "/v1/files/file-new");
        assert_eq!(body_of(&new), json!({ "files": ["file-new", "file-older"] }));
        assert!(substitutions.affects(&old));
        assert!(!substitutions.affects(&new));
    }

    #[test]
    fn a_short_text_is_not_an_id() {
        let substitutions = between(&json!({ "id": "old" }), &json!({ "id": "new" }));
        assert!(!substitutions.affects(&request("/v1/files/old", &json!({}))));
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
            .apply(&request("/v1/x", &messages("It is Paris.")))
            .unwrap();
        assert_eq!(body_of(&new), messages("It is Lyon."));
    }

    #[test]
    fn a_request_after_a_changed_tool_call_is_unknown() {
        let substitutions = between(&calls("Paris"), &calls("Lyon"));
        let message = calls("Paris")["choices"][0]["message"].clone();
        let old = request("/v1/x", &json!({ "messages": [message] }));
        assert_eq!(substitutions.apply(&old), Err(TOOL_CALL_CHANGED));
        assert!(substitutions.affects(&old));
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
