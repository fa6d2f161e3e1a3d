//! Tells dummy API keys from real ones.
//!
//! A test suite often sets a dummy (`test-api-key`), because SDKs do not start without a key. If a dummy were redacted, a
//! prompt that contains it would have one request key on a machine with the dummy and another one elsewhere.

/// The minimum length of a secret in bytes. A shorter token is always a dummy.
pub(super) const MIN_SECRET_LENGTH: usize = 8;

/// The longest run of letters that counts as a word, and of digits that counts as a number.
const LONGEST_WORD: usize = 16;
const LONGEST_NUMBER: usize = 4;

/// A credential of more words than this may be a passphrase, unless one of its words shows that it is a dummy.
const MOST_WORDS: usize = 3;

/// Words that show that a credential is a dummy. With one of them it may have numbers.
const DUMMIES: [&str; 20] = [
    "anything",
    "changeme",
    "demo",
    "dummy",
    "example",
    "fake",
    "foo",
    "ignored",
    "local",
    "mock",
    "none",
    "nothing",
    "placeholder",
    "sample",
    "stub",
    "test",
    "testing",
    "unused",
    "xxx",
    "your",
];

/// Words that occur in dummies of many words. They do not allow numbers.
const SIGNS: [&str; 9] = [
    "api", "cassette", "empty", "key", "mistral", "needed", "not", "sk", "token",
];

/// Whether a credential is a dummy: short, or only words and perhaps short numbers. Real keys contain longer random parts.
pub(crate) fn is_dummy(credential: &str) -> bool {
    let credential = credential.trim();
    if credential.len() < MIN_SECRET_LENGTH {
        return true;
    }
    let pieces: Vec<&str> = credential
        .split(|character: char| !character.is_alphanumeric())
        .filter(|piece| !piece.is_empty())
        .collect();
    let has = |words: &[&str]| {
        let is_one = |piece: &&str| {
            words
                .iter()
                .any(|word| without_number(piece).eq_ignore_ascii_case(word))
        };
        pieces.iter().any(is_one)
    };
    let has_dummy_word = has(&DUMMIES);
    pieces.iter().all(|piece| is_word(piece))
        && (has_dummy_word || !credential.contains(|character: char| character.is_ascii_digit()))
        && (pieces.len() <= MOST_WORDS || has_dummy_word || has(&SIGNS))
}

/// Whether this is `word`, `Word`, `WORD`, each perhaps with a short number after it, or a short number.
fn is_word(piece: &str) -> bool {
    let word = without_number(piece);
    let rest = word.get(1..).unwrap_or_default();
    piece.len() - word.len() <= LONGEST_NUMBER
        && word.len() <= LONGEST_WORD
        && word.bytes().all(|byte| byte.is_ascii_alphabetic())
        && (rest.bytes().all(|byte| byte.is_ascii_lowercase()) || word.bytes().all(|byte| byte.is_ascii_uppercase()))
}

fn without_number(piece: &str) -> &str {
    piece.trim_end_matches(|character: char| character.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_short_numbers_are_dummies() {
        for dummy in [
            "",
            "test",
            "s3cr3t!",
            "anything",
            "test-api-key",
            "TEST_API_KEY",
            "Your API key here please",
            "your-mistral-api-key-goes-here",
            "mistral-cassette-needs-no-key",
            "sk-test-123",
            "dummy_key_1",
            "test1234",
            "<api-key>",
            "xxxxxxxx",
            "no-key-needed",
        ] {
            assert!(is_dummy(dummy), "{dummy}");
        }
        for real in [
            "sk-test-secret-0123456789abcdef",
            "sk-roundtrip-0123456789",
            "abcdefghijklmnopqrstuvwxyz",
            "TMnTfWvhQjQzKxPbLdRsYgHcNkVwJfZa",
            "tmNTfwVh",
            "q8Jx2mZp",
            "mistral2024",
            "sk-of-the-program-42",
            "hunter22222",
            "a1b2c3d4",
            "correct-horse-battery-staple",
            "0b6c8a1e-2f3d-4c5b-9a7e-1d2c3b4a5f60",
        ] {
            assert!(!is_dummy(real), "{real}");
        }
    }
}
