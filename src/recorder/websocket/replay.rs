//! Replays a session: sends to the client what the recording contains after the messages that the client has sent.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::candidate::{Mismatch, Sent};
use super::candidates::{Candidates, Certainty, Next, Step};
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

/// How long such a client waits for a message of another session than the one that was guessed, or for the end of the session
/// while others go on. A client that waits for that long may wait for just this.
const UNLIKELY: Duration = Duration::from_secs(1);

/// What a replay needs besides the recordings.
pub(super) struct Replay<'a> {
    pub(super) store: &'a Store,
    pub(super) redactor: &'a Redactor,
    pub(super) matching: &'a Matching,
    pub(super) pace: Pace,
    pub(super) fault: Option<Fault>,
    /// Whether the messages are collected, so that the API can continue the session if no recording is left.
    pub(super) keeps_messages: bool,
    pub(super) stop: &'a CancellationToken,
}

/// How a replay ended.
pub(super) enum Replayed {
    /// The client, or the recording, has closed the session.
    Closed,
    /// A fault has ended it.
    Injected(Fault),
    /// The recordings of what the client has sent were all replayed as often as they are recorded.
    Exhausted,
    /// No recording contains the last message of the client: the location of the nearest one, and the difference.
    Differs { location: String, mismatch: Mismatch },
}

/// What a client has sent and got in a replay.
#[derive(Default)]
pub(super) struct Exchanged {
    pub(super) sent: Vec<WebSocketMessage>,
    /// The types of the messages that it has got.
    pub(super) received: Vec<Option<String>>,
    /// Whether the client has got a damaged message.
    pub(super) is_damaged: bool,
}

/// What has happened to the next message for the client.
enum Delivery {
    /// It was sent, or it is another one now.
    Sent,
    /// There is none: the session ends.
    Closes(Closing),
    /// A fault takes its place, which ends the session.
    Fails(Fault),
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
            if candidates.is_empty() {
                return Ok(Replayed::Exhausted);
            }
            let due = match candidates.next() {
                Next::Output { output, certainty, .. } => match certainty {
                    Certainty::Certain => last_frame + self.pace.delay(output.delay_ms),
                    Certainty::Guess => last_input + UNDECIDED,
                    Certainty::Unlikely => last_input + UNLIKELY,
                },
                Next::Close { certainty, .. } if certainty != Certainty::Certain => last_input + UNLIKELY,
                Next::Close { .. } => Instant::now(),
                Next::Nothing if self.ending_fault().is_some() && candidates.is_silent() => Instant::now(),
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
                None => match self.deliver(client, candidates, exchanged).await? {
                    Delivery::Sent => {}
                    Delivery::Closes(closing) => {
                        client.close(closing).await;
                        return Ok(Replayed::Closed);
                    }
                    Delivery::Fails(fault) => {
                        self.inject(fault, client).await;
                        return Ok(Replayed::Injected(fault));
                    }
                },
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
                    match candidates.advance(&sent, self.store).await? {
                        Step::Continues => {}
                        Step::Exhausted => return Ok(Replayed::Exhausted),
                        Step::Differs { location, mismatch } => return Ok(Replayed::Differs { location, mismatch }),
                    }
                }
            }
        }
    }

    /// Sends the next message to the client. If there is none, or a fault takes its place, returns how the session
    /// ends.
    async fn deliver(
        &self,
        client: &mut WebSocket,
        candidates: &mut Candidates,
        exchanged: &mut Exchanged,
    ) -> Result<Delivery> {
        let is_guess =
            |next: &Next<'_>| matches!(next, Next::Output { certainty, .. } if *certainty != Certainty::Certain);
        if is_guess(&candidates.next()) && !candidates.guess() {
            return Ok(Delivery::Sent);
        }
        let next = candidates.next();
        let is_half_delivered = candidates.is_half_delivered(&next);
        if let Some(fault) = self.ending_fault().filter(|_| is_half_delivered) {
            return Ok(Delivery::Fails(fault));
        }
        let mut message = match next {
            Next::Output { session, output, .. } => output.message(&session.key, self.store).await?,
            Next::Close { closing, .. } => return Ok(Delivery::Closes(closing)),
            Next::Nothing => {
                let closing = Closing::new(1001, "nothing was sent for 300 seconds");
                return Ok(Delivery::Closes(closing));
            }
        };
        if self.keeps_messages {
            exchanged.received.push(kind_of(&message));
        }
        candidates.set_delivered();
        let is_damaged = self.fault == Some(Fault::Malformed) && is_half_delivered && !exchanged.is_damaged;
        if is_damaged && let Some(half) = half(&message) {
            message = half;
            exchanged.is_damaged = true;
        }
        // A client that has left sends nothing more, which the next step sees.
        let _ = client.outgoing.send(message).await;
        Ok(Delivery::Sent)
    }

    /// The fault that ends a session, if that is to be injected.
    fn ending_fault(&self) -> Option<Fault> {
        self.fault.filter(|fault| matches!(fault, Fault::Cut | Fault::Close(_)))
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

/// Half of a message, so that its JSON cannot be parsed; `None` of an empty one.
fn half(message: &WebSocketMessage) -> Option<WebSocketMessage> {
    match message {
        WebSocketMessage::Text(text) if !text.is_empty() => {
            // It ends at the boundary of a character.
            first_half(text.as_ref()).try_into().ok().map(WebSocketMessage::Text)
        }
        WebSocketMessage::Binary(bytes) if !bytes.is_empty() => Some(WebSocketMessage::Binary(first_half(bytes))),
        _ => None,
    }
}
