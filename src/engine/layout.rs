//! The names of files in a cassette directory and of objects in a bucket.
//!
//! Names are paths inside the directory, with slashes. The name of a cassette is
//! [`RequestKey::name`](crate::RequestKey::name) and an extension.

#[cfg(feature = "cli")]
use std::path::{Path, PathBuf};

#[cfg(any(feature = "cli", feature = "object-store"))]
use crate::hash::is_lower_hex;
pub(crate) use crate::key::{BODIES, EXTENSION};

/// The name of the settings document.
pub(crate) const SETTINGS: &str = "settings.yaml";

/// Returns whether a file with this name is treated as a cassette.
pub(crate) fn is_cassette(name: &str) -> bool {
    let is_hidden = name.split('/').any(|part| part.starts_with('.'));
    name.ends_with(EXTENSION) && name != SETTINGS && !is_in_bodies(name) && !is_hidden
}

fn is_in_bodies(name: &str) -> bool {
    name.strip_prefix(BODIES).is_some_and(|inside| inside.starts_with('/'))
}

/// Returns the name of a large body.
pub(crate) fn body(sha256: &str) -> String {
    format!("{BODIES}/{sha256}")
}

/// Returns whether this is the name of a large body.
#[cfg(any(feature = "cli", feature = "object-store"))]
pub(crate) fn is_body(name: &str) -> bool {
    let sha256 = name.rsplit('/').next().unwrap_or_default();
    is_lower_hex(sha256, 64) && name == body(sha256)
}

/// Returns the names and paths of all files in the folder for large bodies, sorted, including other files.
#[cfg(feature = "cli")]
pub(crate) fn files_in_bodies(root: &Path) -> Vec<(String, PathBuf)> {
    let entries = std::fs::read_dir(root.join(BODIES)).into_iter().flatten().flatten();
    let mut files: Vec<(String, PathBuf)> = entries
        .map(|entry| (body(&entry.file_name().to_string_lossy()), entry.path()))
        .collect();
    files.sort();
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_is_a_cassette_a_body_or_neither() {
        let hash = "0123456789abcdef".repeat(4);
        for name in [
            "chat/a-3f9a1c2b7d4e8a10.yaml",
            "one/bodies.yaml",
            "renamed.yaml",
            "bodiesx/a.yaml",
        ] {
            assert!(is_cassette(name), "{name}");
        }
        for name in [
            SETTINGS,
            "bodies/a-3f9a1c2b7d4e8a10.yaml",
            "chat/.a.yaml",
            ".hidden/a.yaml",
            "chat/notes.txt",
            &body(&hash),
        ] {
            assert!(!is_cassette(name), "{name}");
        }
        #[cfg(any(feature = "cli", feature = "object-store"))]
        {
            assert!(is_body(&body(&hash)));
            for name in [
                &*hash,
                &body(&hash.to_uppercase()),
                &body("README"),
                &format!("one/{}", body(&hash)),
            ] {
                assert!(!is_body(name), "{name}");
            }
        }
    }
}
