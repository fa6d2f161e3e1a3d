//! The interface through which a request reaches the upstream.

use std::future::Future;
use std::pin::Pin;

use crate::error::Result;
use crate::http::request::Request;
use crate::http::response::Response;

/// Sends one request to the real API: an [`Upstream`](crate::Upstream), or a closure in a test.
///
/// ```
/// use mistral_cassette::{Request, Response, Transport};
///
/// # fn takes(_: impl Transport) {}
/// takes(|request: Request| async move { Ok(Response::new(http::StatusCode::OK, request.path().to_owned().into_bytes())) });
/// ```
pub trait Transport: Send {
    /// Whether this request would be sent with an API key. Without one, mode `replay` fails on a miss, like `strict`.
    fn has_key(&self, _request: &Request) -> bool {
        true
    }

    /// Whether the upstream refuses every request without an API key, so that mode `record` does not send one. A server on
    /// this machine may need none, and the next layer of a client may add the key.
    fn needs_key(&self) -> bool {
        false
    }

    /// The API key that this transport adds to requests without one. It is redacted like the key of a request.
    fn secret(&self) -> Option<&str> {
        None
    }

    /// Returns a transport that sends a request in the background and does not depend on the caller. By default there
    /// is none: then a stale recording is refreshed before the caller gets a response, and in the session of a test, a
    /// request that its caller cancels before the response is not recorded.
    fn for_background(&self) -> Option<BackgroundTransport> {
        None
    }

    /// Sends the request, and returns when status and headers are received.
    fn send(self, request: Request) -> impl Future<Output = Result<Response>> + Send;
}

/// A [`Transport`] without borrows, for a task in the background.
pub type BackgroundTransport =
    Box<dyn FnOnce(Request) -> Pin<Box<dyn Future<Output = Result<Response>> + Send>> + Send>;

impl<F, Fut> Transport for F
where
    F: FnOnce(Request) -> Fut + Send,
    Fut: Future<Output = Result<Response>> + Send,
{
    fn send(self, request: Request) -> impl Future<Output = Result<Response>> + Send {
        self(request)
    }
}
