//! The requests of a session that are in progress.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
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

/// One request in progress. It ends when this value is dropped.
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

    /// Blocks until all requests that can make progress meanwhile have ended, or the limit is reached.
    pub(super) fn block(&self, limit: Duration) {
        // On a multi-thread runtime, the other threads continue, and so do all requests.
        let all = Handle::try_current().is_ok_and(|handle| handle.runtime_flavor() != RuntimeFlavor::CurrentThread);
        let is_awaited = |requests: &mut Requests| requests.open.values().any(|open| all || open.in_background);
        let wait = || drop(self.ended.wait_timeout_while(self.requests(), limit, is_awaited));
        if !all {
            return wait();
        }
        // `block_in_place` moves the tasks and timers of this thread to another thread. In a `LocalSet` that is not possible,
        // and tokio panics before it waits.
        if catch_unwind(AssertUnwindSafe(|| tokio::task::block_in_place(wait))).is_err() {
            wait();
        }
    }

    /// Waits until all requests have ended, or the limit is reached.
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A request that ends after 20 milliseconds, on the runtime of the caller.
    fn begin_one() -> Arc<InProgress> {
        let all = Arc::new(InProgress::default());
        let request = all.begin("GET /v1/models".into(), false);
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(20)).await;
            drop(request);
        });
        all
    }

    fn wait_for_one() {
        let all = begin_one();
        let since = Instant::now();
        all.block(Duration::from_secs(30));
        assert!(all.lines().is_empty(), "waited for {:?}", since.elapsed());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn the_only_worker_of_a_runtime_may_wait() {
        tokio::spawn(async { wait_for_one() }).await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn a_local_task_beside_a_worker_may_wait() {
        tokio::task::LocalSet::new().run_until(async { wait_for_one() }).await;
    }

    #[tokio::test]
    async fn the_thread_of_a_runtime_does_not_wait_for_itself() {
        let all = begin_one();
        all.block(Duration::from_secs(30));
        assert_eq!(all.lines(), ["GET /v1/models"]);
        all.wait(Duration::from_secs(30)).await;
        assert!(all.lines().is_empty());
    }
}
