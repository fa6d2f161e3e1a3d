//! Selects the recordings to refresh.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::cli::output::{print_error, print_message};
use crate::cli::prices::model_of;
use crate::cli::refresh::{Recording, with_chains};
use crate::cli::select::find;
use crate::cli::store::{Read, Store};
use crate::error::Result;

#[derive(clap::Args)]
pub(super) struct Selection {
    /// Select cassettes by path, name, part of a name, or start of a key [default: all].
    #[arg(value_name = "CASSETTE")]
    cassettes: Vec<String>,
    /// Select only the cassettes of this scope and of the scopes within it.
    #[arg(long, value_name = "NAME")]
    scope: Option<String>,
    /// Select only the cassettes of this endpoint, such as chat-completions.
    #[arg(long, value_name = "NAME")]
    endpoint: Option<String>,
    /// Select only the cassettes of this model.
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// Select only the cassettes that this test recorded; a part of its name is sufficient.
    #[arg(long, value_name = "NAME")]
    test: Option<String>,
    /// Select only the cassettes that are older than this: 12h, 30d.
    #[arg(long, value_name = "DURATION", value_parser = crate::settings::duration::parse_duration)]
    older_than: Option<Duration>,
}

impl Selection {
    /// The selected recordings and the rest of their chains, without those in `done`; and whether all were readable.
    pub(super) async fn apply(&self, store: &Store, done: &BTreeSet<String>) -> Result<(Vec<Recording>, bool)> {
        let all = store.read_all().await?;
        let named = self.named(store, &all)?;
        let (mut recordings, mut is_success, mut has_any) = (Vec::new(), true, false);
        for (listed, cassette) in all {
            match Recording::read(store, listed, cassette).await {
                Ok(Some(recording)) => {
                    has_any |= self.matches_filters(&recording);
                    if !done.contains(&recording.name) {
                        recordings.push(recording);
                    }
                }
                Ok(None) => {}
                Err(error) => {
                    print_error(&error);
                    is_success = false;
                }
            }
        }
        if !has_any {
            self.warn(store);
        }
        let is_chosen = |recording: &Recording| {
            let is_named = named.is_empty() || named.contains(&recording.name);
            is_named && self.selects(recording)
        };
        Ok((with_chains(recordings, is_chosen), is_success))
    }

    /// The names of the cassettes that the command line names.
    fn named(&self, store: &Store, all: &[Read]) -> Result<Vec<String>> {
        let mut named = Vec::new();
        for wanted in &self.cassettes {
            named.extend(
                find(store, all, wanted)?
                    .into_iter()
                    .map(|(listed, _)| listed.name.clone()),
            );
        }
        Ok(named)
    }

    /// Warns that no recording matches the filters, because a mistyped filter would otherwise end in success.
    fn warn(&self, store: &Store) {
        let filters = [
            ("scope", &self.scope),
            ("endpoint", &self.endpoint),
            ("model", &self.model),
            ("test", &self.test),
        ];
        let given = filters
            .iter()
            .filter_map(|(name, value)| Some(format!(" --{name} {}", value.as_ref()?)));
        let given: String = given.collect();
        if !given.is_empty() {
            print_message(&format!("warning: no recording in {} matches{given}", store.location()));
        }
    }

    fn selects(&self, recording: &Recording) -> bool {
        self.matches_filters(recording)
            && self
                .older_than
                .is_none_or(|age| recording.cassette.recorded.age() > age)
    }

    /// Whether a recording matches the scope, endpoint, model and test.
    fn matches_filters(&self, recording: &Recording) -> bool {
        let Recording { key, cassette, .. } = recording;
        let in_scope = |wanted: &String| {
            let scope = key.scope().as_str();
            scope == wanted
                || scope
                    .strip_prefix(wanted.as_str())
                    .is_some_and(|rest| rest.starts_with('/'))
        };
        self.scope.as_ref().is_none_or(in_scope)
            && self.endpoint.as_ref().is_none_or(|endpoint| key.endpoint() == endpoint)
            && self
                .model
                .as_ref()
                .is_none_or(|model| model_of(cassette).as_ref() == Some(model))
            && self
                .test
                .as_ref()
                .is_none_or(|test| cassette.recorded.test.as_ref().is_some_and(|name| name.contains(test)))
    }
}
