//! Reads cassettes, and other YAML documents with the limits of cassettes.

use bytes::Bytes;
use http::StatusCode;
use serde::Deserialize;
use serde::de::DeserializeOwned;
#[cfg(feature = "cli")]
pub(crate) use serde_yaml::Tagged;

use super::body_in::{BodyIn, HeadersIn};
use super::session::{self, MessageIn};
use super::version::VERSION;
use crate::cassette::body::{Blob, RecordedBody};
use crate::cassette::{Cassette, History, Recorded, RecordedRequest, RecordedResponse, sent_messages};
use crate::error::{Error, ErrorKind, Result};

/// The maximum number of aliases in the YAML of other tools: the YAML library of Python writes an alias for every value
/// that occurs twice.
#[cfg(feature = "cli")]
const FOREIGN_ALIASES: usize = 100_000;

/// Reads the document of a cassette; `source` names it in errors.
///
/// # Errors
/// [`ErrorKind::Cassette`], with the line, when the document is damaged, is not a cassette or has a newer version.
pub(crate) fn read(document: &[u8], source: &str) -> Result<Cassette> {
    const HINT: &str = "restore it from version control, or delete it and record the request again";
    if document.trim_ascii().is_empty() {
        return Err(unreadable(ErrorKind::Cassette, source, Some(1), "the file is empty").with_hint(HINT));
    }
    let parsed: Result<DocumentIn> = read_yaml(document, source, ErrorKind::Cassette);
    match parsed {
        Ok(parsed) if parsed.version == VERSION => {
            let cassette = parsed.into_cassette();
            cassette.map_err(|what| unreadable(ErrorKind::Cassette, source, None, what).with_hint(HINT))
        }
        // A newer version may have another structure, so its version is read alone.
        other => {
            let version = read_yaml::<VersionIn>(document, source, ErrorKind::Cassette);
            Err(match (version.map(|found| found.version), other) {
                (Ok(version), _) if version > VERSION => newer_version(source, version),
                (_, Err(error)) => error.with_hint(HINT),
                (_, Ok(parsed)) => {
                    let what = format!("invalid format version {}", parsed.version);
                    unreadable(ErrorKind::Cassette, source, None, &what).with_hint(HINT)
                }
            })
        }
    }
}

fn newer_version(source: &str, version: u32) -> Error {
    let what = format!(
        "format version {version} is not supported: mistral-cassette {} reads versions up to {VERSION}",
        env!("CARGO_PKG_VERSION")
    );
    unreadable(ErrorKind::Cassette, source, None, &what)
        .with_hint("update mistral-cassette, or record this request again")
}

/// Reads any YAML document with the limits of a cassette; `source` names it in errors.
///
/// # Errors
/// An error of this kind, with the line, when the document cannot be read.
pub(crate) fn read_yaml<T: DeserializeOwned>(document: &[u8], source: &str, kind: ErrorKind) -> Result<T> {
    parse_yaml(document, reader_options()).map_err(|(line, what)| {
        if what.starts_with("budget breached: Alias") {
            unreadable(kind, source, line, "YAML aliases are not supported")
        } else {
            unreadable(kind, source, line, &what)
        }
    })
}

/// Reads all documents of YAML that another tool has written, without the empty ones; aliases are allowed, and
/// [`Tagged`] gives access to tags.
///
/// # Errors
/// [`ErrorKind::Io`], with the line, when a document cannot be read.
#[cfg(feature = "cli")]
pub(crate) fn read_foreign<T: DeserializeOwned>(documents: &[u8], source: &str) -> Result<Vec<T>> {
    let mut options = reader_options();
    if let Some(budget) = &mut options.budget {
        budget.max_aliases = FOREIGN_ALIASES;
    }
    parse_with(documents, |text| serde_yaml::from_multiple_with_options(text, options))
        .map_err(|(line, what)| unreadable(ErrorKind::Io, source, line, &what))
}

/// Parses a document; an error consists of the line, if it is known, and a message.
fn parse_yaml<T: DeserializeOwned>(document: &[u8], options: serde_yaml::Options) -> Result<T, (Option<u64>, String)> {
    parse_with(document, |text| serde_yaml::from_str_with_options(text, options))
}

fn parse_with<T>(
    document: &[u8],
    parse: impl FnOnce(&str) -> Result<T, serde_yaml::Error>,
) -> Result<T, (Option<u64>, String)> {
    let text = std::str::from_utf8(document).map_err(|error| {
        let line = line_at(document, error.valid_up_to());
        (Some(line), "the text is not UTF-8".to_owned())
    })?;
    parse(text).map_err(|error| {
        let error = error.without_snippet();
        let line = error
            .location()
            .map(|location| location.line())
            .filter(|line| *line > 0);
        let message = error.to_string();
        // `unreadable` writes the line at the beginning of the message.
        let what = message
            .rsplit_once(" at line ")
            .map_or(message.as_str(), |(what, _)| what);
        (line, without_advice(what).to_owned())
    })
}

/// A message of the YAML library without its advice, which is for the programmer.
fn without_advice(what: &str) -> &str {
    let advice = [", set DuplicateKeyPolicy", "; use Option<"];
    let start = advice.iter().filter_map(|advice| what.find(advice)).min();
    &what[..start.unwrap_or(what.len())]
}

