//! Refresh: sends recorded requests to the upstream again, and stores the responses that differ.
//!
//! `values` says what in a response a later request may repeat, `index` where such values stand in the recordings of a scope,
//! and `chains` what follows from that: which recordings belong together, and the order of their requests. `refresher` sends a
//! chain (`resend`, `progress`) with the new values in place of the old ones (`substitutions`), and stores it as a whole (`journal`).
//! `checked` remembers what has not changed, and `follow` finds the recordings of a chain again after a refresh.

mod chains;
mod checked;
mod follow;
mod index;
mod journal;
mod progress;
mod recording;
mod refresher;
mod resend;
mod substitutions;
mod values;

pub(crate) use self::chains::{unresolved_references, with_chains};
pub(crate) use self::checked::Checked;
pub(crate) use self::follow::{Pairs, follow};
pub(crate) use self::journal::{Entry, Journal};
pub(crate) use self::recording::{Budget, Outcome, Recording, RefreshResult};
pub(crate) use self::refresher::Refresher;
pub(crate) use self::substitutions::Substitutions;
