//! The optional operations of an engine: large bodies, expiring entries, locks, counters, size, settings.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::error::{Error, Result};
use crate::key::RequestKey;
use crate::settings::Settings;

/// The optional operations of an engine, returned by [`CacheEngine::extensions`](super::CacheEngine::extensions).
///
/// Implement it for a store that several processes share, or one that stores large bodies separately. Every method has
/// a default that means "not supported", so an engine implements only those that its store supports:
///
/// | methods | effect when implemented |
/// | --- | --- |
/// | [`get_body`](Self::get_body), [`set_body`](Self::set_body) | the large bodies of committed cassettes, and those that `copy` brings, are stored once each, outside the documents |
/// | [`set_expiring`](Self::set_expiring) | the store removes expired entries itself |
/// | [`lock`](Self::lock) | of many processes that miss a key, one sends the request |
/// | [`size`](Self::size) | the limit `limits.total_bytes` of the settings applies |
/// | [`add_counts`](Self::add_counts), [`counts`](Self::counts) | hits and misses of all processes are counted |
/// | [`check_writable`](Self::check_writable) | a read-only store is reported before a request is sent |
/// | [`set_timeout`](Self::set_timeout) | connecting has the time limit that the recorder has for each call |
/// | [`settings`](Self::settings), [`get_settings`](Self::get_settings), [`set_settings`](Self::set_settings) | the settings are stored with the cassettes |
/// | [`is_committed`](Self::is_committed), [`directory`](Self::directory) | the cassettes are files under version control |
///
/// ```
/// use bytes::Bytes;
/// use mistral_cassette::engine::{EngineExtensions, MemoryEngine, Size};
/// use mistral_cassette::{CacheEngine, RequestKey, Result, async_trait};
///
/// struct MyStore(MemoryEngine);
///
/// #[async_trait]
/// impl CacheEngine for MyStore {
///     async fn get(&self, key: &RequestKey) -> Result<Option<Bytes>> {
///         self.0.get(key).await
///     }
///
///     async fn set(&self, key: &RequestKey, cassette: Bytes) -> Result<()> {
///         self.0.set(key, cassette).await
///     }
///
///     fn extensions(&self) -> &dyn EngineExtensions {
///         self
///     }
/// }
///
/// #[async_trait]
/// impl EngineExtensions for MyStore {
///     async fn size(&self) -> Result<Option<Size>> {
///         self.0.size().await
///     }
/// }
/// ```
#[async_trait]
pub trait EngineExtensions: Send + Sync {
    /// Returns the large body with this SHA-256 (64 hex digits), as [`set_body`](Self::set_body) received it.
    ///
    /// # Errors
    /// Usually [`Error::engine`]: the store cannot be read.
    async fn get_body(&self, _sha256: &str) -> Result<Option<Bytes>> {
        Ok(None)
    }

    /// Stores a large body separately from its cassette. Returns `false`, the default, if the engine does not support
    /// that; the body then stays in the document.
    ///
    /// # Errors
    /// Usually [`Error::engine`]: the store cannot be written.
    async fn set_body(&self, _sha256: &str, _body: &Bytes) -> Result<bool> {
        Ok(false)
    }

    /// Stores a document that the store removes after `ttl`. Returns `false`, the default, if the engine does not support
    /// that; the caller then calls [`set`](super::CacheEngine::set), and the recorder reads the age from the document.
    ///
    /// # Errors
    /// The same as [`set`](super::CacheEngine::set).
    async fn set_expiring(&self, _key: &RequestKey, _cassette: &Bytes, _ttl: Duration) -> Result<bool> {
        Ok(false)
    }

    /// Acquires the lock of a key, so that of many processes that miss it one sends the request. The lock ends when it
    /// is [released](Lease::release), when its process ends if the store detects that, or after `ttl` unless it is
    /// [renewed](Lease::renew).
    ///
    /// # Errors
    /// Usually [`Error::engine`]: the store cannot be reached.
    async fn lock(&self, _key: &RequestKey, _ttl: Duration) -> Result<Lock> {
        Ok(Lock::Unsupported)
    }

    /// Returns the size of the store, or `None` if that requires reading every entry.
    ///
    /// # Errors
    /// Usually [`Error::engine`]: the store cannot be read.
    async fn size(&self) -> Result<Option<Size>> {
        Ok(None)
    }

