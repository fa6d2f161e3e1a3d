//! Decides whether a response is complete and worth recording.

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, header};
use serde::de::IgnoredAny;
use serde_json::Value;

use crate::cassette::RecordedRequest;
use crate::diff::cut;
use crate::http::{
    EVENT_TYPE, Event, EventSplitter, METRICS, Outcome, StreamFormat, content_type, is_event_stream, is_json,
    parse_frames,
};

/// How a recorder treats a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Assessment {
    /// The complete response to the request. It is recorded.
    Lasting,
    /// An error that depends on the API key, a limit, an outage or a header that is not part of the request key. It is
    /// recorded only on request. The text says what it is.
    Transient(String),
    /// A part of a response, or none. It is never recorded. The text says what is missing.
    Incomplete(String),
}

/// The parts of a request that determine what its response must contain.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RequestLine<'a> {
    pub(crate) method: &'a str,
    /// The path without scheme, host and query: `/v1/chat/completions`.
    pub(crate) path: &'a str,
}

impl<'a> RequestLine<'a> {
    pub(crate) fn of(request: &'a RecordedRequest) -> Self {
        Self {
            method: &request.method,
            path: &request.path,
        }
    }
}

/// Decides whether a response with all bytes that the upstream sent may be recorded.
///
/// | response | assessment |
/// | --- | --- |
/// | status 401, 402, 403, 407, 408, 425, 429, 499, 5xx | transient |
/// | status 206 or 304, which depend on request headers | transient |
/// | any other status outside 2xx | lasting |
/// | 2xx, an error envelope in JSON, an error event in a stream, or `finish_reason: "error"` | transient |
/// | 2xx, a stream without an event, or without the last event of its endpoint | incomplete |
/// | 2xx, JSON that is empty or ends too early | incomplete |
/// | any other 2xx | lasting |
///
/// The last events, from the reference of the API: `[DONE]` for the completions of chat, FIM and agents;
/// `conversation.response.done`; `response.completed` or `response.incomplete`; `transcription.done`; `speech.audio.done`.
/// Streams of workflows have none. For Amazon Bedrock: `metadata` for the Converse API; for a Mistral model, a chunk with a
/// reason to stop, or with the metrics of the call. At other paths, chunks of completions must end with `[DONE]` or a
/// `finish_reason`.
pub(crate) fn assess(request: RequestLine<'_>, status: StatusCode, headers: &HeaderMap, body: &Bytes) -> Assessment {
    if is_transient(status) {
        return Assessment::Transient(status.to_string());
    }
    match status.as_u16() {
        206 | 304 => {
            return Assessment::Transient(format!(
                "{status}, which depends on headers that are not part of the request key"
            ));
        }
        204 | 205 => return Assessment::Lasting,
        200..300 => {}
        _ => return Assessment::Lasting,
    }
    if request.method == Method::HEAD.as_str() || headers.contains_key(header::CONTENT_ENCODING) {
        // No body, or one that cannot be read.
        return Assessment::Lasting;
    }
    let endpoint = Endpoint::of(request);
    let kind = content_type(headers);
    if StreamFormat::of(kind) == Some(StreamFormat::Frames) {
        return assess_frames(request.path, body);
    }
    if is_event_stream(kind) || (!is_json(kind) && endpoint.is_known() && begins_like_events(body)) {
        return assess_stream(endpoint, body);
    }
    if is_json(kind) || (endpoint.is_known() && body.is_empty()) {
        return assess_json(body);
    }
    Assessment::Lasting
}

/// Whether an error depends on the API key, a limit or an outage, not on the request.
pub(crate) fn is_transient(status: StatusCode) -> bool {
    matches!(status.as_u16(), 401..=403 | 407 | 408 | 425 | 429 | 499 | 500..)
}

/// Endpoints, grouped by the event that ends their streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Endpoint {
    /// Chat, FIM and agents, and the same endpoints of other vendors.
    Completions,
    Conversations,
    Responses,
    Transcriptions,
    Speech,
    /// An endpoint whose response is JSON and never a stream.
    Json,
    /// Workflows and everything else.
    Other,
}

