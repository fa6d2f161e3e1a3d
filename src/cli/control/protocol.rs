//! The lines of the control channel: commands of a test runner, and answers. `docs/control.md` describes them, and
//! `docs/control.schema.json` is generated from these types.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::cli::request_line::RequestLine;
use crate::error::Error;
use crate::mode::Mode;
use crate::recorder::Summary;

/// The version of the protocol. New members do not change it.
pub(super) const PROTOCOL: u32 = 1;

/// The first line: how clients reach the proxy.
#[derive(Serialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub(super) struct Ready {
    /// Always `ready`.
    pub(super) event: &'static str,
    /// The version of the protocol.
    pub(super) protocol: u32,
    /// The version of the command.
    pub(super) version: &'static str,
    /// The mode of sessions that name none: `record`, `replay`, `strict` or `live`.
    #[cfg_attr(feature = "schemars", schemars(with = "String"))]
    #[serde(serialize_with = "as_text")]
    pub(super) mode: Mode,
    /// The URL of the proxy, without `/v1`.
    pub(super) base_url: String,
    /// The value for `HTTPS_PROXY`.
    pub(super) proxy_url: String,
    /// The certificate that clients must trust.
    pub(super) ca_file: String,
    /// The environment variables for clients.
    pub(super) environment: BTreeMap<String, String>,
}

/// A command of the runner. Its answer repeats `id`.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Command {
    /// Starts a session.
    Open {
        id: u64,
        #[serde(flatten)]
        session: Open,
    },
    /// Says to which session requests belong that name no scope.
    Scope {
        id: u64,
        /// `null` for none.
        session: Option<u64>,
    },
    /// Asks what happened in a session.
    Verdict {
        id: u64,
        /// `null` for the requests that belong to no session.
        session: Option<u64>,
        /// How long to wait for requests in progress, 60,000 by default.
        #[serde(default)]
        wait_ms: Option<u64>,
    },
    /// Discards what a session with `on_success` has recorded.
    Discard {
        id: u64,
        session: u64,
        /// How long to wait for requests in progress, 60,000 by default.
        #[serde(default)]
        wait_ms: Option<u64>,
    },
    /// Ends a session, or all and the process.
    Close {
        id: u64,
        #[serde(default)]
        session: Option<u64>,
        /// How long to wait for requests in progress, 60,000 by default.
        #[serde(default)]
        wait_ms: Option<u64>,
    },
}

impl Command {
    pub(super) fn id(&self) -> u64 {
        match self {
            Self::Open { id, .. }
            | Self::Scope { id, .. }
            | Self::Verdict { id, .. }
            | Self::Discard { id, .. }
            | Self::Close { id, .. } => *id,
        }
    }
}

/// The session that `open` starts.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub(super) struct Open {
    /// The scope: the folder of the cassettes, "" for the cassette directory itself.
    pub(super) scope: String,
    /// The name of the test, for `recorded.test`.
    #[serde(default)]
    pub(super) test: Option<String>,
    /// `record`, `replay`, `strict` or `live`, in place of the mode of the process.
    #[serde(default)]
    #[cfg_attr(feature = "schemars", schemars(with = "Option<String>"))]
    pub(super) mode: Option<String>,
    /// The cassette directory, or the URL of a cache.
    #[serde(default)]
    pub(super) directory: Option<String>,
    /// The path of a settings file.
    #[serde(default)]
    pub(super) settings: Option<PathBuf>,
    /// When recordings are saved.
    #[serde(default)]
    pub(super) save: Save,
    /// The speed of replayed responses, as `--pace`.
    #[serde(default)]
    pub(super) pace: Option<String>,
    /// The faults in replayed responses, as `--inject`.
    #[serde(default)]
    pub(super) inject: Option<String>,
    /// Whether requests that name no scope belong to this session from here on: `true` by default.
    #[serde(default)]
    pub(super) current: Option<bool>,
}

/// When the recordings of a session are saved.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub(super) enum Save {
    /// As soon as a response is complete.
    #[default]
    Always,
    /// By `close`, unless `discard` came before.
    OnSuccess,
}

/// The answer to a command.
#[derive(Serialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub(super) struct Answer {
    /// `null` if the command had no readable `id`.
    pub(super) id: Option<u64>,
    #[serde(flatten)]
    pub(super) result: Outcome,
}

/// The result of a command.
#[derive(Serialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub(super) enum Outcome {
    Ok(Done),
    Error(ErrorText),
}

/// What a command has done.
#[derive(Serialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
#[serde(untagged)]
pub(super) enum Done {
    Opened(Opened),
    Verdict(Box<Verdict>),
    Discarded {
        /// The number of cassettes.
        discarded: usize,
    },
    Closed {
        /// The number of cassettes that the session, or all sessions, have recorded.
        saved: usize,
    },
    Scoped {},
}

/// An open session.
#[derive(Serialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub(super) struct Opened {
    /// The number of the session.
    pub(super) session: u64,
    #[cfg_attr(feature = "schemars", schemars(with = "String"))]
    #[serde(serialize_with = "as_text")]
    pub(super) mode: Mode,
    /// A base URL whose requests belong to this session, without `/v1`.
    pub(super) base_url: String,
    /// A value for `HTTPS_PROXY` whose requests belong to this session.
    pub(super) proxy_url: String,
    /// The certificate that clients must trust.
    pub(super) ca_file: String,
}

fn as_text<S: serde::Serializer>(mode: &Mode, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(mode)
}

