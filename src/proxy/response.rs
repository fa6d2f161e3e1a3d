//! What the proxy sends back: a response as it is, or an error in the API's own shape.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use http::{HeaderValue, StatusCode, header};
use hyper::body::{Body, Frame, SizeHint};
use serde_json::json;

use crate::error::{Error, ErrorKind};
use crate::http::Response;

/// A body that is whole, or still arriving.
pub(super) enum AnswerBody {
    Whole(Option<Bytes>),
    Arriving(Pin<Box<dyn Stream<Item = crate::error::Result<Bytes>> + Send>>),
    /// Broken off: what came before is sent, then the connection breaks off as well.
    BrokenOff(Option<Error>),
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let item = match &mut *self {
            Self::Whole(bytes) => return Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::BrokenOff(error) => return Poll::Ready(error.take().map(Err)),
            Self::Arriving(stream) => ready!(stream.poll_next_unpin(context)),
        };
        match item {
            Some(Err(error)) => {
                // The server drops what it has not written when a body fails: let it write before it hears of that.
                *self = Self::BrokenOff(Some(error));
                context.waker().wake_by_ref();
                Poll::Pending
            }
            Some(Ok(piece)) => Poll::Ready(Some(Ok(Frame::data(piece)))),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Arriving(_) | Self::BrokenOff(_) => SizeHint::default(),
        }
    }
}

pub(super) fn of(response: Response) -> http::Response<AnswerBody> {
    let (status, headers, body) = response.into_parts();
    let body = match body.try_into_bytes() {
        Ok(bytes) => AnswerBody::Whole(Some(bytes).filter(|bytes| !bytes.is_empty())),
        Err(body) => AnswerBody::Arriving(body.into_stream()),
    };
    let mut answer = http::Response::new(body);
    *answer.status_mut() = status;
    *answer.headers_mut() = headers;
    answer
}

/// An error in the shape of the API's own, with everything that the reader needs in its message.
///
/// What is wrong with the recordings is 424 (Failed Dependency): no SDK retries it, and no program has a use of its own
/// for it, as it has for 404 (a model, a file, an agent that does not exist).
pub(super) fn of_error(error: &Error) -> http::Response<AnswerBody> {
    let (status, kind) = match error.kind() {
        ErrorKind::Miss => (StatusCode::FAILED_DEPENDENCY, "cassette_miss"),
        ErrorKind::Request => return of_error_as(error, StatusCode::BAD_REQUEST),
        ErrorKind::Upstream if error.is_timeout() => (StatusCode::GATEWAY_TIMEOUT, "cassette_upstream_timeout"),
        ErrorKind::Upstream => (StatusCode::BAD_GATEWAY, "cassette_upstream_error"),
        _ => (StatusCode::FAILED_DEPENDENCY, "cassette_error"),
    };
    told(error, status, kind)
}

/// An error that has a status of its own.
pub(super) fn of_error_as(error: &Error, status: StatusCode) -> http::Response<AnswerBody> {
    told(error, status, "cassette_request_error")
}

/// A request that is not taken, and why.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) error: Error,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, error: Error) -> Self {
        Self { status, error }
    }

    pub(super) fn answer(&self) -> http::Response<AnswerBody> {
        told(&self.error, self.status, "cassette_request_refused")
    }
}

fn told(error: &Error, status: StatusCode, kind: &str) -> http::Response<AnswerBody> {
    let body = json!({
        "object": "error",
        "message": error.report(),
        "type": kind,
        "param": null,
        "code": null,
        "raw_status_code": status.as_u16(),
    });
    let mut answer = http::Response::new(AnswerBody::Whole(Some(body.to_string().into())));
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}
