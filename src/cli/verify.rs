//! `verify`: whether every recording is what its name and its key say, and holds no secret.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::process::ExitCode;
use std::{env, fmt, fs};

use bytes::Bytes;
use regex::Regex;
use serde_json::json;

use super::store::Store;
use super::{Directory, Format, WELL, count, print, runtime, wrong};
use crate::cassette::{Blob, Cassette, format};
use crate::engine::{Listed, bytes_of};
use crate::error::{Error, ErrorKind, Result};
use crate::key::{RequestKey, Scope};
use crate::recorder::KEY_VARIABLE;
use crate::redaction::Redactor;
use crate::settings::Settings;

const REDACTED_BY_SETTINGS: &str = "it holds what the settings redact";

const BEARER: &str = "a bearer token";
const KEY: &str = "an API key";

/// What keys, tokens and session cookies look like, whoever's they are.
const SECRETS: [(&str, &str); 4] = [
    (BEARER, r"(?i)\bbearer\s+[a-z0-9._~+/-]{16,}"),
    (KEY, r"\bsk-[A-Za-z0-9_-]{20,}"),
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
    let store = arguments.directory.open()?;
    let runtime = runtime()?;
    let settings = runtime.block_on(store.settings())?;
    let verifier = Verifier::new(&store, &settings)?;
    let cassettes = runtime.block_on(store.read_all())?;
    let number = cassettes.len();
    let problems = runtime.block_on(verifier.all(cassettes));
    print(&match arguments.format {
        Format::Text => {
            let lines: String = problems.iter().map(|problem| format!("{problem}\n")).collect();
            format!(
                "{lines}{}, {}\n",
                count(number, "cassette"),
                count(problems.len(), "problem")
            )
        }
        Format::Json => {
            let problem =
                |problem: &Problem| json!({ "file": problem.file, "line": problem.line, "problem": problem.what });
            let problems: Vec<_> = problems.iter().map(problem).collect();
            format!("{:#}\n", json!({ "cassettes": number, "problems": problems }))
        }
    })?;
    Ok(if problems.is_empty() { WELL } else { wrong() })
}

struct Problem {
    file: String,
    line: Option<u64>,
    what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {}", self.what)
    }
}

struct Verifier<'a> {
    store: &'a Store,
    settings: &'a Settings,
    /// Knows the API key alone.
    key: Redactor,
    /// Knows what the settings redact.
    patterns: Redactor,
    secrets: Vec<(&'static str, Regex)>,
}

impl<'a> Verifier<'a> {
    fn new(store: &'a Store, settings: &'a Settings) -> Result<Self> {
        let compiled = |(name, pattern): (&'static str, &str)| {
            let pattern =
                Regex::new(pattern).map_err(|error| Error::new(ErrorKind::Settings, name).with_source(error))?;
            Ok((name, pattern))
        };
        Ok(Self {
            store,
            settings,
            key: Redactor::new(env::var(KEY_VARIABLE).ok(), &[], &[]),
            patterns: Redactor::new([], &settings.redaction, &[]),
            secrets: SECRETS.into_iter().map(compiled).collect::<Result<_>>()?,
        })
    }

