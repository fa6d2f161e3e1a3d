//! A cassette as values: one request and the responses recorded for it, in order.

use std::time::Duration;

use http::{Method, StatusCode};

use super::body::{Blob, RecordedBody};
use super::history::History;

/// A request and its responses.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Cassette {
    /// The request key: 64 hex digits.
    pub(crate) key: String,
    pub(crate) recorded: Recorded,
    /// The results of earlier checks, where the TTL adapts.
    pub(crate) history: Option<History>,
    pub(crate) request: RecordedRequest,
    pub(crate) responses: Vec<RecordedResponse>,
}

/// The time, program, upstream and test of a recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Recorded {
    /// RFC 3339, in UTC, to the second.
    pub(crate) at: String,
    pub(crate) by: String,
    pub(crate) from: Option<String>,
    pub(crate) test: Option<String>,
}

/// Returns the current time: RFC 3339, in UTC, to the second.
pub(crate) fn now() -> String {
    let now = jiff::Timestamp::now();
    jiff::Timestamp::from_second(now.as_second()).unwrap_or(now).to_string()
}

impl Recorded {
    /// Returns the values for a recording that is made now by this version.
    pub(crate) fn now(from: Option<String>, test: Option<String>) -> Self {
        Self {
            at: now(),
            by: concat!("mistral-cassette ", env!("CARGO_PKG_VERSION")).to_owned(),
            from,
            test,
        }
    }

    /// Returns the age of the recording. An unreadable time gives the maximum, a time in the future gives zero.
    pub(crate) fn age(&self) -> Duration {
        let Ok(at) = self.at.parse::<jiff::Timestamp>() else {
            return Duration::MAX;
        };
        jiff::Timestamp::now()
            .duration_since(at)
            .try_into()
            .unwrap_or(Duration::ZERO)
    }
}

/// A recorded request: redacted, without headers.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RecordedRequest {
    /// The host, of a request to another host than those of the API, as in a URL (with the port, if it is not the default).
    pub(crate) host: Option<String>,
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: Option<String>,
    /// The content type of a body that is neither JSON nor a form, to send it again. It is not part of the key.
    pub(crate) content_type: Option<String>,
    pub(crate) body: RecordedBody,
}

impl RecordedRequest {
    /// Returns path and query, as in a request line.
    pub(crate) fn target(&self) -> String {
        match &self.query {
            Some(query) => format!("{}?{query}", self.path),
            None => self.path.clone(),
        }
    }

    /// Whether the method only reads, as HTTP defines it.
    pub(crate) fn is_safe(&self) -> bool {
        Method::from_bytes(self.method.as_bytes()).is_ok_and(|method| method.is_safe())
    }

    /// Returns method and target, with the host of a request to another host than those of the API.
    pub(crate) fn line(&self) -> String {
        match &self.host {
            Some(host) => format!("{} https://{host}{}", self.method, self.target()),
            None => format!("{} {}", self.method, self.target()),
        }
    }
}

/// A recorded response.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RecordedResponse {
    pub(crate) status: StatusCode,
    /// Names in lower case and values, in the order of the response. Names can be repeated.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Blob,
    /// When each piece was complete, in milliseconds since the request was sent: one number for a plain body, one per
    /// event for an event stream.
    pub(crate) timing_ms: Vec<u64>,
}

impl RecordedResponse {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(candidate, _)| candidate == name)?;
        Some(value)
    }

    pub(crate) fn is_event_stream(&self) -> bool {
        crate::http::is_event_stream(self.header("content-type"))
    }

    /// Returns the content encoding if the body is still encoded. A body of text was decoded by a client that has not
    /// removed the header.
    pub(crate) fn content_encoding(&self) -> Option<&str> {
        let Blob::Inline(bytes) = &self.body else { return None };
        let encoding = self.header("content-encoding")?.trim();
        let is_identity = encoding.is_empty() || encoding.eq_ignore_ascii_case("identity");
        (!is_identity && std::str::from_utf8(bytes).is_err()).then_some(encoding)
    }
}

impl Cassette {
    /// Returns every body, to move large ones out of the document or back into it.
    pub(crate) fn bodies_mut(&mut self) -> Vec<&mut Blob> {
        let mut blobs = self.request.body.blobs_mut();
        blobs.extend(self.responses.iter_mut().map(|response| &mut response.body));
        blobs
    }
}
