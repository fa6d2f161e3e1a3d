//! The commands, one module each.

pub(crate) mod clear;
pub(crate) mod completions;
pub(crate) mod copy;
pub(crate) mod diff;
pub(crate) mod export;
pub(crate) mod import;
pub(crate) mod list;
pub(crate) mod proxy;
pub(crate) mod prune;
pub(crate) mod refresh;
pub(crate) mod rekey;
pub(crate) mod remove;
pub(crate) mod report;
pub(crate) mod review;
pub(crate) mod run;
pub(crate) mod serve;
pub(crate) mod show;
pub(crate) mod stats;
pub(crate) mod verify;
