//! Compares recordings with a description of the API (OpenAPI): `verify --api`.
//!
//! `document` reads a description, `reader` finds the operations in it, and `rewrite` turns its schemas into JSON Schema in which
//! an unknown member is an error. `schemas` validates values against them, and `explain` finds what differs. `check` does so for
//! each message of a recording (`fields` for queries and forms), and `report` counts the disagreements of all recordings.

mod check;
mod description;
mod difference;
mod disagreement;
mod document;
mod explain;
mod fields;
mod operation;
mod reader;
mod redacted;
mod report;
mod rewrite;
mod schemas;

pub(crate) use self::check::Api;
pub(crate) use self::description::Description;
pub(crate) use self::disagreement::{Compared, Skipped};
pub(crate) use self::report::Report;
