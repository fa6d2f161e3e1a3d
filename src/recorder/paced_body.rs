//! A recorded body as it is replayed: at its pace, in fragments, complete or truncated.

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, StatusCode};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::cassette::RecordedResponse;
use crate::error::Error;
use crate::http::{Body, Response};
use crate::settings::pace::Pace;

/// The rest of a body that is being replayed.
pub(super) struct PacedBody {
    body: Bytes,
    /// Where each event ends, and when it arrived, in milliseconds since the request.
    events: Vec<(usize, u64)>,
    pace: Pace,
    /// The lengths of the fragments, in a cycle. Empty for one fragment an event.
    fragment_lengths: Vec<usize>,
    is_stream: bool,
    /// The error in place of the second half.
    truncated_by: Option<Error>,
    started: Instant,
    at: usize,
    fragments_sent: usize,
    /// Ends all delays.
    delays_skipped: CancellationToken,
}

impl PacedBody {
    /// The body of a response to a request that has just arrived.
    pub(super) fn new(recorded: &RecordedResponse, body: Bytes, pace: Pace, delays_skipped: CancellationToken) -> Self {
        let mut events = Vec::new();
        if let Some(format) = recorded.stream_format() {
            let mut splitter = format.splitter();
            let complete = splitter.push(&body);
            let mut end = 0;
            let ends = complete.into_iter().chain(splitter.rest()).map(|event| {
                end += event.len();
                end
            });
            // An event without a time arrives with the one before it.
            let last = recorded.timing_ms.last().copied().unwrap_or_default();
            events.extend(ends.zip(recorded.timing_ms.iter().copied().chain(std::iter::repeat(last))));
        }
        if events.is_empty() {
            events.push((body.len(), recorded.timing_ms.first().copied().unwrap_or_default()));
        }
        Self {
            body,
            events,
            pace,
            fragment_lengths: Vec::new(),
            is_stream: recorded.stream_format().is_some(),
            truncated_by: None,
            started: Instant::now(),
            at: 0,
            fragments_sent: 0,
            delays_skipped,
        }
    }

    /// Splits the body into fragments of these lengths, in a cycle.
    pub(super) fn with_fragments(mut self, lengths: &[usize]) -> Self {
        self.fragment_lengths = lengths.to_vec();
        self
    }

    /// Ends the body in its middle with this error.
    pub(super) fn truncated(mut self, error: Error) -> Self {
        self.body.truncate(self.body.len() / 2);
        self.truncated_by = Some(error);
        self
    }

    /// Waits until the response is due, and returns it with this body.
    pub(super) async fn into_response(self, status: StatusCode, headers: HeaderMap) -> Response {
        self.begin().await;
        Response::new(status, self.into_body()).headers(headers)
    }

    /// Waits until the recorded time of the first event, or of a plain body.
    async fn begin(&self) {
        self.wait_until(self.events[0].1).await;
    }

    async fn wait_until(&self, milliseconds: u64) {
        let due = self.pace.delay(milliseconds);
        if !due.is_zero() {
            // A time that the clock cannot represent counts as now.
            let due = self.started.checked_add(due).unwrap_or(self.started);
            self.delays_skipped.run_until_cancelled(sleep_until(due)).await;
        }
    }

    /// The rest as a body.
    fn into_body(self) -> Body {
        let is_streamed = self.is_stream || !self.fragment_lengths.is_empty() || self.truncated_by.is_some();
        if !is_streamed {
            return self.body.into();
        }
        Body::from_stream(stream::unfold(self, |mut paced| async move {
            let fragment = match paced.next().await {
                Some(fragment) => Ok(fragment),
                None => Err(paced.truncated_by.take()?),
            };
            Some((fragment, paced))
        }))
    }

