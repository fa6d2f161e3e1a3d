//! Import and export: reads recordings of other tools into cassettes, and writes cassettes in formats of other tools.
//!
//! The reader of a format knows its members, and nothing of keys, redaction or files. It reports each interaction that
//! it cannot read and continues with the next one. [`Import`] makes cassettes of the interactions, by the rules of a
//! recording.

mod body;
mod body_files;
mod capacity;
mod cassetter;
mod chunked;
mod content_decoding;
mod export;
mod fields;
mod format;
mod go_vcr;
mod har;
mod httpmock;
mod import;
mod interaction;
mod jsonl;
mod nock;
mod ordered_texts;
mod polly;
mod ruby_vcr;
mod session;
mod surrogates;
mod vcrpy;
mod wiremock;
mod yaml;

use std::fs;
use std::path::Path;

use serde_json::Value;

use self::body_files::BodyFiles;
pub(crate) use self::body_files::has_only_bodies;
pub(crate) use self::export::interactions_of;
pub(crate) use self::format::{SourceFormat, TargetFormat};
pub(crate) use self::import::{Import, Imported};
pub(crate) use self::interaction::{Frame, Interaction, SourceEntry, recorded_at};
pub(crate) use self::ordered_texts::OrderedTexts;
use crate::error::{Error, ErrorKind, Result};

/// Reads the interactions of a file in their order; `format` skips the detection.
///
/// # Errors
/// [`ErrorKind::Io`] when the file cannot be read or is damaged, its format is unknown, or it is not in the format
/// `format`.
pub(crate) fn read_file(file: &Path, format: Option<SourceFormat>) -> Result<Vec<SourceEntry>> {
    let source = file.display().to_string();
    let document = fs::read(file)
        .map_err(|error| Error::new(ErrorKind::Io, format!("cannot read {source}")).with_source(error))?;
    read_document(&document, &source, BodyFiles(Some(file)), format)
}

/// Reads the interactions of a document that is not in a file; `source` names it in errors.
///
/// # Errors
/// As those of [`read_file`].
#[cfg(fuzzing)]
pub(crate) fn read(document: &[u8], source: &str, format: Option<SourceFormat>) -> Result<Vec<SourceEntry>> {
    read_document(document, source, BodyFiles(None), format)
}

fn read_document(
    document: &[u8],
    source: &str,
    files: BodyFiles<'_>,
    format: Option<SourceFormat>,
) -> Result<Vec<SourceEntry>> {
    let document = document.strip_prefix(b"\xef\xbb\xbf").unwrap_or(document);
    let document = &*surrogates::mark(document);
    let unsupported = || {
        let message = match format {
            Some(format) => format!("{source}: the file is not in the format {format}"),
            None => format!("{source}: the format is not supported"),
        };
        Error::new(ErrorKind::Io, message).with_hint(supported_formats())
    };
    let (value, is_json) = match parse(document, source)? {
        Parsed::Lines if matches!(format, None | Some(SourceFormat::Jsonl)) => return Ok(jsonl::read(document)),
        Parsed::Lines | Parsed::Unknown => return Err(unsupported()),
        Parsed::Json(value) => (value, true),
        Parsed::Other(value) => (value, false),
    };
    if value.get("key").is_some() && value["recorded"].is_object() {
        let message = format!("{source}: the file is already a cassette");
        return Err(Error::new(ErrorKind::Io, message).with_hint("mistral-cassette copy FROM TO copies cassettes"));
    }
    let format = match format {
        Some(format) => format.matches(&value).then_some(format),
        None => SourceFormat::detect(&value, is_json),
    };
    Ok(match format.ok_or_else(unsupported)? {
        SourceFormat::VcrPy => vcrpy::read(&value),
        SourceFormat::RubyVcr | SourceFormat::Rvcr => ruby_vcr::read(&value),
        SourceFormat::GoVcr => go_vcr::read(&value),
        SourceFormat::Polly => polly::read(&value),
        SourceFormat::Har => har::read(&value),
        SourceFormat::HttpMock => httpmock::read(&value, files),
        SourceFormat::WireMock => wiremock::read(&value, files),
        SourceFormat::Nock => nock::read(&value),
        SourceFormat::Cassetter => cassetter::read(&value),
        SourceFormat::Jsonl => jsonl::read(document),
    })
}

/// A document after parsing.
enum Parsed {
    Json(Value),
    /// YAML, with a list of documents if there are several, or TOML.
    Other(Value),
    /// JSON lines, which are parsed one by one.
    Lines,
    Unknown,
}

fn parse(document: &[u8], source: &str) -> Result<Parsed> {
    match serde_json::from_slice::<Value>(document) {
        Ok(value) => Ok(Parsed::Json(value)),
        Err(_) if jsonl::is_jsonl(document) => Ok(Parsed::Lines),
        Err(error) if starts_like_json(document) => {
            let message = format!("cannot read {source}: line {}: {error}", error.line());
            Err(Error::new(ErrorKind::Io, message).with_hint(supported_formats()))
        }
        Err(_) if document.trim_ascii().is_empty() || std::str::from_utf8(document).is_err() => Ok(Parsed::Unknown),
        Err(_) if cassetter::is_toml(document) => {
            let mut value = cassetter::read_toml(document, source)?;
            surrogates::restore_literals(&mut value);
            Ok(Parsed::Other(value))
        }
        Err(_) => {
            let read = yaml::read(document, source);
            let mut values = read.map_err(|error| error.with_hint(supported_formats()))?;
            let mut value = match values.len() {
                1 => values.remove(0),
                _ => values.into(),
            };
            surrogates::restore_literals(&mut value);
            Ok(Parsed::Other(value))
        }
    }
}

fn starts_like_json(document: &[u8]) -> bool {
    matches!(document.trim_ascii_start().first(), Some(b'{' | b'['))
}

fn supported_formats() -> String {
    format!("supported formats: {}", SourceFormat::names())
}

/// Writes one interaction as it is in a document of this format.
pub(crate) fn write_one(format: TargetFormat, interaction: &Interaction) -> String {
    match format {
        TargetFormat::Har => har::write_one(interaction),
        TargetFormat::Jsonl => jsonl::write_one(interaction),
    }
}

/// The frame of a document in this format.
pub(crate) fn frame(format: TargetFormat, is_empty: bool) -> Frame {
    match format {
        TargetFormat::Har => har::frame(is_empty),
        TargetFormat::Jsonl => Frame {
            start: String::new(),
            between: "",
            end: String::new(),
        },
    }
}

/// Writes interactions as a document in this format.
#[cfg(fuzzing)]
pub(crate) fn write(format: TargetFormat, interactions: &[Interaction]) -> String {
    let Frame { start, between, end } = frame(format, interactions.is_empty());
    let texts = interactions.iter().map(|interaction| write_one(format, interaction));
    start + &texts.collect::<Vec<_>>().join(between) + &end
}
