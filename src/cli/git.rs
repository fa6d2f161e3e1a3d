//! git: what it says, and what it could bring back.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Runs git in a folder; what it prints, or in half a sentence why it does not.
pub(super) fn git(folder: &Path, arguments: &[&str]) -> Result<Vec<u8>, String> {
    let output = Command::new("git")
        .arg("--no-optional-locks")
        .args(arguments)
        .current_dir(folder)
        // What it says is told apart by its words.
        .env("LC_ALL", "C")
        .output();
    let output = output.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound if folder.is_dir() => "git is not installed".to_owned(),
        _ => format!("git cannot be run ({error})"),
    })?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(match said.lines().next() {
        Some(said) => said.to_owned(),
        None => format!("git {} has ended with {}", arguments.join(" "), output.status),
    })
}

/// What git knows of the files in a directory.
pub(super) enum Git {
    /// By path inside the directory, with slashes.
    RequestCache {
        root: PathBuf,
        tracked: HashSet<String>,
        changed: HashMap<String, &'static str>,
    },
    /// It knows none, and why.
    None(String),
}

impl Git {
    pub(super) fn of(root: &Path) -> Self {
        Self::read(root).unwrap_or_else(Self::None)
    }

    fn read(root: &Path) -> Result<Self, String> {
        let ask = |arguments: &[&str]| {
            let said = git(root, arguments).map_err(|why| {
                let place = root.display();
                if why.contains("not a git repository") {
                    format!("{place} is in no git repository ({why})")
                } else {
                    format!("git cannot tell what it could bring back of {place} ({why})")
                }
            })?;
            Ok::<_, String>(String::from_utf8_lossy(&said).into_owned())
        };
        let prefix = ask(&["rev-parse", "--show-prefix"])?;
        let prefix = prefix.trim_end_matches('\n');
        // A file that git was told to overlook has another letter than H.
        let tracked = ask(&["ls-files", "-v", "-z", "--", "."])?
            .split('\0')
            .filter_map(|entry| entry.strip_prefix("H "))
            .map(str::to_owned)
            .collect();
        let status = ask(&[
            "status",
            "--porcelain=v1",
            "-z",
            "--untracked-files=all",
            "--no-renames",
            "--",
            ".",
        ])?;
        let mut changed = HashMap::new();
        for entry in status.split('\0') {
            let (Some(letters), Some(path)) = (entry.get(..2), entry.get(3..)) else {
                continue;
            };
            let state = match letters {
                "??" => "untracked",
                letters if !letters.starts_with(' ') => "staged and not committed",
                _ => "modified",
            };
            if let Some(inside) = path.strip_prefix(prefix) {
                changed.insert(inside.to_owned(), state);
            }
        }
        Ok(Self::RequestCache {
            root: root.to_owned(),
            tracked,
            changed,
        })
    }

    /// Why git could not bring this file back; `None` when it could.
    pub(super) fn risk(&self, path: &Path) -> Option<String> {
        let Self::RequestCache { root, tracked, changed } = self else {
            // Said once, and for all files.
            return None;
        };
        let inside = path.strip_prefix(root).unwrap_or(path);
        let parts: Vec<_> = inside.iter().map(|part| part.to_string_lossy()).collect();
        let inside = parts.join("/");
        match changed.get(&inside) {
            Some(state) => Some(format!("{state} in git")),
            None if tracked.contains(&inside) => None,
            None => Some("not tracked in git".to_owned()),
        }
    }
}
