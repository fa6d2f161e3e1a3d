//! Asking the upstream again for what is recorded, and keeping what has changed.

mod chain;
mod journal;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http::{HeaderValue, Method, header};
use tokio_util::sync::CancellationToken;

pub(crate) use self::chain::Changes;
use self::chain::{Said, ids, mentions};
pub(crate) use self::journal::{Entry, Journal};
use crate::cassette::{Blob, Cassette, RecordedBody, RecordedPart, RecordedRequest, is_equivalent, yaml};
use crate::cli::change::{Change, ChangeKind, compare};
use crate::cli::prices::Prices;
use crate::client::Client;
use crate::engine::{CacheEngine, MemoryEngine, externalize_large_bodies};
use crate::error::{Error, ErrorKind, Result};
use crate::hash::sha256_hex;
use crate::http::{Part, Request, parse_json, write_form};
use crate::key::RequestKey;
use crate::mode::Mode;
use crate::recorder::{Recorder, is_transient};
use crate::settings::Settings;
use crate::settings::matching::PLACEHOLDER;

/// A recording to be asked again, with its bodies.
#[derive(Clone, Debug)]
pub(crate) struct Recording {
    pub(crate) name: String,
    pub(crate) key: RequestKey,
    pub(crate) cassette: Cassette,
}

/// What has become of a recording.
#[derive(Clone, Debug)]
pub(crate) struct Refreshed {
    pub(crate) name: String,
    pub(crate) outcome: Outcome,
    /// What asking has cost, in US dollars; `None` when its price is not known.
    pub(crate) cost: Option<f64>,
}

#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    /// It was asked again; `moved` is its new name when what it takes over from earlier answers has changed.
    PreparedRequest { change: Change, moved: Option<String> },
    /// It cannot be asked again, and why.
    NotSent(String),
    /// The upstream gave no answer that could be kept.
    Failed(Error),
    /// It was not asked yet, and why.
    Left(&'static str),
}

/// The most that a refresh may send and spend.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    pub(crate) requests: usize,
    /// In US dollars.
    pub(crate) cost: f64,
}

/// How a refresh goes about it.
pub(crate) struct Refresher {
    /// Where the recordings are.
    pub(crate) engine: Arc<dyn CacheEngine>,
    /// Where new ones are put aside for review, in place of there.
    pub(crate) aside: Option<Arc<dyn CacheEngine>>,
    pub(crate) settings: Settings,
    /// Live: it brings the key, retries and patience.
    pub(crate) client: Client,
    /// Only tells what would change.
    pub(crate) is_dry: bool,
    pub(crate) budget: Budget,
    pub(crate) prices: Prices,
    /// How many are sent at once.
    pub(crate) at_once: usize,
    /// Where it says what was done; `None` where that cannot be said.
    pub(crate) journal: Option<Journal>,
    /// No more is asked once this is cancelled.
    pub(crate) stop: CancellationToken,
}

/// A recording that was asked again.
struct PreparedRequest {
    change: Change,
    /// As it is to be kept; `None` when it stays as it was.
    new: Option<(RequestKey, Cassette)>,
    changes: Changes,
    cost: Option<f64>,
}

impl Refresher {
    /// Asks again for these, each behind those whose answers it takes something over from. `tell` hears of each. What is
    /// killed in the middle leaves whole files, and a journal by which the next one goes on.
    pub(crate) async fn run(&self, recordings: Vec<Recording>, mut tell: impl FnMut(&Refreshed)) -> Vec<Refreshed> {
        let mut changes = self.changes();
        let mut left = self.budget;
        let mut all = Vec::new();
        for wave in in_waves(recordings) {
            let mut learned = Vec::new();
            let mut waiting = wave.iter();
            let mut asked = FuturesUnordered::new();
            loop {
                while asked.len() < self.at_once.max(1) {
                    let Some(recording) = waiting.next() else { break };
                    let estimate = self.prices.spent(&recording.cassette).cost.unwrap_or_default();
                    if let Some(why) = self.take(&mut left, recording, estimate) {
                        all.push(Refreshed {
                            name: recording.name.clone(),
                            outcome: Outcome::Left(why),
                            cost: Some(0.0),
                        });
                        continue;
                    }
                    let changes = &changes;
                    asked.push(async move { (recording, estimate, self.one(recording, changes).await) });
                }
                let Some((recording, estimate, outcome)) = asked.next().await else {
                    break;
                };
                let (outcome, cost, more) = outcome.unwrap_or_else(|error| (Outcome::Failed(error), None, None));
                // What it has cost, in place of what it was thought to.
                left.cost += estimate - cost.unwrap_or(estimate);
                learned.extend(more);
                let refreshed = Refreshed {
                    name: recording.name.clone(),
                    outcome,
                    cost,
                };
                tell(&refreshed);
                all.push(refreshed);
            }
            drop(asked);
            learned.into_iter().for_each(|more| changes.extend(more));
        }
        all
    }

