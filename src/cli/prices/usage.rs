//! Reads the usage and the model of a recording: tokens, pages, seconds of audio.

use std::ops::AddAssign;

use serde::Deserialize;
use serde_json::Value;

use crate::cassette::{Blob, Cassette, RecordedBody, RecordedRequest, RecordedResponse};
use crate::cli::messages::event_with_usage;
use crate::http::{StreamFormat, parse_events_with, parse_json};

/// The usage of one or more responses, as counted by the API.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Usage {
    /// Includes the cached tokens.
    pub(crate) input_tokens: u64,
    pub(crate) cached_tokens: u64,
    pub(crate) output_tokens: u64,
    /// The pages of documents without annotations.
    pub(crate) pages: u64,
    /// The pages of documents with annotations.
    pub(crate) annotated_pages: u64,
    pub(crate) audio_seconds: u64,
    /// The characters of text for speech synthesis.
    pub(crate) characters: u64,
}

impl AddAssign for Usage {
    fn add_assign(&mut self, more: Self) {
        self.input_tokens = self.input_tokens.saturating_add(more.input_tokens);
        self.cached_tokens = self.cached_tokens.saturating_add(more.cached_tokens);
        self.output_tokens = self.output_tokens.saturating_add(more.output_tokens);
        self.pages = self.pages.saturating_add(more.pages);
        self.annotated_pages = self.annotated_pages.saturating_add(more.annotated_pages);
        self.audio_seconds = self.audio_seconds.saturating_add(more.audio_seconds);
        self.characters = self.characters.saturating_add(more.characters);
    }
}

impl Usage {
    /// Reads the usage of one response. The bodies of request and response must be inline. `None` when there is no
    /// usage.
    pub(crate) fn of(request: &RecordedRequest, response: &RecordedResponse) -> Option<Self> {
        Self::of_speech(request, response).or_else(|| Self::reported(&Reported::by(response)?, request))
    }

    /// [`of`](Self::of) with the parsed JSON of a response that is no stream.
    pub(crate) fn in_json(request: &RecordedRequest, response: &RecordedResponse, json: &Value) -> Option<Self> {
        Self::of_speech(request, response).or_else(|| Self::reported(&Reported::in_json(json), request))
    }

    /// Speech is charged by the characters of the request, and the response has no usage.
    fn of_speech(request: &RecordedRequest, response: &RecordedResponse) -> Option<Self> {
        if request.path.ends_with("/audio/speech")
            && response.status.is_success()
            && let Some(text) = member(request, "input")
        {
            return Some(Self {
                characters: text.chars().count() as u64,
                ..Self::default()
            });
        }
        None
    }

    /// Reads the usage that the API reports in a response.
    fn reported(reported: &Reported, request: &RecordedRequest) -> Option<Self> {
        let number = |value: &Value| value.as_u64().unwrap_or_default();
        let usage = &reported.usage;
        if usage.is_object() {
            let any = |names: [&str; 3]| names.iter().find_map(|name| usage.get(*name)).map_or(0, number);
            return Some(Self {
                // The API charges the tokens of connectors as input.
                input_tokens: any(["prompt_tokens", "input_tokens", "inputTokens"])
                    .saturating_add(number(&usage["connector_tokens"])),
                cached_tokens: number(&usage["prompt_tokens_details"]["cached_tokens"])
                    .max(number(&usage["input_tokens_details"]["cached_tokens"]))
                    .max(number(&usage["num_cached_tokens"])),
                output_tokens: any(["completion_tokens", "output_tokens", "outputTokens"]),
                audio_seconds: number(&usage["prompt_audio_seconds"]),
                ..Self::default()
            });
        }
        let pages = reported.usage_info["pages_processed"].as_u64()?;
        let is_annotated = body(request).is_some_and(|body| {
            ["bbox_annotation_format", "document_annotation_format"]
                .iter()
                .any(|name| !body[*name].is_null())
        });
        Some(Self {
            pages: if is_annotated { 0 } else { pages },
            annotated_pages: if is_annotated { pages } else { 0 },
            ..Self::default()
        })
    }

    /// Returns the input and output tokens together.
    pub(crate) fn tokens(&self) -> u64 {
        self.input_tokens.saturating_add(self.output_tokens)
    }
}

/// The members of a response that report usage. The others, such as vectors, are skipped.
#[derive(Default, Deserialize)]
struct Reported {
    #[serde(default)]
    usage: Value,
    #[serde(default)]
    usage_info: Value,
}

impl Reported {
    fn by(response: &RecordedResponse) -> Option<Self> {
        let Blob::Inline(bytes) = &response.body else {
            return None;
        };
        if response.stream_format().is_some() || !response.messages.is_empty() {
            return json_with_usage(response).as_ref().map(Self::in_json);
        }
        let is_object = bytes.trim_ascii_start().starts_with(b"{");
        serde_json::from_slice(bytes).ok().filter(|_| is_object)
    }

    fn in_json(json: &Value) -> Self {
        Self {
            usage: json["usage"].clone(),
            usage_info: json["usage_info"].clone(),
        }
    }
}

/// Returns the model that the request names, else the model that a response names.
pub(crate) fn model_of(cassette: &Cassette) -> Option<String> {
    member(&cassette.request, "model").or_else(|| model_of_responses(cassette))
}

