//! Reports what happened to each request: a line in the log, an entry in a session that keeps them, and a call of its listener.

use std::time::Instant;

use http::StatusCode;
use jiff::Timestamp;

use super::Recorder;
use super::outcome::{AnsweredRequest, Outcome, first_line};
use super::prepared::PreparedRequest;
use crate::error::Error;
use crate::key::RequestKey;
use crate::redaction::secret_scan::mask;

/// How many refused requests of a session are reported. A web page can send any number of them.
#[cfg(feature = "proxy")]
const MAX_REFUSED: usize = 100;

impl Recorder {
    /// Reports an answered request: method and target, status, duration, what happened, and the cassette. The session has
    /// counted it before.
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
        let entry = || self.entry(&prepared.request.line(), started, status, outcome, Some(&prepared.key));
        self.session().keep(entry, Some(&prepared.request), None);
    }

    /// Reports a request that the upstream answered because the engine was unavailable. The session has warned about that.
    pub(super) fn report_bypass(&self, line: &str, started: Instant, status: StatusCode) {
        let outcome = Outcome::NotRecorded("the engine is unavailable".to_owned());
        let entry = || self.entry(line, started, Some(status), outcome, None);
        self.session().keep(entry, None, None);
    }

    /// Counts and reports a failure outside of the request path: a request that cannot be read, or that no session takes.
    #[cfg(feature = "proxy")]
    pub(crate) fn report_failure(&self, line: &str, error: &Error) {
        self.session().failed(error);
        tracing::info!("{}", mask(&error.in_one_line()));
        let entry = || self.entry(line, Instant::now(), None, Outcome::of(error), None);
        self.session().keep(entry, None, Some(error));
    }

    /// Counts and reports a request whose sender the proxy refuses. That is no failure, and no request of the session.
    #[cfg(feature = "proxy")]
    pub(crate) fn report_refusal(&self, line: &str, error: &Error) {
        let refused = self.session().refused(error);
        if refused <= MAX_REFUSED {
            let outcome = Outcome::Refused(first_line(error));
            let entry = || self.entry(line, Instant::now(), None, outcome, None);
            self.session().notify(entry, error);
        }
    }

    /// Reports a request that got an error, which the session has counted.
    pub(super) fn report_error(&self, line: &str, started: Instant, prepared: Option<&PreparedRequest>, error: &Error) {
        // The message names the request; the caller and the verdict get all of it.
        tracing::info!("{}", first_line(error));
        let entry = || self.entry(line, started, None, Outcome::of(error), None);
        self.session()
            .keep(entry, prepared.map(|prepared| &prepared.request), Some(error));
    }

    fn entry(
        &self,
        line: &str,
        started: Instant,
        status: Option<StatusCode>,
        outcome: Outcome,
        key: Option<&RequestKey>,
    ) -> AnsweredRequest {
        AnsweredRequest {
            at: Timestamp::now(),
            line: mask(line).into_owned(),
            status,
            milliseconds: milliseconds(started),
            outcome,
            scope: self.scope.clone(),
            key: key.cloned(),
        }
    }
}

fn milliseconds(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}
