//! The formats of keys, tokens, cookies and passwords: one rule for each.
//!
//! Formats are facts that vendors publish. Those with the source [`Source::Gitleaks`] were taken from the rules of
//! [gitleaks](https://github.com/gitleaks/gitleaks) (MIT licence), `config/gitleaks.toml` at commit 009e025a, and, for Groq and
//! LangSmith, `cmd/generate/config/rules` at the commits 90039844 and a650223f.

mod contexts;
mod vendors;

pub(super) use contexts::QUERY_CREDENTIAL;

use regex::bytes::Captures;

use super::checks::Confidence;

/// One format of a secret.
pub(super) struct Rule {
    /// The kind of the secret, with its article, for messages.
    pub(super) kind: &'static str,
    /// One of these literals, in upper or lower case, is in every text that contains the secret, at most 64 bytes behind the start
    /// of the match and at most 8 KiB before its end. Most texts contain none, so the pattern is rarely applied.
    pub(super) literals: &'static [&'static str],
    /// A regular expression. Its last group, or the complete match if there is no group, is the secret.
    pub(super) pattern: &'static str,
    /// Whether a match is a secret and not, for example, a placeholder.
    pub(super) check: fn(&Captures<'_>) -> Option<Confidence>,
    /// Where the format is from.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "for maintainers; a test compares it with docs/secrets.md")
    )]
    pub(super) source: Source,
}

/// Where the format of a secret is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// The rules of gitleaks.
    Gitleaks,
    /// The documentation of the vendor, and other scanners of public code.
    Vendor,
    /// How people write a secret in code, configuration and prose.
    Context,
}

/// All rules. Where two match at overlapping positions, the first one counts.
pub(super) fn rules() -> impl Iterator<Item = &'static Rule> {
    let groups = [
        vendors::MODELS,
        vendors::CLOUDS,
        vendors::DEVELOPMENT,
        vendors::SERVICES,
        contexts::KEYS,
        contexts::LOGINS,
        contexts::OTHERS,
    ];
    groups.into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table in the documentation lists every kind, with the source of its format.
    #[test]
    fn the_documentation_lists_every_rule_and_its_source() {
        let page = include_str!("../../../../docs/secrets.md");
        for rule in rules() {
            let kind = rule.kind.split_once(' ').map_or(rule.kind, |(_, kind)| kind);
            let source = match rule.source {
                Source::Gitleaks => "gitleaks",
                Source::Vendor => "vendor",
                Source::Context => "context",
            };
            let row = page.lines().find(|line| line.starts_with(&format!("| {source} ")));
            let is_listed = row.is_some_and(|row| row.contains(kind));
            assert!(is_listed, "{kind} is not in the row {source}");
        }
    }
}
