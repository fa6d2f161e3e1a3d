//! The `tower` layer that records and replays the requests of `hyper` clients and other services on `http` types.

use std::error::Error as StdError;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use futures_util::TryStreamExt;
use http::request::Parts;
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use tower_layer::Layer;
use tower_service::Service;

use crate::error::{Error, ErrorKind, Result};
use crate::http::{Body, Request, Response, Transport, base_path_len, strip_control_headers};
use crate::recorder::Recorder;

/// The error of a [`CassetteService`]: that of the inner service, unchanged, or an [`Error`] of this crate.
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// The body of a response. It ends when the recording is saved.
pub type CassetteBody = UnsyncBoxBody<Bytes, Error>;

/// Records and replays the requests of a `tower` service, for example a `hyper` client.
///
/// The caller's request goes to the API through the inner service, with its own headers and body. Only the copy that is
/// hashed and recorded is redacted. Add this layer last, next to the client, so that it sees each request as it is sent.
/// The host is not part of the request key: add it only to a client for the Mistral API.
///
/// The body of a request is read into memory, so its type has to convert from `Bytes`, as `http_body_util::Full` does.
///
/// ```
/// use http_body_util::{BodyExt, Full};
/// use hyper_util::client::legacy::Client;
/// use hyper_util::rt::TokioExecutor;
/// use mistral_cassette::layer::CassetteLayer;
/// use mistral_cassette::{MemoryEngine, Mode, Recorder};
/// use tower::{ServiceBuilder, ServiceExt};
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let recorder = Recorder::builder(MemoryEngine::new()).mode(Mode::Strict).build()?;
/// let hyper = Client::builder(TokioExecutor::new()).build_http::<Full<bytes::Bytes>>();
/// let client = ServiceBuilder::new().layer(CassetteLayer::new(recorder.clone())).service(hyper);
///
/// let request = http::Request::get("http://api.mistral.ai/v1/models").body(Full::default()).unwrap();
/// // Mode `strict` without recordings: a miss.
/// let error = client.oneshot(request).await.unwrap_err();
/// assert!(error.downcast_ref::<mistral_cassette::Error>().is_some());
/// assert!(recorder.session().verdict().is_err());
/// # Ok::<(), mistral_cassette::Error>(())
/// # }).unwrap();
/// ```
///
/// # Errors
/// An error of the inner service is returned unchanged. A miss, a damaged cassette and other errors of this crate are an
/// [`Error`]. An incomplete response is an error of its body.
#[derive(Clone, Debug)]
pub struct CassetteLayer {
    recorder: Recorder,
}

impl CassetteLayer {
    /// Creates a layer for this recorder. Keep a clone of the recorder to get the verdict of its session.
    pub fn new(recorder: Recorder) -> Self {
        Self { recorder }
    }
}

impl<S> Layer<S> for CassetteLayer {
    type Service = CassetteService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        CassetteService {
            inner,
            recorder: self.recorder.clone(),
        }
    }
}

/// A service whose requests are recorded and replayed, see [`CassetteLayer`].
///
/// It is always ready: a replay needs no capacity of the inner service.
#[derive(Clone, Debug)]
pub struct CassetteService<S> {
    inner: S,
    recorder: Recorder,
}

impl<S, RequestBody, ResponseBody> Service<http::Request<RequestBody>> for CassetteService<S>
where
    S: Service<http::Request<RequestBody>, Response = http::Response<ResponseBody>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    RequestBody: http_body::Body<Data: Send, Error: Into<BoxError>> + From<Bytes> + Send + 'static,
    ResponseBody: http_body::Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    type Response = http::Response<CassetteBody>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<RequestBody>) -> Self::Future {
        let (inner, recorder) = (self.inner.clone(), self.recorder.clone());
        Box::pin(async move {
            let (mut parts, body) = request.into_parts();
            let body = body.collect().await.map_err(|error| {
                Error::new(ErrorKind::Request, "cannot read the request body").with_source(Cause(error.into()))
            })?;
            let body = body.to_bytes();
            let copy = copy(&parts, body.clone())?;
            strip_control_headers(&mut parts.headers);
            let original_error = Mutex::new(None);
            let transport = Inner {
                call: Mutex::new((inner, http::Request::from_parts(parts, RequestBody::from(body)))),
                original_error: &original_error,
            };
            match recorder.answer(copy, transport).await {
                Ok(response) => Ok(to_http(response)),
                Err(error) => {
                    let original = original_error.into_inner().unwrap_or_else(PoisonError::into_inner);
                    Err(original.unwrap_or_else(|| error.into()))
                }
            }
        })
    }
}

