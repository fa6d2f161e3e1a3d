//! A runtime of the session, on which requests continue while the runtime of their caller is blocked.

use std::sync::OnceLock;

use tokio::runtime::{Builder, Handle};
use tokio_util::sync::CancellationToken;

/// A runtime on a thread of its own, started with the first request that needs it. It ends when this is dropped.
#[derive(Debug, Default)]
pub(super) struct BackgroundRuntime {
    handle: OnceLock<Option<Handle>>,
    end: CancellationToken,
}

impl BackgroundRuntime {
    /// `None` if no thread can be started; requests then run on the runtime of their caller.
    pub(super) fn handle(&self) -> Option<Handle> {
        self.handle
            .get_or_init(|| {
                let runtime = Builder::new_current_thread().enable_all().build().ok()?;
                let (handle, end) = (runtime.handle().clone(), self.end.clone());
                let thread = std::thread::Builder::new().name("mistral-cassette".into());
                thread.spawn(move || runtime.block_on(end.cancelled())).ok()?;
                Some(handle)
            })
            .clone()
    }
}

impl Drop for BackgroundRuntime {
    fn drop(&mut self) {
        self.end.cancel();
    }
}