    async fn all(&self, cassettes: Vec<(Listed, Result<Cassette>)>) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut files: HashMap<(Scope, String), String> = HashMap::new();
        for (listed, cassette) in cassettes {
            let file = self.store.place_of(&listed);
            let mut tell = |line, what| {
                problems.push(Problem {
                    file: file.clone(),
                    line,
                    what,
                })
            };
            match cassette {
                Err(error) => {
                    let (line, what) = without_place(&error, &file);
                    tell(line, what);
                    // What cannot be read as a cassette may hold a secret all the same.
                    let raw = self.store.document(&listed).await.unwrap_or_default();
                    self.secrets_in(&raw).into_iter().for_each(|what| tell(None, what));
                }
                Ok(cassette) => {
                    let scope = listed.key.as_ref().map(|key| key.scope().clone()).unwrap_or_default();
                    let other = files.insert((scope, cassette.key.clone()), listed.name.clone());
                    self.one(&listed, cassette)
                        .await
                        .into_iter()
                        .for_each(|what| tell(None, what));
                    if let Some(other) = other {
                        tell(
                            None,
                            format!("the same request is recorded in {other}: delete one of them"),
                        );
                    }
                }
            }
        }
        problems.extend(self.bodies());
        problems
    }

    /// Secrets in the bodies beside the cassettes, whether or not a cassette still refers to them.
    fn bodies(&self) -> Vec<Problem> {
        let Some(directory) = &self.store.directory else {
            return Vec::new();
        };
        let folder = fs::read_dir(directory.root().join("bodies"));
        let mut files: Vec<_> = folder
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .collect();
        files.sort();
        let problem = |file: &Path, what| Problem {
            file: file.display().to_string(),
            line: None,
            what,
        };
        files
            .iter()
            .filter_map(|file| Some((file, fs::read(file).ok()?)))
            .flat_map(|(file, bytes)| {
                self.secrets_in(&bytes.into())
                    .into_iter()
                    .map(move |what| problem(file, what))
            })
            .collect()
    }

    async fn one(&self, listed: &Listed, mut cassette: Cassette) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        if let Ok(document) = format::write(&cassette) {
            found.extend(self.secrets_in(&document));
        }
        let mut texts = vec![
            cassette.request.path.clone(),
            cassette.request.query.clone().unwrap_or_default(),
        ];
        texts.extend(
            cassette
                .responses
                .iter()
                .flat_map(|response| &response.headers)
                .map(|(_, value)| value.clone()),
        );
        if texts.iter().any(|text| self.patterns.text(text) != *text) {
            found.insert(REDACTED_BY_SETTINGS.to_owned());
        }
        let mut is_whole = true;
        for blob in cassette.blobs_mut() {
            match bytes_of(&*self.store.engine, blob, String::new).await {
                Err(error) => {
                    found.insert(error.message().trim_start_matches(": ").to_owned());
                    is_whole = false;
                }
                Ok(bytes) => {
                    if matches!(blob, Blob::Here(_)) {
                        found.extend(self.secrets_in(&bytes));
                    }
                    if self.patterns.body(&bytes) != bytes {
                        found.insert(REDACTED_BY_SETTINGS.to_owned());
                    }
                    *blob = bytes.into();
                }
            }
        }
        if is_whole {
            found.extend(self.identity(listed, &cassette));
        }
        found
    }

    /// Whether key, name and request belong together.
    fn identity(&self, listed: &Listed, cassette: &Cassette) -> Vec<String> {
        let mut found = Vec::new();
        let scope = listed.key.as_ref().map(|key| key.scope().clone()).unwrap_or_default();
        let key = RequestKey::of(&cassette.request, &scope, &self.settings.matching);
        if key.hash() != cassette.key {
            found.push(format!(
                "the key of its request is {key}, and it says {}: request or settings were changed; undo that, or record it again",
                cassette.key
            ));
        }
        match &listed.key {
            Some(named) if !cassette.key.starts_with(named.short()) => {
                found.push(format!(
                    "its name ends in {}, and its key is {}: it is never found; call it {}.yaml",
                    named.short(),
                    cassette.key,
                    key.name()
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

    /// What in some bytes looks like a secret, without saying the secret.
    fn secrets_in(&self, bytes: &Bytes) -> Vec<String> {
        let text = String::from_utf8_lossy(bytes);
        let mut found: Vec<String> = self
            .secrets
            .iter()
            .filter(|(name, pattern)| pattern.find_iter(&text).any(|found| is_random(name, found.as_str())))
            .map(|(name, _)| format!("it holds {name}"))
            .collect();
        if self.key.body(bytes) != *bytes {
            found.push(format!("it holds the value of {KEY_VARIABLE}"));
        }
        found
    }
}

/// Whether this is not prose (`Bearer authentication-and-authorization`) nor a placeholder (`sk-xxxxxxxxxxxxxxxxxxxxxxxx`).
fn is_random(name: &str, token: &str) -> bool {
    if !matches!(name, BEARER | KEY) {
        return true;
    }
    let different: BTreeSet<char> = token.chars().collect();
    token.contains(|character: char| character.is_ascii_digit()) && different.len() >= 10
}

/// The line and the message of an error that begins with its place, and the advice that came with it.
fn without_place(error: &Error, file: &str) -> (Option<u64>, String) {
    let message = error.message().strip_prefix(file).unwrap_or(error.message());
    let (line, message) = match message.strip_prefix(':').and_then(|rest| rest.split_once(": ")) {
        Some((line, rest)) if !line.is_empty() => (line.parse().ok(), rest),
        _ => (None, message.trim_start_matches([':', ' '])),
    };
    let advice = error.hint().map(|hint| format!(" ({hint})")).unwrap_or_default();
    (line, format!("{message}{advice}"))
}
