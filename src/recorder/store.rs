//! The engine as the request path sees it. What only a cache has stays behind it: a circuit breaker, a quota, counters.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use bytes::Bytes;
use tokio_util::task::TaskTracker;

use super::circuit_breaker::CircuitBreaker;
use super::counters::Counters;
use super::document_cache::DocumentCache;
use super::quota::Quota;
use super::written::WrittenDocuments;
use crate::cassette::Blob;
use crate::engine::{self, CacheEngine, Counts};
use crate::error::{Error, ErrorKind, Result};
use crate::key::RequestKey;
use crate::mode::{OnMiss, Plan};

/// An engine, and what this process remembers about its content.
pub(super) struct Store {
    pub(super) engine: Arc<dyn CacheEngine>,
    pub(super) documents: DocumentCache,
    pub(super) written: WrittenDocuments,
    pub(super) quota: Quota,
    pub(super) lock_ttl: Duration,
    counters: Counters,
    pub(super) has_warned_about_locks: AtomicBool,
    /// The tasks that a session waits for at its end.
    pub(super) tasks: TaskTracker,
}

impl Store {
    /// `engine_timeout` bounds each call to a cache.
    pub(super) fn new(
        engine: Arc<dyn CacheEngine>,
        engine_timeout: Duration,
        lock_ttl: Duration,
        tasks: TaskTracker,
    ) -> Self {
        let engine: Arc<dyn CacheEngine> = if engine.extensions().is_committed() {
            engine
        } else {
            Arc::new(CircuitBreaker::new(engine, engine_timeout))
        };
        Self {
            engine,
            documents: DocumentCache::default(),
            written: WrittenDocuments::default(),
            quota: Quota::default(),
            lock_ttl,
            counters: Counters::default(),
            has_warned_about_locks: AtomicBool::new(false),
            tasks,
        }
    }

    pub(super) fn engine(&self) -> &dyn CacheEngine {
        &*self.engine
    }

    /// Whether the engine is a cache, which may lose entries, and not a directory that people commit.
    pub(super) fn is_cache(&self) -> bool {
        !self.engine.extensions().is_committed()
    }

    /// Where a cassette is, for messages.
    pub(super) fn location_of(&self, key: &RequestKey) -> String {
        self.engine.location_of(key)
    }

    /// The bytes of a body of this cassette.
    ///
    /// # Errors
    /// [`ErrorKind::Cassette`] if the body is missing or damaged, [`ErrorKind::Engine`] if it cannot be read.
    pub(super) async fn load_body(&self, blob: &Blob, key: &RequestKey) -> Result<Bytes> {
        engine::read_body(self.engine(), blob, || self.location_of(key)).await
    }

    /// Whether the upstream may answer although the store, or an entry in it, has failed: only in place of a cache, and only
    /// if the mode lets a miss reach the upstream.
    pub(super) fn may_bypass(&self, error: &Error, plan: Plan) -> bool {
        self.is_cache()
            && plan.looks_up
            && plan.on_miss == OnMiss::Record
            && matches!(error.kind(), ErrorKind::Engine | ErrorKind::Cassette)
    }

    /// Adds to the counts of all processes.
    pub(super) fn count(&self, add: impl FnOnce(&mut Counts)) {
        if self.is_cache()
            && let Some(due) = self.counters.add(add)
        {
            let engine = self.engine.clone();
            self.tasks.spawn(async move { send_counts(&*engine, due).await });
        }
    }

    /// Sends the counts that the engine does not have yet.
    pub(super) async fn flush_counters(&self) {
        send_counts(self.engine(), self.counters.take()).await;
    }
}

/// Adds counts to those in the engine. An error is only logged.
async fn send_counts(engine: &dyn CacheEngine, counts: Counts) {
    if counts == Counts::default() {
        return;
    }
    if let Err(error) = engine.extensions().add_counts(counts).await {
        tracing::debug!("cannot store the counts: {error}");
    }
}
