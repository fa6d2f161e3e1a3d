//! A recording to refresh, and the result of refreshing it.

use crate::cassette::Cassette;
use crate::cli::change::{Change, ChangeKind};
use crate::cli::store::Store;
use crate::engine::{Listed, inline_bodies};
use crate::error::{Error, Result};
use crate::key::RequestKey;

/// A recording to send again, with its bodies inline.
#[derive(Clone, Debug)]
pub(crate) struct Recording {
    pub(crate) name: String,
    pub(crate) key: RequestKey,
    pub(crate) cassette: Cassette,
}

impl Recording {
    /// Reads the bodies of a cassette, and checks its key. `None` for a file whose name contains no key: no request finds it.
    ///
    /// # Errors
    /// When the cassette or a body cannot be read, or its key differs from that of its name.
    pub(crate) async fn read(store: &Store, listed: Listed, cassette: Result<Cassette>) -> Result<Option<Self>> {
        let location = store.location_of(&listed);
        let cassette = inline_bodies(&*store.engine, cassette?, &location).await?;
        let Some(found) = listed.key else { return Ok(None) };
        found.check(&cassette, || location)?;
        let key = RequestKey::from_parts(
            cassette.key.clone(),
            found.scope().clone(),
            found.endpoint().to_owned(),
            found.slug().to_owned(),
        );
        Ok(Some(Self {
            name: listed.name,
            key,
            cassette,
        }))
    }

    /// A recording of a request without a body, with one JSON response.
    #[cfg(test)]
    pub(super) fn sample(method: &str, path: &str, response: &str) -> Self {
        let hash = "0".repeat(64);
        Self {
            name: format!("{method} {path}"),
            key: RequestKey::from_parts(hash.clone(), crate::key::Scope::root(), "x".to_owned(), "x".to_owned()),
            cassette: Cassette {
                key: hash,
                recorded: crate::cassette::Recorded::now(None, None),
                history: None,
                request: crate::cassette::RecordedRequest::new(method, path, ""),
                responses: vec![crate::cassette::RecordedResponse {
                    status: http::StatusCode::OK,
                    headers: vec![("content-type".to_owned(), "application/json".to_owned())],
                    body: bytes::Bytes::copy_from_slice(response.as_bytes()).into(),
                    timing_ms: vec![1],
                    messages: Vec::new(),
                }],
            },
        }
    }
}

/// The result for one recording.
#[derive(Clone, Debug)]
pub(crate) struct RefreshResult {
    pub(crate) name: String,
    pub(crate) outcome: Outcome,
    /// The cost of the requests in US dollars; `None` when the price is unknown.
    pub(crate) cost: Option<f64>,
}

#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    /// The request was sent again. `is_changed` says whether the recording differs, if only by ids. `moved` is its new name when
    /// its request has changed.
    Refreshed {
        change: Change,
        is_changed: bool,
        moved: Option<String>,
    },
    /// The request cannot be sent again, and why.
    NotSent(String),
    /// The upstream returned no response that can be recorded.
    Failed(Error),
    /// The recording is left as it was, because another one of its chain, `failed`, could not be refreshed. `change` is that of
    /// its new responses, if they were received.
    LeftForChain { change: Option<Change>, failed: String },
    /// The request was not sent yet, and why.
    Skipped(&'static str),
}

impl Outcome {
    /// Whether the responses differ in more than volatile fields such as ids and times.
    pub(crate) fn is_drift(&self) -> bool {
        match self {
            Self::Refreshed { change, .. }
            | Self::LeftForChain {
                change: Some(change), ..
            } => change.kind > ChangeKind::Volatile,
            _ => false,
        }
    }
}

/// The limits of a refresh.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    pub(crate) requests: usize,
    /// In US dollars.
    pub(crate) cost: f64,
}

impl Budget {
    /// Reserves `requests` and their estimated cost. Returns `false`, and reserves nothing, when the budget is too
    /// small.
    pub(super) fn reserve(&mut self, requests: usize, cost: f64) -> bool {
        if requests > self.requests || cost > self.cost {
            return false;
        }
        self.requests -= requests;
        self.cost -= cost;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_limits_requests_and_cost() {
        let mut budget = Budget { requests: 3, cost: 1.0 };
        assert!(budget.reserve(2, 0.5));
        assert!(!budget.reserve(2, 0.1));
        assert!(!budget.reserve(1, 0.6));
        assert!(budget.reserve(1, 0.5));
        assert!(!budget.reserve(1, 0.0));
    }
}
