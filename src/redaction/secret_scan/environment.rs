//! Secrets that the process has in its environment variables.

use std::env;
use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, MatchKind};

use super::checks::{Confidence, is_example_password, is_mostly_sequences};
use super::search::{Secret, SecretValue};
use crate::redaction::dummy::is_dummy;

/// Texts in the name of a variable whose value may be a credential.
const NAMES: [&str; 8] = [
    "KEY",
    "TOKEN",
    "SECRET",
    "PASSWORD",
    "PASSWD",
    "PASSPHRASE",
    "PASSCODE",
    "CREDENTIAL",
];

/// Words in such a name. Within another word (`COMPASS`, `AUTHOR`) they mean nothing.
const NAME_WORDS: [&str; 5] = ["PWD", "PASS", "PAT", "AUTH", "JWT"];

/// The last words in the names of variables whose value a person chooses.
const PASSWORD_WORDS: [&str; 6] = ["PASSWORD", "PASSWD", "PASSPHRASE", "PASSCODE", "PWD", "PASS"];

/// Variables that are not searched for: the API key is redacted already, `GPG_KEY` is the fingerprint of a public key in
/// Python's container images, and the others are folders.
const OTHER_NAMES: [&str; 4] = [crate::http::API_KEY_VARIABLE, "GPG_KEY", "PWD", "OLDPWD"];

/// The last words in the names of variables that describe a credential.
const DESCRIPTIONS: [&str; 29] = [
    "ALGORITHM",
    "ALIAS",
    "ARN",
    "AUDIENCE",
    "COUNT",
    "DIR",
    "DOMAIN",
    "ENABLED",
    "ENDPOINT",
    "FILE",
    "FINGERPRINT",
    "FORMAT",
    "HEADER",
    "HOST",
    "ID",
    "ISSUER",
    "LENGTH",
    "NAME",
    "PATH",
    "PREFIX",
    "REGION",
    "SIZE",
    "TIMEOUT",
    "TTL",
    "TYPE",
    "URI",
    "URL",
    "USER",
    "USERNAME",
];

/// The minimum length of a random part that makes a value a credential although its variable describes one.
const MIN_RANDOM_IN_DESCRIPTION: usize = 20;

/// The same for a value that is a URL without a user.
const MIN_RANDOM_IN_ADDRESS: usize = 16;

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
            .filter(|(name, value)| is_credential(name, value))
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

/// Whether a variable contains a credential, by its name and its value.
fn is_credential(name: &str, value: &str) -> bool {
    let upper = name.to_ascii_uppercase();
    let mut words = upper
        .split(|letter: char| !letter.is_ascii_alphanumeric())
        .map(|word| word.trim_end_matches(|letter: char| letter.is_ascii_digit()));
    let is_credential_name =
        NAMES.iter().any(|text| upper.contains(text)) || words.clone().any(|word| NAME_WORDS.contains(&word));
    let is_other_name = OTHER_NAMES.contains(&&*upper);
    let is_other_value = value.len() < MIN_LENGTH || is_path(value) || is_mostly_sequences(value.as_bytes());
    if !is_credential_name || is_other_name || is_other_value {
        return false;
    }
    let last = words.next_back().unwrap_or_default();
    // In HashiCorp Vault, a secret has this name.
    if DESCRIPTIONS.contains(&last) && !upper.ends_with("SECRET_ID") {
        return has_random_part(value, MIN_RANDOM_IN_DESCRIPTION);
    }
    if value.contains("://") && !value.contains('@') {
        return has_random_part(value, MIN_RANDOM_IN_ADDRESS);
    }
    let is_password = PASSWORD_WORDS.iter().any(|word| last.ends_with(word));
    let is_name_of_value = is_password
        || NAME_WORDS.contains(&last)
        || NAMES.iter().any(|text| last.trim_end_matches('S').ends_with(text));
    let is_chosen = || {
        let has_digit = value.contains(|letter: char| letter.is_ascii_digit());
        let is_number = !value.contains(|letter: char| letter.is_alphabetic());
        has_digit && (is_password || !is_number) && !is_dummy(value) && !is_example_password(value.as_bytes())
    };
    has_random_part(value, 0) || is_name_of_value && (is_passphrase(value) || is_chosen())
}

