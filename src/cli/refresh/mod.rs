//! Refresh: sends recorded requests to the upstream again, and stores the responses that differ.

mod chains;
mod journal;
mod recording;
mod refresher;
mod resend;
mod substitutions;
mod values;

pub(crate) use self::chains::{unresolved_references, with_chains};
pub(crate) use self::journal::{Entry, Journal};
pub(crate) use self::recording::{Budget, Outcome, Recording, RefreshResult};
pub(crate) use self::refresher::Refresher;
pub(crate) use self::substitutions::Substitutions;
