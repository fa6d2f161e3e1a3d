//! Format version 1: cassettes as YAML. The only file that knows YAML.
//!
//! What is written is plain for every YAML reader: strings that any of them would take for something else are quoted,
//! strings of several lines are literal blocks, long lines are not folded, arrays of numbers stay on one line.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http::StatusCode;
use serde::de::DeserializeOwned;
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};
use serde::{Deserialize, Serialize as SerializeDerive};
use serde_json::Value;
#[cfg(feature = "cli")]
use serde_yaml::Tagged;
use serde_yaml::{DoubleQuoted, FlowSeq, LitStr, SingleQuoted};

use super::History;
use super::body::{Blob, Events, Form, RecordedBody, RecordedPart};
use super::{Cassette, Recorded, RecordedRequest, RecordedResponse};
use crate::error::{Error, ErrorKind, Result};
use crate::http::{Layout, Spacing, serialize_number};

/// The version of the format that is written.
pub(crate) const VERSION: u32 = 1;

/// The document of a cassette.
///
/// # Errors
/// [`ErrorKind::Cassette`] when the YAML writer fails, which is a defect.
pub(crate) fn write(cassette: &Cassette) -> Result<Bytes> {
    let document = DocumentOut {
        version: VERSION,
        key: Text(&cassette.key),
        recorded: RecordedOut {
            at: &cassette.recorded.at,
            by: Text(&cassette.recorded.by),
            from: cassette.recorded.from.as_deref().map(Text),
            test: cassette.recorded.test.as_deref().map(Text),
        },
        history: cassette.history,
        request: RequestOut {
            method: Text(&cassette.request.method),
            path: Text(&cassette.request.path),
            query: cassette.request.query.as_deref().map(Text),
            body: match &cassette.request.body {
                RecordedBody::Blob(blob) if blob.is_empty() => None,
                body => Some(RequestBodyOut(body)),
            },
        },
        responses: cassette.responses.iter().map(ResponseOut::new).collect(),
    };
    let mut options = serde_yaml::SerializerOptions::default();
    // What is a block says so (`Block`): nobody has to look for others.
    options.prefer_block_scalars = false;
    let mut text = Sink(Vec::with_capacity(8192));
    serde_yaml::to_fmt_writer_with_options(&mut text, &document, options)
        .map_err(|error| Error::new(ErrorKind::Cassette, "a cassette cannot be written as YAML").with_source(error))?;
    Ok(text.0.into())
}

/// Text that grows. The YAML crate writes what it quotes by single characters, which a `String` takes more slowly.
struct Sink(Vec<u8>);

impl fmt::Write for Sink {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }

    #[inline]
    fn write_char(&mut self, character: char) -> fmt::Result {
        if character.is_ascii() {
            self.0.push(character as u8);
            return Ok(());
        }
        self.write_str(character.encode_utf8(&mut [0; 4]))
    }
}

/// Reads the document of a cassette; `source` names it in errors.
///
/// # Errors
/// [`ErrorKind::Cassette`], with the line, when it is damaged, of another shape or of a newer version.
pub(crate) fn read(document: &[u8], source: &str) -> Result<Cassette> {
    if document.trim_ascii().is_empty() {
        return Err(damaged(source, Some(1), "the file is empty"));
    }
    let parsed: Result<DocumentIn> = read_yaml(document, source);
    let parsed = match parsed {
        Ok(parsed) if parsed.version == VERSION => parsed,
        // A newer version may have any other shape: say the version first.
        other => {
            let version = read_yaml::<VersionIn>(document, source).ok().map(|found| found.version);
            return Err(match (version, other) {
                (Some(version), _) if version > VERSION => Error::new(
                    ErrorKind::Cassette,
                    format!("{source} has format version {version}; this is mistral-cassette {}, which reads versions up to {VERSION}", env!("CARGO_PKG_VERSION")),
                )
                .with_hint("update mistral-cassette, or record this request again"),
                (_, Err(error)) => error,
                (_, Ok(parsed)) => damaged(source, None, &format!("there is no format version {}", parsed.version)),
            });
        }
    };
    Ok(Cassette {
        key: parsed.key,
        recorded: Recorded {
            at: parsed.recorded.at,
            by: parsed.recorded.by,
            from: parsed.recorded.from,
            test: parsed.recorded.test,
        },
        history: parsed.history,
        request: RecordedRequest {
            method: parsed.request.method,
            path: parsed.request.path,
            query: parsed.request.query,
            body: parsed
                .request
                .body
                .map_or(RecordedBody::Blob(Blob::Inline(Bytes::new())), |body| body.0),
        },
        responses: parsed.responses.0,
    })
}

