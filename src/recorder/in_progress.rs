//! The requests of a session that are in progress.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::Notify;

/// The requests that are being sent to the upstream, until their responses are saved.
#[derive(Debug, Default)]
pub(super) struct InProgress {
    requests: Mutex<Requests>,
    ended: Condvar,
    notify: Notify,
}

#[derive(Debug, Default)]
struct Requests {
    next: u64,
    open: BTreeMap<u64, Open>,
}

#[derive(Debug)]
struct Open {
    line: String,
    /// Whether the request runs on the runtime of the session.
    in_background: bool,
}

/// One of them; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct RequestInProgress {
    all: Arc<InProgress>,
    number: u64,
}

impl InProgress {
    fn requests(&self) -> MutexGuard<'_, Requests> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn begin(self: &Arc<Self>, line: String, in_background: bool) -> RequestInProgress {
        let mut requests = self.requests();
        let number = requests.next;
        requests.next += 1;
        requests.open.insert(number, Open { line, in_background });
        RequestInProgress {
            all: self.clone(),
            number,
        }
    }

    /// The request lines, oldest first.
    pub(super) fn lines(&self) -> Vec<String> {
        self.requests().open.values().map(|open| open.line.clone()).collect()
    }

    /// Blocks until the requests that can make progress meanwhile have ended.
    pub(super) fn block(&self, limit: Duration) {
        // The other threads of such a runtime continue.
        let all = Handle::try_current().is_ok_and(|handle| handle.runtime_flavor() != RuntimeFlavor::CurrentThread);
        let is_awaited = |requests: &mut Requests| requests.open.values().any(|open| all || open.in_background);
        drop(self.ended.wait_timeout_while(self.requests(), limit, is_awaited));
    }

    /// Waits until all have ended.
    pub(super) async fn wait(&self, limit: Duration) {
        let since = Instant::now();
        loop {
            let ended = self.notify.notified();
            let left = limit.saturating_sub(since.elapsed());
            if self.requests().open.is_empty() || tokio::time::timeout(left, ended).await.is_err() {
                return;
            }
        }
    }
}

impl Drop for RequestInProgress {
    fn drop(&mut self) {
        self.all.requests().open.remove(&self.number);
        self.all.ended.notify_all();
        self.all.notify.notify_waiters();
    }
}