impl Endpoint {
    fn of(request: RequestLine<'_>) -> Self {
        if request.method != Method::POST.as_str() {
            return Self::Other;
        }
        let segments: Vec<&str> = request.path.split('/').filter(|segment| !segment.is_empty()).collect();
        match segments.as_slice() {
            [.., "completions"] => Self::Completions,
            [_, "conversations", ..] => Self::Conversations,
            [.., "responses"] => Self::Responses,
            [.., "audio", "transcriptions"] => Self::Transcriptions,
            [.., "audio", "speech"] => Self::Speech,
            [.., "embeddings" | "ocr" | "moderations" | "classifications"] => Self::Json,
            _ => Self::Other,
        }
    }

    fn is_known(self) -> bool {
        self != Self::Other
    }

    /// The types of the last event of a stream; `[DONE]` is the data of an event without type.
    fn last_events(self) -> &'static [&'static str] {
        match self {
            Self::Completions => &["[DONE]"],
            Self::Conversations => &["conversation.response.done"],
            Self::Responses => &["response.completed", "response.incomplete"],
            Self::Transcriptions => &["transcription.done"],
            Self::Speech => &["speech.audio.done"],
            Self::Json | Self::Other => &[],
        }
    }
}

fn begins_like_events(body: &[u8]) -> bool {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body).trim_ascii_start();
    body.starts_with(b"data:") || body.starts_with(b"event:")
}

fn assess_json(body: &[u8]) -> Assessment {
    let text = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    if text.trim_ascii().is_empty() {
        return Assessment::Incomplete("a JSON response without a body".to_owned());
    }
    if serde_json::from_slice::<IgnoredAny>(text).is_err_and(|error| error.is_eof()) {
        return Assessment::Incomplete("a JSON response that ends too early".to_owned());
    }
    match Outcome::of(text).error(text) {
        Some(reason) => Assessment::Transient(reason),
        None => Assessment::Lasting,
    }
}

fn assess_stream(endpoint: Endpoint, body: &[u8]) -> Assessment {
    let mut splitter = EventSplitter::default();
    let mut blocks = splitter.push(body);
    let rest = splitter.rest();
    let is_terminated = rest.as_ref().is_none_or(|rest| rest.trim_ascii().is_empty());
    blocks.extend(rest);
    let (mut last, mut has_chunks, mut is_finished) = (None, false, false);
    for block in &blocks {
        let Some(event) = Event::parse(&String::from_utf8_lossy(block)) else {
            continue;
        };
        let data = event.data.trim();
        let outcome = Outcome::of_event(&event);
        if let Some(reason) = outcome.error(data.as_bytes()) {
            return Assessment::Transient(reason);
        }
        has_chunks |= outcome.is_chunk();
        is_finished |= outcome.is_finished() || event.is_done();
        let kind = outcome.kind().map(str::to_owned).or_else(|| event.name.clone());
        // Some gateways add `[DONE]` to streams that end with an event of their own.
        if !event.is_done() || last.is_none() || endpoint == Endpoint::Completions {
            last = Some((kind.unwrap_or_else(|| data.to_owned()), data.to_owned()));
        }
    }
    let Some((last, data)) = last else {
        return Assessment::Incomplete("an event stream without an event".to_owned());
    };
    let ends = endpoint.last_events();
    if !ends.is_empty() && !ends.contains(&last.as_str()) {
        return Assessment::Incomplete(format!("an event stream without its last event, {}", ends.join(" or ")));
    }
    if ends.is_empty() && has_chunks && !is_finished {
        return Assessment::Incomplete("an event stream without [DONE] and without a finish_reason".to_owned());
    }
    let is_cut = !is_terminated && serde_json::from_str::<IgnoredAny>(&data).is_err_and(|error| error.is_eof());
    if is_cut {
        return Assessment::Incomplete("an event stream that ends in the middle of an event".to_owned());
    }
    Assessment::Lasting
}

