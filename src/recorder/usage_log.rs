//! The usage log: the cassettes that sessions used, as JSON lines in one file. Any number of processes append to it.

#[cfg(feature = "cli")]
use std::collections::{BTreeMap, BTreeSet};
use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

#[cfg(feature = "cli")]
use super::Summary;
use crate::error::{Error, ErrorKind, Result};
use crate::key::{RequestKey, Scope};

/// The environment variable with the path of the usage log.
pub(crate) const USAGE_LOG_VARIABLE: &str = "MISTRAL_CASSETTE_USAGE_LOG";

/// The former name of [`USAGE_LOG_VARIABLE`]; read when the new one is not set.
pub(crate) const FORMER_USAGE_LOG_VARIABLE: &str = "MISTRAL_CASSETTE_LEDGER";

/// The path of the usage log that the environment names. An empty variable counts as not set.
pub(crate) fn usage_log_from_environment() -> Option<PathBuf> {
    named_by(std::env::var_os)
}

fn named_by(variable: impl Fn(&'static str) -> Option<OsString>) -> Option<PathBuf> {
    [USAGE_LOG_VARIABLE, FORMER_USAGE_LOG_VARIABLE]
        .into_iter()
        .filter_map(variable)
        .find(|path| !path.is_empty())
        .map(PathBuf::from)
}

/// The longest line in bytes. Operating systems append this much in one piece, so lines of processes are not mixed.
const MAX_LINE_BYTES: usize = 4000;

/// The beginning of every line. It finds a line that follows an incomplete one, which a full disk may leave.
#[cfg(feature = "cli")]
const LINE_START: &str = "{\"ledger\":1,";

/// How a request used a cassette.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Use {
    Replayed,
    Recorded,
    Missed,
    /// The upstream answered, and the response was not recorded. An existing recording stays in use.
    NotRecorded,
}

/// Writes what a session uses: each key once for each test, at its first use, so that a killed process loses no key. The
/// number of further uses is written at the end of the session.
pub(crate) struct UsageLog {
    file: Mutex<File>,
    path: PathBuf,
    session: String,
    directory: Option<String>,
    written: Mutex<Written>,
}

/// What this session has written.
#[derive(Default)]
struct Written {
    scopes: HashSet<Scope>,
    /// How often each line was used.
    uses: HashMap<UsedLine, u64>,
    has_failed: bool,
}

/// One line.
#[derive(Deserialize, Serialize)]
struct Line {
    /// The version of this format.
    ledger: u32,
    at: String,
    session: String,
    /// The cassette directory as an absolute path; `None` for a store.
    #[serde(skip_serializing_if = "Option::is_none")]
    directory: Option<String>,
    /// In a line that lists the scopes that a session has used: "" is the root.
    #[serde(skip_serializing_if = "Option::is_none")]
    scopes: Option<Vec<String>>,
    #[serde(flatten)]
    used: Option<UsedLine>,
}

#[derive(Clone, Deserialize, PartialEq, Eq, Hash, Serialize)]
struct UsedLine {
    what: Use,
    scope: String,
    name: String,
    key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    test: Option<String>,
    /// In a line at an end of a session: the number of uses besides those of the lines before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    more: Option<u64>,
}

impl UsageLog {
    /// Opens or creates a usage log. `directory` is the directory of the session's cassettes.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] if the file cannot be written.
    pub(crate) fn open(path: &Path, directory: Option<&Path>) -> Result<Self> {
        static SESSIONS: AtomicU32 = AtomicU32::new(0);
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .map_err(|error| {
                Error::new(ErrorKind::Io, format!("cannot write the usage log {}", path.display())).with_source(error)
            })?;
        let number = SESSIONS.fetch_add(1, Ordering::Relaxed);
        let now = jiff::Timestamp::now().as_millisecond();
        Ok(Self {
            file: Mutex::new(file),
            path: path.to_owned(),
            session: format!("{now:x}-{:x}-{number:x}", std::process::id()),
            directory: directory.map(canonical),
            written: Mutex::default(),
        })
    }

