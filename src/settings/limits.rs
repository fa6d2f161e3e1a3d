//! The size limits of cassettes.

use serde::Deserialize;

/// Size limits. A response that exceeds one is passed to the caller, not recorded, and counted as
/// [skipped](crate::recorder::Summary::skipped).
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Limits {
    /// The maximum number of bytes of all bodies of one cassette, the request body included. By default, only the
    /// response is limited, to 128 MiB. The recorder buffers no more of a response than this limit.
    pub entry_bytes: Option<u64>,
    /// The maximum number of bytes of all cassettes, where the [engine](crate::engine::EngineExtensions::size) reports its size. The
    /// recorder requests the size once a minute.
    pub total_bytes: Option<u64>,
}

impl Limits {
    /// The maximum number of bytes of one response body, whether or not `entry_bytes` is set.
    pub(crate) fn max_response_bytes(&self) -> u64 {
        const DEFAULT: u64 = 128 << 20;
        self.entry_bytes.unwrap_or(DEFAULT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_has_a_limit_by_default() {
        assert_eq!(Limits::default().max_response_bytes(), 128 * 1024 * 1024);
        let limits = Limits {
            entry_bytes: Some(10),
            ..Limits::default()
        };
        assert_eq!(limits.max_response_bytes(), 10);
    }
}
