//! What an answer took: tokens, pages, seconds of sound; of which model.

use std::ops::AddAssign;

use serde_json::Value;

use crate::cassette::{Blob, Cassette, RecordedBody, RecordedRequest, RecordedResponse};
use crate::http::{parse_events, parse_json};

/// What answers took, as the API counted it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Usage {
    /// With those that were cached.
    pub(crate) input_tokens: u64,
    pub(crate) cached_tokens: u64,
    pub(crate) output_tokens: u64,
    /// Of documents that were read.
    pub(crate) pages: u64,
    /// Those of them that were annotated too.
    pub(crate) annotated_pages: u64,
    pub(crate) audio_seconds: u64,
    /// Of text that was spoken.
    pub(crate) characters: u64,
}

impl AddAssign for Usage {
    fn add_assign(&mut self, more: Self) {
        self.input_tokens += more.input_tokens;
        self.cached_tokens += more.cached_tokens;
        self.output_tokens += more.output_tokens;
        self.pages += more.pages;
        self.annotated_pages += more.annotated_pages;
        self.audio_seconds += more.audio_seconds;
        self.characters += more.characters;
    }
}

impl Usage {
    /// Of one response; its body and that of the request must be there. `None` where the API counted nothing.
    pub(crate) fn of(request: &RecordedRequest, response: &RecordedResponse) -> Option<Self> {
        let counted = answer(response).and_then(|answer| Self::counted(&answer, request));
        // Speech is counted by what is spoken, and its answer does not say how much that is.
        let spoken = || {
            let text = member(request, "input")?;
            let is_speech = request.path.ends_with("/audio/speech") && response.status.is_success();
            is_speech.then(|| Self {
                characters: text.chars().count() as u64,
                ..Self::default()
            })
        };
        spoken().or(counted)
    }

    fn counted(answer: &Value, request: &RecordedRequest) -> Option<Self> {
        let number = |value: &Value| value.as_u64().unwrap_or_default();
        let usage = &answer["usage"];
        if usage.is_object() {
            let either = |one: &str, other: &str| number(usage.get(one).unwrap_or(&usage[other]));
            return Some(Self {
                // What connectors have read counts as input.
                input_tokens: either("prompt_tokens", "input_tokens") + number(&usage["connector_tokens"]),
                cached_tokens: number(&usage["prompt_tokens_details"]["cached_tokens"])
                    .max(number(&usage["input_tokens_details"]["cached_tokens"]))
                    .max(number(&usage["num_cached_tokens"])),
                output_tokens: either("completion_tokens", "output_tokens"),
                audio_seconds: number(&usage["prompt_audio_seconds"]),
                ..Self::default()
            });
        }
        let pages = answer["usage_info"]["pages_processed"].as_u64()?;
        let is_annotated = ["bbox_annotation_format", "document_annotation_format"]
            .iter()
            .any(|name| body(request).is_some_and(|body| !body[*name].is_null()));
        Some(Self {
            pages: if is_annotated { 0 } else { pages },
            annotated_pages: if is_annotated { pages } else { 0 },
            ..Self::default()
        })
    }

    /// All tokens.
    pub(crate) fn tokens(&self) -> u64 {
        self.input_tokens + self.output_tokens
    }
}

/// The model that a cassette's answers are of: as it was asked for, else as they name it.
pub(crate) fn model_of(cassette: &Cassette) -> Option<String> {
    let named = |value: &Value| value["model"].as_str().map(str::to_owned);
    let said = |answer: Value| {
        let outputs = answer["outputs"].as_array().into_iter().flatten();
        named(&answer).or_else(|| outputs.rev().find_map(named))
    };
    member(&cassette.request, "model").or_else(|| cassette.responses.iter().filter_map(answer).find_map(said))
}

/// A member of a JSON body that is a text, or a part of a form.
fn member(request: &RecordedRequest, name: &str) -> Option<String> {
    match &request.body {
        RecordedBody::Blob(_) => body(request)?[name].as_str().map(str::to_owned),
        RecordedBody::Multipart(parts) => parts.iter().find_map(|part| match &part.content {
            Blob::Inline(bytes) if part.name == name => String::from_utf8(bytes.to_vec()).ok(),
            _ => None,
        }),
    }
}

