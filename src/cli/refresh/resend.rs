//! Sends a recorded request again and records the responses in memory.

use std::sync::Arc;

use http::{HeaderValue, Method, header};

use super::recording::Recording;
use crate::cassette::{Blob, Cassette, RecordedBody, RecordedPart, RecordedRequest, yaml};
use crate::client::Client;
use crate::engine::{CacheEngine, MemoryEngine};
use crate::error::{Error, ErrorKind, Result};
use crate::http::{Part, Request, StreamFormat, parse_json, write_form};
use crate::mode::Mode;
use crate::recorder::{Recorder, is_transient};
use crate::settings::matching::PLACEHOLDER;
use crate::settings::{SaveErrors, Settings};

/// Sends `request` in place of the one with the number `turn` of a recording. Returns a cassette with the complete response.
///
/// # Errors
/// When the request fails, or the upstream returns a transient error that is not in the recording.
pub(super) async fn resend(
    recording: &Recording,
    turn: usize,
    request: &RecordedRequest,
    client: &Client,
    mut settings: Settings,
) -> Result<Cassette> {
    let memory = Arc::new(MemoryEngine::new());
    let old = &recording.cassette;
    // A recorded error shows that the test needs one.
    if settings.save_errors != SaveErrors::All {
        let statuses = old.responses.iter().map(|response| response.status.as_u16());
        settings.save_errors = SaveErrors::Statuses(statuses.filter(|status| *status >= 400).collect());
    }
    let mut recorder = Recorder::builder(memory.clone())
        .mode(Mode::Record)
        .allow_record_in_ci()
        .settings(settings)
        .scope(recording.key.scope().clone());
    if let Some(test) = &old.recorded.test {
        recorder = recorder.test(test.clone());
    }
    let recorder = recorder.build()?;
    let recorded = &old.responses[turn];
    let accept = match recorded.stream_format() {
        Some(StreamFormat::Events) => "text/event-stream",
        Some(StreamFormat::Frames) => "application/vnd.amazon.eventstream",
        None => "application/json",
    };
    let request = http_request(request)?.header(header::ACCEPT, HeaderValue::from_static(accept));
    // A transient error in the recording is intended, so the client does not retry it.
    let upstream = client.transport(!is_transient(recorded.status));
    let answer = recorder.answer(request, upstream).await?;
    let status = answer.status();
    let body = answer.bytes().await?;
    if status != recorded.status && is_transient(status) {
        let message = format!("the upstream returned the transient error {status}");
        return Err(Error::new(ErrorKind::Upstream, message).with_response(status.as_u16(), &body));
    }
    if recorder.finish().await?.passed_on > 0 {
        return Err(Error::new(
            ErrorKind::Upstream,
            "the upstream returned an error in a response with the status 200",
        ));
    }
    let keys = memory.keys().await?;
    let [key] = keys.as_slice() else {
        return Err(Error::new(
            ErrorKind::Upstream,
            "the upstream returned no response that can be recorded",
        ));
    };
    let document = memory.get(key).await?.unwrap_or_default();
    yaml::read(&document, &recording.name)
}

/// Returns why a request cannot be sent again.
pub(super) fn reason_not_to_send(request: &RecordedRequest) -> Option<String> {
    if let Some(host) = &request.host {
        // The API key must not reach another host.
        return Some(format!(
            "it was sent to {host}: record it again with the program that has a key for that host"
        ));
    }
    let is_redacted = |bytes: &[u8]| memchr::memmem::find(bytes, PLACEHOLDER.as_bytes()).is_some();
    let has_redacted_body = match &request.body {
        RecordedBody::Blob(Blob::Inline(bytes)) => is_redacted(bytes),
        RecordedBody::Blob(Blob::External { .. }) => return Some("its external body is missing".to_owned()),
        RecordedBody::Multipart(parts) => parts.iter().any(|part| match &part.content {
            Blob::Inline(bytes) => is_redacted(bytes),
            Blob::External { .. } => true,
        }),
        RecordedBody::Messages(_) => {
            return Some("it is a WebSocket session: record it again with the program".to_owned());
        }
    };
    let line = request.line();
    (has_redacted_body || is_redacted(line.as_bytes()) || line.contains("REDACTED"))
        .then(|| "it contains a redacted secret: record it again with the program that has the secret".to_owned())
}

