//! What happened to a request.

use std::fmt;

use http::StatusCode;
use jiff::Timestamp;

use crate::cassette::RecordedRequest;
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
    /// The proxy does not accept requests like this one: the first line of the error.
    #[cfg(feature = "proxy")]
    Refused(String),
}

impl Outcome {
    pub(super) fn of(error: &Error) -> Self {
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
            #[cfg(feature = "proxy")]
            Self::Refused(reason) => write!(f, "refused, {reason},"),
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

/// Gets each request of a session when its outcome is known, including requests that did not reach a recorder.
pub(crate) trait RequestListener: fmt::Debug + Send + Sync {
    /// `request` is the redacted request, or `None` if there is none, for example because it could not be read. `error` is the
    /// error that the caller got. The caller waits until this function returns.
    fn answered(&self, answered: &AnsweredRequest, request: Option<&RecordedRequest>, error: Option<&Error>);
}

/// The first line of an error, without secrets.
pub(super) fn first_line(error: &Error) -> String {
    mask(error.message().lines().next().unwrap_or_default()).into_owned()
}
