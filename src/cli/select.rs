//! Finds the cassettes that a command line names, by their names where possible: a file is read only if its name cannot tell.

use std::path::Path;

use super::store::Store;
use crate::engine::{Listed, layout};
use crate::error::{Error, ErrorKind, Result};
use crate::hash::is_lower_hex;
use crate::key::RequestKey;

/// The cassettes with this path or name; if there is none, those whose name contains the text or whose key starts with it. The
/// text can also be a folder and the start of a key, as `list` prints them on a terminal.
///
/// # Errors
/// [`ErrorKind::Settings`] when there is none.
pub(crate) async fn find(store: &Store, all: &[Listed], wanted: &str) -> Result<Vec<Listed>> {
    let path = name_of_path(store, wanted);
    let is_exact = |listed: &&Listed| {
        path.as_ref() == Some(&listed.name)
            || listed.name == wanted
            || listed.name.strip_suffix(layout::EXTENSION) == Some(wanted)
    };
    let exact: Vec<Listed> = all.iter().filter(is_exact).cloned().collect();
    if !exact.is_empty() {
        return Ok(exact);
    }
    let mut found = Vec::new();
    for listed in all {
        if matches(store, listed, wanted).await? {
            found.push(listed.clone());
        }
    }
    if found.is_empty() && is_start_of_key(wanted) {
        // The name of a file may have another key than its content.
        found = with_key(store, all, wanted)?;
    }
    if found.is_empty() {
        let message = format!("no cassette in {} matches {wanted:?}", store.location());
        return Err(Error::new(ErrorKind::Settings, message).with_hint("mistral-cassette list prints their names"));
    }
    Ok(found)
}

/// Whether a cassette has this text in its name, or at the start of its key. Reads it if its name does not say.
async fn matches(store: &Store, listed: &Listed, wanted: &str) -> Result<bool> {
    const SHORT: usize = 16;
    if listed.name.contains(wanted) {
        return Ok(true);
    }
    let (folder, start) = wanted.rsplit_once('/').unwrap_or_default();
    match listed.key.as_ref().map(RequestKey::short) {
        Some(short) if is_start_of_key(start) && short.starts_with(start) => {
            Ok(listed.name.rsplit_once('/').is_some_and(|(found, _)| found == folder))
        }
        Some(short) if !is_start_of_key(wanted) || wanted.len() <= SHORT || !wanted.starts_with(short) => Ok(false),
        None if !is_start_of_key(wanted) => Ok(false),
        _ => Ok(store
            .read(listed)
            .await
            .is_ok_and(|cassette| cassette.key.starts_with(wanted))),
    }
}

fn is_start_of_key(text: &str) -> bool {
    (1..=64).contains(&text.len()) && is_lower_hex(text, text.len())
}

/// The cassettes whose content has a key that starts like this.
fn with_key(store: &Store, all: &[Listed], wanted: &str) -> Result<Vec<Listed>> {
    let mut found = Vec::new();
    let has_key = async |document: super::store::Document| {
        let is_found = document.cassette.is_ok_and(|cassette| cassette.key.starts_with(wanted));
        is_found.then_some(document.listed)
    };
    store.each_of(all, has_key, |listed| found.extend(listed))?;
    Ok(found)
}

/// The name in a directory of the file at a path: relative or absolute, through links or not.
fn name_of_path(store: &Store, path: &str) -> Option<String> {
    let root = store.directory.as_ref()?.root().canonicalize().ok()?;
    let path = Path::new(path);
    // A file in the directory may be a link.
    let file = || Some(path.parent()?.canonicalize().ok()?.join(path.file_name()?));
    let inside = |path: &Path| Some(path.strip_prefix(&root).ok()?.to_str()?.replace('\\', "/"));
    if !path.is_file() {
        return None;
    }
    None.or_else(|| inside(&file()?))
        .or_else(|| inside(&path.canonicalize().ok()?))
}

/// The store and the name of a cassette file that is not in the directory of a command: the nearest directory above it that has
/// large bodies or settings, or else its folder.
pub(crate) fn outside(store: &Store, path: &str) -> Result<Option<(Store, Listed)>> {
    let file = Path::new(path);
    if !file.is_file() || name_of_path(store, path).is_some() {
        return Ok(None);
    }
    let is_root = |folder: &&Path| folder.join(layout::BODIES).is_dir() || folder.join(layout::SETTINGS).is_file();
    let absolute = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    let mut folders = absolute.ancestors().skip(1);
    let Some(folder) = folders.clone().find(is_root).or_else(|| folders.next()) else {
        return Ok(None);
    };
    let inside = absolute.strip_prefix(folder).ok().and_then(Path::to_str);
    let Some(name) = inside.map(|name| name.replace('\\', "/")) else {
        return Ok(None);
    };
    let key = RequestKey::from_file_name(&name);
    Ok(Some((
        Store::open(&folder.display().to_string())?,
        Listed { name, key },
    )))
}
