//! What a refresh has done so far, so that one that was broken off goes on where it was.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};

use super::chain::Changes;
use crate::engine::DirectoryEngine;
use crate::error::{Error, ErrorKind, Result};

const FOLDER: &str = ".refresh";
const JOURNAL: &str = "journal.jsonl";
const PENDING: &str = "pending";

/// A file of JSON lines, `.refresh/journal.jsonl` in the cassette directory, held by one process at a time.
///
/// ```text
/// cassettes/.refresh/
///   .gitignore         all of it
///   journal.jsonl      a line for the refresh, one for each recording that was asked again, one when all of them were
///   pending/           with --review: the new recordings, as a cassette directory of their own
/// ```
pub(crate) struct Journal {
    folder: PathBuf,
    file: File,
    pub(crate) head: Head,
    /// One for each recording, sorted by name.
    pub(crate) entries: Vec<Entry>,
    /// Whether all that was chosen was asked again.
    pub(crate) is_finished: bool,
    /// Whether this is an earlier refresh that goes on.
    pub(crate) goes_on: bool,
    /// Whether a line was added.
    is_begun: AtomicBool,
}

/// The first line.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Head {
    /// The version of this form.
    refresh: u32,
    /// When it began: RFC 3339, in UTC.
    pub(crate) at: String,
    /// Whether the new recordings are put aside for review.
    pub(crate) for_review: bool,
}

/// A line behind the first one.
#[derive(Deserialize, Serialize)]
#[serde(untagged)]
enum Line {
    Entry(Entry),
    Finished { finished: String },
}

/// A recording that was asked again. The line is written before the recording; a later line of the same name replaces it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Entry {
    /// What it was called.
    pub(crate) name: String,
    /// What it is called now, and the SHA-256 of its document; `None` when it stays as it was.
    pub(crate) now: Option<(String, String)>,
    /// What later requests take over from it.
    pub(crate) changes: Changes,
}

impl Journal {
    /// The folder of the new recordings that wait for review.
    pub(crate) fn pending(directory: &Path) -> PathBuf {
        directory.join(FOLDER).join(PENDING)
    }

