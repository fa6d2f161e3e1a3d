//! Checks cassettes and the other files of a store.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::Path;

use bytes::Bytes;

use super::problem::Problem;
use super::secrets::{Scanner, Secret, without_secrets};
use crate::cassette::{Blob, Cassette, RecordedResponse};
use crate::cli::api::{Api, Compared, Report, Skipped};
use crate::cli::severity::Severity;
use crate::cli::store::{Document, Store};
use crate::engine::{Listed, decode_stored_body, layout, read_body, read_file};
use crate::error::{Error, Result};
use crate::key::{RequestKey, Scope};
use crate::redaction::Redactor;
use crate::settings::Settings;

const NOT_REDACTED: &str = "it contains text that the settings redact";

pub(super) struct Verifier<'a> {
    store: &'a Store,
    settings: &'a Settings,
    scanner: Scanner,
    /// Redacts the patterns of the settings.
    patterns: Redactor,
    /// The description with which recordings are compared.
    api: Option<&'a Api>,
}

/// A cassette that was checked by itself.
struct Checked {
    listed: Listed,
    location: String,
    /// The key, when the cassette is readable.
    key: Option<String>,
    problems: Vec<(Option<u64>, String)>,
    secrets: Vec<Secret>,
    /// How it compares with the description; `None` without one.
    compared: Option<Result<Result<Compared, Skipped>>>,
}

/// The problems of all cassettes, with those that two of them have together.
#[derive(Default)]
pub(super) struct Summary {
    pub(super) cassettes: usize,
    pub(super) problems: Vec<Problem>,
    /// The disagreements with the description.
    pub(super) api: Report,
    /// A mistake in the description.
    error: Option<Error>,
    /// The name of each cassette by its scope and key.
    files: HashMap<(Scope, String), String>,
    folders: Folders,
}

impl Summary {
    fn add(&mut self, mut checked: Checked, is_directory: bool) {
        self.cassettes += 1;
        if is_directory && let Some(message) = self.folders.differs_only_in_case(&checked.listed.name) {
            checked.problems.push((None, message));
        }
        if let Some(key) = checked.key.take() {
            let named = checked.listed.key.as_ref();
            let scope = named.map(|key| key.scope().clone()).unwrap_or_default();
            let name = without_secrets(&checked.listed.name, &checked.secrets);
            if let Some(other) = self.files.insert((scope, key), name) {
                let message = format!("the same request is recorded in {other}: delete one of them");
                checked.problems.push((None, message));
            }
        }
        let file = without_secrets(&checked.location, &checked.secrets);
        match checked.compared {
            Some(Ok(compared)) => self.api.add(&file, compared),
            Some(Err(error)) => self.error = self.error.take().or(Some(error)),
            None => {}
        }
        let problem = |(line, message)| Problem {
            file: file.clone(),
            line,
            message,
            severity: Severity::Error,
        };
        self.problems.extend(checked.problems.into_iter().map(problem));
        let mut seen = HashSet::new();
        let is_new = |secret: &Secret| seen.insert((secret.line, secret.message.clone()));
        let secrets = checked.secrets.into_iter().filter(is_new);
        self.problems.extend(secrets.map(|secret| secret.in_file(&file)));
    }
}

impl<'a> Verifier<'a> {
    pub(super) fn new(store: &'a Store, settings: &'a Settings, api: Option<&'a Api>) -> Self {
        Self {
            store,
            settings,
            scanner: Scanner::new(settings),
            patterns: Redactor::new([], &settings.redaction, &[]),
            api,
        }
    }

    /// Checks all cassettes and the other files.
    ///
    /// # Errors
    /// The cassettes cannot be listed, or a schema of the description is invalid.
    pub(super) async fn all(&self) -> Result<Summary> {
        let mut summary = Summary::default();
        let work = async |document: Document| self.one(document).await;
        let take = |checked| summary.add(checked, self.store.directory.is_some());
        self.store.each(work, take).await?;
        summary.problems.extend(self.other_files());
        match summary.error.take() {
            Some(error) => Err(error),
            None => Ok(summary),
        }
    }

    async fn one(&self, document: Document) -> Checked {
        let Document {
            listed,
            location,
            bytes,
            cassette,
        } = document;
        // A document that is not a readable cassette may contain a secret too.
        let mut checked = Checked {
            secrets: self.scanner.scan(&bytes),
            key: None,
            problems: Vec::new(),
            compared: self.api.map(|_| Ok(Err(Skipped::Unreadable))),
            listed,
            location,
        };
        match cassette {
            Err(error) => checked.problems.push(without_location(&error, &checked.location)),
            Ok(cassette) => {
                checked.key = Some(cassette.key.clone());
                let messages = self.content(cassette, &mut checked).await;
                let messages = messages.into_iter().map(|message| (None, message));
                checked.problems.extend(messages);
            }
        }
        checked
    }

