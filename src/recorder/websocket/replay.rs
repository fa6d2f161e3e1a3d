//! Replays a session: sends to the client what it gets after what it has sent.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::candidate::{Mismatch, Sent};
use super::candidates::{Candidates, Next, Step};
use super::limits::{IDLE, STOP_GRACE};
use super::transcript::kind_of;
use crate::cassette::SentMessage;
use crate::error::Result;
use crate::hash::sha256_hex;
use crate::http::{Closing, WebSocket, WebSocketMessage, audio_of};
use crate::key::CanonicalMessage;
use crate::recorder::fault_responses::first_half;
use crate::recorder::store::Store;
use crate::redaction::Redactor;
use crate::settings::faults::Fault;
use crate::settings::matching::Matching;
use crate::settings::pace::Pace;

/// How long a client that sends nothing waits for a message about which the recorded sessions disagree. What it sends
/// meanwhile may show which one it repeats.
const UNDECIDED: Duration = Duration::from_millis(50);

/// What a replay needs besides the recordings.
pub(super) struct Replay<'a> {
    pub(super) store: &'a Store,
    pub(super) redactor: &'a Redactor,
    pub(super) matching: &'a Matching,
    pub(super) pace: Pace,
    pub(super) fault: Option<Fault>,
    /// Whether the messages of the client are kept, to be sent to the API if no recording is left.
    pub(super) keeps_messages: bool,
    pub(super) stop: &'a CancellationToken,
}

/// How a replay ended.
pub(super) enum Replayed {
    /// The client, or the recording, has closed the session.
    Closed,
    /// A fault has ended it.
    Injected(Fault),
    /// No recording has the last message of the client: that of the nearest one, and the difference.
    Differs { location: String, mismatch: Mismatch },
}

/// What a client has sent and got in a replay.
#[derive(Default)]
pub(super) struct Exchanged {
    pub(super) sent: Vec<WebSocketMessage>,
    /// The types of the messages that it has got.
    pub(super) received: Vec<Option<String>>,
}

impl Replay<'_> {
    /// Replays until the session ends, or no recording is left.
    ///
    /// # Errors
    /// A recording cannot be read.
    pub(super) async fn run(
        &self,
        client: &mut WebSocket,
        candidates: &mut Candidates,
        exchanged: &mut Exchanged,
    ) -> Result<Replayed> {
        let mut last_frame = Instant::now();
        let mut last_input = Instant::now();
        let stopped = async {
            self.stop.cancelled().await;
            tokio::time::sleep(STOP_GRACE).await;
        };
        let mut stopped = std::pin::pin!(stopped);
        loop {
            if let Some(fault) = self.due_fault(candidates) {
                self.inject(fault, client).await;
                return Ok(Replayed::Injected(fault));
            }
            let due = match candidates.next() {
                Next::Output { is_certain: false, .. } | Next::Close { is_certain: false, .. } => {
                    last_input + UNDECIDED
                }
                Next::Output { output, .. } => last_frame + self.pace.delay(output.delay_ms),
                Next::Close { .. } => Instant::now(),
                Next::Nothing => last_input.max(last_frame) + IDLE,
            };
            let is_due = due <= Instant::now();
            let message = if is_due {
                None
            } else {
                tokio::select! {
                    biased;
                    message = client.incoming.next() => Some(message),
                    () = tokio::time::sleep_until(due) => None,
                    () = &mut stopped => Some(None),
                }
            };
            last_frame = Instant::now();
            match message {
                None => {
                    if let Some(closing) = self.deliver(client, candidates, exchanged).await? {
                        client.close(closing).await;
                        return Ok(Replayed::Closed);
                    }
                }
                Some(None | Some(Err(_) | Ok(WebSocketMessage::Close(_)))) => {
                    // Sends the reply to the close frame.
                    let _ = client.outgoing.close().await;
                    return Ok(Replayed::Closed);
                }
                Some(Some(Ok(message))) => {
                    last_input = last_frame;
                    let sent = self.sent(&message);
                    if self.keeps_messages {
                        exchanged.sent.push(message);
                    }
                    if let Step::Differs { location, mismatch } = candidates.advance(&sent, self.store).await? {
                        return Ok(Replayed::Differs { location, mismatch });
                    }
                }
            }
        }
    }

    /// Sends the next message to the client. If there is none, the session ends like this.
    async fn deliver(
        &self,
        client: &mut WebSocket,
        candidates: &mut Candidates,
        exchanged: &mut Exchanged,
    ) -> Result<Option<Closing>> {
        let (session, output) = match candidates.next() {
            Next::Output { session, output, .. } => (session, output),
            Next::Close { closing, .. } => return Ok(Some(closing)),
            Next::Nothing => return Ok(Some(Closing::new(1001, "nothing was sent for 300 seconds"))),
        };
        let message = output.message(&session.key, self.store).await?;
        if self.keeps_messages {
            exchanged.received.push(kind_of(&message));
        }
        let is_malformed = self.fault == Some(Fault::Malformed) && candidates.delivered() == session.outputs.len() / 2;
        candidates.set_delivered();
        let message = if is_malformed { half(message) } else { message };
        // A client that has left sends nothing more, which the next step sees.
        let _ = client.outgoing.send(message).await;
        Ok(None)
    }

    /// The fault that ends the session here: after half of what the client gets.
    fn due_fault(&self, candidates: &Candidates) -> Option<Fault> {
        let fault = self
            .fault
            .filter(|fault| matches!(fault, Fault::Cut | Fault::Close(_)))?;
        let outputs = candidates.first()?.outputs.len();
        let is_next = matches!(
            candidates.next(),
            Next::Output { is_certain: true, .. } | Next::Close { .. }
        );
        (candidates.delivered() >= outputs / 2 && (is_next || outputs == 0)).then_some(fault)
    }

    async fn inject(&self, fault: Fault, client: &mut WebSocket) {
        if let Fault::Close(code) = fault {
            client.close(Closing::new(code, "injected by mistral-cassette")).await;
        }
    }

    /// A message of the client without secrets, as it is compared.
    fn sent(&self, message: &WebSocketMessage) -> Sent {
        let sent = match message {
            WebSocketMessage::Text(text) => {
                if let Some(audio) = audio_of(text.as_bytes()) {
                    return Sent::Audio(audio);
                }
                SentMessage::Text(self.redactor.redact_body(text.as_ref()))
            }
            WebSocketMessage::Binary(bytes) => SentMessage::Binary(sha256_hex(&self.redactor.redact_body(bytes))),
            WebSocketMessage::Close(_) => SentMessage::Text(Bytes::new()),
        };
        Sent::Message(CanonicalMessage::of(&sent, self.matching))
    }
}

/// Half of a message, so that its JSON cannot be parsed.
fn half(message: WebSocketMessage) -> WebSocketMessage {
    match message {
        WebSocketMessage::Text(text) => match first_half(text.as_ref()).try_into() {
            Ok(half) => WebSocketMessage::Text(half),
            // It ends at the boundary of a character.
            Err(_) => WebSocketMessage::Text(text),
        },
        WebSocketMessage::Binary(bytes) => WebSocketMessage::Binary(first_half(&bytes)),
        close @ WebSocketMessage::Close(_) => close,
    }
}
