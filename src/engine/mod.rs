//! Engines: where cassettes are kept.

mod directory;
mod memory;

use async_trait::async_trait;
use bytes::Bytes;

use crate::cassette::Blob;
use crate::error::{Error, ErrorKind, Result};
use crate::key::{RequestKey, sha256_hex};
use crate::settings::Settings;

pub use directory::DirectoryEngine;
#[cfg(feature = "cli")]
pub(crate) use directory::Listed;
pub use memory::MemoryEngine;

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

    /// Says early that nothing can be kept: called before the upstream is asked for an answer to keep.
    ///
    /// # Errors
    /// That a [`set`](Self::set) would fail.
    async fn check_writable(&self) -> Result<()> {
        Ok(())
    }

    /// The settings that are kept beside the cassettes.
    ///
    /// # Errors
    /// [`ErrorKind::Settings`](crate::ErrorKind::Settings) when they cannot be read.
    fn settings(&self) -> Result<Settings> {
        Ok(Settings::default())
    }

    /// Where a cassette is, for error messages.
    fn place_of(&self, key: &RequestKey) -> String {
        key.name()
    }
}

/// The bytes of a body, from its cassette or from beside it; `place` names the cassette in errors.
///
/// # Errors
/// [`ErrorKind::Cassette`] when the body is missing or is another one than was kept.
pub(crate) async fn bytes_of(engine: &dyn CacheEngine, blob: &Blob, place: impl Fn() -> String) -> Result<Bytes> {
    let sha256 = match blob {
        Blob::Here(bytes) => return Ok(bytes.clone()),
        Blob::Filed { sha256 } => sha256,
    };
    let wrong = |what: &str| {
        Error::new(
            ErrorKind::Cassette,
            format!("{}: the body bodies/{sha256} is {what}", place()),
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
