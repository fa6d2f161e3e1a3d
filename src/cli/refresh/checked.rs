//! Which recordings were checked: sent again, with an equivalent response. With `--older-than` their age counts from then.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::recording::Recording;
use crate::cassette::yaml;
use crate::engine::{read_file, write_file};
use crate::error::{Error, ErrorKind, Result};
use crate::hash::sha256_hex;

/// A check of one recording.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Check {
    /// The name of the recording.
    name: String,
    /// The digest of the cassette with its bodies, so that a recording that has changed since does not count as checked.
    sha256: String,
    /// The base URL of the upstream.
    from: String,
    /// RFC 3339, in UTC, to the second.
    at: String,
}

impl Check {
    /// A check of this recording against this upstream, as of now.
    ///
    /// # Errors
    /// When the YAML crate fails, which is a defect.
    pub(super) fn now(recording: &Recording, upstream: &str) -> Result<Self> {
        Ok(Self {
            name: recording.name.clone(),
            sha256: digest(recording)?,
            from: upstream.to_owned(),
            at: crate::cassette::now(),
        })
    }
}

/// The digest depends on the content of a cassette, and not on the line endings of the file.
fn digest(recording: &Recording) -> Result<String> {
    yaml::write(&recording.cassette).map(|document| sha256_hex(&document))
}

/// A file of checks: JSON lines, sorted by name, so that git merges them and shows which recordings were checked.
#[derive(Debug)]
pub(crate) struct Checked {
    path: PathBuf,
    checks: BTreeMap<String, Check>,
}

impl Checked {
    /// Reads the file. Without a file nothing was checked.
    ///
    /// # Errors
    /// When the file cannot be read, or a line is not a check.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let mut checks = BTreeMap::<String, Check>::new();
        let text = read_file(path)?.unwrap_or_default();
        let lines = text.split(|byte| *byte == b'\n').enumerate();
        for (number, line) in lines.filter(|(_, line)| !line.trim_ascii().is_empty()) {
            let check = parse(line).map_err(|reason| {
                let message = format!("{}:{}: {reason}", path.display(), number + 1);
                Error::new(ErrorKind::Settings, message).with_hint("delete the line; its recording is then sent again")
            })?;
            // A merge may leave two lines of one recording.
            match checks.get(&check.name) {
                Some(other) if other.at >= check.at => {}
                _ => drop(checks.insert(check.name.clone(), check)),
            }
        }
        Ok(Self {
            path: path.to_owned(),
            checks,
        })
    }

    /// How long ago this upstream has checked this recording, as it is now; `None` if it has not.
    pub(crate) fn age(&self, recording: &Recording, upstream: &str) -> Option<Duration> {
        let check = self.checks.get(&recording.name)?;
        if check.from != upstream || check.sha256 != digest(recording).ok()? {
            return None;
        }
        let at = check.at.parse::<Timestamp>().ok()?;
        // A time in the future says nothing.
        Timestamp::now().duration_since(at).try_into().ok()
    }

    /// Adds checks, and removes those of recordings that no longer exist. Writes the file if it changes.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn update(&mut self, new: Vec<Check>, exists: impl Fn(&str) -> bool) -> Result<()> {
        let before = self.checks.clone();
        self.checks
            .extend(new.into_iter().map(|check| (check.name.clone(), check)));
        self.checks.retain(|name, _| exists(name));
        if self.checks == before {
            return Ok(());
        }
        let mut text = Vec::new();
        for check in self.checks.values() {
            serde_json::to_writer(&mut text, check)
                .map_err(|error| Error::new(ErrorKind::Internal, "cannot write a check as JSON").with_source(error))?;
            text.push(b'\n');
        }
        write_file(&self.path, &text)
    }
}

fn parse(line: &[u8]) -> Result<Check, String> {
    let check: Check = serde_json::from_slice(line).map_err(|error| format!("the line is not a check: {error}"))?;
    match check.at.parse::<Timestamp>() {
        Ok(_) => Ok(check),
        Err(_) => Err(format!("the time of the check is invalid: {:?}", check.at)),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    const API: &str = "https://api.example";

    #[test]
    fn only_the_same_recording_of_the_same_upstream_is_checked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checked.jsonl");
        let recording = Recording::sample("GET", "/v1/models", "{}");
        let mut checked = Checked::read(&path).unwrap();
        assert_eq!(checked.age(&recording, API), None);
        let mut check = Check::now(&recording, API).unwrap();
        checked.update(vec![check.clone()], |_| true).unwrap();

        let checked = Checked::read(&path).unwrap();
        assert!(checked.age(&recording, API).unwrap() < Duration::from_secs(60));
        assert_eq!(checked.age(&recording, "https://other.example"), None);
        let mut other = recording.clone();
        other.cassette.responses[0].body = Bytes::from_static(b"b").into();
        assert_eq!(checked.age(&other, API), None);

        check.at = "2999-01-01T00:00:00Z".to_owned();
        let mut checked = Checked::read(&path).unwrap();
        checked.update(vec![check], |_| true).unwrap();
        assert_eq!(checked.age(&recording, API), None, "a time in the future");
        checked.update(Vec::new(), |_| false).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"");
    }

    #[test]
    fn the_later_of_two_lines_counts_and_an_invalid_line_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checked.jsonl");
        let line = |at: &str| format!(r#"{{"name":"models/x.yaml","sha256":"00","from":"{API}","at":"{at}"}}"#);
        let (early, late) = (line("2026-11-01T00:00:00Z"), line("2026-11-02T00:00:00Z"));
        for text in [format!("{late}\n{early}\r\n"), format!("{early}\n\n{late}")] {
            std::fs::write(&path, text).unwrap();
            let checked = Checked::read(&path).unwrap();
            assert_eq!(checked.checks["models/x.yaml"].at, "2026-11-02T00:00:00Z");
        }
        for invalid in ["<<<<<<< HEAD".to_owned(), line("soon")] {
            std::fs::write(&path, format!("{early}\n{invalid}\n")).unwrap();
            let error = Checked::read(&path).unwrap_err();
            assert!(error.message().contains("checked.jsonl:2: the "), "{error}");
        }
    }
}