/// Whether a value begins like a path: `/home/me/…`, `~/…`, `./…`, `C:\…`. A base64 text may begin with a slash.
fn is_path(value: &str) -> bool {
    let is_absolute = || {
        let folder = value.strip_prefix('/').and_then(|rest| rest.split_once('/'));
        folder.is_some_and(|(folder, _)| folder.len() > 1 && folder.bytes().all(|byte| byte.is_ascii_lowercase()))
    };
    ["~/", "./", "../"].iter().any(|start| value.starts_with(start))
        || value.get(1..3).is_some_and(|start| matches!(start, ":\\" | ":/"))
        || is_absolute()
}

/// Whether a value has a part, between other characters than letters and digits, that is at least this long and neither a word
/// nor a number.
fn has_random_part(value: &str, min_length: usize) -> bool {
    value
        .split(|letter: char| !letter.is_alphanumeric())
        .any(|part| part.len() >= min_length.max(1) && !is_word(part) && !is_number(part))
}

/// Whether this is a word with a number of up to five digits, or none: `large`, `UTF8`, `ed25519`, `fileName`.
fn is_word(part: &str) -> bool {
    const MAX_WORD: usize = 14;
    const MAX_NUMBER: usize = 5;
    let letters = part.trim_end_matches(|letter: char| letter.is_ascii_digit());
    let is_upper = letters.chars().all(|letter| !letter.is_lowercase()) && letters.chars().count() <= MAX_WORD;
    // Each capital in `camelCase` begins a word of at least three letters.
    let mut words = letters.split(|letter: char| letter.is_uppercase());
    let is_first_word = words.next().is_none_or(|word| word.chars().count() <= MAX_WORD);
    let is_lower = is_first_word && words.all(|word| (2..MAX_WORD).contains(&word.chars().count()));
    part.len() - letters.len() <= MAX_NUMBER && letters.chars().all(char::is_alphabetic) && (is_upper || is_lower)
}

/// Whether this is a number with a unit, a part of a time or a version: `128000`, `16k`, `27T10`, `00Z`.
fn is_number(part: &str) -> bool {
    const MAX_UNIT: usize = 2;
    let rest = part.trim_matches(|letter: char| letter.is_ascii_digit());
    part.starts_with(|letter: char| letter.is_ascii_digit()) && rest.len() <= MAX_UNIT
}

