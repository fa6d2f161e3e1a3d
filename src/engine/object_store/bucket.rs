//! The objects of a bucket: reading, writing, listing.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutOptions, UpdateVersion};

use super::failure::{self, Credentials};
use crate::engine::layout::{self, is_body};
use crate::engine::timeout::Timeout;
use crate::error::{Error, Result};
use crate::key::RequestKey;

/// The folder of the locks.
pub(super) const LOCKS: &str = "locks";

/// A store and the prefix of every name in it.
#[derive(Clone)]
pub(super) struct Bucket {
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) timeout: Arc<Timeout>,
    pub(super) prefix: Path,
    /// The URL without options: `s3://bucket/prefix`.
    pub(super) location: Arc<str>,
    pub(super) credentials: Credentials,
}

/// An object in the store.
pub(super) struct Object {
    pub(super) bytes: Bytes,
    pub(super) version: UpdateVersion,
}

impl Bucket {
    pub(super) fn path(&self, name: &str) -> Path {
        let path = if self.prefix.as_ref().is_empty() {
            name.to_owned()
        } else {
            format!("{}/{name}", self.prefix)
        };
        // Keys and hashes consist of characters that are valid in a path.
        Path::parse(&path).unwrap_or_else(|_| Path::from(path))
    }

    /// Returns the URL of an object, for messages.
    pub(super) fn location_of(&self, name: &str) -> String {
        format!("{}/{name}", self.location)
    }

    /// Returns the error of an operation on the object of this name, or on the bucket if the name is empty.
    pub(super) fn failed(&self, operation: &str, name: &str, error: &object_store::Error) -> Error {
        let location = if name.is_empty() {
            self.location.to_string()
        } else {
            self.location_of(name)
        };
        failure::convert(&format!("{operation} {location}"), self.credentials, error)
    }

    pub(super) async fn read(&self, name: &str) -> Result<Option<Object>> {
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

    pub(super) async fn get(&self, name: &str) -> Result<Option<Bytes>> {
        Ok(self.read(name).await?.map(|object| object.bytes))
    }

    pub(super) async fn put(&self, name: &str, bytes: Bytes) -> Result<()> {
        let put = self.store.put(&self.path(name), bytes.into()).await;
        put.map(drop).map_err(|error| self.failed("write", name, &error))
    }

    /// Writes an object if the condition of `mode` is true.
    pub(super) async fn put_if(
        &self,
        name: &str,
        bytes: Bytes,
        mode: PutMode,
    ) -> Result<UpdateVersion, object_store::Error> {
        let options = PutOptions {
            mode,
            ..PutOptions::default()
        };
        let put = self.store.put_opts(&self.path(name), bytes.into(), options).await?;
        Ok(put.into())
    }

    pub(super) async fn remove(&self, name: &str) -> Result<()> {
        match self.store.delete(&self.path(name)).await {
            Err(error) if !failure::is_absent(&error) => Err(self.failed("remove", name, &error)),
            _ => Ok(()),
        }
    }

    /// Lists every cassette and every body by name.
    pub(super) async fn list(&self) -> Result<Vec<(String, ObjectMeta)>> {
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

/// Returns the key of a cassette. The name of a lock contains a key, too, but has no extension.
pub(super) fn key_of(name: &str) -> Option<RequestKey> {
    RequestKey::from_file_name(name).filter(|_| layout::is_cassette(name))
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
