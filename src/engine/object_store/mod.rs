//! Stores cassettes as objects in a bucket.

mod address;
mod bucket;
mod failure;
mod lock;
mod profile;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use tokio::sync::OnceCell;

use self::bucket::{Bucket, LOCKS, key_of};
use super::layout::{self, SETTINGS, is_body};
use super::{CacheEngine, EngineExtensions, Lock, Size};
use crate::error::Result;
use crate::key::RequestKey;

/// Stores each cassette in an object of its own: in Amazon S3 or a compatible store, Google Cloud Storage, or Azure Blob
/// Storage.
///
/// ```text
/// s3://bucket/prefix/
///   settings.yaml                                                optional, see Settings
///   chat-completions/capital-of-france-3f9a1c2b7d4e8a10.yaml     as in a directory
///   bodies/<sha256>                                              large bodies, once each
///   locks/<key>                                                  the owner of a lock
/// ```
///
/// A lookup is one GET of the computed name. A write is one PUT, which is atomic. Unlike in a directory, a cassette that
/// was renamed in the bucket is not found.
///
/// # Locks
/// A lock is an object created with a conditional write (`If-None-Match: *`). When it has expired, another process
/// replaces it with a conditional write (`If-Match`). Some stores ignore these conditions, so the first lock of an engine
/// tests them; a store that ignores them has no locks. A lock expires by the clock of the process that tries to acquire
/// it. If two clocks differ by more than the TTL, two processes may send the same request, which costs one request and
/// does no other harm.
#[derive(Clone)]
pub struct ObjectStoreEngine {
    bucket: Bucket,
    /// Whether the store supports conditional writes, once that was tested.
    locks: Arc<OnceCell<bool>>,
    /// Set once a write has succeeded.
    writable: Arc<OnceCell<()>>,
}

impl ObjectStoreEngine {
    /// Opens a bucket. It connects with the first request.
    ///
    /// | URL | options |
    /// | --- | --- |
    /// | `s3://bucket/prefix` | `endpoint`: the URL of a compatible store, `https://` or `http://`; `region` |
    /// | `gs://bucket/prefix` | `endpoint` |
    /// | `az://container/prefix` | `account`; `endpoint` |
    ///
    /// The URL must not contain credentials. For S3 they come from `AWS_ACCESS_KEY_ID` with `AWS_SECRET_ACCESS_KEY` and
    /// `AWS_SESSION_TOKEN`, a web identity, the profile `AWS_PROFILE` in `~/.aws/credentials`, or the machine's role; for
    /// Google from `GOOGLE_APPLICATION_CREDENTIALS` or the machine's role; for Azure from `AZURE_STORAGE_ACCOUNT_KEY`,
    /// `AZURE_CLIENT_ID` with its secret, or the machine's identity.
    ///
    /// # Errors
    /// [`ErrorKind::Settings`](crate::ErrorKind::Settings): the URL is invalid or contains credentials, or those of the
    /// environment cannot be read.
    pub fn open(url: &str) -> Result<Self> {
        Ok(Self {
            bucket: address::open(url)?,
            locks: Arc::default(),
            writable: Arc::default(),
        })
    }
}

impl fmt::Debug for ObjectStoreEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The store may contain credentials.
        f.debug_tuple("ObjectStoreEngine").field(&self.bucket.location).finish()
    }
}

#[async_trait]
impl CacheEngine for ObjectStoreEngine {
    async fn get(&self, key: &RequestKey) -> Result<Option<Bytes>> {
        self.bucket.get(&key.file_name()).await
    }

    async fn set(&self, key: &RequestKey, document: Bytes) -> Result<()> {
        self.bucket.put(&key.file_name(), document).await
    }

    async fn remove(&self, key: &RequestKey) -> Result<()> {
        self.bucket.remove(&key.file_name()).await
    }

    async fn keys(&self) -> Result<Vec<RequestKey>> {
        let listed = self.bucket.list().await?;
        Ok(listed.iter().filter_map(|(name, _)| key_of(name)).collect())
    }

    /// Removes the cassettes and their bodies, many with one request. Other objects stay.
    async fn clear(&self) -> Result<()> {
        let listed = self.bucket.list().await?;
        let paths = stream::iter(listed.into_iter().map(|(_, meta)| Ok(meta.location))).boxed();
        let mut removed = self.bucket.store.delete_stream(paths);
        while let Some(result) = removed.next().await {
            match result {
                Err(error) if !failure::is_absent(&error) => return Err(self.bucket.failed("clear", "", &error)),
                _ => {}
            }
        }
        Ok(())
    }

    fn location_of(&self, key: &RequestKey) -> String {
        self.bucket.location_of(&key.file_name())
    }

    fn extensions(&self) -> &dyn EngineExtensions {
        self
    }
}

#[async_trait]
impl EngineExtensions for ObjectStoreEngine {
    async fn get_body(&self, sha256: &str) -> Result<Option<Bytes>> {
        self.bucket.get(&layout::body(sha256)).await
    }

    /// Overwrites an existing body, because it may be damaged.
    async fn set_body(&self, sha256: &str, body: &Bytes) -> Result<bool> {
        self.bucket.put(&layout::body(sha256), body.clone()).await?;
        Ok(true)
    }

    async fn lock(&self, key: &RequestKey, ttl: Duration) -> Result<Lock> {
        let are_supported = self.locks.get_or_try_init(|| lock::are_supported(&self.bucket)).await?;
        if *are_supported {
            lock::acquire(&self.bucket, &format!("{LOCKS}/{}", key.id()), ttl).await
        } else {
            Ok(Lock::Unsupported)
        }
    }

    async fn size(&self) -> Result<Option<Size>> {
        let mut size = Size::default();
        for (name, meta) in self.bucket.list().await? {
            size.entries += u64::from(!is_body(&name));
            size.bytes += meta.size;
        }
        Ok(Some(size))
    }

    /// Writes a small object and removes it, once for each engine.
    async fn check_writable(&self) -> Result<()> {
        let write = async || {
            let name = lock::probe_name();
            self.bucket.put(&name, Bytes::from("probe\n")).await?;
            // Recording does not require the permission to remove objects.
            let _ = self.bucket.remove(&name).await;
            Ok(())
        };
        self.writable.get_or_try_init(write).await.copied()
    }

    async fn get_settings(&self) -> Result<Option<Bytes>> {
        self.bucket.get(SETTINGS).await
    }

    async fn set_settings(&self, settings: Bytes) -> Result<()> {
        self.bucket.put(SETTINGS, settings).await
    }

    fn set_timeout(&self, limit: Duration) {
        self.bucket.timeout.set(limit);
    }
}