/// Whether this is a passphrase of at least four words with the same separator.
fn is_passphrase(value: &str) -> bool {
    const MIN_WORDS: usize = 4;
    const MIN_WORD: usize = 3;
    let is_of_words = |separator: char| {
        let words: Vec<&str> = value.split(separator).collect();
        let is_word = |word: &&str| word.len() >= MIN_WORD && word.chars().all(char::is_alphabetic);
        words.len() >= MIN_WORDS && words.iter().all(is_word)
    };
    ['-', '_', '.', ' '].into_iter().any(is_of_words) && !is_dummy(value)
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
            ("DB_PASS", "minio4711"),
            ("PGPASSWORD", "k7Hs02Lm"),
            ("MYSQL_PWD", "p9X_72bQwTz"),
            ("ROOT_PASSWORD", "83920174639"),
            ("SIGNING_PASSPHRASE", "five blind mice run"),
            ("api_key", "correct-horse-battery-staple"),
            ("apiKey", "q8Zr2LmX0vTn4KdP7sWb"),
            ("GITHUB_TOKEN", "0193abxd"),
            ("GITHUB_PAT", "q8Zr2LmX0vTn4KdP7sWb"),
            ("REDIS_AUTH", "q8Zr2LmX0vTn4KdP7sWb"),
            ("API_TOKENS", "q8Zr2LmX0vTn4KdP7sWb,X0vTn4KdP7sWbq8Zr2Lm"),
            ("STRIPE_SECRET", "rk_9vT2mQx7"),
            ("SERVICE_TOKEN", "Blue_horse+7"),
            ("AWS_SECRET_ACCESS_KEY", "/k3+x/9vT2mQx7aBcD"),
            (
                "GOOGLE_CREDENTIALS",
                "{\"type\":\"service_account\",\"private_key_id\":\"9f86d081884c7d65\"}",
            ),
            // A word in the name or the value does not make a random value another one.
            ("SURVEYMONKEY_ACCESS_TOKEN", "q8Zr2LmX0vTn4KdP7sWb"),
            ("NEXT_PUBLIC_SECRET_KEY", "q8Zr2LmX0vTn4KdP7sWb"),
            ("TOKENIZER_API_KEY", "q8Zr2LmX0vTn4KdP7sWb"),
            ("STRIPE_KEY", "sk_test_q8Zr2LmX0vTn4KdP7sWb"),
            ("CLIENT_SECRET", "q8Zr2LmX0v/your+Tn4KdP7sWb"),
            ("DB_PASSWORD", "$4l4tp-q8Zr2LmX0v"),
            // The name describes a credential, and the value is one.
            ("VAULT_SECRET_ID", "7ee173aa-62c1-44a4-a1bc-0c2d8f3e9b11"),
            ("DEPLOY_KEY_ID", "q8Zr2LmX0vTn4KdP7sWb"),
            ("WEBHOOK_SECRET_URL", "https://hooks.example.com/q8Zr2LmX0vTn4KdP7sWb"),
        ] {
            let found = environment(&[(name, value)]).find(format!("a {value} b").as_bytes());
            assert_eq!(found.len(), 1, "{name}");
            assert_eq!(found[0].kind, format!("the value of {name}"));
            assert_eq!(found[0].at, 2..2 + value.len());
        }
        for (name, value) in [
            // Too short.
            ("API_KEY", "a1b2c3d"),
            // Words, numbers, and what programs set.
            ("API_KEY", "development"),
            ("API_KEY", "test-api-key-1"),
            ("API_KEY", "your_key_here_1"),
            ("API_KEY", "sk-no-key-required"),
            ("API_KEY", "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"),
            ("API_KEY", "sk-1234567890"),
            ("POSTGRES_PASSWORD", "postgres"),
            ("DB_PASSWORD", "my-postgres"),
            ("DB_PASSWORD", "12345678"),
            ("SECRET", "Production"),
            ("SECRET_KEY", "not so secret"),
            ("TOKEN", "1234567890"),
            ("MAX_TOKENS", "128,000"),
            ("TOKEN_LIMIT", "128000 tokens"),
            ("TOKENIZERS_PARALLELISM", "disabled"),
            ("TOKEN_EXPIRES", "2026-11-27T10:00:00Z"),
            ("EOS_TOKEN", "<|endoftext|>"),
            ("KEY_MODEL", "mistral-large-2411"),
            ("KMS_KEY", "alias/prod-key"),
            ("S3_KEY", "uploads/images/logo.png"),
            ("KMS_KEY_PLACE", "eu-central-1"),
            ("PRIMARY_KEY", "customer_id"),
            ("SEARCH_KEYWORD", "the capital of France"),
            ("FLAG_KEY", "newCheckoutPage"),
            ("WHISKEY", "jack-daniels"),
            ("AZURE_CREDENTIAL", "ManagedIdentityCredential"),
            // Paths and addresses.
            ("SSH_KEY", "/home/me/.ssh/id_ed25519"),
            ("TLS_KEY", "/run/secrets/q8Zr2LmX0vTn4KdP7sWb"),
            ("TLS_KEY", "C:\\keys\\a1b2c3.pem"),
            ("KEY_SERVER", "https://keys.example.com/v1/a1b2c3"),
            // Names that describe a credential, and names of other variables.
            ("AWS_ACCESS_KEY_ID", "a1b2c3d4e5"),
            ("KEY_FINGERPRINT", "SHA256:uNiVztksCs"),
            ("GPG_KEY", "A035C8C19219BA821ECEA86B64E628F8D684696D"),
            ("MISTRAL_API_KEY", "a1b2c3d4e5"),
            ("PWD", "/a1b2c3d4"),
            ("OLDPWD", "/a1b2c3d4"),
            ("COMPASS", "a1b2c3d4e5"),
            ("AUTHOR", "a1b2c3d4e5"),
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
