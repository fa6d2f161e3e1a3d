//! Sends recorded requests to the upstream again, and stores the responses that differ.

use std::collections::{BTreeSet, HashSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio_util::sync::CancellationToken;

use super::chains::{Step, chains};
use super::checked::Check;
use super::journal::{Entry, Journal};
use super::progress::{NewRecording, Progress};
use super::recording::{Budget, Outcome, Recording, RefreshResult};
use super::resend::resend;
use super::values::state;
use crate::cassette::{Cassette, RecordedRequest, RecordedResponse, is_equivalent, yaml};
use crate::cli::change::compare;
use crate::cli::prices::Prices;
use crate::client::Client;
use crate::engine::{CacheEngine, externalize_large_bodies};
use crate::error::{Error, ErrorKind, Result};
use crate::hash::sha256_hex;
use crate::key::RequestKey;
use crate::settings::Settings;

/// How long a refresh waits for a job to end.
const JOB_TIMEOUT: Duration = Duration::from_secs(600);

/// The first and the maximum time between two requests for the state of a job.
const JOB_INTERVALS: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(10));

const INTERRUPTED: &str = "the refresh was interrupted";

const BUDGET_SPENT: &str = "the budget is spent";

/// The parameters of a refresh.
pub(crate) struct Refresher {
    /// The store of the recordings.
    pub(crate) engine: Arc<dyn CacheEngine>,
    /// The store of new recordings that wait for review; `None` without `--review`.
    pub(crate) pending: Option<Arc<dyn CacheEngine>>,
    pub(crate) settings: Settings,
    /// A client of the upstream, with API key and retries.
    pub(crate) client: Client,
    /// The base URL of the upstream.
    pub(crate) upstream: String,
    /// Whether to write nothing.
    pub(crate) dry_run: bool,
    /// Whether a dry run sends requests that create, change or delete something, too.
    pub(crate) sends_writes: bool,
    /// What is left of the budget.
    pub(crate) budget: Mutex<Budget>,
    pub(crate) prices: Prices,
    /// The number of chains that are sent at the same time.
    pub(crate) concurrency: usize,
    /// `None` when the refresh cannot be resumed: in a dry run, and in a store other than a directory.
    pub(crate) journal: Option<Journal>,
    /// No more requests are sent after its cancellation.
    pub(crate) stop: CancellationToken,
    /// Whether the upstream has refused the API key.
    pub(crate) is_key_refused: AtomicBool,
    /// The recordings that were checked so far.
    pub(crate) checks: Mutex<Vec<Check>>,
    /// How many requests were sent, without the retries of the client.
    pub(crate) sent: AtomicUsize,
}

impl Refresher {
    /// Refreshes these recordings, chain by chain, and calls `report` with each result.
    ///
    /// A chain is stored as a whole once all of its responses are complete. If the process is killed, every file is complete,
    /// and the next refresh resumes with the journal.
    pub(crate) async fn run(
        &self,
        recordings: Vec<Recording>,
        mut report: impl FnMut(&RefreshResult),
    ) -> Vec<RefreshResult> {
        let mut results = Vec::new();
        let chains = chains(recordings);
        let mut waiting = chains.iter();
        let mut running = FuturesUnordered::new();
        loop {
            // The first chain shows whether the upstream accepts the API key.
            let concurrency = if results.is_empty() { 1 } else { self.concurrency.max(1) };
            while running.len() < concurrency {
                let Some(chain) = waiting.next() else { break };
                let mut progress = Progress::new(chain);
                if self.dry_run && !self.sends_writes {
                    progress.skip_writes();
                }
                let estimate = progress.estimate(&self.prices);
                if let Some(reason) = self.reason_to_skip(progress.steps_left(), estimate) {
                    results.extend(chain.recordings.iter().map(|recording| skipped(recording, reason)));
                    continue;
                }
                running.push(async move { (estimate, self.refresh(progress).await) });
            }
            let Some((estimate, refreshed)) = running.next().await else {
                break;
            };
            // The real cost replaces the estimated one.
            let cost: Option<f64> = refreshed.iter().map(|result| result.cost).sum();
            self.budget().cost += estimate - cost.unwrap_or(estimate);
            refreshed.iter().for_each(&mut report);
            results.extend(refreshed);
        }
        drop(running);
        results
    }

