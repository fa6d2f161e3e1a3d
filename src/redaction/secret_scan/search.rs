//! Applies the rules to bytes.

use std::ops::Range;
use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, AhoCorasickKind, Input};
use regex::bytes::Regex;

use super::checks::Confidence;
use super::rules::{RULES, Rule};

/// The position and the kind of a secret, without its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Secret {
    /// The kind, with its article: `a GitHub token`.
    pub(crate) kind: &'static str,
    pub(crate) confidence: Confidence,
    /// The position; `None` when the secret is escaped in the body.
    pub(crate) at: Option<Range<usize>>,
}

/// The rules, compiled.
struct Compiled {
    literals: AhoCorasick,
    /// The length of the longest literal.
    max_literal: usize,
    /// The index of the rule of each literal.
    rule_of: Vec<usize>,
    patterns: Vec<Regex>,
}

static COMPILED: LazyLock<Compiled> = LazyLock::new(|| {
    let literals = || {
        let numbered = RULES.iter().enumerate();
        numbered.flat_map(|(index, rule)| rule.literals.iter().map(move |literal| (index, literal)))
    };
    let pattern = |rule: &Rule| Regex::new(&format!("(?-u){}", rule.pattern)).expect("the pattern of a rule");
    Compiled {
        literals: AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .kind(Some(AhoCorasickKind::DFA))
            .build(literals().map(|(_, literal)| literal))
            .expect("the literals of the rules"),
        max_literal: literals().map(|(_, literal)| literal.len()).max().unwrap_or_default(),
        rule_of: literals().map(|(index, _)| index).collect(),
        patterns: RULES.iter().map(pattern).collect(),
    }
});

/// How many bytes before and after a literal its pattern may match.
const REACH: (usize, usize) = (64, 8192);

/// The maximum number of secrets that are found in one text.
const MAX_FOUND: usize = 1000;

/// For each rule, the ranges in which its pattern may match.
fn candidates(bytes: &[u8]) -> Vec<Vec<Range<usize>>> {
    let mut candidates = vec![Vec::new(); RULES.len()];
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
    let mut found: Vec<(Range<usize>, Secret)> = Vec::new();
    for ((rule, pattern), candidates) in RULES.iter().zip(&COMPILED.patterns).zip(candidates(bytes)) {
        for candidate in candidates {
            for captures in pattern.captures_iter(&bytes[candidate.clone()]) {
                let Some(value) = captures.iter().flatten().last() else {
                    continue;
                };
                if found.len() >= MAX_FOUND {
                    break;
                }
                let range = candidate.start + value.start()..candidate.start + value.end();
                let overlaps = || {
                    let mut others = found.iter();
                    others.any(|(other, _)| other.start < range.end && range.start < other.end)
                };
                if let Some(confidence) = (rule.check)(&captures)
                    && !is_within_base64(bytes, range.clone())
                    && !overlaps()
                {
                    let secret = Secret {
                        kind: rule.kind,
                        confidence,
                        at: Some(range.clone()),
                    };
                    found.push((range, secret));
                }
            }
        }
    }
    found.sort_by_key(|(range, _)| range.start);
    found.into_iter().map(|(_, secret)| secret).collect()
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