/// Reads any YAML text with the limits of a cassette; `source` names it in errors.
///
/// # Errors
/// [`ErrorKind::Cassette`] with the line of what is wrong.
pub(crate) fn read_yaml<T: DeserializeOwned>(document: &[u8], source: &str) -> Result<T> {
    parse_yaml(document, reader_options()).map_err(|(line, what)| {
        if what.starts_with("budget breached: Alias") {
            damaged(source, line, "it uses YAML aliases, which no cassette does")
        } else {
            damaged(source, line, &what)
        }
    })
}

/// The member that holds the base64 of bytes (`!!binary`), the only one of its object, in what [`read_any`] returns.
#[cfg(feature = "cli")]
pub(crate) const BINARY: &str = "!!binary";

/// Reads YAML of any other tool as a JSON value, for import. Tags are passed over, but for [bytes](BINARY).
///
/// # Errors
/// [`ErrorKind::Io`] with the line of what is wrong.
#[cfg(feature = "cli")]
pub(crate) fn read_any(document: &[u8], source: &str) -> Result<Value> {
    let mut options = reader_options();
    // Python's writer gives an anchor to whatever stands twice.
    if let Some(budget) = &mut options.budget {
        budget.max_aliases = 100_000;
    }
    let any: Any = parse_yaml(document, options).map_err(|(line, what)| {
        let line = line.map(|line| format!(":{line}")).unwrap_or_default();
        Error::new(ErrorKind::Io, format!("{source}{line}: it cannot be read: {what}"))
    })?;
    Ok(any.0)
}

/// The value of a YAML text; or the line of what is wrong, as far as it is known, and what it is.
fn parse_yaml<T: DeserializeOwned>(document: &[u8], options: serde_yaml::Options) -> Result<T, (Option<u64>, String)> {
    let text = std::str::from_utf8(document).map_err(|error| {
        let line = line_at(document, error.valid_up_to());
        (Some(line), "it is not UTF-8 text".to_owned())
    })?;
    serde_yaml::from_str_with_options(text, options).map_err(|error| {
        let error = error.without_snippet();
        let line = error
            .location()
            .map(|location| location.line())
            .filter(|line| *line > 0);
        let message = error.to_string();
        // The place stands in front, with the file.
        let what = message
            .rsplit_once(" at line ")
            .map_or(message.as_str(), |(what, _)| what);
        (line, what.to_owned())
    })
}

/// The number of the line in which a byte stands, from 1.
fn line_at(document: &[u8], byte: usize) -> u64 {
    document[..byte].iter().filter(|byte| **byte == b'\n').count() as u64 + 1
}

fn reader_options() -> serde_yaml::Options {
    let mut budget = serde_yaml::Budget::default();
    // A body within the inline limit may have a node for every other byte; no cassette needs an alias.
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

fn damaged(source: &str, line: Option<u64>, what: &str) -> Error {
    let place = match line {
        Some(line) => format!("{source}:{line}"),
        None => source.to_owned(),
    };
    Error::new(
        ErrorKind::Cassette,
        format!("{place}: the cassette cannot be read: {what}"),
    )
    .with_hint("bring it back from version control, or delete the file and record this request again")
}

// What is written.

#[derive(SerializeDerive)]
struct DocumentOut<'a> {
    version: u32,
    key: Text<'a>,
    recorded: RecordedOut<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    history: Option<History>,
    request: RequestOut<'a>,
    responses: Vec<ResponseOut<'a>>,
}

#[derive(SerializeDerive)]
struct RecordedOut<'a> {
    at: &'a str,
    by: Text<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    test: Option<Text<'a>>,
}

#[derive(SerializeDerive)]
struct RequestOut<'a> {
    method: Text<'a>,
    path: Text<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    query: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<RequestBodyOut<'a>>,
}

#[derive(SerializeDerive)]
struct ResponseOut<'a> {
    status: u16,
    #[serde(skip_serializing_if = "HeadersOut::is_empty")]
    headers: HeadersOut<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<BlobOut<'a>>,
    timing_ms: FlowSeq<&'a [u64]>,
}

impl<'a> ResponseOut<'a> {
    fn new(response: &'a RecordedResponse) -> Self {
        Self {
            status: response.status.as_u16(),
            headers: HeadersOut(&response.headers),
            body: (!response.body.is_empty()).then_some(BlobOut {
                blob: &response.body,
                is_event_stream: response.is_event_stream(),
            }),
            timing_ms: FlowSeq(&response.timing_ms),
        }
    }
}

struct HeadersOut<'a>(&'a [(String, String)]);