/// Whether a request creates, changes or deletes something upstream. A computation, such as a completion, does not.
pub(super) fn has_side_effects(request: &RecordedRequest) -> bool {
    const COMPUTATIONS: [&str; 8] = [
        "completions",
        "embeddings",
        "moderations",
        "classifications",
        "ocr",
        "transcriptions",
        "speech",
        "detect",
    ];
    let last = request.path.rsplit('/').next().unwrap_or_default();
    let is_computation = request.method == "POST" && COMPUTATIONS.contains(&last);
    !(request.is_safe() || is_computation)
}

/// Makes an HTTP request of a recorded one.
fn http_request(recorded: &RecordedRequest) -> Result<Request> {
    let invalid = |message: &'static str| Error::new(ErrorKind::Cassette, message);
    let method = Method::from_bytes(recorded.method.as_bytes())
        .map_err(|error| invalid("the HTTP method is invalid").with_source(error))?;
    let request = Request::new(method, &recorded.target())?;
    Ok(match &recorded.body {
        RecordedBody::Blob(Blob::Inline(bytes)) if bytes.is_empty() => request,
        RecordedBody::Blob(Blob::Inline(bytes)) => {
            let kind = match &recorded.content_type {
                Some(kind) => HeaderValue::from_str(kind)
                    .map_err(|error| invalid("the content type is invalid").with_source(error))?,
                None if parse_json(bytes).is_some() => HeaderValue::from_static("application/json"),
                None => HeaderValue::from_static("application/octet-stream"),
            };
            request.header(header::CONTENT_TYPE, kind).body(bytes.clone())
        }
        RecordedBody::Blob(Blob::External { .. }) | RecordedBody::Messages(_) => request,
        RecordedBody::Multipart(parts) => {
            let parts: Option<Vec<Part>> = parts.iter().map(RecordedPart::to_part).collect();
            let parts = parts.ok_or_else(|| invalid("the content of a form part is missing"))?;
            let (kind, body) = write_form(&parts);
            let kind = HeaderValue::from_str(&kind)
                .map_err(|error| invalid("the boundary of the form is invalid").with_source(error))?;
            request.header(header::CONTENT_TYPE, kind).body(body)
        }
    })
}

#[cfg(test)]
mod tests {

    use super::*;

    fn request(path: &str, body: &str) -> RecordedRequest {
        RecordedRequest::new("POST", path, body.to_owned())
    }

    #[test]
    fn a_redacted_request_is_not_sent() {
        assert_eq!(reason_not_to_send(&request("/v1/x", "{}")), None);
        let body = format!(r#"{{"key":"{PLACEHOLDER}"}}"#);
        assert!(reason_not_to_send(&request("/v1/x", &body)).is_some());
        assert!(reason_not_to_send(&request("/v1/REDACTED", "{}")).is_some());
    }

    #[test]
    fn computations_have_no_side_effects() {
        for path in [
            "/v1/chat/completions",
            "/v1/embeddings",
            "/v1/ocr",
            "/v1/chat/moderations",
        ] {
            assert!(!has_side_effects(&request(path, "{}")), "{path}");
        }
        for path in ["/v1/files", "/v1/conversations", "/v1/batch/jobs/a/cancel"] {
            assert!(has_side_effects(&request(path, "{}")), "{path}");
        }
    }

    #[test]
    fn the_content_type_follows_from_the_body() {
        let content_type = |body| {
            let request = http_request(&request("/v1/x", body)).unwrap();
            request.content_type().map(str::to_owned)
        };
        assert_eq!(content_type("{}").as_deref(), Some("application/json"));
        assert_eq!(content_type("\0").as_deref(), Some("application/octet-stream"));
        assert_eq!(content_type(""), None);
    }
}
