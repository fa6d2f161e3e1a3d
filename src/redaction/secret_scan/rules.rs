//! The formats of keys, tokens, cookies and passwords: one rule for each.

use regex::bytes::Captures;

use super::checks::{
    Confidence, always_certain, always_likely, is_basic_credentials, is_not_placeholder, is_url_password,
    is_value_of_secret_name, looks_random, looks_random_and_mixed_case,
};

/// One format of a secret.
pub(super) struct Rule {
    /// The kind of the secret, with its article, for messages.
    pub(super) kind: &'static str,
    /// Every text that contains the secret contains one of these literals, in upper or lower case. Most texts contain none, so
    /// the pattern is rarely applied.
    pub(super) literals: &'static [&'static str],
    /// A regular expression. Its last group, or the complete match if there is no group, is the secret.
    pub(super) pattern: &'static str,
    /// Whether a match is a secret and not, for example, a placeholder.
    pub(super) check: fn(&Captures<'_>) -> Option<Confidence>,
}

const fn rule(
    kind: &'static str,
    literals: &'static [&'static str],
    pattern: &'static str,
    check: fn(&Captures<'_>) -> Option<Confidence>,
) -> Rule {
    Rule {
        kind,
        literals,
        pattern,
        check,
    }
}

/// Matches the start of a word. In JSON, an escaped line break (`\\n`) can precede the word.
macro_rules! word_start {
    () => {
        r"(?:\b|\\[nrt])"
    };
}

/// Matches the separator between a name and its value, in code, JSON, JSON within JSON, YAML and headers.
macro_rules! assignment {
    () => {
        r#"\\*["']?\s*(?::|=>?)\s*\\*["']?"#
    };
}

