//! Asking the upstream again for what is recorded, and keeping what has changed.

mod chain;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use http::{HeaderValue, Method, header};

use self::chain::{Changes, Said, ids, mentions};
use crate::cassette::{Blob, Cassette, RecordedBody, RecordedRequest, format, says_the_same};
use crate::client::Client;
use crate::engine::{CacheEngine, MemoryEngine, bytes_of};
use crate::error::{Error, ErrorKind, Result};
use crate::grade::{Change, Grade, compare};
use crate::key::RequestKey;
use crate::message::{Part, Request, parse, written};
use crate::mode::Mode;
use crate::recorder::Recorder;
use crate::settings::{PLACEHOLDER, Settings};

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
}

#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    /// It was asked again; `moved` is its new name when what it takes over from earlier answers has changed.
    Asked { change: Change, moved: Option<String> },
    /// It cannot be asked again, and why.
    NotSent(String),
    /// The upstream gave no answer that could be kept.
    Failed(Error),
    /// The budget was spent before.
    Left,
}

/// How a refresh goes about it.
pub(crate) struct Refresher {
    /// Where the recordings are.
    pub(crate) engine: Arc<dyn CacheEngine>,
    pub(crate) settings: Settings,
    /// Live: it brings the key, retries and patience.
    pub(crate) client: Client,
    /// Only tells what would change.
    pub(crate) is_dry: bool,
    /// The most requests to send.
    pub(crate) most_requests: usize,
    /// How many are sent at once.
    pub(crate) at_once: usize,
}

impl Refresher {
    /// Asks again for these, each behind those whose answers it takes something over from. `tell` hears of each; whoever
    /// drops this in the middle leaves whole files only, and what was not asked yet as it was.
    pub(crate) async fn run(&self, recordings: Vec<Recording>, mut tell: impl FnMut(&Refreshed)) -> Vec<Refreshed> {
        let waves = in_waves(recordings);
        let mut changes = Changes::default();
        let mut sent = 0;
        let mut all = Vec::new();
        for wave in waves {
            let mut due = Vec::new();
            for recording in wave {
                let responses = recording.cassette.responses.len();
                if sent + responses > self.most_requests {
                    all.push(Refreshed {
                        name: recording.name,
                        outcome: Outcome::Left,
                    });
                    continue;
                }
                sent += responses;
                due.push(recording);
            }
            for some in due.chunks(self.at_once.max(1)) {
                let asked = some.iter().map(|recording| self.one(recording, &changes));
                let outcomes = futures_util::future::join_all(asked).await;
                for (recording, outcome) in some.iter().zip(outcomes) {
                    let (outcome, new) = match outcome {
                        Ok((outcome, new)) => (outcome, new),
                        Err(error) => (Outcome::Failed(error), None),
                    };
                    if let Some(new) = new {
                        changes.learn(&recording.cassette.responses, &new.responses);
                    }
                    let refreshed = Refreshed {
                        name: recording.name.clone(),
                        outcome,
                    };
                    tell(&refreshed);
                    all.push(refreshed);
                }
            }
        }
        all
    }

