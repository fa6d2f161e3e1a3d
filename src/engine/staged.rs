//! Holds back what a session records until it is known whether the session succeeded.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tempfile::TempDir;

use super::cassettes::{read_body, set_expiring};
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
    /// The cassettes in the folder by name. The key in the name of a file is not complete.
    entries: Mutex<BTreeMap<String, Entry>>,
    _folder: TempDir,
}

/// A staged cassette.
#[derive(Clone)]
struct Entry {
    key: RequestKey,
    /// How long the engine below is to keep it, if not forever.
    ttl: Option<Duration>,
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
            entries: Mutex::default(),
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
        let entries: Vec<Entry> = self.entries().values().cloned().collect();
        for (saved, entry) in entries.iter().enumerate() {
            let failed =
                |error: Error| error.with_prefix(&format!("{saved} of {} recordings are saved", entries.len()));
            self.commit_one(entry).await.map_err(failed)?;
        }
        Ok(entries.len())
    }

    async fn commit_one(&self, Entry { key, ttl }: &Entry) -> Result<()> {
        let Some(cassette) = self.staged.get(key).await? else {
            return Ok(());
        };
        match ttl {
            Some(ttl) => set_expiring(&*self.base, key, cassette, *ttl).await,
            None => self.base.set(key, cassette).await,
        }
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn stage(&self, key: &RequestKey, cassette: Bytes, ttl: Option<Duration>) -> Result<()> {
        self.staged.set(key, cassette).await?;
        let key = key.clone();
        self.entries().insert(key.name(), Entry { key, ttl });
        Ok(())
    }

    /// Deletes what is staged.
    async fn clear_staged(&self) -> Result<()> {
        self.staged.clear().await?;
        self.entries().clear();
        self.bodies.lock().unwrap_or_else(PoisonError::into_inner).clear();
        Ok(())
    }

    /// Deletes the staged cassettes. Returns their number.
    ///
    /// # Errors
    /// The folder cannot be changed.
    #[cfg(feature = "cli")]
    pub(crate) async fn discard(&self) -> Result<usize> {
        let count = self.staged();
        self.clear_staged().await?;
        Ok(count)
    }

    /// The number of staged cassettes.
    #[cfg(feature = "cli")]
    pub(crate) fn staged(&self) -> usize {
        self.entries().len()
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
        self.stage(key, cassette, None).await
    }

    async fn remove(&self, key: &RequestKey) -> Result<()> {
        self.staged.remove(key).await?;
        self.entries().remove(&key.name());
        self.base.remove(key).await
    }

    async fn keys(&self) -> Result<Vec<RequestKey>> {
        let base = self.base.keys().await?;
        let mut keys: BTreeMap<String, RequestKey> = base.into_iter().map(|key| (key.name(), key)).collect();
        let entries = self.entries();
        keys.extend(entries.iter().map(|(name, entry)| (name.clone(), entry.key.clone())));
        Ok(keys.into_values().collect())
    }

    async fn clear(&self) -> Result<()> {
        self.clear_staged().await?;
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

    /// The TTL begins with [`commit`](StagedEngine::commit).
    async fn set_expiring(&self, key: &RequestKey, cassette: &Bytes, ttl: Duration) -> Result<bool> {
        self.stage(key, cassette.clone(), Some(ttl)).await?;
        Ok(true)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cassette::RecordedRequest;
    use crate::engine::MemoryEngine;
    use crate::key::Scope;

    /// An engine that notes what it stores with a TTL, and can be full.
    #[derive(Default)]
    struct Base {
        engine: MemoryEngine,
        expiring: Mutex<Vec<(RequestKey, Duration)>>,
        /// The number of cassettes for which there is space.
        space: Option<usize>,
    }

    #[async_trait]
    impl CacheEngine for Base {
        async fn get(&self, key: &RequestKey) -> Result<Option<Bytes>> {
            self.engine.get(key).await
        }

        async fn set(&self, key: &RequestKey, cassette: Bytes) -> Result<()> {
            if Some(self.engine.keys().await?.len()) == self.space {
                return Err(Error::engine("the store is full"));
            }
            self.engine.set(key, cassette).await
        }

        async fn remove(&self, key: &RequestKey) -> Result<()> {
            self.engine.remove(key).await
        }

        async fn keys(&self) -> Result<Vec<RequestKey>> {
            self.engine.keys().await
        }

        fn extensions(&self) -> &dyn EngineExtensions {
            self
        }
    }

    #[async_trait]
    impl EngineExtensions for Base {
        async fn set_expiring(&self, key: &RequestKey, cassette: &Bytes, ttl: Duration) -> Result<bool> {
            self.expiring.lock().unwrap().push((key.clone(), ttl));
            self.engine.set(key, cassette.clone()).await?;
            Ok(true)
        }
    }

    fn key(path: &str) -> RequestKey {
        let request = RecordedRequest::new("GET", path, "");
        RequestKey::of(&request, &Scope::default(), &Settings::default().matching)
    }

    #[tokio::test]
    async fn the_error_of_commit_says_how_much_is_saved() {
        let base = Base {
            space: Some(1),
            ..Base::default()
        };
        let staged = StagedEngine::new(Arc::new(base)).unwrap();
        for path in ["/v1/models", "/v1/files", "/v1/agents"] {
            staged.set(&key(path), Bytes::from("a cassette")).await.unwrap();
        }
        let error = staged.commit().await.unwrap_err();
        assert_eq!(error.to_string(), "1 of 3 recordings are saved: the store is full");
    }

    #[tokio::test]
    async fn commit_stores_each_cassette_under_its_complete_key_with_its_ttl() {
        let base = Arc::new(Base::default());
        let staged = StagedEngine::new(base.clone()).unwrap();
        let (lasting, expiring, discarded) = (key("/v1/models"), key("/v1/files"), key("/v1/agents"));
        let (cassette, ttl) = (Bytes::from("a cassette"), Duration::from_secs(60));
        staged.set(&lasting, cassette.clone()).await.unwrap();
        assert!(staged.set_expiring(&expiring, &cassette, ttl).await.unwrap());
        staged.set(&discarded, cassette.clone()).await.unwrap();
        staged.remove(&discarded).await.unwrap();
        assert_eq!(staged.keys().await.unwrap().len(), 2);
        assert_eq!(staged.commit().await.unwrap(), 2);
        assert_eq!(*base.expiring.lock().unwrap(), [(expiring.clone(), ttl)]);
        for (key, stored) in [
            (&lasting, Some(&cassette)),
            (&expiring, Some(&cassette)),
            (&discarded, None),
        ] {
            assert_eq!(base.get(key).await.unwrap().as_ref(), stored, "{key}");
        }
    }
}
