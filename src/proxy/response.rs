//! Responses of the proxy: recorded responses, and errors in the format of the API.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use http::{HeaderValue, StatusCode, header};
use hyper::body::{Body, Frame, SizeHint};
use hyper::ext::ReasonPhrase;
use serde_json::json;

use crate::error::{Error, ErrorKind};
use crate::http::Response;

/// The body of a response.
pub(super) enum ResponseBody {
    Complete(Option<Bytes>),
    Arriving(Pin<Box<dyn Stream<Item = Result<Bytes, Error>> + Send>>),
    /// The stream has failed: the pieces before the error are sent, then the connection is closed.
    Failed(Option<Error>),
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let item = match &mut *self {
            Self::Complete(bytes) => return Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Failed(error) => return Poll::Ready(error.take().map(Err)),
            Self::Arriving(stream) => ready!(stream.poll_next_unpin(context)),
        };
        match item {
            Some(Err(error)) => {
                // hyper drops unwritten data when a body fails, so it gets the chance to write before it gets the
                // error.
                *self = Self::Failed(Some(error));
                context.waker().wake_by_ref();
                Poll::Pending
            }
            Some(Ok(piece)) => Poll::Ready(Some(Ok(Frame::data(piece)))),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Complete(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Complete(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Arriving(_) | Self::Failed(_) => SizeHint::default(),
        }
    }
}

/// Converts a response of the recorder.
pub(super) fn from_response(response: Response) -> http::Response<ResponseBody> {
    let (status, headers, body) = response.into_parts();
    let body = match body.try_into_bytes() {
        Ok(bytes) => ResponseBody::Complete(Some(bytes).filter(|bytes| !bytes.is_empty())),
        Err(body) => ResponseBody::Arriving(body.into_stream()),
    };
    let mut converted = http::Response::new(body);
    *converted.status_mut() = status;
    *converted.headers_mut() = headers;
    converted
}

/// Converts an error to the format of the API's errors. The message is the complete report.
///
/// An error of the recordings has status 424 (Failed Dependency): no SDK retries it, and no program handles it, unlike
/// 404 (a model, a file or an agent that does not exist).
pub(super) fn from_error(error: &Error) -> http::Response<ResponseBody> {
    let kind = match error.kind() {
        ErrorKind::Miss => "cassette_miss",
        ErrorKind::Request => "cassette_request_error",
        ErrorKind::Upstream if error.is_timeout() => "cassette_upstream_timeout",
        ErrorKind::Upstream => "cassette_upstream_error",
        _ => "cassette_error",
    };
    api_error(error, status_of(error), kind)
}

/// The status of the response to a request that failed with this error.
pub(super) fn status_of(error: &Error) -> StatusCode {
    match error.kind() {
        ErrorKind::Request => StatusCode::BAD_REQUEST,
        ErrorKind::Upstream if error.is_timeout() => StatusCode::GATEWAY_TIMEOUT,
        ErrorKind::Upstream => StatusCode::BAD_GATEWAY,
        _ => StatusCode::FAILED_DEPENDENCY,
    }
}

/// Converts the error of an invalid request.
pub(super) fn from_request_error(error: &Error, status: StatusCode) -> http::Response<ResponseBody> {
    api_error(error, status, "cassette_request_error")
}

/// The reason why the proxy refuses a request, and the status of the response.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) error: Error,
    /// Whether the session counts the refusal as a failure.
    pub(super) is_failure: bool,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, error: Error) -> Self {
        Self {
            status,
            error,
            is_failure: false,
        }
    }

    /// The same refusal, which fails the session.
    pub(super) fn failing(mut self) -> Self {
        self.is_failure = true;
        self
    }

    pub(super) fn response(&self) -> http::Response<ResponseBody> {
        api_error(&self.error, self.status, "cassette_request_refused")
    }

    /// The response with the message in the status line.
    pub(super) fn response_with_reason(&self) -> http::Response<ResponseBody> {
        with_reason(self.response(), &self.error)
    }
}

/// Adds the message to the status line. It is all that WebSocket clients, and clients that send `CONNECT`, show of an error.
pub(super) fn with_reason(mut response: http::Response<ResponseBody>, error: &Error) -> http::Response<ResponseBody> {
    if let Ok(reason) = ReasonPhrase::try_from(error.in_one_line().into_bytes()) {
        response.extensions_mut().insert(reason);
    }
    response
}

fn api_error(error: &Error, status: StatusCode, kind: &str) -> http::Response<ResponseBody> {
    let body = json!({
        "object": "error",
        "message": error.report(),
        "type": kind,
        "param": null,
        "code": null,
        "raw_status_code": status.as_u16(),
    });
    let mut response = http::Response::new(ResponseBody::Complete(Some(body.to_string().into())));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_of_an_error_depends_on_its_kind() {
        for (kind, status) in [
            (ErrorKind::Miss, 424),
            (ErrorKind::Cassette, 424),
            (ErrorKind::Engine, 424),
            (ErrorKind::Internal, 424),
            (ErrorKind::Request, 400),
            (ErrorKind::Upstream, 502),
        ] {
            assert_eq!(from_error(&Error::new(kind, "message")).status(), status, "{kind}");
        }
        let timeout = Error::new(ErrorKind::Upstream, "message").with_timed_out(true);
        assert_eq!(from_error(&timeout).status(), 504);
    }
}
