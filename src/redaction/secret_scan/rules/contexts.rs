//! Secrets that are recognized by their context: names, headers, commands, URLs and PEM.

use super::rule::Rule;
use super::rule::Source::{Context, Gitleaks};
use crate::redaction::secret_scan::checks::{
    always_likely, is_authorization, is_basic_credentials, is_command_login, is_encoded_private_key, is_key_of_service,
    is_not_placeholder, is_private_key, is_query_credential, is_registry_token, is_token_in_url, is_url_password,
    is_value_of_secret_name, looks_like_mistral_key, looks_random, looks_random_and_mixed_case,
};

/// The kind of a query parameter whose name indicates a secret.
pub(in crate::redaction::secret_scan) const QUERY_CREDENTIAL: &str = "a credential in a query";

/// Matches the separator between a name and its value, in code, JSON, JSON within JSON, YAML and headers.
macro_rules! assignment {
    () => {
        r#"\\*["']?\]?\s*(?::|=>?)\s*\\*["']?"#
    };
}

/// Keys after a name. Anything may stand between the two (`os.getenv("NAME", "value")`, `ENV NAME value`, `name: … value: …`), as
/// their format is strict.
pub(super) const KEYS: &[Rule] = &[
    Rule {
        kind: "an AWS secret key",
        literals: &["secret", "aws"],
        pattern: r"(?i:secret[ _-]?(?:access[ _-]?)?key|aws[ _-]?secret)(?s:.){0,60}?[^A-Za-z0-9/+=_.-]([A-Za-z0-9/+]{40})(?:[^A-Za-z0-9/+=_-]|$)",
        check: looks_random_and_mixed_case,
        source: Gitleaks,
    },
    Rule {
        kind: "an Azure storage key",
        literals: &["AccountKey="],
        pattern: r"\bAccountKey=([A-Za-z0-9+/]{80,}==)",
        check: is_not_placeholder,
        source: Context,
    },
    Rule {
        kind: "a Mistral API key",
        literals: &["mistral"],
        pattern: r"(?i:mistral)(?s:.){0,80}?[^A-Za-z0-9_./+-]([A-Za-z0-9]{32})(?:[^A-Za-z0-9_/+=-]|$)",
        check: looks_like_mistral_key,
        source: Context,
    },
    Rule {
        kind: "a Mistral API key",
        // Other keys than `--key` are behind `api`.
        literals: &["--key", "authorization", "api"],
        pattern: r"(?i:api[ _-]?(?:key|token|secret)|\bauthorization|--key|\bcl(?:\xC3\xA9|e)s?\s(?:d')?api|\bapi[ _-]?schl(?:\xC3\xBC|ue|u)ssel)(?s:.){0,60}?[^A-Za-z0-9_./+-]([A-Za-z0-9]{32})(?:[^A-Za-z0-9_/+=-]|$)",
        check: looks_like_mistral_key,
        source: Context,
    },
    Rule {
        kind: "a Mistral API key",
        literals: &["key"],
        pattern: concat!(
            r"(?i:\bkey)(?:",
            assignment!(),
            r"|\s+is:?\s+)([A-Za-z0-9]{32})(?:[^A-Za-z0-9_/+=-]|$)"
        ),
        check: looks_like_mistral_key,
        source: Context,
    },
    Rule {
        kind: "a key of a service",
        literals: &[
            "twilio",
            "cohere",
            "co_api",
            "datadog",
            "dd_api",
            "dd_app",
            "cloudflare",
            "cf_api",
            "discord",
            "linear",
            "algolia",
            "deepgram",
            "assemblyai",
            "wandb",
            "okta",
            "dropbox",
            "zendesk",
            "jfrog",
            "artifactory",
            "heroku",
            "sentry",
            "snyk",
            "sonar",
            "travis",
            "codecov",
            "fastly",
            "circleci",
            "vercel",
            "serper",
            "azure",
            "stability",
            "brave",
        ],
        pattern: r#"(?i)(?:twilio|cohere|\bco_api|datadog|\bdd_ap[ip]|cloudflare|\bcf_api|discord|linear|algolia|deepgram|assemblyai|wandb|okta|dropbox|zendesk|jfrog|artifactory|heroku|sentry|snyk|sonar|travis|codecov|fastly|circleci|vercel|serper|azure|stability|brave)[a-z0-9_ .-]{0,24}(?:key|token|secret|password|\bpat)\\*["']?[\]),]{0,2}\s*(?::|=>?|,|\s|value[=:"' ]*)\s*\\*["']?([a-z0-9_-]{20,100})(?:[^a-z0-9_.(\[-]|$)"#,
        check: is_key_of_service,
        source: Gitleaks,
    },
];

