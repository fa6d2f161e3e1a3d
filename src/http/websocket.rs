//! WebSocket connections: their messages, and the interface through which one reaches the upstream.

use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use futures_util::{Sink, SinkExt as _, Stream, StreamExt as _};
use http::HeaderValue;
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Utf8Bytes};
use tokio_util::sync::{PollSendError, PollSender};

use super::closing_stream::ClosingStream;
use super::{Request, Response, Transport};
use crate::error::{Error, ErrorKind, Result};

/// The maximum size of a message, in bytes.
pub(crate) const MAX_MESSAGE_BYTES: usize = 64 << 20;

/// A message on a WebSocket connection. Pings and pongs are answered below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum WebSocketMessage {
    Text(Utf8Bytes),
    Binary(Bytes),
    Close(Closing),
}

/// The content of a close frame.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Closing {
    /// `None` for a frame without a code.
    pub(crate) code: Option<u16>,
    pub(crate) reason: String,
}

/// The longest reason in a close frame, in bytes ([RFC 6455](https://www.rfc-editor.org/rfc/rfc6455#section-5.5)).
const LONGEST_REASON: usize = 123;

impl Closing {
    /// A code, and as much of a reason as fits.
    pub(crate) fn new(code: u16, reason: &str) -> Self {
        const ELLIPSIS: &str = "…";
        let mut reason = reason.to_owned();
        if reason.len() > LONGEST_REASON {
            let mut end = LONGEST_REASON - ELLIPSIS.len();
            while !reason.is_char_boundary(end) {
                end -= 1;
            }
            reason.truncate(end);
            reason.push_str(ELLIPSIS);
        }
        Self {
            code: Some(code),
            reason,
        }
    }
}

/// One end of a WebSocket connection.
pub(crate) struct WebSocket {
    pub(crate) incoming: Incoming,
    pub(crate) outgoing: Outgoing,
    /// The subprotocol, if the peers have agreed on one.
    pub(crate) protocol: Option<HeaderValue>,
    /// Whether the peer replies to a close frame, as RFC 6455 demands.
    pub(crate) has_replies: bool,
}

pub(crate) type Incoming = Pin<Box<dyn Stream<Item = Result<WebSocketMessage>> + Send>>;
pub(crate) type Outgoing = Pin<Box<dyn Sink<WebSocketMessage, Error = SendError> + Send>>;

/// A message that could not be sent. Every further one has the same result.
#[derive(Debug)]
pub(crate) struct SendError(pub(crate) Error);

impl From<tungstenite::Error> for SendError {
    fn from(error: tungstenite::Error) -> Self {
        Self(broken(error))
    }
}

impl From<PollSendError<WebSocketMessage>> for SendError {
    fn from(_: PollSendError<WebSocketMessage>) -> Self {
        Self(Error::new(ErrorKind::Upstream, "the session has ended"))
    }
}

/// Which end of a connection this program is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Client,
    #[cfg_attr(not(feature = "proxy"), expect(dead_code, reason = "only the proxy is a server"))]
    Server,
}

impl WebSocket {
    /// Frames messages on a connection whose handshake is complete.
    pub(crate) async fn new<S>(stream: S, end: End, protocol: Option<HeaderValue>) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let role = match end {
            End::Client => Role::Client,
            End::Server => Role::Server,
        };
        let config = WebSocketConfig::default()
            .max_message_size(Some(MAX_MESSAGE_BYTES))
            .max_frame_size(Some(MAX_MESSAGE_BYTES));
        let stream = WebSocketStream::from_raw_socket(stream, role, Some(config)).await;
        let (outgoing, incoming) = ClosingStream::new(stream).split();
        Self {
            incoming: Box::pin(incoming.filter_map(async |message| received(message))),
            outgoing: Box::pin(outgoing.with(async |message| Ok(to_send(message)))),
            protocol,
            has_replies: true,
        }
    }
}

impl WebSocket {
    /// Closes the connection, and waits for the reply, for at most a second.
    pub(crate) async fn close(&mut self, closing: Closing) {
        let is_sent = self.outgoing.send(WebSocketMessage::Close(closing)).await.is_ok();
        if is_sent && self.has_replies {
            wait_for_reply(&mut self.incoming).await;
        }
    }

    /// Both ends of a connection within this process.
    pub(crate) fn pair() -> (Self, Self) {
        /// How many messages may be on their way to a peer.
        const CAPACITY: usize = 16;
        let end = |sender: mpsc::Sender<WebSocketMessage>, receiver: mpsc::Receiver<WebSocketMessage>| {
            let incoming = futures_util::stream::unfold(receiver, async |mut receiver| {
                receiver.recv().await.map(|message| (Ok(message), receiver))
            });
            Self {
                incoming: Box::pin(incoming),
                // `sink_err_into` would panic at a message after the first error.
                outgoing: Box::pin(PollSender::new(sender).with(async |message| Ok(message))),
                protocol: None,
                has_replies: false,
            }
        };
        let (to_server, from_client) = mpsc::channel(CAPACITY);
        let (to_client, from_server) = mpsc::channel(CAPACITY);
        (end(to_server, from_server), end(to_client, from_client))
    }
}