    /// Adds to the counters that are stored with the cassettes. By default they are discarded.
    ///
    /// # Errors
    /// Usually [`Error::engine`]: the store cannot be written.
    async fn add_counts(&self, _counts: Counts) -> Result<()> {
        Ok(())
    }

    /// Returns the counters of all processes, or `None`, the default, if the engine stores none.
    ///
    /// # Errors
    /// Usually [`Error::engine`]: the store cannot be read.
    async fn counts(&self) -> Result<Option<Counts>> {
        Ok(None)
    }

    /// Checks that the store accepts writes, before a request is sent whose response is to be recorded.
    ///
    /// # Errors
    /// The error that [`set`](super::CacheEngine::set) would return.
    async fn check_writable(&self) -> Result<()> {
        Ok(())
    }

    /// Limits how long connecting to the store may take, and waiting for other writers. The recorder calls it before the
    /// first operation. By default nothing happens.
    fn set_timeout(&self, _limit: Duration) {}

    /// Returns the settings that are available without a connection, when a session starts.
    ///
    /// # Errors
    /// [`ErrorKind::Settings`](crate::ErrorKind::Settings): they are invalid.
    fn settings(&self) -> Result<Settings> {
        Ok(Settings::default())
    }

    /// Returns the settings document in the store, if there is one. It is read before the first request of a session.
    ///
    /// # Errors
    /// Usually [`Error::engine`]: the store cannot be read.
    async fn get_settings(&self) -> Result<Option<Bytes>> {
        Ok(None)
    }

    /// Stores a settings document (YAML).
    ///
    /// # Errors
    /// By default always: the engine does not support it.
    async fn set_settings(&self, _settings: Bytes) -> Result<()> {
        Err(Error::engine("this engine cannot store settings"))
    }

    /// Returns whether the cassettes are files that people commit and review: then every problem with one is an error.
    /// By default `false`: the engine is a cache, and the recorder treats an entry that it cannot read as a miss.
    fn is_committed(&self) -> bool {
        false
    }

    /// Returns the directory that contains the cassettes as files, or `None`, the default, for other stores.
    fn directory(&self) -> Option<&Path> {
        None
    }
}

/// The extensions of an engine that has none.
pub(super) struct NoExtensions;

impl EngineExtensions for NoExtensions {}

/// The result of [`EngineExtensions::lock`].
pub enum Lock {
    /// The engine does not support locks: every process may send the request.
    Unsupported,
    /// Another process has the lock.
    Held,
    /// The caller has the lock.
    Acquired(Box<dyn Lease>),
}

impl fmt::Debug for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unsupported => "Unsupported",
            Self::Held => "Held",
            Self::Acquired(_) => "Acquired",
        })
    }
}

/// A lock that the caller has. If it is dropped without a release, it ends at once or when its TTL has passed.
#[async_trait]
pub trait Lease: Send + Sync {
    /// Extends the lock by `ttl`, from now.
    ///
    /// # Errors
    /// Usually [`Error::engine`]: the store cannot be reached, or another process has acquired the lock.
    async fn renew(&self, _ttl: Duration) -> Result<()> {
        Ok(())
    }

    /// Returns whether the lock ends after its TTL, so that it must be renewed. If not, it ends when it is dropped or
    /// when its process ends.
    fn expires(&self) -> bool {
        true
    }

    /// Releases the lock. A lock that another process has acquired meanwhile stays with that process.
    ///
    /// # Errors
    /// Usually [`Error::engine`]: the store cannot be reached.
    async fn release(self: Box<Self>) -> Result<()>;
}

/// The size of a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// The number of cassettes.
    pub entries: u64,
    /// The bytes of the documents and the large bodies, without the overhead of the store.
    pub bytes: u64,
}

/// Counters of the requests of all processes that use an engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests that were replayed.
    pub hits: u64,
    /// Requests whose recording is missing or expired.
    pub misses: u64,
    /// The tokens that the hits saved, as the recorded responses report them.
    pub tokens_saved: u64,
    /// The milliseconds that the hits saved, as measured when recording.
    pub milliseconds_saved: u64,
}

impl Counts {
    /// The fraction of requests that were replayed, from 0 to 1. `None` before the first request.
    pub fn hit_rate(&self) -> Option<f64> {
        let requests = self.hits + self.misses;
        (requests > 0).then(|| self.hits as f64 / requests as f64)
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