/// Assesses the frames of an Amazon event stream.
fn assess_frames(path: &str, body: &[u8]) -> Assessment {
    let frames = match parse_frames(body) {
        Ok(frames) => frames,
        Err(_) if body.is_empty() => return Assessment::Incomplete("an event stream without a frame".to_owned()),
        Err(error) => return Assessment::Incomplete(error.to_string()),
    };
    if let Some((kind, frame)) = frames.iter().find_map(|frame| Some((frame.exception()?, frame))) {
        let message = frame.message();
        return Assessment::Transient(format!(
            "an error in a response with status 200: {kind}: {}",
            cut(&message, 200)
        ));
    }
    let has_event = |kind: &str| frames.iter().any(|frame| frame.header(EVENT_TYPE) == Some(kind));
    if path.ends_with("/converse-stream") && !has_event("metadata") {
        return Assessment::Incomplete("an event stream without its last event, metadata".to_owned());
    }
    let chunks: Vec<Value> = frames
        .iter()
        .filter_map(|frame| serde_json::from_slice(&frame.chunk()?).ok())
        .collect();
    let choices = |chunk: &Value| chunk.get("outputs").or_else(|| chunk.get("choices")).cloned();
    let is_last = |chunk: &Value| {
        let choices = choices(chunk).unwrap_or_default();
        let mut choices = choices.as_array().into_iter().flatten();
        chunk.get(METRICS).is_some()
            || choices.any(|choice| choice["stop_reason"].is_string() || choice["finish_reason"].is_string())
    };
    if chunks.iter().any(|chunk| choices(chunk).is_some()) && !chunks.iter().any(is_last) {
        return Assessment::Incomplete("an event stream without a stop_reason".to_owned());
    }
    Assessment::Lasting
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::http::frame_tests as frames;

    const CHAT: RequestLine<'_> = RequestLine {
        method: "POST",
        path: "/v1/chat/completions",
    };

    fn post(path: &str) -> RequestLine<'_> {
        RequestLine { method: "POST", path }
    }

    fn assessed(request: RequestLine<'_>, status: u16, kind: &'static str, body: &'static str) -> &'static str {
        let mut headers = HeaderMap::new();
        if !kind.is_empty() {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        }
        let status = StatusCode::from_u16(status).unwrap();
        match assess(request, status, &headers, &Bytes::from_static(body.as_bytes())) {
            Assessment::Lasting => "lasting",
            Assessment::Transient(_) => "transient",
            Assessment::Incomplete(_) => "incomplete",
        }
    }

    #[test]
    fn errors_of_key_limit_and_server_are_transient() {
        for (status, expected) in [
            (301, "lasting"),
            (307, "lasting"),
            (400, "lasting"),
            (401, "transient"),
            (402, "transient"),
            (403, "transient"),
            (404, "lasting"),
            (407, "transient"),
            (408, "transient"),
            (409, "lasting"),
            (422, "lasting"),
            (425, "transient"),
            (429, "transient"),
            (499, "transient"),
            (500, "transient"),
            (503, "transient"),
            (599, "transient"),
            (206, "transient"),
            (304, "transient"),
            (204, "lasting"),
        ] {
            assert_eq!(assessed(CHAT, status, "", ""), expected, "{status}");
        }
    }

    #[test]
    fn a_stream_is_complete_with_the_last_event_of_its_endpoint() {
        const STREAM: &str = "Text/Event-Stream; charset=utf-8";
        for (path, body, expected) in [
            (
                "/v1/chat/completions",
                "data: {\"choices\":[]}\n\ndata: [DONE]\n\n",
                "lasting",
            ),
            (
                "/v1/chat/completions",
                "data: {\"choices\":[]}\r\n\r\ndata: [DONE]",
                "lasting",
            ),
            (
                "/v1/chat/completions",
                "data: {\"choices\":[]}\n\ndata: [DONE] \n\n: bye\n\n",
                "lasting",
            ),
            ("/v1/chat/completions", "data: {\"choices\":[]}\n\n", "incomplete"),
            (
                "/v1/chat/completions",
                "data: [DONE]\n\ndata: {\"choices\":[]}\n\n",
                "incomplete",
            ),
            (
                "/v1/fim/completions",
                "data: {\"choices\":[{\"finish_reason\":\"stop\"}]}\n\n",
                "incomplete",
            ),
            ("/v1/agents/completions", "data: [DONE]\n\n", "lasting"),
            ("/v1/agents/completions", "", "incomplete"),
            ("/v1/agents/completions", ": ping\n\n", "incomplete"),
            ("/v1/agents/completions", "data:\n\n", "incomplete"),
            (
                "/v1/conversations",
                "event: conversation.response.done\ndata: {\"type\":\"conversation.response.done\"}\n\n",
                "lasting",
            ),
            (
                "/v1/conversations/c/restart",
                "data: {\"type\":\"conversation.response.done\"}\n\n",
                "lasting",
            ),
            (
                "/v1/conversations",
                "event: message.output.delta\ndata: {\"type\":\"message.output.delta\"}\n\n",
                "incomplete",
            ),
            (
                "/v1/conversations",
                "event: conversation.response.error\ndata: {\"message\":\"x\"}\n\n",
                "transient",
            ),
            (
                "/v1/responses",
                "event: response.completed\ndata: {\"type\":\"response.completed\"}\n\ndata: [DONE]\n\n",
                "lasting",
            ),
            (
                "/v1/responses",
                "data: {\"type\":\"response.incomplete\"}\n\n",
                "lasting",
            ),
            (
                "/v1/responses",
                "data: {\"type\":\"response.output_text.done\"}\n\n",
                "incomplete",
            ),
            (
                "/v1/responses",
                "data: {\"type\":\"response.failed\",\"response\":{\"error\":{\"message\":\"x\"}}}\n\n",
                "transient",
            ),
            (
                "/v1/audio/transcriptions",
                "event: transcription.done\ndata: {}\n\n",
                "lasting",
            ),
            (
                "/v1/audio/transcriptions",
                "event: transcription.segment\ndata: {}\n\n",
                "incomplete",
            ),
            (
                "/v1/audio/speech",
                "event: speech.audio.done\ndata: {\"type\":\"speech.audio.done\"}\n\n",
                "lasting",
            ),
            (
                "/v1/audio/speech",
                "event: speech.audio.delta\ndata: {\"audio_data\":\"AA==\"}\n\n",
                "incomplete",
            ),
            ("/v1/workflows/executions/e/stream", "data: {\"a\":1}\n\n", "lasting"),
            (
                "/v1/workflows/executions/e/stream",
                "data: {\"a\":1}\n\ndata: {\"a\":",
                "incomplete",
            ),
            (
                "/v1/workflows/executions/e/stream",
                "event: error\ndata: {\"reason\":\"x\"}\n\n",
                "transient",
            ),
            ("/v1/workflows/executions/e/stream", "", "incomplete"),
            (
                "/m:streamRawPredict",
                "data: {\"object\":\"chat.completion.chunk\",\"choices\":[{\"finish_reason\":null}]}\n\n",
                "incomplete",
            ),
            (
                "/m:streamRawPredict",
                "data: {\"object\":\"chat.completion.chunk\",\"choices\":[{\"finish_reason\":\"stop\"}]}\n\n",
                "lasting",
            ),
        ] {
            assert_eq!(assessed(post(path), 200, STREAM, body), expected, "{path}: {body}");
        }
        // A stream without a content type.
        assert_eq!(
            assessed(CHAT, 200, "text/plain", "data: {\"choices\":[]}\n\n"),
            "incomplete"
        );
        assert_eq!(
            assessed(
                RequestLine {
                    method: "GET",
                    path: "/v1/files/f/content"
                },
                200,
                "text/plain",
                "data: 1"
            ),
            "lasting"
        );
    }

    #[test]
    fn an_error_in_a_200_is_transient() {
        const JSON: &str = "application/json";
        for (body, expected) in [
            (
                r#"{"object":"error","message":"capacity","type":"x","code":"3505"}"#,
                "transient",
            ),
            (r#"{"object":"Error","detail":[],"message":[]}"#, "transient"),
            (r#"{"error":{"message":"no","type":"x"}}"#, "transient"),
            (r#"{"error":"no","status":500}"#, "transient"),
            (r#"{"choices":[{"finish_reason":"error"}]}"#, "transient"),
            (
                r#"{"object":"response","status":"failed","error":{"message":"x"}}"#,
                "transient",
            ),
            (r#"{"object":"response","status":"completed","error":null}"#, "lasting"),
            (r#"{"choices":[{"finish_reason":"stop"}]}"#, "lasting"),
            (r#"{"choices":"none"}"#, "lasting"),
            (
                r#"{"id":"job","status":"FAILED","error":"the file is invalid"}"#,
                "lasting",
            ),
            (r#"{"id":"job","errors":[{"message":"x"}]}"#, "lasting"),
            (r#"[{"object":"model"}]"#, "lasting"),
            (r#"{"text":"\ud800"}"#, "lasting"),
            ("no JSON", "lasting"),
            ("", "incomplete"),
            (" \n", "incomplete"),
            (r#"{"choices":[{"message":{"content":"Rh"#, "incomplete"),
        ] {
            assert_eq!(assessed(CHAT, 200, JSON, body), expected, "{body}");
            assert_eq!(
                assessed(CHAT, 200, "application/problem+json; x=y", body),
                expected,
                "{body}"
            );
        }
        let chunks =
            "data: {\"choices\":[{\"finish_reason\":null}]}\n\ndata: {\"object\":\"error\",\"message\":\"x\"}\n\n";
        assert_eq!(assessed(CHAT, 200, "text/event-stream", chunks), "transient");
        let chunks = "data: {\"choices\":[{\"finish_reason\":\"error\"}]}\n\ndata: [DONE]\n\n";
        assert_eq!(assessed(CHAT, 200, "text/event-stream", chunks), "transient");
    }

    #[test]
    fn a_body_is_required_where_the_endpoint_promises_one() {
        assert_eq!(assessed(CHAT, 200, "", ""), "incomplete");
        assert_eq!(assessed(post("/v1/embeddings"), 200, "text/plain", ""), "incomplete");
        assert_eq!(
            assessed(RequestLine { method: "HEAD", ..CHAT }, 200, "application/json", ""),
            "lasting"
        );
        let download = RequestLine {
            method: "GET",
            path: "/v1/files/f/content",
        };
        assert_eq!(assessed(download, 200, "application/octet-stream", ""), "lasting");
        assert_eq!(
            assessed(
                RequestLine {
                    method: "DELETE",
                    path: "/v1/files/f"
                },
                200,
                "",
                ""
            ),
            "lasting"
        );
    }

    #[test]
    fn amazon_event_streams_are_complete_with_whole_frames_and_the_last_event() {
        let assessed = |path: &str, frames: &[Vec<u8>], cut: usize| {
            let mut headers = HeaderMap::new();
            let kind = HeaderValue::from_static("application/vnd.amazon.eventstream");
            headers.insert(header::CONTENT_TYPE, kind);
            let body = frames.concat();
            let body = Bytes::copy_from_slice(&body[..body.len() - cut]);
            assess(post(path), StatusCode::OK, &headers, &body)
        };
        let invoke = "/model/mistral.mistral-large-2402-v1%3A0/invoke-with-response-stream";
        let (text, last) = (
            frames::chunk(r#"{"outputs":[{"text":"Hi","stop_reason":null}]}"#),
            frames::chunk(r#"{"outputs":[{"text":"","stop_reason":"stop"}]}"#),
        );
        assert_eq!(assessed(invoke, &[text.clone(), last.clone()], 0), Assessment::Lasting);
        let metrics = frames::chunk(r#"{"outputs":[],"amazon-bedrock-invocationMetrics":{"outputTokenCount":1}}"#);
        assert_eq!(assessed(invoke, &[text.clone(), metrics], 0), Assessment::Lasting);
        assert_eq!(
            assessed(invoke, &[frames::chunk(r#"{"type":"x"}"#)], 0),
            Assessment::Lasting
        );
        let converse = "/model/m/converse-stream";
        let (delta, end) = (
            frames::event("contentBlockDelta", "{}"),
            frames::event("metadata", "{}"),
        );
        assert_eq!(assessed(converse, &[delta.clone(), end], 0), Assessment::Lasting);
        for (path, stream, cut, reason) in [
            (invoke, vec![], 0, "without a frame"),
            (invoke, vec![text.clone()], 0, "without a stop_reason"),
            (invoke, vec![text.clone(), last], 1, "in the middle of a frame"),
            (converse, vec![delta.clone()], 0, "without its last event, metadata"),
            ("/other", vec![vec![1; 40]], 0, "a damaged frame"),
        ] {
            let assessment = assessed(path, &stream, cut);
            let is_expected = matches!(&assessment, Assessment::Incomplete(text) if text.ends_with(reason));
            assert!(is_expected, "{assessment:?}");
        }
        let failed = assessed(invoke, &[text, frames::exception("throttlingException")], 0);
        let reason = "an error in a response with status 200: throttlingException: Too many requests";
        assert_eq!(failed, Assessment::Transient(reason.to_owned()));
    }
}
