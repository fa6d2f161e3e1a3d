//! A recorded body as it is handed on: at its pace, in its pieces, to its end or not.

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, StatusCode};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::cassette::RecordedResponse;
use crate::error::Error;
use crate::http::{Body, Response, Splitter};
use crate::settings::pace::Pace;

/// What is left of a body to be handed on.
pub(super) struct PacedBody {
    body: Bytes,
    /// Where each event ends, and when it came, in milliseconds since the request.
    events: Vec<(usize, u64)>,
    pace: Pace,
    lengths: Vec<usize>,
    is_stream: bool,
    /// What is told in place of the second half.
    breaks_off: Option<Error>,
    began: Instant,
    at: usize,
    pieces: usize,
    /// Ends all pauses.
    delays_skipped: CancellationToken,
}

impl PacedBody {
    /// This body of a response, which was asked for just now.
    pub(super) fn new(recorded: &RecordedResponse, body: Bytes, pace: Pace, delays_skipped: CancellationToken) -> Self {
        let mut events = Vec::new();
        if recorded.is_event_stream() {
            let mut splitter = Splitter::default();
            let whole = splitter.push(&body);
            let mut end = 0;
            let ends = whole.into_iter().chain(splitter.rest()).map(|event| {
                end += event.len();
                end
            });
            // Whatever has no time came with what was before it.
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
            lengths: Vec::new(),
            is_stream: recorded.is_event_stream(),
            breaks_off: None,
            began: Instant::now(),
            at: 0,
            pieces: 0,
            delays_skipped,
        }
    }

    /// In pieces of these lengths, in a cycle.
    pub(super) fn in_pieces_of(mut self, lengths: &[usize]) -> Self {
        self.lengths = lengths.to_vec();
        self
    }

    /// Breaking off in the middle with this error.
    pub(super) fn breaking_off(mut self, error: Error) -> Self {
        self.body.truncate(self.body.len() / 2);
        self.breaks_off = Some(error);
        self
    }

    /// The response with this body, when its time has come.
    pub(super) async fn hand_on(self, status: StatusCode, headers: HeaderMap) -> Response {
        self.begin().await;
        Response::new(status, self.into_body()).headers(headers)
    }

    /// Waits for the time at which the answer came.
    async fn begin(&self) {
        self.until(self.events[0].1).await;
    }

    async fn until(&self, milliseconds: u64) {
        let due = self.pace.delay(milliseconds);
        if !due.is_zero() {
            // What is too far away for a clock is now.
            let due = self.began.checked_add(due).unwrap_or(self.began);
            self.delays_skipped.run_until_cancelled(sleep_until(due)).await;
        }
    }

