//! Retries after transient errors, and the rate limiter for requests to the API.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use http::{HeaderMap, StatusCode, header};

use super::call::{Deadline, within};
use crate::error::{ErrorKind, Result};
use crate::http::{BackgroundTransport, Transport};
use crate::http::{Request, Response};
use crate::recorder::Recorder;
use crate::upstream::Upstream;

/// The number of retries and the delays between them. A request is retried after the statuses 429, 500, 502, 503 and
/// 504, and if the API cannot be reached. The official SDKs retry after the same statuses if they are configured to.
///
/// The response may set the delay (`retry-after-ms`, or `retry-after` in seconds or as a date). Otherwise the first
/// delay is 500 milliseconds, and each further delay is 1.5 times as long. The maximum delay is 60 seconds by default.
/// A stream that has started is not retried.
///
/// # With recordings
/// A retry after a status is a new request to the recorder. With
/// [`save_errors`](crate::recorder::RecorderBuilder::save_errors) in mode `record`, a 429 and the 200 after it are both
/// recorded, and both are replayed. After a replayed response there is no delay. A retry after a failed connection is
/// not visible to the recorder, which counts a failure only if no retry succeeds.
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
    /// Sets the number of retries. 0 disables them.
    pub fn new(times: u32) -> Self {
        Self {
            times,
            first_wait: Duration::from_millis(500),
            max_wait: Duration::from_secs(60),
        }
    }

    /// Sets the first delay, for responses that do not set the delay.
    #[must_use]
    pub fn first_wait(mut self, wait: Duration) -> Self {
        self.first_wait = wait;
        self
    }

    /// Sets the maximum delay, which also limits the delay that a response sets.
    #[must_use]
    pub fn max_wait(mut self, wait: Duration) -> Self {
        self.max_wait = wait;
        self
    }

    /// Returns the delay after a number of retries. `headers` are those of the last response.
    fn delay(&self, retries: u32, headers: Option<&HeaderMap>, now: SystemTime) -> Duration {
        let requested = headers.and_then(|headers| retry_after(headers, now));
        let grown = || {
            let factor = 1.5_f64.powi(retries.try_into().unwrap_or(i32::MAX));
            Duration::try_from_secs_f64(self.first_wait.as_secs_f64() * factor).unwrap_or(Duration::MAX)
        };
        requested.unwrap_or_else(grown).min(self.max_wait)
    }
}

/// Returns the delay that the API requests.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    let number = |name: &str| text(name)?.parse::<f64>().ok();
    let seconds = number("retry-after-ms").map(|ms| ms / 1000.0);
    if let Some(seconds) = seconds.or_else(|| number(header::RETRY_AFTER.as_str())) {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let date = jiff::fmt::rfc2822::parse(text(header::RETRY_AFTER.as_str())?).ok()?;
    // A date in the past means no delay.
    let date = SystemTime::from(date.timestamp());
    Some(date.duration_since(now).unwrap_or_default())
}

fn is_retryable(status: StatusCode) -> bool {
    matches!(status.as_u16(), 429 | 500 | 502 | 503 | 504)
}

type Permit = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A rate limiter, which is awaited before each request to the API.
#[derive(Clone)]
pub(super) struct Limiter(Arc<dyn Fn(&Request) -> Permit + Send + Sync>);

impl Limiter {
    pub(super) fn new<Fut>(permit: impl Fn(&Request) -> Fut + Send + Sync + 'static) -> Self
    where
        Fut: Future<Output = ()> + Send + 'static,
    {
        Self(Arc::new(move |request| Box::pin(permit(request))))
    }
}

impl fmt::Debug for Limiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Limiter")
    }
}

/// The transport for one call of the client, which may send several requests.
#[derive(Clone)]
pub(super) struct RetryingUpstream {
    upstream: Upstream,
    limiter: Option<Limiter>,
    retries: Retries,
    deadline: Option<Deadline>,
    /// The number of retries that were used.
    used: Arc<AtomicU32>,
    /// Whether the last response came from the upstream.
    was_sent: Arc<AtomicBool>,
}

impl RetryingUpstream {
    pub(super) fn new(upstream: Upstream, limiter: Option<Limiter>, retries: Retries) -> Self {
        Self {
            upstream,
            limiter,
            retries,
            deadline: None,
            used: Arc::default(),
            was_sent: Arc::default(),
        }
    }

    /// Sets the deadline for a response of the upstream.
    pub(super) fn with_deadline(mut self, deadline: Option<Deadline>) -> Self {
        self.deadline = deadline;
        self
    }

