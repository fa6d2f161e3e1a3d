//! Copies the content of an engine and computes statistics.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use bytes::Bytes;
use futures_util::{StreamExt, stream};

use super::stored_body::decode;
use super::{CacheEngine, Counts, layout, read_body};
use crate::cassette::{Blob, Cassette, RecordedBody, RecordedResponse, yaml};
use crate::error::{Error, ErrorKind, Result};
use crate::http::total_tokens;
use crate::key::{RequestKey, Scope};
use crate::settings::Settings;

/// How many entries are processed at once.
const AT_ONCE: usize = 16;

/// The progress of a [`copy`].
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Copied {
    /// The number of cassettes.
    pub total: usize,
    /// The number of cassettes that were copied.
    pub copied: usize,
    /// The number of cassettes that existed already, byte for byte.
    pub same: usize,
    /// The errors of the cassettes that could not be copied.
    pub failures: Vec<Error>,
}

impl Copied {
    /// Returns the number of cassettes that are done: copied, existing or failed.
    pub fn done(&self) -> usize {
        self.copied + self.same + self.failures.len()
    }
}

impl fmt::Display for Copied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} copied, {} unchanged", self.copied, self.same)?;
        if !self.failures.is_empty() {
            write!(f, ", {} failed", self.failures.len())?;
        }
        Ok(())
    }
}

enum Outcome {
    Copied,
    Same,
}

/// Copies settings, cassettes and large bodies from one engine to another. Entries that exist already are skipped, so a
/// copy resumes after an interruption. Entries that exist only in the target stay. `report` is called after each cassette.
///
/// Documents are copied byte for byte, under the keys of their requests: a file that a person has renamed gets its
/// computed name again.
///
/// # Errors
/// The keys cannot be listed, or the settings cannot be copied. Errors of single cassettes are in
/// [`Copied::failures`].
pub async fn copy(from: &dyn CacheEngine, to: &dyn CacheEngine, mut report: impl FnMut(&Copied)) -> Result<Copied> {
    let settings = match from.extensions().get_settings().await? {
        Some(document) => {
            if to.extensions().get_settings().await?.as_ref() != Some(&document) {
                to.extensions().set_settings(document.clone()).await?;
            }
            Settings::from_yaml(&document, "the copied settings")?
        }
        None => from.extensions().settings()?,
    };
    let keys = from.keys().await?;
    let mut copied = Copied {
        total: keys.len(),
        ..Copied::default()
    };
    let settings = &settings;
    let mut copies = stream::iter(keys)
        .map(|key| async move { copy_one(from, to, &key, settings).await })
        .buffer_unordered(AT_ONCE);
    while let Some(outcome) = copies.next().await {
        match outcome {
            Ok(Outcome::Copied) => copied.copied += 1,
            Ok(Outcome::Same) => copied.same += 1,
            Err(error) => copied.failures.push(error),
        }
        report(&copied);
    }
    Ok(copied)
}

async fn copy_one(
    from: &dyn CacheEngine,
    to: &dyn CacheEngine,
    key: &RequestKey,
    settings: &Settings,
) -> Result<Outcome> {
    let location = from.location_of(key);
    let Some(document) = from.get(key).await? else {
        // It was removed after it was listed.
        return Ok(Outcome::Same);
    };
    let cassette = yaml::read(&document, &location)?;
    let mut is_same = true;
    let mut bodies = BTreeSet::new();
    for sha256 in external_bodies(&cassette) {
        if bodies.insert(sha256.clone()) {
            is_same &= copy_body(from, to, &sha256, &location).await?;
        }
    }
    let key = checked_key(from, key, &cassette, settings).await?;
    is_same &= unless_damaged(to.get(&key).await)?.as_ref() == Some(&document);
    if is_same {
        return Ok(Outcome::Same);
    }
    to.set(&key, document).await?;
    Ok(Outcome::Copied)
}