/// Returns the number of the line that contains a byte, from 1.
fn line_at(document: &[u8], byte: usize) -> u64 {
    document[..byte].iter().filter(|byte| **byte == b'\n').count() as u64 + 1
}

fn reader_options() -> serde_yaml::Options {
    let mut budget = serde_yaml::Budget::default();
    // An inline body may have a node for every second byte. Cassettes have no aliases.
    budget.max_events = 100_000_000;
    budget.max_nodes = 50_000_000;
    budget.max_total_scalar_bytes = 1 << 30;
    budget.max_depth = 64;
    budget.max_aliases = 0;
    let mut options = serde_yaml::Options::default();
    options.budget = Some(budget);
    options.strict_booleans = true;
    options.merge_keys = serde_yaml::MergeKeyPolicy::AsOrdinary;
    options.ignore_binary_tag_for_string = true;
    options.with_snippet = false;
    options
}

fn unreadable(kind: ErrorKind, source: &str, line: Option<u64>, what: &str) -> Error {
    let line = line.map(|line| format!("line {line}: ")).unwrap_or_default();
    Error::new(kind, format!("cannot read {source}: {line}{what}"))
}

#[derive(Deserialize)]
struct VersionIn {
    version: u32,
}

// Values are checked in `TryFrom`, so that the YAML crate adds the line to the errors.

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DocumentIn {
    version: u32,
    key: String,
    recorded: RecordedIn,
    history: Option<History>,
    request: RequestIn,
    responses: ResponsesIn,
}

impl DocumentIn {
    fn into_cassette(self) -> Result<Cassette, &'static str> {
        let document = self;
        let responses = document.responses.0;
        let body = match (document.request.body, &responses[0].messages) {
            (None, messages) if messages.is_empty() => RecordedBody::Blob(Blob::Inline(Bytes::new())),
            (Some(body), messages) if messages.is_empty() => body.0,
            (None, messages) => RecordedBody::Messages(sent_messages(messages)),
            (Some(_), _) => return Err("the request of a session has a body"),
        };
        let is_other = |response: &RecordedResponse| {
            response.messages.is_empty() != responses[0].messages.is_empty()
                || (!response.messages.is_empty() && RecordedBody::Messages(sent_messages(&response.messages)) != body)
        };
        if responses.iter().any(is_other) {
            return Err("the sessions in one cassette send different messages");
        }
        Ok(Cassette {
            key: document.key,
            recorded: Recorded {
                at: document.recorded.at,
                earlier_us: document.recorded.earlier_us,
                by: document.recorded.by,
                from: document.recorded.from,
                test: document.recorded.test,
            },
            history: document.history,
            request: RecordedRequest {
                host: document.request.host,
                method: document.request.method,
                path: document.request.path,
                query: document.request.query,
                content_type: document.request.content_type,
                body,
            },
            responses,
        })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RecordedIn {
    at: String,
    #[serde(default)]
    earlier_us: Vec<u64>,
    by: String,
    from: Option<String>,
    test: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RequestIn {
    method: String,
    host: Option<String>,
    path: String,
    query: Option<String>,
    content_type: Option<String>,
    body: Option<BodyIn>,
}

#[derive(Deserialize)]
#[serde(try_from = "Vec<ResponseIn>")]
struct ResponsesIn(Vec<RecordedResponse>);

impl TryFrom<Vec<ResponseIn>> for ResponsesIn {
    type Error = &'static str;

    fn try_from(responses: Vec<ResponseIn>) -> Result<Self, Self::Error> {
        if responses.is_empty() {
            return Err("the cassette has no response");
        }
        Ok(Self(responses.into_iter().map(|response| response.0).collect()))
    }
}

#[derive(Deserialize)]
#[serde(try_from = "ResponseFields")]
struct ResponseIn(RecordedResponse);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ResponseFields {
    status: u16,
    #[serde(default)]
    headers: HeadersIn,
    body: Option<BodyIn>,
    session: Option<Vec<MessageIn>>,
    /// The last member of the document. It is always written, so that a truncated file is an error.
    timing_ms: Vec<u64>,
}

impl TryFrom<ResponseFields> for ResponseIn {
    type Error = String;

    fn try_from(fields: ResponseFields) -> Result<Self, String> {
        for (name, value) in &fields.headers.0 {
            let is_header =
                http::HeaderName::from_bytes(name.as_bytes()).is_ok() && crate::http::header_value(value).is_some();
            if !is_header {
                return Err(format!("invalid HTTP header {name:?}: {value:?}"));
            }
        }
        let messages: Vec<_> = fields.session.into_iter().flatten().map(|message| message.0).collect();
        if !messages.is_empty() {
            session::check(&messages, fields.timing_ms.len())?;
            if fields.body.is_some() {
                return Err("a response has a body or a session".to_owned());
            }
        }
        Ok(Self(RecordedResponse {
            status: StatusCode::from_u16(fields.status)
                .map_err(|_| format!("invalid HTTP status {}", fields.status))?,
            headers: fields.headers.0,
            body: match fields.body.map(|body| body.0) {
                None => Blob::Inline(Bytes::new()),
                Some(RecordedBody::Blob(blob)) => blob,
                Some(RecordedBody::Multipart(_) | RecordedBody::Messages(_)) => {
                    return Err("a response body cannot be multipart".to_owned());
                }
            },
            timing_ms: fields.timing_ms,
            messages,
        }))
    }
}
