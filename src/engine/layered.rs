//! A near engine in front of a far one.

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::{CacheEngine, Counts, Lock, Size};
use crate::error::Result;
use crate::key::RequestKey;
use crate::settings::Settings;

/// A near engine (memory, a directory) in front of a far one (Redis, an object store): what is kept goes to both, what
/// is read is looked for near first and kept there when it comes from afar.
///
/// The far one is the truth: it holds the locks, the counts, the settings and the list of keys, and a failure of the
/// near one is only told in the log. What another process writes afar is not seen here while the near copy lives, so
/// give it a [time to live](Self::near_ttl).
///
/// ```
/// use std::time::Duration;
/// use mistral_cassette::engine::{LayeredEngine, MemoryEngine, open};
///
/// let engine = LayeredEngine::new(MemoryEngine::bounded(64_000_000), open("cassettes")?)
///     .near_ttl(Duration::from_secs(60));
/// # Ok::<(), mistral_cassette::Error>(())
/// ```
#[derive(Debug)]
pub struct LayeredEngine<Near, Far> {
    near: Near,
    far: Far,
    near_ttl: Option<Duration>,
}

impl<Near: CacheEngine, Far: CacheEngine> LayeredEngine<Near, Far> {
    /// One in front of the other.
    pub fn new(near: Near, far: Far) -> Self {
        Self {
            near,
            far,
            near_ttl: None,
        }
    }

    /// How long a near copy is used before the far one is asked again, where the near engine can forget by itself.
    #[must_use]
    pub fn near_ttl(mut self, life: Duration) -> Self {
        self.near_ttl = Some(life);
        self
    }

    async fn keep_near(&self, key: &RequestKey, cassette: Bytes, life: Option<Duration>) {
        let life = [self.near_ttl, life].into_iter().flatten().min();
        let kept = match life {
            Some(life) => self.near.set_expiring(key, cassette, life).await,
            None => self.near.set(key, cassette).await,
        };
        told(kept);
    }
}

/// A failure of the near engine costs time and nothing else.
fn told<T>(result: Result<T>) -> Option<T> {
    result
        .inspect_err(|error| tracing::warn!("the near engine failed, the far one is used: {error}"))
        .ok()
}

#[async_trait]
impl<Near: CacheEngine, Far: CacheEngine> CacheEngine for LayeredEngine<Near, Far> {
    async fn get(&self, key: &RequestKey) -> Result<Option<Bytes>> {
        if let Some(cassette) = told(self.near.get(key).await).flatten() {
            return Ok(Some(cassette));
        }
        let found = self.far.get(key).await?;
        if let Some(cassette) = &found {
            self.keep_near(key, cassette.clone(), None).await;
        }
        Ok(found)
    }

    async fn set(&self, key: &RequestKey, cassette: Bytes) -> Result<()> {
        self.far.set(key, cassette.clone()).await?;
        self.keep_near(key, cassette, None).await;
        Ok(())
    }

    async fn set_expiring(&self, key: &RequestKey, cassette: Bytes, life: Duration) -> Result<()> {
        self.far.set_expiring(key, cassette.clone(), life).await?;
        self.keep_near(key, cassette, Some(life)).await;
        Ok(())
    }

    async fn remove(&self, key: &RequestKey) -> Result<()> {
        self.near.remove(key).await?;
        self.far.remove(key).await
    }

    async fn keys(&self) -> Result<Vec<RequestKey>> {
        self.far.keys().await
    }

    async fn clear(&self) -> Result<()> {
        self.near.clear().await?;
        self.far.clear().await
    }

    async fn get_body(&self, sha256: &str) -> Result<Option<Bytes>> {
        if let Some(body) = told(self.near.get_body(sha256).await).flatten() {
            return Ok(Some(body));
        }
        let found = self.far.get_body(sha256).await?;
        if let Some(body) = &found {
            told(self.near.set_body(sha256, body).await);
        }
        Ok(found)
    }

    async fn set_body(&self, sha256: &str, body: &Bytes) -> Result<bool> {
        let is_kept = self.far.set_body(sha256, body).await?;
        if is_kept {
            told(self.near.set_body(sha256, body).await);
        }
        Ok(is_kept)
    }

    async fn lock(&self, key: &RequestKey, life: Duration) -> Result<Lock> {
        self.far.lock(key, life).await
    }

    async fn size(&self) -> Result<Option<Size>> {
        self.far.size().await
    }

    async fn count(&self, more: Counts) -> Result<()> {
        self.far.count(more).await
    }

    async fn counts(&self) -> Result<Option<Counts>> {
        self.far.counts().await
    }

    async fn check_writable(&self) -> Result<()> {
        self.far.check_writable().await
    }

    fn settings(&self) -> Result<Settings> {
        self.far.settings()
    }

    async fn get_settings(&self) -> Result<Option<Bytes>> {
        self.far.get_settings().await
    }

    async fn set_settings(&self, settings: Bytes) -> Result<()> {
        self.far.set_settings(settings).await
    }

    fn is_committed(&self) -> bool {
        self.far.is_committed()
    }

    fn directory(&self) -> Option<&Path> {
        self.far.directory()
    }

    fn place_of(&self, key: &RequestKey) -> String {
        self.far.place_of(key)
    }
}
