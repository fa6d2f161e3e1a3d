//! Cassettes in memory, gone with the process: for tests, and in front of a slower engine.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use lru::LruCache;

use super::{CacheEngine, Counts, EngineExtensions, Size};
use crate::error::Result;
use crate::key::RequestKey;

/// Keeps cassettes in memory, as many as a number of bytes holds: what was not used for the longest time goes first.
#[derive(Debug)]
pub struct MemoryEngine {
    state: Mutex<State>,
    max_bytes: u64,
}

#[derive(Debug)]
struct State {
    entries: LruCache<RequestKey, Entry>,
    /// The bytes of all documents.
    bytes: u64,
    counts: Counts,
}

#[derive(Debug)]
struct Entry {
    cassette: Bytes,
    until: Option<Instant>,
}

impl Default for MemoryEngine {
    fn default() -> Self {
        Self::bounded(u64::MAX)
    }
}

impl MemoryEngine {
    /// An empty engine without a bound.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty engine that keeps at most this many bytes of documents. One that is larger alone is not kept.
    pub fn bounded(max_bytes: u64) -> Self {
        Self {
            state: Mutex::new(State {
                entries: LruCache::unbounded(),
                bytes: 0,
                counts: Counts::default(),
            }),
            max_bytes,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, key: &RequestKey, entry: Entry) {
        let mut state = self.state();
        state.bytes += entry.cassette.len() as u64;
        if let Some(old) = state.entries.put(key.clone(), entry) {
            state.bytes -= old.cassette.len() as u64;
        }
        while state.bytes > self.max_bytes
            && let Some((_, oldest)) = state.entries.pop_lru()
        {
            state.bytes -= oldest.cassette.len() as u64;
        }
    }
}

impl State {
    fn remove(&mut self, key: &RequestKey) {
        if let Some(old) = self.entries.pop(key) {
            self.bytes -= old.cassette.len() as u64;
        }
    }
}

#[async_trait]
impl CacheEngine for MemoryEngine {
    async fn get(&self, key: &RequestKey) -> Result<Option<Bytes>> {
        let mut state = self.state();
        match state.entries.get(key) {
            Some(entry) if entry.until.is_none_or(|until| Instant::now() < until) => Ok(Some(entry.cassette.clone())),
            Some(_) => {
                state.remove(key);
                Ok(None)
            }
            None => Ok(None),
        }
    }

    async fn set(&self, key: &RequestKey, cassette: Bytes) -> Result<()> {
        self.keep(key, Entry { cassette, until: None });
        Ok(())
    }

    async fn remove(&self, key: &RequestKey) -> Result<()> {
        self.state().remove(key);
        Ok(())
    }

    async fn keys(&self) -> Result<Vec<RequestKey>> {
        Ok(self.state().entries.iter().map(|(key, _)| key.clone()).collect())
    }

    async fn clear(&self) -> Result<()> {
        let mut state = self.state();
        state.entries.clear();
        state.bytes = 0;
        Ok(())
    }

    fn extensions(&self) -> &dyn EngineExtensions {
        self
    }
}

#[async_trait]
impl EngineExtensions for MemoryEngine {
    async fn set_expiring(&self, key: &RequestKey, cassette: &Bytes, ttl: Duration) -> Result<bool> {
        let (cassette, until) = (cassette.clone(), Instant::now().checked_add(ttl));
        self.keep(key, Entry { cassette, until });
        Ok(true)
    }

    async fn size(&self) -> Result<Option<Size>> {
        let state = self.state();
        Ok(Some(Size {
            entries: state.entries.len() as u64,
            bytes: state.bytes,
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
