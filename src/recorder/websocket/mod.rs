//! WebSocket sessions: recorded from the API, or replayed to a client that sends the same messages.
//!
//! A session is a request whose body arrives message by message, and whose response depends on what has arrived so far. So its
//! key is known only at its end. A replay begins with all recorded sessions that have the same path and query, and each message
//! of the client rules out those that do not contain it.

mod assessment;
mod candidate;
mod candidates;
mod limits;
mod position;
mod relay;
mod replay;
mod save;
mod transcript;
mod turn;

use std::time::Instant;

use futures_util::StreamExt as _;
use http::{HeaderValue, StatusCode, header};

use self::assessment::has_final_event;
use self::candidates::Candidates;
use self::relay::{Relayed, relay};
use self::replay::{Exchanged, Replay, Replayed};
#[cfg(feature = "cli")]
pub(crate) use self::save::{recorded_session, session_headers};
use self::transcript::Transcript;
use super::Recorder;
use super::answer_faults;
use super::exchange::Exchange;
use super::fault_responses;
use super::outcome::Outcome;
use super::prepared::PreparedRequest;
use super::usage_log::Use;
use crate::cassette::RecordedRequest;
use crate::error::{Error, ErrorKind, Result};
use crate::http::{Closing, Handshake, Request, Response, WebSocket, WebSocketTransport};
use crate::key::{CanonicalRequest, RequestKey};
use crate::mode::OnMiss;
use crate::redaction::secret_scan::mask;
use crate::settings::faults::{Fault, Injection};

/// The code of the close frame after a miss, in the range for private use.
const MISSED: u16 = 4404;

/// The code of the close frame after an error of this program or of a recording.
const FAILED: u16 = 1011;

/// The result of a request for a WebSocket.
pub(crate) enum Opening<U> {
    /// The client gets a connection, on which [`WebSocketSession::serve`] serves it.
    Accepted(Box<WebSocketSession<U>>),
    /// The client gets a response of the API, or of an injected fault.
    Refused(Response),
}

/// A session that a client has asked for.
pub(crate) struct WebSocketSession<U> {
    context: Context<U>,
    source: Source,
    #[cfg_attr(
        not(feature = "proxy"),
        expect(dead_code, reason = "only the proxy responds to a handshake")
    )]
    protocol: Option<HeaderValue>,
}

/// What a session needs besides its connections.
struct Context<U> {
    recorder: Recorder,
    upstream: U,
    request: Request,
    /// The exchange of the handshake, which has no body.
    exchange: Exchange,
}

/// Where the messages for the client come from.
enum Source {
    Upstream(WebSocket),
    Recordings(Box<Candidates>),
}

impl Recorder {
    /// Answers a request for a WebSocket: finds the sessions that were recorded after the same request, or connects to the
    /// API.
    ///
    /// # Errors
    /// The recordings cannot be read, or the API cannot be reached.
    pub(crate) async fn open_websocket<U: WebSocketTransport>(
        &self,
        request: Request,
        upstream: U,
    ) -> Result<Opening<U>> {
        if self.session().has_ended() {
            return Err(super::after_the_end(&request));
        }
        let (line, started) = (format!("{} {}", request.method(), request.target()), Instant::now());
        let result = Box::pin(self.open_session(request, upstream)).await;
        if let Err(error) = &result
            && !error.is_injected()
        {
            self.session().failed(error);
            self.report_error(&line, started, None, error);
        }
        result
    }

