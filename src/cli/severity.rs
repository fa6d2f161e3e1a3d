//! How serious a finding is.

/// How serious a finding is: the most serious first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Severity {
    /// The command fails.
    Error,
    /// It is only likely to be a problem, or the settings allow it.
    Warning,
    /// It is no problem.
    Info,
}

impl Severity {
    /// Its name in output.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
        }
    }
}
