//! Reports what happened to each request: a line in the log, and an entry in a session that keeps them.

use std::time::Instant;

use http::StatusCode;
use jiff::Timestamp;

use super::Recorder;
use super::outcome::{AnsweredRequest, Outcome, first_line};
use super::prepared::PreparedRequest;
use crate::error::Error;
use crate::redaction::secret_scan::mask;

impl Recorder {
    /// Logs a line for an answered request: method and target, status, duration, what happened, and the cassette. A session
    /// that keeps its requests gets an entry.
    pub(super) fn report(
        &self,
        prepared: &PreparedRequest,
        started: Instant,
        status: impl Into<Option<StatusCode>>,
        outcome: Outcome,
    ) {
        let status = status.into();
        // The arguments are evaluated only if the line is logged.
        tracing::info!(
            "{} {} in {} ms: {outcome} {}",
            mask(&prepared.request.line()),
            status.map_or_else(|| "no response".to_owned(), |status| status.as_u16().to_string()),
            started.elapsed().as_millis(),
            prepared.key.name(),
        );
        self.session().keep(|| AnsweredRequest {
            at: Timestamp::now(),
            line: mask(&prepared.request.line()).into_owned(),
            status,
            milliseconds: milliseconds(started),
            outcome,
            scope: prepared.key.scope().clone(),
            key: Some(prepared.key.clone()),
        });
    }

    /// Adds a request to a session that keeps its requests: the engine was unavailable, and the upstream answered.
    pub(super) fn report_bypass(&self, line: &str, started: Instant, status: StatusCode) {
        self.session().keep(|| AnsweredRequest {
            at: Timestamp::now(),
            line: mask(line).into_owned(),
            status: Some(status),
            milliseconds: milliseconds(started),
            outcome: Outcome::NotRecorded("the engine is unavailable".to_owned()),
            scope: self.scope.clone(),
            key: None,
        });
    }

    /// Logs a line for a request that got an error, which the session counts.
    pub(super) fn report_error(&self, line: &str, started: Instant, error: &Error) {
        // The message names the request; the caller and the verdict get all of it.
        tracing::info!("{}", first_line(error));
        self.session().keep(|| AnsweredRequest {
            at: Timestamp::now(),
            line: mask(line).into_owned(),
            status: None,
            milliseconds: milliseconds(started),
            outcome: Outcome::of(error),
            scope: self.scope.clone(),
            key: None,
        });
    }
}

fn milliseconds(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}