impl HeadersOut<'_> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for HeadersOut<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (at, (name, value)) in self.0.iter().enumerate() {
            let values = |headers: &'_ [(String, String)]| headers.iter().filter(|(other, _)| other == name).count();
            if values(&self.0[..at]) > 0 {
                continue;
            }
            if values(self.0) == 1 {
                map.serialize_entry(&Text(name), &Text(value))?;
            } else {
                let all: Vec<Text<'_>> = self
                    .0
                    .iter()
                    .filter(|(other, _)| other == name)
                    .map(|(_, value)| Text(value))
                    .collect();
                map.serialize_entry(&Text(name), &all)?;
            }
        }
        map.end()
    }
}

struct RequestBodyOut<'a>(&'a RecordedBody);

impl Serialize for RequestBodyOut<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            RecordedBody::Blob(blob) => BlobOut {
                blob,
                is_event_stream: false,
            }
            .serialize(serializer),
            RecordedBody::Multipart(parts) => {
                let mut map = serializer.serialize_map(None)?;
                map.serialize_entry("multipart", &parts.iter().map(PartOut).collect::<Vec<_>>())?;
                map.end()
            }
        }
    }
}

struct PartOut<'a>(&'a RecordedPart);

impl Serialize for PartOut<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("name", &Text(&self.0.name))?;
        if let Some(filename) = &self.0.filename {
            map.serialize_entry("filename", &Text(filename))?;
        }
        if let Some(kind) = &self.0.content_type {
            map.serialize_entry("content_type", &Text(kind))?;
        }
        match &self.0.content {
            Blob::External { sha256 } => map.serialize_entry("file", &Text(sha256))?,
            Blob::Inline(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) => map.serialize_entry("text", &Text(text))?,
                Err(_) => map.serialize_entry("base64", &Text(&BASE64.encode(bytes)))?,
            },
        }
        map.end()
    }
}

struct BlobOut<'a> {
    blob: &'a Blob,
    is_event_stream: bool,
}

impl Serialize for BlobOut<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        let bytes = match self.blob {
            Blob::Inline(bytes) => bytes,
            Blob::External { sha256 } => {
                map.serialize_entry("file", &Text(sha256))?;
                return map.end();
            }
        };
        match Form::of(bytes, self.is_event_stream) {
            Form::Empty => {}
            Form::Json(value, layout) => {
                match layout.spacing {
                    Spacing::Compact => {}
                    Spacing::Spaced => map.serialize_entry("spacing", "spaced")?,
                    Spacing::Indented(step) => map.serialize_entry("spacing", &format!("indented-{step}"))?,
                }
                if layout.ascii {
                    map.serialize_entry("ascii", &true)?;
                }
                if layout.python_floats {
                    map.serialize_entry("floats", "python")?;
                }
                if layout.final_newline {
                    map.serialize_entry("final_newline", &true)?;
                }
                map.serialize_entry("json", &Readable(&value))?;
            }
            Form::Events(Events { entries, is_cut }) => {
                if is_cut {
                    map.serialize_entry("final_blank_line", &false)?;
                }
                map.serialize_entry("events", &entries.into_iter().map(Block).collect::<Vec<_>>())?;
            }
            Form::Text(text) => map.serialize_entry("text", &Block(text))?,
            Form::Base64(bytes) => map.serialize_entry("base64", &Text(&BASE64.encode(bytes)))?,
        }
        map.end()
    }
}

/// A JSON value as YAML that a person reads.
struct Readable<'a>(&'a Value);

impl Serialize for Readable<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Null => serializer.serialize_unit(),
            Value::Bool(value) => serializer.serialize_bool(*value),
            Value::Number(number) => serialize_number(number, serializer),
            Value::String(text) => Text(text).serialize(serializer),
            Value::Array(items) if !items.is_empty() && items.iter().all(Value::is_number) => {
                FlowSeq(items.iter().map(Readable).collect::<Vec<_>>()).serialize(serializer)
            }
            Value::Array(items) => {
                let mut seq = serializer.serialize_seq(Some(items.len()))?;
                for item in items {
                    seq.serialize_element(&Readable(item))?;
                }
                seq.end()
            }
            Value::Object(members) => {
                let mut map = serializer.serialize_map(Some(members.len()))?;
                for (name, value) in members {
                    map.serialize_entry(&Key(name), &Readable(value))?;
                }
                map.end()
            }
        }
    }
}

/// A string: plain where no reader takes it for something else, a literal block when it has several lines. When it needs
/// quotes, and has no single ones, they are single, so that JSON in a string can be read.
#[derive(Clone, Copy)]
struct Text<'a>(&'a str);