    async fn open_session<U: WebSocketTransport>(&self, mut request: Request, upstream: U) -> Result<Opening<U>> {
        let plan = self.shared.mode.plan(upstream.has_key(&request));
        let mut exchange = self.prepare(&mut request, &upstream, plan).await?;
        let candidates = match plan.looks_up {
            true => self.recorded_sessions(&mut exchange).await?,
            false => None,
        };
        let offered = offered_protocols(&request);
        let (source, protocol) =
            match candidates.filter(|found| !found.is_empty() || exchange.plan.on_miss == OnMiss::Fail) {
                Some(candidates) => {
                    if let Some(refused) = self.refuse_by_fault(&exchange) {
                        return refused.map(Opening::Refused);
                    }
                    let protocol = match candidates.is_empty() {
                        // Accepts the first subprotocol, so that the client gets the reason for the miss in a close
                        // frame.
                        true => offered.first().cloned(),
                        false => candidates.protocol(&offered),
                    };
                    (Source::Recordings(Box::new(candidates)), protocol)
                }
                None => match self.connect_upstream(&mut exchange, &request, &upstream).await? {
                    Handshake::Accepted(connection) => {
                        let protocol = connection.protocol.clone();
                        (Source::Upstream(connection), protocol)
                    }
                    Handshake::Refused(response) => {
                        self.count_refused(&exchange, response.status());
                        return Ok(Opening::Refused(response));
                    }
                },
            };
        Ok(Opening::Accepted(Box::new(WebSocketSession {
            context: Context {
                recorder: self.clone(),
                upstream,
                request,
                exchange,
            },
            source,
            protocol,
        })))
    }

    /// The sessions that were recorded after this handshake. If a cache is unavailable and the mode allows it, the API answers,
    /// and nothing is recorded.
    async fn recorded_sessions(&self, exchange: &mut Exchange) -> Result<Option<Candidates>> {
        match Candidates::load(self, exchange).await {
            Err(error) if self.shared.store.may_bypass(&error, exchange.plan) => {
                self.session().warn_unavailable(&error);
                exchange.plan.on_miss = OnMiss::PassOn;
                Ok(None)
            }
            loaded => loaded.map(Some),
        }
    }

    /// The fault that takes the place of a handshake, if one was drawn.
    fn refuse_by_fault(&self, exchange: &Exchange) -> Option<Result<Response>> {
        let (status, refused) = match exchange.injection.fault? {
            Fault::Status(status) => (Some(status), Ok(fault_responses::error_response(status))),
            Fault::Reset => (None, Err(fault_responses::connection_error(Fault::Reset))),
            Fault::Answer(fault) if exchange.injection.is_required => {
                let reason = "a realtime session is not an answer of a chat model";
                return Some(Err(answer_faults::not_injected(Fault::Answer(fault), reason)));
            }
            Fault::Answer(_) => return None,
            // These faults are injected later, during the session.
            Fault::Cut | Fault::Malformed | Fault::Close(_) => return None,
        };
        self.count_injected(exchange, exchange.injection.fault?, status);
        Some(refused)
    }

    async fn connect_upstream<U: WebSocketTransport>(
        &self,
        exchange: &mut Exchange,
        request: &Request,
        upstream: &U,
    ) -> Result<Handshake> {
        exchange.injection = Injection::default();
        if exchange.plan.on_miss == OnMiss::Record {
            self.check_key(exchange, request, upstream)?;
            // A cache that cannot be written does not stop a session in mode `replay`.
            if exchange.records_each_request() || !self.shared.store.is_cache() {
                self.shared.store.engine().extensions().check_writable().await?;
            }
        }
        upstream.connect(request.clone()).await
    }

    /// Counts a handshake that the API has refused: such a response is not recorded.
    fn count_refused(&self, exchange: &Exchange, status: StatusCode) {
        if status == StatusCode::UNAUTHORIZED {
            self.refuse_key(exchange);
        }
        self.session().count(|summary| summary.passed_on += 1);
        let reason = format!("the API has refused the WebSocket with {}", status.as_u16());
        let outcome = match exchange.plan.on_miss {
            OnMiss::PassOn => Outcome::PassedOn,
            OnMiss::Record | OnMiss::Fail => {
                let line = mask(&exchange.prepared.request.line()).into_owned();
                tracing::warn!("not recorded: {line}{}: {reason}", self.origin());
                self.log_use(exchange.key(), Use::NotRecorded);
                Outcome::NotRecorded(reason)
            }
        };
        self.report(&exchange.prepared, exchange.started, status, outcome);
    }
}

