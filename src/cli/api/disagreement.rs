//! What the comparison of a recording with the description has found.

use crate::cli::output::count;
use crate::cli::severity::Severity;

/// What is not compared: a recording, or a part of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Skipped {
    /// A recording of a request to another host than those of the API.
    OtherHost,
    /// A recording of a WebSocket session.
    WebSocket,
    /// A recording of which a body cannot be read.
    Unreadable,
    /// A body that is neither JSON, a form nor an event stream, or of which the description has no schema.
    Body,
    /// A response with an error status that the description does not have.
    ErrorStatus,
}

/// The part of a recording in which a disagreement is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    Request,
    Query,
    Response,
    Event,
}

/// One way in which a recording disagrees with the description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Disagreement {
    pub(crate) severity: Severity,
    pub(crate) part: Part,
    /// The part, with its number: `response`, `response 2, event 3`.
    pub(crate) place: String,
    /// The path of the value, as text; `None` for the part as a whole.
    pub(crate) path: Option<String>,
    /// The path with the first index for all items of an array: the same for disagreements that count as one.
    pub(crate) general_path: Option<String>,
    pub(crate) message: String,
}

/// A recording, compared with the description.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Compared {
    /// Method and path, as in the description.
    pub(crate) endpoint: String,
    pub(crate) disagreements: Vec<Disagreement>,
    /// The parts that are not compared.
    pub(crate) skipped: Vec<Skipped>,
}

impl Part {
    /// Its name in a document.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Query => "query",
            Self::Response => "response",
            Self::Event => "event",
        }
    }
}

impl Skipped {
    /// Its name in a document.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::OtherHost => "other_hosts",
            Self::WebSocket => "websocket_sessions",
            Self::Unreadable => "unreadable",
            Self::Body => "bodies",
            Self::ErrorStatus => "error_responses",
        }
    }

    /// How many there are, for people.
    pub(super) fn counted(self, number: usize) -> String {
        match self {
            Self::OtherHost => count(number, "recording") + " of other hosts",
            Self::WebSocket => count(number, "WebSocket session"),
            Self::Unreadable => count(number, "unreadable recording"),
            Self::Body => match number {
                1 => "1 body of another type than JSON".to_owned(),
                _ => format!("{number} bodies of other types than JSON"),
            },
            Self::ErrorStatus => count(number, "error response") + " without a description",
        }
    }
}
