//! A cassette as values: one request and the responses recorded for it, in order.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use jiff::{SignedDuration, Timestamp};

use super::body::{Blob, RecordedBody};
use super::history::History;
use super::messages::{Content, Message};
#[cfg(feature = "cli")]
use crate::http::Event;
use crate::http::{StreamFormat, total_tokens};

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
    /// When the last response was complete: RFC 3339, in UTC, to the microsecond. Files of earlier builds have whole
    /// seconds.
    pub(crate) at: String,
    /// How many microseconds before `at` each earlier response was complete. Empty if that is not known.
    pub(crate) earlier_us: Vec<u64>,
    pub(crate) by: String,
    pub(crate) from: Option<String>,
    pub(crate) test: Option<String>,
}

/// Returns the current time: RFC 3339, in UTC, to the second.
pub(crate) fn now() -> String {
    to_second(Timestamp::now())
}

fn to_second(time: Timestamp) -> String {
    Timestamp::from_second(time.as_second()).unwrap_or(time).to_string()
}

impl Recorded {
    /// Returns the values for a recording that is made now by this version.
    pub(crate) fn now(from: Option<String>, test: Option<String>) -> Self {
        Self {
            at: format!("{:.6}", Timestamp::now()),
            earlier_us: Vec::new(),
            by: concat!("mistral-cassette ", env!("CARGO_PKG_VERSION")).to_owned(),
            from,
            test,
        }
    }

    /// Returns when the last response was complete.
    pub(crate) fn time(&self) -> Option<Timestamp> {
        self.at.parse().ok()
    }

    /// Sets `at`: to the microsecond, or to the second if the time is a whole one.
    #[cfg(feature = "cli")]
    pub(crate) fn set_time(&mut self, time: Timestamp) {
        self.at = match time.subsec_nanosecond() {
            0 => time.to_string(),
            _ => format!("{time:.6}"),
        };
    }

    /// Whether `at` is exact to the microsecond.
    #[cfg(feature = "cli")]
    pub(crate) fn is_exact(&self) -> bool {
        self.at.contains('.')
    }

    /// Returns `at` to the second, for people.
    pub(crate) fn second(&self) -> String {
        match self.time() {
            Some(time) => to_second(time),
            None => self.at.clone(),
        }
    }

    /// Returns when the response of a turn was complete. `responses` is the number of all responses. If the time is not known,
    /// returns `at`.
    pub(crate) fn time_of(&self, turn: usize, responses: usize) -> Option<Timestamp> {
        let earlier = (self.earlier_us.len() + 1 == responses)
            .then(|| self.earlier_us.get(turn))
            .flatten();
        let before =
            SignedDuration::from_micros(earlier.map_or(0, |before| i64::try_from(*before).unwrap_or_default()));
        self.time()?.checked_sub(before).ok()
    }

    /// Returns these values for a further response, which was recorded at the time in `next`.
    #[must_use]
    pub(crate) fn followed_by(&self, next: Self) -> Self {
        let microseconds = |from: Timestamp, to: Timestamp| u64::try_from(to.duration_since(from).as_micros()).ok();
        let (Some(from), Some(to)) = (self.time(), next.time()) else {
            return next;
        };
        // If the clock was set back, no time has passed.
        let passed = microseconds(from, to).unwrap_or_default();
        let earlier = self.earlier_us.iter().map(|before| before.saturating_add(passed));
        Self {
            earlier_us: earlier.chain([passed]).collect(),
            ..next
        }
    }

    /// Returns these values, without the times of earlier responses unless they are those of this number of responses.
    #[must_use]
    pub(crate) fn with_times_of(mut self, responses: usize) -> Self {
        if self.earlier_us.len() + 1 != responses {
            self.earlier_us.clear();
        }
        self
    }

    /// Returns these values for the first responses only. `responses` is the number of those.
    #[must_use]
    pub(crate) fn of_first(&self, responses: usize) -> Self {
        let all = self.earlier_us.len() + 1;
        if self.earlier_us.is_empty() || responses >= all || responses == 0 {
            return self.clone();
        }
        let last = self.earlier_us[responses - 1];
        let at = self.time_of(responses - 1, all).map(|at| format!("{at:.6}"));
        Self {
            at: at.unwrap_or_else(|| self.at.clone()),
            earlier_us: self.earlier_us[..responses - 1]
                .iter()
                .map(|before| before - last.min(*before))
                .collect(),
            ..self.clone()
        }
    }

