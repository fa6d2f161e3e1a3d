//! `verify`: whether every recording is what its name and its key say, and holds no secret.

use std::collections::HashMap;
use std::env;
use std::process::ExitCode;

use regex::Regex;
use serde_json::json;

use super::{Directory, Format, WELL, bytes_of, print, read_all, runtime, wrong};
use crate::cassette::{Cassette, format};
use crate::engine::{CacheEngine, DirectoryEngine, Listed};
use crate::error::{Error, ErrorKind, Result};
use crate::key::{RequestKey, Scope, sha256_hex};
use crate::recorder::KEY_VARIABLE;
use crate::redaction::Redactor;
use crate::settings::Settings;

/// What keys, tokens and session cookies look like, whoever's they are.
const SECRETS: [(&str, &str); 4] = [
    ("a bearer token", r"(?i)\bbearer\s+[a-z0-9._~+/-]{16,}"),
    ("an API key", r"\bsk-[A-Za-z0-9_-]{20,}"),
    ("a session cookie", r"\b(__cf_bm|_cfuvid)=[^;\s]{8,}"),
    (
        "a JSON web token",
        r"\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}",
    ),
];

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    directory: Directory,
    /// How to print.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let engine = DirectoryEngine::new(&arguments.directory.dir);
    let settings = engine.settings()?;
    let verifier = Verifier::new(&engine, &settings)?;
    let cassettes = read_all(&engine)?;
    let count = cassettes.len();
    let problems = runtime()?.block_on(verifier.all(cassettes));
    print(&match arguments.format {
        Format::Text => {
            let lines: String = problems
                .iter()
                .map(|problem| format!("{}: {}\n", problem.file, problem.what))
                .collect();
            format!("{lines}{count} cassettes, {} problems\n", problems.len())
        }
        Format::Json => {
            let problems: Vec<_> = problems
                .iter()
                .map(|problem| json!({ "file": problem.file, "problem": problem.what }))
                .collect();
            format!("{:#}\n", json!({ "cassettes": count, "problems": problems }))
        }
    })?;
    Ok(if problems.is_empty() { WELL } else { wrong() })
}

struct Problem {
    file: String,
    what: String,
}

struct Verifier<'a> {
    engine: &'a DirectoryEngine,
    settings: &'a Settings,
    redactor: Redactor,
    secrets: Vec<(&'static str, Regex)>,
}

impl<'a> Verifier<'a> {
    fn new(engine: &'a DirectoryEngine, settings: &'a Settings) -> Result<Self> {
        let compiled = |(name, pattern): (&'static str, &str)| {
            let pattern =
                Regex::new(pattern).map_err(|error| Error::new(ErrorKind::Settings, name).with_source(error))?;
            Ok((name, pattern))
        };
        Ok(Self {
            engine,
            settings,
            redactor: Redactor::new(env::var(KEY_VARIABLE).ok(), &settings.redaction, &[]),
            secrets: SECRETS.into_iter().map(compiled).collect::<Result<_>>()?,
        })
    }

    async fn all(&self, cassettes: Vec<(Listed, Result<Cassette>)>) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut files: HashMap<(Scope, String), String> = HashMap::new();
        for (listed, cassette) in cassettes {
            let file = self.engine.root().join(&listed.name).display().to_string();
            let found = match cassette {
                // The message names file and line already.
                Err(error) => vec![
                    error
                        .message()
                        .trim_start_matches(file.as_str())
                        .trim_start_matches(':')
                        .trim()
                        .to_owned(),
                ],
                Ok(cassette) => {
                    let mut found = self.one(&listed, cassette.clone()).await;
                    let scope = listed.key.as_ref().map(|key| key.scope().clone()).unwrap_or_default();
                    if let Some(other) = files.insert((scope, cassette.key.clone()), listed.name.clone()) {
                        found.push(format!("the same request is recorded in {other}"));
                    }
                    found
                }
            };
            problems.extend(found.into_iter().map(|what| Problem {
                file: file.clone(),
                what,
            }));
        }
        problems
    }

    async fn one(&self, listed: &Listed, mut cassette: Cassette) -> Vec<String> {
        let mut found = Vec::new();
        let text = format::write(&cassette)
            .map(|document| String::from_utf8_lossy(&document).into_owned())
            .unwrap_or_default();
        found.extend(self.secrets_in(&text));
        for blob in cassette.blobs_mut() {
            let named = match blob {
                crate::cassette::Blob::Filed { sha256 } => sha256.clone(),
                crate::cassette::Blob::Here(_) => continue,
            };
            match bytes_of(self.engine, blob).await {
                Err(error) => found.push(error.message().to_owned()),
                Ok(bytes) if sha256_hex(&bytes) != named => {
                    found.push(format!("the body bodies/{named} is damaged: its SHA-256 is another"))
                }
                Ok(bytes) => {
                    found.extend(
                        self.secrets_in(&String::from_utf8_lossy(&bytes))
                            .into_iter()
                            .map(|what| format!("bodies/{named}: {what}")),
                    );
                    *blob = bytes.into();
                }
            }
        }
        if !found.is_empty() {
            return found;
        }
        let scope = listed.key.as_ref().map(|key| key.scope().clone()).unwrap_or_default();
        let key = RequestKey::of(&cassette.request, &scope, &self.settings.matching);
        if key.hash() != cassette.key {
            found.push(format!(
                "the key of its request is {key}, and it says {}: request or settings were changed",
                cassette.key
            ));
        }
        match &listed.key {
            Some(named) if named.short() != &cassette.key[..cassette.key.len().min(16)] => {
                found.push(format!(
                    "its name ends in {}, and its key begins with {}",
                    named.short(),
                    key.short()
                ));
            }
            Some(named) if named.endpoint() != key.endpoint() => {
                found.push(format!(
                    "it lies in {}, where {} is not looked for: move it to {}",
                    named.endpoint(),
                    cassette.request.line(),
                    key.endpoint()
                ));
            }
            Some(_) => {}
            None => found.push(format!(
                "its name does not end in its key, so it is never found: call it {}.yaml",
                key.name()
            )),
        }
        found
    }

    /// What in a text looks like a secret, without saying the secret.
    fn secrets_in(&self, text: &str) -> Vec<String> {
        let mut found: Vec<String> = self
            .secrets
            .iter()
            .filter(|(_, pattern)| pattern.is_match(text))
            .map(|(name, _)| format!("it holds {name}"))
            .collect();
        let (secrets, patterns) = (self.redactor.text(text), self.settings.redaction.iter());
        if patterns
            .clone()
            .any(|replacement| replacement.pattern.replace_all(text, replacement.with.as_str()) != text)
        {
            found.push("it holds what the settings redact".to_owned());
        } else if secrets != text {
            found.push(format!("it holds the value of {KEY_VARIABLE}"));
        }
        found
    }
}
