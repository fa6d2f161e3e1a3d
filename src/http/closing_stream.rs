//! A WebSocket that closes the connection with the right code when the peer breaks the protocol.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::{Sink, SinkExt as _, Stream, StreamExt as _};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{self, Message};

/// A WebSocket. Before it returns an error for what the peer has sent, it sends a close frame with the code of the error
/// ([RFC 6455](https://www.rfc-editor.org/rfc/rfc6455#section-7.1.7)); the library leaves that to its user.
pub(super) struct ClosingStream<S> {
    stream: WebSocketStream<S>,
    failure: Option<Failure>,
}

/// The error that the peer has caused.
struct Failure {
    error: tungstenite::Error,
    /// The close frame, until it is sent.
    close: Option<Message>,
}

impl<S> ClosingStream<S> {
    pub(super) fn new(stream: WebSocketStream<S>) -> Self {
        Self { stream, failure: None }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> ClosingStream<S> {
    /// Sends the close frame. The peer may be gone, so an error does not matter.
    fn poll_close_frame(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(failure) = &mut self.failure else {
            return Poll::Ready(());
        };
        if failure.close.is_some() {
            let is_ready = ready!(self.stream.poll_ready_unpin(context)).is_ok();
            if let Some(close) = failure.close.take().filter(|_| is_ready) {
                let _ = self.stream.start_send_unpin(close);
            }
        }
        self.stream.poll_flush_unpin(context).map(|_| ())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream for ClosingStream<S> {
    type Item = Result<Message, tungstenite::Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.failure.is_none() {
            match ready!(self.stream.poll_next_unpin(context)) {
                Some(Err(error)) => {
                    let close = close_code(&error).map(|code| {
                        Message::Close(Some(CloseFrame {
                            code,
                            reason: "".into(),
                        }))
                    });
                    self.failure = Some(Failure { error, close });
                }
                next => return Poll::Ready(next),
            }
        }
        ready!(self.poll_close_frame(context));
        Poll::Ready(self.failure.take().map(|failure| Err(failure.error)))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Sink<Message> for ClosingStream<S> {
    type Error = tungstenite::Error;

    fn poll_ready(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.stream.poll_ready_unpin(context)
    }

    fn start_send(mut self: Pin<&mut Self>, message: Message) -> Result<(), Self::Error> {
        self.stream.start_send_unpin(message)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.stream.poll_flush_unpin(context)
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.stream.poll_close_unpin(context)
    }
}

/// The code of an error that the peer has caused. `None` if the connection has ended, so that no frame can be sent.
fn close_code(error: &tungstenite::Error) -> Option<CloseCode> {
    match error {
        tungstenite::Error::Protocol(
            ProtocolError::ResetWithoutClosingHandshake
            | ProtocolError::SendAfterClosing
            | ProtocolError::ReceivedAfterClosing,
        ) => None,
        tungstenite::Error::Protocol(_) => Some(CloseCode::Protocol),
        tungstenite::Error::Utf8(_) => Some(CloseCode::Invalid),
        tungstenite::Error::Capacity(_) => Some(CloseCode::Size),
        _ => None,
    }
}
