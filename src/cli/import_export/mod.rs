//! Import and export: reads recordings of other tools into cassettes, and writes cassettes in formats of other tools.
//!
//! The reader of a format knows its members, and nothing of keys, redaction or files. It reports each interaction that
//! it cannot read and continues with the next one. [`Import`] makes cassettes of the interactions, by the rules of a
//! recording.

mod body;
mod capacity;
mod content_decoding;
mod export;
mod fields;
mod format;
mod go_vcr;
mod har;
mod import;
mod interaction;
mod jsonl;
mod polly;
mod ruby_vcr;
mod vcrpy;
mod yaml;

use serde_json::Value;

pub(crate) use self::export::interactions_of;
pub(crate) use self::format::{SourceFormat, TargetFormat};
pub(crate) use self::import::{Import, Imported};
pub(crate) use self::interaction::{Interaction, SourceEntry, recorded_at};
use crate::error::{Error, ErrorKind, Result};

/// Reads the interactions of a file in their order. `source` names the file in errors; `format` skips the detection.
///
/// # Errors
/// [`ErrorKind::Io`] when the file is damaged, its format is unknown, or it is not in the format `format`.
pub(crate) fn read(document: &[u8], source: &str, format: Option<SourceFormat>) -> Result<Vec<SourceEntry>> {
    let document = document.strip_prefix(b"\xef\xbb\xbf").unwrap_or(document);
    let unsupported = || {
        let message = match format {
            Some(format) => format!("{source}: the file is not in the format {format}"),
            None => format!("{source}: the format is not supported"),
        };
        Error::new(ErrorKind::Io, message).with_hint(supported_formats())
    };
    let (value, is_json) = match serde_json::from_slice::<Value>(document) {
        Ok(value) => (value, true),
        Err(_) if jsonl::is_jsonl(document) => match format {
            None | Some(SourceFormat::Jsonl) => return Ok(jsonl::read(document)),
            Some(_) => return Err(unsupported()),
        },
        Err(error) if starts_like_json(document) => {
            let message = format!("cannot read {source}: line {}: {error}", error.line());
            return Err(Error::new(ErrorKind::Io, message).with_hint(supported_formats()));
        }
        Err(_) if document.trim_ascii().is_empty() || std::str::from_utf8(document).is_err() => {
            return Err(unsupported());
        }
        Err(_) => {
            let value = yaml::read(document, source);
            (value.map_err(|error| error.with_hint(supported_formats()))?, false)
        }
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
        SourceFormat::Jsonl => jsonl::read(document),
    })
}

fn starts_like_json(document: &[u8]) -> bool {
    matches!(document.trim_ascii_start().first(), Some(b'{' | b'['))
}

fn supported_formats() -> String {
    format!("supported formats: {}", SourceFormat::names())
}

/// Writes interactions as a document in this format.
pub(crate) fn write(format: TargetFormat, interactions: &[Interaction]) -> String {
    match format {
        TargetFormat::Har => har::write(interactions),
        TargetFormat::Jsonl => jsonl::write(interactions),
    }
}
