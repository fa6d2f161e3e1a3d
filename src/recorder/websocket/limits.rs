//! How long sessions wait.

use std::time::Duration;

/// How long a session may be silent.
pub(super) const IDLE: Duration = Duration::from_secs(300);

/// How long a client may take to close its sessions when the program stops.
pub(super) const STOP_GRACE: Duration = Duration::from_secs(2);