    /// What is left, as a body.
    fn into_body(self) -> Body {
        let is_in_pieces = self.is_stream || !self.lengths.is_empty() || self.breaks_off.is_some();
        if !is_in_pieces {
            return self.body.into();
        }
        Body::from_stream(stream::unfold(self, |mut reel| async move {
            let piece = match reel.next().await {
                Some(piece) => Ok(piece),
                None => Err(reel.breaks_off.take()?),
            };
            Some((piece, reel))
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
        let end = match self.lengths.get(self.pieces % self.lengths.len().max(1)) {
            Some(length) => self.at.saturating_add(*length),
            None => event_of(self.at).0,
        };
        let end = end.min(self.body.len());
        // A piece is there when its last byte is.
        let (_, came) = event_of(end - 1);
        if !self.lengths.is_empty() && self.pieces > 0 {
            // So that whoever writes it writes it by itself.
            tokio::task::yield_now().await;
        }
        self.until(came).await;
        let piece = self.body.slice(self.at..end);
        self.at = end;
        self.pieces += 1;
        Some(piece)
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

    fn reel(kind: &str, body: &'static str, timing_ms: &[u64], pace: Pace) -> PacedBody {
        let recorded = RecordedResponse {
            status: StatusCode::OK,
            headers: vec![("content-type".to_owned(), kind.to_owned())],
            body: Blob::Inline(Bytes::new()),
            timing_ms: timing_ms.to_vec(),
        };
        PacedBody::new(&recorded, body.into(), pace, CancellationToken::new())
    }

    fn stream(pace: Pace) -> PacedBody {
        reel("text/event-stream", STREAM, &[120, 150, 400, 400], pace)
    }

    /// Each piece with the milliseconds after which it came; the first number is that of the answer itself.
    async fn heard(reel: PacedBody) -> (u128, Vec<(u128, String)>) {
        let began = Instant::now();
        let now = || began.elapsed().as_millis();
        reel.begin().await;
        let (answered, mut pieces) = (now(), reel.into_body().into_stream());
        let mut heard = Vec::new();
        while let Some(piece) = pieces.next().await {
            heard.push(match piece {
                Ok(piece) => (now(), String::from_utf8_lossy(&piece).into_owned()),
                Err(error) => (now(), error.message().to_owned()),
            });
        }
        (answered, heard)
    }

    fn times(heard: &[(u128, String)]) -> Vec<u128> {
        heard.iter().map(|(at, _)| *at).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn each_event_comes_when_it_came() {
        for (pace, expected) in [
            (Pace::Recorded, [120, 150, 400, 400]),
            (Pace::Times(2.0), [60, 75, 200, 200]),
            (Pace::Times(0.5), [240, 300, 800, 800]),
            (Pace::Instant, [0, 0, 0, 0]),
        ] {
            let (answered, pieces) = heard(stream(pace)).await;
            assert_eq!(answered, expected[0], "{pace:?}");
            assert_eq!(times(&pieces), expected, "{pace:?}");
            assert_eq!(pieces[1].1, "data: 2\n\n");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_plain_body_comes_when_it_was_whole() {
        let (answered, pieces) = heard(reel("application/json", "{}", &[412], Pace::Recorded)).await;
        assert_eq!((answered, pieces), (412, vec![(412, "{}".to_owned())]));
    }

    #[tokio::test(start_paused = true)]
    async fn events_without_a_time_come_with_the_last_one_that_has_one() {
        let reel = reel("text/event-stream", STREAM, &[100, 200], Pace::Recorded);
        assert_eq!(times(&heard(reel).await.1), [100, 200, 200, 200]);
    }

    #[tokio::test(start_paused = true)]
    async fn pieces_have_the_lengths_that_were_asked_for_and_come_with_their_last_byte() {
        let (_, pieces) = heard(stream(Pace::Recorded).in_pieces_of(&[7, 1, 9])).await;
        let shown: Vec<&str> = pieces.iter().map(|(_, piece)| piece.as_str()).collect();
        // é is torn in two.
        assert_eq!(&shown[..3], ["data: \u{fffd}", "\u{fffd}", "\n\ndata: 2"]);
        let lengths = [7, 1, 9, 7, 1, 9, 7, 1];
        let whole = STREAM.len();
        let mut end = 0;
        let mut expected = Vec::new();
        for length in lengths.iter().cycle() {
            end += length;
            expected.push(match end.min(whole) {
                ..=10 => 120,
                11..=19 => 150,
                _ => 400,
            });
            if end >= whole {
                break;
            }
        }
        assert_eq!(times(&pieces), expected);
    }

    #[tokio::test(start_paused = true)]
    async fn pieces_lose_no_byte() {
        for lengths in [&[1][..], &[1, 5, 2, 13], &[1000], &[usize::MAX, 1]] {
            for body in ["", "{}", STREAM] {
                let mut pieces = reel("application/json", body, &[1], Pace::Instant)
                    .in_pieces_of(lengths)
                    .into_body()
                    .into_stream();
                let (mut all, mut cycle) = (Vec::new(), lengths.iter().cycle());
                while let Some(piece) = pieces.next().await {
                    let piece = piece.unwrap();
                    all.extend_from_slice(&piece);
                    let length = *cycle.next().unwrap();
                    assert!(piece.len() == length || all.len() == body.len());
                }
                assert_eq!(all, body.as_bytes());
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_breaks_off_does_so_in_the_middle() {
        let (_, pieces) = heard(stream(Pace::Recorded).breaking_off(connection_error(Fault::Cut))).await;
        assert_eq!(times(&pieces), [120, 150, 400, 400]);
        let (error, before) = pieces.split_last().unwrap();
        let said: String = before.iter().map(|(_, piece)| piece.as_str()).collect();
        assert_eq!(said, STREAM[..STREAM.len() / 2]);
        assert!(
            error.1.contains("closed in the middle of the response (injected"),
            "{error:?}"
        );
        let (_, pieces) =
            heard(reel("application/json", "{}", &[1], Pace::Instant).breaking_off(connection_error(Fault::Cut))).await;
        assert_eq!(pieces.len(), 2, "{pieces:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_hurried_gets_the_rest_at_once() {
        let reel = stream(Pace::Recorded);
        let (delays_skipped, began) = (reel.delays_skipped.clone(), Instant::now());
        let skip_delays = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(130)).await;
            delays_skipped.cancel();
        });
        let (_, pieces) = heard(reel).await;
        assert_eq!(times(&pieces), [120, 130, 130, 130]);
        skip_delays.await.unwrap();
        assert_eq!(began.elapsed().as_millis(), 130);
    }
}
