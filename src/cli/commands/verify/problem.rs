//! A problem in a file.

use std::fmt;

use crate::cli::severity::Severity;

pub(super) struct Problem {
    pub(super) file: String,
    pub(super) line: Option<u64>,
    pub(super) message: String,
    pub(super) severity: Severity,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {}", self.message)
    }
}
