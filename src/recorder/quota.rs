//! The limits on what a store may hold.

use std::time::{Duration, Instant};

use crate::cassette::Cassette;
use crate::engine::CacheEngine;
use crate::settings::limits::Limits;

/// How long a size that the engine has reported is used.
const SIZE_TTL: Duration = Duration::from_secs(60);

/// The size of the store, as far as it is known: when the engine reported it, and the bytes.
#[derive(Default)]
pub(super) struct Quota(tokio::sync::Mutex<Option<(Instant, u64)>>);

impl Quota {
    /// Whether the limits allow this cassette. Its bytes are added to the known size.
    pub(super) async fn admits(&self, cassette: &mut Cassette, limits: &Limits, engine: &dyn CacheEngine) -> bool {
        if limits.entry_bytes.is_none() && limits.total_bytes.is_none() {
            return true;
        }
        let bytes: u64 = cassette.bodies_mut().iter().map(|body| body.len() as u64).sum();
        if limits.entry_bytes.is_some_and(|limit| bytes > limit) {
            return false;
        }
        let Some(limit) = limits.total_bytes else { return true };
        let mut known = self.0.lock().await;
        let is_outdated = known.is_none_or(|(at, _)| at.elapsed() > SIZE_TTL);
        if is_outdated && let Ok(Some(size)) = engine.extensions().size().await {
            *known = Some((Instant::now(), size.bytes));
        }
        match &mut *known {
            Some((_, total)) if *total + bytes > limit => false,
            Some((_, total)) => {
                *total += bytes;
                true
            }
            // The engine does not report its size.
            None => true,
        }
    }
}
