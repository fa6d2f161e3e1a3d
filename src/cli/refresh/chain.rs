//! What later requests take over from earlier answers: ids, and what the assistant has said.

use std::collections::HashMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::cassette::{RecordedBody, RecordedRequest, RecordedResponse};
use crate::cli::change::meaning;
use crate::http::parse_json;

/// An id shorter than this may be any word.
const SHORTEST_ID: usize = 6;

/// Every id in an answer, by where it stands.
pub(super) fn ids(responses: &[RecordedResponse]) -> HashMap<String, String> {
    fn walk(value: &Value, pointer: &str, name: &str, found: &mut HashMap<String, String>) {
        match value {
            Value::Object(members) => {
                for (name, value) in members {
                    walk(value, &format!("{pointer}/{name}"), name, found);
                }
            }
            Value::Array(items) => {
                for (at, item) in items.iter().enumerate() {
                    walk(item, &format!("{pointer}/{at}"), name, found);
                }
            }
            Value::String(id) if (name == "id" || name.ends_with("_id")) && id.len() >= SHORTEST_ID => {
                found.insert(pointer.to_owned(), id.clone());
            }
            _ => {}
        }
    }
    let mut found = HashMap::new();
    for (number, response) in responses.iter().enumerate() {
        walk(&meaning(response), &number.to_string(), "", &mut found);
    }
    found
}

/// What an assistant said: its text, and which tools it called with what.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Hash, Serialize)]
pub(super) struct Said {
    pub(super) text: String,
    pub(super) calls: Vec<(String, String)>,
}

impl Said {
    /// `None` when it is nothing that could be told again.
    fn of(message: &Value) -> Option<Self> {
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
            // As a stream that was put together has them.
            Value::Object(calls) => calls.values().map(call).collect(),
            _ => Vec::new(),
        };
        (!text.is_empty() || !calls.is_empty()).then_some(Self { text, calls })
    }

    /// What the first choice of an answer says.
    pub(super) fn in_answer(response: &RecordedResponse) -> Option<Self> {
        let meaning = meaning(response);
        let choice = meaning["choices"].get(0)?;
        Self::of(if choice["message"].is_object() {
            &choice["message"]
        } else {
            choice
        })
    }
}

/// What has changed in answers that were asked for again.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(from = "Pairs", into = "Pairs")]
pub(crate) struct Changes {
    ids: HashMap<String, String>,
    said: HashMap<Said, Said>,
}

/// Changes as they are written: what an assistant said is no name of a JSON member.
#[derive(Deserialize, Serialize)]
struct Pairs {
    ids: Vec<(String, String)>,
    said: Vec<(Said, Said)>,
}

impl From<Pairs> for Changes {
    fn from(pairs: Pairs) -> Self {
        Self {
            ids: pairs.ids.into_iter().collect(),
            said: pairs.said.into_iter().collect(),
        }
    }
}

impl From<Changes> for Pairs {
    fn from(changes: Changes) -> Self {
        Self {
            ids: changes.ids.into_iter().collect(),
            said: changes.said.into_iter().collect(),
        }
    }
}

/// Why a request cannot follow an answer that has changed.
pub(super) const OTHER_CALL: &str =
    "the tool call before it has changed, and what the tool returns for that is the program's to say";

impl Changes {
    /// Between two answers to the same question.
    pub(super) fn between(old: &[RecordedResponse], new: &[RecordedResponse]) -> Self {
        let mut changes = Self::default();
        let new_ids = ids(new);
        for (pointer, old) in ids(old) {
            if let Some(new) = new_ids.get(&pointer).filter(|new| **new != old) {
                changes.ids.insert(old, new.clone());
            }
        }
        for (old, new) in old.iter().zip(new) {
            if let (Some(old), Some(new)) = (Said::in_answer(old), Said::in_answer(new))
                && old != new
            {
                changes.said.insert(old, new);
            }
        }
        changes
    }

    pub(super) fn extend(&mut self, more: Self) {
        self.ids.extend(more.ids);
        self.said.extend(more.said);
    }

    /// The request as it is asked after those answers.
    ///
    /// # Errors
    /// Why it cannot be known.
    pub(super) fn apply(&self, request: &RecordedRequest) -> Result<RecordedRequest, &'static str> {
        let mut request = request.clone();
        for (old, new) in &self.ids {
            request.path = request.path.replace(old, new);
            request.query = request.query.map(|query| query.replace(old, new));
        }
        let RecordedBody::Blob(crate::cassette::Blob::Inline(bytes)) = &request.body else {
            return Ok(request);
        };
        let Some(old) = parse_json(bytes) else {
            return Ok(request);
        };
        let mut body = old.clone();
        if let Some(messages) = body.get_mut("messages").and_then(Value::as_array_mut) {
            for message in messages {
                self.follow(message)?;
            }
        }
        self.rename(&mut body);
        if body != old {
            let text = serde_json::to_vec(&crate::http::PlainJson(&body)).unwrap_or_default();
            request.body = RecordedBody::Blob(Bytes::from(text).into());
        }
        Ok(request)
    }

    /// Whether this request takes something over from those answers.
    pub(crate) fn touch(&self, request: &RecordedRequest) -> bool {
        self.apply(request).map_or(true, |asked| asked != *request)
    }

    fn follow(&self, message: &mut Value) -> Result<(), &'static str> {
        if message["role"] != "assistant" {
            return Ok(());
        }
        let Some(new) = Said::of(message).and_then(|said| self.said.get(&said)) else {
            return Ok(());
        };
        if Said::of(message).is_some_and(|said| said.calls != new.calls) {
            return Err(OTHER_CALL);
        }
        if message["content"].is_string() {
            message["content"] = new.text.clone().into();
        }
        Ok(())
    }

    fn rename(&self, value: &mut Value) {
        match value {
            Value::Object(members) => members.values_mut().for_each(|value| self.rename(value)),
            Value::Array(items) => items.iter_mut().for_each(|item| self.rename(item)),
            Value::String(text) => {
                if let Some(new) = self.ids.get(text.as_str()) {
                    text.clone_from(new);
                }
            }
            _ => {}
        }
    }
}

/// What a request takes over from answers: the words by which it can be recognised.
pub(super) fn mentions(request: &RecordedRequest) -> (Vec<String>, Vec<Said>) {
    fn strings(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(members) => members.values().for_each(|value| strings(value, found)),
            Value::Array(items) => items.iter().for_each(|item| strings(item, found)),
            Value::String(text) => found.push(text.clone()),
            _ => {}
        }
    }
    let mut ids: Vec<String> = request.path.split('/').map(str::to_owned).collect();
    let mut said = Vec::new();
    if let RecordedBody::Blob(crate::cassette::Blob::Inline(bytes)) = &request.body
        && let Some(body) = parse_json(bytes)
    {
        strings(&body, &mut ids);
        let messages = body["messages"].as_array().into_iter().flatten();
        said.extend(
            messages
                .filter(|message| message["role"] == "assistant")
                .filter_map(Said::of),
        );
    }
    (ids, said)
}
