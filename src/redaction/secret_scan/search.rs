//! Applies the rules to bytes.

use std::fmt;
use std::ops::Range;
use std::sync::{LazyLock, OnceLock};

use aho_corasick::{AhoCorasick, AhoCorasickKind, Input};
use regex::bytes::Regex;

use super::checks::{Confidence, secret_match};
use super::rules::{Rule, rules};

/// A secret in a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Secret {
    /// The kind, with its article: `a GitHub token`.
    pub(crate) kind: &'static str,
    pub(crate) confidence: Confidence,
    /// The position of the secret, or of what it is encoded as.
    pub(crate) at: Range<usize>,
    pub(crate) value: SecretValue,
}

/// The bytes of a secret. They are compared with messages and file names, and never printed.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct SecretValue(pub(crate) Vec<u8>);

impl fmt::Debug for SecretValue {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("(redacted)")
    }
}

/// The rules, compiled.
struct Compiled {
    literals: AhoCorasick,
    /// The length of the longest literal.
    max_literal: usize,
    /// The index of the rule of each literal.
    rule_of: Vec<usize>,
    rules: Vec<CompiledRule>,
}

struct CompiledRule {
    rule: &'static Rule,
    /// Compiled when a text contains one of the literals. Most patterns are never used.
    pattern: OnceLock<Regex>,
}

impl CompiledRule {
    fn pattern(&self) -> &Regex {
        let compile = || Regex::new(&format!("(?-u){}", self.rule.pattern)).expect("the pattern of a rule");
        self.pattern.get_or_init(compile)
    }
}

static COMPILED: LazyLock<Compiled> = LazyLock::new(|| {
    let literals = || {
        let numbered = rules().enumerate();
        numbered.flat_map(|(index, rule)| rule.literals.iter().map(move |literal| (index, literal)))
    };
    let compiled = |rule| CompiledRule {
        rule,
        pattern: OnceLock::new(),
    };
    Compiled {
        literals: AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .kind(Some(AhoCorasickKind::DFA))
            .build(literals().map(|(_, literal)| literal))
            .expect("the literals of the rules"),
        max_literal: literals().map(|(_, literal)| literal.len()).max().unwrap_or_default(),
        rule_of: literals().map(|(index, _)| index).collect(),
        rules: rules().map(compiled).collect(),
    }
});

/// How many bytes before and after a literal its pattern may match.
const REACH: (usize, usize) = (64, 8192);

/// The maximum number of secrets that are found in one text.
const MAX_FOUND: usize = 1000;

/// For each rule, the ranges in which its pattern may match.
fn candidates(bytes: &[u8]) -> Vec<Vec<Range<usize>>> {
    let mut candidates = vec![Vec::new(); COMPILED.rules.len()];
    // Most texts contain no literal, or one near their end. A search for the first takes half the time of one for all.
    let Some(first) = COMPILED.literals.find(bytes) else {
        return candidates;
    };
    // A literal that begins before the first may end after it.
    let from = first.end().saturating_sub(COMPILED.max_literal);
    for found in COMPILED.literals.find_overlapping_iter(Input::new(bytes).range(from..)) {
        let ranges: &mut Vec<Range<usize>> = &mut candidates[COMPILED.rule_of[found.pattern().as_usize()]];
        let range = found.start().saturating_sub(REACH.0)..bytes.len().min(found.end() + REACH.1);
        match ranges.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => ranges.push(range),
        }
    }
    candidates
}

/// Finds the secrets in these bytes, in order. It does not decode anything.
pub(super) fn find_in_bytes(bytes: &[u8]) -> Vec<Secret> {
    let mut found: Vec<Secret> = Vec::new();
    for (CompiledRule { rule, .. }, candidate, pattern) in COMPILED
        .rules
        .iter()
        .zip(candidates(bytes))
        .flat_map(|(rule, ranges)| ranges.into_iter().map(move |range| (rule, range, rule.pattern())))
    {
        for captures in pattern.captures_iter(&bytes[candidate.clone()]) {
            let Some(value) = secret_match(&captures) else {
                continue;
            };
            if found.len() >= MAX_FOUND {
                break;
            }
            let at = candidate.start + value.start()..candidate.start + value.end();
            if let Some(confidence) = (rule.check)(&captures)
                && !is_within_base64(bytes, at.clone())
                && !found.iter().any(|other| overlap(&other.at, &at))
            {
                found.push(Secret {
                    kind: rule.kind,
                    confidence,
                    at,
                    value: SecretValue(value.as_bytes().to_vec()),
                });
            }
        }
    }
    found.sort_by_key(|secret| secret.at.start);
    found
}

/// Whether two ranges share a byte.
pub(super) fn overlap(one: &Range<usize>, other: &Range<usize>) -> bool {
    one.start < other.end && other.start < one.end
}

/// Whether this range is within base64 data. The base64 of an image or audio file contains any short text by chance.
fn is_within_base64(bytes: &[u8], range: Range<usize>) -> bool {
    const MIN_SURROUNDING: usize = 128;
    let is_base64 = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    let before = bytes[..range.start]
        .iter()
        .rev()
        .take(MIN_SURROUNDING)
        .take_while(is_base64)
        .count();
    let after = bytes[range.end..]
        .iter()
        .take(MIN_SURROUNDING)
        .take_while(is_base64)
        .count();
    before + after >= MIN_SURROUNDING
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlapping_matches_count_once() {
        let token = [
            "eyJhbGciOiJIUzI1NiJ9",
            "eyJzdWIiOiI5OTQxMjM3In0",
            "dozjgNryP4J3jVmNHl0w5N",
        ]
        .join(".");
        let found = find_in_bytes(format!("authorization: Bearer {token}").as_bytes());
        let kinds: Vec<&str> = found.iter().map(|secret| secret.kind).collect();
        assert_eq!(kinds, ["a JSON web token"]);
    }
}
