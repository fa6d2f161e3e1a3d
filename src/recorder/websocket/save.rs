//! Saves a session at its end, under the key of everything that its client has sent.

use std::sync::Arc;
#[cfg(feature = "cli")]
use std::time::Instant;

use http::{HeaderValue, StatusCode, header};

use super::Context;
use super::assessment::assess_session;
use super::relay::Ended;
use super::transcript::Transcript;
#[cfg(feature = "cli")]
use crate::cassette::Message;
use crate::cassette::{Blob, Peer, Recorded, RecordedBody, RecordedRequest, RecordedResponse, sent_messages};
use crate::error::{Error, ErrorKind, Result};
#[cfg(feature = "cli")]
use crate::http::WebSocketMessage;
use crate::http::{Closing, WebSocketTransport};
use crate::recorder::Recorder;
use crate::recorder::assessment::Assessment;
use crate::recorder::exchange::Exchange;
use crate::recorder::outcome::Outcome;
use crate::recorder::prepared::PreparedRequest;
use crate::recorder::usage_log::Use;
#[cfg(feature = "cli")]
use crate::redaction::Redactor;
use crate::redaction::secret_scan::mask;

/// The status of a response that opens a WebSocket.
const STATUS: StatusCode = StatusCode::SWITCHING_PROTOCOLS;

impl<U: WebSocketTransport> Context<U> {
    /// Saves a session that is complete, lasting, and contains no secret.
    pub(super) async fn save(self, transcript: Transcript, ended: Ended, protocol: Option<HeaderValue>) -> Result<()> {
        let (recorder, handshake) = (self.recorder.clone(), &self.exchange);
        let assessment = assess_session(&handshake.prepared.request.path, &ended, transcript.events());
        let (by, closing) = match &ended {
            Ended::Closed(peer, closing) => (*peer, closing.clone()),
            _ => (Peer::Server, Closing::default()),
        };
        let now = transcript.now();
        let Some((messages, timing_ms)) = transcript.finish(by, &closing, now, &handshake.prepared.redactor) else {
            recorder.skip_too_large(&handshake.prepared, handshake.started, STATUS);
            return Ok(());
        };
        let request = RecordedRequest {
            body: RecordedBody::Messages(sent_messages(&messages)),
            ..handshake.prepared.request.clone()
        };
        let prepared = Arc::new(self.prepared(request, None));
        if let Err(reason) = recorder.check_lasting_session(handshake, assessment, ended) {
            recorder.session_not_recorded(&prepared, handshake, reason);
            return Ok(());
        }
        let response = RecordedResponse {
            status: STATUS,
            headers: session_headers(protocol.as_ref()),
            body: Blob::Inline(bytes::Bytes::new()),
            timing_ms,
            messages,
        };
        let origin = self.upstream.origin();
        recorder.save_session(self.exchange, prepared, response, origin).await
    }
}

/// Returns the response headers that are recorded for a session: only the subprotocol.
pub(crate) fn session_headers(protocol: Option<&HeaderValue>) -> Vec<(String, String)> {
    let protocol = protocol.and_then(|value| value.to_str().ok());
    let name = header::SEC_WEBSOCKET_PROTOCOL.to_string();
    protocol.map(|value| (name, value.to_owned())).into_iter().collect()
}

impl Recorder {
    /// Checks whether a session is recorded. Otherwise the session of the recorder warns or fails, and the reason is returned.
    fn check_lasting_session(&self, handshake: &Exchange, assessment: Assessment, ended: Ended) -> Result<(), String> {
        match assessment {
            Assessment::Lasting => Ok(()),
            Assessment::Transient(_) if handshake.saves_error(STATUS) => Ok(()),
            Assessment::Transient(reason) => {
                self.session().count(|summary| summary.passed_on += 1);
                self.warn_transient(STATUS, &reason, handshake);
                Err(format!("transient: {reason}"))
            }
            Assessment::Incomplete(reason) => {
                let line = mask(&handshake.prepared.request.line()).into_owned();
                let message = format!("not recorded: the session {line}{} is {reason}", self.origin());
                let mut error = Error::new(ErrorKind::Upstream, message);
                if let Ended::ServerVanished(Some(source)) = ended {
                    error = error.with_source(source);
                }
                self.session().failed(&error);
                tracing::warn!("{}", error.message());
                Err(reason)
            }
        }
    }

    fn session_not_recorded(&self, prepared: &PreparedRequest, handshake: &Exchange, reason: String) {
        self.log_use(&prepared.key, Use::NotRecorded);
        self.report(prepared, handshake.started, STATUS, Outcome::NotRecorded(reason));
    }

    async fn save_session(
        &self,
        handshake: Exchange,
        prepared: Arc<PreparedRequest>,
        response: RecordedResponse,
        origin: Option<String>,
    ) -> Result<()> {
        let started = handshake.started;
        let exchange = Exchange {
            turn: Some(self.session().take_turn(&prepared.key)),
            prepared: prepared.clone(),
            ..handshake
        };
        if let Err(error) = self.check_secrets(&exchange, &response) {
            self.session().failed(&error);
            tracing::warn!("{}", error.message());
            self.session_not_recorded(&prepared, &exchange, "the session contains a secret".to_owned());
            return Ok(());
        }
        let redacted = |text: &str| prepared.redactor.redact_text(text).into_owned();
        let recorded = Recorded::now(origin.as_deref().map(redacted), self.test.as_deref().map(redacted));
        let records_each_request = exchange.records_each_request();
        let saved = match self.save(exchange, response, recorded, 1).await {
            // A session that a cache cannot store does not fail.
            Err(error) if self.is_tolerated(&error, records_each_request) => {
                self.skip_unavailable(&prepared, started, STATUS, &error);
                return Ok(());
            }
            saved => saved?,
        };
        if saved {
            self.session().count(|summary| summary.recorded += 1);
            self.log_use(&prepared.key, Use::Recorded);
            self.report(&prepared, started, STATUS, Outcome::Recorded);
        } else {
            self.skip_too_large(&prepared, started, STATUS);
        }
        Ok(())
    }
}

/// Converts a session that another tool has recorded: returns the messages and times for a cassette.
///
/// # Errors
/// The session is not complete, or ends with an error.
#[cfg(feature = "cli")]
pub(crate) fn recorded_session<'a>(
    path: &str,
    frames: impl Iterator<Item = (Peer, &'a WebSocketMessage, u64)>,
    (by, closing, closed_at_ms): (Peer, Closing, u64),
    redactor: &Redactor,
) -> Result<(Vec<Message>, Vec<u64>), String> {
    let mut transcript = Transcript::new(Instant::now(), usize::MAX);
    for (peer, message, at_ms) in frames {
        match peer {
            Peer::Client => transcript.sent(message, at_ms),
            Peer::Server => transcript.received(message, at_ms),
        }
    }
    match assess_session(path, &Ended::Closed(by, closing.clone()), transcript.events()) {
        Assessment::Lasting => {}
        Assessment::Transient(reason) | Assessment::Incomplete(reason) => {
            return Err(format!("the session is not recorded: {reason}"));
        }
    }
    transcript
        .finish(by, &closing, closed_at_ms, redactor)
        .ok_or_else(|| "the session is too large".to_owned())
}
