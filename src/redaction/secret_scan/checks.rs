//! Checks that tell a secret from placeholders, prose, hashes and identifiers.

use base64::Engine as _;
use regex::bytes::{Captures, Match};

/// How certain it is that a match is a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Confidence {
    /// The value looks random, and its position or name indicates a secret.
    Likely,
    /// The value has the format of keys that a service issues.
    Certain,
}

/// The position of the secret in a match: its last group that is not empty.
pub(super) fn secret_match<'a>(captures: &Captures<'a>) -> Option<Match<'a>> {
    captures.iter().flatten().filter(|value| !value.is_empty()).last()
}

/// The secret in a match.
fn secret_in<'a>(captures: &Captures<'a>) -> &'a [u8] {
    secret_match(captures).map_or(&[], |value| value.as_bytes())
}

/// For formats that nothing else has.
pub(super) fn always_certain(_: &Captures<'_>) -> Option<Confidence> {
    Some(Confidence::Certain)
}

/// For formats that other values have too.
pub(super) fn always_likely(_: &Captures<'_>) -> Option<Confidence> {
    Some(Confidence::Likely)
}

/// Whether the value is neither a placeholder nor words (`whsec_test_secret_of_a_unit_test`). For tokens with a prefix that nothing
/// else has.
pub(super) fn is_not_placeholder(captures: &Captures<'_>) -> Option<Confidence> {
    let value = secret_in(captures);
    (!is_placeholder(value) && !is_words(value)).then_some(Confidence::Certain)
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
    (is_mixed_case(value) && is_random(value, 10, 4) && !is_placeholder(value)).then_some(Confidence::Certain)
}

/// Whether the value has lower case and upper case, and is as random as a key of the Mistral API. One key in 280 has no digit.
pub(super) fn looks_like_mistral_key(captures: &Captures<'_>) -> Option<Confidence> {
    const MIN_CHANGES_OF_LETTERS: usize = 14;
    let value = secret_in(captures);
    let changes = value
        .windows(2)
        .filter(|pair| pair[0].is_ascii_lowercase() != pair[1].is_ascii_lowercase())
        .count();
    let is_random_letters = !value.iter().any(u8::is_ascii_digit) && changes >= MIN_CHANGES_OF_LETTERS;
    let is_key = is_mixed_case(value) && (is_random(value, 10, 4) || is_random_letters) && !is_placeholder(value);
    is_key.then_some(Confidence::Certain)
}

/// Whether the value after the name of a service is a hash, a UUID or as random as one, unlike the name of a variable.
pub(super) fn is_key_of_service(captures: &Captures<'_>) -> Option<Confidence> {
    let value = secret_in(captures);
    let is_key = is_uuid(value) || value.len() >= 24 && is_random(value, 10, 5) && !is_words(value);
    (is_key && !is_placeholder(value)).then_some(Confidence::Certain)
}

/// Whether the value is random, and not the name of a constant or a signed header.
pub(super) fn is_authorization(captures: &Captures<'_>) -> Option<Confidence> {
    let context = captures.get(0)?.as_bytes().to_ascii_lowercase();
    let value = secret_in(captures);
    let is_token = is_random(value, 10, 4)
        && !is_placeholder(value)
        && !is_words(value)
        // Basic authorization has its own rule.
        && memchr::memmem::find(&context, b"basic").is_none();
    is_token.then_some(Confidence::Certain)
}

/// Whether the value of `_authToken` is a token, which may be a UUID, or that of `_auth` is the base64 of `user:password`.
pub(super) fn is_registry_token(captures: &Captures<'_>) -> Option<Confidence> {
    let value = secret_in(captures);
    let is_token = value.iter().any(u8::is_ascii_digit) && !is_words(value) && !is_placeholder(value);
    is_token.then_some(Confidence::Certain)
}

/// Whether the login is a random password, or a random user without a password (`curl -u TOKEN:`).
pub(super) fn is_command_login(captures: &Captures<'_>) -> Option<Confidence> {
    let (user, password) = (captures.get(1)?.as_bytes(), captures.get(2)?.as_bytes());
    let is_token = user.len() >= 16 && is_random(user, 10, 3) && !user.contains(&b'@');
    if is_token && !is_placeholder(user) && !is_uuid(user) {
        return Some(Confidence::Certain);
    }
    let is_password = password.len() >= 3 && password != user && !is_placeholder(password);
    if !is_password || is_example_password(password) {
        return None;
    }
    Some(confidence_of_password(password))
}

/// Whether the user of a URL without a password is a token. The user of a Sentry DSN is a public key.
pub(super) fn is_token_in_url(captures: &Captures<'_>) -> Option<Confidence> {
    let (url, user) = (captures.get(0)?.as_bytes(), secret_in(captures));
    let is_token = is_random(user, 10, 4)
        && !is_words(user)
        && !is_placeholder(user)
        && memchr::memmem::find(url, b"sentry").is_none();
    is_token.then_some(Confidence::Certain)
}

