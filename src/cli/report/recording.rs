//! The recordings on the page.

use std::sync::OnceLock;

use crate::cassette::{Blob, Cassette, RecordedBody};
use crate::cli::prices::{Usage, model_in, model_of};
use crate::cli::texts::{answer_in, answer_of, plain_json, prompt_in, prompt_of};
use crate::diff::Difference;
use crate::error::Error;

/// A recording on the page.
pub(crate) struct Recording {
    pub(crate) name: String,
    /// The cassette with its bodies inline, or the error that reading it returned.
    pub(crate) cassette: Result<Cassette, Error>,
    /// `None` without `--since`.
    pub(crate) change: Option<Change>,
    facts: OnceLock<Facts>,
}

/// What the page shows of the bodies of a recording beside the bodies themselves. Each JSON body is parsed once.
#[derive(Default)]
pub(super) struct Facts {
    /// The first words of the prompt.
    pub(super) prompt: Option<String>,
    /// The first words of the first answer.
    pub(super) answer: Option<String>,
    pub(super) model: Option<String>,
    /// The usage of each response.
    pub(super) usages: Vec<Option<Usage>>,
}

impl Facts {
    fn of(cassette: &Cassette) -> Self {
        let request = &cassette.request;
        let json = match &request.body {
            RecordedBody::Blob(Blob::Inline(bytes)) => serde_json::from_slice(bytes).ok(),
            _ => None,
        };
        let (prompt, model) = match &json {
            Some(json) => (prompt_in(json), model_in(json, cassette)),
            None => (prompt_of(request), model_of(cassette)),
        };
        let (mut answer, mut usages) = (None, Vec::new());
        for (number, response) in cassette.responses.iter().enumerate() {
            let json = plain_json(response);
            if number == 0 {
                answer = match &json {
                    Some(json) => answer_in(json),
                    None => answer_of(response),
                };
            }
            usages.push(match &json {
                Some(json) => Usage::in_json(request, response, json),
                None => Usage::of(request, response),
            });
        }
        Self {
            prompt,
            answer,
            model,
            usages,
        }
    }
}

impl Recording {
    pub(crate) fn new(name: String, cassette: Result<Cassette, Error>, change: Option<Change>) -> Self {
        Self {
            name,
            cassette,
            change,
            facts: OnceLock::new(),
        }
    }

    /// The first call parses the bodies.
    pub(super) fn facts(&self) -> &Facts {
        self.facts.get_or_init(|| match &self.cassette {
            Ok(cassette) => Facts::of(cassette),
            Err(_) => Facts::default(),
        })
    }
}

/// The change of a recording since an earlier version.
pub(crate) struct Change {
    /// The kind of the change, as `diff` names it.
    pub(crate) kind: &'static str,
    pub(crate) differences: Vec<Difference>,
    /// The earlier version; `None` when there is none, or it does not differ.
    pub(crate) old: Option<Cassette>,
}