    fn budget(&self) -> MutexGuard<'_, Budget> {
        self.budget.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reserves the requests and the cost of a chain in the budget, or returns why it must wait.
    fn reason_to_skip(&self, requests: usize, estimate: f64) -> Option<&'static str> {
        if self.is_key_refused.load(Ordering::Relaxed) {
            return Some("the API key was refused");
        }
        if self.stop.is_cancelled() {
            return Some(INTERRUPTED);
        }
        let is_reserved = self.budget().reserve(requests, estimate);
        (!is_reserved).then_some(BUDGET_SPENT)
    }

    /// Refreshes one chain. If a request of it cannot be sent, or its response does not fit, no recording of it changes.
    async fn refresh(&self, mut progress: Progress<'_>) -> Vec<RefreshResult> {
        let chain = progress.chain;
        for step in &chain.steps {
            if progress.skipped[step.recording].is_some() {
                continue;
            }
            if let Err(outcome) = self.take(step, &mut progress).await {
                // The budget gets back the requests that are not sent.
                self.budget().requests += progress.steps_left();
                return self.left_as_it_was(progress, step.recording, outcome);
            }
        }
        let mut new: Vec<Option<NewRecording>> = (0..chain.recordings.len())
            .map(|at| self.new_recording(&mut progress, at))
            .collect();
        progress.keep_equivalent(&mut new);
        if let Err((at, message)) = progress.check(&new) {
            return self.left_as_it_was(progress, at, Outcome::NotSent(message));
        }
        if !self.dry_run
            && let Err(error) = self.store(&progress, &new).await
        {
            return self.left_as_it_was(progress, 0, Outcome::Failed(error));
        }
        let recordings = chain.recordings.iter().zip(new).enumerate();
        let result = |(at, (recording, new)): (usize, (&Recording, Option<NewRecording>))| match new {
            Some(new) => {
                let key = new.replacement.as_ref().map(|(key, _)| key);
                let moved = key.filter(|key| key.hash() != recording.key.hash());
                RefreshResult {
                    name: recording.name.clone(),
                    cost: new.cost,
                    outcome: Outcome::Refreshed {
                        change: new.change,
                        is_changed: new.replacement.is_some(),
                        moved: moved.map(RequestKey::file_name),
                    },
                }
            }
            None => skipped(recording, progress.skipped[at].unwrap_or(INTERRUPTED)),
        };
        recordings.map(result).collect()
    }

    /// Sends the request of a step, and adds its response.
    async fn take(&self, step: &Step, progress: &mut Progress<'_>) -> Result<(), Outcome> {
        if self.stop.is_cancelled() {
            return Err(Outcome::Skipped(INTERRUPTED));
        }
        let request = progress.request(step).map_err(Outcome::NotSent)?;
        let recording = &progress.chain.recordings[step.recording];
        let old = &recording.cassette.responses[step.turn];
        progress.steps_sent += 1;
        let mut new = self.send(recording, step, &request).await?;
        let Some(response) = new.responses.pop() else {
            return Err(Outcome::NotSent("the upstream returned no response".to_owned()));
        };
        // The program did not get an error when this was recorded, so it would fail in a replay of one.
        if old.status.as_u16() < 400 && response.status.as_u16() >= 400 {
            let message = format!("the upstream returned {}", response.status);
            return Err(Outcome::Failed(Error::new(ErrorKind::Upstream, message)));
        }
        progress.add(step, request, new, response).map_err(Outcome::NotSent)
    }

    /// Sends a request, again while the job that it asks for has not come as far as in the recording.
    async fn send(&self, recording: &Recording, step: &Step, request: &RecordedRequest) -> Result<Cassette, Outcome> {
        let old = &recording.cassette.responses[step.turn];
        let is_last = step.turn + 1 == recording.cassette.responses.len();
        let (started, mut interval) = (Instant::now(), JOB_INTERVALS.0);
        loop {
            self.sent.fetch_add(1, Ordering::Relaxed);
            let sent = resend(recording, step.turn, request, &self.client, self.settings.clone()).await;
            let new = sent.map_err(|error| self.failed(error))?;
            let is_pending = |new: &RecordedResponse| {
                request.method == "GET" && (is_last || !step.needed.is_empty()) && is_unfinished(old, new)
            };
            if !new.responses.last().is_some_and(is_pending) {
                return Ok(new);
            }
            if started.elapsed() > JOB_TIMEOUT {
                let message = format!("the job has not ended after {} minutes", JOB_TIMEOUT.as_secs() / 60);
                return Err(Outcome::Failed(Error::new(ErrorKind::Upstream, message)));
            }
            // The state of a job costs nothing, but a request of the budget.
            if !self.budget().reserve(1, 0.0) {
                return Err(Outcome::Skipped(BUDGET_SPENT));
            }
            tokio::select! {
                () = tokio::time::sleep(interval) => {}
                () = self.stop.cancelled() => return Err(Outcome::Skipped(INTERRUPTED)),
            }
            interval = (interval * 2).min(JOB_INTERVALS.1);
        }
    }

    /// Notes that the key was refused, if that is the error.
    fn failed(&self, error: Error) -> Outcome {
        if error.status() == Some(401) {
            self.is_key_refused.store(true, Ordering::Relaxed);
            self.stop.cancel();
        }
        Outcome::Failed(error)
    }

    /// The results of a chain that is left as it was, because one of its recordings has this outcome.
    fn left_as_it_was(&self, mut progress: Progress<'_>, failed: usize, outcome: Outcome) -> Vec<RefreshResult> {
        let chain = progress.chain;
        let name = &chain.recordings[failed].name;
        let reason_to_wait = match outcome {
            Outcome::Skipped(reason) => Some(reason),
            _ => None,
        };
        let mut outcome = Some(outcome);
        let mut results = Vec::new();
        for (at, recording) in chain.recordings.iter().enumerate() {
            let new = self.new_recording(&mut progress, at);
            let cost = new.as_ref().map_or(Some(0.0), |new| new.cost);
            let outcome = match (at == failed, reason_to_wait) {
                (true, _) => outcome.take().unwrap_or(Outcome::Skipped(INTERRUPTED)),
                (false, Some(reason)) => Outcome::Skipped(reason),
                (false, None) => Outcome::LeftForChain {
                    change: new.map(|new| new.change),
                    failed: name.clone(),
                },
            };
            results.push(RefreshResult {
                name: recording.name.clone(),
                outcome,
                cost,
            });
        }
        results
    }

    /// Compares a recording with its new responses; `None` if none was received.
    fn new_recording(&self, progress: &mut Progress<'_>, at: usize) -> Option<NewRecording> {
        let recording = &progress.chain.recordings[at];
        let old = &recording.cassette;
        let mut new = progress.cassettes[at].take()?;
        let request = new.request.clone();
        let cost = self.prices.estimate(&new).cost;
        let is_id = progress.substitutions.ids();
        let change = compare(&old.responses, &new.responses, is_id);
        let is_same_request = new.key == old.key;
        // An equivalent response stays byte for byte, so that `git diff` shows real changes only. One with a value that other
        // recordings have under a new name does not stay.
        for (old, new) in old.responses.iter().zip(&mut new.responses) {
            if is_same_request && !progress.substitutions.occur_in(old) && is_equivalent(&request, old, new) {
                *new = old.clone();
            }
        }
        let replacement = if is_same_request && new.responses == old.responses {
            None
        } else if is_same_request {
            Some((recording.key.clone(), new))
        } else {
            let key = RequestKey::of(&new.request, recording.key.scope(), &self.settings.matching);
            Some((key, new))
        };
        Some(NewRecording {
            change,
            replacement,
            cost,
        })
    }

    /// Stores the new recordings of a chain. They are staged first, then the journal gets one line for all, so that the next
    /// refresh can complete the chain if the process is killed.
    async fn store(&self, progress: &Progress<'_>, new: &[Option<NewRecording>]) -> Result<()> {
        let engine = self.pending.as_ref().unwrap_or(&self.engine);
        let (entries, documents) = self.entries(progress, new).await?;
        let checks: Vec<Check> = entries.iter().filter_map(|entry| entry.checked.clone()).collect();
        if let Some(journal) = &self.journal {
            // What is alone can be sent again; a part of a chain cannot.
            if entries.len() > 1 {
                for (key, document) in &documents {
                    journal.staged().set(key, document.clone()).await?;
                }
            }
            journal.add(entries)?;
        }
        // The new files are written before the old ones are removed, so that one of them always exists.
        for (key, document) in &documents {
            engine.set(key, document.clone()).await?;
        }
        let is_replaced = |new: &Option<NewRecording>| new.as_ref().is_some_and(|new| new.replacement.is_some());
        let replaced = progress
            .chain
            .recordings
            .iter()
            .zip(new)
            .filter(|(_, new)| is_replaced(new));
        let written = documents.into_iter().map(|(key, _)| key).collect();
        self.remove_old(replaced.map(|(recording, _)| recording.key.clone()), &written)
            .await?;
        self.checks().extend(checks);
        Ok(())
    }

    /// The lines of the journal for a chain, and its new documents.
    async fn entries(
        &self,
        progress: &Progress<'_>,
        new: &[Option<NewRecording>],
    ) -> Result<(Vec<Entry>, Vec<(RequestKey, Bytes)>)> {
        let engine = self.pending.as_ref().unwrap_or(&self.engine);
        let mut entries = Vec::new();
        let mut documents = Vec::new();
        for ((recording, new), substitutions) in progress
            .chain
            .recordings
            .iter()
            .zip(new)
            .zip(&progress.substitutions_of)
        {
            let mut replacement = None;
            if let Some((key, cassette)) = new.as_ref().and_then(|new| new.replacement.as_ref()) {
                let mut cassette = cassette.clone();
                externalize_large_bodies(&**engine, &mut cassette, &self.settings).await?;
                let document = yaml::write(&cassette)?;
                replacement = Some((key.file_name(), sha256_hex(&document)));
                documents.push((key.clone(), document));
            }
            let checked = match replacement {
                None => Some(Check::now(recording, &self.upstream)?),
                Some(_) => None,
            };
            entries.push(Entry {
                name: recording.name.clone(),
                replacement,
                substitutions: substitutions.clone(),
                checked,
                line: 0,
            });
        }
        Ok((entries, documents))
    }

    /// The recordings that were checked so far.
    pub(crate) fn checks(&self) -> MutexGuard<'_, Vec<Check>> {
        self.checks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes replaced recordings, unless a new one has the same key.
    async fn remove_old(
        &self,
        replaced: impl IntoIterator<Item = RequestKey>,
        written: &HashSet<RequestKey>,
    ) -> Result<()> {
        // A review removes them when the new ones are accepted.
        if self.pending.is_some() {
            return Ok(());
        }
        for key in replaced {
            if !written.contains(&key) {
                self.engine.remove(&key).await?;
            }
        }
        Ok(())
    }

    /// Completes the last steps of an interrupted refresh, and returns the names of the recordings that it has
    /// finished.
    ///
    /// # Errors
    /// When the engine cannot be read or written.
    pub(crate) async fn resume(&mut self) -> Result<BTreeSet<String>> {
        let Some(journal) = &self.journal else {
            return Ok(BTreeSet::new());
        };
        let engine = self.pending.as_ref().unwrap_or(&self.engine);
        let (mut finished, mut written, mut replaced) = (BTreeSet::new(), HashSet::new(), Vec::new());
        let mut entries = Vec::new();
        for entry in &journal.entries {
            if let Some((name, _)) = &entry.replacement {
                // A recording that is neither written nor staged must be sent again.
                let Some(key) = entry.write_staged(&**engine, &journal.staged()).await? else {
                    continue;
                };
                finished.insert(name.clone());
                written.insert(key);
                replaced.extend(entry.old_key());
            }
            finished.insert(entry.name.clone());
            entries.push(entry.clone());
        }
        self.remove_old(replaced, &written).await?;
        self.checks()
            .extend(entries.iter().filter_map(|entry| entry.checked.clone()));
        if let Some(journal) = &mut self.journal {
            journal.entries = entries;
        }
        Ok(finished)
    }
}

