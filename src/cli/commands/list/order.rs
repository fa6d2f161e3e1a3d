//! The order of the list.

use std::cmp::Reverse;

use clap::ValueEnum;

use super::row::Row;

/// An order of the cassettes. Equal ones are in the order of their names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Order {
    /// By name, and so by scope and endpoint.
    #[default]
    Name,
    /// The last recorded first.
    Recorded,
    /// The largest file first.
    Size,
    /// The one with the most responses first.
    Responses,
}

impl Order {
    pub(super) fn sort(self, rows: &mut [Row]) {
        match self {
            Self::Name => {}
            Self::Recorded => rows.sort_by_cached_key(|row| Reverse((row.recorded.time(), row.recorded.at.clone()))),
            Self::Size => rows.sort_by_key(|row| Reverse(row.size)),
            Self::Responses => rows.sort_by_key(|row| Reverse(row.responses.len())),
        }
    }
}