    async fn next(&mut self) -> Option<Bytes> {
        if self.at == self.body.len() {
            return None;
        }
        let event_of = |byte: usize| {
            let event = self.events.partition_point(|(end, _)| *end <= byte);
            self.events[event.min(self.events.len() - 1)]
        };
        let end = match self
            .fragment_lengths
            .get(self.fragments_sent % self.fragment_lengths.len().max(1))
        {
            Some(length) => self.at.saturating_add(*length),
            None => event_of(self.at).0,
        };
        let end = end.min(self.body.len());
        // A fragment arrives with its last byte.
        let (_, arrived) = event_of(end - 1);
        if !self.fragment_lengths.is_empty() && self.fragments_sent > 0 {
            // Lets the connection write each fragment on its own.
            tokio::task::yield_now().await;
        }
        self.wait_until(arrived).await;
        let fragment = self.body.slice(self.at..end);
        self.at = end;
        self.fragments_sent += 1;
        Some(fragment)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::StreamExt;

    use super::*;
    use crate::cassette::Blob;
    use crate::recorder::fault_responses::connection_error;
    use crate::settings::faults::Fault;

    /// Its first event is 10 bytes long.
    const STREAM: &str = "data: é\n\ndata: 2\n\ndata: 3\n\ndata: [DONE]\n\n";

    fn paced(kind: &str, body: &'static str, timing_ms: &[u64], pace: Pace) -> PacedBody {
        let recorded = RecordedResponse {
            status: StatusCode::OK,
            headers: vec![("content-type".to_owned(), kind.to_owned())],
            body: Blob::Inline(Bytes::new()),
            timing_ms: timing_ms.to_vec(),
            messages: Vec::new(),
        };
        PacedBody::new(&recorded, body.into(), pace, CancellationToken::new())
    }

    fn stream(pace: Pace) -> PacedBody {
        paced("text/event-stream", STREAM, &[120, 150, 400, 400], pace)
    }

    /// The milliseconds after which the response started, and each fragment with its milliseconds.
    async fn received(paced: PacedBody) -> (u128, Vec<(u128, String)>) {
        let started = Instant::now();
        let now = || started.elapsed().as_millis();
        paced.begin().await;
        let (answered, mut fragments) = (now(), paced.into_body().into_stream());
        let mut received = Vec::new();
        while let Some(fragment) = fragments.next().await {
            received.push(match fragment {
                Ok(fragment) => (now(), String::from_utf8_lossy(&fragment).into_owned()),
                Err(error) => (now(), error.message().to_owned()),
            });
        }
        (answered, received)
    }

    fn times(received: &[(u128, String)]) -> Vec<u128> {
        received.iter().map(|(at, _)| *at).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn each_event_is_replayed_at_its_recorded_time() {
        for (pace, expected) in [
            (Pace::Recorded, [120, 150, 400, 400]),
            (Pace::Times(2.0), [60, 75, 200, 200]),
            (Pace::Times(0.5), [240, 300, 800, 800]),
            (Pace::Instant, [0, 0, 0, 0]),
        ] {
            let (answered, fragments) = received(stream(pace)).await;
            assert_eq!(answered, expected[0], "{pace:?}");
            assert_eq!(times(&fragments), expected, "{pace:?}");
            assert_eq!(fragments[1].1, "data: 2\n\n");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_plain_body_is_replayed_when_it_was_complete() {
        let (answered, fragments) = received(paced("application/json", "{}", &[412], Pace::Recorded)).await;
        assert_eq!((answered, fragments), (412, vec![(412, "{}".to_owned())]));
    }

    #[tokio::test(start_paused = true)]
    async fn events_without_a_time_follow_the_last_event_with_one() {
        let paced = paced("text/event-stream", STREAM, &[100, 200], Pace::Recorded);
        assert_eq!(times(&received(paced).await.1), [100, 200, 200, 200]);
    }

    #[tokio::test(start_paused = true)]
    async fn fragments_have_the_requested_lengths_and_arrive_with_their_last_byte() {
        let (_, fragments) = received(stream(Pace::Recorded).with_fragments(&[7, 1, 9])).await;
        let shown: Vec<&str> = fragments.iter().map(|(_, fragment)| fragment.as_str()).collect();
        // é is split in two.
        assert_eq!(&shown[..3], ["data: \u{fffd}", "\u{fffd}", "\n\ndata: 2"]);
        let lengths = [7, 1, 9, 7, 1, 9, 7, 1];
        let total = STREAM.len();
        let mut end = 0;
        let mut expected = Vec::new();
        for length in lengths.iter().cycle() {
            end += length;
            expected.push(match end.min(total) {
                ..=10 => 120,
                11..=19 => 150,
                _ => 400,
            });
            if end >= total {
                break;
            }
        }
        assert_eq!(times(&fragments), expected);
    }

    #[tokio::test(start_paused = true)]
    async fn fragments_lose_no_byte() {
        for lengths in [&[1][..], &[1, 5, 2, 13], &[1000], &[usize::MAX, 1]] {
            for body in ["", "{}", STREAM] {
                let mut fragments = paced("application/json", body, &[1], Pace::Instant)
                    .with_fragments(lengths)
                    .into_body()
                    .into_stream();
                let (mut all, mut cycle) = (Vec::new(), lengths.iter().cycle());
                while let Some(fragment) = fragments.next().await {
                    let fragment = fragment.unwrap();
                    all.extend_from_slice(&fragment);
                    let length = *cycle.next().unwrap();
                    assert!(fragment.len() == length || all.len() == body.len());
                }
                assert_eq!(all, body.as_bytes());
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_truncated_body_ends_in_its_middle() {
        let (_, fragments) = received(stream(Pace::Recorded).truncated(connection_error(Fault::Cut))).await;
        assert_eq!(times(&fragments), [120, 150, 400, 400]);
        let (error, before) = fragments.split_last().unwrap();
        let sent: String = before.iter().map(|(_, fragment)| fragment.as_str()).collect();
        assert_eq!(sent, STREAM[..STREAM.len() / 2]);
        assert!(
            error.1.contains("closed in the middle of the response (injected"),
            "{error:?}"
        );
        let (_, fragments) =
            received(paced("application/json", "{}", &[1], Pace::Instant).truncated(connection_error(Fault::Cut)))
                .await;
        assert_eq!(fragments.len(), 2, "{fragments:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn skipped_delays_send_the_rest_at_once() {
        let paced = stream(Pace::Recorded);
        let (delays_skipped, started) = (paced.delays_skipped.clone(), Instant::now());
        let skip_delays = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(130)).await;
            delays_skipped.cancel();
        });
        let (_, fragments) = received(paced).await;
        assert_eq!(times(&fragments), [120, 130, 130, 130]);
        skip_delays.await.unwrap();
        assert_eq!(started.elapsed().as_millis(), 130);
    }
}
