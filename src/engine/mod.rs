//! Engines: where cassettes are kept.
//!
//! | engine | feature | opened as |
//! | --- | --- | --- |
//! | [`DirectoryEngine`] | | `cassettes`, `./any/folder` |
//! | [`MemoryEngine`] | | `memory:`, `memory:?max_bytes=64000000` |
//! | `RedisEngine` | `redis` | `redis://user:password@host:6379/0?prefix=team`, `rediss://…`, `redis+cluster://host:6379,host:6379`, `rediss+cluster://…` |
//! | `SqlEngine` | `sql` | `sqlite:cassettes.db`, `postgres://user:password@host/database?schema=team` |
//! | `ObjectStoreEngine` | `object-store` | `s3://bucket/prefix?endpoint=…&region=…`, `gs://bucket/prefix`, `az://container/prefix?account=…` |
//!
//! [`open`] opens any of them by its name; [`LayeredEngine`] puts a near one in front of a far one. An engine of your own is
//! two methods of [`CacheEngine`], and [`conformance`] tells whether it does what the recorder relies on.

pub mod conformance;
mod directory;
mod layered;
pub(crate) mod layout;
mod maintenance;
mod memory;
#[cfg(feature = "object-store")]
mod object_store;
mod open;
#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "sql")]
mod sql;
#[cfg(any(feature = "redis", feature = "sql"))]
mod url;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::cassette::{Blob, Cassette, yaml};
use crate::error::{Error, ErrorKind, Result};
use crate::hash::sha256_hex;
use crate::key::RequestKey;
use crate::settings::Settings;

#[cfg(feature = "object-store")]
pub use self::object_store::ObjectStoreEngine;
#[cfg(feature = "redis")]
pub use self::redis::RedisEngine;
pub use directory::DirectoryEngine;
#[cfg(feature = "cli")]
pub(crate) use directory::{Listed, read_file, write_file};
pub use layered::LayeredEngine;
pub use maintenance::{Copied, Stats, copy, stats};
#[cfg(feature = "cli")]
pub(crate) use maintenance::{key_of, stats_and};
pub use memory::MemoryEngine;
#[cfg(feature = "cli")]
pub(crate) use open::is_directory;
pub use open::open;
#[cfg(feature = "sql")]
pub use sql::SqlEngine;

/// Where cassettes are kept: a directory, memory, or a store of your own, which is two methods.
///
/// An engine keeps documents under keys and knows nothing of modes, matching or redaction; those are the
/// [`Recorder`](crate::Recorder)'s, so they hold for every engine. It must work behind `dyn`, hence `async_trait`.
///
/// ```
/// use std::collections::HashMap;
/// use std::sync::Mutex;
///
/// use bytes::Bytes;
/// use mistral_cassette::{CacheEngine, RequestKey, Result, async_trait};
///
/// #[derive(Default)]
/// struct MyStore(Mutex<HashMap<String, Bytes>>);
///
/// #[async_trait]
/// impl CacheEngine for MyStore {
///     async fn get(&self, key: &RequestKey) -> Result<Option<Bytes>> {
///         Ok(self.0.lock().unwrap().get(&key.name()).cloned())
///     }
///
///     async fn set(&self, key: &RequestKey, cassette: Bytes) -> Result<()> {
///         self.0.lock().unwrap().insert(key.name(), cassette);
///         Ok(())
///     }
/// }
/// ```
#[async_trait]
pub trait CacheEngine: Send + Sync {
    /// The document kept under a key, as it was given to [`set`](Self::set); `None` when there is none.
    ///
    /// # Errors
    /// Mostly [`Error::engine`]: the store cannot be read.
    async fn get(&self, key: &RequestKey) -> Result<Option<Bytes>>;

    /// Keeps a document (YAML, UTF-8) in place of what was kept under the key; it is kept when this returns.
    ///
    /// # Errors
    /// Mostly [`Error::engine`]: the store cannot be written.
    async fn set(&self, key: &RequestKey, cassette: Bytes) -> Result<()>;