/// Treats a damaged entry as one that does not exist.
fn unless_damaged<T>(read: Result<Option<T>>) -> Result<Option<T>> {
    match read {
        Err(error) if error.kind() == ErrorKind::Cassette => Ok(None),
        read => read,
    }
}

/// Copies a body. Returns whether it existed already.
async fn copy_body(from: &dyn CacheEngine, to: &dyn CacheEngine, sha256: &str, location: &str) -> Result<bool> {
    let body = Blob::External {
        sha256: sha256.to_owned(),
    };
    let body = read_body(from, &body, || location.to_owned()).await?;
    if let Some(stored) = unless_damaged(to.extensions().get_body(sha256).await)?
        && decode(stored, sha256).is_some()
    {
        return Ok(true);
    }
    if to.extensions().set_body(sha256, &body).await? {
        return Ok(false);
    }
    Err(Error::engine(format!(
        "{location} has the external body {}, which the other engine cannot store",
        layout::body(sha256)
    )))
}

/// Computes the key of the request of a cassette under these settings.
///
/// # Errors
/// The same as [`read_body`].
pub(crate) async fn key_of(
    engine: &dyn CacheEngine,
    cassette: &Cassette,
    scope: &Scope,
    settings: &Settings,
    location: &str,
) -> Result<RequestKey> {
    let mut request = cassette.request.clone();
    // Of a large part, the key contains the SHA-256, unless something in it is replaced.
    if matches!(request.body, RecordedBody::Blob(_)) || !settings.matching.replace.is_empty() {
        for blob in request.body.blobs_mut() {
            *blob = read_body(engine, blob, || location.to_owned()).await?.into();
        }
    }
    Ok(RequestKey::of(&request, scope, &settings.matching))
}

/// Computes the key of a cassette and checks that the cassette contains the same key.
async fn checked_key(
    from: &dyn CacheEngine,
    key: &RequestKey,
    cassette: &Cassette,
    settings: &Settings,
) -> Result<RequestKey> {
    let computed = key_of(from, cassette, key.scope(), settings, &from.location_of(key)).await?;
    if computed.hash() != cassette.key {
        return Err(Error::new(
            ErrorKind::Cassette,
            format!(
                "{}: the key of its request is {computed}, but the cassette contains {}",
                from.location_of(key),
                cassette.key
            ),
        )
        .with_hint("the request or the settings have changed: run mistral-cassette verify for details"));
    }
    Ok(computed)
}

fn external_bodies(cassette: &Cassette) -> Vec<String> {
    let mut cassette = cassette.clone();
    let sha256 = |blob: &mut Blob| match blob {
        Blob::External { sha256 } => Some(sha256.clone()),
        Blob::Inline(_) => None,
    };
    cassette.bodies_mut().into_iter().filter_map(sha256).collect()
}

/// Statistics about the content of an engine.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Stats {
    /// The number of cassettes.
    pub entries: u64,
    /// The number of recorded responses.
    pub responses: u64,
    /// The bytes of the documents and the large bodies.
    pub bytes: u64,
    /// The tokens of the recorded responses, as the API reported them.
    pub tokens: u64,
    /// When the oldest cassette was recorded: RFC 3339, in UTC.
    pub oldest: Option<String>,
    /// When the newest cassette was recorded.
    pub newest: Option<String>,
    /// The number of cassettes by endpoint.
    pub endpoints: BTreeMap<String, u64>,
    /// The number of cassettes that cannot be read.
    pub damaged: u64,
    /// The counters of all processes, if the engine stores them.
    pub counts: Option<Counts>,
}

/// Reads all cassettes of an engine and computes statistics.
///
/// # Errors
/// The cassettes cannot be listed or read.
pub async fn stats(engine: &dyn CacheEngine) -> Result<Stats> {
    let mut stats = Stats {
        counts: engine.extensions().counts().await?,
        ..Stats::default()
    };
    let mut bodies = BTreeSet::new();
    let mut entries = stream::iter(engine.keys().await?)
        .map(|key| async move { entry_of(engine, &key).await })
        .buffer_unordered(AT_ONCE);
    while let Some(entry) = entries.next().await {
        if let Some(entry) = entry? {
            stats.add(entry, &mut bodies);
        }
    }
    Ok(stats)
}

