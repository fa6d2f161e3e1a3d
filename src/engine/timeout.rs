//! How long an engine may take to connect.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How long connecting may take, unless the user of the engine sets another time.
const DEFAULT: Duration = Duration::from_secs(5);

/// The minimum time limit of one operation: enough for 50 MB over a slow connection.
#[cfg(any(feature = "redis", feature = "sql"))]
const RESPONSE: Duration = Duration::from_secs(30);

/// The time limits of an engine and its clones, see
/// [`EngineExtensions::set_timeout`](super::EngineExtensions::set_timeout).
#[derive(Debug)]
pub(super) struct Timeout {
    milliseconds: AtomicU64,
}

impl Default for Timeout {
    fn default() -> Self {
        let timeout = Self {
            milliseconds: AtomicU64::new(0),
        };
        timeout.set(DEFAULT);
        timeout
    }
}

impl Timeout {
    pub(super) fn set(&self, limit: Duration) {
        let milliseconds = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        self.milliseconds.store(milliseconds, Ordering::Relaxed);
    }

    /// Returns how long connecting may take. No attempt of an operation starts later than this after the first one.
    pub(super) fn connect(&self) -> Duration {
        // Timers cannot represent much longer times.
        const LONGEST: u64 = 366 * 86_400_000;
        Duration::from_millis(self.milliseconds.load(Ordering::Relaxed).min(LONGEST))
    }

    /// Returns how long an operation may wait for other writers: less than connecting may take, so that its error, and not
    /// that of the caller's time limit, says what the reason was.
    #[cfg(feature = "sql")]
    pub(super) fn wait_for_writers(&self) -> Duration {
        self.connect() * 3 / 4
    }

    /// Returns how long the store may take for one operation.
    #[cfg(any(feature = "redis", feature = "sql"))]
    pub(super) fn response(&self) -> Duration {
        self.connect().max(RESPONSE)
    }
}
