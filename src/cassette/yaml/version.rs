//! The format version of cassettes.

/// The version that is written, and the latest one that is read.
pub(crate) const VERSION: u32 = 1;
