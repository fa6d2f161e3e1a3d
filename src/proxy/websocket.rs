//! WebSockets of clients of the proxy.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode, Version, header};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::intercept::Route;
use super::read;
use super::response::{self, Refusal, ResponseBody};
use super::service::{Service, panicked};
use super::sessions::Selected;
use crate::error::{Error, ErrorKind, Result};
use crate::http::{End, WebSocket};
use crate::recorder::{Opening, WebSocketSession};
use crate::upstream::Upstream;

/// How long a client may take to read the response to its handshake.
const UPGRADE: Duration = Duration::from_secs(30);

impl Service {
    /// Responds to a request for a WebSocket. An error closes the connection without a response.
    pub(super) async fn open_websocket(
        self: &Arc<Self>,
        mut head: Parts,
        route: &Route,
    ) -> Result<http::Response<ResponseBody>> {
        let upgrade = head.extensions.remove::<OnUpgrade>();
        let line = format!("{} {}", head.method, head.uri);
        let read = accept_key(&head).and_then(|accept| Ok((accept, read::parse_head(head, route)?)));
        let (Some(upgrade), (accept, scoped)) = (match read {
            Ok(read) => (upgrade, read),
            Err(error) => return Ok(self.refuse_websocket(&line, error)),
        }) else {
            let message = "a WebSocket needs a connection of its own";
            return Ok(self.refuse_websocket(&line, Error::new(ErrorKind::Request, message)));
        };
        let (upstream, default) = self.destination(route);
        let Selected { recorder, requests } = match self.sessions().select(scoped.scope.as_ref(), &default) {
            Ok(selected) => selected,
            Err(error) => {
                self.recorder().report_failure(&line, &error);
                return Ok(response::with_reason(response::from_error(&error), &error));
            }
        };
        let opened = requests.track_future(recorder.open_websocket(scoped.request, upstream));
        let session = match opened.await {
            Ok(Opening::Accepted(session)) => session,
            Ok(Opening::Refused(response)) => return Ok(response::from_response(response)),
            Err(error) if error.is_injected() => return Err(error),
            Err(error) => return Ok(response::with_reason(response::from_error(&error), &error)),
        };
        let mut response = http::Response::new(ResponseBody::Complete(None));
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
        if let Some(protocol) = session.protocol() {
            headers.insert(header::SEC_WEBSOCKET_PROTOCOL, protocol.clone());
        }
        let serving = AssertUnwindSafe(serve(session, upgrade)).catch_unwind();
        tokio::spawn(requests.track_future(async move {
            if let Err(panic) = serving.await {
                recorder.report_failure(&line, &panicked(&*panic));
            }
        }));
        Ok(response)
    }

    fn refuse_websocket(&self, line: &str, error: Error) -> http::Response<ResponseBody> {
        self.recorder().report_failure(line, &error);
        Refusal::new(StatusCode::BAD_REQUEST, error).response_with_reason()
    }
}

async fn serve(session: Box<WebSocketSession<Upstream>>, upgrade: OnUpgrade) {
    // A client that has left is not a failure: it has sent nothing.
    if let Ok(Ok(upgraded)) = tokio::time::timeout(UPGRADE, upgrade).await {
        let client = WebSocket::new(TokioIo::new(upgraded), End::Server, None).await;
        // The session counts an error.
        let _ = session.serve(client).await;
    }
}

/// Checks the head of a handshake, and returns the value that shows the client that this is a WebSocket server.
fn accept_key(head: &Parts) -> Result<HeaderValue> {
    let invalid = |message: &str| Error::new(ErrorKind::Request, message);
    if head.method != Method::GET || head.version != Version::HTTP_11 {
        return Err(invalid("a WebSocket is opened by a GET request of HTTP/1.1"));
    }
    let version = head.headers.get(header::SEC_WEBSOCKET_VERSION);
    if version.is_none_or(|version| version != "13") {
        return Err(invalid("the version of the WebSocket protocol must be 13"));
    }
    let key = head.headers.get(header::SEC_WEBSOCKET_KEY);
    let key = key.ok_or_else(|| invalid("the header sec-websocket-key is missing"))?;
    HeaderValue::from_str(&derive_accept_key(key.as_bytes()))
        .map_err(|error| Error::new(ErrorKind::Internal, "the accept key is invalid").with_source(error))
}