impl Serialize for Text<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.contains('\n') {
            Block(self.0).serialize(serializer)
        } else if fits_single_quotes(self.0) {
            SingleQuoted(self.0).serialize(serializer)
        } else {
            Key(self.0).serialize(serializer)
        }
    }
}

/// A string on one line.
struct Key<'a>(&'a str);

impl Serialize for Key<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // The YAML crate quotes what YAML 1.1 and 1.2 would take for a number, a boolean, a date or null. These it
        // leaves plain, and other readers (ruamel.yaml, npm's yaml) stumble over them.
        let odd = |character: char| matches!(character, '-' | '+' | '_' | '.' | ',' | ':');
        if !is_all_visible(self.0) || self.0.chars().all(odd) {
            DoubleQuoted(self.0).serialize(serializer)
        } else {
            serializer.serialize_str(self.0)
        }
    }
}

/// Whether a string has to be quoted, since YAML would take a part of it for itself, and single quotes leave all of it as it
/// is: a search for secrets finds in the file what it finds in the string.
fn fits_single_quotes(text: &str) -> bool {
    let bytes = text.as_bytes();
    let begins_something = match bytes {
        [] => return false,
        [b'-' | b'?', b' ', ..] => true,
        [first, ..] => b" ,:[]{}#&*!|>\"%@`".contains(first),
    };
    let mut marks = memchr::memchr2_iter(b':', b'#', bytes);
    let ends_something = marks.any(|at| match bytes[at] {
        b':' => bytes.get(at + 1).is_none_or(|next| *next == b' '),
        _ => at > 0 && bytes[at - 1] == b' ',
    });
    (begins_something || ends_something || bytes.ends_with(b" "))
        && memchr::memchr(b'\'', bytes).is_none()
        && is_all_visible(text)
}

fn is_all_visible(text: &str) -> bool {
    // Most texts are of these, and to see that is much quicker than to look at their characters.
    text.bytes().all(|byte| matches!(byte, b' '..=b'~')) || text.chars().all(is_visible)
}

/// Whether a character may stand in YAML as it is, and is seen as what it is by every reader; a line break is not.
fn is_visible(character: char) -> bool {
    let is_break = matches!(
        character,
        '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}'
    );
    !is_break && !character.is_control()
}

/// A string as a literal block, unless a reader would lose something of it.
struct Block<'a>(&'a str);

impl Serialize for Block<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if fits_block(self.0) {
            LitStr(self.0).serialize(serializer)
        } else {
            DoubleQuoted(self.0).serialize(serializer)
        }
    }
}

/// Whether a literal block says the same to every reader: no character that breaks or ends a line beside `\n`, nothing
/// invisible, no line of white space only, no first line that seems to be indentation.
fn fits_block(text: &str) -> bool {
    let is_plain = |character: char| matches!(character, '\n' | '\t') || is_visible(character);
    let blank = |line: &str| line.trim_matches([' ', '\t']).is_empty();
    text.chars().all(is_plain)
        && text
            .lines()
            .find(|line| !line.is_empty())
            .is_some_and(|line| !line.starts_with([' ', '\t']))
        && text.lines().all(|line| line.is_empty() || !blank(line))
}

// What is read.

#[derive(Deserialize)]
struct VersionIn {
    version: u32,
}

// What is wrong beyond the shape is said in `TryFrom`, so that the reader adds the line.

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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RecordedIn {
    at: String,
    by: String,
    from: Option<String>,
    test: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RequestIn {
    method: String,
    path: String,
    query: Option<String>,
    body: Option<BodyIn>,
}

#[derive(Deserialize)]
#[serde(try_from = "Vec<ResponseIn>")]
struct ResponsesIn(Vec<RecordedResponse>);

impl TryFrom<Vec<ResponseIn>> for ResponsesIn {
    type Error = &'static str;

    fn try_from(responses: Vec<ResponseIn>) -> Result<Self, Self::Error> {
        if responses.is_empty() {
            return Err("it holds no response");
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
    /// The last member that is written, and never left out: without it the file was cut.
    timing_ms: Vec<u64>,
}

impl TryFrom<ResponseFields> for ResponseIn {
    type Error = String;

    fn try_from(fields: ResponseFields) -> Result<Self, String> {
        for (name, value) in &fields.headers.0 {
            let is_header =
                http::HeaderName::from_bytes(name.as_bytes()).is_ok() && http::HeaderValue::from_str(value).is_ok();
            if !is_header {
                return Err(format!("{name:?}: {value:?} is no HTTP header"));
            }
        }
        Ok(Self(RecordedResponse {
            status: StatusCode::from_u16(fields.status).map_err(|_| format!("{} is no HTTP status", fields.status))?,
            headers: fields.headers.0,
            body: match fields.body.map(|body| body.0) {
                None => Blob::Inline(Bytes::new()),
                Some(RecordedBody::Blob(blob)) => blob,
                Some(RecordedBody::Multipart(_)) => return Err("only the body of a request is multipart".to_owned()),
            },
            timing_ms: fields.timing_ms,
        }))
    }
}

#[derive(Default)]
struct HeadersIn(Vec<(String, String)>);

impl<'de> Deserialize<'de> for HeadersIn {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = HeadersIn;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("header names with a value, or with a list of values")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<HeadersIn, A::Error> {
                let mut headers = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    match map.next_value::<OneOrMore>()? {
                        OneOrMore::One(value) => headers.push((name, value)),
                        OneOrMore::More(values) => {
                            headers.extend(values.into_iter().map(|value| (name.clone(), value)))
                        }
                    }
                }
                Ok(HeadersIn(headers))
            }
        }

        #[derive(Deserialize)]
        #[serde(untagged)]
        enum OneOrMore {
            One(String),
            More(Vec<String>),
        }

        deserializer.deserialize_map(Visitor)
    }
}