/// The subprotocols that the client offers. It may get only one of these.
fn offered_protocols(request: &Request) -> Vec<HeaderValue> {
    let lists = request.header_map().get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
    let names = lists
        .filter_map(|list| list.to_str().ok())
        .flat_map(|list| list.split(','));
    names
        .filter_map(|name| HeaderValue::from_str(name.trim()).ok())
        .collect()
}

impl<U: WebSocketTransport> WebSocketSession<U> {
    /// The subprotocol for the response to the client.
    #[cfg(feature = "proxy")]
    pub(crate) fn protocol(&self) -> Option<&HeaderValue> {
        self.protocol.as_ref()
    }

    /// Serves the client until the session ends, and saves the session if it was recorded.
    ///
    /// # Errors
    /// The error that the session counts as a failure.
    pub(crate) async fn serve(self, client: WebSocket) -> Result<()> {
        let Context { recorder, exchange, .. } = &self.context;
        let recorder = recorder.clone();
        let (line, started) = (exchange.prepared.request.line(), exchange.started);
        let is_of_test = recorder.shared.background.is_some();
        let in_progress = is_of_test.then(|| recorder.session().in_progress().begin(mask(&line).into_owned(), true));
        let served = recorder
            .shared
            .recordings
            .track_future(Box::pin(self.context.run(client, self.source)));
        let served = served.await;
        if let Err(error) = &served {
            recorder.session().failed(error);
            recorder.report_error(&line, started, None, error);
        }
        drop(in_progress);
        served
    }
}

impl<U: WebSocketTransport> Context<U> {
    async fn run(mut self, mut client: WebSocket, source: Source) -> Result<()> {
        let candidates = match source {
            Source::Upstream(upstream) => return self.relay(client, upstream, Exchanged::default()).await,
            Source::Recordings(candidates) => candidates,
        };
        match self.replay(&mut client, *candidates).await {
            Ok(None) => Ok(()),
            Ok(Some(exchanged)) => {
                let connected = self
                    .recorder
                    .connect_upstream(&mut self.exchange, &self.request, &self.upstream)
                    .await;
                match connected {
                    Ok(Handshake::Accepted(upstream)) => self.relay(client, upstream, exchanged).await,
                    Ok(Handshake::Refused(response)) => {
                        self.recorder.count_refused(&self.exchange, response.status());
                        let reason = format!("the API has refused the WebSocket with {}", response.status());
                        client.close(Closing::new(FAILED, &reason)).await;
                        Ok(())
                    }
                    Err(error) => {
                        client.close(Closing::new(FAILED, &error.in_one_line())).await;
                        Err(error)
                    }
                }
            }
            Err(error) => {
                let code = if error.kind() == ErrorKind::Miss {
                    MISSED
                } else {
                    FAILED
                };
                client.close(Closing::new(code, &error.in_one_line())).await;
                Err(error)
            }
        }
    }

    /// Replays a recorded session. Returns what was exchanged if the API must continue it.
    async fn replay(&self, client: &mut WebSocket, mut candidates: Candidates) -> Result<Option<Exchanged>> {
        let (recorder, exchange) = (&self.recorder, &self.exchange);
        let fails_on_miss = exchange.plan.on_miss == OnMiss::Fail;
        if candidates.is_empty() {
            return Err(self.missed(&candidates).await);
        }
        if !exchange.injection.delay.is_zero() {
            recorder.session().count(|summary| summary.delayed += 1);
            let delay = tokio::time::sleep(exchange.injection.delay);
            recorder.shared.delays_skipped.run_until_cancelled(delay).await;
        }
        let settings = &exchange.settings.settings;
        let replay = Replay {
            store: &recorder.shared.store,
            redactor: &exchange.prepared.redactor,
            matching: &settings.matching,
            pace: exchange.playback.pace_or(settings.pace),
            fault: exchange.injection.fault,
            keeps_messages: !fails_on_miss,
            stop: &recorder.shared.delays_skipped,
        };
        let mut exchanged = Exchanged::default();
        match replay.run(client, &mut candidates, &mut exchanged).await? {
            Replayed::Differs { location, mismatch } if fails_on_miss => {
                Err(recorder.session_missed(exchange, &location, &mismatch.summary, &mismatch.diff))
            }
            Replayed::Exhausted if fails_on_miss => Err(self.missed(&candidates).await),
            Replayed::Differs { .. } | Replayed::Exhausted => Ok(Some(exchanged)),
            ended => {
                let injected = match ended {
                    Replayed::Injected(fault) => Some(fault),
                    // A client that leaves early may not have got the damaged message.
                    _ => exchanged.is_damaged.then_some(Fault::Malformed),
                };
                if injected.is_none() && !candidates.use_turn() {
                    return Err(self.missed(&candidates).await);
                }
                self.count_replayed(&candidates, injected);
                Ok(None)
            }
        }
    }