    /// Writes that a cassette was used, unless this session has written the same line.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] if the file cannot be written. It is returned once.
    pub(crate) fn used(&self, key: &RequestKey, what: Use, test: Option<&str>) -> Result<()> {
        let scope = key.scope().as_str().to_owned();
        let used = UsedLine {
            what,
            scope: scope.clone(),
            name: key.name(),
            key: key.hash().to_owned(),
            test: test.map(str::to_owned),
            more: None,
        };
        let (is_new_scope, is_new) = {
            let mut written_before = self.written.lock().unwrap_or_else(PoisonError::into_inner);
            let times = written_before.uses.entry(used.clone()).or_default();
            *times += 1;
            let is_new = *times == 1;
            (written_before.scopes.insert(key.scope().clone()), is_new)
        };
        if is_new_scope {
            self.write(Some(vec![scope]), None)?;
        }
        if is_new { self.write(None, Some(used)) } else { Ok(()) }
    }

    fn write(&self, scopes: Option<Vec<String>>, used: Option<UsedLine>) -> Result<()> {
        let mut line = Line {
            ledger: 1,
            at: crate::cassette::now(),
            session: self.session.clone(),
            directory: self.directory.clone(),
            scopes,
            used,
        };
        let text = |line: &Line| serde_json::to_string(line).unwrap_or_default() + "\n";
        let mut written = text(&line);
        if written.len() > MAX_LINE_BYTES
            && let Some(used) = &mut line.used
        {
            used.test = None;
            written = text(&line);
        }
        let written = self
            .file
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .write_all(written.as_bytes());
        written.or_else(|error| {
            let mut written_before = self.written.lock().unwrap_or_else(PoisonError::into_inner);
            if std::mem::replace(&mut written_before.has_failed, true) {
                return Ok(());
            }
            let message = format!("cannot write the usage log {}", self.path.display());
            Err(Error::new(ErrorKind::Io, message).with_source(error))
        })
    }
}

impl UsageLog {
    /// The name of this session in the log.
    #[cfg(feature = "cli")]
    pub(super) fn session(&self) -> &str {
        &self.session
    }

    /// Writes the number of further uses since the last call.
    pub(super) fn write_further_uses(&self) {
        let further: Vec<UsedLine> = {
            let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
            let repeated = written.uses.iter_mut().filter(|(_, times)| **times > 1);
            repeated
                .map(|(used, times)| UsedLine {
                    more: Some(std::mem::replace(times, 1) - 1),
                    ..used.clone()
                })
                .collect()
        };
        for used in further {
            // If this fails, the counts are too low, and no cassette is missing.
            let _ = self.write(None, Some(used));
        }
    }
}

impl Drop for UsageLog {
    fn drop(&mut self) {
        self.write_further_uses();
    }
}

/// What sessions have used in one directory.
#[cfg(feature = "cli")]
#[derive(Debug, Default)]
pub(crate) struct Used {
    pub(crate) sessions: BTreeSet<String>,
    pub(crate) scopes: BTreeSet<Scope>,
    /// Whether the log covers every user of the directory: then nothing in a scope without a line is used.
    pub(crate) is_of_all_scopes: bool,
    /// Scope and short key.
    cassettes: HashSet<(Scope, String)>,
    /// How often each cassette was replayed, by test.
    pub(crate) replays: HashMap<(Scope, String), BTreeMap<Option<String>, u64>>,
    /// The directories of other sessions.
    pub(crate) others: BTreeSet<String>,
    /// The numbers of the lines that cannot be read, from 1.
    pub(crate) unreadable: Vec<usize>,
}

#[cfg(feature = "cli")]
impl Used {
    /// Reads a usage log from this byte on, for the sessions of one directory.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] if the file cannot be read.
    pub(crate) fn read(usage_log: &Path, from: u64, directory: &Path) -> Result<Self> {
        let bytes = read(usage_log)?;
        let directory = canonical(directory);
        let mut used = Self::default();
        for (number, line) in lines_after(&bytes, from) {
            if !used.add(line, &directory) {
                used.unreadable.push(number);
            }
        }
        Ok(used)
    }

    /// Adds a line. Returns whether all of it could be read.
    fn add(&mut self, line: &[u8], directory: &str) -> bool {
        let Some((line, is_complete)) = parse(line) else {
            return false;
        };
        if line.directory.as_deref() != Some(directory) {
            self.others.extend(line.directory);
            return is_complete;
        }
        self.sessions.insert(line.session);
        let scope_of = |name: &str| match name {
            "" => Some(Scope::root()),
            name => Scope::new(name).ok(),
        };
        self.scopes
            .extend(line.scopes.iter().flatten().filter_map(|name| scope_of(name)));
        if let Some(used) = line.used
            && used.what != Use::Missed
            && let Some(scope) = scope_of(&used.scope)
        {
            let short = used.key.get(..16).unwrap_or_default().to_owned();
            let cassette = (scope, short);
            if used.what == Use::Replayed {
                let tests = self.replays.entry(cassette.clone()).or_default();
                *tests.entry(used.test).or_default() += used.more.unwrap_or(1);
            }
            self.cassettes.insert(cassette);
        }
        is_complete
    }

