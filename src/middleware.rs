//! The middleware: a door for programs on `reqwest` and `reqwest-middleware`.

use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use futures_util::TryStreamExt;
use http::Extensions;
use http_body_util::BodyExt as _;
use reqwest::{Body as HttpBody, ResponseBuilderExt as _, Url};
use reqwest_middleware::{Middleware, Next};

use crate::error::{Error, ErrorKind, Result};
use crate::http::Transport;
use crate::http::{Body, Request, Response, strip_control_headers};
use crate::recorder::Recorder;

/// Records and replays what a program sends through a `reqwest_middleware::ClientWithMiddleware`.
///
/// The caller's own request is sent on, with its client, headers and body; only the copy that is hashed and kept is
/// redacted. Add it last, so that it sees each request as it leaves and a retry above it counts as another ask. The host
/// takes no part in the request key: add it to the client that talks to the Mistral API, not to one that talks to others.
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
/// What goes wrong below comes back as it is. A miss, a damaged cassette and the like come as
/// `reqwest_middleware::Error::Middleware`, which downcasts to this crate's [`Error`](crate::Error). An answer that breaks
/// off is an error of its body.
#[derive(Clone, Debug)]
pub struct CassetteMiddleware {
    recorder: Recorder,
}

impl CassetteMiddleware {
    /// A middleware on this recorder; clone the recorder before to ask its session for the verdict.
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
        let (request, asked) = whole(request).await.map_err(reqwest_middleware::Error::middleware)?;
        let below = Mutex::new(None);
        let rest = Rest {
            request,
            extensions,
            next,
            failed: &below,
        };
        match self.recorder.answer(asked, rest).await {
            Ok(response) => Ok(handed_on(response, url)),
            Err(error) => {
                let below = below.into_inner().unwrap_or_else(PoisonError::into_inner);
                Err(below.unwrap_or_else(|| reqwest_middleware::Error::middleware(error)))
            }
        }
    }
}

/// What is left of the caller's road: the middlewares below and the client.
struct Rest<'a> {
    request: reqwest::Request,
    extensions: &'a mut Extensions,
    next: Next<'a>,
    /// Takes the error from below, which the caller gets as it is.
    failed: &'a Mutex<Option<reqwest_middleware::Error>>,
}

impl Transport for Rest<'_> {
    fn has_key(&self, request: &Request) -> bool {
        request.credentials().next().is_some()
    }

    async fn send(self, _: Request) -> Result<Response> {
        let url = self.request.url();
        let origin = format!(
            "{}{}",
            url.origin().ascii_serialization(),
            &url.path()[..base_of(url.path())]
        );
        match self.next.run(self.request, self.extensions).await {
            Ok(response) => Ok(arriving(response, origin)),
            Err(error) => {
                let timed_out = matches!(&error, reqwest_middleware::Error::Reqwest(error) if error.is_timeout());
                let said = Error::new(ErrorKind::Upstream, format!("{origin} gave no answer: {error}"))
                    .with_timed_out(timed_out);
                *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                Err(said)
            }
        }
    }
}

/// The caller's request with its body in one piece, and the copy that the road takes.
async fn whole(mut request: reqwest::Request) -> Result<(reqwest::Request, Request)> {
    let body = match request.body_mut().take() {
        None => None,
        Some(body) => {
            let read = body.collect().await.map_err(|error| {
                Error::new(ErrorKind::Request, "the request body could not be read to its end").with_source(error)
            })?;
            Some(read.to_bytes())
        }
    };
    let url = request.url();
    let (_, path) = url.path().split_at(base_of(url.path()));
    let target = match url.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    let asked = Request::new(request.method().clone(), &target)?
        .headers(request.headers().clone())
        .body(body.clone().unwrap_or_default());
    strip_control_headers(request.headers_mut());
    *request.body_mut() = body.map(HttpBody::from);
    Ok((request, asked))
}

/// How long the part of a path is that belongs to the base URL, as of a gateway: what stands before `/v1/`.
///
/// The other doors know their base URL; here it is the caller's, and the key must be the same.
fn base_of(path: &str) -> usize {
    ["/v1/", "/v2/"]
        .iter()
        .filter_map(|version| path.find(version))
        .min()
        .unwrap_or(0)
}

fn arriving(response: reqwest::Response, origin: String) -> Response {
    let (status, headers) = (response.status(), response.headers().clone());
    let pieces = response.bytes_stream().map_err({
        let origin = origin.clone();
        move |error| {
            Error::new(
                ErrorKind::Upstream,
                format!("{origin} broke off in the middle of its answer"),
            )
            .with_timed_out(error.is_timeout())
            .with_source(error.without_url())
        }
    });
    Response::new(status, Body::from_stream(pieces))
        .headers(headers)
        .origin(origin)
}

fn handed_on(response: Response, url: Url) -> reqwest::Response {
    let (status, headers, body) = response.into_parts();
    let body = match body.try_into_bytes() {
        Ok(bytes) => HttpBody::from(bytes),
        Err(body) => HttpBody::wrap_stream(body.into_stream()),
    };
    let mut answer = http::Response::new(body);
    *answer.status_mut() = status;
    *answer.headers_mut() = headers;
    // The URL travels in an extension, which only reqwest's own builder sets.
    let with_url = http::Response::builder()
        .url(url)
        .body(())
        .map(|response| response.into_parts().0.extensions);
    if let Ok(extensions) = with_url {
        *answer.extensions_mut() = extensions;
    }
    reqwest::Response::from(answer)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[tokio::test]
    async fn a_streamed_body_is_read_once_and_sent_whole() {
        let pieces = futures_util::stream::iter(["a", "b"].map(|piece| Ok::<_, std::io::Error>(Bytes::from(piece))));
        let mut request = reqwest::Request::new(http::Method::POST, "http://h/v1/x?a=1#f".parse().unwrap());
        *request.body_mut() = Some(HttpBody::wrap_stream(pieces));
        let (sent, asked) = whole(request).await.unwrap();
        assert_eq!(sent.body().unwrap().as_bytes(), Some(&b"ab"[..]));
        assert_eq!(
            (asked.target().as_str(), &asked.body_bytes()[..]),
            ("/v1/x?a=1", &b"ab"[..])
        );
    }
}
