//! Scopes: the subfolders of a cassette directory, one for each test or test suite.

use std::fmt;

use super::names::{has_portable_characters, is_reserved};
use crate::error::{Error, ErrorKind, Result};

/// The maximum length of a scope name, in bytes.
const LONGEST_SCOPE: usize = 200;

/// The maximum length of one folder name in a scope, in bytes.
const LONGEST_FOLDER: usize = 100;

/// A subfolder of a cassette directory for one test or test suite. The root scope is the directory itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Scope(String);

impl Scope {
    /// Returns the root scope: the cassette directory itself.
    pub fn root() -> Self {
        Self::default()
    }

    /// Creates a scope from one or more folder names joined by `/`.
    ///
    /// A [`DirectoryEngine`](crate::DirectoryEngine) refuses a scope that differs only in case from an existing one: on some
    /// file systems they would share a folder.
    ///
    /// # Errors
    /// [`ErrorKind::Request`] unless each folder name has 1 to 100 characters of `A–Z a–z 0–9 _ - .`, does not begin
    /// or end with a dot, does not end with `.yaml`, and is neither `bodies` nor a device name of Windows (`aux`,
    /// `nul`), and unless the complete name has at most 200 characters.
    pub fn new(name: &str) -> Result<Self> {
        if name.len() > LONGEST_SCOPE {
            return Err(Error::new(
                ErrorKind::Request,
                format!(
                    "invalid scope: the name has {} bytes, and at most {LONGEST_SCOPE} are allowed",
                    name.len()
                ),
            ));
        }
        match name.split('/').find(|folder| !is_valid_folder(folder)) {
            None => Ok(Self(name.to_owned())),
            Some(folder) => Err(Error::new(
                ErrorKind::Request,
                format!("invalid scope {name:?}: the folder name {folder:?} is not allowed"),
            )
            .with_hint("use 1 to 100 letters, digits, _, - and . (not first or last); \"bodies\", names that end in .yaml and device names of Windows are reserved")),
        }
    }

    /// The scope of this name below this scope.
    ///
    /// # Errors
    /// As for [`new`](Self::new): the complete name is too long.
    #[cfg(feature = "proxy")]
    pub(crate) fn join(&self, below: &Self) -> Result<Self> {
        if self.is_root() || below.is_root() {
            return Ok(if self.is_root() { below.clone() } else { self.clone() });
        }
        Self::new(&format!("{self}/{below}"))
    }

    /// The name; empty for the root scope.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is the cassette directory itself.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }
}

/// Whether every supported operating system accepts this folder name and the cassette directory does not reserve it.
fn is_valid_folder(folder: &str) -> bool {
    folder.len() <= LONGEST_FOLDER && has_portable_characters(folder) && !is_reserved(folder)
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_scope_names_are_refused() {
        for name in ["weather_agent", "suite/test-1", "a.b", "weather"] {
            assert_eq!(Scope::new(name).unwrap().as_str(), name);
        }
        for name in [
            "",
            ".",
            "..",
            "../x",
            "a/../b",
            "a//b",
            "/a",
            "a/",
            "a\\b",
            "C:",
            ".git",
            "a.",
            "bodies",
            "bodies/x",
            "settings.yaml",
            "Bodies",
            "X.YAML",
            "aux",
            "NUL.x",
            "a/b.yaml",
            "é",
            "a b",
            "a\0",
        ] {
            assert!(Scope::new(name).is_err(), "{name:?}");
        }
        assert!(Scope::new(&"x".repeat(101)).is_err());
        assert!(Scope::new(&"x/".repeat(200)[..399]).is_err());
    }
}
