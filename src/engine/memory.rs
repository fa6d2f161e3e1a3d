//! Cassettes in memory, gone with the process: for tests, and beside a slower engine.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;

use super::CacheEngine;
use crate::error::Result;
use crate::key::RequestKey;

/// Keeps cassettes in memory.
#[derive(Debug, Default)]
pub struct MemoryEngine {
    documents: Mutex<HashMap<RequestKey, Bytes>>,
}

impl MemoryEngine {
    /// An empty engine.
    pub fn new() -> Self {
        Self::default()
    }

    fn documents(&self) -> std::sync::MutexGuard<'_, HashMap<RequestKey, Bytes>> {
        self.documents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl CacheEngine for MemoryEngine {
    async fn get(&self, key: &RequestKey) -> Result<Option<Bytes>> {
        Ok(self.documents().get(key).cloned())
    }

    async fn set(&self, key: &RequestKey, cassette: Bytes) -> Result<()> {
        self.documents().insert(key.clone(), cassette);
        Ok(())
    }

    async fn remove(&self, key: &RequestKey) -> Result<()> {
        self.documents().remove(key);
        Ok(())
    }

    async fn keys(&self) -> Result<Vec<RequestKey>> {
        Ok(self.documents().keys().cloned().collect())
    }
}
