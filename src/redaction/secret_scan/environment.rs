//! Secrets that the process has in its environment variables.

use std::env;
use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, MatchKind};

use super::checks::{Confidence, is_single_word};
use super::search::{Secret, SecretValue};

/// Words in the name of a variable whose value is a credential.
const NAMES: [&str; 8] = [
    "KEY",
    "TOKEN",
    "SECRET",
    "PASSWORD",
    "PASSWD",
    "PASSPHRASE",
    "CREDENTIAL",
    "_PWD",
];

/// Words in the names of other variables: `TOKENIZERS_PARALLELISM`, `MAX_TOKENS`, `GPG_KEY` (a fingerprint), `KEYBOARD`.
const OTHER_NAMES: [&str; 12] = [
    "TOKENIZER",
    "TOKENS",
    "PUBLIC",
    "PUBKEY",
    "GPG_KEY",
    "KEYBOARD",
    "KEYMAP",
    "KEYRING",
    "KEYTIMEOUT",
    "KEYCODE",
    "HOTKEY",
    "MONKEY",
];

/// The last words in the names of variables that describe a credential.
const OTHER_ENDINGS: [&str; 22] = [
    "_FILE",
    "_PATH",
    "_DIR",
    "_URL",
    "_URI",
    "_HOST",
    "_ENDPOINT",
    "_NAME",
    "_USER",
    "_USERNAME",
    "_TYPE",
    "_ID",
    "_ARN",
    "_TTL",
    "_TIMEOUT",
    "_ALGORITHM",
    "_VERSION",
    "_LENGTH",
    "_SIZE",
    "_COUNT",
    "_ENABLED",
    "_PREFIX",
];

/// Words in the values that tests use in place of a credential.
const DUMMY_WORDS: [&str; 9] = [
    "test",
    "dummy",
    "fake",
    "example",
    "placeholder",
    "changeme",
    "your",
    "redacted",
    "xxxx",
];

const MIN_LENGTH: usize = 8;

/// The values of variables that look like credentials.
pub(super) struct Environment {
    /// What a message calls each value: `the value of DATABASE_PASSWORD`.
    kinds: Vec<&'static str>,
    /// Each value as a file name contains it.
    slugs: Vec<String>,
    values: Option<AhoCorasick>,
}

/// The environment when it was first needed.
static ENVIRONMENT: LazyLock<Environment> = LazyLock::new(|| {
    Environment::of(
        env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))),
    )
});

impl Environment {
    /// The environment of this process, read once.
    pub(super) fn of_process() -> &'static Self {
        &ENVIRONMENT
    }

    /// Takes the credentials from variables.
    pub(super) fn of(variables: impl IntoIterator<Item = (String, String)>) -> Self {
        let credentials: Vec<(String, String)> = variables
            .into_iter()
            .map(|(name, value)| (name, value.trim().to_owned()))
            .filter(|(name, value)| is_credential_name(name) && is_credential(value))
            .collect();
        let values = credentials.iter().map(|(_, value)| value);
        let automaton = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .build(values)
            .ok();
        Self {
            // The environment is read once, so that this does not grow.
            kinds: credentials
                .iter()
                .map(|(name, _)| &*Box::leak(format!("the value of {name}").into_boxed_str()))
                .collect(),
            slugs: credentials.iter().map(|(_, value)| slug(value)).collect(),
            values: automaton.filter(|_| !credentials.is_empty()),
        }
    }

    /// Finds the values in a text.
    pub(super) fn find(&self, text: &[u8]) -> Vec<Secret> {
        let Some(values) = &self.values else {
            return Vec::new();
        };
        let secret = |found: aho_corasick::Match| Secret {
            kind: self.kinds[found.pattern().as_usize()],
            confidence: Confidence::Certain,
            at: found.range(),
            value: SecretValue(text[found.range()].to_vec()),
        };
        values.find_iter(text).map(secret).collect()
    }

    /// The kinds of the values in a name, which has them in lower case and with hyphens for other characters.
    pub(super) fn kinds_in_name(&self, name: &str) -> impl Iterator<Item = &'static str> {
        let name = slug(name);
        let found = self.slugs.iter().zip(&self.kinds);
        found
            .filter(move |(value, _)| value.len() >= MIN_LENGTH && name.contains(value.as_str()))
            .map(|(_, kind)| *kind)
    }
}

/// A text in lower case, with a hyphen for other characters than letters and digits.
fn slug(text: &str) -> String {
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric());
    let words: Vec<String> = words
        .filter(|word| !word.is_empty())
        .map(str::to_ascii_lowercase)
        .collect();
    words.join("-")
}

