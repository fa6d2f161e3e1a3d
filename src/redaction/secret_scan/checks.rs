//! Checks that tell a secret from placeholders, prose, hashes and identifiers.

use base64::Engine as _;
use regex::bytes::Captures;

/// How certain it is that a match is a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Confidence {
    /// The value looks random, and its position or name indicates a secret.
    Likely,
    /// The value has the format of keys that a service issues.
    Certain,
}

/// The secret in a match: its last group.
fn secret_in<'a>(captures: &Captures<'a>) -> &'a [u8] {
    captures.iter().flatten().last().map_or(&[], |value| value.as_bytes())
}

/// For formats that nothing else has.
pub(super) fn always_certain(_: &Captures<'_>) -> Option<Confidence> {
    Some(Confidence::Certain)
}

/// For formats that other values have too.
pub(super) fn always_likely(_: &Captures<'_>) -> Option<Confidence> {
    Some(Confidence::Likely)
}

/// Whether the value is not a placeholder.
pub(super) fn is_not_placeholder(captures: &Captures<'_>) -> Option<Confidence> {
    (!is_placeholder(secret_in(captures))).then_some(Confidence::Certain)
}

/// Whether the value is neither prose (`Bearer authentication-and-authorization`) nor a placeholder
/// (`sk-xxxxxxxxxxxxxxxxxxxxxxxx`).
pub(super) fn looks_random(captures: &Captures<'_>) -> Option<Confidence> {
    let value = secret_in(captures);
    (is_random(value, 10, 3) && !is_placeholder(value)).then_some(Confidence::Certain)
}

/// Whether the value has lower case, upper case and digits, unlike a hash or a word.
pub(super) fn looks_random_and_mixed_case(captures: &Captures<'_>) -> Option<Confidence> {
    let value = secret_in(captures);
    let is_mixed = value.iter().any(u8::is_ascii_lowercase) && value.iter().any(u8::is_ascii_uppercase);
    (is_mixed && is_random(value, 10, 4) && !is_placeholder(value)).then_some(Confidence::Certain)
}

/// Whether the value is the base64 of `user:password`.
pub(super) fn is_basic_credentials(captures: &Captures<'_>) -> Option<Confidence> {
    let decoded = base64::engine::general_purpose::STANDARD
        .decode(secret_in(captures))
        .ok()?;
    let is_pair = decoded.contains(&b':') && decoded.iter().all(|byte| (b' '..=b'~').contains(byte));
    (is_pair && !is_placeholder(&decoded)).then_some(Confidence::Certain)
}

/// Whether the value is a password other than the user name, a placeholder, or a password from a manual.
pub(super) fn is_url_password(captures: &Captures<'_>) -> Option<Confidence> {
    let (user, password) = (captures.get(1)?.as_bytes(), secret_in(captures));
    if password == user || is_placeholder(password) || is_example_password(password) {
        return None;
    }
    let confidence = if is_random(password, 8, 3) {
        Confidence::Certain
    } else {
        Confidence::Likely
    };
    Some(confidence)
}

/// Whether the value of a variable or member whose name indicates a secret looks random.
pub(super) fn is_value_of_secret_name(captures: &Captures<'_>) -> Option<Confidence> {
    let (name, value) = (captures.get(1)?.as_bytes().to_ascii_lowercase(), secret_in(captures));
    // Parts of names of other values, for example tokens of a paged list or of a tokenizer.
    const OTHER_NAMES: [&str; 13] = [
        "page",
        "next",
        "continuation",
        "cursor",
        "count",
        "max",
        "usage",
        "pad",
        "eos",
        "bos",
        "cache",
        "public",
        "idempotency",
    ];
    let contains = |word: &str| memchr::memmem::find(&name, word.as_bytes()).is_some();
    let is_password = contains("pass") || contains("pwd");
    let (distinct, changes, length) = if is_password { (8, 3, 8) } else { (10, 4, 12) };
    let is_secret = !OTHER_NAMES.into_iter().any(contains)
        && value.len() >= length
        && is_random(value, distinct, changes)
        && !is_placeholder(value)
        && !is_uuid(value);
    is_secret.then_some(Confidence::Likely)
}

/// Whether a value has digits and letters, at least this number of distinct characters, and at least this number of changes
/// between character classes (digits, lower case, upper case, others). Words do not.
fn is_random(value: &[u8], distinct: usize, changes: usize) -> bool {
    let class_of = |byte: &u8| match byte {
        b'0'..=b'9' => 1,
        b'a'..=b'z' => 2,
        b'A'..=b'Z' => 3,
        _ => 4,
    };
    let mut seen = [false; 256];
    value.iter().for_each(|byte| seen[usize::from(*byte)] = true);
    let classes: Vec<u8> = value
        .iter()
        .map(class_of)
        .filter(|class| distinct < 10 || *class != 4)
        .collect();
    // From a capital to lower case is how a word begins, so it does not count.
    let changed = classes
        .windows(2)
        .filter(|pair| pair[0] != pair[1] && pair != &[3, 2])
        .count();
    value.iter().any(u8::is_ascii_digit)
        && value.iter().any(u8::is_ascii_alphabetic)
        && seen.iter().filter(|seen| **seen).count() >= distinct
        && changed >= changes
}

/// Whether a value is a placeholder, such as `your-key-here`, `AKIAIOSFODNN7EXAMPLE` or `0123456789abcdef`.
fn is_placeholder(value: &[u8]) -> bool {
    const WORDS: [&str; 12] = [
        "example",
        "placeholder",
        "your",
        "redacted",
        "dummy",
        "changeme",
        "xxxx",
        "****",
        "....",
        "00000000",
        "12345678",
        "insert",
    ];
    let value = value.to_ascii_lowercase();
    WORDS
        .iter()
        .any(|word| memchr::memmem::find(&value, word.as_bytes()).is_some())
}

/// Whether this is a password from a manual.
fn is_example_password(password: &[u8]) -> bool {
    const WORDS: [&str; 14] = [
        "password", "passwd", "pass", "pwd", "secret", "user", "postgres", "root", "admin", "test", "guest", "mysql",
        "redis", "pw",
    ];
    let password = password.to_ascii_lowercase();
    WORDS.iter().any(|word| password == word.as_bytes())
}

fn is_uuid(value: &[u8]) -> bool {
    value.len() == 36
        && value.iter().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_values_have_digits_letters_and_changes_between_classes() {
        assert!(is_random(b"k7Hs02LmQx94TzRb", 10, 3));
        assert!(!is_random(b"authentication-and-authorization", 10, 3));
        assert!(!is_random(b"20261127093000", 10, 3));
        // The capital that begins a word does not count as a change.
        assert!(!is_random(b"Authorization9", 10, 3));
    }

    #[test]
    fn placeholders_are_recognized_in_any_case() {
        for placeholder in [
            "your-key-here",
            "AKIAIOSFODNN7EXAMPLE",
            "0123456789abcdef",
            "[REDACTED]",
        ] {
            assert!(is_placeholder(placeholder.as_bytes()), "{placeholder}");
        }
        assert!(!is_placeholder(b"k7Hs02LmQx94TzRb"));
    }

    #[test]
    fn a_uuid_has_hyphens_at_four_positions() {
        assert!(is_uuid(b"0b6c1f2e-7a39-4d58-9c41-3f5e8d7a6b21"));
        assert!(!is_uuid(b"0b6c1f2e7a39-4d58-9c41-3f5e8d7a6b21-"));
    }
}
