//! One request of a session, in the words of the control channel and of the live view.

use serde::Serialize;

use crate::key::RequestKey;
use crate::recorder::{AnsweredRequest, RequestOutcome};

/// One request.
#[derive(Serialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub(crate) struct RequestLine {
    /// When it was answered.
    pub(crate) at: String,
    pub(crate) method: String,
    pub(crate) path: String,
    /// `null` if the program got an error.
    pub(crate) status: Option<u16>,
    pub(crate) milliseconds: u64,
    /// `replayed`, `recorded`, `not_recorded`, `passed_on`, `injected`, `missed` or `failed`.
    // The live view also has `refused`, which is no request of a session.
    pub(crate) outcome: &'static str,
    /// More about the outcome: `1 of 3`, or a reason.
    pub(crate) detail: String,
    pub(crate) scope: String,
    /// `null` if the program got an error.
    pub(crate) cassette: Option<String>,
}

impl From<&AnsweredRequest> for RequestLine {
    fn from(request: &AnsweredRequest) -> Self {
        let (outcome, detail) = match &request.outcome {
            RequestOutcome::Replayed { index, count } => ("replayed", format!("{} of {count}", index + 1)),
            RequestOutcome::Shared => ("replayed", "as an equal request in progress".to_owned()),
            RequestOutcome::Recorded => ("recorded", String::new()),
            RequestOutcome::NotRecorded(reason) => ("not_recorded", reason.clone()),
            RequestOutcome::PassedOn => ("passed_on", String::new()),
            RequestOutcome::Injected(fault) => ("injected", fault.clone()),
            RequestOutcome::Missed => ("missed", String::new()),
            RequestOutcome::Failed(reason) => ("failed", reason.clone()),
            RequestOutcome::Refused(reason) => ("refused", reason.clone()),
        };
        let (method, path) = request.line.split_once(' ').unwrap_or_default();
        Self {
            at: format!("{:.3}", request.at),
            method: method.to_owned(),
            path: path.to_owned(),
            status: request.status.map(|status| status.as_u16()),
            milliseconds: request.milliseconds,
            outcome,
            detail,
            scope: request.scope.as_str().to_owned(),
            cassette: request.key.as_ref().map(RequestKey::file_name),
        }
    }
}
