//! Frames of an Amazon event stream in the most readable form from which exactly the same bytes can be written.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde_json::Value;

use crate::http::{
    CONTENT_TYPE, EVENT_TYPE, Frame, FrameValue, JsonLayout, MESSAGE_TYPE, parse_exact_json, parse_frames,
};

/// A frame in a document.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FrameForm {
    pub(crate) headers: FrameHeaders,
    pub(crate) payload: Payload,
}

/// The headers of a frame.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum FrameHeaders {
    /// The headers of an event of this type with JSON, as Amazon Bedrock sends them.
    Event(String),
    Listed(Vec<(String, String)>),
}

/// The payload of a frame.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Payload {
    Empty,
    /// JSON whose member `bytes` stands for the base64 of JSON in the same layout.
    Chunk(Value, JsonLayout),
    Json(Value, JsonLayout),
    Text(String),
    Base64(Bytes),
}

impl FrameForm {
    /// Returns the forms of all frames. `None` if these bytes are no frames, or cannot be written again from the forms.
    pub(super) fn all(bytes: &[u8]) -> Option<Vec<Self>> {
        let frames = parse_frames(bytes).ok()?;
        let forms: Option<Vec<Self>> = frames.iter().map(Self::of).collect();
        forms.filter(|forms| Self::join(forms).as_deref() == Some(bytes))
    }

    fn of(frame: &Frame) -> Option<Self> {
        let mut headers = Vec::with_capacity(frame.headers.len());
        for (name, value) in &frame.headers {
            match value {
                // A map in YAML cannot contain a name twice.
                FrameValue::Text(text) if !headers.iter().any(|(known, _)| known == name) => {
                    headers.push((name.clone(), text.clone()));
                }
                _ => return None,
            }
        }
        let event = frame
            .header(EVENT_TYPE)
            .map(|kind| FrameHeaders::Event(kind.to_owned()));
        Some(Self {
            headers: event
                .filter(|event| event.list() == headers)
                .unwrap_or(FrameHeaders::Listed(headers)),
            payload: Payload::of(&frame.payload),
        })
    }

    /// Returns the frames with these forms. `None` if one is larger than the format allows.
    pub(super) fn join(forms: &[Self]) -> Option<Vec<u8>> {
        let frames = forms
            .iter()
            .map(|form| Frame::new(form.headers.list(), form.payload.write()).write());
        Some(frames.collect::<Option<Vec<_>>>()?.concat())
    }
}

impl FrameHeaders {
    fn list(&self) -> Vec<(String, String)> {
        match self {
            Self::Listed(headers) => headers.clone(),
            Self::Event(kind) => [
                (EVENT_TYPE, kind.as_str()),
                (CONTENT_TYPE, "application/json"),
                (MESSAGE_TYPE, "event"),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec(),
        }
    }
}

impl Payload {
    fn of(payload: &Bytes) -> Self {
        if payload.is_empty() {
            return Self::Empty;
        }
        match parse_exact_json(payload) {
            Some((value, layout)) => Self::chunk(payload, &value).unwrap_or(Self::Json(value, layout)),
            None => match std::str::from_utf8(payload) {
                Ok(text) => Self::Text(text.to_owned()),
                Err(_) => Self::Base64(payload.clone()),
            },
        }
    }

    fn chunk(payload: &[u8], value: &Value) -> Option<Self> {
        let inner = BASE64.decode(value.get("bytes")?.as_str()?).ok()?;
        let (inner, layout) = parse_exact_json(&inner)?;
        let mut value = value.clone();
        value["bytes"] = inner;
        let chunk = Self::Chunk(value, layout);
        (chunk.write() == payload).then_some(chunk)
    }

    fn write(&self) -> Vec<u8> {
        match self {
            Self::Empty => Vec::new(),
            Self::Chunk(value, layout) => {
                let mut value = value.clone();
                if let Some(inner) = value.get_mut("bytes") {
                    *inner = Value::String(BASE64.encode(layout.write(inner)));
                }
                layout.write(&value)
            }
            Self::Json(value, layout) => layout.write(value),
            Self::Text(text) => text.clone().into_bytes(),
            Self::Base64(bytes) => bytes.to_vec(),
        }
    }
}
