//! The journal of a refresh: it records what is done, so that the next refresh resumes after an interruption.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::checked::Check;
use super::substitutions::Substitutions;
use crate::engine::{CacheEngine, DirectoryEngine};
use crate::error::{Error, ErrorKind, Result};
use crate::hash::sha256_hex;
use crate::key::RequestKey;

const FOLDER: &str = ".refresh";
const IGNORED: &str = ".gitignore";
const JOURNAL: &str = "journal.jsonl";
const PENDING: &str = "pending";
const STAGED: &str = "staged";
const CHECKED: &str = "checked.jsonl";

/// A file of JSON lines, `.refresh/journal.jsonl` in the cassette directory. One process at a time has it locked.
///
/// ```text
/// cassettes/.refresh/
///   .gitignore         ignores the folder
///   journal.jsonl      one line for the refresh, one for each chain that was sent again, one at the end
///   staged/            the new recordings of a chain before they replace the old ones
///   pending/           with --review: the new recordings, as a cassette directory
///   checked.jsonl      which recordings were checked; it stays when the rest is removed
/// ```
pub(crate) struct Journal {
    folder: PathBuf,
    file: File,
    pub(crate) head: Head,
    /// One for each recording, sorted by name.
    pub(crate) entries: Vec<Entry>,
    /// Whether every selected recording was sent again.
    pub(crate) is_finished: bool,
    /// Whether this continues an earlier refresh.
    pub(crate) is_resumed: bool,
    /// Whether this process added a line.
    has_new_lines: AtomicBool,
}

/// The first line.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Head {
    /// The version of the file format.
    refresh: u32,
    /// When the refresh started: RFC 3339, in UTC.
    pub(crate) at: String,
    /// Whether the new recordings wait for review.
    pub(crate) for_review: bool,
}

/// Any line after the first one.
#[derive(Deserialize, Serialize)]
#[serde(untagged)]
enum Line {
    /// The recordings of a chain.
    Chain {
        chain: Vec<Entry>,
    },
    Entry(Box<Entry>),
    Finished {
        finished: String,
    },
}

/// A recording that was sent again. The journal has the line before the new recording is written; a later line with the
/// same name replaces it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Entry {
    /// The name of the old recording.
    pub(crate) name: String,
    /// The name of the new recording and the SHA-256 of its document; `None` when the recording does not change.
    #[serde(rename = "now")]
    pub(crate) replacement: Option<(String, String)>,
    /// The new values for later requests.
    #[serde(rename = "changes")]
    pub(crate) substitutions: Substitutions,
    /// The check of a recording that does not change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) checked: Option<Check>,
    /// The number of its line, which is the same for all recordings of a chain.
    #[serde(skip)]
    pub(crate) line: usize,
}

impl Entry {
    /// Returns the key of the old recording.
    pub(crate) fn old_key(&self) -> Option<RequestKey> {
        RequestKey::from_file_name(&self.name)
    }

    /// Returns the key of the new recording, and the SHA-256 of its document.
    fn new_key(&self) -> Option<(RequestKey, &str)> {
        let (name, sha256) = self.replacement.as_ref()?;
        Some((RequestKey::from_file_name(name)?, sha256))
    }

    /// Writes the new recording from the staged documents if the engine has another one. Returns its key, or `None` if
    /// neither has it.
    ///
    /// # Errors
    /// When an engine cannot be read or written.
    pub(crate) async fn write_staged(
        &self,
        engine: &dyn CacheEngine,
        staged: &dyn CacheEngine,
    ) -> Result<Option<RequestKey>> {
        let Some((key, sha256)) = self.new_key() else {
            return Ok(None);
        };
        let is_new = |document: &Bytes| sha256_hex(document) == sha256;
        if engine.get(&key).await?.as_ref().is_some_and(is_new) {
            return Ok(Some(key));
        }
        match staged.get(&key).await?.filter(is_new) {
            Some(document) => engine.set(&key, document).await.map(|()| Some(key)),
            None => Ok(None),
        }
    }

    /// Returns the key of the new recording, if the engine has exactly this document.
    ///
    /// # Errors
    /// When the engine cannot be read.
    pub(crate) async fn written_key(&self, engine: &dyn CacheEngine) -> Result<Option<RequestKey>> {
        let Some((key, sha256)) = self.new_key() else {
            return Ok(None);
        };
        let document = engine.get(&key).await?;
        Ok(document
            .is_some_and(|document| sha256_hex(&document) == sha256)
            .then_some(key))
    }

    /// Removes the old recording when the new one has another key.
    ///
    /// # Errors
    /// When the engine cannot be written.
    pub(crate) async fn remove_old(&self, engine: &dyn CacheEngine, new: &RequestKey) -> Result<()> {
        match self.old_key() {
            Some(old) if old.short() != new.short() => engine.remove(&old).await,
            _ => Ok(()),
        }
    }
}

