//! Sends recorded requests to the upstream again, and stores the responses that differ.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio_util::sync::CancellationToken;

use super::dependencies::in_order;
use super::journal::{Entry, Journal};
use super::recording::{Budget, Outcome, Recording, RefreshResult};
use super::resend::{reason_not_to_send, resend};
use super::substitutions::Substitutions;
use crate::cassette::{Cassette, RecordedRequest, is_equivalent, yaml};
use crate::cli::change::{Change, compare};
use crate::cli::prices::Prices;
use crate::client::Client;
use crate::engine::{CacheEngine, externalize_large_bodies};
use crate::error::Result;
use crate::hash::sha256_hex;
use crate::key::RequestKey;
use crate::settings::Settings;

/// The parameters of a refresh.
pub(crate) struct Refresher {
    /// The store of the recordings.
    pub(crate) engine: Arc<dyn CacheEngine>,
    /// The store of new recordings that wait for review; `None` without `--review`.
    pub(crate) pending: Option<Arc<dyn CacheEngine>>,
    pub(crate) settings: Settings,
    /// A client of the upstream, with API key and retries.
    pub(crate) client: Client,
    /// Whether to write nothing.
    pub(crate) dry_run: bool,
    pub(crate) budget: Budget,
    pub(crate) prices: Prices,
    /// The number of recordings that are sent at the same time.
    pub(crate) concurrency: usize,
    /// `None` when the refresh cannot be resumed: in a dry run, and in a store other than a directory.
    pub(crate) journal: Option<Journal>,
    /// No more requests are sent after its cancellation.
    pub(crate) stop: CancellationToken,
}

/// The comparison of a recording with its new responses.
struct NewRecording {
    change: Change,
    /// `None` when the recording does not change.
    replacement: Option<(RequestKey, Cassette)>,
    substitutions: Substitutions,
    cost: Option<f64>,
}

/// A result, and the new values for later requests.
type Refreshed = (RefreshResult, Option<Substitutions>);

impl Refresher {
    /// Refreshes these recordings, each after the ones it depends on, and calls `report` with each result.
    ///
    /// If the process is killed, every file is complete, and the next refresh resumes with the journal.
    pub(crate) async fn run(
        &self,
        recordings: Vec<Recording>,
        mut report: impl FnMut(&RefreshResult),
    ) -> Vec<RefreshResult> {
        let mut substitutions = self.earlier_substitutions();
        let mut budget = self.budget;
        let mut results = Vec::new();
        for group in in_order(recordings) {
            let mut new_substitutions = Vec::new();
            let mut waiting = group.iter();
            let mut running = FuturesUnordered::new();
            loop {
                while running.len() < self.concurrency.max(1) {
                    let Some(recording) = waiting.next() else { break };
                    let estimate = self.prices.estimate(&recording.cassette).cost.unwrap_or_default();
                    if let Some(reason) = self.reason_to_skip(&mut budget, recording, estimate) {
                        results.push(skipped(recording, reason));
                        continue;
                    }
                    let substitutions = &substitutions;
                    running.push(async move { (estimate, self.refresh(recording, substitutions).await) });
                }
                let Some((estimate, (result, new))) = running.next().await else {
                    break;
                };
                // The real cost replaces the estimated one.
                budget.cost += estimate - result.cost.unwrap_or(estimate);
                new_substitutions.extend(new);
                report(&result);
                results.push(result);
            }
            drop(running);
            for new in new_substitutions {
                substitutions.extend(new);
            }
        }
        results
    }

