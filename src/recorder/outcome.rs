//! What happened to each request: a line in the log, and an entry in a session that keeps them.

use std::fmt;
use std::time::Instant;

use http::StatusCode;
use jiff::Timestamp;

use super::Recorder;
use super::prepared::PreparedRequest;
use crate::error::{Error, ErrorKind};
use crate::key::{RequestKey, Scope};
use crate::redaction::secret_scan::mask;

/// What happened to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Answered with one of the recorded responses, by its index.
    Replayed {
        index: usize,
        count: usize,
    },
    /// Answered with the response to an equal request in progress.
    Shared,
    Recorded,
    /// The upstream answered, and the response is not recorded although the mode records: the reason.
    NotRecorded(String),
    /// The upstream answered in mode `live`.
    PassedOn,
    /// An injected fault took the place of the response.
    Injected(String),
    /// Not recorded, and not sent.
    Missed,
    /// The request failed: the first line of the error.
    Failed(String),
}

impl Outcome {
    fn of(error: &Error) -> Self {
        match error.kind() {
            ErrorKind::Miss => Self::Missed,
            _ => Self::Failed(first_line(error)),
        }
    }
}

/// As a part of a line in the log, before the name of the cassette.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Replayed { index, count } => write!(f, "replayed {} of {count} from", index + 1),
            Self::Shared => f.write_str("answered as an equal request in progress,"),
            Self::Recorded => f.write_str("recorded"),
            Self::NotRecorded(reason) => write!(f, "not recorded, {reason},"),
            Self::PassedOn => f.write_str("passed on,"),
            Self::Injected(fault) => write!(f, "injected {fault} in place of"),
            Self::Missed => f.write_str("missed"),
            Self::Failed(reason) => write!(f, "failed, {reason},"),
        }
    }
}

/// One request of a session, and what happened to it.
#[derive(Clone, Debug)]
#[cfg_attr(not(feature = "cli"), expect(dead_code, reason = "only the command reads it"))]
pub(crate) struct AnsweredRequest {
    /// When the request was answered.
    pub(crate) at: Timestamp,
    /// Method and target, without secrets.
    pub(crate) line: String,
    /// `None` for a request that got an error.
    pub(crate) status: Option<StatusCode>,
    pub(crate) milliseconds: u64,
    pub(crate) outcome: Outcome,
    pub(crate) scope: Scope,
    /// `None` for a request that got an error.
    pub(crate) key: Option<RequestKey>,
}

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

fn first_line(error: &Error) -> String {
    mask(error.message().lines().next().unwrap_or_default()).into_owned()
}

fn milliseconds(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}