/// Copies a request for the recorder, without the host and the path of the base URL.
fn copy(parts: &Parts, body: Bytes) -> Result<Request> {
    let path = parts.uri.path();
    let path = &path[base_path_len(path)..];
    let target = match parts.uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    Ok(Request::new(parts.method.clone(), &target)?
        .headers(parts.headers.clone())
        .body(body))
}

/// The inner service with the caller's request, as a transport.
struct Inner<'a, S, RequestBody> {
    /// In a mutex, because services and bodies need not be `Sync`.
    call: Mutex<(S, http::Request<RequestBody>)>,
    /// Receives the error of the service, so that the caller gets it unchanged.
    original_error: &'a Mutex<Option<BoxError>>,
}

impl<S, RequestBody, ResponseBody> Transport for Inner<'_, S, RequestBody>
where
    S: Service<http::Request<RequestBody>, Response = http::Response<ResponseBody>> + Send,
    S::Error: Into<BoxError>,
    S::Future: Send,
    RequestBody: Send,
    ResponseBody: http_body::Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    fn has_key(&self, request: &Request) -> bool {
        request.credentials().next().is_some()
    }

    async fn send(self, _: Request) -> Result<Response> {
        let (mut service, request) = self.call.into_inner().unwrap_or_else(PoisonError::into_inner);
        let origin = origin_of(request.uri());
        let sent = async {
            poll_fn(|context| service.poll_ready(context).map_err(Into::into)).await?;
            service.call(request).await.map_err(Into::into)
        };
        match sent.await {
            Ok(response) => Ok(from_http(response, origin)),
            Err(error) => {
                let error: BoxError = error;
                let message = format!("{origin} did not respond: {error}");
                *self.original_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                Err(Error::new(ErrorKind::Upstream, message))
            }
        }
    }
}

/// Returns the base URL of a request, without credentials.
fn origin_of(uri: &http::Uri) -> String {
    let host = uri.authority().map_or("", |authority| {
        let text = authority.as_str();
        text.rsplit_once('@').map_or(text, |(_, host)| host)
    });
    let base = &uri.path()[..base_path_len(uri.path())];
    match uri.scheme_str() {
        Some(scheme) => format!("{scheme}://{host}{base}"),
        // A service may have the host, and the request only the path.
        None => format!("{host}{base}"),
    }
}

fn from_http<B>(response: http::Response<B>, origin: String) -> Response
where
    B: http_body::Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    let (parts, body) = response.into_parts();
    let from = origin.clone();
    let pieces = body
        .into_data_stream()
        .map_ok(|mut piece| piece.copy_to_bytes(piece.remaining()))
        .map_err(move |error| {
            let message = format!("{from} sent an incomplete response");
            Error::new(ErrorKind::Upstream, message).with_source(Cause(error.into()))
        });
    let response = Response::new(parts.status, Body::from_stream(pieces)).headers(parts.headers);
    if origin.is_empty() {
        return response;
    }
    response.origin(origin)
}

fn to_http(response: Response) -> http::Response<CassetteBody> {
    let (status, headers, body) = response.into_parts();
    let body = match body.try_into_bytes() {
        Ok(bytes) => Full::new(bytes).map_err(|never| match never {}).boxed_unsync(),
        Err(body) => StreamBody::new(body.into_stream().map_ok(Frame::data)).boxed_unsync(),
    };
    let mut converted = http::Response::new(body);
    *converted.status_mut() = status;
    *converted.headers_mut() = headers;
    converted
}

/// An error of the inner service as the cause of an [`Error`].
#[derive(Debug)]
struct Cause(BoxError);

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl StdError for Cause {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source()
    }
}