/// What happened in a session.
#[derive(Serialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub(super) struct Verdict {
    pub(super) outcome: SessionOutcome,
    pub(super) counts: Counts,
    pub(super) failures: Vec<ErrorText>,
    pub(super) requests: Vec<RequestLine>,
    /// The cassettes of the scope that no request has used.
    pub(super) unused: Vec<String>,
    /// The connections to hosts that are not intercepted.
    pub(super) live: Vec<Connection>,
    /// The number of requests that were still in progress after the wait.
    pub(super) in_progress: usize,
    pub(super) saved: Savings,
}

/// What happened in a session, in one word: the last one that applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub(super) enum SessionOutcome {
    /// There was no request.
    None,
    Replayed,
    Recorded,
    /// Some responses were replayed, some recorded.
    Partial,
    /// The upstream answered, and the response was not recorded.
    NotRecorded,
    Missed,
    Failed,
}

impl SessionOutcome {
    pub(super) fn of(summary: &Summary) -> Self {
        let replayed = summary.replayed + summary.injected;
        if summary.failed > 0 {
            Self::Failed
        } else if summary.missed > 0 {
            Self::Missed
        } else if summary.passed_on + summary.skipped > 0 {
            Self::NotRecorded
        } else if summary.recorded > 0 && replayed > 0 {
            Self::Partial
        } else if summary.recorded > 0 {
            Self::Recorded
        } else if replayed > 0 {
            Self::Replayed
        } else {
            Self::None
        }
    }
}

/// How many requests were answered in which way.
#[derive(Serialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub(super) struct Counts {
    replayed: usize,
    recorded: usize,
    passed_on: usize,
    missed: usize,
    failed: usize,
    skipped: usize,
    injected: usize,
    delayed: usize,
    refused: usize,
}

impl From<Summary> for Counts {
    fn from(summary: Summary) -> Self {
        Self {
            replayed: summary.replayed,
            recorded: summary.recorded,
            passed_on: summary.passed_on,
            missed: summary.missed,
            failed: summary.failed,
            skipped: summary.skipped,
            injected: summary.injected,
            delayed: summary.delayed,
            refused: summary.refused,
        }
    }
}

/// An error: of a command, or of a request.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub(super) struct ErrorText {
    /// `miss`, `settings`, `upstream`, …
    pub(super) kind: String,
    pub(super) message: String,
    pub(super) hint: Option<String>,
    /// The whole text: message, causes and hint.
    pub(super) text: String,
}

impl From<&Error> for ErrorText {
    fn from(error: &Error) -> Self {
        Self {
            kind: format!("{:?}", error.kind()).to_lowercase(),
            message: error.message().to_owned(),
            hint: error.hint().map(str::to_owned),
            text: error.report(),
        }
    }
}

/// Connections to a host that is not intercepted.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub(super) struct Connection {
    pub(super) host: String,
    pub(super) opened: usize,
    pub(super) refused: usize,
}

/// What the replayed responses have used when they were recorded.
#[derive(Serialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub(super) struct Savings {
    pub(super) tokens: u64,
    pub(super) milliseconds: u64,
    /// Without models whose price is unknown.
    pub(super) dollars: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read_and_unknown_members_are_errors() {
        let read = serde_json::from_str::<Command>;
        let open = read(r#"{"id":1,"do":"open","scope":"a","save":"on_success"}"#).unwrap();
        let Command::Open { id: 1, session } = open else {
            panic!("{open:?}")
        };
        assert_eq!((session.scope.as_str(), session.save), ("a", Save::OnSuccess));
        assert!(read(r#"{"id":2,"do":"scope","session":null}"#).is_ok());
        for wrong in [
            r#"{"id":1,"do":"open","scope":"a","saves":"on_success"}"#,
            r#"{"id":1,"do":"verdict","session":1,"wait":1}"#,
            r#"{"id":1,"do":"start"}"#,
            r#"{"do":"close"}"#,
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_outcome_of_a_session_is_the_last_that_applies() {
        let of = |change: fn(&mut Summary)| {
            let mut summary = Summary::default();
            change(&mut summary);
            SessionOutcome::of(&summary)
        };
        assert_eq!(of(|_| {}), SessionOutcome::None);
        assert_eq!(of(|summary| summary.replayed = 1), SessionOutcome::Replayed);
        assert_eq!(of(|summary| summary.injected = 1), SessionOutcome::Replayed);
        let partial = |summary: &mut Summary| (summary.replayed, summary.recorded) = (1, 1);
        assert_eq!(of(partial), SessionOutcome::Partial);
        let missed = |summary: &mut Summary| (summary.missed, summary.passed_on) = (1, 1);
        assert_eq!(of(missed), SessionOutcome::Missed);
        let failed = |summary: &mut Summary| (summary.missed, summary.failed) = (1, 1);
        assert_eq!(of(failed), SessionOutcome::Failed);
    }

    /// Updated with `MISTRAL_CASSETTE_UPDATE=1`.
    #[cfg(feature = "schemars")]
    #[test]
    fn the_schema_in_docs_describes_these_types() {
        let mut generator = schemars::SchemaGenerator::default();
        let lines = serde_json::json!({
            "ready": generator.subschema_for::<Ready>(),
            "command": generator.subschema_for::<Command>(),
            "answer": generator.subschema_for::<Answer>(),
        });
        let schema = serde_json::json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "title": "The lines of the control channel of mistral-cassette, protocol 1",
            "type": "object",
            "properties": lines,
            "$defs": generator.take_definitions(true),
        });
        let schema = format!("{schema:#}\n");
        let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/control.schema.json");
        if std::env::var_os("MISTRAL_CASSETTE_UPDATE").is_some() {
            std::fs::write(&file, &schema).unwrap();
        }
        assert_eq!(std::fs::read_to_string(&file).unwrap_or_default(), schema);
    }
}