    /// The journal of a refresh that was broken off or waits for review.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] when it cannot be read, or another process holds it.
    pub(crate) fn of(directory: &Path) -> Result<Option<Self>> {
        let folder = directory.join(FOLDER);
        let path = folder.join(JOURNAL);
        let failed = |what: &str, error| {
            Error::new(ErrorKind::Io, format!("cannot {what} {}", path.display())).with_source(error)
        };
        let mut file = match OpenOptions::new().read(true).append(true).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed("open", error)),
        };
        lock(&file, &path)?;
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(|error| failed("read", error))?;
        let Some((head, rest)) = text.split_once('\n') else {
            // Killed before its first line: nothing was asked.
            return Ok(None);
        };
        let damaged = |number: usize, error| {
            Error::new(ErrorKind::Io, format!("{}:{number}: this is no line of a refresh", path.display()))
                .with_source(error)
                .with_hint("--restart begins again; ids that were asked for since are lost to the recordings that follow from them")
        };
        let head: Head = serde_json::from_str(head).map_err(|error| damaged(1, error))?;
        let mut entries = BTreeMap::new();
        let mut is_finished = false;
        for (number, line) in rest.split_inclusive('\n').enumerate() {
            match serde_json::from_str(line) {
                Ok(Line::Entry(entry)) => drop(entries.insert(entry.name.clone(), entry)),
                Ok(Line::Finished { .. }) => is_finished = true,
                // Half a line at the end: killed while it was written, and so before the recording.
                Err(_) if !line.ends_with('\n') => {}
                Err(error) => return Err(damaged(number + 2, error)),
            }
        }
        // What follows half a line begins a line of its own.
        if !text.ends_with('\n') {
            let whole = text.rfind('\n').map_or(0, |at| at + 1);
            file.set_len(whole as u64).map_err(|error| failed("write", error))?;
        }
        Ok(Some(Self {
            folder,
            file,
            head,
            entries: entries.into_values().collect(),
            is_finished,
            goes_on: true,
            is_begun: AtomicBool::new(false),
        }))
    }

    /// Goes on with the journal in this directory, or begins one.
    ///
    /// # Errors
    /// As [`of`](Self::of); [`ErrorKind::Settings`] when new recordings of another refresh wait for review.
    pub(crate) fn open(directory: &Path, for_review: bool, restart: bool) -> Result<Self> {
        let folder = directory.join(FOLDER);
        let pending = Self::pending(directory);
        if is_waiting(&pending) && (restart || !for_review) {
            return Err(Error::new(
                ErrorKind::Settings,
                format!("new recordings wait in {}", pending.display()),
            )
            .with_hint("mistral-cassette review steps through them; with --reject-all it drops them"));
        }
        let earlier = if restart { None } else { Self::of(directory)? };
        // One without a line has done nothing.
        if let Some(journal) = earlier.filter(|journal| !journal.is_empty()) {
            if journal.head.for_review == for_review {
                return Ok(journal);
            }
            return Err(Error::new(
                ErrorKind::Settings,
                format!(
                    "the refresh that began at {} was broken off, and was asked for otherwise",
                    journal.head.at
                ),
            )
            .with_hint("go on with the same flags, or begin again with --restart"));
        }
        let path = folder.join(JOURNAL);
        let failed = |error| Error::new(ErrorKind::Io, format!("cannot write {}", path.display())).with_source(error);
        fs::create_dir_all(&folder).map_err(failed)?;
        // What is half done is of this machine, and in no commit.
        fs::write(folder.join(".gitignore"), "*\n").map_err(failed)?;
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(failed)?;
        lock(&file, &path)?;
        file.set_len(0).map_err(failed)?;
        let head = Head {
            refresh: 1,
            at: crate::cassette::now(),
            for_review,
        };
        write(&mut file, &head).map_err(failed)?;
        Ok(Self {
            folder,
            file,
            head,
            entries: Vec::new(),
            is_finished: false,
            goes_on: false,
            is_begun: AtomicBool::new(false),
        })
    }

    /// Whether nothing was done, so that there is nothing to go on with.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty() && !self.is_begun.load(Ordering::Relaxed)
    }

    /// Whether new recordings wait for review.
    pub(crate) fn is_waiting(&self) -> bool {
        is_waiting(&self.folder.join(PENDING))
    }

    /// Adds a line.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] when it cannot be written.
    pub(crate) fn add(&self, entry: Entry) -> Result<()> {
        self.write(&Line::Entry(entry))
    }

    /// Adds the line that says that all was asked again.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] when it cannot be written.
    pub(crate) fn finish(&self) -> Result<()> {
        self.write(&Line::Finished {
            finished: crate::cassette::now(),
        })
    }

    fn write(&self, line: &Line) -> Result<()> {
        self.is_begun.store(true, Ordering::Relaxed);
        write(&self.file, line).map_err(|error| {
            Error::new(
                ErrorKind::Io,
                format!("cannot write {}", self.folder.join(JOURNAL).display()),
            )
            .with_source(error)
        })
    }

    /// Removes the journal, and with it the folder: all is done.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] when it cannot be removed.
    pub(crate) fn remove(self) -> Result<()> {
        fs::remove_dir_all(&self.folder).map_err(|error| {
            Error::new(ErrorKind::Io, format!("cannot remove {}", self.folder.display())).with_source(error)
        })
    }
}

/// What has done nothing leaves nothing.
impl Drop for Journal {
    fn drop(&mut self) {
        if self.is_empty() && !self.is_waiting() {
            // The next one begins anew, whether or not it is there.
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

fn is_waiting(pending: &Path) -> bool {
    DirectoryEngine::new(pending)
        .list()
        .is_ok_and(|listed| !listed.is_empty())
}

fn write(mut file: impl std::io::Write, line: &impl Serialize) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(line)?;
    line.push(b'\n');
    file.write_all(&line)
}

fn lock(file: &File, path: &Path) -> Result<()> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(Error::new(
            ErrorKind::Io,
            format!("another process holds {}", path.display()),
        )
        .with_hint("one refresh or review of a directory at a time")),
        // A file system without locks.
        Err(TryLockError::Error(_)) => Ok(()),
    }
}
