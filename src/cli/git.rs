//! Runs git, and reads which files it can restore.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Runs git in a folder: its output, or the reason of its failure.
pub(super) fn git(folder: &Path, arguments: &[&str]) -> Result<Vec<u8>, String> {
    git_with_message(folder, arguments)
        .map_err(|why| why.unwrap_or_else(|| format!("git {} failed without a message", arguments.join(" "))))
}

/// Runs git in a folder: its output, or its error message if it has printed one.
pub(super) fn git_with_message(folder: &Path, arguments: &[&str]) -> Result<Vec<u8>, Option<String>> {
    let output = Command::new("git")
        .arg("--no-optional-locks")
        .args(arguments)
        .current_dir(folder)
        // `Git::read` recognizes a message of git by its words.
        .env("LC_ALL", "C")
        .output();
    let output = output.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound if folder.is_dir() => "git is not installed".to_owned(),
        _ => format!("git cannot be run ({error})"),
    })?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let message = String::from_utf8_lossy(&output.stderr);
    Err(message.lines().next().map(str::to_owned))
}

/// The state in git of the files of a directory.
pub(super) enum Git {
    Repository {
        root: PathBuf,
        /// Paths within the directory, with slashes.
        tracked: HashSet<String>,
        /// Paths with uncommitted changes, and the kind of change.
        changed: HashMap<String, &'static str>,
    },
    /// The state cannot be read, for this reason.
    Unknown(String),
}

impl Git {
    pub(super) fn of(root: &Path) -> Self {
        Self::read(root).unwrap_or_else(Self::Unknown)
    }

    fn read(root: &Path) -> Result<Self, String> {
        let run = |arguments: &[&str]| {
            let output = git(root, arguments).map_err(|why| {
                let location = root.display();
                if why.contains("not a git repository") {
                    format!("{location} is not in a git repository ({why})")
                } else {
                    format!("cannot read the git status of {location} ({why})")
                }
            })?;
            Ok::<_, String>(String::from_utf8_lossy(&output).into_owned())
        };
        let prefix = run(&["rev-parse", "--show-prefix"])?;
        let prefix = prefix.trim_end_matches('\n');
        // Files that are marked `assume-unchanged` or `skip-worktree` have another letter than H.
        let tracked = run(&["ls-files", "-v", "-z", "--", "."])?
            .split('\0')
            .filter_map(|entry| entry.strip_prefix("H "))
            .map(str::to_owned)
            .collect();
        let status = run(&[
            "status",
            "--porcelain=v1",
            "-z",
            "--untracked-files=all",
            "--no-renames",
            "--",
            ".",
        ])?;
        Ok(Self::Repository {
            root: root.to_owned(),
            tracked,
            changed: changed_files(&status, prefix),
        })
    }

    /// Why git cannot restore this file; `None` if it can, or if the state of all files is unknown.
    pub(super) fn risk(&self, path: &Path) -> Option<String> {
        let Self::Repository { root, tracked, changed } = self else {
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

/// The uncommitted changes in the output of `git status --porcelain=v1 -z`, by path within the folder `prefix`.
fn changed_files(status: &str, prefix: &str) -> HashMap<String, &'static str> {
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
    changed
}
