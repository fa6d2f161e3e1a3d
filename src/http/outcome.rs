//! Tells an error from a result in the JSON of a response or of an event.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

use crate::diff::cut;
use crate::http::api_error::message_in;
use crate::http::sse::Event;

/// The members of a response or an event that tell an error from a result.
#[derive(Default, Deserialize)]
pub(crate) struct Outcome {
    #[serde(default)]
    object: Value,
    #[serde(default, rename = "type")]
    kind: Value,
    #[serde(default)]
    status: Value,
    #[serde(default)]
    choices: Option<Choices>,
    #[serde(default)]
    error: Value,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Choices {
    Listed(Vec<Choice>),
    Other(IgnoredAny),
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    finish_reason: Value,
}

impl Outcome {
    /// The outcome of a JSON text; of anything else, one without members.
    pub(crate) fn of(text: &[u8]) -> Self {
        serde_json::from_slice(text).unwrap_or_default()
    }

    /// The outcome of an event. The name of an event takes the place of its member `type`.
    pub(crate) fn of_event(event: &Event) -> Self {
        let mut outcome = Self::of(event.data.as_bytes());
        if let Some(name) = event.name.as_deref().filter(|name| is_error_event(Some(name))) {
            outcome.kind = name.into();
        }
        outcome
    }

    /// The member `type`.
    pub(crate) fn kind(&self) -> Option<&str> {
        self.kind.as_str()
    }

    /// Whether this is a piece of a streamed completion.
    pub(crate) fn is_chunk(&self) -> bool {
        self.object == "chat.completion.chunk"
    }

    /// Whether a choice has a `finish_reason`.
    pub(crate) fn is_finished(&self) -> bool {
        self.choices().iter().any(|choice| is_set(&choice.finish_reason))
    }

    fn choices(&self) -> &[Choice] {
        match &self.choices {
            Some(Choices::Listed(choices)) => choices,
            _ => &[],
        }
    }

    /// Why the text with this outcome is an error, if it is one.
    pub(crate) fn error(&self, text: &[u8]) -> Option<String> {
        if self.choices().iter().any(|choice| choice.finish_reason == "error") {
            return Some("finish_reason \"error\"".to_owned());
        }
        let is_failed = self.object == "response" && self.status == "failed";
        if is_failed || is_error_event(self.kind()) || self.is_envelope(text) {
            return Some(format!(
                "an error in a response with status 200: {}",
                cut(&message_in(text), 200)
            ));
        }
        None
    }

    /// Whether this is the API's form of an error, `{"object":"error","message":…,"type":…,"code":…}`, or an object with
    /// the member `error` and no result beside it.
    pub(crate) fn is_envelope(&self, text: &[u8]) -> bool {
        let object = self.object.as_str().unwrap_or_default();
        object.eq_ignore_ascii_case("error") || (is_set(&self.error) && has_no_result(text))
    }
}

fn is_set(value: &Value) -> bool {
    !matches!(value, Value::Null | Value::Bool(false))
}

/// Whether all members of an object are those of errors.
fn has_no_result(text: &[u8]) -> bool {
    const MEMBERS: [&str; 12] = [
        "code",
        "detail",
        "error",
        "message",
        "object",
        "param",
        "raw_status_code",
        "reason",
        "request_id",
        "status",
        "status_code",
        "type",
    ];
    let object: Result<Map<String, Value>, _> = serde_json::from_slice(text);
    object.is_ok_and(|object| object.keys().all(|name| MEMBERS.contains(&name.as_str())))
}

fn is_error_event(kind: Option<&str>) -> bool {
    matches!(
        kind,
        Some("error" | "conversation.response.error" | "response.failed" | "response.error")
    )
}