    /// Takes a recording from the budget; or why it is left.
    fn take(&self, left: &mut Budget, recording: &Recording, estimate: f64) -> Option<&'static str> {
        let requests = recording.cassette.responses.len();
        if self.stop.is_cancelled() {
            return Some("it was broken off");
        }
        if requests > left.requests || estimate > left.cost {
            return Some("the budget is spent");
        }
        left.requests -= requests;
        left.cost -= estimate;
        None
    }

    /// Asks for one again, and keeps what has changed.
    async fn one(&self, recording: &Recording, changes: &Changes) -> Result<(Outcome, Option<f64>, Option<Changes>)> {
        let old = &recording.cassette;
        let asked = match unsendable(&old.request) {
            Some(why) => Err(why),
            None => changes.apply(&old.request).map_err(str::to_owned),
        };
        let asked = match asked {
            Ok(asked) => asked,
            Err(why) => return Ok((Outcome::NotSent(why), Some(0.0), None)),
        };
        let PreparedRequest {
            change,
            new,
            changes,
            cost,
        } = self.again(recording, asked).await?;
        let is_elsewhere = |key: &&RequestKey| key.hash() != recording.key.hash();
        let moved = new
            .as_ref()
            .map(|(key, _)| key)
            .filter(is_elsewhere)
            .map(RequestKey::file_name);
        if !self.is_dry {
            self.keep(recording, new, &changes).await?;
        }
        Ok((Outcome::PreparedRequest { change, moved }, cost, Some(changes)))
    }

    async fn again(&self, recording: &Recording, asked: RecordedRequest) -> Result<PreparedRequest> {
        let old = &recording.cassette;
        let mut new = self.ask(recording, &asked).await?;
        let cost = self.prices.spent(&new).cost;
        let change = compare(&old.responses, &new.responses);
        let is_same_request = new.key == old.key;
        // What says the same stays as it is, so that a diff shows what has changed.
        for (old, new) in old.responses.iter().zip(&mut new.responses) {
            if is_same_request && is_equivalent(&asked, old, new) {
                *new = old.clone();
            }
        }
        let changes = Changes::between(&old.responses, &new.responses);
        if is_same_request && new.responses == old.responses {
            return Ok(PreparedRequest {
                change,
                new: None,
                changes,
                cost,
            });
        }
        let key = if is_same_request {
            recording.key.clone()
        } else {
            RequestKey::of(&new.request, recording.key.scope(), &self.settings.matching)
        };
        Ok(PreparedRequest {
            change,
            new: Some((key, new)),
            changes,
            cost,
        })
    }

    /// Writes what is new, the journal first: whoever reads that the document is there can see whether it is.
    async fn keep(&self, recording: &Recording, new: Option<(RequestKey, Cassette)>, changes: &Changes) -> Result<()> {
        let engine = self.aside.as_ref().unwrap_or(&self.engine);
        let document = match new {
            None => None,
            Some((key, mut cassette)) => {
                externalize_large_bodies(&**engine, &mut cassette, &self.settings).await?;
                Some((key, yaml::write(&cassette)?))
            }
        };
        if let Some(journal) = &self.journal {
            let now = document
                .as_ref()
                .map(|(key, document)| (key.file_name(), sha256_hex(document)));
            journal.add(Entry {
                name: recording.name.clone(),
                now,
                changes: changes.clone(),
            })?;
        }
        let Some((key, document)) = document else { return Ok(()) };
        // The new file first: there is never a moment with neither.
        engine.set(&key, document).await?;
        if self.aside.is_none() && key.hash() != recording.key.hash() {
            self.engine.remove(&recording.key).await?;
        }
        Ok(())
    }

    /// What an earlier refresh, which was broken off, has done: the names of those that need not be asked again. What it did
    /// not come to the end of is brought to its end.
    pub(crate) async fn done(&mut self) -> Result<BTreeSet<String>> {
        let Some(journal) = &mut self.journal else {
            return Ok(BTreeSet::new());
        };
        let engine = self.aside.as_ref().unwrap_or(&self.engine);
        let mut done = BTreeSet::new();
        let mut entries = Vec::new();
        for entry in &journal.entries {
            if let Some((name, _)) = &entry.now {
                // Killed before the recording was written, unless it is there.
                let Some(key) = entry.kept_in(&**engine).await? else {
                    continue;
                };
                if self.aside.is_none() {
                    entry.leave(&*self.engine, &key).await?;
                }
                done.insert(name.clone());
            }
            done.insert(entry.name.clone());
            entries.push(entry.clone());
        }
        journal.entries = entries;
        Ok(done)
    }

    /// Whether a recording takes something over from those that are done.
    pub(crate) fn is_behind(&self, recording: &Recording) -> bool {
        self.changes().touch(&recording.cassette.request)
    }

    fn changes(&self) -> Changes {
        let mut changes = Changes::default();
        for entry in self.journal.iter().flat_map(|journal| &journal.entries) {
            changes.extend(entry.changes.clone());
        }
        changes
    }

    /// Asks as often as it is recorded, in memory: a file is written when all of it is there.
    async fn ask(&self, recording: &Recording, asked: &RecordedRequest) -> Result<Cassette> {
        let memory = Arc::new(MemoryEngine::new());
        let old = &recording.cassette;
        let mut settings = self.settings.clone();
        // An error that was recorded was meant.
        settings.save_errors |= old.responses.iter().any(|response| response.status.as_u16() >= 400);
        let mut recorder = Recorder::builder(memory.clone())
            .mode(Mode::Record)
            .allow_record_in_ci()
            .settings(settings)
            .scope(recording.key.scope().clone());
        if let Some(test) = &old.recorded.test {
            recorder = recorder.test(test.clone());
        }
        let recorder = recorder.build()?;
        for response in &old.responses {
            let accept = if response.is_event_stream() {
                "text/event-stream"
            } else {
                "application/json"
            };
            let request = request_of(asked)?.header(header::ACCEPT, HeaderValue::from_static(accept));
            // A limit that was recorded was meant: nobody waits for it to pass.
            let upstream = self.client.settled(!is_transient(response.status));
            let answer = recorder.answer(request, upstream).await?;
            let status = answer.status();
            answer.bytes().await?;
            if status != response.status && is_transient(status) {
                return Err(Error::new(
                    ErrorKind::Upstream,
                    format!("the upstream answers {status}, which speaks of the day and not of the request"),
                ));
            }
        }
        recorder.finish().await?;
        let keys = memory.keys().await?;
        let [key] = keys.as_slice() else {
            return Err(Error::new(ErrorKind::Upstream, "there was no answer to keep"));
        };
        let document = memory.get(key).await?.unwrap_or_default();
        yaml::read(&document, &recording.name)
    }
}

