//! A near engine in front of a far engine.

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::cassettes::set_expiring;
use super::stored_body::decode;
use super::{CacheEngine, Counts, EngineExtensions, Lock, Size};
use crate::error::Result;
use crate::key::RequestKey;
use crate::settings::Settings;

/// A near engine (memory, a directory) in front of a far engine (Redis, an object store). Writes go to both. Reads try
/// the near engine first and store there what they find in the far engine.
///
/// The far engine is authoritative: it provides the locks, counters, settings and the list of keys. An error of the near
/// engine is only logged. A near copy hides what other processes write to the far engine, so set
/// [`near_ttl`](Self::near_ttl).
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
    /// Puts `near` in front of `far`.
    pub fn new(near: Near, far: Far) -> Self {
        Self {
            near,
            far,
            near_ttl: None,
        }
    }

    /// Sets how long a near copy is used before the far engine is read again, if the near engine supports expiry.
    #[must_use]
    pub fn near_ttl(mut self, ttl: Duration) -> Self {
        self.near_ttl = Some(ttl);
        self
    }

    async fn set_near(&self, key: &RequestKey, cassette: Bytes, ttl: Option<Duration>) {
        let ttl = [self.near_ttl, ttl].into_iter().flatten().min();
        let result = match ttl {
            Some(ttl) => set_expiring(&self.near, key, cassette, ttl).await,
            None => self.near.set(key, cassette).await,
        };
        logged(result);
    }
}

/// Logs an error of the near engine, which costs only time.
fn logged<T>(result: Result<T>) -> Option<T> {
    result
        .inspect_err(|error| {
            tracing::warn!(
                "the near engine failed, the far engine is used: {}",
                error.in_one_line()
            )
        })
        .ok()
}

// The lint reports a method of the trait that is not forwarded. Clippy is part of `./scripts/check`.
#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<Near: CacheEngine, Far: CacheEngine> CacheEngine for LayeredEngine<Near, Far> {
    async fn get(&self, key: &RequestKey) -> Result<Option<Bytes>> {
        if let Some(cassette) = logged(self.near.get(key).await).flatten() {
            return Ok(Some(cassette));
        }
        let found = self.far.get(key).await?;
        if let Some(cassette) = &found {
            self.set_near(key, cassette.clone(), None).await;
        }
        Ok(found)
    }

    async fn set(&self, key: &RequestKey, cassette: Bytes) -> Result<()> {
        self.far.set(key, cassette.clone()).await?;
        self.set_near(key, cassette, None).await;
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

    fn location_of(&self, key: &RequestKey) -> String {
        self.far.location_of(key)
    }

    fn extensions(&self) -> &dyn EngineExtensions {
        self
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<Near: CacheEngine, Far: CacheEngine> EngineExtensions for LayeredEngine<Near, Far> {
    async fn get_body(&self, sha256: &str) -> Result<Option<Bytes>> {
        if let Some(body) = logged(self.near.extensions().get_body(sha256).await).flatten() {
            return Ok(Some(body));
        }
        let found = self.far.extensions().get_body(sha256).await?;
        // A directory may store a body in Base64, and return it so.
        if let Some(body) = found.clone().and_then(|stored| decode(stored, sha256)) {
            logged(self.near.extensions().set_body(sha256, &body).await);
        }
        Ok(found)
    }

    async fn set_body(&self, sha256: &str, body: &Bytes) -> Result<bool> {
        let is_stored = self.far.extensions().set_body(sha256, body).await?;
        if is_stored {
            logged(self.near.extensions().set_body(sha256, body).await);
        }
        Ok(is_stored)
    }

    async fn set_expiring(&self, key: &RequestKey, cassette: &Bytes, ttl: Duration) -> Result<bool> {
        set_expiring(&self.far, key, cassette.clone(), ttl).await?;
        self.set_near(key, cassette.clone(), Some(ttl)).await;
        Ok(true)
    }

    async fn lock(&self, key: &RequestKey, ttl: Duration) -> Result<Lock> {
        self.far.extensions().lock(key, ttl).await
    }

    async fn size(&self) -> Result<Option<Size>> {
        self.far.extensions().size().await
    }

    async fn add_counts(&self, counts: Counts) -> Result<()> {
        self.far.extensions().add_counts(counts).await
    }

    async fn counts(&self) -> Result<Option<Counts>> {
        self.far.extensions().counts().await
    }

    async fn check_writable(&self) -> Result<()> {
        self.far.extensions().check_writable().await
    }

    fn set_timeout(&self, limit: Duration) {
        self.near.extensions().set_timeout(limit);
        self.far.extensions().set_timeout(limit);
    }

    fn settings(&self) -> Result<Settings> {
        self.far.extensions().settings()
    }

    async fn get_settings(&self) -> Result<Option<Bytes>> {
        self.far.extensions().get_settings().await
    }

    async fn set_settings(&self, settings: Bytes) -> Result<()> {
        self.far.extensions().set_settings(settings).await
    }

    fn is_committed(&self) -> bool {
        self.far.extensions().is_committed()
    }

    fn directory(&self) -> Option<&Path> {
        self.far.extensions().directory()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::DirectoryEngine;
    use crate::hash::sha256_hex;

    #[tokio::test]
    async fn a_near_directory_stores_a_body_that_the_far_one_has_in_base64() {
        let (near_folder, far_folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (near, far) = (
            DirectoryEngine::new(near_folder.path()),
            DirectoryEngine::new(far_folder.path()),
        );
        // Tools would remove the blanks at the end of the line.
        let body = Bytes::from("a line  \nanother\n");
        let sha256 = sha256_hex(&body);
        far.extensions().set_body(&sha256, &body).await.unwrap();
        let layered = LayeredEngine::new(near.clone(), far);
        let decoded = |stored: Option<Bytes>| decode(stored.unwrap(), &sha256);
        for _ in 0..2 {
            assert_eq!(decoded(layered.get_body(&sha256).await.unwrap()), Some(body.clone()));
        }
        let copy = near.extensions().get_body(&sha256).await.unwrap();
        assert_ne!(copy.as_ref(), Some(&body), "the body is not in Base64");
        assert_eq!(decoded(copy), Some(body.clone()));
    }
}
