//! Looking after what an engine keeps: copies, and how much there is.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use futures_util::{StreamExt, stream};

use super::{CacheEngine, Counts, layout, read_body};
use crate::cassette::{Blob, Cassette, RecordedBody, yaml};
use crate::error::{Error, ErrorKind, Result};
use crate::http::tokens_in;
use crate::key::{RequestKey, Scope};
use crate::settings::Settings;

/// How many entries are worked on at once.
const AT_ONCE: usize = 16;

/// What has become of a [`copy`] so far.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Copied {
    /// How many cassettes there are to copy.
    pub total: usize,
    /// How many were copied.
    pub copied: usize,
    /// How many were there already, byte for byte.
    pub same: usize,
    /// Those that could not be copied.
    pub failures: Vec<Error>,
}

impl Copied {
    /// How many are done, in whichever way.
    pub fn done(&self) -> usize {
        self.copied + self.same + self.failures.len()
    }
}

impl fmt::Display for Copied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} copied, {} already there", self.copied, self.same)?;
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

/// Copies everything from one engine to another: settings, cassettes, large bodies. What is there already is left, so that
/// a copy that broke off goes on where it was; what is only in the other one stays. `tell` hears of each cassette.
///
/// Documents are copied byte for byte, under the names that their requests have: a file that a person has renamed gets its
/// computed name back.
///
/// # Errors
/// When the one cannot list what it keeps, or the settings cannot be copied. A cassette that cannot be copied does not keep the
/// others from it: see [`Copied::failures`].
pub async fn copy(from: &dyn CacheEngine, to: &dyn CacheEngine, mut tell: impl FnMut(&Copied)) -> Result<Copied> {
    let settings = match from.extensions().get_settings().await? {
        Some(document) => {
            if to.extensions().get_settings().await?.as_ref() != Some(&document) {
                to.extensions().set_settings(document.clone()).await?;
            }
            Settings::from_yaml(&document, "the settings to be copied")?
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
        tell(&copied);
    }
    Ok(copied)
}

async fn copy_one(
    from: &dyn CacheEngine,
    to: &dyn CacheEngine,
    key: &RequestKey,
    settings: &Settings,
) -> Result<Outcome> {
    let place = from.location_of(key);
    let Some(document) = from.get(key).await? else {
        // It has gone since it was listed.
        return Ok(Outcome::Same);
    };
    let cassette = yaml::read(&document, &place)?;
    let mut is_same = true;
    let mut bodies = BTreeSet::new();
    for sha256 in filed(&cassette) {
        if bodies.insert(sha256.clone()) {
            is_same &= copy_body(from, to, &sha256, &place).await?;
        }
    }
    let name = named(from, key, &cassette, settings).await?;
    is_same &= to.get(&name).await?.as_ref() == Some(&document);
    if is_same {
        return Ok(Outcome::Same);
    }
    to.set(&name, document).await?;
    Ok(Outcome::Copied)
}

/// Whether the body was there already.
async fn copy_body(from: &dyn CacheEngine, to: &dyn CacheEngine, sha256: &str, place: &str) -> Result<bool> {
    let body = Blob::External {
        sha256: sha256.to_owned(),
    };
    let body = read_body(from, &body, || place.to_owned()).await?;
    if to.extensions().get_body(sha256).await?.as_ref() == Some(&body) {
        return Ok(true);
    }
    if to.extensions().set_body(sha256, &body).await? {
        return Ok(false);
    }
    Err(Error::engine(format!(
        "{place} has a large body of its own, {}, and the other engine keeps none",
        layout::body(sha256)
    )))
}

/// The key that the request of a cassette has under these settings.
///
/// # Errors
/// As [`read_body`].
pub(crate) async fn key_of(
    engine: &dyn CacheEngine,
    cassette: &Cassette,
    scope: &Scope,
    settings: &Settings,
    place: &str,
) -> Result<RequestKey> {
    let mut request = cassette.request.clone();
    if let RecordedBody::Blob(blob) = &mut request.body {
        *blob = read_body(engine, blob, || place.to_owned()).await?.into();
    }
    Ok(RequestKey::of(&request, scope, &settings.matching))
}

/// The key as its request gives it, which must be the one that it says.
async fn named(
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
                "{}: the key of its request is {computed}, and it says {}",
                from.location_of(key),
                cassette.key
            ),
        )
        .with_hint("request or settings were changed: mistral-cassette verify tells more"));
    }
    Ok(computed)
}

fn filed(cassette: &Cassette) -> Vec<String> {
    let mut cassette = cassette.clone();
    let filed = |blob: &mut Blob| match blob {
        Blob::External { sha256 } => Some(sha256.clone()),
        Blob::Inline(_) => None,
    };
    cassette.bodies_mut().into_iter().filter_map(filed).collect()
}

/// How much an engine keeps, how old it is, and what it was good for.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Stats {
    /// How many cassettes.
    pub entries: u64,
    /// How many responses are in them.
    pub responses: u64,
    /// The bytes of documents and of large bodies.
    pub bytes: u64,
    /// The tokens that the recorded answers took, as the API counted them.
    pub tokens: u64,
    /// When the oldest one was recorded: RFC 3339, in UTC.
    pub oldest: Option<String>,
    /// When the newest one was.
    pub newest: Option<String>,
    /// Cassettes by endpoint.
    pub endpoints: BTreeMap<String, u64>,
    /// How many cannot be read.
    pub damaged: u64,
    /// Hits and misses of all processes, where the engine counts them.
    pub counts: Option<Counts>,
}

/// Reads everything that an engine keeps, and adds it up.
///
/// # Errors
/// When the engine cannot list or read what it keeps.
pub async fn stats(engine: &dyn CacheEngine) -> Result<Stats> {
    stats_and(engine, |_, _| ()).await
}

/// As [`stats`]; `tell` hears of each cassette that can be read.
pub(crate) async fn stats_and(engine: &dyn CacheEngine, mut tell: impl FnMut(&RequestKey, Cassette)) -> Result<Stats> {
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
        let Some(document) = document? else { continue };
        stats.entries += 1;
        stats.bytes += document.len() as u64;
        *stats.endpoints.entry(key.endpoint().to_owned()).or_default() += 1;
        let Ok(cassette) = yaml::read(&document, &engine.location_of(&key)) else {
            stats.damaged += 1;
            continue;
        };
        stats.responses += cassette.responses.len() as u64;
        let at = &cassette.recorded.at;
        if stats.oldest.as_ref().is_none_or(|oldest| at < oldest) {
            stats.oldest = Some(at.clone());
        }
        if stats.newest.as_ref().is_none_or(|newest| at > newest) {
            stats.newest = Some(at.clone());
        }
        for response in &cassette.responses {
            if let Blob::Inline(body) = &response.body {
                stats.tokens += tokens_in(body);
            }
        }
        for sha256 in filed(&cassette) {
            if bodies.insert(sha256.clone())
                && let Some(body) = engine.extensions().get_body(&sha256).await?
            {
                stats.bytes += body.len() as u64;
                stats.tokens += tokens_in(&body);
            }
        }
        tell(&key, cassette);
    }
    Ok(stats)
}