impl Entry {
    /// The key that it had.
    pub(crate) fn key(&self) -> Option<RequestKey> {
        RequestKey::from_file_name(&self.name)
    }

    /// The key under which an engine has the new recording; `None` when it has another one, or none.
    pub(crate) async fn kept_in(&self, engine: &dyn CacheEngine) -> Result<Option<RequestKey>> {
        let Some((name, sha256)) = &self.now else {
            return Ok(None);
        };
        let Some(key) = RequestKey::from_file_name(name) else {
            return Ok(None);
        };
        let document = engine.get(&key).await?;
        Ok(document
            .is_some_and(|document| sha256_hex(&document) == *sha256)
            .then_some(key))
    }

    /// Removes what it was before, when its name is another one now.
    pub(crate) async fn leave(&self, engine: &dyn CacheEngine, now: &RequestKey) -> Result<()> {
        match self.key() {
            Some(old) if old.short() != now.short() => engine.remove(&old).await,
            _ => Ok(()),
        }
    }
}

/// For each recording those whose answers it takes something over from.
fn dependencies(recordings: &[Recording]) -> Vec<BTreeSet<usize>> {
    let mut ids_of = HashMap::<String, Vec<usize>>::new();
    let mut said_by = HashMap::<Said, Vec<usize>>::new();
    for (at, recording) in recordings.iter().enumerate() {
        for id in ids(&recording.cassette.responses).into_values() {
            ids_of.entry(id).or_default().push(at);
        }
        for said in recording.cassette.responses.iter().filter_map(Said::in_answer) {
            said_by.entry(said).or_default().push(at);
        }
    }
    let behind = |(at, recording): (usize, &Recording)| {
        let (ids, said) = mentions(&recording.cassette.request);
        let by_id = ids.iter().filter_map(|id| ids_of.get(id)).flatten();
        let by_word = said.iter().filter_map(|said| said_by.get(said)).flatten();
        // Only within a scope: a test takes nothing over from another one.
        let is_near = |other: &usize| *other != at && recordings[*other].key.scope() == recording.key.scope();
        by_id.chain(by_word).copied().filter(is_near).collect()
    };
    recordings.iter().enumerate().map(behind).collect()
}

