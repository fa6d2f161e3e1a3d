//! What applies to one call: headers of the caller, and the total timeout.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::time::{Instant, timeout_at};

use crate::error::{Error, ErrorKind, Result};
use crate::http::{Request, Response};

/// The options for the calls of a client.
#[derive(Clone, Debug, Default)]
pub(super) struct CallOptions {
    headers: HeaderMap,
    pub(super) total_timeout: Option<Duration>,
}

impl CallOptions {
    /// Sets a header and replaces its previous value.
    pub(super) fn set_header(&mut self, name: &str, value: &str) -> Result<()> {
        let invalid = |what: &str| Error::new(ErrorKind::Request, format!("invalid {what} of a header: {name:?}"));
        let parsed: HeaderName = name.parse().map_err(|error| invalid("name").with_source(error))?;
        // The value may be a secret, and must not appear in the message.
        let value = HeaderValue::from_str(value).map_err(|error| invalid("value").with_source(error))?;
        self.headers.insert(parsed, value);
        Ok(())
    }

    /// Adds the headers to a request, in place of its own of the same names.
    pub(super) fn apply(&self, mut request: Request) -> Request {
        for (name, value) in &self.headers {
            request = request.header(name.clone(), value.clone());
        }
        request
    }

    /// Returns the deadline for a call that starts now.
    pub(super) fn deadline(&self) -> Option<Deadline> {
        let limit = self.total_timeout?;
        // A time that the clock cannot represent is no deadline.
        let at = Instant::now().checked_add(limit)?;
        Some(Deadline { at, limit })
    }
}

/// The time at which a call ends with an error.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline {
    at: Instant,
    limit: Duration,
}

impl Deadline {
    /// Returns what a future returns, or an error if it is not ready in time.
    pub(super) async fn limit<T>(self, future: impl Future<Output = Result<T>>) -> Result<T> {
        timeout_at(self.at, future).await.unwrap_or_else(|_| Err(self.error()))
    }

    /// Returns the response with a body that ends with an error at the deadline, unless it is complete.
    pub(super) fn limit_body(self, response: Response) -> Response {
        response.map_stream(move |pieces| Box::pin(self.limited(pieces)))
    }

    fn limited<S: Stream<Item = Result<Bytes>> + Unpin>(self, pieces: S) -> impl Stream<Item = Result<Bytes>> {
        stream::unfold(Some(pieces), move |pieces| async move {
            let mut pieces = pieces?;
            match timeout_at(self.at, pieces.next()).await {
                Ok(piece) => Some((piece?, Some(pieces))),
                Err(_) => Some((Err(self.error()), None)),
            }
        })
    }

    fn error(self) -> Error {
        let message = format!("the call took longer than its total timeout of {:?}", self.limit);
        Error::new(ErrorKind::Upstream, message).with_timed_out(true)
    }
}

/// Returns what a future returns, or an error at the deadline, if there is one.
pub(super) async fn within<T>(deadline: Option<Deadline>, future: impl Future<Output = Result<T>>) -> Result<T> {
    match deadline {
        Some(deadline) => deadline.limit(future).await,
        None => future.await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Body;

    #[tokio::test(start_paused = true)]
    async fn a_body_ends_with_an_error_at_the_deadline() {
        let options = CallOptions {
            total_timeout: Some(Duration::from_secs(3)),
            ..CallOptions::default()
        };
        let pieces = stream::iter(1..5).then(|number| async move {
            tokio::time::sleep(Duration::from_secs(2)).await;
            Ok(Bytes::from(vec![b'0' + number]))
        });
        let deadline = options.deadline().unwrap();
        let response = Response::new(http::StatusCode::OK, Body::from_stream(pieces));
        let received: Vec<_> = deadline.limit_body(response).into_body().into_stream().collect().await;
        assert_eq!(received.len(), 2);
        assert_eq!(received[0].as_ref().unwrap(), "1");
        let error = received[1].as_ref().unwrap_err();
        assert!(error.is_timeout() && error.kind() == ErrorKind::Upstream);
        assert_eq!(error.message(), "the call took longer than its total timeout of 3s");
    }

    #[test]
    fn an_endless_timeout_is_no_deadline() {
        let options = CallOptions {
            total_timeout: Some(Duration::MAX),
            ..CallOptions::default()
        };
        assert!(options.deadline().is_none() && CallOptions::default().deadline().is_none());
    }

    #[test]
    fn an_invalid_header_is_an_error_without_its_value() {
        let mut options = CallOptions::default();
        for (name, value) in [("a b", "x"), ("", "x"), ("x-key", "secret\n")] {
            let error = options.set_header(name, value).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Request);
            assert!(!error.report().contains("secret"), "{error:?}");
        }
    }
}
