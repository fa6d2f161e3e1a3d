//! Writes the bodies, headers and texts in the document of a cassette.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};
use serde_json::Value;
use serde_yaml::{DoubleQuoted, FlowSeq, LitStr, SingleQuoted};

use crate::cassette::body::{Blob, Events, Form, RecordedBody, RecordedPart};
use crate::cassette::frame_form::{FrameForm, FrameHeaders, Payload};
use crate::http::{JsonLayout, JsonSpacing, serialize_number};

/// The members of bytes that are not text.
pub(super) const BASE64_MEMBER: &str = "base64";
pub(super) const FILE_MEMBER: &str = "file";

pub(super) fn base64(bytes: &[u8]) -> String {
    BASE64.encode(bytes)
}

/// Headers as a map. A repeated header has a list of values.
pub(super) struct HeadersOut<'a>(pub(super) &'a [(String, String)]);

impl HeadersOut<'_> {
    pub(super) fn is_empty(&self) -> bool {
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

pub(super) struct RequestBodyOut<'a>(pub(super) &'a RecordedBody);

impl Serialize for RequestBodyOut<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            RecordedBody::Blob(blob) => BlobOut::of(blob).serialize(serializer),
            RecordedBody::Multipart(parts) => {
                let mut map = serializer.serialize_map(None)?;
                map.serialize_entry("multipart", &parts.iter().map(PartOut).collect::<Vec<_>>())?;
                map.end()
            }
            RecordedBody::Messages(_) => serializer.serialize_unit(),
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
        if !self.0.headers.is_empty() {
            map.serialize_entry("headers", &HeadersOut(&self.0.headers))?;
        }
        match &self.0.content {
            Blob::External { sha256 } => map.serialize_entry(FILE_MEMBER, &Text(sha256))?,
            Blob::Inline(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) => map.serialize_entry("text", &Text(text))?,
                Err(_) => map.serialize_entry(BASE64_MEMBER, &Text(&base64(bytes)))?,
            },
        }
        map.end()
    }
}

pub(super) struct BlobOut<'a> {
    pub(super) blob: &'a Blob,
    pub(super) is_event_stream: bool,
}

impl<'a> BlobOut<'a> {
    /// Bytes that are no event stream.
    pub(super) fn of(blob: &'a Blob) -> Self {
        Self {
            blob,
            is_event_stream: false,
        }
    }
}

impl Serialize for BlobOut<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        let bytes = match self.blob {
            Blob::Inline(bytes) => bytes,
            Blob::External { sha256 } => {
                map.serialize_entry(FILE_MEMBER, &Text(sha256))?;
                return map.end();
            }
        };
        match Form::of(bytes, self.is_event_stream) {
            Form::Empty => {}
            Form::Json(value, layout) => {
                write_layout(&mut map, layout)?;
                map.serialize_entry("json", &Readable(&value))?;
            }
            Form::Events(Events { entries, is_truncated }) => {
                if is_truncated {
                    map.serialize_entry("final_blank_line", &false)?;
                }
                map.serialize_entry("events", &entries.into_iter().map(Block).collect::<Vec<_>>())?;
            }
            Form::Frames(frames) => {
                map.serialize_entry("frames", &frames.iter().map(FrameOut).collect::<Vec<_>>())?;
            }
            Form::Text(text) => map.serialize_entry("text", &Block(text))?,
            Form::Base64(bytes) => map.serialize_entry(BASE64_MEMBER, &Text(&base64(bytes)))?,
        }
        map.end()
    }
}

/// Writes what differs from the default layout.
fn write_layout<M: SerializeMap>(map: &mut M, layout: JsonLayout) -> Result<(), M::Error> {
    match layout.spacing {
        JsonSpacing::Compact => {}
        JsonSpacing::Spaced => map.serialize_entry("spacing", "spaced")?,
        JsonSpacing::Indented(step) => map.serialize_entry("spacing", &format!("indented-{step}"))?,
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
    Ok(())
}

struct FrameOut<'a>(&'a FrameForm);

