//! Bytes in a cassette or in a separate file.

use bytes::Bytes;

use crate::hash::sha256_hex;

/// The bytes of a body: in the document, or in a separate file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Blob {
    Inline(Bytes),
    /// In `bodies/<sha256>`.
    External {
        sha256: String,
    },
}

impl From<Bytes> for Blob {
    fn from(bytes: Bytes) -> Self {
        Self::Inline(bytes)
    }
}

impl Blob {
    /// Returns the number of bytes in the document.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Inline(bytes) => bytes.len(),
            Self::External { .. } => 0,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        matches!(self, Self::Inline(bytes) if bytes.is_empty())
    }

    /// Returns the SHA-256 of the bytes: 64 hex digits.
    pub(crate) fn sha256(&self) -> String {
        match self {
            Self::Inline(bytes) => sha256_hex(bytes),
            Self::External { sha256 } => sha256.clone(),
        }
    }
}