/// Whether the value of a variable with this name is a credential. The key of the Mistral API is not: it is replaced.
fn is_credential_name(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    let contains = |word: &&str| name.contains(*word);
    name != crate::http::API_KEY_VARIABLE
        && NAMES.iter().any(contains)
        && !OTHER_NAMES.iter().any(contains)
        && !OTHER_ENDINGS.iter().any(|ending| name.ends_with(ending))
}

/// Whether a value is not a word, a number, a path, an address, or a dummy.
fn is_credential(value: &str) -> bool {
    let is_path = value.starts_with(['/', '~', '.', '$', '%'])
        || value.get(1..3).is_some_and(|start| matches!(start, ":\\" | ":/"));
    let is_address = value.contains("://") && !value.contains('@');
    let lower = value.to_ascii_lowercase();
    let is_dummy = lower
        .split(|letter: char| !letter.is_ascii_alphanumeric())
        .any(|word| DUMMY_WORDS.contains(&word))
        || lower.contains("xxxx");
    let is_number = value
        .bytes()
        .all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b',' | b'-' | b'_'));
    value.len() >= MIN_LENGTH && !is_path && !is_address && !is_dummy && !is_number && !is_single_word(value.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(variables: &[(&str, &str)]) -> Environment {
        Environment::of(
            variables
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
        )
    }

    #[test]
    fn variables_with_credentials_are_told_by_name_and_value() {
        for (name, value) in [
            ("DATABASE_PASSWORD", "hunter2-hunter2"),
            ("api_key", "correct-horse-battery-staple"),
            ("GITHUB_TOKEN", "0123abcd"),
            ("STRIPE_SECRET", "rk_9vT2mQx7"),
            ("AWS_SECRET_ACCESS_KEY", "Zk3+x/9vT2mQx7"),
            ("GOOGLE_CREDENTIALS", "{\"type\":\"service_account\"}"),
            ("MYSQL_PWD", "p9X_72bQwTz"),
            ("SIGNING_PASSPHRASE", "three blind mice"),
        ] {
            let found = environment(&[(name, value)]).find(format!("a {value} b").as_bytes());
            assert_eq!(found.len(), 1, "{name}");
            assert_eq!(found[0].kind, format!("the value of {name}"));
            assert_eq!(found[0].at, 2..2 + value.len());
        }
        for (name, value) in [
            // Too short, and ordinary values.
            ("API_KEY", "a1b2c3d"),
            ("API_KEY", "development"),
            ("SECRET", "Production"),
            ("TOKEN", "1234567890"),
            ("SSH_KEY", "/home/me/.ssh/id_ed25519"),
            ("TLS_KEY", "C:\\keys\\a1b2c3.pem"),
            ("KEY_SERVER", "https://keys.example.com"),
            ("API_KEY", "test-api-key-1"),
            ("API_KEY", "your_key_here_1"),
            // Names of other variables.
            ("PWD", "/home/me/a1b2c3d4"),
            ("OLDPWD", "home-a1b2c3d4"),
            ("SSH_AUTH_SOCK", "agent-a1b2c3d4"),
            ("SECRET_KEY_FILE", "run-secrets-a1b2c3d4"),
            ("AWS_ACCESS_KEY_ID", "a1b2c3d4e5"),
            ("TOKENIZERS_PARALLELISM", "a1b2c3d4e5"),
            ("MAX_TOKENS", "a1b2c3d4e5"),
            ("GPG_KEY", "A035C8C19219BA821ECEA86B64E628F8D684696D"),
            ("MISTRAL_API_KEY", "a1b2c3d4e5"),
            ("MONKEY_PATCH", "a1b2c3d4e5"),
            ("HOME", "a1b2c3d4e5"),
        ] {
            let found = environment(&[(name, value)]).find(format!("a {value} b").as_bytes());
            assert!(found.is_empty(), "{name}={value}");
        }
        assert!(environment(&[]).find(b"text").is_empty());
    }

    #[test]
    fn a_value_is_found_in_the_name_of_a_file() {
        let environment = environment(&[("DB_PASSWORD", "Hunter2_Hunter2!")]);
        let kinds: Vec<&str> = environment.kinds_in_name("chat/say-hunter2-hunter2-to-me").collect();
        assert_eq!(kinds, ["the value of DB_PASSWORD"]);
        assert_eq!(environment.kinds_in_name("chat/say-hunter2-to-me").count(), 0);
    }
}