    /// The secrets in the settings, and in all body files, whether or not a cassette refers to them.
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
            .filter_map(|file| Some((file.display().to_string(), decoded(file, read_file(file).ok()??))))
            .flat_map(|(file, bytes)| {
                let secrets = self.scanner.scan(&bytes);
                secrets.into_iter().map(move |secret| secret.in_file(&file))
            })
            .collect()
    }

    /// The problems in the content of a cassette. Adds secrets that its document contains in base64 or that a cache stores
    /// outside of it, and compares it with the description.
    async fn content(&self, mut cassette: Cassette, checked: &mut Checked) -> BTreeSet<String> {
        let secrets = &mut checked.secrets;
        let mut found = BTreeSet::new();
        if texts_of(&cassette).any(|text| self.patterns.redact_text(text) != *text) {
            found.insert(NOT_REDACTED.to_owned());
        }
        let mut is_complete = true;
        for blob in cassette.bodies_mut() {
            match read_body(&*self.store.engine, blob, String::new).await {
                Err(error) => {
                    found.insert(error.message().trim_start_matches(": ").to_owned());
                    is_complete = false;
                }
                Ok(bytes) => {
                    if matches!(blob, Blob::Inline(_)) || self.store.directory.is_none() {
                        self.add_secrets(&bytes, secrets);
                    }
                    if self.patterns.redact_body(&bytes) != bytes {
                        found.insert(NOT_REDACTED.to_owned());
                    }
                    *blob = bytes.into();
                }
            }
        }
        let encodings: BTreeSet<&str> = cassette
            .responses
            .iter()
            .filter_map(RecordedResponse::content_encoding)
            .collect();
        secrets.extend(encodings.into_iter().map(|encoding| Secret {
            line: None,
            message: format!("its response cannot be searched for secrets: its content encoding is {encoding}"),
            severity: Severity::Warning,
            value: Some(Bytes::new()),
        }));
        if is_complete {
            found.extend(self.identity(&checked.listed, &cassette, secrets));
            checked.compared = self.api.map(|api| api.compare(&cassette));
        }
        found
    }

    /// Adds the secrets in a body, except those of a kind that the document of its cassette contains.
    fn add_secrets(&self, body: &Bytes, secrets: &mut Vec<Secret>) {
        for secret in self.scanner.scan(body) {
            if !secrets.iter().any(|known| known.message == secret.message) {
                secrets.push(Secret { line: None, ..secret });
            }
        }
    }

    /// The mismatches between key, name and request.
    fn identity(&self, listed: &Listed, cassette: &Cassette, secrets: &[Secret]) -> Vec<String> {
        let mut found = Vec::new();
        let scope = listed.key.as_ref().map(|key| key.scope().clone()).unwrap_or_default();
        let key = RequestKey::of(&cassette.request, &scope, &self.settings.matching);
        let name = without_secrets(&key.file_name(), secrets);
        if key.hash() != cassette.key {
            found.push(format!(
                "its key is {}, but the key of its request is {key}: the request or the matching settings have changed; undo the change, or update the key (mistral-cassette rekey), or record the request again",
                cassette.key
            ));
        }
        match &listed.key {
            Some(named) if !cassette.key.starts_with(named.short()) => {
                found.push(format!(
                    "its name ends in {}, but its key is {}, so it is never found: rename it to {name}",
                    named.short(),
                    cassette.key,
                ));
            }
            Some(named) if named.endpoint() != key.endpoint() => {
                found.push(format!(
                    "it is in the folder {}, but the folder of {} {} is {}, so it is never found: move it there",
                    named.endpoint(),
                    cassette.request.method,
                    cassette.request.path,
                    key.endpoint()
                ));
            }
            Some(_) => {}
            None => found.push(format!(
                "its name does not end in its key, so it is never found: rename it to {name}"
            )),
        }
        found
    }
}

/// The folders of the cassettes, by their names in lower case.
#[derive(Default)]
struct Folders(HashMap<String, String>);

impl Folders {
    /// The problem of a cassette in a folder whose name differs only in case from that of an earlier one.
    fn differs_only_in_case(&mut self, name: &str) -> Option<String> {
        let ends = name.match_indices('/').map(|(at, _)| at);
        ends.map(|end| &name[..end]).find_map(|folder| {
            let first = self
                .0
                .entry(folder.to_ascii_lowercase())
                .or_insert_with(|| folder.to_owned());
            (first != folder).then(|| {
                format!(
                    "its folder {folder} differs only in case from {first}: on Windows and macOS both are one folder"
                )
            })
        })
    }
}

/// The body in this file; the content if it is no body or is damaged.
fn decoded(file: &Path, stored: Bytes) -> Bytes {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    decode_stored_body(stored.clone(), &name).unwrap_or(stored)
}

/// The texts of a cassette besides its bodies.
fn texts_of(cassette: &Cassette) -> impl Iterator<Item = &String> {
    let headers = cassette.responses.iter().flat_map(|response| &response.headers);
    [&cassette.request.path]
        .into_iter()
        .chain(&cassette.request.query)
        .chain(headers.map(|(_, value)| value))
}

/// The line, the message and the hint of an error, without the location that it names: `cannot read LOCATION: line N: …`.
fn without_location(error: &Error, location: &str) -> (Option<u64>, String) {
    let message = error.message();
    let message = match message
        .strip_prefix("cannot read ")
        .unwrap_or(message)
        .strip_prefix(location)
    {
        Some(rest) => rest.trim_start_matches([':', ' ']),
        None => message,
    };
    let hint = error.hint().map(|hint| format!(" ({hint})")).unwrap_or_default();
    let numbered = message
        .strip_prefix("line ")
        .and_then(|rest| rest.split_once(": "))
        .and_then(|(line, rest)| Some((line.parse().ok()?, rest)));
    match numbered {
        Some((line, rest)) => (Some(line), format!("{rest}{hint}")),
        None => (None, format!("{message}{hint}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn a_problem_has_the_line_of_its_error_and_no_second_location() {
        let problem = |message: &str| without_location(&Error::new(ErrorKind::Cassette, message), "a/b.yaml");
        let with_line = (Some(18), "the file is empty".to_owned());
        assert_eq!(problem("cannot read a/b.yaml: line 18: the file is empty"), with_line);
        let without_line = (None, "it is too large".to_owned());
        assert_eq!(problem("cannot read a/b.yaml: it is too large"), without_line);
        assert_eq!(problem("a/b.yaml: it is too large"), without_line);
        assert_eq!(problem("no connection").1, "no connection");
    }
}
