//! Asking again after an answer of the moment, and waiting for a turn before each request that is really sent.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use http::{HeaderMap, StatusCode, header};

use crate::error::{ErrorKind, Result};
use crate::http::{BackgroundTransport, Transport};
use crate::http::{Request, Response};
use crate::recorder::Recorder;
use crate::upstream::Upstream;

/// How often and after what time a request is sent again: after the statuses 429, 500, 502, 503 and 504, and when the
/// API cannot be reached. The official SDKs do the same when they are told to, for the same statuses.
///
/// The answer may say how long to wait (`retry-after-ms`, or `retry-after` in seconds or as a date). Otherwise the
/// first wait is 500 milliseconds and each further one half as long again. No wait is longer than a limit, by default
/// 60 seconds. A stream that has begun is not sent again.
///
/// # With recordings
/// Statuses are handled above the recorder: with [`save_errors`](crate::recorder::RecorderBuilder::save_errors) in mode `record`,
/// a 429 that was followed by a 200 is kept as both, and a replay sees both. Nobody waits for an answer that was
/// replayed. Connections that fail are handled below it: they are no answers, and are not counted as failures when
/// a later one holds.
///
/// ```
/// use std::time::Duration;
/// use mistral_cassette::client::{Client, Retries};
///
/// let retries = Retries::new(3).first_wait(Duration::from_millis(200)).max_wait(Duration::from_secs(10));
/// let client = Client::builder().retries(retries).build()?;
/// # Ok::<(), mistral_cassette::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retries {
    times: u32,
    first_wait: Duration,
    max_wait: Duration,
}

impl Retries {
    /// So many times after the first; 0 is never.
    pub fn new(times: u32) -> Self {
        Self {
            times,
            first_wait: Duration::from_millis(500),
            max_wait: Duration::from_secs(60),
        }
    }

    /// The first wait, where the answer does not say how long.
    #[must_use]
    pub fn first_wait(mut self, wait: Duration) -> Self {
        self.first_wait = wait;
        self
    }

    /// The longest wait, whatever the answer says.
    #[must_use]
    pub fn max_wait(mut self, wait: Duration) -> Self {
        self.max_wait = wait;
        self
    }

    /// How long to wait after so many retries, when these were the headers of the last answer.
    fn wait(&self, retries: u32, headers: Option<&HeaderMap>, now: SystemTime) -> Duration {
        let asked_for = headers.and_then(|headers| asked_for(headers, now));
        let grown = || {
            let factor = 1.5_f64.powi(retries.try_into().unwrap_or(i32::MAX));
            Duration::try_from_secs_f64(self.first_wait.as_secs_f64() * factor).unwrap_or(Duration::MAX)
        };
        asked_for.unwrap_or_else(grown).min(self.max_wait)
    }
}

/// How long the API wants its callers to wait.
fn asked_for(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    let number = |name: &str| text(name)?.parse::<f64>().ok();
    let seconds = number("retry-after-ms").map(|ms| ms / 1000.0);
    if let Some(seconds) = seconds.or_else(|| number(header::RETRY_AFTER.as_str())) {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let date = jiff::fmt::rfc2822::parse(text(header::RETRY_AFTER.as_str())?).ok()?;
    // A date that has passed is now.
    let date = SystemTime::from(date.timestamp());
    Some(date.duration_since(now).unwrap_or_default())
}

fn may_pass(status: StatusCode) -> bool {
    matches!(status.as_u16(), 429 | 500 | 502 | 503 | 504)
}

type Turn = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Something to wait for before each request that is really sent.
#[derive(Clone)]
pub(super) struct Limiter(Arc<dyn Fn(&Request) -> Turn + Send + Sync>);

impl Limiter {
    pub(super) fn new<Fut>(turn: impl Fn(&Request) -> Fut + Send + Sync + 'static) -> Self
    where
        Fut: Future<Output = ()> + Send + 'static,
    {
        Self(Arc::new(move |request| Box::pin(turn(request))))
    }
}

impl fmt::Debug for Limiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Limiter")
    }
}

/// The way to the upstream for one call of the client, which may be more than one request.
#[derive(Clone)]
pub(super) struct Live {
    upstream: Upstream,
    limiter: Option<Limiter>,
    retries: Retries,
    spent: Arc<AtomicU32>,
    /// Whether the last answer came from there.
    was_sent: Arc<AtomicBool>,
}