/// Those that were chosen, and those that take something over from one of them: they would be left behind.
pub(crate) fn with_followers(recordings: Vec<Recording>, is_chosen: impl Fn(&Recording) -> bool) -> Vec<Recording> {
    let behind = dependencies(&recordings);
    let mut chosen: BTreeSet<usize> = (0..recordings.len()).filter(|at| is_chosen(&recordings[*at])).collect();
    loop {
        let follows = |at: &usize| !chosen.contains(at) && !behind[*at].is_disjoint(&chosen);
        let followers: Vec<usize> = (0..recordings.len()).filter(follows).collect();
        if followers.is_empty() {
            break;
        }
        chosen.extend(followers);
    }
    let chosen = |(at, recording)| chosen.contains(&at).then_some(recording);
    recordings.into_iter().enumerate().filter_map(chosen).collect()
}

/// The recordings in an order in which each comes behind those that it takes something over from.
fn in_waves(recordings: Vec<Recording>) -> Vec<Vec<Recording>> {
    let mut behind = dependencies(&recordings);
    let mut left: BTreeMap<usize, Recording> = recordings.into_iter().enumerate().collect();
    let mut waves = Vec::new();
    while !left.is_empty() {
        let mut free: Vec<usize> = left.keys().copied().filter(|at| behind[*at].is_empty()).collect();
        if free.is_empty() {
            // Two that mention each other: one has to be the first.
            free.extend(left.keys().next().copied());
        }
        for waiting in &mut behind {
            waiting.retain(|other| !free.contains(other));
        }
        waves.push(free.iter().filter_map(|at| left.remove(at)).collect());
    }
    waves
}

/// Why a request cannot be sent again.
fn unsendable(request: &RecordedRequest) -> Option<String> {
    let holds = |bytes: &[u8]| memchr::memmem::find(bytes, PLACEHOLDER.as_bytes()).is_some();
    let is_redacted = match &request.body {
        RecordedBody::Blob(Blob::Inline(bytes)) => holds(bytes),
        RecordedBody::Blob(Blob::External { .. }) => return Some("its body is not there".to_owned()),
        RecordedBody::Multipart(parts) => parts.iter().any(|part| match &part.content {
            Blob::Inline(bytes) => holds(bytes),
            Blob::External { .. } => true,
        }),
    };
    let line = request.line();
    (is_redacted || holds(line.as_bytes()) || line.contains("REDACTED"))
        .then(|| "a secret in it was redacted: record it with the program that knows it".to_owned())
}

fn request_of(recorded: &RecordedRequest) -> Result<Request> {
    let method = Method::from_bytes(recorded.method.as_bytes())
        .map_err(|error| Error::new(ErrorKind::Cassette, "the method is none").with_source(error))?;
    let request = Request::new(method, &recorded.target())?;
    Ok(match &recorded.body {
        RecordedBody::Blob(Blob::Inline(bytes)) if bytes.is_empty() => request,
        RecordedBody::Blob(Blob::Inline(bytes)) => {
            let kind = if parse_json(bytes).is_some() {
                "application/json"
            } else {
                "application/octet-stream"
            };
            request
                .header(header::CONTENT_TYPE, HeaderValue::from_static(kind))
                .body(bytes.clone())
        }
        RecordedBody::Blob(Blob::External { .. }) => request,
        RecordedBody::Multipart(parts) => {
            let parts: Option<Vec<Part>> = parts.iter().map(RecordedPart::to_part).collect();
            let parts = parts.ok_or_else(|| Error::new(ErrorKind::Cassette, "a part of its form is not there"))?;
            let (kind, body) = write_form(&parts);
            let kind = HeaderValue::from_str(&kind)
                .map_err(|error| Error::new(ErrorKind::Cassette, "the form has no boundary").with_source(error))?;
            request.header(header::CONTENT_TYPE, kind).body(body)
        }
    })
}

/// Whether this outcome is a drift: more than ids and times.
pub(crate) fn is_drift(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::PreparedRequest { change, .. } if change.grade > ChangeKind::Volatile)
}