/// Whether the value of a query parameter whose name indicates a secret is one. A value that is short or less random may be one.
pub(super) fn is_query_credential(captures: &Captures<'_>) -> Option<Confidence> {
    // Alone, these are also the names of other parameters.
    const AMBIGUOUS: [&[u8]; 3] = [b"key", b"token", b"auth"];
    let (name, value) = (captures.get(1)?.as_bytes(), captures.get(2)?.as_bytes());
    let is_ambiguous = AMBIGUOUS.iter().any(|word| name.eq_ignore_ascii_case(word));
    let is_plain = is_single_word(value) || value.iter().all(u8::is_ascii_digit);
    if is_other_name(name) || is_placeholder(value) || is_plain || is_ambiguous && !is_random(value, 6, 2) {
        return None;
    }
    let is_key = value.len() >= 20 && is_random(value, 10, 4) && !is_words(value) && !is_uuid(value);
    Some(if is_key {
        Confidence::Certain
    } else {
        Confidence::Likely
    })
}

/// Whether the text after the header of a private key is its base64. Other text may be between the two, such as the prefix of
/// a quoted line, but then the first line is complete.
pub(super) fn is_private_key(captures: &Captures<'_>) -> Option<Confidence> {
    const MAX_DISTANCE: usize = 600;
    const MIN_COMPLETE_LINE: usize = 32;
    let (all, value) = (captures.get(0)?.as_bytes(), secret_in(captures));
    let between = &all[..all.len() - value.len()];
    let between = memchr::memmem::find(between, b"KEY").map_or(between, |at| &between[at + 3..]);
    let is_separator = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b'-' | b'\\' | b'n' | b'r' | b't');
    let is_key = between.len() <= MAX_DISTANCE
        && (between.iter().all(is_separator) || value.len() >= MIN_COMPLETE_LINE)
        && memchr::memmem::find(between, b"END ").is_none()
        && is_mixed_case(value)
        && is_random(value, 10, 3)
        && !is_placeholder(value);
    is_key.then_some(Confidence::Certain)
}

/// Whether the value is the base64 of a private key in PEM.
pub(super) fn is_encoded_private_key(captures: &Captures<'_>) -> Option<Confidence> {
    const HEADER: usize = 64;
    let value = secret_in(captures);
    let header = base64::engine::general_purpose::STANDARD.decode(&value[..HEADER.min(value.len())]);
    let is_key = header.is_ok_and(|header| memchr::memmem::find(&header, b"PRIVATE KEY").is_some());
    is_key.then_some(Confidence::Certain)
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
    Some(confidence_of_password(password))
}

fn confidence_of_password(password: &[u8]) -> Confidence {
    if is_random(password, 8, 3) {
        Confidence::Certain
    } else {
        Confidence::Likely
    }
}

/// Whether the value of a variable or member whose name indicates a secret looks random.
pub(super) fn is_value_of_secret_name(captures: &Captures<'_>) -> Option<Confidence> {
    let (name, value) = (captures.get(1)?.as_bytes().to_ascii_lowercase(), secret_in(captures));
    let contains = |word: &str| memchr::memmem::find(&name, word.as_bytes()).is_some();
    let is_password = contains("pass") || contains("pwd");
    let (distinct, changes, length) = if is_password { (8, 3, 8) } else { (10, 4, 12) };
    let is_secret = !is_other_name(&name)
        && value.len() >= length
        && is_random(value, distinct, changes)
        && !is_placeholder(value)
        && !is_uuid(value);
    is_secret.then_some(Confidence::Likely)
}

/// Whether a name is that of another value, for example a token of a paged list or of a tokenizer.
fn is_other_name(name: &[u8]) -> bool {
    const WORDS: [&str; 22] = [
        // Signed URLs: the id of a key, and its scope.
        "x-amz-",
        "x-goog-",
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
        "search_key",
        "sort_key",
        "order_key",
        "group_key",
        "partition_key",
        "primary_key",
        "foreign_key",
    ];
    let name = name.to_ascii_lowercase();
    WORDS
        .iter()
        .any(|word| memchr::memmem::find(&name, word.as_bytes()).is_some())
}

/// Whether a value is one word: `development`, `Production`.
fn is_single_word(value: &[u8]) -> bool {
    value.iter().all(u8::is_ascii_alphabetic) && is_words(value)
}

fn is_mixed_case(value: &[u8]) -> bool {
    value.iter().any(u8::is_ascii_lowercase) && value.iter().any(u8::is_ascii_uppercase)
}

