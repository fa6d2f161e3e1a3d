//! Selects the recordings to refresh.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use crate::cli::output::{print_error, print_message};
use crate::cli::prices::model_of;
use crate::cli::refresh::{Checked, Journal, Recording, with_chains};
use crate::cli::select::find;
use crate::cli::store::{Read, Store};
use crate::engine::Listed;
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
    /// The file that remembers unchanged recordings, for --older-than [default: .refresh/checked.jsonl in the directory].
    #[arg(long, value_name = "FILE")]
    checked: Option<PathBuf>,
}

impl Selection {
    /// What is remembered of earlier checks; `None` if nothing is to be remembered. Without an option that needs it, a refresh
    /// does not create the file.
    pub(super) fn checked(&self, store: &Store) -> Result<Option<Checked>> {
        let default = || {
            let file = Journal::checked_file(store.directory.as_ref()?.root());
            (self.older_than.is_some() || file.exists()).then_some(file)
        };
        let file = self.checked.clone().or_else(default);
        file.map(|file| Checked::read(&file)).transpose()
    }

    /// The selected recordings and the rest of their chains, without those in `done`; and whether all were readable. `checked`
    /// says what was checked by which upstream.
    pub(super) async fn apply(
        &self,
        store: &Store,
        done: &BTreeSet<String>,
        checked: (Option<&Checked>, &str),
    ) -> Result<(Vec<Recording>, bool)> {
        let all = store.read_all().await?;
        let named = self.named(store, &all).await?;
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
            is_named && self.matches_filters(recording) && self.is_old(recording, checked)
        };
        Ok((with_chains(recordings, is_chosen), is_success))
    }

    /// The names of the cassettes that the command line names.
    async fn named(&self, store: &Store, all: &[Read]) -> Result<Vec<String>> {
        let listed: Vec<Listed> = all.iter().map(|(listed, _)| listed.clone()).collect();
        let mut named = Vec::new();
        for wanted in &self.cassettes {
            let found = find(store, &listed, wanted).await?;
            named.extend(found.into_iter().map(|listed| listed.name));
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

    /// Whether a recording was neither made nor checked in the time of `--older-than`.
    fn is_old(&self, recording: &Recording, (checked, upstream): (Option<&Checked>, &str)) -> bool {
        let Some(limit) = self.older_than else { return true };
        let since_check = || checked?.age(recording, upstream);
        recording.cassette.recorded.age() > limit && since_check().is_none_or(|age| age > limit)
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
