//! The middleware that records and replays requests of programs on `reqwest` and `reqwest-middleware`.

use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use futures_util::TryStreamExt;
use http::Extensions;
use http_body_util::BodyExt as _;
use reqwest::{Body as HttpBody, ResponseBuilderExt as _, Url};
use reqwest_middleware::{Middleware, Next};

use crate::error::{Error, ErrorKind, Result};
use crate::http::{Body, Request, Response, Transport, base_path_len, strip_control_headers};
use crate::recorder::Recorder;

/// Records and replays the requests of a `reqwest_middleware::ClientWithMiddleware`.
///
/// The caller's request goes to the API with its own client, headers and body. Only the copy that is hashed and
/// recorded is redacted. Add this middleware last, so that it sees each request as it is sent, and each retry as a
/// request. The host is not part of the request key: add it only to a client for the Mistral API.
///
/// ```
/// use mistral_cassette::{CassetteMiddleware, MemoryEngine, Mode, Recorder};
///
/// # fn main() -> mistral_cassette::Result<()> {
/// let recorder = Recorder::builder(MemoryEngine::new()).mode(Mode::Strict).build()?;
/// # rustls::crypto::ring::default_provider().install_default().ok();
/// let client = reqwest_middleware::ClientBuilder::new(reqwest::Client::new())
///     .with(CassetteMiddleware::new(recorder.clone()))
///     .build();
/// // … client.post("https://api.mistral.ai/v1/chat/completions") …
/// recorder.session().verdict()?;
/// # Ok(()) }
/// ```
///
/// # Errors
/// An error of the next middleware or of the client is returned unchanged. A miss, a damaged cassette and other errors
/// of this crate are returned as `reqwest_middleware::Error::Middleware`, which downcasts to [`Error`](crate::Error).
/// An incomplete response is an error of its body.
#[derive(Clone, Debug)]
pub struct CassetteMiddleware {
    recorder: Recorder,
}

impl CassetteMiddleware {
    /// Creates a middleware for this recorder. Keep a clone of the recorder to get the verdict of its session.
    pub fn new(recorder: Recorder) -> Self {
        Self { recorder }
    }
}

#[async_trait]
impl Middleware for CassetteMiddleware {
    async fn handle(
        &self,
        request: reqwest::Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> reqwest_middleware::Result<reqwest::Response> {
        let url = request.url().clone();
        let (request, copy) = buffer(request).await.map_err(reqwest_middleware::Error::middleware)?;
        let original_error = Mutex::new(None);
        let chain = RestOfChain {
            request,
            extensions,
            next,
            original_error: &original_error,
        };
        match self.recorder.answer(copy, chain).await {
            Ok(response) => Ok(to_reqwest(response, url)),
            Err(error) => {
                let original = original_error.into_inner().unwrap_or_else(PoisonError::into_inner);
                Err(original.unwrap_or_else(|| reqwest_middleware::Error::middleware(error)))
            }
        }
    }
}

/// The next middlewares and the client of the caller, as a transport.
struct RestOfChain<'a> {
    request: reqwest::Request,
    extensions: &'a mut Extensions,
    next: Next<'a>,
    /// Receives the error of the chain, so that the caller gets it unchanged.
    original_error: &'a Mutex<Option<reqwest_middleware::Error>>,
}

impl Transport for RestOfChain<'_> {
    fn has_key(&self, request: &Request) -> bool {
        request.credentials().next().is_some()
    }

    async fn send(self, _: Request) -> Result<Response> {
        let url = self.request.url();
        let origin = format!(
            "{}{}",
            url.origin().ascii_serialization(),
            &url.path()[..base_path_len(url.path())]
        );
        match self.next.run(self.request, self.extensions).await {
            Ok(response) => Ok(from_reqwest(response, origin)),
            Err(error) => {
                let timed_out = matches!(&error, reqwest_middleware::Error::Reqwest(error) if error.is_timeout());
                let message = format!("{origin} did not respond: {error}");
                *self.original_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                Err(Error::new(ErrorKind::Upstream, message).with_timed_out(timed_out))
            }
        }
    }
}

/// Reads the body of the caller's request into memory, and copies the request for the recorder.
async fn buffer(mut request: reqwest::Request) -> Result<(reqwest::Request, Request)> {
    let body = match request.body_mut().take() {
        None => None,
        Some(body) => {
            let read = body
                .collect()
                .await
                .map_err(|error| Error::new(ErrorKind::Request, "cannot read the request body").with_source(error))?;
            Some(read.to_bytes())
        }
    };
    let url = request.url();
    let (_, path) = url.path().split_at(base_path_len(url.path()));
    let target = match url.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    let copy = Request::new(request.method().clone(), &target)?
        .headers(request.headers().clone())
        .body(body.clone().unwrap_or_default());
    strip_control_headers(request.headers_mut());
    *request.body_mut() = body.map(HttpBody::from);
    Ok((request, copy))
}

fn from_reqwest(response: reqwest::Response, origin: String) -> Response {
    let (status, headers) = (response.status(), response.headers().clone());
    let pieces = response.bytes_stream().map_err({
        let origin = origin.clone();
        move |error| {
            Error::new(ErrorKind::Upstream, format!("{origin} sent an incomplete response"))
                .with_timed_out(error.is_timeout())
                .with_source(error.without_url())
        }
    });
    Response::new(status, Body::from_stream(pieces))
        .headers(headers)
        .origin(origin)
}

fn to_reqwest(response: Response, url: Url) -> reqwest::Response {
    let (status, headers, body) = response.into_parts();
    let body = match body.try_into_bytes() {
        Ok(bytes) => HttpBody::from(bytes),
        Err(body) => HttpBody::wrap_stream(body.into_stream()),
    };
    let mut converted = http::Response::new(body);
    *converted.status_mut() = status;
    *converted.headers_mut() = headers;
    // reqwest reads the URL from an extension that only its own builder sets.
    let with_url = http::Response::builder()
        .url(url)
        .body(())
        .map(|response| response.into_parts().0.extensions);
    if let Ok(extensions) = with_url {
        *converted.extensions_mut() = extensions;
    }
    reqwest::Response::from(converted)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[tokio::test]
    async fn a_streamed_request_body_is_read_once_and_sent_complete() {
        let pieces = futures_util::stream::iter(["a", "b"].map(|piece| Ok::<_, std::io::Error>(Bytes::from(piece))));
        let mut request = reqwest::Request::new(http::Method::POST, "http://h/v1/x?a=1#f".parse().unwrap());
        *request.body_mut() = Some(HttpBody::wrap_stream(pieces));
        let (sent, copy) = buffer(request).await.unwrap();
        assert_eq!(sent.body().unwrap().as_bytes(), Some(&b"ab"[..]));
        assert_eq!(
            (copy.target().as_str(), &copy.body_bytes()[..]),
            ("/v1/x?a=1", &b"ab"[..])
        );
    }
}