/// What the entry of a key adds; `None` if it was removed after it was listed.
async fn entry_of(engine: &dyn CacheEngine, key: &RequestKey) -> Result<Option<EntryStats>> {
    let document = match engine.get(key).await {
        Ok(Some(document)) => document,
        Ok(None) => return Ok(None),
        Err(error) if error.kind() == ErrorKind::Cassette => Bytes::new(),
        Err(error) => return Err(error),
    };
    let cassette = yaml::read(&document, &engine.location_of(key)).ok();
    EntryStats::of(engine, key, &document, cassette.as_ref())
        .await
        .map(Some)
}

/// What one entry adds to the statistics.
#[derive(Clone, Debug, Default)]
pub(crate) struct EntryStats {
    endpoint: String,
    bytes: u64,
    /// `None` when the cassette cannot be read.
    readable: Option<ReadableStats>,
}

#[derive(Clone, Debug, Default)]
struct ReadableStats {
    responses: u64,
    /// The tokens of the responses in the document.
    tokens: u64,
    recorded: String,
    /// The SHA-256, the bytes and the tokens of each external body.
    external: Vec<(String, u64, u64)>,
}

impl EntryStats {
    /// Reads what an entry adds, also from its external bodies.
    ///
    /// # Errors
    /// The engine cannot be reached.
    pub(crate) async fn of(
        engine: &dyn CacheEngine,
        key: &RequestKey,
        document: &[u8],
        cassette: Option<&Cassette>,
    ) -> Result<Self> {
        let mut entry = Self {
            endpoint: key.endpoint().to_owned(),
            bytes: document.len() as u64,
            readable: None,
        };
        let Some(cassette) = cassette else { return Ok(entry) };
        let inline = cassette.responses.iter().filter_map(|response| match &response.body {
            Blob::Inline(body) => Some(total_tokens(body)),
            Blob::External { .. } => None,
        });
        let in_sessions = cassette.responses.iter().map(RecordedResponse::received_tokens);
        let mut readable = ReadableStats {
            responses: cassette.responses.len() as u64,
            tokens: inline.sum::<u64>() + in_sessions.sum::<u64>(),
            recorded: cassette.recorded.second(),
            external: Vec::new(),
        };
        for sha256 in external_bodies(cassette) {
            if let Some(stored) = unless_damaged(engine.extensions().get_body(&sha256).await)? {
                let body = decode(stored.clone(), &sha256).unwrap_or(stored);
                readable.external.push((sha256, body.len() as u64, total_tokens(&body)));
            }
        }
        entry.readable = Some(readable);
        Ok(entry)
    }
}

impl Stats {
    /// Adds an entry. `bodies` are the external bodies of the entries before, each of which counts once.
    pub(crate) fn add(&mut self, entry: EntryStats, bodies: &mut BTreeSet<String>) {
        self.entries += 1;
        self.bytes += entry.bytes;
        *self.endpoints.entry(entry.endpoint).or_default() += 1;
        let Some(readable) = entry.readable else {
            self.damaged += 1;
            return;
        };
        self.responses += readable.responses;
        self.tokens += readable.tokens;
        let at = &readable.recorded;
        if self.oldest.as_ref().is_none_or(|oldest| at < oldest) {
            self.oldest = Some(at.clone());
        }
        if self.newest.as_ref().is_none_or(|newest| at > newest) {
            self.newest = Some(at.clone());
        }
        for (sha256, bytes, tokens) in readable.external {
            if bodies.insert(sha256) {
                self.bytes += bytes;
                self.tokens += tokens;
            }
        }
    }
}