/// Authorization, cookies, commands and URLs.
pub(super) const LOGINS: &[Rule] = &[
    Rule {
        kind: "a session cookie",
        literals: &["__cf_bm", "_cfuvid", "cf_clearance", "_gitlab_session"],
        pattern: r#"\b(?:__cf_bm|_cfuvid|cf_clearance|_gitlab_session)=([^;\s"'\\]{8,})"#,
        check: is_not_placeholder,
        source: Context,
    },
    Rule {
        kind: "a session cookie",
        literals: &["cookie"],
        pattern: concat!(
            r#"(?i)\bcookie"#,
            assignment!(),
            r#"[^\r\n"']{0,400}?[a-z0-9_.-]*(?:sess|sid|auth|token)[a-z0-9_.-]*=([a-z0-9%._~+/-]{16,})"#
        ),
        check: looks_random,
        source: Context,
    },
    Rule {
        kind: "a password in a URL",
        literals: &["://"],
        pattern: r#"(?i)\b[a-z][a-z0-9+.-]{1,20}://([^/\s:@"'\\<>{}$\[\]*]{0,64}):([^/\s:@"'\\<>{}$\[\]*]{3,100})@[a-z0-9\[]"#,
        check: is_url_password,
        source: Context,
    },
    Rule {
        kind: "a token in a URL",
        literals: &["://"],
        pattern: r"(?i)\b[a-z][a-z0-9+.-]{1,20}://([a-z0-9_.~-]{16,255}):?@[a-z0-9.-]+",
        check: is_token_in_url,
        source: Context,
    },
    Rule {
        kind: "basic authorization",
        literals: &["authorization"],
        pattern: r#"(?i)\bauthorization\\*["']?[\]),]{0,2}\s*(?::|=>?|,)?\s*\\*["']?basic\s+([a-z0-9+/]{8,}={0,2})"#,
        check: is_basic_credentials,
        source: Context,
    },
    Rule {
        kind: "a bearer token",
        literals: &["bearer"],
        pattern: r"(?i)(?:\b|\\[nrt])bearer\s+([a-z0-9._~+/-]{16,})",
        check: looks_random,
        source: Context,
    },
    Rule {
        kind: "an authorization token",
        literals: &["authorization"],
        pattern: r#"(?i)\bauthorization\\*["']?[\]),]{0,2}\s*(?::|=>?|,)\s*\\*["'`]?(?:[a-z][a-z0-9-]{1,24}(?:\s+|=))?(?:(?:token|key|api[_-]?key)=)?\\*["'`]?([a-z0-9._~+/-]{16,}={0,2})"#,
        check: is_authorization,
        source: Context,
    },
    Rule {
        kind: "a token in a header",
        literals: &[
            "x-",
            "private-token",
            "job-token",
            "deploy-token",
            "api-key",
            "subscription-key",
        ],
        pattern: r#"(?i)(?:\b|\\[nrt])(?:x-[a-z-]{0,30}(?:key|token|secret)|(?:private|job|deploy)-token|api-key|ocp-apim-subscription-key)\\*["']?[\]),]{0,2}\s*(?::|,)\s*\\*["'`]?([a-z0-9._~+/-]{20,}={0,2})(?:[^a-z0-9(\[]|$)"#,
        check: is_authorization,
        source: Context,
    },
    Rule {
        kind: "a registry token",
        literals: &["_auth"],
        pattern: r#"\b_auth(?:Token)?\s*=\s*["']?([A-Za-z0-9_+/.-]{16,}={0,2})"#,
        check: is_registry_token,
        source: Context,
    },
    Rule {
        kind: "a login of a command",
        literals: &["curl"],
        pattern: r#"\bcurl\b(?:[^\n]|\\\n){0,400}?\s(?:-u|--user|--proxy-user)[ =]?\s*\\*["']?([^\s:"'$<{\\]{1,100}):([^\s"'$<{}\\]{0,100})"#,
        check: is_command_login,
        source: Gitleaks,
    },
    Rule {
        kind: "a login of a command",
        literals: &["machine"],
        pattern: r"\bmachine\s+\S{1,100}\s+login\s+(\S{1,100})\s+password\s+([^\s\x22'$<{]{3,100})",
        check: is_command_login,
        source: Context,
    },
    Rule {
        kind: "a login of a command",
        literals: &["login"],
        pattern: r#"\b(docker|podman|helm|az|oc|skopeo|crane|nerdctl)\b(?:[^\n]|\\\n){0,200}?\blogin\b(?:[^\n]|\\\n){0,300}?\s(?:-p|--password)[ =]\s*\\*["']?([^\s"'$<{}\\]{8,100})"#,
        check: is_command_login,
        source: Context,
    },
    Rule {
        kind: "a login of a command",
        literals: &["sshpass"],
        pattern: r#"\b(sshpass)\s+-p\s*\\*["']?([^\s"'$<{}\\]{8,100})"#,
        check: is_command_login,
        source: Context,
    },
    Rule {
        kind: "a registry token",
        literals: &["\"auths\"", "auths\\\""],
        pattern: r#"\bauths\\*"(?s:.){0,400}?\bauth\\*"\s*:\s*\\*"([A-Za-z0-9+/]{16,}={0,2})"#,
        check: is_basic_credentials,
        source: Context,
    },
    Rule {
        kind: QUERY_CREDENTIAL,
        literals: &[
            "key=",
            "token=",
            "secret=",
            "password=",
            "passwd=",
            "pwd=",
            "auth=",
            "credential=",
        ],
        pattern: r"(?i)[?&]((?:[a-z0-9_.~-]{0,40}[_.-])?(?:(?:api|access|auth|secret|private|client|subscription|consumer|user|app)?(?:key|token)|[a-z]{0,20}secret|password|passwd|pwd|auth|credential)s?)=([a-z0-9_.~%+/=-]{8,})",
        check: is_query_credential,
        source: Context,
    },
    Rule {
        kind: "a signed URL",
        literals: &["sig=", "signature="],
        pattern: r"(?i)(?:[?&]|\\u0026|&amp;)(?:sig=[a-z0-9%+/]{43,}|x-(?:amz|goog)-signature=[0-9a-f]{64,})",
        check: always_likely,
        source: Context,
    },
];

