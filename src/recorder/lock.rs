//! The lock that lets one of many processes send a request.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::exchange::Exchange;
use super::held_lock::HeldLock;
use super::lookup::Lookup;
use super::store::Store;
use crate::engine::Lock;
use crate::error::Error;

/// The waits between two attempts to take a lock that another process holds: the first and the longest.
const WAITS: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(250));

impl Store {
    /// Takes the lock of a request, unless another process holds it. Returns whether this process may send the request.
    pub(super) async fn lock(&self, exchange: &mut Exchange) -> bool {
        match self.engine.extensions().lock(exchange.key(), self.lock_ttl).await {
            Ok(Lock::Held) => return false,
            Ok(Lock::Acquired(lease)) => exchange.lock = Some(HeldLock::new(lease, self.lock_ttl, &self.tasks)),
            Ok(Lock::Unsupported) => {}
            // Without a lock there may be one call too many, which is no reason to fail.
            Err(error) => self.warn_without_lock(&error),
        }
        true
    }

    /// Says once that there are no locks in a directory. If a cache has none, its other operations fail as well.
    fn warn_without_lock(&self, error: &Error) {
        let is_first = !self.has_warned_about_locks.swap(true, Ordering::Relaxed);
        if is_first && !self.is_cache() {
            tracing::warn!(
                "cannot take a lock, so several processes may send the same request: {}",
                error.in_one_line()
            );
        } else {
            tracing::debug!("cannot take a lock: {}", error.in_one_line());
        }
    }

    /// Takes the lock of a request, or finds what the process that held it has recorded. After [`Lookup::Missing`] this
    /// process may send the request.
    pub(super) async fn find_or_lock(&self, exchange: &mut Exchange) -> Lookup {
        let (mut wait, longest) = WAITS;
        let is_expired = exchange.expired.is_some();
        loop {
            let may_send = self.lock(exchange).await;
            match self.find(exchange).await {
                Lookup::Stale(_) if is_expired => {}
                Lookup::Missing => {}
                found => {
                    if !matches!(found, Lookup::Unavailable(_)) {
                        exchange.lock = None;
                    }
                    return found;
                }
            }
            if may_send {
                return Lookup::Missing;
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(longest);
        }
    }
}