    /// Removes what is kept under a key, if anything is.
    ///
    /// # Errors
    /// By default that this engine cannot.
    async fn remove(&self, key: &RequestKey) -> Result<()> {
        Err(Error::engine(format!("this engine cannot remove {}", key.name())))
    }

    /// Every key that is kept; with none, a miss cannot name the nearest recording.
    ///
    /// # Errors
    /// Mostly [`Error::engine`]: the store cannot be read.
    async fn keys(&self) -> Result<Vec<RequestKey>> {
        Ok(Vec::new())
    }

    /// Removes everything.
    ///
    /// # Errors
    /// As [`remove`](Self::remove).
    async fn clear(&self) -> Result<()> {
        for key in self.keys().await? {
            self.remove(&key).await?;
        }
        Ok(())
    }

    /// The large body of this SHA-256 (64 hex digits), as it was given to [`set_body`](Self::set_body).
    ///
    /// # Errors
    /// Mostly [`Error::engine`]: the store cannot be read.
    async fn get_body(&self, _sha256: &str) -> Result<Option<Bytes>> {
        Ok(None)
    }

    /// Keeps a large body apart from its cassette; `false`, the default, leaves it inside the document.
    ///
    /// # Errors
    /// Mostly [`Error::engine`]: the store cannot be written.
    async fn set_body(&self, _sha256: &str, _body: &Bytes) -> Result<bool> {
        Ok(false)
    }

    /// Keeps a document for at most this long. By default for ever: the recorder sees from the document that it is old.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    async fn set_expiring(&self, key: &RequestKey, cassette: Bytes, _life: Duration) -> Result<()> {
        self.set(key, cassette).await
    }

    /// Takes the right to ask the upstream for a key, so that of many processes that miss it one asks. It ends with its
    /// [release](Lease::release), with the process that holds it, or after `life` when it is not
    /// [renewed](Lease::renew), whichever the store can see.
    ///
    /// # Errors
    /// Mostly [`Error::engine`]: the store cannot be asked.
    async fn lock(&self, _key: &RequestKey, _life: Duration) -> Result<Lock> {
        Ok(Lock::Unsupported)
    }

    /// How much is kept; `None` when that cannot be told without reading everything.
    ///
    /// # Errors
    /// Mostly [`Error::engine`]: the store cannot be read.
    async fn size(&self) -> Result<Option<Size>> {
        Ok(None)
    }

    /// Adds to the counts that are kept beside the cassettes; by default they are forgotten.
    ///
    /// # Errors
    /// Mostly [`Error::engine`]: the store cannot be written.
    async fn count(&self, _more: Counts) -> Result<()> {
        Ok(())
    }

    /// The counts of all processes so far; `None`, the default, when they are not kept.
    ///
    /// # Errors
    /// Mostly [`Error::engine`]: the store cannot be read.
    async fn counts(&self) -> Result<Option<Counts>> {
        Ok(None)
    }

    /// Says early that nothing can be kept: called before the upstream is asked for an answer to keep.
    ///
    /// # Errors
    /// That a [`set`](Self::set) would fail.
    async fn check_writable(&self) -> Result<()> {
        Ok(())
    }

    /// The settings beside the cassettes, as far as they are known without asking a store: read when a session begins.
    ///
    /// # Errors
    /// [`ErrorKind::Settings`] when they cannot be read.
    fn settings(&self) -> Result<Settings> {
        Ok(Settings::default())
    }

    /// The settings document that is kept in the store, if there is one: read before a session's first request.
    ///
    /// # Errors
    /// Mostly [`Error::engine`]: the store cannot be read.
    async fn get_settings(&self) -> Result<Option<Bytes>> {
        Ok(None)
    }

    /// Keeps a settings document (YAML) beside the cassettes.
    ///
    /// # Errors
    /// By default that this engine cannot.
    async fn set_settings(&self, _settings: Bytes) -> Result<()> {
        Err(Error::engine("this engine cannot keep settings"))
    }

    /// Whether these are files that people commit and review: then a problem with one is never passed over. A cache,
    /// the default, may lose an entry and be asked again.
    fn is_committed(&self) -> bool {
        false
    }

    /// The directory in which the cassettes are files; `None`, the default, for a store.
    fn directory(&self) -> Option<&Path> {
        None
    }

    /// Where a cassette is, for error messages.
    fn place_of(&self, key: &RequestKey) -> String {
        key.name()
    }
}

