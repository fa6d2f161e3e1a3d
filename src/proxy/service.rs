//! Handles one request of the proxy: checks the client, reads the request, and converts the response.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::poll_immediate;
use http::request::Parts;
use http::{HeaderMap, HeaderValue};
use hyper::body::Incoming;

use super::guard::{self, Guard};
use super::intercept::Route;
use super::read::{self, ScopedRequest};
use super::response::{self, ResponseBody};
use super::sessions::{Selected, Sessions};
use crate::error::{Error, ErrorKind, Result};
use crate::http::{LOCATION_HEADERS, is_websocket};
use crate::key::Scope;
use crate::recorder::Recorder;
use crate::upstream::Upstream;

/// The HTTP service that all connections of a proxy share.
pub(super) struct Service {
    sessions: Sessions,
    upstream: Upstream,
    guard: Guard,
    max_body_bytes: u64,
}

impl Service {
    pub(super) fn new(sessions: Sessions, upstream: Upstream, guard: Guard, max_body_bytes: u64) -> Self {
        Self {
            sessions,
            upstream,
            guard,
            max_body_bytes,
        }
    }

    pub(super) fn guard(&self) -> &Guard {
        &self.guard
    }

    pub(super) fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// The recorder of requests that belong to no session of a test runner.
    pub(super) fn recorder(&self) -> &Recorder {
        &self.sessions.own.recorder
    }

    /// Responds to a request. An error closes the connection without a response.
    pub(super) async fn call(
        self: Arc<Self>,
        request: http::Request<Incoming>,
        route: Route,
    ) -> Result<http::Response<ResponseBody>> {
        let (head, body) = request.into_parts();
        let origin = match self.guard.check(&head, &route) {
            Ok(origin) => origin,
            Err(refusal) => {
                let line = format!("{} {}", head.method, head.uri);
                self.recorder().report_refusal(&line, &refusal.error);
                return Ok(refusal.response());
            }
        };
        if let Some(response) = origin.as_ref().and_then(|origin| guard::preflight(&head, origin)) {
            return Ok(response);
        }
        let mut response = self.answer(head, body, route).await?;
        guard::set_cors_headers(response.headers_mut(), origin.as_ref());
        Ok(response)
    }

    /// Where a request goes, and the scope of those that name none.
    pub(super) fn destination(&self, route: &Route) -> (Upstream, Scope) {
        match route {
            Route::Direct => (self.upstream.clone(), Scope::root()),
            Route::Intercepted(destination, _) => (destination.upstream.clone(), destination.scope.clone()),
        }
    }

    async fn answer(
        self: &Arc<Self>,
        head: Parts,
        body: Incoming,
        route: Route,
    ) -> Result<http::Response<ResponseBody>> {
        if is_websocket(&head.headers) {
            return self.open_websocket(head, &route).await;
        }
        let (method, uri) = (head.method.clone(), head.uri.clone());
        let line = || format!("{method} {uri}");
        let scoped = match read::request(head, body, self.max_body_bytes, &route).await {
            Ok(scoped) => scoped,
            Err(refusal) => {
                self.recorder().report_failure(&line(), &refusal.error);
                let response = response::from_request_error(&refusal.error, refusal.status);
                return Ok(response::with_reason(response, &refusal.error));
            }
        };
        let ScopedRequest {
            request,
            scope,
            path_scope,
        } = scoped;
        let (upstream, default) = self.destination(&route);
        let Selected { recorder, requests } = match self.sessions.select(scope.as_ref(), &default) {
            Ok(selected) => selected,
            Err(error) => {
                self.recorder().report_failure(&line(), &error);
                return Ok(response::from_error(&error));
            }
        };
        let reporting = recorder.clone();
        // The future is boxed first, so that the next steps do not copy it.
        let answer = Box::pin(async move { recorder.answer(request, upstream).await });
        Ok(match finish_in_background(requests.track_future(answer)).await {
            Ok(Ok(response)) => {
                let mut response = response::from_response(response);
                if let Some(scope) = path_scope {
                    add_scope(response.headers_mut(), &scope);
                }
                response
            }
            Ok(Err(error)) if error.is_injected() => return Err(error),
            Ok(Err(error)) => response::from_error(&error),
            Err(panic) => {
                let error = panicked(&*panic);
                reporting.report_failure(&line(), &error);
                response::from_error(&error)
            }
        })
    }
}

/// Adds the scope to locations that are paths: these lead to the API, and a client that follows them must stay in its scope.
fn add_scope(headers: &mut HeaderMap, scope: &Scope) {
    for name in LOCATION_HEADERS {
        let location = headers.get(&name).and_then(|value| value.to_str().ok());
        let is_path = |location: &&str| location.starts_with('/') && !location.starts_with("//");
        if let Some(location) = location.filter(is_path)
            && let Ok(value) = HeaderValue::from_str(&read::with_scope(scope, location))
        {
            headers.insert(name, value);
        }
    }
}

/// Polls a future once, which completes most replays, and runs the rest in a task of its own: the recording continues
/// when the client disconnects.
async fn finish_in_background<T, F>(work: F) -> std::thread::Result<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + Unpin + 'static,
{
    let mut work = AssertUnwindSafe(work).catch_unwind();
    match poll_immediate(&mut work).await {
        Some(done) => done,
        None => tokio::spawn(work).await.unwrap_or_else(|error| Err(Box::new(error))),
    }
}

/// The error for a panic.
pub(super) fn panicked(panic: &(dyn Any + Send)) -> Error {
    let message = format!(
        "the proxy panicked on this request, this is a defect: {}",
        panic_message(panic)
    );
    Error::new(ErrorKind::Internal, message)
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_returned_with_its_message() {
        for is_ready in [true, false] {
            let work = Box::pin(async move {
                if !is_ready {
                    tokio::task::yield_now().await;
                }
                panic!("message {}", 1)
            });
            let panic = finish_in_background::<(), _>(work).await.unwrap_err();
            assert_eq!(panic_message(&*panic), "message 1");
        }
        assert_eq!(panic_message(&"text"), "text");
        assert_eq!(panic_message(&1), "no message");
    }
}
