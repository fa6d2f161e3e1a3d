//! The results of earlier checks of a recording.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The factor by which each check reduces the weight of the earlier checks.
const DECAY: f64 = 0.9;

/// The results of earlier checks of a recording: its `history` in the cassette.
///
/// A check requests a recorded response again and compares it. Each check reduces the weight of the earlier ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct History {
    /// The number of checks.
    pub checks: f64,
    /// The number of checks that found a change.
    pub changes: f64,
    /// The seconds between the checks.
    pub seconds: f64,
    /// The number of requests in that time, as seen by the processes that made the checks.
    pub asks: f64,
}

impl History {
    /// Returns this history with one more check.
    #[must_use]
    pub fn checked(self, after: Duration, asks: u64, has_changed: bool) -> Self {
        let round = |value: f64| (value * 1000.0).round() / 1000.0;
        Self {
            checks: round(self.checks * DECAY + 1.0),
            changes: round(self.changes * DECAY + f64::from(u8::from(has_changed))),
            seconds: round(self.seconds * DECAY + after.as_secs_f64().max(1.0)),
            asks: round(self.asks * DECAY + asks as f64),
        }
    }
}