/// Whether a value consists of words and short numbers: `a-name_with-4-words`, `CamelCase` excluded.
fn is_words(value: &[u8]) -> bool {
    const MAX_WORD: usize = 14;
    const MAX_NUMBER: usize = 4;
    let is_word = |word: &[u8]| {
        word.len() <= MAX_WORD
            && (word.iter().all(u8::is_ascii_uppercase)
                || word.iter().take(1).all(u8::is_ascii_alphabetic) && word.iter().skip(1).all(u8::is_ascii_lowercase))
            || word.len() <= MAX_NUMBER && word.iter().all(u8::is_ascii_digit)
    };
    value.split(|byte| !byte.is_ascii_alphanumeric()).all(is_word)
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

/// Whether a value is a placeholder, such as `your-key-here`, `AKIAIOSFODNN7EXAMPLE` or `0123456789abcdef`. A random token may
/// contain a short word or a short sequence by chance. So a long value that contains one is a placeholder only if little else
/// remains.
fn is_placeholder(value: &[u8]) -> bool {
    const WORDS: [&str; 8] = [
        "example",
        "placeholder",
        "your",
        "redacted",
        "dummy",
        "changeme",
        "insert",
        "fake",
    ];
    /// The minimum length of a token that may contain a word by chance, and of its random part.
    const TOKEN: usize = 16;
    const RANDOM_PART: usize = 12;
    let value = value.to_ascii_lowercase();
    let (mut covered, mut is_suspect) = sequences(&value);
    for word in WORDS {
        for at in memchr::memmem::find_iter(&value, word) {
            let end = at + word.len();
            let is_edge = |byte: Option<&u8>| byte.is_none_or(|byte| !byte.is_ascii_alphanumeric());
            let is_whole_word =
                is_edge(at.checked_sub(1).and_then(|before| value.get(before))) && is_edge(value.get(end));
            if is_whole_word || word == "example" && matches!(&value[end..], b"" | b"key") {
                return true;
            }
            covered[at..end].fill(true);
            is_suspect = true;
        }
    }
    let random = covered.iter().filter(|is_covered| !**is_covered).count();
    is_suspect && (value.len() < TOKEN || random < RANDOM_PART || random * 2 < value.len())
}

/// Whether more than half of a value consists of sequences, as in `sk-xxxxxxxx` and `0123456789abcdef`.
pub(super) fn is_mostly_sequences(value: &[u8]) -> bool {
    let (covered, _) = sequences(&value.to_ascii_lowercase());
    covered.iter().filter(|is_covered| **is_covered).count() * 2 > value.len()
}

/// Marks the sequences in a value (`xxxx`, `1234`, `edcb`). Also returns whether one of them is usual in placeholders: a repeated
/// character, or eight digits.
fn sequences(value: &[u8]) -> (Vec<bool>, bool) {
    const MIN_LENGTH: usize = 4;
    const MIN_DIGITS: usize = 8;
    let (mut covered, mut is_suspect) = (vec![false; value.len()], false);
    for step in [0, 1, -1] {
        let is_step = |pair: &[u8]| {
            let wraps = step == 1 && pair == b"90";
            i16::from(pair[1]) - i16::from(pair[0]) == step || wraps
        };
        let mut start = 0;
        for end in 1..=value.len() {
            if end < value.len() && is_step(&value[end - 1..=end]) {
                continue;
            }
            if end - start >= MIN_LENGTH {
                covered[start..end].fill(true);
                is_suspect |= step == 0 || end - start >= MIN_DIGITS && value[start].is_ascii_digit();
            }
            start = end;
        }
    }
    (covered, is_suspect)
}

/// Whether this is a password from a manual.
pub(super) fn is_example_password(password: &[u8]) -> bool {
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
        for placeholder in [
            "xxxxxxxxxxxxxxxxxxxxxxxx",
            "abcdefghijklmnop1234567890",
            "sk-1234567890abcdef1234567890abcdef",
            "sk-your-openai-key-4f7G2h9K1m3N",
            "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            "99999999-aaaa-bbbb-cccc-dddddddddddd",
        ] {
            assert!(is_placeholder(placeholder.as_bytes()), "{placeholder}");
        }
    }

    #[test]
    fn a_token_that_contains_a_word_by_chance_is_no_placeholder() {
        for part in [
            "your", "12345678", "xxxx", "00000000", "dummy", "example", "insert", "abcd", "fake",
        ] {
            let token = format!("ghp_k7Hs02LmQx9{part}TzRbVn61WcYp83GdJf");
            assert!(!is_placeholder(token.as_bytes()), "{token}");
        }
    }

    #[test]
    fn sequences_are_marked() {
        let marked = |value: &str| -> String {
            let (covered, _) = sequences(value.as_bytes());
            value
                .chars()
                .zip(covered)
                .map(|(letter, is_covered)| if is_covered { '#' } else { letter })
                .collect()
        };
        assert_eq!(marked("k7xxxx9890123Qedcb"), "k7####9######Q####");
        assert_eq!(marked("abc-123-xxx"), "abc-123-xxx");
        assert!(sequences(b"a-xxxx").1 && sequences(b"a-12345678").1);
        assert!(!sequences(b"abcdefghijklmnopqrstuvwxyz").1);
    }

    #[test]
    fn words_are_no_token() {
        assert!(is_words(b"whsec_test_secret_of_a_unit_test_1"));
        assert!(is_words(b"MY_API_KEY-Value"));
        assert!(!is_words(b"whsec_k7Hs02LmQx94TzRb"));
        assert!(!is_words(b"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"));
    }

    #[test]
    fn a_uuid_has_hyphens_at_four_positions() {
        assert!(is_uuid(b"0b6c1f2e-7a39-4d58-9c41-3f5e8d7a6b21"));
        assert!(!is_uuid(b"0b6c1f2e7a39-4d58-9c41-3f5e8d7a6b21-"));
    }
}