#[derive(Deserialize)]
#[serde(try_from = "BodyFields")]
struct BodyIn(RecordedBody);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BodyFields {
    #[serde(default)]
    spacing: SpacingIn,
    #[serde(default)]
    ascii: bool,
    #[serde(default)]
    floats: FloatsIn,
    #[serde(default)]
    final_newline: bool,
    #[serde(default = "yes")]
    final_blank_line: bool,
    json: Option<Value>,
    events: Option<Vec<String>>,
    text: Option<String>,
    base64: Option<String>,
    multipart: Option<Vec<PartIn>>,
    file: Option<String>,
}

fn yes() -> bool {
    true
}

#[derive(Default, Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
enum FloatsIn {
    #[default]
    Shortest,
    Python,
}

#[derive(Default)]
struct SpacingIn(Spacing);

impl<'de> Deserialize<'de> for SpacingIn {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        let spacing = match name.as_str() {
            "compact" => Some(Spacing::Compact),
            "spaced" => Some(Spacing::Spaced),
            other => other
                .strip_prefix("indented-")
                .and_then(|step| step.parse().ok())
                .map(Spacing::Indented),
        };
        spacing.map(Self).ok_or_else(|| {
            serde::de::Error::custom(format!(
                "there is no spacing {name:?}: it is compact, spaced or indented-N"
            ))
        })
    }
}

#[derive(Deserialize)]
#[serde(try_from = "PartFields")]
struct PartIn(RecordedPart);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PartFields {
    name: String,
    filename: Option<String>,
    content_type: Option<String>,
    text: Option<String>,
    base64: Option<String>,
    file: Option<String>,
}

impl TryFrom<BodyFields> for BodyIn {
    type Error = String;

    fn try_from(fields: BodyFields) -> Result<Self, String> {
        let layout = Layout {
            spacing: fields.spacing.0,
            ascii: fields.ascii,
            python_floats: fields.floats == FloatsIn::Python,
            final_newline: fields.final_newline,
        };
        let json = fields.json.map(|value| layout.write(&value));
        let events = fields
            .events
            .map(|entries| Events::join(&entries, !fields.final_blank_line).into_bytes());
        let inline = [
            json,
            events,
            fields.text.map(String::into_bytes),
            decoded(fields.base64)?,
        ];
        let inline: Vec<Vec<u8>> = inline.into_iter().flatten().collect();
        match fields.multipart {
            None => one_blob(inline, fields.file).map(|blob| Self(RecordedBody::Blob(blob))),
            Some(parts) if inline.is_empty() && fields.file.is_none() => Ok(Self(RecordedBody::Multipart(
                parts.into_iter().map(|part| part.0).collect(),
            ))),
            Some(_) => Err(TOO_MANY_FORMS.to_owned()),
        }
    }
}

impl TryFrom<PartFields> for PartIn {
    type Error = String;

    fn try_from(fields: PartFields) -> Result<Self, String> {
        let inline = [fields.text.map(String::into_bytes), decoded(fields.base64)?];
        Ok(Self(RecordedPart {
            content: one_blob(inline.into_iter().flatten().collect(), fields.file)?,
            name: fields.name,
            filename: fields.filename,
            content_type: fields.content_type,
        }))
    }
}

const TOO_MANY_FORMS: &str =
    "the body has more than one form: keep one of json, events, text, base64, multipart and file";

fn decoded(base64: Option<String>) -> Result<Option<Vec<u8>>, String> {
    let decoded = base64.map(|text| BASE64.decode(text.trim())).transpose();
    decoded.map_err(|error| format!("the body is not base64: {error}"))
}

