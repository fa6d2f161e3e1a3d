//! `verify`: whether every recording is what its name and its key say, and holds no secret.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::process::ExitCode;
use std::{env, fmt};

use bytes::Bytes;
use serde_json::json;

use crate::cassette::{Blob, Cassette, RecordedResponse};
use crate::cli::store::Store;
use crate::cli::{Format, Listing, SUCCESS, count, print, runtime, wrong};
use crate::engine::{Listed, layout, read_body, read_file};
use crate::error::{Error, Result};
use crate::http::API_KEY_VARIABLE;
use crate::key::{RequestKey, Scope};
use crate::redaction::Redactor;
use crate::redaction::secret_scan::{Trust, is_told_by, secrets_in_body};
use crate::settings::{Secrets, Settings};

const REDACTED_BY_SETTINGS: &str = "it holds what the settings redact";

pub(crate) fn run(arguments: &Listing) -> Result<ExitCode> {
    let store = arguments.directory.open()?;
    let runtime = runtime()?;
    let settings = runtime.block_on(store.settings())?;
    let verifier = Verifier::new(&store, &settings);
    let cassettes = runtime.block_on(store.read_all())?;
    let number = cassettes.len();
    let found = runtime.block_on(verifier.all(cassettes));
    let (problems, warnings): (Vec<Problem>, _) = found.into_iter().partition(|found| !found.is_warning);
    print(&match arguments.format {
        Format::Text => {
            let mut text: String = problems.iter().map(|problem| format!("{problem}\n")).collect();
            text.extend(warnings.iter().map(|warning| format!("{warning} (a warning)\n")));
            text.push_str(&format!(
                "{}, {}",
                count(number, "cassette"),
                count(problems.len(), "problem")
            ));
            if !warnings.is_empty() {
                text.push_str(&format!(", {}", count(warnings.len(), "warning")));
            }
            text + "\n"
        }
        Format::Json => {
            let all = |all: &[Problem]| {
                let one =
                    |problem: &Problem| json!({ "file": problem.file, "line": problem.line, "problem": problem.what });
                all.iter().map(one).collect::<Vec<_>>()
            };
            let document = json!({ "cassettes": number, "problems": all(&problems), "warnings": all(&warnings) });
            format!("{document:#}\n")
        }
    })?;
    Ok(if problems.is_empty() { SUCCESS } else { wrong() })
}

struct Problem {
    file: String,
    line: Option<u64>,
    what: String,
    /// What is only likely, or allowed by the settings.
    is_warning: bool,
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
}

impl<'a> Verifier<'a> {
    fn new(store: &'a Store, settings: &'a Settings) -> Self {
        Self {
            store,
            settings,
            key: Redactor::new(env::var(API_KEY_VARIABLE).ok(), &[], &[]),
            patterns: Redactor::new([], &settings.redaction, &[]),
        }
    }

