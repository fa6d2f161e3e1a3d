//! Copies the content of an engine and computes statistics.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use futures_util::{StreamExt, stream};

use super::stored_body::decode;
use super::{CacheEngine, Counts, layout, read_body};
use crate::cassette::{Blob, Cassette, RecordedBody, yaml};
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
    stats_with(engine, |_, _| ()).await
}

/// Does the same as [`stats`] and passes each readable cassette to `visit`.
pub(crate) async fn stats_with(
    engine: &dyn CacheEngine,
    mut visit: impl FnMut(&RequestKey, Cassette),
) -> Result<Stats> {
    let mut stats = Stats {
        counts: engine.extensions().counts().await?,
        ..Stats::default()
    };
    let keys = engine.keys().await?;
    let mut bodies = BTreeSet::new();
    let mut reads = stream::iter(keys)
        .map(|key| async move { (engine.get(&key).await, key) })
        .buffer_unordered(AT_ONCE);
    while let Some((document, key)) = reads.next().await {
        let document = match document {
            Ok(Some(document)) => document,
            Ok(None) => continue,
            Err(error) if error.kind() == ErrorKind::Cassette => {
                stats.entries += 1;
                stats.damaged += 1;
                continue;
            }
            Err(error) => return Err(error),
        };
        stats.entries += 1;
        stats.bytes += document.len() as u64;
        *stats.endpoints.entry(key.endpoint().to_owned()).or_default() += 1;
        let Ok(cassette) = yaml::read(&document, &engine.location_of(&key)) else {
            stats.damaged += 1;
            continue;
        };
        stats.responses += cassette.responses.len() as u64;
        let at = &cassette.recorded.second();
        if stats.oldest.as_ref().is_none_or(|oldest| at < oldest) {
            stats.oldest = Some(at.clone());
        }
        if stats.newest.as_ref().is_none_or(|newest| at > newest) {
            stats.newest = Some(at.clone());
        }
        for response in &cassette.responses {
            if let Blob::Inline(body) = &response.body {
                stats.tokens += total_tokens(body);
            }
        }
        for sha256 in external_bodies(&cassette) {
            if bodies.insert(sha256.clone())
                && let Some(stored) = unless_damaged(engine.extensions().get_body(&sha256).await)?
            {
                let body = decode(stored.clone(), &sha256).unwrap_or(stored);
                stats.bytes += body.len() as u64;
                stats.tokens += total_tokens(&body);
            }
        }
        visit(&key, cassette);
    }
    Ok(stats)
}