fn one_blob(mut inline: Vec<Vec<u8>>, file: Option<String>) -> Result<Blob, String> {
    match (inline.pop(), inline.is_empty(), file) {
        (Some(bytes), true, None) => Ok(Blob::Inline(bytes.into())),
        (None, _, Some(sha256)) => {
            let is_hash = sha256.len() == 64 && sha256.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
            if !is_hash {
                return Err(format!("the body is in the file {sha256:?}, which is no SHA-256"));
            }
            Ok(Blob::External { sha256 })
        }
        (None, _, None) => Err("the body has none of json, events, text, base64, multipart and file".to_owned()),
        _ => Err(TOO_MANY_FORMS.to_owned()),
    }
}

/// A value as YAML, for people: what `show` prints of a body that is no conversation.
#[cfg(feature = "cli")]
pub(crate) fn display(value: &Value) -> String {
    let mut text = String::new();
    match serde_yaml::to_fmt_writer(&mut text, &Readable(value)) {
        Ok(()) => text,
        Err(error) => format!("({error})"),
    }
}

/// A value of any tool's YAML.
#[cfg(feature = "cli")]
struct Any(Value);

#[cfg(feature = "cli")]
impl<'de> Deserialize<'de> for Any {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Tagged(Untagged(value), tag) = Tagged::deserialize(deserializer)?;
        Ok(Self(match (value, tag.as_deref()) {
            (Value::String(base64), Some("!binary" | "tag:yaml.org,2002:binary")) => {
                let base64: String = base64.split_ascii_whitespace().collect();
                Value::Object([(BINARY.to_owned(), base64.into())].into_iter().collect())
            }
            (value, _) => value,
        }))
    }
}

#[cfg(feature = "cli")]
struct Untagged(Value);

