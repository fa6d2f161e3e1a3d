//! Holds back what a session records until it is known whether the session succeeded.

use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tempfile::TempDir;

use super::cassettes::read_body;
use super::{CacheEngine, Counts, DirectoryEngine, EngineExtensions, Lock, Size};
use crate::cassette::Blob;
use crate::error::{Error, ErrorKind, Result};
use crate::key::RequestKey;
use crate::settings::Settings;

/// Writes go to a temporary folder, and [`commit`](Self::commit) copies them to the engine below. Reads try the folder
/// first.
pub(crate) struct StagedEngine {
    base: Arc<dyn CacheEngine>,
    staged: DirectoryEngine,
    /// The SHA-256 of each body in the folder.
    bodies: Mutex<BTreeSet<String>>,
    _folder: TempDir,
}

impl fmt::Debug for StagedEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StagedEngine")
            .field("staged", &self.staged)
            .finish_non_exhaustive()
    }
}

/// An engine, and the same engine as a [`StagedEngine`] if its writes are staged.
#[cfg(feature = "cli")]
pub(crate) type MaybeStaged = (Arc<dyn CacheEngine>, Option<Arc<StagedEngine>>);

impl StagedEngine {
    /// Stages the writes to this engine.
    ///
    /// # Errors
    /// [`ErrorKind::Io`]: the temporary folder cannot be created.
    pub(crate) fn new(base: Arc<dyn CacheEngine>) -> Result<Self> {
        let folder = tempfile::tempdir()
            .map_err(|error| Error::new(ErrorKind::Io, "cannot create a temporary folder").with_source(error))?;
        Ok(Self {
            base,
            staged: DirectoryEngine::new(folder.path()),
            bodies: Mutex::default(),
            _folder: folder,
        })
    }

    /// This engine, with its writes staged if that is wanted.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    #[cfg(feature = "cli")]
    pub(crate) fn stage_if(is_wanted: bool, engine: Arc<dyn CacheEngine>) -> Result<MaybeStaged> {
        if !is_wanted {
            return Ok((engine, None));
        }
        let staged = Arc::new(Self::new(engine)?);
        Ok((staged.clone(), Some(staged)))
    }

    /// Copies the staged bodies and then the staged cassettes to the engine below. Returns the number of cassettes.
    ///
    /// # Errors
    /// An engine failed.
    pub(crate) async fn commit(&self) -> Result<usize> {
        let bodies = self.bodies.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for sha256 in bodies {
            let blob = Blob::External { sha256: sha256.clone() };
            let body = read_body(&self.staged, &blob, || self.staged.root().display().to_string()).await?;
            self.base.extensions().set_body(&sha256, &body).await?;
        }
        let keys = self.staged.keys().await?;
        for key in &keys {
            if let Some(cassette) = self.staged.get(key).await? {
                self.base.set(key, cassette).await?;
            }
        }
        Ok(keys.len())
    }

    /// Deletes the staged cassettes. Returns their number.
    ///
    /// # Errors
    /// The folder cannot be changed.
    #[cfg(feature = "cli")]
    pub(crate) async fn discard(&self) -> Result<usize> {
        let count = self.staged().await?;
        self.staged.clear().await?;
        self.bodies.lock().unwrap_or_else(PoisonError::into_inner).clear();
        Ok(count)
    }

    /// The number of staged cassettes.
    ///
    /// # Errors
    /// The folder cannot be read.
    #[cfg(feature = "cli")]
    pub(crate) async fn staged(&self) -> Result<usize> {
        Ok(self.staged.keys().await?.len())
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl CacheEngine for StagedEngine {
    async fn get(&self, key: &RequestKey) -> Result<Option<Bytes>> {
        match self.staged.get(key).await? {
            Some(cassette) => Ok(Some(cassette)),
            None => self.base.get(key).await,
        }
    }

    async fn set(&self, key: &RequestKey, cassette: Bytes) -> Result<()> {
        self.staged.set(key, cassette).await
    }

    async fn remove(&self, key: &RequestKey) -> Result<()> {
        self.staged.remove(key).await?;
        self.base.remove(key).await
    }

    async fn keys(&self) -> Result<Vec<RequestKey>> {
        let mut keys: HashSet<RequestKey> = self.base.keys().await?.into_iter().collect();
        keys.extend(self.staged.keys().await?);
        Ok(keys.into_iter().collect())
    }

    async fn clear(&self) -> Result<()> {
        self.staged.clear().await?;
        self.base.clear().await
    }

    fn location_of(&self, key: &RequestKey) -> String {
        self.base.location_of(key)
    }

    fn extensions(&self) -> &dyn EngineExtensions {
        self
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl EngineExtensions for StagedEngine {
    async fn get_body(&self, sha256: &str) -> Result<Option<Bytes>> {
        match self.staged.extensions().get_body(sha256).await? {
            Some(body) => Ok(Some(body)),
            None => self.base.extensions().get_body(sha256).await,
        }
    }

    async fn set_body(&self, sha256: &str, body: &Bytes) -> Result<bool> {
        let is_stored = self.staged.extensions().set_body(sha256, body).await?;
        let mut bodies = self.bodies.lock().unwrap_or_else(PoisonError::into_inner);
        bodies.insert(sha256.to_owned());
        Ok(is_stored)
    }

    /// Staged entries do not expire, and [`commit`](StagedEngine::commit) stores them without a TTL.
    async fn set_expiring(&self, _key: &RequestKey, _cassette: &Bytes, _ttl: Duration) -> Result<bool> {
        Ok(false)
    }

    async fn lock(&self, key: &RequestKey, ttl: Duration) -> Result<Lock> {
        self.base.extensions().lock(key, ttl).await
    }

    async fn size(&self) -> Result<Option<Size>> {
        self.base.extensions().size().await
    }

    async fn add_counts(&self, counts: Counts) -> Result<()> {
        self.base.extensions().add_counts(counts).await
    }

    async fn counts(&self) -> Result<Option<Counts>> {
        self.base.extensions().counts().await
    }

    fn set_timeout(&self, limit: Duration) {
        self.base.extensions().set_timeout(limit);
    }

    async fn check_writable(&self) -> Result<()> {
        self.base.extensions().check_writable().await
    }

    fn settings(&self) -> Result<Settings> {
        self.base.extensions().settings()
    }

    async fn get_settings(&self) -> Result<Option<Bytes>> {
        self.base.extensions().get_settings().await
    }

    async fn set_settings(&self, settings: Bytes) -> Result<()> {
        self.base.extensions().set_settings(settings).await
    }

    fn is_committed(&self) -> bool {
        self.base.extensions().is_committed()
    }

    fn directory(&self) -> Option<&Path> {
        self.base.extensions().directory()
    }
}
