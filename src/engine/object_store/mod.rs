//! Cassettes as objects in a bucket, shared by machines.

mod address;
mod failure;
mod lock;
mod profile;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutOptions, UpdateVersion};
use tokio::sync::OnceCell;

use super::layout::{self, SETTINGS, is_body};
use super::{CacheEngine, EngineExtensions, Lock, Size};
use crate::error::Result;
use crate::key::RequestKey;

const LOCKS: &str = "locks";

/// Keeps each cassette in an object of its own: in Amazon S3 and whatever speaks its protocol, in Google Cloud Storage,
/// or in Azure Blob Storage.
///
/// ```text
/// s3://bucket/prefix/
///   settings.yaml                                                optional, see Settings
///   chat-completions/capital-of-france-3f9a1c2b7d4e8a10.yaml     as in a directory
///   bodies/<sha256>                                              large bodies, once each
///   locks/<key>                                                  who asks the upstream just now
/// ```
///
/// Looking up is one GET at the computed name, keeping is one PUT, which is there whole or not at all. A cassette that was
/// renamed in the bucket is not found: that only a directory does.
///
/// # Locks
/// A lock is an object made with a conditional write (`If-None-Match: *`), and taken over with another (`If-Match`) when its
/// life is over. Not every store does what these ask for, so the first lock of an engine tries it out; where they are
/// ignored there are no locks. A life ends by the clock of whoever asks: clocks that differ by more than the life of a lock
/// let two programs ask at once, which costs an answer and nothing else.
#[derive(Clone)]
pub struct ObjectStoreEngine {
    bucket: Bucket,
    /// Whether the store does conditional writes, once that was tried.
    locks: Arc<OnceCell<bool>>,
    /// Whether the store takes anything at all, once that was tried.
    writable: Arc<OnceCell<()>>,
}

/// A store, and what stands before every name in it.
#[derive(Clone)]
struct Bucket {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    /// As people write it: `s3://bucket/prefix`.
    place: Arc<str>,
    credentials: Credentials,
}

/// Where credentials come from, for hints.
#[derive(Clone, Copy)]
struct Credentials {
    from: &'static str,
    rights: &'static str,
}

impl ObjectStoreEngine {
    /// Cassettes in a bucket; nothing is connected before the first request.
    ///
    /// | URL | options |
    /// | --- | --- |
    /// | `s3://bucket/prefix` | `endpoint`: another server than Amazon's, also with `http://`; `region` |
    /// | `gs://bucket/prefix` | `endpoint` |
    /// | `az://container/prefix` | `account`; `endpoint` |
    ///
    /// Credentials never stand in it. For S3 they come from `AWS_ACCESS_KEY_ID` with `AWS_SECRET_ACCESS_KEY` and
    /// `AWS_SESSION_TOKEN`, a web identity, the profile `AWS_PROFILE` in `~/.aws/credentials`, or the machine's role; for
    /// Google from `GOOGLE_APPLICATION_CREDENTIALS` or the machine's role; for Azure from `AZURE_STORAGE_ACCOUNT_KEY`,
    /// `AZURE_CLIENT_ID` with its secret, or the machine's identity.
    ///
    /// # Errors
    /// [`ErrorKind::Settings`](crate::ErrorKind::Settings): the URL is wrong or holds credentials, or those of the environment
    /// cannot be read.
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
        // The store may hold credentials.
        f.debug_tuple("ObjectStoreEngine").field(&self.bucket.place).finish()
    }
}

/// An object as it was read.
struct Object {
    bytes: Bytes,
    version: UpdateVersion,
}

impl Bucket {
    fn path(&self, name: &str) -> Path {
        let whole = if self.prefix.as_ref().is_empty() {
            name.to_owned()
        } else {
            format!("{}/{name}", self.prefix)
        };
        // Keys and hashes have no characters that a path does not take.
        Path::parse(&whole).unwrap_or_else(|_| Path::from(whole))
    }

    /// What a person would look for.
    fn place_of(&self, name: &str) -> String {
        format!("{}/{name}", self.place)
    }

    async fn read(&self, name: &str) -> Result<Option<Object>> {
        let path = self.path(name);
        let read = async {
            let found = self.store.get(&path).await?;
            let version = UpdateVersion {
                e_tag: found.meta.e_tag.clone(),
                version: found.meta.version.clone(),
            };
            let bytes = found.bytes().await?;
            Ok(Object { bytes, version })
        };
        match read.await {
            Ok(object) => Ok(Some(object)),
            Err(error) if failure::is_absent(&error) => Ok(None),
            Err(error) => Err(self.failed("read", name, &error)),
        }
    }

