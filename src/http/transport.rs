//! The way to the upstream, as an argument.

use std::future::Future;
use std::pin::Pin;

use crate::error::Result;
use crate::http::request::Request;
use crate::http::response::Response;

/// A way to the real API, used for one request: [`Upstream`](crate::Upstream), or a closure in a test.
///
/// ```
/// use mistral_cassette::{Request, Response, Transport};
///
/// # fn takes(_: impl Transport) {}
/// takes(|request: Request| async move { Ok(Response::new(http::StatusCode::OK, request.path().to_owned().into_bytes())) });
/// ```
pub trait Transport: Send {
    /// Whether it can ask for this request with an API key; without one, mode `replay` fails on a miss like `strict`.
    fn has_key(&self, _request: &Request) -> bool {
        true
    }

    /// A key that it adds to requests which bring none, to be redacted like theirs.
    fn secret(&self) -> Option<&str> {
        None
    }

    /// The same way once more, for an ask in the background that outlives this one; by default there is none, and what
    /// is stale is then asked for before it is answered.
    fn again(&self) -> Option<BackgroundTransport> {
        None
    }

    /// Sends the request, and returns as soon as status and headers are there.
    fn send(self, request: Request) -> impl Future<Output = Result<Response>> + Send;
}

/// A [`Transport`] that owns all it needs.
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