    /// Returns the age of the recording. An unreadable time gives the maximum, a time in the future gives zero.
    pub(crate) fn age(&self) -> Duration {
        let Some(at) = self.time() else {
            return Duration::MAX;
        };
        Timestamp::now().duration_since(at).try_into().unwrap_or(Duration::ZERO)
    }
}

/// A recorded request: redacted, without headers.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RecordedRequest {
    /// The host as in a URL, with the port if it is not the default. `None` for a request to the API.
    pub(crate) host: Option<String>,
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: Option<String>,
    /// The content type of a body that is neither JSON nor a form, to send it again. It is not part of the key.
    pub(crate) content_type: Option<String>,
    pub(crate) body: RecordedBody,
}

impl RecordedRequest {
    /// A request to the API with this body, without a query.
    pub(crate) fn new(method: &str, path: &str, body: impl Into<Bytes>) -> Self {
        Self {
            host: None,
            method: method.to_owned(),
            path: path.to_owned(),
            query: None,
            content_type: None,
            body: RecordedBody::Blob(Blob::Inline(body.into())),
        }
    }

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
    /// The messages of a WebSocket session, which has no body and one time for each frame; else empty.
    pub(crate) messages: Vec<Message>,
}

impl RecordedResponse {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(candidate, _)| candidate == name)?;
        Some(value)
    }

    pub(crate) fn is_event_stream(&self) -> bool {
        self.stream_format() == Some(StreamFormat::Events)
    }

    /// Returns the format of the stream; `None` for a plain body.
    pub(crate) fn stream_format(&self) -> Option<StreamFormat> {
        StreamFormat::of(self.header("content-type"))
    }

    /// Returns the events of a stream with these bytes; `None` for a plain body.
    #[cfg(feature = "cli")]
    pub(crate) fn events(&self, body: &[u8]) -> Option<Vec<Event>> {
        Some(self.stream_format()?.parse(body))
    }

    /// Returns the tokens that a WebSocket session used, as its last event with a count says; 0 for another response.
    pub(crate) fn received_tokens(&self) -> u64 {
        let texts = self.messages.iter().rev().filter_map(|message| match message {
            Message::Received(Content::Text(Blob::Inline(text))) => Some(text),
            _ => None,
        });
        let counts = texts.map(|text| total_tokens(text));
        counts.filter(|tokens| *tokens > 0).take(1).sum()
    }

    /// Returns the content encoding if the body is still encoded. A body of text is decoded, whatever the header says:
    /// some clients decode a body and leave the header.
    pub(crate) fn content_encoding(&self) -> Option<&str> {
        let Blob::Inline(bytes) = &self.body else { return None };
        let encoding = self.header("content-encoding")?.trim();
        let is_identity = encoding.is_empty() || encoding.eq_ignore_ascii_case("identity");
        (!is_identity && std::str::from_utf8(bytes).is_err()).then_some(encoding)
    }
}

impl Cassette {
    /// Whether the time of each response is known to the microsecond.
    #[cfg(feature = "cli")]
    pub(crate) fn has_exact_times(&self) -> bool {
        self.recorded.is_exact() && self.recorded.earlier_us.len() + 1 == self.responses.len()
    }

    /// Returns every body, to move large ones out of the document or back into it.
    pub(crate) fn bodies_mut(&mut self) -> Vec<&mut Blob> {
        let mut blobs = self.request.body.blobs_mut();
        for response in &mut self.responses {
            blobs.push(&mut response.body);
            blobs.extend(response.messages.iter_mut().filter_map(Message::blob_mut));
        }
        blobs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorded(at: &str) -> Recorded {
        Recorded {
            at: at.to_owned(),
            ..Recorded::now(None, None)
        }
    }

    #[test]
    fn each_response_has_its_time() {
        let [first, second, third] =
            ["10.000000", "10.000250", "12.500000"].map(|time| recorded(&format!("2026-11-27T10:00:{time}Z")));
        let all = first.followed_by(second.clone()).followed_by(third.clone());
        assert_eq!((&*all.at, &*all.earlier_us), (&*third.at, &[2_500_000, 2_499_750][..]));
        let times = [0, 1, 2].map(|turn| all.time_of(turn, 3));
        assert_eq!(times, [&first, &second, &third].map(Recorded::time));
        // Another number of responses than that of the times: only the last time is known.
        assert_eq!(all.time_of(0, 2), third.time());
        let two = all.of_first(2);
        assert_eq!((&*two.at, &*two.earlier_us), (&*second.at, &[250][..]));
        assert_eq!(all.of_first(3), all);
        assert_eq!(third.second(), "2026-11-27T10:00:12Z");
        // A clock that was set back.
        assert_eq!(third.followed_by(first).earlier_us, [0]);
    }
}
