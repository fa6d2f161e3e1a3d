//! A lock that this process holds, renewed until it is released.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;

use crate::engine::Lease;

/// A lock that this process holds. It is released when this value is dropped.
pub(super) enum HeldLock {
    /// The store releases it when the lease is dropped.
    UntilDropped { _lease: Box<dyn Lease> },
    /// A task renews the lease until the sender is dropped.
    Renewed { _released: oneshot::Sender<()> },
}

impl HeldLock {
    /// Holds a lease, and renews it if it expires. `tasks` waits until the lock is released.
    pub(super) fn new(lease: Box<dyn Lease>, ttl: Duration, tasks: &TaskTracker) -> Self {
        if !lease.expires() {
            return Self::UntilDropped { _lease: lease };
        }
        let (sender, mut released) = oneshot::channel();
        tasks.spawn(async move {
            while tokio::time::timeout(ttl / 3, &mut released).await.is_err() {
                if let Err(error) = lease.renew(ttl).await {
                    tracing::debug!("cannot renew a lock: {error}");
                }
            }
            if let Err(error) = lease.release().await {
                tracing::debug!("cannot release a lock, it expires by itself: {error}");
            }
        });
        Self::Renewed { _released: sender }
    }
}