/// Whether a new response shows a job that has not come as far as in the recording.
fn is_unfinished(old: &RecordedResponse, new: &RecordedResponse) -> bool {
    const PENDING: [&str; 14] = [
        "cancellation_requested",
        "created",
        "in_progress",
        "pending",
        "processing",
        "queued",
        "running",
        "scheduled",
        "started",
        "submitted",
        "todo",
        "validated",
        "validating",
        "waiting_for_capacity",
    ];
    match (state(old), state(new)) {
        (Some(old), Some(new)) => old != new && PENDING.contains(&&*new),
        _ => false,
    }
}

fn skipped(recording: &Recording, reason: &'static str) -> RefreshResult {
    RefreshResult {
        name: recording.name.clone(),
        outcome: Outcome::Skipped(reason),
        cost: Some(0.0),
    }
}

#[cfg(test)]
mod tests {

    use super::*;

    #[test]
    fn only_a_job_that_goes_on_is_unfinished() {
        let job = |body: &str| {
            Recording::sample("GET", "/v1/jobs/1", body)
                .cassette
                .responses
                .remove(0)
        };
        let done = job(r#"{"status":"SUCCESS"}"#);
        assert!(is_unfinished(&done, &job(r#"{"status":"RUNNING"}"#)));
        for other in [
            r#"{"status":"SUCCESS"}"#,
            r#"{"status":"FAILED"}"#,
            r#"{"status":"live"}"#,
            "{}",
        ] {
            assert!(!is_unfinished(&done, &job(other)), "{other}");
        }
    }
}