/// The right to ask the upstream for a key; see [`CacheEngine::lock`].
pub enum Lock {
    /// This engine has no locks: everyone may ask.
    Unsupported,
    /// Somebody else has it.
    Held,
    /// The caller has it.
    Taken(Box<dyn Lease>),
}

impl fmt::Debug for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unsupported => "Unsupported",
            Self::Held => "Held",
            Self::Taken(_) => "Taken",
        })
    }
}

/// A lock that is held. One that is dropped without being released ends with its life, if not at once.
#[async_trait]
pub trait Lease: Send + Sync {
    /// Holds it for another life, from now.
    ///
    /// # Errors
    /// Mostly [`Error::engine`]: the store cannot be asked, or somebody else has taken it meanwhile.
    async fn renew(&self, _life: Duration) -> Result<()> {
        Ok(())
    }

    /// Whether it ends when its life is over, and so wants to be renewed; else it ends when it is dropped, or with its
    /// process.
    fn expires(&self) -> bool {
        true
    }

    /// Gives it back; one that somebody else has taken meanwhile is left to them.
    ///
    /// # Errors
    /// Mostly [`Error::engine`]: the store cannot be asked.
    async fn release(self: Box<Self>) -> Result<()>;
}

/// How much an engine keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// How many cassettes.
    pub entries: u64,
    /// The bytes of their documents and of large bodies; what the store itself needs is not in it.
    pub bytes: u64,
}

/// What came of the requests of all processes that use an engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Answered from a recording.
    pub hits: u64,
    /// Not recorded, or too old.
    pub misses: u64,
    /// The tokens that hits would have taken, as the recorded answers count them.
    pub tokens_saved: u64,
    /// The milliseconds that hits would have taken, as they were measured when recording.
    pub milliseconds_saved: u64,
}

impl Counts {
    /// The part of the requests that was answered from a recording, 0 to 1; `None` before the first.
    pub fn hit_rate(&self) -> Option<f64> {
        let asked = self.hits + self.misses;
        (asked > 0).then(|| self.hits as f64 / asked as f64)
    }
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, more: Self) {
        self.hits += more.hits;
        self.misses += more.misses;
        self.tokens_saved += more.tokens_saved;
        self.milliseconds_saved += more.milliseconds_saved;
    }
}

#[async_trait]
impl<T: CacheEngine + ?Sized> CacheEngine for Arc<T> {
    async fn get(&self, key: &RequestKey) -> Result<Option<Bytes>> {
        (**self).get(key).await
    }

    async fn set(&self, key: &RequestKey, cassette: Bytes) -> Result<()> {
        (**self).set(key, cassette).await
    }

    async fn remove(&self, key: &RequestKey) -> Result<()> {
        (**self).remove(key).await
    }

    async fn keys(&self) -> Result<Vec<RequestKey>> {
        (**self).keys().await
    }

    async fn clear(&self) -> Result<()> {
        (**self).clear().await
    }

    async fn get_body(&self, sha256: &str) -> Result<Option<Bytes>> {
        (**self).get_body(sha256).await
    }

    async fn set_body(&self, sha256: &str, body: &Bytes) -> Result<bool> {
        (**self).set_body(sha256, body).await
    }

    async fn set_expiring(&self, key: &RequestKey, cassette: Bytes, life: Duration) -> Result<()> {
        (**self).set_expiring(key, cassette, life).await
    }

    async fn lock(&self, key: &RequestKey, life: Duration) -> Result<Lock> {
        (**self).lock(key, life).await
    }

    async fn size(&self) -> Result<Option<Size>> {
        (**self).size().await
    }

