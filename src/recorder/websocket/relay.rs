//! Passes messages between a client and the API, and collects them.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::limits::{IDLE, STOP_GRACE};
use super::transcript::{Events, Transcript, kind_of};
use crate::cassette::Peer;
use crate::error::Error;
use crate::http::{Closing, Incoming, Outgoing, WebSocket, WebSocketMessage, wait_for_reply};

/// How long the API may take to close a session that the client has closed.
const CLOSING: Duration = Duration::from_secs(10);

/// The reason for the end of a session when the program stops.
const STOPS: &str = "the proxy stops";

/// How a session with the API ended.
pub(super) enum Ended {
    /// With a close frame of this peer.
    Closed(Peer, Closing),
    /// The client has gone without a close frame.
    ClientVanished,
    /// The API has gone without a close frame.
    ServerVanished(Option<Error>),
    /// Neither has sent anything for a long time, or the program stops.
    Stopped(&'static str),
}

/// A session that has ended.
pub(super) struct Relayed {
    pub(super) transcript: Transcript,
    pub(super) ended: Ended,
    /// The connection of the client, which ends when the session is saved. `None` if the client has left while the API was
    /// still busy.
    pub(super) client: Option<WebSocket>,
}

/// What both directions share.
struct State {
    transcript: Transcript,
    last_message: Instant,
}

struct Relay {
    state: Mutex<State>,
    /// Whether the endpoint ends a complete session with an event.
    has_final_event: bool,
    /// Whether the client is in this process, and leaves a session by dropping it.
    is_client_local: bool,
    stop: CancellationToken,
}

/// Passes messages until the session ends. `received` are the types of the messages that the client has already got from a
/// recording: the first messages of the API are not passed on as long as they have these types.
pub(super) async fn relay(
    client: WebSocket,
    upstream: WebSocket,
    transcript: Transcript,
    received: &[Option<String>],
    has_final_event: bool,
    stop: CancellationToken,
) -> Relayed {
    let relay = Relay {
        state: Mutex::new(State {
            transcript,
            last_message: Instant::now(),
        }),
        has_final_event,
        is_client_local: !client.has_replies,
        stop,
    };
    let (ended, client) = relay.run(client, upstream, received).await;
    let state = relay.state.into_inner().unwrap_or_else(PoisonError::into_inner);
    Relayed {
        transcript: state.transcript,
        ended,
        client,
    }
}

impl Relay {
    /// Adds a message to the transcript.
    fn note(&self, add: impl FnOnce(&mut Transcript, u64)) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.last_message = Instant::now();
        let now = state.transcript.now();
        add(&mut state.transcript, now);
    }

    /// Whether the API has got everything and is still busy.
    fn is_final_awaited(&self) -> bool {
        let events = self.events();
        self.has_final_event && events.has_input_ended && !events.has_final && events.error.is_none()
    }

    fn events(&self) -> Events {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.transcript.events().clone()
    }

    async fn run(
        &self,
        mut client: WebSocket,
        upstream: WebSocket,
        received: &[Option<String>],
    ) -> (Ended, Option<WebSocket>) {
        let WebSocket {
            incoming: mut from_upstream,
            outgoing: mut to_upstream,
            ..
        } = upstream;
        let client_ended = {
            let forward = self.forward(&mut client.incoming, &mut to_upstream);
            let back = self.back(&mut from_upstream, &mut client.outgoing, received);
            tokio::select! {
                // What the API has already sent comes first, so that it is part of the session.
                biased;
                ended = back => {
                    if client.has_replies && matches!(ended, Ended::Closed(..)) {
                        wait_for_reply(&mut client.incoming).await;
                    }
                    return (ended, Some(client));
                }
                closing = forward => closing,
                reason = self.idle() => {
                    let _ = client.outgoing.send(WebSocketMessage::Close(Closing::new(1001, reason))).await;
                    return (Ended::Stopped(reason), Some(client));
                }
            }
        };
        // Sends the reply to the close frame.
        let _ = client.outgoing.close().await;
        let client = (!self.is_final_awaited()).then_some(client);
        let ended = self.finish(client_ended, &mut from_upstream, &mut to_upstream).await;
        (ended, client)
    }