    async fn get(&self, name: &str) -> Result<Option<Bytes>> {
        Ok(self.read(name).await?.map(|object| object.bytes))
    }

    async fn put(&self, name: &str, bytes: Bytes) -> Result<()> {
        let put = self.store.put(&self.path(name), bytes.into()).await;
        put.map(drop).map_err(|error| self.failed("write", name, &error))
    }

    /// A write that the store carries out only when the object is as `mode` says.
    async fn put_if(&self, name: &str, bytes: Bytes, mode: PutMode) -> Result<UpdateVersion, object_store::Error> {
        let options = PutOptions {
            mode,
            ..PutOptions::default()
        };
        let put = self.store.put_opts(&self.path(name), bytes.into(), options).await?;
        Ok(put.into())
    }

    async fn remove(&self, name: &str) -> Result<()> {
        match self.store.delete(&self.path(name)).await {
            Err(error) if !failure::is_absent(&error) => Err(self.failed("remove", name, &error)),
            _ => Ok(()),
        }
    }

    /// Every cassette and every body, by its name.
    async fn list(&self) -> Result<Vec<(String, ObjectMeta)>> {
        let prefix = Some(&self.prefix).filter(|prefix| !prefix.as_ref().is_empty());
        let listed: Vec<ObjectMeta> = self
            .store
            .list(prefix)
            .try_collect()
            .await
            .map_err(|error| self.failed("list", "", &error))?;
        let named = |meta: ObjectMeta| {
            let inside = match prefix {
                Some(prefix) => meta
                    .location
                    .as_ref()
                    .strip_prefix(prefix.as_ref())?
                    .strip_prefix('/')?,
                None => meta.location.as_ref(),
            };
            (is_body(inside) || key_of(inside).is_some()).then(|| (inside.to_owned(), meta.clone()))
        };
        Ok(listed.into_iter().filter_map(named).collect())
    }
}

/// A lock has a key in its name too, and no extension.
fn key_of(name: &str) -> Option<RequestKey> {
    RequestKey::from_file_name(name).filter(|_| layout::is_cassette(name))
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

    /// Removes the cassettes and their bodies, many with one request; whatever else there is stays.
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
        self.bucket.place_of(&key.file_name())
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

    /// Writes it again even where it is, since it may have been damaged.
    async fn set_body(&self, sha256: &str, body: &Bytes) -> Result<bool> {
        self.bucket.put(&layout::body(sha256), body.clone()).await?;
        Ok(true)
    }

    async fn lock(&self, key: &RequestKey, life: Duration) -> Result<Lock> {
        let does_locks = self.locks.get_or_try_init(|| lock::are_supported(&self.bucket)).await?;
        if *does_locks {
            lock::take(&self.bucket, &format!("{LOCKS}/{}", key.id()), life).await
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

    /// Writes something small, once for each engine, and removes it.
    async fn check_writable(&self) -> Result<()> {
        let write = async || {
            let name = lock::probe()?;
            self.bucket.put(&name, Bytes::from("probe\n")).await?;
            // Whoever may write and not remove can record.
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_cassettes_and_bodies_are_listed() {
        let hash = "0123456789abcdef".repeat(4);
        for name in [
            "chat-completions/a-3f9a1c2b7d4e8a10.yaml",
            "locks/chat-completions/a-3f9a1c2b7d4e8a10.yaml",
            "suite/test/chat-completions/a-3f9a1c2b7d4e8a10.yaml",
        ] {
            assert_eq!(key_of(name).map(|key| key.file_name()).as_deref(), Some(name));
            assert!(!is_body(name));
        }
        for name in [
            "settings.yaml",
            "notes.txt",
            "chat-completions/notes.yaml",
            "bodies/a-3f9a1c2b7d4e8a10.yaml",
            &format!("locks/{hash}"),
            &format!("locks/suite/{hash}"),
            "locks/probe-3f9a1c2b7d4e8a10",
        ] {
            assert!(key_of(name).is_none() && !is_body(name), "{name}");
        }
        assert!(is_body(&format!("bodies/{hash}")) && key_of(&format!("bodies/{hash}")).is_none());
    }
}
