//! Finds secrets in the files of a store, without printing them.

use std::env;

use bytes::Bytes;

use super::problem::Problem;
use crate::cli::severity::Severity;
use crate::http::API_KEY_VARIABLE;
use crate::redaction::secret_scan::{Confidence, find_in_body, name_reveals};
use crate::redaction::{Redactor, is_dummy};
use crate::settings::{Secrets, Settings};

/// A secret in a file.
pub(super) struct Secret {
    pub(super) line: Option<u64>,
    pub(super) message: String,
    pub(super) severity: Severity,
    /// Never printed; `None` when it is encoded in the file.
    pub(super) value: Option<Bytes>,
}

impl Secret {
    pub(super) fn in_file(self, file: &str) -> Problem {
        Problem {
            file: file.to_owned(),
            line: self.line,
            message: self.message,
            severity: self.severity,
        }
    }
}

/// Finds the API key, and values that look like secrets.
pub(super) struct Scanner {
    /// Finds the API key only.
    key: Redactor,
    is_allowed: bool,
}

impl Scanner {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            key: Redactor::new(env::var(API_KEY_VARIABLE).ok().filter(|key| !is_dummy(key)), &[], &[]),
            is_allowed: settings.secrets != Secrets::Refuse,
        }
    }

    /// The secrets in a file or a body, each kind once per line.
    pub(super) fn scan(&self, bytes: &Bytes) -> Vec<Secret> {
        let mut found: Vec<Secret> = Vec::new();
        let mut lines = Lines::of(bytes);
        for secret in find_in_body(bytes) {
            let line = Some(lines.at(secret.at.start));
            let value = Some(Bytes::from(secret.value.0));
            let (message, severity) = match secret.confidence {
                Confidence::Certain if self.is_allowed => (format!("it contains {}", secret.kind), Severity::Warning),
                Confidence::Certain => (format!("it contains {}", secret.kind), Severity::Error),
                Confidence::Likely => (format!("it may contain a secret: {}", secret.kind), Severity::Warning),
            };
            found.push(Secret {
                line,
                message,
                severity,
                value,
            });
        }
        if self.key.redact_body(bytes) != *bytes {
            let at = self.key.find_secret(bytes);
            found.push(Secret {
                line: at.map(|at| Lines::of(bytes).at(at)),
                message: format!("it contains the value of {API_KEY_VARIABLE}"),
                severity: Severity::Error,
                // File names never contain the key: redaction covers them.
                value: Some(Bytes::new()),
            });
        }
        found
    }
}

/// A location, without the words of its name if they may contain a part of a secret in the file.
pub(super) fn without_secrets(location: &str, secrets: &[Secret]) -> String {
    // The name of a file in the root of a directory has no folder.
    let (folder, file) = location.split_at(location.rfind('/').map_or(0, |slash| slash + 1));
    let is_in_name = |secret: &Secret| secret.value.as_ref().is_none_or(|value| name_reveals(file, value));
    match file.rsplit_once('-') {
        Some((_, key)) if secrets.iter().any(is_in_name) => format!("{folder}…-{key}"),
        _ => location.to_owned(),
    }
}

/// Counts lines from the start of a file.
struct Lines<'a> {
    bytes: &'a [u8],
    counted: usize,
    line: u64,
}

impl<'a> Lines<'a> {
    fn of(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            counted: 0,
            line: 1,
        }
    }

    /// The line of an offset; offsets must not decrease from call to call.
    fn at(&mut self, offset: usize) -> u64 {
        let more = self.bytes.get(self.counted..offset).unwrap_or_default();
        self.line += memchr::memchr_iter(b'\n', more).count() as u64;
        self.counted = offset.max(self.counted);
        self.line
    }
}