    /// Passes the messages of the client on. Returns its close frame, or `None` if it has gone without one.
    async fn forward(&self, client: &mut Incoming, upstream: &mut Outgoing) -> Option<Closing> {
        loop {
            match client.next().await {
                None if self.is_client_local => return Some(Closing::new(1000, "")),
                None | Some(Err(_)) => return None,
                Some(Ok(WebSocketMessage::Close(closing))) => return Some(closing),
                Some(Ok(message)) => {
                    self.note(|transcript, now| transcript.sent(&message, now));
                    if upstream.send(message).await.is_err() {
                        // The other direction says how the API has ended the session.
                        std::future::pending::<()>().await;
                    }
                }
            }
        }
    }

    /// Passes the messages of the API back to the client.
    async fn back(&self, upstream: &mut Incoming, client: &mut Outgoing, received: &[Option<String>]) -> Ended {
        let mut received = received.iter();
        loop {
            match upstream.next().await {
                None => return Ended::ServerVanished(None),
                Some(Err(error)) => return Ended::ServerVanished(Some(error)),
                Some(Ok(WebSocketMessage::Close(closing))) => {
                    let _ = client.send(WebSocketMessage::Close(closing.clone())).await;
                    return Ended::Closed(Peer::Server, closing);
                }
                Some(Ok(message)) => {
                    self.note(|transcript, now| transcript.received(&message, now));
                    if received.next().is_some_and(|kind| *kind == kind_of(&message)) {
                        continue;
                    }
                    // After the first message that is new to the client, everything is passed on.
                    received = [].iter();
                    // A client that has left ends the other direction.
                    let _ = client.send(message).await;
                }
            }
        }
    }

    /// Ends a session that the client has left: after its last event, if the client has sent everything.
    async fn finish(&self, closing: Option<Closing>, upstream: &mut Incoming, to_upstream: &mut Outgoing) -> Ended {
        let is_awaited = || self.is_final_awaited();
        let rest = async {
            let mut is_closed = false;
            loop {
                if !is_awaited() && !is_closed {
                    is_closed = true;
                    let closing = closing.clone().unwrap_or_else(|| Closing::new(1001, ""));
                    let _ = to_upstream.send(WebSocketMessage::Close(closing)).await;
                }
                match upstream.next().await {
                    Some(Ok(WebSocketMessage::Close(closing))) if is_awaited() => {
                        return Some(Ended::Closed(Peer::Server, closing));
                    }
                    None if is_awaited() => return Some(Ended::ServerVanished(None)),
                    Some(Err(error)) if is_awaited() => return Some(Ended::ServerVanished(Some(error))),
                    None | Some(Err(_) | Ok(WebSocketMessage::Close(_))) => return None,
                    Some(Ok(message)) => self.note(|transcript, now| transcript.received(&message, now)),
                }
            }
        };
        let limit = if is_awaited() { IDLE } else { CLOSING };
        let ended = tokio::select! {
            ended = tokio::time::timeout(limit, rest) => ended.ok().flatten(),
            () = self.stopped() => is_awaited().then_some(Ended::Stopped(STOPS)),
        };
        match (ended, closing) {
            (Some(ended), _) => ended,
            _ if is_awaited() => Ended::Stopped("the API did not complete the session in 300 seconds"),
            (None, Some(closing)) => Ended::Closed(Peer::Client, closing),
            // A session whose last event has arrived is complete, however the client leaves it.
            (None, None) if self.has_final_event && self.events().has_final => {
                Ended::Closed(Peer::Client, Closing::default())
            }
            (None, None) => Ended::ClientVanished,
        }
    }

    /// Waits until the session must end, and returns the reason: neither side has sent anything for a long time, or the
    /// program stops.
    async fn idle(&self) -> &'static str {
        let idle = async {
            loop {
                let last = self.state.lock().unwrap_or_else(PoisonError::into_inner).last_message;
                if last.elapsed() >= IDLE {
                    return;
                }
                tokio::time::sleep_until(last + IDLE).await;
            }
        };
        tokio::select! {
            () = idle => "nothing was sent for 300 seconds",
            () = self.stopped() => STOPS,
        }
    }

    /// Waits until the program stops, and then gives the peers [`STOP_GRACE`] to end the session.
    async fn stopped(&self) {
        self.stop.cancelled().await;
        tokio::time::sleep(STOP_GRACE).await;
    }
}