    /// Whether nothing is known about the scope of this cassette.
    pub(crate) fn is_unknown_scope(&self, key: &RequestKey) -> bool {
        !self.is_of_all_scopes && !self.scopes.contains(key.scope())
    }

    /// Whether sessions used the scope of this cassette, and not the cassette.
    pub(crate) fn is_unused(&self, key: &RequestKey) -> bool {
        !self.is_unknown_scope(key) && !self.cassettes.contains(&(key.scope().clone(), key.short().to_owned()))
    }
}

/// Counts how requests were answered, from this byte of a usage log on, in all sessions except this one.
///
/// # Errors
/// [`ErrorKind::Io`] if the file cannot be read.
#[cfg(feature = "cli")]
pub(crate) fn summary_of_others(usage_log: &Path, from: u64, session: Option<&str>) -> Result<Summary> {
    let bytes = read(usage_log)?;
    let mut summary = Summary::default();
    for (line, _) in lines_after(&bytes, from).filter_map(|(_, line)| parse(line)) {
        if let Some(used) = line.used
            && Some(&*line.session) != session
        {
            let count = match used.what {
                Use::Replayed => &mut summary.replayed,
                Use::Recorded => &mut summary.recorded,
                Use::Missed => &mut summary.missed,
                Use::NotRecorded => &mut summary.skipped,
            };
            *count += used.more.map_or(1, |more| usize::try_from(more).unwrap_or(usize::MAX));
        }
    }
    Ok(summary)
}

#[cfg(feature = "cli")]
fn read(usage_log: &Path) -> Result<Vec<u8>> {
    std::fs::read(usage_log).map_err(|error| {
        let what = match error.kind() {
            std::io::ErrorKind::NotFound => "does not exist",
            _ => "cannot be read",
        };
        Error::new(ErrorKind::Io, format!("the usage log {} {what}", usage_log.display()))
            .with_source(error)
            .with_hint(format!(
                "run the tests with {USAGE_LOG_VARIABLE} set to its path, or with --usage-log"
            ))
    })
}

/// The lines after this byte with their numbers, from 1: all of them if the file is shorter, because it is a new one then.
#[cfg(feature = "cli")]
fn lines_after(bytes: &[u8], from: u64) -> impl Iterator<Item = (usize, &[u8])> {
    let from = usize::try_from(from)
        .ok()
        .filter(|from| *from <= bytes.len())
        .unwrap_or_default();
    let before = memchr::memchr_iter(b'\n', &bytes[..from]).count();
    (before + 1..)
        .zip(bytes[from..].split(|byte| *byte == b'\n'))
        .filter(|(_, line)| !line.is_empty())
}

/// Reads a line. Returns it, and whether it is all that the line contains: a full disk may have left half a line before it.
#[cfg(feature = "cli")]
fn parse(line: &[u8]) -> Option<(Line, bool)> {
    let begin = memchr::memmem::rfind(line, LINE_START.as_bytes())?;
    let line = serde_json::from_slice(&line[begin..]).ok()?;
    Some((line, begin == 0))
}

/// The canonical form of a path, whether or not it exists.
fn canonical(path: &Path) -> String {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let known = absolute
        .ancestors()
        .find_map(|there| Some((std::fs::canonicalize(there).ok()?, absolute.strip_prefix(there).ok()?)));
    let found = match known {
        Some((there, rest)) if rest.as_os_str().is_empty() => there,
        Some((there, rest)) => there.join(rest),
        None => absolute,
    };
    found.display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_new_variable_wins_over_the_former_one_and_empty_ones_count_as_not_set() {
        let read = |new: Option<&str>, former: Option<&str>| {
            named_by(|variable| match variable {
                USAGE_LOG_VARIABLE => new.map(OsString::from),
                FORMER_USAGE_LOG_VARIABLE => former.map(OsString::from),
                _ => None,
            })
        };
        assert_eq!(read(Some("new"), Some("former")), Some(PathBuf::from("new")));
        assert_eq!(read(None, Some("former")), Some(PathBuf::from("former")));
        assert_eq!(read(Some(""), Some("former")), Some(PathBuf::from("former")));
        assert_eq!(read(Some(""), Some("")), None);
        assert_eq!(read(None, None), None);
    }
}