    async fn one(&self, recording: &Recording, changes: &Changes) -> Result<(Outcome, Option<Cassette>)> {
        let old = &recording.cassette;
        if let Some(why) = unsendable(&old.request) {
            return Ok((Outcome::NotSent(why), None));
        }
        let asked = match changes.apply(&old.request) {
            Ok(asked) => asked,
            Err(why) => return Ok((Outcome::NotSent(why.to_owned()), None)),
        };
        let mut new = self.ask(recording, &asked).await?;
        let change = compare(&old.responses, &new.responses);
        let is_same_request = new.key == old.key;
        // What says the same stays as it is, so that a diff shows what has changed.
        for (old, new) in old.responses.iter().zip(&mut new.responses) {
            if is_same_request && says_the_same(&asked, old, new) {
                *new = old.clone();
            }
        }
        if is_same_request && new.responses == old.responses {
            let outcome = Outcome::Asked { change, moved: None };
            return Ok((outcome, Some(old.clone())));
        }
        let key = RequestKey::of(&new.request, recording.key.scope(), &self.settings.matching);
        let moved = (!is_same_request).then(|| format!("{}.yaml", key.name()));
        if !self.is_dry {
            let mut kept = new.clone();
            crate::engine::put_large_bodies_aside(&*self.engine, &mut kept, &self.settings).await?;
            // The new file first: there is never a moment with neither.
            let at = if is_same_request { &recording.key } else { &key };
            self.engine.set(at, format::write(&kept)?).await?;
            if !is_same_request {
                self.engine.remove(&recording.key).await?;
            }
        }
        Ok((Outcome::Asked { change, moved }, Some(new)))
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
        let client = self.client.clone().recorded_by(recorder.clone());
        for response in &old.responses {
            let accept = if response.is_event_stream() {
                "text/event-stream"
            } else {
                "application/json"
            };
            let request = request_of(asked)?.header(header::ACCEPT, HeaderValue::from_static(accept));
            let answer = client.request(request).await?;
            let status = answer.status();
            answer.bytes().await?;
            if status != response.status && matches!(status.as_u16(), 401 | 403 | 408 | 429 | 500..) {
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
        format::read(&document, &recording.name)
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
        RecordedBody::Blob(Blob::Here(bytes)) => holds(bytes),
        RecordedBody::Blob(Blob::Filed { .. }) => return Some("its body is not there".to_owned()),
        RecordedBody::Multipart(parts) => parts.iter().any(|part| match &part.content {
            Blob::Here(bytes) => holds(bytes),
            Blob::Filed { .. } => true,
        }),
    };
    let line = request.line();
    (is_redacted || holds(line.as_bytes()) || line.contains("REDACTED"))
        .then(|| "a secret in it was redacted: record it with the program that knows it".to_owned())
}

fn request_of(recorded: &RecordedRequest) -> Result<Request> {
    let method = Method::from_bytes(recorded.method.as_bytes())
        .map_err(|error| Error::new(ErrorKind::Cassette, "the method is none").with_source(error))?;
    let target = match &recorded.query {
        Some(query) => format!("{}?{query}", recorded.path),
        None => recorded.path.clone(),
    };
    let request = Request::new(method, &target)?;
    Ok(match &recorded.body {
        RecordedBody::Blob(Blob::Here(bytes)) if bytes.is_empty() => request,
        RecordedBody::Blob(Blob::Here(bytes)) => {
            let kind = if parse(bytes).is_some() {
                "application/json"
            } else {
                "application/octet-stream"
            };
            request
                .header(header::CONTENT_TYPE, HeaderValue::from_static(kind))
                .body(bytes.clone())
        }
        RecordedBody::Blob(Blob::Filed { .. }) => request,
        RecordedBody::Multipart(parts) => {
            let parts: Vec<Part> = parts
                .iter()
                .map(|part| Part {
                    name: part.name.clone(),
                    filename: part.filename.clone(),
                    content_type: part.content_type.clone(),
                    content: match &part.content {
                        Blob::Here(bytes) => bytes.clone(),
                        Blob::Filed { .. } => bytes::Bytes::new(),
                    },
                })
                .collect();
            let (kind, body) = written(&parts);
            let kind = HeaderValue::from_str(&kind)
                .map_err(|error| Error::new(ErrorKind::Cassette, "the form has no boundary").with_source(error))?;
            request.header(header::CONTENT_TYPE, kind).body(body)
        }
    })
}

/// A recording with all of its bodies.
pub(crate) async fn whole(engine: &dyn CacheEngine, mut cassette: Cassette, place: &str) -> Result<Cassette> {
    for blob in cassette.blobs_mut() {
        *blob = bytes_of(engine, blob, || place.to_owned()).await?.into();
    }
    Ok(cassette)
}

/// Whether this outcome is a drift: more than ids and times.
pub(crate) fn is_drift(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Asked { change, .. } if change.grade > Grade::Volatile)
}
