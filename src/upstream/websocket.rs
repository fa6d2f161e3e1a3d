//! Connects WebSockets to the API, over the HTTP client: with its TLS, its proxies and its timeout.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::{Upstream, new_client};
use crate::error::{Error, ErrorKind, Result};
use crate::http::{Body, End, Handshake, Request, Response, WebSocket, WebSocketTransport};

/// The headers of a handshake, which are those of one connection.
const HANDSHAKE: [HeaderName; 4] = [
    header::SEC_WEBSOCKET_ACCEPT,
    header::SEC_WEBSOCKET_EXTENSIONS,
    header::SEC_WEBSOCKET_KEY,
    header::SEC_WEBSOCKET_VERSION,
];

impl Upstream {
    /// The client for WebSockets, which HTTP/2 does not upgrade.
    fn websocket_client(&self) -> Result<reqwest::Client> {
        if self.0.is_client_given {
            return self.client();
        }
        if let Some(client) = self.0.websocket_client.get() {
            return Ok(client.clone());
        }
        let new = new_client(self.0.timeout, &["http/1.1"])?;
        Ok(self.0.websocket_client.get_or_init(|| new).clone())
    }
}

impl WebSocketTransport for Upstream {
    fn origin(&self) -> Option<String> {
        Some(self.origin().to_owned())
    }

    async fn connect(&self, request: Request) -> Result<Handshake> {
        let key = BASE64.encode(random_bytes());
        let mut headers = self.headers(&request);
        HANDSHAKE.iter().for_each(|name| drop(headers.remove(name)));
        headers.remove(header::ACCEPT_ENCODING);
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        if let Ok(value) = HeaderValue::from_str(&key) {
            headers.insert(header::SEC_WEBSOCKET_KEY, value);
        }
        let url = format!("{}{}", self.0.base_url, request.target());
        let sent = self.websocket_client()?.request(Method::GET, url).headers(headers);
        let response = sent.send().await.map_err(|error| {
            let what = match error.is_connect() {
                true => "cannot be reached",
                false => "did not send a valid HTTP response",
            };
            self.failed(what, error)
        })?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            let (status, headers) = (response.status(), response.headers().clone());
            let body = response.bytes().await;
            let body = body.map_err(|error| self.failed("sent an incomplete response", error))?;
            return Ok(Handshake::Refused(
                Response::new(status, Body::from(body)).headers(headers),
            ));
        }
        let accepted = response.headers().get(header::SEC_WEBSOCKET_ACCEPT);
        if accepted.is_none_or(|accepted| accepted.as_bytes() != derive_accept_key(key.as_bytes()).as_bytes()) {
            let message = format!("{} did not complete the WebSocket handshake", self.origin());
            return Err(Error::new(ErrorKind::Upstream, message));
        }
        let protocol = response.headers().get(header::SEC_WEBSOCKET_PROTOCOL).cloned();
        let upgraded = response.upgrade().await;
        let upgraded = upgraded.map_err(|error| self.failed("did not complete the WebSocket handshake", error))?;
        Ok(Handshake::Accepted(
            WebSocket::new(upgraded, End::Client, protocol).await,
        ))
    }
}

/// A nonce for the handshake. It need not be secret: it only shows that the server speaks WebSocket.
fn random_bytes() -> [u8; 16] {
    use std::hash::{BuildHasher as _, RandomState};

    let mut bytes = [0; 16];
    for half in bytes.chunks_mut(8) {
        half.copy_from_slice(&RandomState::new().hash_one(0).to_ne_bytes());
    }
    bytes
}