    /// Reserves the requests and the cost of a recording in the budget, or returns why it must wait.
    fn reason_to_skip(&self, budget: &mut Budget, recording: &Recording, estimate: f64) -> Option<&'static str> {
        if self.stop.is_cancelled() {
            return Some("the refresh was interrupted");
        }
        let is_reserved = budget.reserve(recording.cassette.responses.len(), estimate);
        (!is_reserved).then_some("the budget is spent")
    }

    /// Refreshes one recording; an error becomes its outcome.
    async fn refresh(&self, recording: &Recording, substitutions: &Substitutions) -> Refreshed {
        let (outcome, cost, new) = match self.try_refresh(recording, substitutions).await {
            Ok(refreshed) => refreshed,
            Err(error) => (Outcome::Failed(error), None, None),
        };
        let name = recording.name.clone();
        (RefreshResult { name, outcome, cost }, new)
    }

    async fn try_refresh(
        &self,
        recording: &Recording,
        substitutions: &Substitutions,
    ) -> Result<(Outcome, Option<f64>, Option<Substitutions>)> {
        let old = &recording.cassette;
        let request = match reason_not_to_send(&old.request) {
            Some(reason) => Err(reason),
            None => substitutions.apply(&old.request).map_err(str::to_owned),
        };
        let request = match request {
            Ok(request) => request,
            Err(reason) => return Ok((Outcome::NotSent(reason), Some(0.0), None)),
        };
        let NewRecording {
            change,
            replacement,
            substitutions,
            cost,
        } = self.new_recording(recording, request).await?;
        let has_new_key = |key: &&RequestKey| key.hash() != recording.key.hash();
        let moved = replacement
            .as_ref()
            .map(|(key, _)| key)
            .filter(has_new_key)
            .map(RequestKey::file_name);
        if !self.dry_run {
            self.store(recording, replacement, &substitutions).await?;
        }
        Ok((Outcome::Refreshed { change, moved }, cost, Some(substitutions)))
    }

    /// Sends a request and compares the responses with the recorded ones.
    async fn new_recording(&self, recording: &Recording, request: RecordedRequest) -> Result<NewRecording> {
        let old = &recording.cassette;
        let mut new = resend(recording, &request, &self.client, self.settings.clone()).await?;
        let cost = self.prices.estimate(&new).cost;
        let change = compare(&old.responses, &new.responses);
        let is_same_request = new.key == old.key;
        // An equivalent response stays byte for byte, so that `git diff` shows real changes only.
        for (old, new) in old.responses.iter().zip(&mut new.responses) {
            if is_same_request && is_equivalent(&request, old, new) {
                *new = old.clone();
            }
        }
        let substitutions = Substitutions::between(&old.responses, &new.responses);
        let replacement = if is_same_request && new.responses == old.responses {
            None
        } else if is_same_request {
            Some((recording.key.clone(), new))
        } else {
            let key = RequestKey::of(&new.request, recording.key.scope(), &self.settings.matching);
            Some((key, new))
        };
        Ok(NewRecording {
            change,
            replacement,
            substitutions,
            cost,
        })
    }

    /// Writes a new recording, after its line in the journal. The line has the hash of the document, so that the next
    /// refresh can check whether the document was written.
    async fn store(
        &self,
        recording: &Recording,
        replacement: Option<(RequestKey, Cassette)>,
        substitutions: &Substitutions,
    ) -> Result<()> {
        let engine = self.pending.as_ref().unwrap_or(&self.engine);
        let document = match replacement {
            None => None,
            Some((key, mut cassette)) => {
                externalize_large_bodies(&**engine, &mut cassette, &self.settings).await?;
                Some((key, yaml::write(&cassette)?))
            }
        };
        if let Some(journal) = &self.journal {
            let replacement = document
                .as_ref()
                .map(|(key, document)| (key.file_name(), sha256_hex(document)));
            journal.add(Entry {
                name: recording.name.clone(),
                replacement,
                substitutions: substitutions.clone(),
            })?;
        }
        let Some((key, document)) = document else { return Ok(()) };
        // The new file is written before the old one is removed, so that one of them always exists.
        engine.set(&key, document).await?;
        if self.pending.is_none() && key.hash() != recording.key.hash() {
            self.engine.remove(&recording.key).await?;
        }
        Ok(())
    }

    /// Completes the last steps of an interrupted refresh, and returns the names of the recordings that it has
    /// finished.
    ///
    /// # Errors
    /// When the engine cannot be read or written.
    pub(crate) async fn resume(&mut self) -> Result<BTreeSet<String>> {
        let Some(journal) = &mut self.journal else {
            return Ok(BTreeSet::new());
        };
        let engine = self.pending.as_ref().unwrap_or(&self.engine);
        let mut finished = BTreeSet::new();
        let mut entries = Vec::new();
        for entry in &journal.entries {
            if let Some((name, _)) = &entry.replacement {
                // Without its document, the recording must be sent again.
                let Some(key) = entry.written_key(&**engine).await? else {
                    continue;
                };
                if self.pending.is_none() {
                    entry.remove_old(&*self.engine, &key).await?;
                }
                finished.insert(name.clone());
            }
            finished.insert(entry.name.clone());
            entries.push(entry.clone());
        }
        journal.entries = entries;
        Ok(finished)
    }

    /// Whether a recording uses values of recordings that an interrupted refresh has finished.
    pub(crate) fn depends_on_finished(&self, recording: &Recording) -> bool {
        self.earlier_substitutions().affects(&recording.cassette.request)
    }

    /// The new values from the recordings that an interrupted refresh has finished.
    fn earlier_substitutions(&self) -> Substitutions {
        let mut substitutions = Substitutions::default();
        for entry in self.journal.iter().flat_map(|journal| &journal.entries) {
            substitutions.extend(entry.substitutions.clone());
        }
        substitutions
    }
}

fn skipped(recording: &Recording, reason: &'static str) -> RefreshResult {
    RefreshResult {
        name: recording.name.clone(),
        outcome: Outcome::Skipped(reason),
        cost: Some(0.0),
    }
}