    /// Whether the last response came from the upstream, not from a recording.
    pub(super) fn was_sent(&self) -> bool {
        self.was_sent.load(Ordering::Relaxed)
    }

    /// Answers a request through the recorder or from the upstream, and retries it after transient errors.
    pub(super) async fn answer(&self, recorder: Option<&Recorder>, request: Request) -> Result<Response> {
        loop {
            self.was_sent.store(false, Ordering::Relaxed);
            let answered = match recorder {
                Some(recorder) => recorder.answer(request.clone(), self.clone()).await,
                None => self.clone().send(request.clone()).await,
            };
            let response = match answered {
                // An injected fault replaces a failed connection, which `send` would retry.
                Err(error) if error.is_injected() && self.next_delay(None).is_some() => continue,
                answered => answered?,
            };
            if !is_retryable(response.status()) {
                return Ok(response);
            }
            let Some(delay) = self.next_delay(Some(response.header_map())) else {
                return Ok(response);
            };
            tracing::info!("{} {}: retrying", request.path(), response.status());
            // Reading the complete body records the response and frees the connection.
            response.bytes().await?;
            if self.was_sent() {
                tokio::time::sleep(delay).await;
            }
        }
    }

    /// Uses one retry and returns its delay, or `None` if no retry is left.
    fn next_delay(&self, headers: Option<&HeaderMap>) -> Option<Duration> {
        let used = self.used.fetch_add(1, Ordering::Relaxed);
        (used < self.retries.times).then(|| self.retries.delay(used, headers, SystemTime::now()))
    }
}

impl Transport for RetryingUpstream {
    fn has_key(&self, request: &Request) -> bool {
        self.upstream.has_key(request)
    }

    fn needs_key(&self) -> bool {
        self.upstream.needs_key()
    }

    fn secret(&self) -> Option<&str> {
        self.upstream.secret()
    }

    fn for_background(&self) -> Option<BackgroundTransport> {
        // The caller, who has set the deadline, does not wait for this request.
        let transport = self.clone().with_deadline(None);
        Some(Box::new(|request| Box::pin(transport.send(request))))
    }

    async fn send(self, request: Request) -> Result<Response> {
        self.upstream.check_key(&request)?;
        self.was_sent.store(true, Ordering::Relaxed);
        // The recorder gets the error of a late response, and counts a failure.
        within(self.deadline, self.send_with_retries(request)).await
    }
}

impl RetryingUpstream {
    async fn send_with_retries(&self, request: Request) -> Result<Response> {
        loop {
            if let Some(limiter) = &self.limiter {
                (limiter.0)(&request).await;
            }
            let error = match self.upstream.clone().send(request.clone()).await {
                Err(error) if error.kind() == ErrorKind::Upstream => error,
                answered => return answered,
            };
            let Some(delay) = self.next_delay(None) else {
                return Err(error);
            };
            tracing::info!("{}: retrying after: {}", request.path(), error.message());
            tokio::time::sleep(delay).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delay(headers: &[(&str, &str)]) -> Duration {
        let headers = headers
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect();
        // Wed, 21 Oct 2015 07:28:00 GMT
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_445_412_480);
        Retries::new(9).delay(2, Some(&headers), now)
    }

    #[test]
    fn a_response_may_set_the_delay() {
        let (second, grown) = (Duration::from_secs(1), Duration::from_millis(1125));
        assert_eq!(delay(&[("retry-after", "7")]), 7 * second);
        assert_eq!(delay(&[("retry-after", "7"), ("retry-after-ms", "250")]), second / 4);
        assert_eq!(delay(&[("retry-after", "Wed, 21 Oct 2015 07:28:30 GMT")]), 30 * second);
        assert_eq!(
            delay(&[("retry-after", "Wed, 21 Oct 2015 07:27:30 GMT")]),
            Duration::ZERO
        );
        assert_eq!(delay(&[("retry-after", "86400")]), 60 * second);
        for invalid in ["soon", "-5", "NaN", ""] {
            assert_eq!(delay(&[("retry-after", invalid)]), grown, "{invalid}");
        }
    }

    #[test]
    fn delays_grow_by_half_up_to_the_maximum() {
        let retries = Retries::new(9).max_wait(Duration::from_secs(2));
        let delays: Vec<u128> = (0..6)
            .map(|used| retries.delay(used, None, SystemTime::now()).as_millis())
            .collect();
        assert_eq!(delays, [500, 750, 1125, 1687, 2000, 2000]);
        assert_eq!(retries.delay(u32::MAX, None, SystemTime::now()), Duration::from_secs(2));
    }
}