impl Serialize for FrameOut<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match &self.0.headers {
            FrameHeaders::Event(kind) => map.serialize_entry("event", &Text(kind))?,
            FrameHeaders::Listed(headers) => map.serialize_entry("headers", &HeadersOut(headers))?,
        }
        match &self.0.payload {
            Payload::Empty => {}
            Payload::Chunk(value, layout) => {
                write_layout(&mut map, *layout)?;
                map.serialize_entry("chunk", &Readable(value))?;
            }
            Payload::Json(value, layout) => {
                write_layout(&mut map, *layout)?;
                map.serialize_entry("json", &Readable(value))?;
            }
            Payload::Text(text) => map.serialize_entry("text", &Block(text))?,
            Payload::Base64(bytes) => map.serialize_entry("base64", &Text(&BASE64.encode(bytes)))?,
        }
        map.end()
    }
}

/// A JSON value as readable YAML.
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

/// A string: a literal block if it has several lines, else plain if no reader could misunderstand it, else in single
/// quotes if it contains none, so that JSON in a string stays readable, else in double quotes.
#[derive(Clone, Copy)]
pub(super) struct Text<'a>(pub(super) &'a str);

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

/// A string on one line, in double quotes if necessary.
struct Key<'a>(&'a str);

impl Serialize for Key<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // The YAML crate quotes strings that YAML 1.1 or 1.2 reads as a number, a boolean, a date or null. It does not quote
        // strings of these characters only, which ruamel.yaml and the npm package yaml misread, and strings that start or end
        // with white space other than a blank, which tools remove at the end of a line.
        let is_punctuation = |character: char| matches!(character, '-' | '+' | '_' | '.' | ',' | ':');
        let is_trimmed = !self.0.ends_with(char::is_whitespace) && !self.0.starts_with(char::is_whitespace);
        if !is_printable_text(self.0) || !is_trimmed || self.0.chars().all(is_punctuation) {
            DoubleQuoted(self.0).serialize(serializer)
        } else {
            serializer.serialize_str(self.0)
        }
    }
}

/// Whether a string must be quoted because YAML gives a meaning to a part of it, and single quotes leave it unchanged. A
/// search for secrets finds the same in the file as in the string.
fn fits_single_quotes(text: &str) -> bool {
    let bytes = text.as_bytes();
    let starts_with_syntax = match bytes {
        [] => return false,
        [b'-' | b'?', b' ', ..] => true,
        [first, ..] => b" ,:[]{}#&*!|>\"%@`".contains(first),
    };
    let mut marks = memchr::memchr2_iter(b':', b'#', bytes);
    let contains_syntax = marks.any(|at| match bytes[at] {
        b':' => bytes.get(at + 1).is_none_or(|next| *next == b' '),
        _ => at > 0 && bytes[at - 1] == b' ',
    });
    (starts_with_syntax || contains_syntax || text.ends_with(char::is_whitespace))
        && memchr::memchr(b'\'', bytes).is_none()
        && is_printable_text(text)
}

fn is_printable_text(text: &str) -> bool {
    // Most texts are ASCII, and the check of bytes is much faster than the check of characters.
    text.bytes().all(|byte| matches!(byte, b' '..=b'~')) || text.chars().all(is_printable)
}

/// Whether every YAML reader accepts a character unescaped. Line breaks are excluded.
fn is_printable(character: char) -> bool {
    let is_excluded = matches!(
        character,
        '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}'
    );
    !is_excluded && !character.is_control()
}

/// A string as a literal block, or in double quotes if a reader would lose a part of the block.
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

/// Whether every reader reads a literal block as this text, also after editors and formatters have changed what YAML does
/// not count: it contains no line break except `\n`, no unprintable character, no line that ends in white space, at most
/// one line break at its end, and its first line does not start with white space.
fn fits_block(text: &str) -> bool {
    let is_allowed = |character: char| matches!(character, '\n' | '\t') || is_printable(character);
    let is_trimmed = |line: &str| !line.ends_with(char::is_whitespace);
    text.chars().all(is_allowed)
        && text.lines().all(is_trimmed)
        && !text.ends_with("\n\n")
        && text
            .lines()
            .find(|line| !line.is_empty())
            .is_some_and(|line| !line.starts_with(char::is_whitespace))
}

/// Returns a value as readable YAML, for the command line.
#[cfg(feature = "cli")]
pub(crate) fn display(value: &Value) -> String {
    let mut text = String::new();
    match serde_yaml::to_fmt_writer(&mut text, &Readable(value)) {
        Ok(()) => text,
        Err(error) => format!("({error})"),
    }
}
