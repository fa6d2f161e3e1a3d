//! The recordings on the page.

use std::sync::OnceLock;

use crate::cassette::Cassette;
use crate::cli::prices::{Usage, usages};
use crate::diff::Difference;
use crate::error::Error;

/// A recording on the page.
pub(crate) struct Recording {
    pub(crate) name: String,
    /// The cassette with its bodies inline, or the error that reading it returned.
    pub(crate) cassette: Result<Cassette, Error>,
    /// `None` without `--since`.
    pub(crate) change: Option<Change>,
    usages: OnceLock<Vec<Option<Usage>>>,
}

impl Recording {
    pub(crate) fn new(name: String, cassette: Result<Cassette, Error>, change: Option<Change>) -> Self {
        Self {
            name,
            cassette,
            change,
            usages: OnceLock::new(),
        }
    }

    /// The usage of each response.
    pub(super) fn usages(&self) -> &[Option<Usage>] {
        self.usages.get_or_init(|| match &self.cassette {
            Ok(cassette) => usages(cassette),
            Err(_) => Vec::new(),
        })
    }
}

/// The change of a recording since an earlier version.
pub(crate) struct Change {
    /// The kind of the change, as `diff` names it.
    pub(crate) kind: &'static str,
    pub(crate) differences: Vec<Difference>,
    /// The earlier version; `None` when there is none, or it does not differ.
    pub(crate) old: Option<Cassette>,
}
