//! TTLs in milliseconds, and the tokens that identify the owner of a lock.

#[cfg(any(feature = "redis", feature = "sql"))]
use std::time::Duration;

use crate::hash::sha256_hex;

/// Returns the milliseconds of a TTL, at least one. `None` means no expiry, for a TTL of 10,000 years or more.
#[cfg(any(feature = "redis", feature = "sql"))]
pub(super) fn milliseconds(ttl: Duration) -> Option<i64> {
    const LONGEST: i64 = 10_000 * 366 * 86_400_000;
    let milliseconds = i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX);
    (milliseconds < LONGEST).then_some(milliseconds.max(1))
}

/// Returns the milliseconds of the TTL of a lock, at most 49 days.
#[cfg(any(feature = "redis", feature = "sql"))]
pub(super) fn lock_milliseconds(ttl: Duration) -> i64 {
    const LONGEST: i64 = 1 << 32;
    milliseconds(ttl).unwrap_or(LONGEST).min(LONGEST)
}

/// Returns 32 hex digits that are unique.
pub(super) fn lock_token() -> String {
    use std::collections::hash_map::RandomState;
    use std::hash::BuildHasher as _;
    use std::time::SystemTime;

    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    // The system seeds each `RandomState` with random numbers.
    let seeds = [(); 2].map(|()| RandomState::new().hash_one(now));
    let mut token = sha256_hex(format!("{seeds:?} {} {now:?}", std::process::id()).as_bytes());
    token.truncate(32);
    token
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lock_tokens_are_unique() {
        assert_ne!(lock_token(), lock_token());
    }
}
