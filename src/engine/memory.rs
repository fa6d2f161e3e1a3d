//! Stores cassettes in memory until the process ends: for tests, or in front of a slower engine.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;

use super::sized_lru::SizedLru;
use super::{CacheEngine, Counts, EngineExtensions, Size};
use crate::error::Result;
use crate::key::RequestKey;

/// Stores cassettes in memory, up to a number of bytes. The least recently used cassettes are removed first.
#[derive(Debug)]
pub struct MemoryEngine {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    entries: SizedLru<Entry>,
    counts: Counts,
}

#[derive(Debug)]
struct Entry {
    cassette: Bytes,
    expires_at: Option<Instant>,
}

impl Default for MemoryEngine {
    fn default() -> Self {
        Self::bounded(u64::MAX)
    }
}

impl MemoryEngine {
    /// Creates an empty engine without a limit.
    pub fn new() -> Self {
        Self::default()
    }

    /// Creates an empty engine that stores at most this many bytes of documents. A larger document is not stored.
    pub fn bounded(max_bytes: u64) -> Self {
        Self {
            state: Mutex::new(State {
                entries: SizedLru::new(usize::try_from(max_bytes).unwrap_or(usize::MAX)),
                counts: Counts::default(),
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, key: &RequestKey, entry: Entry) {
        let mut state = self.state();
        let bytes = entry.cassette.len();
        if bytes > state.entries.capacity() {
            state.entries.pop(key);
        } else {
            state.entries.put(key.clone(), entry, bytes);
        }
    }
}

#[async_trait]
impl CacheEngine for MemoryEngine {
    async fn get(&self, key: &RequestKey) -> Result<Option<Bytes>> {
        let mut state = self.state();
        match state.entries.get_mut(key) {
            Some(entry) if entry.expires_at.is_none_or(|at| Instant::now() < at) => Ok(Some(entry.cassette.clone())),
            Some(_) => {
                state.entries.pop(key);
                Ok(None)
            }
            None => Ok(None),
        }
    }

    async fn set(&self, key: &RequestKey, cassette: Bytes) -> Result<()> {
        let expires_at = None;
        self.put(key, Entry { cassette, expires_at });
        Ok(())
    }

    async fn remove(&self, key: &RequestKey) -> Result<()> {
        self.state().entries.pop(key);
        Ok(())
    }

    async fn keys(&self) -> Result<Vec<RequestKey>> {
        Ok(self.state().entries.keys().cloned().collect())
    }

    async fn clear(&self) -> Result<()> {
        self.state().entries.clear();
        Ok(())
    }

    fn extensions(&self) -> &dyn EngineExtensions {
        self
    }
}

#[async_trait]
impl EngineExtensions for MemoryEngine {
    async fn set_expiring(&self, key: &RequestKey, cassette: &Bytes, ttl: Duration) -> Result<bool> {
        let (cassette, expires_at) = (cassette.clone(), Instant::now().checked_add(ttl));
        self.put(key, Entry { cassette, expires_at });
        Ok(true)
    }

    async fn size(&self) -> Result<Option<Size>> {
        let state = self.state();
        Ok(Some(Size {
            entries: state.entries.len() as u64,
            bytes: state.entries.bytes() as u64,
        }))
    }

    async fn add_counts(&self, counts: Counts) -> Result<()> {
        self.state().counts += counts;
        Ok(())
    }

    async fn counts(&self) -> Result<Option<Counts>> {
        Ok(Some(self.state().counts))
    }
}
