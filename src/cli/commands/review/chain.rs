//! Recordings that depend on each other, and are accepted or rejected together.

use crate::cassette::Cassette;
use crate::cli::change::{Change, compare};
use crate::cli::comparison::whole_answers;
use crate::cli::output::count;
use crate::cli::refresh::{Entry, Substitutions};
use crate::diff::Difference;
use crate::escape::escape_controls;
use crate::key::RequestKey;

/// What is shown in place of two answers with one text.
const SAME_TEXT: &str = "\n(both answers have the same text; [d] shows what differs)\n\n";

/// Recordings that depend on each other: a mix of old and new ones would be inconsistent.
#[derive(Default)]
pub(super) struct Chain {
    pub(super) members: Vec<Pending>,
    /// The new values of the chain.
    pub(super) substitutions: Substitutions,
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
}

impl Chain {
    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    /// The changes of each member, after `seen` of `total` recordings.
    pub(super) fn text(&self, seen: usize, total: usize, line_limit: Option<usize>) -> String {
        let mut text = String::new();
        let is_id = self.substitutions.ids();
        for (at, pending) in self.members.iter().enumerate() {
            let old = pending.old.as_ref().map_or(&[][..], |old| &old.responses);
            let Change { kind, differences } = compare(old, &pending.new.responses, &is_id);
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

    /// Both answers of each member, whole.
    pub(super) fn whole(&self) -> String {
        let mut text = String::new();
        for pending in &self.members {
            let old = pending.old.as_ref().map_or(&[][..], |old| &old.responses);
            text.push_str(&escape_controls(&format!("\n{}\n", pending.entry.name)));
            let answers = whole_answers(old, &pending.new.responses);
            text.push_str(if answers.is_empty() { SAME_TEXT } else { &answers });
        }
        text
    }
}