impl Journal {
    /// Returns the folder of the new recordings that wait for review.
    pub(crate) fn pending_folder(directory: &Path) -> PathBuf {
        directory.join(FOLDER).join(PENDING)
    }

    /// Returns the file that names the checked recordings.
    pub(crate) fn checked_file(directory: &Path) -> PathBuf {
        directory.join(FOLDER).join(CHECKED)
    }

    /// Loads the journal of a refresh that was interrupted or waits for review.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] when the file cannot be read, or another process has it locked.
    pub(crate) fn load(directory: &Path) -> Result<Option<Self>> {
        let folder = directory.join(FOLDER);
        let path = folder.join(JOURNAL);
        let failed = |what: &str, error| io_error(what, &path, error);
        let mut file = match OpenOptions::new().read(true).append(true).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed("open", error)),
        };
        lock(&file, &path)?;
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(|error| failed("read", error))?;
        let Some(Lines {
            head,
            entries,
            is_finished,
        }) = parse(&text, &path)?
        else {
            return Ok(None);
        };
        // The next line must not continue an incomplete one.
        if !text.ends_with('\n') {
            let complete = text.rfind('\n').map_or(0, |at| at + 1);
            file.set_len(complete as u64).map_err(|error| failed("write", error))?;
        }
        Ok(Some(Self {
            folder,
            file,
            head,
            entries,
            is_finished,
            is_resumed: true,
            has_new_lines: AtomicBool::new(false),
        }))
    }

    /// Loads the journal in this directory, or creates one.
    ///
    /// # Errors
    /// As [`load`](Self::load); [`ErrorKind::Settings`] when recordings of an earlier refresh wait for review, or the earlier
    /// refresh had other flags.
    pub(crate) fn open(directory: &Path, for_review: bool, restart: bool) -> Result<Self> {
        let pending = Self::pending_folder(directory);
        if has_recordings(&pending) && (restart || !for_review) {
            return Err(Error::new(
                ErrorKind::Settings,
                format!("new recordings wait for review in {}", pending.display()),
            )
            .with_hint("mistral-cassette review shows them one by one; review --reject-all deletes them"));
        }
        let earlier = if restart { None } else { Self::load(directory)? };
        // Without an entry there is nothing to resume.
        let Some(journal) = earlier.filter(|journal| !journal.is_empty()) else {
            return Self::create(directory, for_review);
        };
        if journal.head.for_review == for_review {
            return Ok(journal);
        }
        let flag = if for_review { "without" } else { "with" };
        let message = format!(
            "the interrupted refresh of {} was started {flag} --review",
            journal.head.at
        );
        Err(Error::new(ErrorKind::Settings, message).with_hint("use the same flags to resume it, or --restart"))
    }

    fn create(directory: &Path, for_review: bool) -> Result<Self> {
        let folder = directory.join(FOLDER);
        let path = folder.join(JOURNAL);
        let failed = |error| io_error("write", &path, error);
        fs::create_dir_all(&folder).map_err(failed)?;
        // The state of a refresh must not be committed.
        fs::write(folder.join(IGNORED), "*\n").map_err(failed)?;
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
            is_resumed: false,
            has_new_lines: AtomicBool::new(false),
        })
    }

    /// Whether the journal has no entry, so that there is nothing to resume.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty() && !self.has_new_lines.load(Ordering::Relaxed)
    }

    /// Whether new recordings wait for review.
    pub(crate) fn has_pending(&self) -> bool {
        has_recordings(&self.folder.join(PENDING))
    }

    /// Adds the line of a chain.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] when the file cannot be written.
    pub(crate) fn add(&self, chain: Vec<Entry>) -> Result<()> {
        self.write(&Line::Chain { chain })
    }

    /// Adds the line of one recording.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] when the file cannot be written.
    pub(crate) fn add_one(&self, entry: Entry) -> Result<()> {
        self.write(&Line::Entry(Box::new(entry)))
    }

    /// The new recordings of chains before they are written.
    pub(crate) fn staged(&self) -> DirectoryEngine {
        DirectoryEngine::new(self.folder.join(STAGED))
    }

    /// Adds the last line: every recording was sent again.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] when the file cannot be written.
    pub(crate) fn finish(&self) -> Result<()> {
        self.write(&Line::Finished {
            finished: crate::cassette::now(),
        })
    }

    fn write(&self, line: &Line) -> Result<()> {
        self.has_new_lines.store(true, Ordering::Relaxed);
        write(&self.file, line).map_err(|error| {
            Error::new(
                ErrorKind::Io,
                format!("cannot write {}", self.folder.join(JOURNAL).display()),
            )
            .with_source(error)
        })
    }

    /// Removes the journal after a complete refresh.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] when it cannot be removed.
    pub(crate) fn remove(self) -> Result<()> {
        remove_state(&self.folder).map_err(|error| {
            Error::new(ErrorKind::Io, format!("cannot remove {}", self.folder.display())).with_source(error)
        })
    }
}