/// [`model_of`] with the parsed JSON of the request.
pub(crate) fn model_in(request: &Value, cassette: &Cassette) -> Option<String> {
    let named = request["model"].as_str();
    named.map(str::to_owned).or_else(|| model_of_responses(cassette))
}

fn model_of_responses(cassette: &Cassette) -> Option<String> {
    let named = |value: &Value| value["model"].as_str().map(str::to_owned);
    let in_response = |json: Value| {
        let outputs = json["outputs"].as_array().into_iter().flatten();
        named(&json).or_else(|| outputs.rev().find_map(named))
    };
    let responses = cassette.responses.iter();
    responses.filter_map(json_with_usage).find_map(in_response)
}

/// Returns a text member of a JSON body, or a part of a form.
fn member(request: &RecordedRequest, name: &str) -> Option<String> {
    match &request.body {
        RecordedBody::Blob(_) => body(request)?[name].as_str().map(str::to_owned),
        RecordedBody::Multipart(parts) => parts.iter().find_map(|part| match &part.content {
            Blob::Inline(bytes) if part.name == name => String::from_utf8(bytes.to_vec()).ok(),
            _ => None,
        }),
        RecordedBody::Messages(_) => {
            let query = request.query.as_deref().unwrap_or_default();
            let mut pairs = form_urlencoded::parse(query.as_bytes());
            pairs
                .find(|(pair, _)| pair == name)
                .map(|(_, value)| value.into_owned())
        }
    }
}

fn body(request: &RecordedRequest) -> Option<Value> {
    match &request.body {
        RecordedBody::Blob(Blob::Inline(bytes)) => serde_json::from_slice(bytes).ok(),
        _ => None,
    }
}

/// Returns the JSON of a response; for a stream, the last event with usage.
fn json_with_usage(response: &RecordedResponse) -> Option<Value> {
    if !response.messages.is_empty() {
        return event_with_usage(response);
    }
    let Blob::Inline(bytes) = &response.body else {
        return None;
    };
    let events = match response.stream_format() {
        None => return parse_json(bytes),
        Some(StreamFormat::Events) => parse_events_with(bytes, may_have_usage),
        Some(format) => format.parse(bytes),
    };
    let has_usage = |value: &Value| value["usage"].is_object() || value["usage_info"].is_object();
    events.iter().rev().find_map(|event| {
        let event = parse_json(event.data.as_bytes())?;
        // The last event of the Responses API has the response as a member.
        let inner = &event["response"];
        if has_usage(inner) {
            Some(inner.clone())
        } else {
            Some(event).filter(has_usage)
        }
    })
}

/// Whether an event may have usage. Most have none. The name of a member can be written with escapes.
fn may_have_usage(event: &[u8]) -> bool {
    memchr::memmem::find(event, b"usage").is_some() || memchr::memmem::find(event, b"\\u").is_some()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::StatusCode;

    use super::*;

    fn request(path: &str, body: &str) -> RecordedRequest {
        RecordedRequest::new("POST", path, body.to_owned())
    }

    fn response(kind: &str, body: &str) -> RecordedResponse {
        RecordedResponse {
            status: StatusCode::OK,
            headers: vec![("content-type".to_owned(), kind.to_owned())],
            body: Bytes::copy_from_slice(body.as_bytes()).into(),
            timing_ms: vec![1],
            messages: Vec::new(),
        }
    }

    #[test]
    fn the_usage_of_every_endpoint_is_read() {
        let json = "application/json";
        let of = |path: &str, request_body: &str, content_type: &str, response_body: &str| {
            Usage::of(&request(path, request_body), &response(content_type, response_body))
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
        let connectors = r#"{"usage":{"prompt_tokens":7,"completion_tokens":3,"connector_tokens":90}}"#;
        let input = of("/v1/conversations", "{}", json, connectors).map(|usage| usage.input_tokens);
        assert_eq!(input, Some(97));
        let document = r#"{"usage_info":{"pages_processed":4,"doc_size_bytes":1}}"#;
        let pages = of("/v1/ocr", "{}", json, document).map(|usage| (usage.pages, usage.annotated_pages));
        assert_eq!(pages, Some((4, 0)));
        let format = r#"{"bbox_annotation_format":{"type":"json_schema"}}"#;
        let pages = of("/v1/ocr", format, json, document).map(|usage| (usage.pages, usage.annotated_pages));
        assert_eq!(pages, Some((0, 4)));
        let transcription = r#"{"usage":{"prompt_audio_seconds":12,"prompt_tokens":3,"completion_tokens":9}}"#;
        let seconds = of("/v1/audio/transcriptions", "", json, transcription).map(|usage| usage.audio_seconds);
        assert_eq!(seconds, Some(12));
        let speech = of(
            "/v1/audio/speech",
            r#"{"input":"Grüße"}"#,
            json,
            r#"{"audio_data":"AA=="}"#,
        );
        assert_eq!(speech.map(|usage| usage.characters), Some(5));
        assert_eq!(of("/v1/models", "", json, r#"{"data":[]}"#), None);
        let most = format!(
            r#"{{"usage":{{"prompt_tokens":{0},"completion_tokens":{0},"connector_tokens":{0}}}}}"#,
            u64::MAX
        );
        let mut usage = of("/v1/x", "{}", json, &most).unwrap();
        usage += usage;
        assert_eq!((usage.tokens(), usage.output_tokens), (u64::MAX, u64::MAX));
    }
}
