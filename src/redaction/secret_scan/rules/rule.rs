//! What a rule consists of.

use regex::bytes::Captures;

use crate::redaction::secret_scan::checks::Confidence;

/// One format of a secret.
pub(in crate::redaction::secret_scan) struct Rule {
    /// The kind of the secret, with its article, for messages.
    pub(in crate::redaction::secret_scan) kind: &'static str,
    /// One of these literals, in upper or lower case, is in every text that contains the secret, at most 64 bytes behind the start
    /// of the match and at most 8 KiB before its end. Most texts contain none, so the pattern is rarely applied.
    pub(in crate::redaction::secret_scan) literals: &'static [&'static str],
    /// A regular expression. Its last group, or the complete match if there is no group, is the secret.
    pub(in crate::redaction::secret_scan) pattern: &'static str,
    /// Whether a match is a secret and not, for example, a placeholder.
    pub(in crate::redaction::secret_scan) check: fn(&Captures<'_>) -> Option<Confidence>,
    /// Where the format is from.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "for maintainers; a test compares it with docs/secrets.md")
    )]
    pub(in crate::redaction::secret_scan) source: Source,
}

/// Where the format of a secret is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::redaction::secret_scan) enum Source {
    /// The rules of gitleaks.
    Gitleaks,
    /// The documentation of the vendor, and other scanners of public code.
    Vendor,
    /// How people write a secret in code, configuration and prose.
    Context,
}
