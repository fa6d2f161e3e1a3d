//! Finds the cassettes that a command line names.

use std::path::Path;

use super::store::{Read, Store};
use crate::engine::layout;
use crate::error::{Error, ErrorKind, Result};

/// The cassettes with this path or name; if there is none, those whose name contains the text or whose key starts with it.
///
/// # Errors
/// [`ErrorKind::Settings`] when there is none.
pub(crate) fn find<'a>(store: &Store, all: &'a [Read], wanted: &str) -> Result<Vec<&'a Read>> {
    let is_exact = |(listed, _): &&Read| {
        is_same_file(Path::new(&store.location_of(listed)), wanted)
            || listed.name == wanted
            || listed.name.strip_suffix(layout::EXTENSION) == Some(wanted)
    };
    let is_partial = |(listed, cassette): &&Read| {
        listed.name.contains(wanted) || cassette.as_ref().is_ok_and(|cassette| cassette.key.starts_with(wanted))
    };
    let mut found: Vec<_> = all.iter().filter(is_exact).collect();
    if found.is_empty() {
        found = all.iter().filter(is_partial).collect();
    }
    if found.is_empty() {
        let message = format!("no cassette in {} matches {wanted:?}", store.location());
        return Err(Error::new(ErrorKind::Settings, message).with_hint("mistral-cassette list prints their names"));
    }
    Ok(found)
}

/// Whether two paths lead to the same file, relative or absolute, through links or not.
fn is_same_file(path: &Path, other: &str) -> bool {
    matches!((path.canonicalize(), Path::new(other).canonicalize()), (Ok(path), Ok(other)) if path == other)
}