/// All rules. Where two match at overlapping positions, the first one counts.
pub(super) const RULES: [Rule; 26] = [
    rule(
        "an Anthropic API key",
        &["sk-ant-"],
        concat!(word_start!(), r"(sk-ant-[A-Za-z0-9_-]{20,})"),
        looks_random,
    ),
    rule(
        "an OpenAI API key",
        &["sk-"],
        concat!(
            word_start!(),
            r"(sk-(?:proj|svcacct|admin)-[A-Za-z0-9_-]{20,}|sk-[A-Za-z0-9]{10,}T3BlbkFJ[A-Za-z0-9]{10,})"
        ),
        looks_random,
    ),
    rule(
        "an API key",
        &["sk-"],
        concat!(word_start!(), r"(sk-[A-Za-z0-9_-]{20,})"),
        looks_random,
    ),
    rule(
        "a Stripe key",
        &["k_live_"],
        concat!(word_start!(), r"([rs]k_live_[A-Za-z0-9]{16,})"),
        is_not_placeholder,
    ),
    rule(
        "an AWS access key id",
        &["AKIA", "ASIA"],
        concat!(word_start!(), r"((?:AKIA|ASIA)[A-Z2-7]{16})\b"),
        is_not_placeholder,
    ),
    rule(
        "an AWS secret key",
        &["secret"],
        concat!(
            r"(?i:secret[_-]?(?:access[_-]?)?key)",
            assignment!(),
            r"([A-Za-z0-9/+]{40})(?:[^A-Za-z0-9/+=]|$)"
        ),
        looks_random_and_mixed_case,
    ),
    rule(
        "an Azure storage key",
        &["AccountKey="],
        r"\bAccountKey=([A-Za-z0-9+/]{80,}==)",
        is_not_placeholder,
    ),
    rule(
        "a Google API key",
        &["AIza"],
        concat!(word_start!(), r"(AIza[0-9A-Za-z_-]{35})"),
        is_not_placeholder,
    ),
    rule(
        "a Google OAuth token",
        &["ya29."],
        concat!(word_start!(), r"(ya29\.[0-9A-Za-z_-]{20,})"),
        is_not_placeholder,
    ),
    rule(
        "a Google client secret",
        &["GOCSPX-"],
        concat!(word_start!(), r"(GOCSPX-[0-9A-Za-z_-]{20,})"),
        is_not_placeholder,
    ),
    rule(
        "a GitHub token",
        &["ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_"],
        concat!(
            word_start!(),
            r"(gh[pousr]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{22,})"
        ),
        is_not_placeholder,
    ),
    rule(
        "a GitLab token",
        &["glpat-"],
        concat!(word_start!(), r"(glpat-[A-Za-z0-9_-]{20,})"),
        is_not_placeholder,
    ),
    rule(
        "a Slack token",
        &["xox", "xapp-", "hooks.slack.com"],
        concat!(
            word_start!(),
            r"(xox[abeoprs]-[A-Za-z0-9-]{10,}|xapp-\d-[A-Za-z0-9-]{10,}|hooks\.slack\.com/services/T[A-Z0-9]+/B[A-Z0-9]+/[A-Za-z0-9]{16,})"
        ),
        looks_random,
    ),
    rule(
        "a Hugging Face token",
        &["hf_"],
        concat!(word_start!(), r"(hf_[A-Za-z0-9]{30,})"),
        is_not_placeholder,
    ),
    rule(
        "an npm token",
        &["npm_"],
        concat!(word_start!(), r"(npm_[A-Za-z0-9]{36})\b"),
        is_not_placeholder,
    ),
    rule(
        "a PyPI token",
        &["pypi-AgE"],
        concat!(word_start!(), r"(pypi-AgE[A-Za-z0-9_-]{40,})"),
        is_not_placeholder,
    ),
    rule(
        "a JSON web token",
        &["eyJ"],
        concat!(
            word_start!(),
            r"(eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,})"
        ),
        always_certain,
    ),
    rule(
        "a private key",
        &["PRIVATE KEY"],
        r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----(?:\\+[nr]|\s|[A-Za-z-]+: [^\n\\]*)*([A-Za-z0-9+/=]{16,})",
        is_not_placeholder,
    ),
    rule(
        "a session cookie",
        &["__cf_bm", "_cfuvid", "cf_clearance"],
        r#"\b(?:__cf_bm|_cfuvid|cf_clearance)=([^;\s"'\\]{8,})"#,
        is_not_placeholder,
    ),
    rule(
        "a session cookie",
        &["cookie"],
        concat!(
            r#"(?i)\bcookie"#,
            assignment!(),
            r#"[^\r\n"']{0,400}?[a-z0-9_.-]*(?:sess|sid|auth|token)[a-z0-9_.-]*=([a-z0-9%._~+/-]{16,})"#
        ),
        looks_random,
    ),
    rule(
        "basic authorization",
        &["basic"],
        concat!(r"(?i)\bauthorization", assignment!(), r"basic\s+([a-z0-9+/]{8,}={0,2})"),
        is_basic_credentials,
    ),
    rule(
        "a Mistral API key",
        &["key", "authorization"],
        concat!(
            r"(?i:mistral[_-]?(?:api[_-]?)?key|\bx-api-key|\bapi[_-]?key|\bauthorization)",
            assignment!(),
            r"(?i:bearer\s+)?([A-Za-z0-9]{32})(?:[^A-Za-z0-9_.-]|$)"
        ),
        looks_random_and_mixed_case,
    ),
    rule(
        "a bearer token",
        &["bearer"],
        concat!(r"(?i)", word_start!(), r"bearer\s+([a-z0-9._~+/-]{16,})"),
        looks_random,
    ),
    rule(
        "a password in a URL",
        &["://"],
        r#"(?i)\b[a-z][a-z0-9+.-]{1,20}://([^/\s:@"'\\<>{}$\[\]*]{0,64}):([^/\s:@"'\\<>{}$\[\]*]{3,100})@[a-z0-9\[]"#,
        is_url_password,
    ),
    rule(
        "a signed URL",
        &["sig=", "signature="],
        r"(?i)(?:[?&]|\\u0026|&amp;)(?:sig=[a-z0-9%+/]{43,}|x-(?:amz|goog)-signature=[0-9a-f]{64,})",
        always_likely,
    ),
    rule(
        "a possible password or token",
        &["token", "secret", "passw", "pwd", "passphrase", "key", "credential"],
        concat!(
            r#"(?i)([a-z0-9_.-]{0,40}(?:token|secret|passw(?:or)?d|pwd|passphrase|api[_-]?key|access[_-]?key|private[_-]?key|credential))"#,
            assignment!(),
            r#"([a-z0-9_+/~!@#%^*=.-]{8,200})(?:[^a-z0-9(\[]|$)"#
        ),
        is_value_of_secret_name,
    ),
];