#[cfg(feature = "cli")]
impl<'de> Deserialize<'de> for Untagged {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Value;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("any YAML value")
            }

            fn visit_unit<E>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }

            fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
                Ok(value.into())
            }

            fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
                Ok(value.into())
            }

            fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
                Ok(value.into())
            }

            fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
                Ok(value.into())
            }

            fn visit_str<E>(self, value: &str) -> Result<Value, E> {
                Ok(value.into())
            }

            fn visit_string<E>(self, value: String) -> Result<Value, E> {
                Ok(value.into())
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
                let mut items = Vec::new();
                while let Some(Any(item)) = seq.next_element()? {
                    items.push(item);
                }
                Ok(items.into())
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
                let mut members = serde_json::Map::new();
                while let Some((name, Any(value))) = map.next_entry::<String, Any>()? {
                    members.insert(name, value);
                }
                Ok(members.into())
            }
        }

        deserializer.deserialize_any(Visitor).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cassette(request: RecordedBody, kind: &str, body: &[u8]) -> Cassette {
        Cassette {
            key: "3f9a1c2b7d4e8a10".repeat(4),
            recorded: Recorded {
                at: "2026-11-21T10:00:00Z".to_owned(),
                by: "mistral-cassette 0.1.0".to_owned(),
                from: Some("https://api.mistral.ai".to_owned()),
                test: Some("weather::asks_for_the_capital".to_owned()),
            },
            history: None,
            request: RecordedRequest {
                method: "POST".to_owned(),
                path: "/v1/chat/completions".to_owned(),
                query: Some("a=1&b=#".to_owned()),
                body: request,
            },
            responses: vec![RecordedResponse {
                status: StatusCode::OK,
                headers: vec![
                    ("content-type".to_owned(), kind.to_owned()),
                    ("x-twice".to_owned(), "1".to_owned()),
                    ("x-twice".to_owned(), "true".to_owned()),
                ],
                body: Blob::Inline(Bytes::copy_from_slice(body)),
                timing_ms: vec![412],
            }],
        }
    }

    fn blob(bytes: &[u8]) -> RecordedBody {
        RecordedBody::Blob(Blob::Inline(Bytes::copy_from_slice(bytes)))
    }

    fn written(cassette: &Cassette) -> String {
        String::from_utf8(write(cassette).unwrap().to_vec()).unwrap()
    }

    #[track_caller]
    fn comes_back(cassette: &Cassette) -> String {
        let text = written(cassette);
        let read = read(text.as_bytes(), "x.yaml").unwrap_or_else(|error| panic!("{error}\n{text}"));
        assert_eq!(&read, cassette, "{text}");
        text
    }

    #[test]
    fn a_cassette_is_readable() {
        let request = blob(r#"{"model":"mistral-small-latest","messages":[{"role":"user","content":"What is the capital of France?"}],"temperature":0.2,"stop":null}"#.as_bytes());
        let answer = br#"{"id":"1e5","choices":[{"message":{"content":"Paris.\n\n- the capital\n- of *France*: yes"},"tool_calls":[]}],"data":[[0.5,-1e-7,3]],"when":"2026-11-21","on":"yes"}"#;
        insta::assert_snapshot!(comes_back(&cassette(request, "application/json", answer)));
    }

    #[test]
    fn a_stream_is_kept_event_by_event_as_sent() {
        let stream = "data: {\"choices\":[{\"delta\":{\"content\":\"It's \"}}],\"p\":\"abc\"}\n\nevent: x\ndata: {\"a\": 1}\n\ndata: [DONE]\n\n";
        insta::assert_snapshot!(comes_back(&cassette(
            blob(br#"{"stream":true}"#),
            "text/event-stream; charset=utf-8",
            stream.as_bytes()
        )));
    }

    #[test]
    fn multipart_text_and_bytes_are_kept() {
        let parts = vec![
            RecordedPart {
                name: "model".to_owned(),
                filename: None,
                content_type: None,
                content: Blob::Inline("voxtral".into()),
            },
            RecordedPart {
                name: "file".to_owned(),
                filename: Some("a.wav".to_owned()),
                content_type: Some("audio/wav".to_owned()),
                content: Blob::Inline(Bytes::from_static(b"RIFF\xff\x00")),
            },
            RecordedPart {
                name: "big".to_owned(),
                filename: None,
                content_type: None,
                content: Blob::External { sha256: "0".repeat(64) },
            },
        ];
        insta::assert_snapshot!(comes_back(&cassette(
            RecordedBody::Multipart(parts),
            "application/octet-stream",
            b"\x00\xffbinary"
        )));
    }

    #[test]
    fn a_string_is_quoted_only_when_it_must_be_and_single_quotes_escape_nothing() {
        for (text, written_as) in [
            ("It's 5:30, and \"all\" is well#1", r#"It's 5:30, and "all" is well#1"#),
            (r#"{"city": "Paris"}"#, r#"'{"city": "Paris"}'"#),
            ("- say \"hi\"", r#"'- say "hi"'"#),
            ("-5 \"or\" so", r#"-5 "or" so"#),
            ("'so' it is", r#""'so' it is""#),
            (r#"{"who": "it's me"}"#, r#""{\"who\": \"it's me\"}""#),
            (r"C:\dir: a", r"'C:\dir: a'"),
            ("Note: 21 °C", "'Note: 21 °C'"),
            ("ends in a colon:", "'ends in a colon:'"),
            ("issue #1", "'issue #1'"),
            ("ends in a space ", "'ends in a space '"),
            ("It's: so", r#""It's: so""#),
            ("a tab:\t", r#""a tab:\t""#),
            ("a line: \u{2028}", r#""a line: \L""#),
            ("", r#""""#),
            ("12", r#""12""#),
            ("no", r#""no""#),
        ] {
            let body = serde_json::to_vec(&serde_json::json!({ "a": text })).unwrap();
            let text = comes_back(&cassette(blob(b""), "application/json", &body));
            assert!(text.contains(&format!("      a: {written_as}\n")), "{text}");
        }
    }

    #[test]
    fn every_layout_comes_back() {
        for body in [
            "{\"a\": 1e-05}",
            "{\n  \"a\": [\n    1\n  ]\n}\n",
            "{\"a\":\"\\u00e9\"}",
            "[]",
            "\"text\"",
            "null",
            "12",
            "{\"a\":1.50}",
            "{\"a\":1,\"a\":2}",
            "plain",
            " leading",
            "trailing ",
            "two\nlines",
            "two\r\nlines",
            "\n\nblank first",
            "  indented\nfirst",
            "blank\n   \nline",
            "\n",
            "tab\tin",
            "ends\n\n\n",
            "\u{feff}bom",
            "a\u{85}b\u{2028}c",
            "\u{0}",
            "---\n...",
            "# no comment",
            "- a\n- b",
            "key: value",
            "%YAML",
            "data: x\n\n",
        ] {
            comes_back(&cassette(blob(body.as_bytes()), "text/plain", body.as_bytes()));
        }
        for stream in [
            "data: a",
            "data: a\n",
            "data: a\n\n\ndata: b\n\n",
            ": ping\n\n\n\n",
            "\n\n",
            "data: a\r\n\r\n",
            "\u{feff}data: a\n\n",
            " \n\n \n\n",
        ] {
            comes_back(&cassette(blob(b""), "text/event-stream", stream.as_bytes()));
        }
    }

    #[test]
    fn damage_is_told_with_its_line() {
        let good = written(&cassette(blob(br#"{"a":1}"#), "application/json", br#"{"b":2}"#));
        let told = |document: &[u8]| read(document, "cassettes/x.yaml").unwrap_err().to_string();
        let mut all = String::new();
        let mut tell = |name: &str, document: &[u8]| {
            all.push_str(&format!("{name}\n  {}\n", told(document).replace('\n', "\n  ")))
        };
        tell("empty", b" \n");
        tell("truncated", &good.as_bytes()[..good.len() / 2]);
        tell("not UTF-8", b"version: 1\nkey: \xff\n");
        tell("not YAML", b"version: 1\nkey: [1\n");
        tell("another shape", b"- 1\n- 2\n");
        tell(
            "a member too many",
            good.replace("request:", "comment: x\nrequest:").as_bytes(),
        );
        tell("a member missing", good.replace("  method: POST\n", "").as_bytes());
        tell("a newer version", b"version: 2\nrequests: {}\n");
        tell("no version 0", good.replace("version: 1", "version: 0").as_bytes());
        tell(
            "two forms of a body",
            good.replace("    json:\n      b: 2", "    text: x\n    json:\n      b: 2")
                .as_bytes(),
        );
        tell(
            "no form of a body",
            good.replace("    json:\n      b: 2", "    ascii: true").as_bytes(),
        );
        tell(
            "base64 that is none",
            good.replace("    json:\n      b: 2", "    base64: '***'").as_bytes(),
        );
        tell(
            "a file outside",
            good.replace("    json:\n      b: 2", "    file: ../../etc/passwd")
                .as_bytes(),
        );
        tell(
            "a status that is none",
            good.replace("status: 200", "status: 20").as_bytes(),
        );
        tell(
            "no response",
            format!("{}responses: []\n", good.split("responses:").next().unwrap()).as_bytes(),
        );
        tell(
            "a header that is none",
            good.replace("x-twice:", "'x twice':").as_bytes(),
        );
        tell(
            "an alias bomb",
            good.replace(
                "      b: 2",
                "      a: &a [x,x,x]\n      b: &b [*a,*a,*a]\n      c: [*b,*b,*b]",
            )
            .as_bytes(),
        );
        tell("nested without end", format!("{}\n", "[".repeat(100_000)).as_bytes());
        tell(
            "a duplicate key",
            good.replace("  method: POST\n", "  method: POST\n  method: GET\n")
                .as_bytes(),
        );
        insta::assert_snapshot!(all);
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_filter_map("no number", |number| serde_json::Number::from_f64(number)
                .map(Value::Number)),
            any::<String>().prop_map(Value::from),
            odd_text().prop_map(Value::from),
        ];
        leaf.prop_recursive(6, 60, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::vec((odd_text(), inner), 0..6)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    /// Text that YAML readers stumble over.
    fn odd_text() -> impl Strategy<Value = String> {
        "[ab01y~:#'\"\\\\,\\[\\]{}&*!|>%@`?=. \t\n\r\u{85}\u{2028}\u{feff}é🎉\u{0}\u{7f}_-]{0,12}"
    }

    proptest! {
        #[test]
        fn any_json_comes_back(value in json(), compact in any::<bool>()) {
            let body = if compact { serde_json::to_vec(&value) } else { serde_json::to_vec_pretty(&value) }.unwrap();
            comes_back(&cassette(blob(&body), "application/json", &body));
        }

        #[test]
        fn any_bytes_come_back(body in prop::collection::vec(any::<u8>(), 0..200)) {
            comes_back(&cassette(blob(&body), "application/octet-stream", &body));
        }

        #[test]
        fn any_text_comes_back(body in odd_text(), test in odd_text()) {
            let mut cassette = cassette(blob(body.as_bytes()), "text/plain", body.as_bytes());
            cassette.recorded.test = Some(test);
            comes_back(&cassette);
        }

        #[test]
        fn any_event_stream_comes_back(stream in "(data: [a-z{}\": '#]{0,8}|event: x|: ping|\n|\r\n| |\n\n){0,20}") {
            comes_back(&cassette(blob(b""), "text/event-stream", stream.as_bytes()));
        }

        #[test]
        fn any_damage_is_an_error_or_another_cassette_and_never_a_panic(at in 0usize..900, byte in any::<u8>()) {
            let mut document = written(&cassette(blob(br#"{"a":1}"#), "application/json", br#"{"b":[1,2],"c":"x\ny"}"#)).into_bytes();
            let at = at % document.len();
            document[at] = byte;
            let _ = read(&document, "x.yaml");
        }
    }
}
