//! Recordings that depend on each other, and are accepted or rejected together.

use crate::cassette::Cassette;
use crate::cli::change::{Change, compare};
use crate::cli::output::count;
use crate::cli::refresh::{Entry, Substitutions};
use crate::diff::Difference;
use crate::key::RequestKey;

/// Recordings that depend on each other: a mix of old and new ones would be inconsistent.
#[derive(Default)]
pub(super) struct Chain {
    pub(super) members: Vec<Pending>,
}

/// A new recording before its review.
pub(super) struct Pending {
    pub(super) entry: Entry,
    /// The current recording; `None` when it no longer exists.
    pub(super) old: Option<Cassette>,
    pub(super) new: Cassette,
    pub(super) key: RequestKey,
}

impl Pending {
    /// Whether its request, and so its key, has changed. Compares keys and not file names, which people may change.
    pub(super) fn is_moved(&self) -> bool {
        self.entry.old_key().is_none_or(|old| old.short() != self.key.short())
    }

    fn depends_on(&self, other: &Self) -> bool {
        touches(&other.entry.substitutions, self) || touches(&self.entry.substitutions, other)
    }
}

/// Whether these changes have changed the request of a recording.
fn touches(changes: &Substitutions, other: &Pending) -> bool {
    other.is_moved() && other.old.as_ref().is_some_and(|old| changes.affects(&old.request))
}

/// Adds a recording to the chains, and joins those that depend on it.
pub(super) fn add(chains: Vec<Chain>, pending: Pending) -> Vec<Chain> {
    let is_joined = |chain: &Chain| chain.members.iter().any(|other| pending.depends_on(other));
    let (joined, mut chains) = chains.into_iter().partition::<Vec<_>, _>(is_joined);
    let mut members: Vec<Pending> = joined.into_iter().flat_map(|chain| chain.members).collect();
    members.push(pending);
    chains.push(Chain { members });
    chains
}

impl Chain {
    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    /// The changes of each member, after `seen` of `total` recordings.
    pub(super) fn text(&self, seen: usize, total: usize, line_limit: Option<usize>) -> String {
        let mut text = String::new();
        for (at, pending) in self.members.iter().enumerate() {
            let old = pending.old.as_ref().map_or(&[][..], |old| &old.responses);
            let Change { kind, differences } = compare(old, &pending.new.responses);
            text.push_str(&format!(
                "\n{} of {total}  {}: {kind}\n",
                seen + at + 1,
                pending.entry.name
            ));
            if pending.is_moved() {
                text.push_str(&format!("    with a new request: {}\n", pending.key.file_name()));
            }
            let lines: Vec<String> = differences.iter().flat_map(Difference::lines).collect();
            let shown = line_limit.unwrap_or(lines.len());
            for line in lines.iter().take(shown) {
                text.push_str(&format!("    {line}\n"));
            }
            if lines.len() > shown {
                text.push_str(&format!("    … {} more\n", count(lines.len() - shown, "line")));
            }
        }
        text
    }
}