/// Waits until the peer has closed the connection, for at most a second.
pub(crate) async fn wait_for_reply(incoming: &mut Incoming) {
    const REPLY: Duration = Duration::from_secs(1);
    let reply = async { while let Some(Ok(_)) = incoming.next().await {} };
    let _ = tokio::time::timeout(REPLY, reply).await;
}

impl fmt::Debug for WebSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebSocket")
            .field("protocol", &self.protocol)
            .finish_non_exhaustive()
    }
}

/// `None` for what is not a message, and at the end of the connection.
fn received(message: Result<tungstenite::Message, tungstenite::Error>) -> Option<Result<WebSocketMessage>> {
    match message {
        Ok(tungstenite::Message::Text(text)) => Some(Ok(WebSocketMessage::Text(text))),
        Ok(tungstenite::Message::Binary(bytes)) => Some(Ok(WebSocketMessage::Binary(bytes))),
        Ok(tungstenite::Message::Close(frame)) => {
            let closing = frame.map(|frame| Closing {
                code: Some(frame.code.into()),
                reason: frame.reason.to_string(),
            });
            Some(Ok(WebSocketMessage::Close(closing.unwrap_or_default())))
        }
        Ok(_) => None,
        Err(tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed) => None,
        Err(error) => Some(Err(broken(error))),
    }
}

fn to_send(message: WebSocketMessage) -> tungstenite::Message {
    match message {
        WebSocketMessage::Text(text) => tungstenite::Message::Text(text),
        WebSocketMessage::Binary(bytes) => tungstenite::Message::Binary(bytes),
        WebSocketMessage::Close(closing) => tungstenite::Message::Close(closing.code.map(|code| CloseFrame {
            code: CloseCode::from(code),
            reason: closing.reason.into(),
        })),
    }
}

fn broken(error: tungstenite::Error) -> Error {
    let what = match &error {
        tungstenite::Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) | tungstenite::Error::Io(_) => {
            "the connection was closed without a close frame"
        }
        tungstenite::Error::Capacity(_) => "a message is larger than 64 MiB",
        _ => "the peer has violated the WebSocket protocol",
    };
    Error::new(ErrorKind::Upstream, what).with_source(error)
}

/// The result of a handshake with the upstream.
pub(crate) enum Handshake {
    Accepted(WebSocket),
    /// The upstream has answered like an HTTP server, for example with 401.
    Refused(Response),
}

/// A [`Transport`] that also connects WebSockets.
pub(crate) trait WebSocketTransport: Transport + Clone + Sync + 'static {
    /// The base URL, as it is recorded.
    fn origin(&self) -> Option<String>;

    /// Sends a request for a WebSocket, and adds the headers of the handshake.
    fn connect(&self, request: Request) -> impl Future<Output = Result<Handshake>> + Send;
}

/// The type of the event with which clients send audio, as in the official SDK (`extra/realtime/connection.py`).
const APPEND: &str = "input_audio.append";

/// Returns the audio of a text frame of the client, if it contains nothing else.
pub(crate) fn audio_of(text: &[u8]) -> Option<Bytes> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Append<'a> {
        #[serde(rename = "type", borrow)]
        kind: Cow<'a, str>,
        #[serde(borrow)]
        audio: Cow<'a, str>,
    }

    memchr::memmem::find(text, APPEND.as_bytes())?;
    let append: Append<'_> = serde_json::from_slice(text).ok()?;
    let audio = BASE64.decode(append.audio.as_bytes()).ok()?;
    (append.kind == APPEND).then(|| audio.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_frame_of_nothing_but_audio_is_audio() {
        let audio = |text: &str| audio_of(text.as_bytes()).map(|bytes| bytes.to_vec());
        assert_eq!(
            audio(r#"{"audio": "AAE=", "type": "input_audio.append"}"#).unwrap(),
            [0, 1]
        );
        assert_eq!(audio(r#"{"type":"input_audio.append","audio":""}"#).unwrap(), b"");
        for other in [
            r#"{"type":"input_audio.append","audio":"AAE=","more":1}"#,
            r#"{"type":"input_audio.append","audio":"AAE"}"#,
            r#"{"type":"input_audio.appended","audio":"AAE="}"#,
            r#"{"type":"input_text.append","text":"input_audio.append"}"#,
            r#"{"type":"input_audio.append"}"#,
            "input_audio.append",
        ] {
            assert_eq!(audio(other), None, "{other}");
        }
    }

    #[tokio::test]
    async fn every_message_to_a_peer_that_has_gone_is_an_error() {
        let (local, peer) = WebSocket::pair();
        drop(peer);
        let (stream, peer) = tokio::io::duplex(64);
        drop(peer);
        for mut socket in [local, WebSocket::new(stream, End::Client, None).await] {
            for _ in 0..3 {
                let message = WebSocketMessage::Text("a".into());
                assert!(socket.outgoing.send(message).await.is_err());
            }
        }
    }

    #[test]
    fn a_reason_is_cut_to_what_fits_in_a_close_frame() {
        assert_eq!(Closing::new(1000, "short").reason, "short");
        let cut = Closing::new(4404, &"é".repeat(100)).reason;
        assert!(cut.len() <= LONGEST_REASON && cut.ends_with('…'), "{cut}");
    }
}