fn body(request: &RecordedRequest) -> Option<Value> {
    match &request.body {
        RecordedBody::Blob(Blob::Inline(bytes)) => parse_json(bytes),
        _ => None,
    }
}

/// The JSON of an answer; of a stream the last event that counts anything.
fn answer(response: &RecordedResponse) -> Option<Value> {
    let Blob::Inline(bytes) = &response.body else {
        return None;
    };
    if !response.is_event_stream() {
        return parse_json(bytes);
    }
    let counts = |value: &Value| value["usage"].is_object() || value["usage_info"].is_object();
    parse_events(bytes).iter().rev().find_map(|event| {
        let event = parse_json(event.data.as_bytes())?;
        // The event that ends a response holds it as a member.
        let inner = &event["response"];
        if counts(inner) {
            Some(inner.clone())
        } else {
            Some(event).filter(counts)
        }
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::StatusCode;

    use super::*;

    fn asked(path: &str, body: &str) -> RecordedRequest {
        RecordedRequest {
            method: "POST".to_owned(),
            path: path.to_owned(),
            query: None,
            body: RecordedBody::Blob(Bytes::copy_from_slice(body.as_bytes()).into()),
        }
    }

    fn answered(kind: &str, body: &str) -> RecordedResponse {
        RecordedResponse {
            status: StatusCode::OK,
            headers: vec![("content-type".to_owned(), kind.to_owned())],
            body: Bytes::copy_from_slice(body.as_bytes()).into(),
            timing_ms: vec![1],
        }
    }

    #[test]
    fn every_kind_of_answer_is_counted() {
        let json = "application/json";
        let of = |path: &str, request: &str, kind: &str, response: &str| {
            Usage::of(&asked(path, request), &answered(kind, response))
        };
        let chat = r#"{"usage":{"prompt_tokens":7,"completion_tokens":3,"prompt_tokens_details":{"cached_tokens":2}}}"#;
        let tokens = Usage {
            input_tokens: 7,
            cached_tokens: 2,
            output_tokens: 3,
            ..Usage::default()
        };
        assert_eq!(of("/v1/chat/completions", "{}", json, chat), Some(tokens));
        let stream = format!("data: {{\"choices\":[]}}\n\ndata: {chat}\n\ndata: [DONE]\n\n");
        assert_eq!(
            of("/v1/chat/completions", "{}", "text/event-stream", &stream),
            Some(tokens)
        );
        let responses = r#"event: response.completed
data: {"response":{"usage":{"input_tokens":7,"output_tokens":3,"input_tokens_details":{"cached_tokens":2}}}}

"#;
        assert_eq!(of("/v1/responses", "{}", "text/event-stream", responses), Some(tokens));
        let connected = r#"{"usage":{"prompt_tokens":7,"completion_tokens":3,"connector_tokens":90}}"#;
        let connected = of("/v1/conversations", "{}", json, connected).map(|usage| usage.input_tokens);
        assert_eq!(connected, Some(97));
        let read = r#"{"usage_info":{"pages_processed":4,"doc_size_bytes":1}}"#;
        let pages = of("/v1/ocr", "{}", json, read).map(|usage| (usage.pages, usage.annotated_pages));
        assert_eq!(pages, Some((4, 0)));
        let format = r#"{"bbox_annotation_format":{"type":"json_schema"}}"#;
        let pages = of("/v1/ocr", format, json, read).map(|usage| (usage.pages, usage.annotated_pages));
        assert_eq!(pages, Some((0, 4)));
        let heard = r#"{"usage":{"prompt_audio_seconds":12,"prompt_tokens":3,"completion_tokens":9}}"#;
        let seconds = of("/v1/audio/transcriptions", "", json, heard).map(|usage| usage.audio_seconds);
        assert_eq!(seconds, Some(12));
        let spoken = of(
            "/v1/audio/speech",
            r#"{"input":"Grüße"}"#,
            json,
            r#"{"audio_data":"AA=="}"#,
        );
        assert_eq!(spoken.map(|usage| usage.characters), Some(5));
        assert_eq!(of("/v1/models", "", json, r#"{"data":[]}"#), None);
    }
}