/// Private keys, and values that only their name makes a secret.
pub(super) const OTHERS: &[Rule] = &[
    // The lines of a key may be quoted (`> `), commented out, or strings of source code.
    Rule {
        kind: "a private key",
        literals: &["PRIVATE KEY"],
        pattern: r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----(?:[A-Za-z-]+: [^\n\\]*|\\+[nrt]|[A-Za-z0-9_]{1,15}[^A-Za-z0-9_]|[^A-Za-z0-9])*?([A-Za-z0-9+/=]{16,})",
        check: is_private_key,
        source: Gitleaks,
    },
    Rule {
        kind: "a private key",
        literals: &["LS0tLS1CRUdJTi"],
        pattern: r"LS0tLS1CRUdJTi[A-Za-z0-9+/=]{60,}",
        check: is_encoded_private_key,
        source: Context,
    },
    Rule {
        kind: "a private key",
        literals: &["\"kty\"", "kty\\\""],
        pattern: r#"\bkty\\*"(?s:.){1,2000}?[{,]\s*\\*"d\\*"\s*:\s*\\*"([A-Za-z0-9_-]{40,})"#,
        check: is_not_placeholder,
        source: Context,
    },
    Rule {
        kind: "a private key",
        literals: &["PuTTY-User-Key-File-"],
        pattern: r"PuTTY-User-Key-File-\d:(?s:.){1,4000}?Private-Lines:\s*\d+[^A-Za-z0-9+/]{1,8}([A-Za-z0-9+/]{30,})",
        check: is_not_placeholder,
        source: Context,
    },
    Rule {
        kind: "a possible password or token",
        literals: &[
            "token",
            "secret",
            "passw",
            "pwd",
            "passphrase",
            "apikey",
            "api_key",
            "api-key",
            "accesskey",
            "access_key",
            "access-key",
            "privatekey",
            "private_key",
            "private-key",
            "signing",
            "encryption",
            "master",
            "authkey",
            "auth_key",
            "auth-key",
            "credential",
        ],
        pattern: concat!(
            r#"(?i)([a-z0-9_.-]{0,40}(?:token|secret|passw(?:or)?d|pwd|passphrase|(?:api|access|private|secret|signing|encryption|master|auth)[_-]?key|credential))"#,
            assignment!(),
            r#"([a-z0-9_+/~!@#%^*=.-]{8,200})(?:[^a-z0-9(\[]|$)"#
        ),
        check: is_value_of_secret_name,
        source: Context,
    },
];