    async fn count(&self, more: Counts) -> Result<()> {
        (**self).count(more).await
    }

    async fn counts(&self) -> Result<Option<Counts>> {
        (**self).counts().await
    }

    async fn check_writable(&self) -> Result<()> {
        (**self).check_writable().await
    }

    fn settings(&self) -> Result<Settings> {
        (**self).settings()
    }

    async fn get_settings(&self) -> Result<Option<Bytes>> {
        (**self).get_settings().await
    }

    async fn set_settings(&self, settings: Bytes) -> Result<()> {
        (**self).set_settings(settings).await
    }

    fn is_committed(&self) -> bool {
        (**self).is_committed()
    }

    fn directory(&self) -> Option<&Path> {
        (**self).directory()
    }

    fn place_of(&self, key: &RequestKey) -> String {
        (**self).place_of(key)
    }
}

/// The bytes of a body, from its cassette or from beside it; `place` names the cassette in errors.
///
/// # Errors
/// [`ErrorKind::Cassette`] when the body is missing or is another one than was kept.
pub(crate) async fn bytes_of(engine: &dyn CacheEngine, blob: &Blob, place: impl Fn() -> String) -> Result<Bytes> {
    let sha256 = match blob {
        Blob::Inline(bytes) => return Ok(bytes.clone()),
        Blob::External { sha256 } => sha256,
    };
    let wrong = |what: &str| {
        Error::new(
            ErrorKind::Cassette,
            format!("{}: the body {} is {what}", place(), layout::body(sha256)),
        )
    };
    match engine.get_body(sha256).await? {
        Some(bytes) if sha256_hex(&bytes) == *sha256 => Ok(bytes),
        Some(_) => Err(wrong("damaged: its SHA-256 is another")
            .with_hint("bring it back from version control (did git convert its line ends? .gitattributes keeps it from that), or record this request again")),
        None => {
            Err(wrong("missing").with_hint("commit the folder bodies with the cassettes, or record this request again"))
        }
    }
}

/// A cassette with all of its bodies.
///
/// # Errors
/// As [`bytes_of`].
#[cfg(feature = "cli")]
pub(crate) async fn whole(engine: &dyn CacheEngine, mut cassette: Cassette, place: &str) -> Result<Cassette> {
    for blob in cassette.bodies_mut() {
        *blob = bytes_of(engine, blob, || place.to_owned()).await?.into();
    }
    Ok(cassette)
}

/// Hands the bodies that are larger than the settings have inside a document to an engine that keeps them apart.
///
/// # Errors
/// Mostly [`Error::engine`]: the store cannot be written.
pub(crate) async fn externalize_large_bodies(
    engine: &dyn CacheEngine,
    cassette: &mut Cassette,
    settings: &Settings,
) -> Result<()> {
    for blob in cassette.bodies_mut() {
        if let Blob::Inline(bytes) = blob
            && bytes.len() > settings.inline_body_bytes
        {
            let sha256 = sha256_hex(bytes);
            if engine.set_body(&sha256, bytes).await? {
                *blob = Blob::External { sha256 };
            }
        }
    }
    Ok(())
}

/// Keeps a cassette as the settings want it: for the life that they give it, or for ever and with its large bodies apart.
/// What is `there` already is not written again.
///
/// # Errors
/// Mostly [`Error::engine`]: the store cannot be written.
pub(crate) async fn keep(
    engine: &dyn CacheEngine,
    key: &RequestKey,
    cassette: &mut Cassette,
    there: Option<&Cassette>,
    settings: &Settings,
) -> Result<()> {
    let life = settings.expiry.ttl(key.endpoint(), cassette.history.as_ref());
    if life.is_none() {
        // Bodies that stand apart would outlive what they belong to.
        externalize_large_bodies(engine, cassette, settings).await?;
    }
    if there == Some(cassette) {
        return Ok(());
    }
    let document = yaml::write(cassette)?;
    match life {
        Some(life) => {
            engine
                .set_expiring(key, document, settings.expiry.retention(life))
                .await
        }
        None => engine.set(key, document).await,
    }
}
