//! Reports what happened to each request: a line in the log, and an entry in a session that keeps them.

use std::time::Instant;

use http::StatusCode;
use jiff::Timestamp;

use super::Recorder;
use super::outcome::{AnsweredRequest, Outcome, first_line};
use super::prepared::PreparedRequest;
use crate::error::Error;
#[cfg(feature = "proxy")]
use crate::http::Request;
use crate::key::RequestKey;
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
        let line = || prepared.request.line();
        self.keep(line, started, status, outcome, Some(&prepared.key));
    }

    /// Reports a request that the upstream answered because the engine was unavailable. The session has warned about that.
    pub(super) fn report_bypass(&self, line: &str, started: Instant, status: StatusCode) {
        let outcome = Outcome::NotRecorded("the engine is unavailable".to_owned());
        self.keep(|| line.to_owned(), started, Some(status), outcome, None);
    }

    /// Counts a request that no session could take.
    #[cfg(feature = "proxy")]
    pub(crate) fn refuse(&self, request: &Request, error: &Error) {
        let line = format!("{} {}", request.method(), request.target());
        self.report_error(&line, Instant::now(), error);
        self.session().failed(error);
    }

    /// Logs a line for a request that got an error, which the session counts.
    pub(super) fn report_error(&self, line: &str, started: Instant, error: &Error) {
        // The message names the request; the caller and the verdict get all of it.
        tracing::info!("{}", first_line(error));
        self.keep(|| line.to_owned(), started, None, Outcome::of(error), None);
    }

    /// Adds a request to a session that keeps its requests.
    fn keep(
        &self,
        line: impl FnOnce() -> String,
        started: Instant,
        status: Option<StatusCode>,
        outcome: Outcome,
        key: Option<&RequestKey>,
    ) {
        self.session().keep(|| AnsweredRequest {
            at: Timestamp::now(),
            line: mask(&line()).into_owned(),
            status,
            milliseconds: milliseconds(started),
            outcome,
            scope: self.scope.clone(),
            key: key.cloned(),
        });
    }
}

fn milliseconds(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}
