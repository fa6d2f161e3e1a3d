//! Replays a recorded response, or the fault that was drawn for it.

use bytes::Bytes;
use http::StatusCode;

use super::Recorder;
use super::answer_faults;
use super::document_cache::Document;
use super::exchange::Exchange;
use super::fault_responses;
use super::outcome::Outcome;
use super::paced_body::PacedBody;
use super::usage_log::Use;
use crate::cassette::{Blob, Cassette, RecordedResponse};
use crate::error::{Error, ErrorKind, Result};
use crate::http::Response;
use crate::key::RequestKey;
use crate::settings::faults::Fault;
use crate::settings::pace::Pace;

impl Recorder {
    /// Replays the response whose turn it is, or the fault that takes its place.
    pub(super) async fn replay(&self, exchange: &Exchange, document: &Document) -> Result<Response> {
        self.delay(exchange).await;
        let mut fault = exchange.injection.fault;
        match fault {
            Some(Fault::Status(status)) => {
                self.count_injected(exchange, Fault::Status(status), Some(status));
                return Ok(fault_responses::error_response(status));
            }
            Some(Fault::Reset) => {
                self.count_injected(exchange, Fault::Reset, None);
                return Err(fault_responses::connection_error(Fault::Reset));
            }
            _ => {}
        }
        let turn = exchange
            .turn
            .unwrap_or_else(|| self.session().next_turn(exchange.key()));
        let (mut index, mut body) = self.recorded_body(exchange, document, turn).await?;
        if let Some(injected) = fault
            && let Some(faulty) = self.faulty_body(exchange, injected, &document.responses[index], &body)?
        {
            body = faulty;
        } else if fault.take().is_some() {
            let turn = self.session().take_turn(exchange.key());
            (index, body) = self.recorded_body(exchange, document, turn).await?;
        }
        let response = &document.responses[index];
        let replayed = document.replayed(index, &body);
        let mut headers = replayed.headers.clone();
        match fault {
            Some(fault) => {
                self.count_injected(exchange, fault, Some(response.status));
                fault_responses::name_fault(&mut headers, fault);
            }
            None => self.count_replayed(exchange, document, index, replayed.tokens),
        }
        let pace = exchange.playback.pace_or(exchange.settings.settings.pace);
        let lengths = exchange.playback.fragment_lengths();
        let is_truncated = fault == Some(Fault::Cut);
        if pace == Pace::Instant && lengths.is_empty() && !is_truncated && response.stream_format().is_none() {
            return Ok(Response::new(response.status, body).headers(headers));
        }
        let skip = self.shared.delays_skipped.clone();
        let mut paced = PacedBody::new(response, body, pace, skip).with_fragments(lengths);
        if is_truncated {
            paced = paced.truncated(fault_responses::connection_error(Fault::Cut));
        }
        Ok(Box::pin(paced.into_response(response.status, headers)).await)
    }

    /// The body with this fault. `None` if it cannot have the fault: then it is replayed unchanged.
    ///
    /// # Errors
    /// [`ErrorKind::Request`] if the request asks for a fault that its response cannot have.
    fn faulty_body(
        &self,
        exchange: &Exchange,
        fault: Fault,
        response: &RecordedResponse,
        body: &Bytes,
    ) -> Result<Option<Bytes>> {
        let format = response.stream_format();
        let is_required = exchange.injection.is_required;
        match fault {
            Fault::Answer(fault) => match answer_faults::inject(fault, body, format, &exchange.prepared.request) {
                None if is_required => Err(answer_faults::inapplicable(fault, body, format)),
                faulty => Ok(faulty),
            },
            Fault::Close(_) => {
                let reason = "only a WebSocket session can be closed with a code";
                Err(answer_faults::not_injected(fault, reason))
            }
            fault if body.is_empty() => match is_required {
                true => Err(answer_faults::not_injected(fault, "the response has no body")),
                false => Ok(None),
            },
            Fault::Malformed => Ok(Some(fault_responses::malformed(body, format))),
            _ => Ok(Some(body.clone())),
        }
    }

    /// Waits for the delay that was injected.
    async fn delay(&self, exchange: &Exchange) {
        let delay = exchange.injection.delay;
        if !delay.is_zero() {
            self.session().count(|summary| summary.delayed += 1);
            let wait = self
                .shared
                .delays_skipped
                .run_until_cancelled(tokio::time::sleep(delay));
            Box::pin(wait).await;
        }
    }

    /// The response at this turn, by its index, and its body.
    async fn recorded_body(&self, exchange: &Exchange, document: &Document, turn: usize) -> Result<(usize, Bytes)> {
        let recorded = document.responses.len();
        let exhausted = exchange.settings.settings.exhausted;
        let Some(index) = exhausted.index(turn, recorded) else {
            return Err(self.exhausted(exchange.key(), document, turn));
        };
        let body = &document.responses[index].body;
        if let (Blob::External { sha256 }, Some((loaded, bytes))) = (body, &exchange.body)
            && loaded == sha256
        {
            return Ok((index, bytes.clone()));
        }
        Ok((index, self.shared.store.load_body(body, exchange.key()).await?))
    }

    /// Why a request at this turn has no recorded response.
    pub(super) fn exhausted(&self, key: &RequestKey, cassette: &Cassette, turn: usize) -> Error {
        Error::new(
            ErrorKind::Miss,
            format!(
                "not recorded: {} was requested {} times and is recorded {} times, in {} (exhausted: fail)",
                cassette.request.line(),
                turn + 1,
                cassette.responses.len(),
                self.shared.store.location_of(key)
            ),
        )
        .with_hint("record it again with MISTRAL_CASSETTE_MODE=record, or set exhausted: repeat in settings.yaml")
    }

    fn count_replayed(&self, exchange: &Exchange, cassette: &Cassette, index: usize, tokens: u64) {
        let response = &cassette.responses[index];
        self.count_hit(response, tokens);
        self.log_use(exchange.key(), Use::Replayed);
        let count = cassette.responses.len();
        let outcome = Outcome::Replayed { index, count };
        self.report(&exchange.prepared, exchange.started, response.status, outcome);
    }

    /// Counts a replay, and what it has saved.
    pub(super) fn count_hit(&self, response: &RecordedResponse, tokens: u64) {
        let milliseconds = response.timing_ms.last().copied().unwrap_or_default();
        self.session().count(|summary| {
            summary.replayed += 1;
            summary.tokens_saved += tokens;
            summary.milliseconds_saved += milliseconds;
        });
        self.shared.store.count(|counts| {
            counts.hits += 1;
            counts.tokens_saved += tokens;
            counts.milliseconds_saved += milliseconds;
        });
    }

    pub(super) fn count_injected(&self, exchange: &Exchange, fault: Fault, status: Option<StatusCode>) {
        self.session().count(|summary| summary.injected += 1);
        self.log_use(exchange.key(), Use::Replayed);
        let outcome = Outcome::Injected(fault.to_string());
        self.report(&exchange.prepared, exchange.started, status, outcome);
    }
}
