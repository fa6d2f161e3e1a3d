//! The trait that every engine implements.

use async_trait::async_trait;
use auto_impl::auto_impl;
use bytes::Bytes;

use super::extensions::{EngineExtensions, NoExtensions};
use crate::error::{Error, Result};
use crate::key::RequestKey;

/// Stores cassettes under request keys: in a directory, in memory, or in a store of your own.
///
/// An engine needs two methods, [`get`](Self::get) and [`set`](Self::set). It stores documents and does not interpret
/// them: modes, matching, redaction and expiry belong to the [`Recorder`](crate::Recorder) and work with every engine.
/// A store that can do more, such as locks between processes, also implements [`EngineExtensions`].
///
/// This is a complete engine:
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
///
/// To test an engine, run [`conformance::check`](super::conformance::check) on it.
// `auto_impl` generates the implementation for `Arc` from this definition, so it forwards every method. Wrappers with
// behavior of their own are checked by `clippy::missing_trait_methods`, see `LayeredEngine` and `CircuitBreaker`.
#[async_trait]
#[auto_impl(Arc)]
pub trait CacheEngine: Send + Sync {
    /// Returns the document stored under a key, byte for byte as [`set`](Self::set) received it, or `None`.
    ///
    /// # Errors
    /// Usually [`Error::engine`]: the store cannot be read. [`ErrorKind::Cassette`](crate::ErrorKind::Cassette): this entry
    /// is damaged, and others are not; a cache then records it again, so [`set`](Self::set) must replace it.
    async fn get(&self, key: &RequestKey) -> Result<Option<Bytes>>;

    /// Stores a document (YAML, UTF-8) under a key and replaces the previous one. When this returns `Ok`, the document
    /// is stored.
    ///
    /// # Errors
    /// Usually [`Error::engine`]: the store cannot be written.
    async fn set(&self, key: &RequestKey, cassette: Bytes) -> Result<()>;

    /// Removes the document stored under a key. Succeeds when there is none.
    ///
    /// # Errors
    /// By default always: the engine does not support removal.
    async fn remove(&self, key: &RequestKey) -> Result<()> {
        Err(Error::engine(format!("this engine cannot remove {}", key.name())))
    }

    /// Lists the keys of all documents. By default empty: then the message of a miss cannot name the closest recording.
    ///
    /// # Errors
    /// Usually [`Error::engine`]: the store cannot be read.
    async fn keys(&self) -> Result<Vec<RequestKey>> {
        Ok(Vec::new())
    }

    /// Removes all documents.
    ///
    /// # Errors
    /// The same as [`remove`](Self::remove).
    async fn clear(&self) -> Result<()> {
        for key in self.keys().await? {
            self.remove(&key).await?;
        }
        Ok(())
    }

    /// Returns the location of a cassette for messages, such as its path or URL.
    fn location_of(&self, key: &RequestKey) -> String {
        key.name()
    }

    /// Returns the optional operations of this engine, usually `self`. By default there are none.
    fn extensions(&self) -> &dyn EngineExtensions {
        &NoExtensions
    }
}