/// Removes a journal without entries.
impl Drop for Journal {
    fn drop(&mut self) {
        if self.is_empty() && !self.has_pending() {
            // If this fails, the next refresh replaces the empty journal.
            let _ = remove_state(&self.folder);
        }
    }
}

/// Removes the state of a refresh, but not which recordings were checked.
fn remove_state(folder: &Path) -> std::io::Result<()> {
    if !folder.join(CHECKED).exists() {
        return fs::remove_dir_all(folder);
    }
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == CHECKED || name == IGNORED {
            continue;
        }
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// The parsed lines of a journal.
struct Lines {
    head: Head,
    /// Sorted by name.
    entries: Vec<Entry>,
    is_finished: bool,
}

/// Parses a journal; `None` when the process was killed before it wrote the first line.
fn parse(text: &str, path: &Path) -> Result<Option<Lines>> {
    let Some((head, rest)) = text.split_once('\n') else {
        return Ok(None);
    };
    let damaged = |number: usize, error| {
        let message = format!("{}:{number}: the line of the journal is invalid", path.display());
        Error::new(ErrorKind::Io, message)
            .with_source(error)
            .with_hint("--restart starts again; recordings that depend on refreshed ids then keep the old ids")
    };
    let numbered = |entry: Entry, line| (entry.name.clone(), Entry { line, ..entry });
    let head: Head = serde_json::from_str(head).map_err(|error| damaged(1, error))?;
    let mut entries = BTreeMap::new();
    let mut is_finished = false;
    for (number, line) in rest.split_inclusive('\n').enumerate() {
        match serde_json::from_str(line) {
            Ok(Line::Chain { chain }) => entries.extend(chain.into_iter().map(|entry| numbered(entry, number))),
            Ok(Line::Entry(entry)) => entries.extend([numbered(*entry, number)]),
            Ok(Line::Finished { .. }) => is_finished = true,
            // The process was killed while it wrote the last line, and so before it wrote the recording.
            Err(_) if !line.ends_with('\n') => {}
            Err(error) => return Err(damaged(number + 2, error)),
        }
    }
    Ok(Some(Lines {
        head,
        entries: entries.into_values().collect(),
        is_finished,
    }))
}

fn io_error(what: &str, path: &Path, error: std::io::Error) -> Error {
    Error::new(ErrorKind::Io, format!("cannot {what} {}", path.display())).with_source(error)
}

fn has_recordings(folder: &Path) -> bool {
    DirectoryEngine::new(folder)
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
            format!("another process has locked {}", path.display()),
        )
        .with_hint("only one refresh or review of a directory can run at a time")),
        // The file system has no locks.
        Err(TryLockError::Error(_)) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = r#"{"refresh":1,"at":"2026-11-21T10:00:00Z","for_review":false}"#;

    fn lines(text: &str) -> Result<Option<Lines>> {
        parse(text, Path::new("journal.jsonl"))
    }

    fn entry(name: &str, new: &str) -> String {
        format!(r#"{{"name":"{name}","now":["{new}","00"],"changes":{{"ids":[],"said":[]}}}}"#)
    }

    #[test]
    fn a_later_line_replaces_an_earlier_one_with_the_same_name() {
        let text = [HEAD, &entry("b", "1"), &entry("a", "2"), &entry("b", "3"), ""].join("\n");
        let read = lines(&text).unwrap().unwrap();
        let new = |entry: &Entry| (entry.name.clone(), entry.replacement.clone().unwrap().0);
        let new: Vec<_> = read.entries.iter().map(new).collect();
        assert_eq!(
            new,
            [("a".to_owned(), "2".to_owned()), ("b".to_owned(), "3".to_owned())]
        );
        assert!(!read.is_finished);
    }

    #[test]
    fn an_incomplete_last_line_is_ignored() {
        let text = [HEAD, &entry("a", "1"), r#"{"name":"b""#].join("\n");
        assert_eq!(lines(&text).unwrap().unwrap().entries.len(), 1);
        assert!(lines(r#"{"refresh":1"#).unwrap().is_none());
    }

    #[test]
    fn an_invalid_line_is_an_error_with_its_number() {
        let text = [HEAD, "{}", &entry("a", "1"), ""].join("\n");
        let error = lines(&text).map(drop).unwrap_err();
        assert!(error.message().starts_with("journal.jsonl:2: "), "{error}");
    }
}
