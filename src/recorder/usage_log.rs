//! The ledger: which cassettes were used, by any number of sessions and processes, as lines of JSON in one file.

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

use crate::error::{Error, ErrorKind, Result};
use crate::key::{RequestKey, Scope};

/// The environment variable with the path of the usage log.
pub(crate) const USAGE_LOG_VARIABLE: &str = "MISTRAL_CASSETTE_USAGE_LOG";

/// The former name of [`USAGE_LOG_VARIABLE`]; read when the new one is not set.
pub(crate) const FORMER_USAGE_LOG_VARIABLE: &str = "MISTRAL_CASSETTE_LEDGER";

/// The path of the usage log that the environment names. An empty variable counts as not set.
pub(crate) fn usage_log_from_environment() -> Option<PathBuf> {
    named_by(|variable| std::env::var_os(variable))
}

fn named_by(variable: impl Fn(&'static str) -> Option<OsString>) -> Option<PathBuf> {
    [USAGE_LOG_VARIABLE, FORMER_USAGE_LOG_VARIABLE]
        .into_iter()
        .filter_map(variable)
        .find(|path| !path.is_empty())
        .map(PathBuf::from)
}

/// A line is written at once, and no longer than what a system writes undivided.
const LONGEST_LINE: usize = 4000;

/// How every line begins; so what follows half a line, which a full disk may leave, is still found.
#[cfg(feature = "cli")]
const BEGINNING: &str = "{\"ledger\":1,";

/// What became of a cassette.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Use {
    Replayed,
    Recorded,
    Missed,
}

/// Where a session writes what it has used, each key once for a test, at its first use: a process that is killed loses no
/// key. How often it was used again is written when the session ends.
pub(crate) struct UsageLog {
    file: Mutex<File>,
    path: PathBuf,
    session: String,
    directory: Option<String>,
    told: Mutex<Told>,
}

#[derive(Default)]
struct Told {
    scopes: HashSet<Scope>,
    /// How often, by what was written of it.
    uses: HashMap<UsedLine, u64>,
    has_failed: bool,
}

/// One line.
#[derive(Deserialize, Serialize)]
struct Line {
    /// The version of this form.
    ledger: u32,
    at: String,
    session: String,
    /// The cassette directory as an absolute path; `None` for a store.
    #[serde(skip_serializing_if = "Option::is_none")]
    directory: Option<String>,
    /// In a line that says what a session has seen: a scope, the root being "".
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
    /// In a line at the end of a session: how many times more than the lines before it say.
    #[serde(skip_serializing_if = "Option::is_none")]
    more: Option<u64>,
}

impl UsageLog {
    /// Opens a ledger, or begins one; `directory` is where the session's cassettes are.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] when it cannot be written.
    pub(crate) fn open(path: &Path, directory: Option<&Path>) -> Result<Self> {
        static SESSIONS: AtomicU32 = AtomicU32::new(0);
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .map_err(|error| {
                Error::new(
                    ErrorKind::Io,
                    format!("the ledger {} cannot be written", path.display()),
                )
                .with_source(error)
            })?;
        let number = SESSIONS.fetch_add(1, Ordering::Relaxed);
        let now = jiff::Timestamp::now().as_millisecond();
        Ok(Self {
            file: Mutex::new(file),
            path: path.to_owned(),
            session: format!("{now:x}-{:x}-{number:x}", std::process::id()),
            directory: directory.map(whole),
            told: Mutex::default(),
        })
    }

    /// Writes that a cassette was used, unless that stands there already.
    ///
    /// # Errors
    /// [`ErrorKind::Io`], once, when it cannot be written.
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
            let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            let times = told.uses.entry(used.clone()).or_default();
            *times += 1;
            let is_new = *times == 1;
            (told.scopes.insert(key.scope().clone()), is_new)
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
        if written.len() > LONGEST_LINE
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
            let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            if std::mem::replace(&mut told.has_failed, true) {
                return Ok(());
            }
            let message = format!("the ledger {} cannot be written", self.path.display());
            Err(Error::new(ErrorKind::Io, message).with_source(error))
        })
    }
}

impl Drop for UsageLog {
    fn drop(&mut self) {
        let told = std::mem::take(&mut *self.told.lock().unwrap_or_else(PoisonError::into_inner));
        for (used, times) in told.uses.into_iter().filter(|(_, times)| *times > 1) {
            let more = Some(times - 1);
            // Whoever counts by a ledger counts at least what it holds.
            let _ = self.write(None, Some(UsedLine { more, ..used }));
        }
    }
}

/// What sessions have used of one directory.
#[cfg(feature = "cli")]
#[derive(Debug, Default)]
pub(crate) struct Used {
    pub(crate) sessions: BTreeSet<String>,
    pub(crate) scopes: BTreeSet<Scope>,
    /// Whether it is of all that use the directory, so that nothing is used in scopes that were not seen.
    pub(crate) is_of_all_scopes: bool,
    /// Scope and short key.
    cassettes: HashSet<(Scope, String)>,
    /// How often each was replayed, by the test that did.
    pub(crate) replays: HashMap<(Scope, String), BTreeMap<Option<String>, u64>>,
    /// The directories of other sessions.
    pub(crate) others: BTreeSet<String>,
    /// The lines that cannot be read, counted from 1: what they say is not known.
    pub(crate) unreadable: Vec<usize>,
}

#[cfg(feature = "cli")]
impl Used {
    /// Reads a ledger from this byte on, for the sessions of one directory.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] when it cannot be read.
    pub(crate) fn read(ledger: &Path, from: u64, directory: &Path) -> Result<Self> {
        let bytes = std::fs::read(ledger).map_err(|error| {
            let what = match error.kind() {
                std::io::ErrorKind::NotFound => "does not exist",
                _ => "cannot be read",
            };
            Error::new(ErrorKind::Io, format!("the ledger {} {what}", ledger.display()))
                .with_source(error)
                .with_hint(format!(
                    "run the tests with {USAGE_LOG_VARIABLE} set to its path, or with --usage-log"
                ))
        })?;
        let from = usize::try_from(from).unwrap_or(usize::MAX).min(bytes.len());
        let directory = whole(directory);
        let mut used = Self::default();
        let before = memchr::memchr_iter(b'\n', &bytes[..from]).count();
        for (number, line) in (before + 1..).zip(bytes[from..].split(|byte| *byte == b'\n')) {
            if !line.is_empty() && !used.take(line, &directory) {
                used.unreadable.push(number);
            }
        }
        Ok(used)
    }

    /// Whether the whole line could be read.
    fn take(&mut self, line: &[u8], directory: &str) -> bool {
        let Some(begin) = memchr::memmem::rfind(line, BEGINNING.as_bytes()) else {
            return false;
        };
        let Ok(line) = serde_json::from_slice::<Line>(&line[begin..]) else {
            return false;
        };
        // Before it stands what a full disk has left of another line.
        let is_whole = begin == 0;
        if line.directory.as_deref() != Some(directory) {
            self.others.extend(line.directory);
            return is_whole;
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
        is_whole
    }

    /// Whether this cassette lies in a scope of which nothing can be said.
    pub(crate) fn has_not_seen(&self, key: &RequestKey) -> bool {
        !self.is_of_all_scopes && !self.scopes.contains(key.scope())
    }

    /// Whether this cassette lies in a scope that was seen, and was not used.
    pub(crate) fn lacks(&self, key: &RequestKey) -> bool {
        !self.has_not_seen(key) && !self.cassettes.contains(&(key.scope().clone(), key.short().to_owned()))
    }
}

/// One way to write a path, whether or not it exists yet.
fn whole(path: &Path) -> String {
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
