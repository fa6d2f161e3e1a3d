//! What checks have seen of one recording.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What a check of long ago counts beside one of now, for each check in between.
const MEMORY: f64 = 0.9;

/// What checks have seen of one recording; it is kept in its document, as `history`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct History {
    /// How often it was asked of the upstream again.
    pub checks: f64,
    /// How often it had changed then.
    pub changes: f64,
    /// The seconds between those checks.
    pub seconds: f64,
    /// How often it was asked for in that time, by the processes that made the checks.
    pub asks: f64,
}

impl History {
    /// This history and one more check.
    #[must_use]
    pub fn checked(self, after: Duration, asks: u64, has_changed: bool) -> Self {
        let round = |value: f64| (value * 1000.0).round() / 1000.0;
        Self {
            checks: round(self.checks * MEMORY + 1.0),
            changes: round(self.changes * MEMORY + f64::from(u8::from(has_changed))),
            seconds: round(self.seconds * MEMORY + after.as_secs_f64().max(1.0)),
            asks: round(self.asks * MEMORY + asks as f64),
        }
    }
}