    async fn all(&self, cassettes: Vec<(Listed, Result<Cassette>)>) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut files: HashMap<(Scope, String), String> = HashMap::new();
        for (listed, cassette) in cassettes {
            // What cannot be read as a cassette may hold a secret all the same.
            let document = self.store.document(&listed).await.unwrap_or_default();
            let mut secrets = self.secrets_in(&document);
            let place = self.store.place_of(&listed);
            let (is_read, found) = match cassette {
                Err(error) => (Err(error), BTreeSet::new()),
                Ok(cassette) => {
                    let key = cassette.key.clone();
                    (Ok(key), self.one(&listed, cassette, &mut secrets).await)
                }
            };
            let file = without_secrets(&place, &secrets);
            let tell = |problems: &mut Vec<Problem>, line, what| {
                problems.push(Problem {
                    file: file.clone(),
                    line,
                    what,
                    is_warning: false,
                });
            };
            match is_read {
                Err(error) => {
                    let (line, what) = without_place(&error, &place);
                    tell(&mut problems, line, what);
                }
                Ok(key) => {
                    for what in found {
                        tell(&mut problems, None, what);
                    }
                    let scope = listed.key.as_ref().map(|key| key.scope().clone()).unwrap_or_default();
                    let name = without_secrets(&listed.name, &secrets);
                    if let Some(other) = files.insert((scope, key), name) {
                        let what = format!("the same request is recorded in {other}: delete one of them");
                        tell(&mut problems, None, what);
                    }
                }
            }
            let mut told = HashSet::new();
            secrets.retain(|secret| told.insert((secret.line, secret.what.clone())));
            problems.extend(secrets.into_iter().map(|secret| secret.in_file(&file)));
        }
        problems.extend(self.other_files());
        problems
    }

    /// Secrets in the settings, and in the bodies beside the cassettes whether or not a cassette still refers to them.
    fn other_files(&self) -> Vec<Problem> {
        let Some(directory) = &self.store.directory else {
            return Vec::new();
        };
        let root = directory.root();
        let mut files: Vec<_> = layout::files_in_bodies(root)
            .into_iter()
            .map(|(_, path)| path)
            .collect();
        files.push(root.join(layout::SETTINGS));
        files
            .iter()
            .filter_map(|file| Some((file.display().to_string(), read_file(file).ok()??)))
            .flat_map(|(file, bytes)| {
                let secrets = self.secrets_in(&bytes);
                secrets.into_iter().map(move |secret| secret.in_file(&file))
            })
            .collect()
    }

    /// What is wrong with a cassette; secrets that do not stand in its document as they are (in base64, or beside it in a
    /// store) are added to those that do.
    async fn one(&self, listed: &Listed, mut cassette: Cassette, secrets: &mut Vec<Found>) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
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
        for blob in cassette.bodies_mut() {
            match read_body(&*self.store.engine, blob, String::new).await {
                Err(error) => {
                    found.insert(error.message().trim_start_matches(": ").to_owned());
                    is_whole = false;
                }
                Ok(bytes) => {
                    if matches!(blob, Blob::Inline(_)) || self.store.directory.is_none() {
                        for more in self.secrets_in(&bytes) {
                            if !secrets.iter().any(|known| known.what == more.what) {
                                secrets.push(Found { line: None, ..more });
                            }
                        }
                    }
                    if self.patterns.body(&bytes) != bytes {
                        found.insert(REDACTED_BY_SETTINGS.to_owned());
                    }
                    *blob = bytes.into();
                }
            }
        }
        let codings: BTreeSet<&str> = cassette.responses.iter().filter_map(RecordedResponse::coding).collect();
        for coding in codings {
            secrets.push(Found {
                line: None,
                what: format!("no secret can be seen in its answer, which is in the coding {coding}"),
                is_warning: true,
                value: Some(Bytes::new()),
            });
        }
        if is_whole {
            found.extend(self.identity(listed, &cassette, secrets));
        }
        found
    }

    /// Whether key, name and request belong together.
    fn identity(&self, listed: &Listed, cassette: &Cassette, secrets: &[Found]) -> Vec<String> {
        let mut found = Vec::new();
        let scope = listed.key.as_ref().map(|key| key.scope().clone()).unwrap_or_default();
        let key = RequestKey::of(&cassette.request, &scope, &self.settings.matching);
        let name = without_secrets(&key.file_name(), secrets);
        if key.hash() != cassette.key {
            found.push(format!(
                "the key of its request is {key}, and it says {}: request or settings were changed; undo that, or give it that key (mistral-cassette rekey), or record it again",
                cassette.key
            ));
        }
        match &listed.key {
            Some(named) if !cassette.key.starts_with(named.short()) => {
                found.push(format!(
                    "its name ends in {}, and its key is {}: it is never found; call it {name}",
                    named.short(),
                    cassette.key,
                ));
            }
            Some(named) if named.endpoint() != key.endpoint() => {
                found.push(format!(
                    "it lies in {}, where {} {} is not looked for: move it to {}",
                    named.endpoint(),
                    cassette.request.method,
                    cassette.request.path,
                    key.endpoint()
                ));
            }
            Some(_) => {}
            None => found.push(format!(
                "its name does not end in its key, so it is never found: call it {name}"
            )),
        }
        found
    }

    /// What in some bytes looks like a secret, without saying the secret: each kind once a line.
    fn secrets_in(&self, bytes: &Bytes) -> Vec<Found> {
        let is_allowed = self.settings.secrets != Secrets::Refuse;
        let mut found: Vec<Found> = Vec::new();
        let mut lines = Lines::of(bytes);
        for secret in secrets_in_body(bytes) {
            let line = secret.at.as_ref().map(|at| lines.at(at.start));
            let value = secret.at.map(|at| bytes.slice(at));
            let (what, is_warning) = match secret.trust {
                Trust::Sure => (format!("it holds {}", secret.kind), is_allowed),
                Trust::Likely => (format!("it may hold a secret: {}", secret.kind), true),
            };
            found.push(Found {
                line,
                what,
                is_warning,
                value,
            });
        }
        if self.key.body(bytes) != *bytes {
            let at = self.key.first_in(bytes);
            found.push(Found {
                line: at.map(|at| Lines::of(bytes).at(at)),
                what: format!("it holds the value of {API_KEY_VARIABLE}"),
                is_warning: false,
                // The key is replaced in names too.
                value: Some(Bytes::new()),
            });
        }
        found
    }
}

/// A secret in a file.
struct Found {
    line: Option<u64>,
    what: String,
    is_warning: bool,
    /// Never told; `None` where it does not stand as it is.
    value: Option<Bytes>,
}

impl Found {
    fn in_file(self, file: &str) -> Problem {
        let Self {
            line, what, is_warning, ..
        } = self;
        Problem {
            file: file.to_owned(),
            line,
            what,
            is_warning,
        }
    }
}

/// A file name without its words, when they say a part of a secret that is in the file.
fn without_secrets(place: &str, secrets: &[Found]) -> String {
    // What lies in the root of a directory has no folder in its name.
    let (folder, file) = place.split_at(place.rfind('/').map_or(0, |slash| slash + 1));
    let is_told = |secret: &Found| secret.value.as_ref().is_none_or(|value| is_told_by(file, value));
    match file.rsplit_once('-') {
        Some((_, key)) if secrets.iter().any(is_told) => format!("{folder}…-{key}"),
        _ => place.to_owned(),
    }
}

/// Counts lines, from one place to a later one.
struct Lines<'a> {
    bytes: &'a [u8],
    counted: usize,
    line: u64,
}

impl<'a> Lines<'a> {
    fn of(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            counted: 0,
            line: 1,
        }
    }

    /// The line of a place that is behind those asked for before.
    fn at(&mut self, place: usize) -> u64 {
        let more = self.bytes.get(self.counted..place).unwrap_or_default();
        self.line += memchr::memchr_iter(b'\n', more).count() as u64;
        self.counted = place.max(self.counted);
        self.line
    }
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
