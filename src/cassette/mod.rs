//! A cassette: one request and the responses recorded for it, in order.
//!
//! # Changing the form on disk
//! 1. Write the new form under a new [`yaml::VERSION`], and keep reading the old one.
//! 2. Add a file of the old form to the tests, and a line to the CHANGELOG.
//! 3. See that an older release refuses the new file with the advice that it gives today.

mod body;
mod equivalent;
mod history;
pub(crate) mod yaml;

use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;

#[cfg(feature = "cli")]
pub(crate) use body::Form;
pub(crate) use body::{Blob, RecordedBody, RecordedPart};
pub(crate) use equivalent::is_equivalent;
pub use history::History;

/// One request and its responses.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Cassette {
    /// The request key: 64 hex digits.
    pub(crate) key: String,
    pub(crate) recorded: Recorded,
    /// What was seen of it so far, where lives adapt.
    pub(crate) history: Option<History>,
    pub(crate) request: RecordedRequest,
    pub(crate) responses: Vec<RecordedResponse>,
}

/// When, by what and from whom a cassette was recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Recorded {
    /// RFC 3339, in UTC, to the second.
    pub(crate) at: String,
    pub(crate) by: String,
    pub(crate) from: Option<String>,
    pub(crate) test: Option<String>,
}

/// RFC 3339, in UTC, to the second.
pub(crate) fn now() -> String {
    let now = jiff::Timestamp::now();
    jiff::Timestamp::from_second(now.as_second()).unwrap_or(now).to_string()
}

impl Recorded {
    /// What is recorded now, by this version.
    pub(crate) fn now(from: Option<String>, test: Option<String>) -> Self {
        Self {
            at: now(),
            by: concat!("mistral-cassette ", env!("CARGO_PKG_VERSION")).to_owned(),
            from,
            test,
        }
    }

    /// How long ago that was. A time that cannot be read is long ago, one in the future is now.
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

/// A request as it is kept: redacted, without headers.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RecordedRequest {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: Option<String>,
    pub(crate) body: RecordedBody,
}

impl RecordedRequest {
    /// Path and query, as they stand in a request line.
    pub(crate) fn target(&self) -> String {
        match &self.query {
            Some(query) => format!("{}?{query}", self.path),
            None => self.path.clone(),
        }
    }

    /// Method and target, as a person writes them.
    pub(crate) fn line(&self) -> String {
        format!("{} {}", self.method, self.target())
    }
}

/// A response as it is kept.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RecordedResponse {
    pub(crate) status: StatusCode,
    /// Names in lower case, in the order in which they came, repeated ones repeated.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Blob,
    /// When each piece was whole, in milliseconds since the request was sent: one number for a plain body, one an
    /// event for a stream.
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

    /// What its body is still coded in: nobody has decoded it, since nobody has asked for it. A body that is text was
    /// decoded by somebody who has left the header.
    pub(crate) fn coding(&self) -> Option<&str> {
        let Blob::Inline(bytes) = &self.body else { return None };
        let coding = self.header("content-encoding")?.trim();
        let is_none = coding.is_empty() || coding.eq_ignore_ascii_case("identity");
        (!is_none && std::str::from_utf8(bytes).is_err()).then_some(coding)
    }
}

impl Cassette {
    /// Every body, to put large ones aside or to bring them back.
    pub(crate) fn bodies_mut(&mut self) -> Vec<&mut Blob> {
        let mut blobs = match &mut self.request.body {
            RecordedBody::Blob(blob) => vec![blob],
            RecordedBody::Multipart(parts) => parts.iter_mut().map(|part| &mut part.content).collect(),
        };
        blobs.extend(self.responses.iter_mut().map(|response| &mut response.body));
        blobs
    }
}

impl From<Bytes> for Blob {
    fn from(bytes: Bytes) -> Self {
        Self::Inline(bytes)
    }
}
