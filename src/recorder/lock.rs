//! A lock that is held for as long as its call takes.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;

use crate::engine::Lease;

/// Holds a lock and renews it; dropping it gives the lock back.
pub(super) enum HeldLock {
    /// Ended by being dropped.
    Plain {
        _lease: Box<dyn Lease>,
    },
    Renewed {
        _over: oneshot::Sender<()>,
    },
}

impl HeldLock {
    /// Holds this lock, whose life is given; `tasks` waits until it is given back.
    pub(super) fn new(lease: Box<dyn Lease>, life: Duration, tasks: &TaskTracker) -> Self {
        if !lease.expires() {
            return Self::Plain { _lease: lease };
        }
        let (sender, mut over) = oneshot::channel();
        tasks.spawn(async move {
            while tokio::time::timeout(life / 3, &mut over).await.is_err() {
                if let Err(error) = lease.renew(life).await {
                    tracing::debug!("a lock could not be renewed: {error}");
                }
            }
            if let Err(error) = lease.release().await {
                tracing::debug!("a lock could not be given back, it ends by itself: {error}");
            }
        });
        Self::Renewed { _over: sender }
    }
}