    /// The error of a session that is not recorded, or was replayed as often as it is recorded.
    async fn missed(&self, candidates: &Candidates) -> Error {
        match candidates.exhausted() {
            Some(error) => error,
            None => self.recorder.missed(&self.exchange).await,
        }
    }

    fn count_replayed(&self, candidates: &Candidates, injected: Option<Fault>) {
        let Some(first) = candidates.ended() else { return };
        let recorder = &self.recorder;
        let response = &first.document.responses[first.index];
        let prepared = self.prepared(first.document.request.clone(), Some(first.key.clone()));
        recorder.log_use(&first.key, Use::Replayed);
        let outcome = match injected {
            Some(fault) => {
                recorder.session().count(|summary| summary.injected += 1);
                Outcome::Injected(fault.to_string())
            }
            None => {
                recorder.count_hit(response, response.received_tokens());
                Outcome::Replayed {
                    index: first.index,
                    count: first.document.responses.len(),
                }
            }
        };
        recorder.report(&prepared, self.exchange.started, response.status, outcome);
    }

    /// The request of a whole session, which has this key if it is known.
    fn prepared(&self, request: RecordedRequest, key: Option<RequestKey>) -> PreparedRequest {
        let canonical = CanonicalRequest::of(&request, &self.exchange.settings.settings.matching);
        PreparedRequest {
            redactor: self.exchange.prepared.redactor.clone(),
            key: key.unwrap_or_else(|| RequestKey::from_canonical(&canonical, self.exchange.key().scope())),
            request,
            canonical,
        }
    }

    /// Passes messages between the client and the API, and saves the session. `before` is what the client has sent and got in a
    /// replay.
    async fn relay(self, mut client: WebSocket, upstream: WebSocket, before: Exchanged) -> Result<()> {
        let path = self.exchange.prepared.request.path.clone();
        let limit = self.exchange.settings.settings.limits.max_response_bytes();
        let transcript = Transcript::new(Instant::now(), usize::try_from(limit).unwrap_or(usize::MAX));
        let sent = futures_util::stream::iter(before.sent.into_iter().map(Ok));
        client.incoming = Box::pin(sent.chain(client.incoming));
        let stop = self.recorder.shared.delays_skipped.clone();
        let protocol = upstream.protocol.clone();
        let Relayed {
            transcript,
            ended,
            client,
        } = relay(
            client,
            upstream,
            transcript,
            &before.received,
            has_final_event(&path),
            stop,
        )
        .await;
        let recorder = &self.recorder;
        if self.exchange.plan.on_miss == OnMiss::PassOn {
            recorder.session().count(|summary| summary.passed_on += 1);
            let status = StatusCode::SWITCHING_PROTOCOLS;
            recorder.report(
                &self.exchange.prepared,
                self.exchange.started,
                status,
                Outcome::PassedOn,
            );
            return Ok(());
        }
        let saved = self.save(transcript, ended, protocol).await;
        // A client that has seen the end of its connection can rely on the file.
        drop(client);
        saved
    }
}
