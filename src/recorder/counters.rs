//! The hits and misses that the engine has not counted yet.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::engine::Counts;

/// How long counts are collected before they are sent to the engine.
const INTERVAL: Duration = Duration::from_secs(5);

/// Counts of this process since they were last sent.
pub(super) struct Counters(Mutex<Pending>);

struct Pending {
    counts: Counts,
    since: Instant,
}

impl Default for Counters {
    fn default() -> Self {
        Self(Mutex::new(Pending {
            counts: Counts::default(),
            since: Instant::now(),
        }))
    }
}

impl Counters {
    /// Adds to the counts, and returns them if it is time to send them.
    pub(super) fn add(&self, add: impl FnOnce(&mut Counts)) -> Option<Counts> {
        let mut pending = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        add(&mut pending.counts);
        (pending.since.elapsed() >= INTERVAL).then(|| pending.take())
    }

    /// Returns the counts and starts again from zero.
    pub(super) fn take(&self) -> Counts {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Pending {
    fn take(&mut self) -> Counts {
        self.since = Instant::now();
        std::mem::take(&mut self.counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_collected_until_they_are_taken() {
        let counters = Counters::default();
        assert_eq!(counters.add(|counts| counts.hits += 1), None);
        assert_eq!(counters.add(|counts| counts.misses += 2), None);
        let taken = counters.take();
        assert_eq!((taken.hits, taken.misses), (1, 2));
        assert_eq!(counters.take(), Counts::default());
    }
}