impl Live {
    pub(super) fn new(upstream: Upstream, limiter: Option<Limiter>, retries: Retries) -> Self {
        Self {
            upstream,
            limiter,
            retries,
            spent: Arc::default(),
            was_sent: Arc::default(),
        }
    }

    /// Answers a request from a recorder or live, and again while that is worth it.
    pub(super) async fn answer(self, recorder: Option<&Recorder>, request: Request) -> Result<Response> {
        loop {
            self.was_sent.store(false, Ordering::Relaxed);
            let answered = match recorder {
                Some(recorder) => recorder.answer(request.clone(), self.clone()).await,
                None => self.clone().send(request.clone()).await,
            };
            let response = match answered {
                // In place of a connection that failed, which is tried again below the recorder.
                Err(error) if error.is_injected() && self.next_wait(None).is_some() => continue,
                answered => answered?,
            };
            if !may_pass(response.status()) {
                return Ok(response);
            }
            let Some(wait) = self.next_wait(Some(response.header_map())) else {
                return Ok(response);
            };
            tracing::info!("{} {}: asking again", request.path(), response.status());
            // Read to its end it is recorded, and its connection is free.
            response.bytes().await?;
            if self.was_sent.load(Ordering::Relaxed) {
                tokio::time::sleep(wait).await;
            }
        }
    }

    /// Spends a retry; `None` when there is none left.
    fn next_wait(&self, headers: Option<&HeaderMap>) -> Option<Duration> {
        let spent = self.spent.fetch_add(1, Ordering::Relaxed);
        (spent < self.retries.times).then(|| self.retries.wait(spent, headers, SystemTime::now()))
    }
}

impl Transport for Live {
    fn has_key(&self, request: &Request) -> bool {
        self.upstream.has_key(request)
    }

    fn secret(&self) -> Option<&str> {
        self.upstream.secret()
    }

    fn again(&self) -> Option<BackgroundTransport> {
        let live = self.clone();
        Some(Box::new(|request| Box::pin(live.send(request))))
    }

    async fn send(self, request: Request) -> Result<Response> {
        self.was_sent.store(true, Ordering::Relaxed);
        loop {
            if let Some(limiter) = &self.limiter {
                (limiter.0)(&request).await;
            }
            let error = match self.upstream.clone().send(request.clone()).await {
                Err(error) if error.kind() == ErrorKind::Upstream => error,
                answered => return answered,
            };
            let Some(wait) = self.next_wait(None) else {
                return Err(error);
            };
            tracing::info!("{}: asking again after: {}", request.path(), error.message());
            tokio::time::sleep(wait).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(headers: &[(&str, &str)]) -> Duration {
        let headers = headers
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect();
        // Wed, 21 Oct 2015 07:28:00 GMT
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_445_412_480);
        Retries::new(9).wait(2, Some(&headers), now)
    }

    #[test]
    fn an_answer_may_say_how_long_to_wait() {
        let (second, grown) = (Duration::from_secs(1), Duration::from_millis(1125));
        assert_eq!(waits(&[("retry-after", "7")]), 7 * second);
        assert_eq!(waits(&[("retry-after", "7"), ("retry-after-ms", "250")]), second / 4);
        assert_eq!(waits(&[("retry-after", "Wed, 21 Oct 2015 07:28:30 GMT")]), 30 * second);
        assert_eq!(
            waits(&[("retry-after", "Wed, 21 Oct 2015 07:27:30 GMT")]),
            Duration::ZERO
        );
        assert_eq!(waits(&[("retry-after", "86400")]), 60 * second);
        for nonsense in ["soon", "-5", "NaN", ""] {
            assert_eq!(waits(&[("retry-after", nonsense)]), grown, "{nonsense}");
        }
    }

    #[test]
    fn waits_grow_by_half_up_to_the_limit() {
        let retries = Retries::new(9).max_wait(Duration::from_secs(2));
        let waits: Vec<u128> = (0..6)
            .map(|spent| retries.wait(spent, None, SystemTime::now()).as_millis())
            .collect();
        assert_eq!(waits, [500, 750, 1125, 1687, 2000, 2000]);
        assert_eq!(retries.wait(u32::MAX, None, SystemTime::now()), Duration::from_secs(2));
    }
}
