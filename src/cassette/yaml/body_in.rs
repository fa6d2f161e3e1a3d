//! Reads the bodies and headers in the document of a cassette.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use serde_json::Value;

use crate::cassette::body::{Blob, Events, RecordedBody, RecordedPart};
use crate::cassette::frame_form::{FrameForm, FrameHeaders, Payload};
use crate::hash::is_lower_hex;
use crate::http::{JsonLayout, JsonSpacing};

#[derive(Default)]
pub(super) struct HeadersIn(pub(super) Vec<(String, String)>);

impl<'de> Deserialize<'de> for HeadersIn {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = HeadersIn;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of header names to a value or a list of values")
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
pub(super) struct BodyIn(pub(super) RecordedBody);

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BodyFields {
    #[serde(default)]
    pub(super) spacing: SpacingIn,
    #[serde(default)]
    pub(super) ascii: bool,
    #[serde(default)]
    pub(super) floats: FloatsIn,
    #[serde(default)]
    pub(super) final_newline: bool,
    #[serde(default = "yes")]
    pub(super) final_blank_line: bool,
    pub(super) json: Option<Value>,
    pub(super) events: Option<Vec<String>>,
    pub(super) frames: Option<Vec<FrameIn>>,
    pub(super) text: Option<String>,
    pub(super) base64: Option<String>,
    pub(super) multipart: Option<Vec<PartIn>>,
    pub(super) file: Option<String>,
}

impl BodyFields {
    /// The body, unless it is multipart.
    pub(super) fn into_blob(self) -> Result<Blob, String> {
        match BodyIn::try_from(self)?.0 {
            RecordedBody::Blob(blob) => Ok(blob),
            RecordedBody::Multipart(_) | RecordedBody::Messages(_) => Err(TOO_MANY_FORMS.to_owned()),
        }
    }
}

fn yes() -> bool {
    true
}

#[derive(Default, Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
pub(super) enum FloatsIn {
    #[default]
    Shortest,
    Python,
}

#[derive(Default)]
pub(super) struct SpacingIn(JsonSpacing);

impl<'de> Deserialize<'de> for SpacingIn {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        let spacing = match name.as_str() {
            "compact" => Some(JsonSpacing::Compact),
            "spaced" => Some(JsonSpacing::Spaced),
            other => other
                .strip_prefix("indented-")
                .and_then(|step| step.parse().ok())
                .map(JsonSpacing::Indented),
        };
        spacing.map(Self).ok_or_else(|| {
            serde::de::Error::custom(format!(
                "unknown spacing {name:?}: expected compact, spaced or indented-N"
            ))
        })
    }
}

#[derive(Deserialize)]
#[serde(try_from = "PartFields")]
pub(super) struct PartIn(RecordedPart);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PartFields {
    name: String,
    filename: Option<String>,
    content_type: Option<String>,
    #[serde(default)]
    headers: HeadersIn,
    text: Option<String>,
    base64: Option<String>,
    file: Option<String>,
}

impl TryFrom<BodyFields> for BodyIn {
    type Error = String;

    fn try_from(fields: BodyFields) -> Result<Self, String> {
        let layout = layout(fields.spacing, fields.ascii, fields.floats, fields.final_newline);
        let json = fields.json.map(|value| layout.write(&value));
        let events = fields
            .events
            .map(|entries| Events::join(&entries, !fields.final_blank_line).into_bytes());
        let frames = fields
            .frames
            .map(|frames| {
                let forms: Vec<FrameForm> = frames.into_iter().map(|frame| frame.0).collect();
                FrameForm::join(&forms).ok_or("a frame is larger than 16 MiB, or has headers that are too long")
            })
            .transpose()?;
        let inline = [
            json,
            events,
            frames,
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
            headers: fields.headers.0,
        }))
    }
}

#[derive(Deserialize)]
#[serde(try_from = "FrameFields")]
pub(super) struct FrameIn(FrameForm);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FrameFields {
    event: Option<String>,
    #[serde(default)]
    headers: HeadersIn,
    #[serde(default)]
    spacing: SpacingIn,
    #[serde(default)]
    ascii: bool,
    #[serde(default)]
    floats: FloatsIn,
    #[serde(default)]
    final_newline: bool,
    chunk: Option<Value>,
    json: Option<Value>,
    text: Option<String>,
    base64: Option<String>,
}

impl TryFrom<FrameFields> for FrameIn {
    type Error = String;

    fn try_from(fields: FrameFields) -> Result<Self, String> {
        let layout = layout(fields.spacing, fields.ascii, fields.floats, fields.final_newline);
        let forms = [
            fields.chunk.map(|value| Payload::Chunk(value, layout)),
            fields.json.map(|value| Payload::Json(value, layout)),
            fields.text.map(Payload::Text),
            decoded(fields.base64)?.map(|bytes| Payload::Base64(bytes.into())),
        ];
        let mut forms: Vec<Payload> = forms.into_iter().flatten().collect();
        let payload = forms.pop().unwrap_or(Payload::Empty);
        if !forms.is_empty() {
            return Err("the frame has more than one of chunk, json, text and base64".to_owned());
        }
        let headers = match fields.event {
            None => FrameHeaders::Listed(fields.headers.0),
            Some(kind) if fields.headers.0.is_empty() => FrameHeaders::Event(kind),
            Some(_) => return Err("the frame has both event and headers".to_owned()),
        };
        Ok(Self(FrameForm { headers, payload }))
    }
}

fn layout(spacing: SpacingIn, ascii: bool, floats: FloatsIn, final_newline: bool) -> JsonLayout {
    JsonLayout {
        spacing: spacing.0,
        ascii,
        python_floats: floats == FloatsIn::Python,
        final_newline,
    }
}

const TOO_MANY_FORMS: &str = "the body has more than one of json, events, frames, text, base64, multipart and file";

pub(super) fn decoded(base64: Option<String>) -> Result<Option<Vec<u8>>, String> {
    let decoded = base64.map(|text| BASE64.decode(text.trim())).transpose();
    decoded.map_err(|error| format!("the body is not valid base64: {error}"))
}

pub(super) fn one_blob(mut inline: Vec<Vec<u8>>, file: Option<String>) -> Result<Blob, String> {
    match (inline.pop(), inline.is_empty(), file) {
        (Some(bytes), true, None) => Ok(Blob::Inline(bytes.into())),
        (None, _, Some(sha256)) => {
            if !is_lower_hex(&sha256, 64) {
                return Err(format!("invalid body file {sha256:?}: expected a SHA-256"));
            }
            Ok(Blob::External { sha256 })
        }
        (None, _, None) => {
            Err("the body has none of json, events, frames, text, base64, multipart and file".to_owned())
        }
        _ => Err(TOO_MANY_FORMS.to_owned()),
    }
}
