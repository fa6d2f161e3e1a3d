//! Bodies in a cassette, and the most readable form of their bytes.

use serde_json::Value;

pub(crate) use super::blob::Blob;
use super::frame_form::FrameForm;
use super::messages::SentMessage;
#[cfg(feature = "cli")]
use crate::http::Part;
use crate::http::{JsonLayout, parse_exact_json};

/// The body of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RecordedBody {
    Blob(Blob),
    Multipart(Vec<RecordedPart>),
    /// What the client sends in a WebSocket session. It is not stored, but computed from the session.
    Messages(Vec<SentMessage>),
}

impl RecordedBody {
    /// The bytes of the body, or of each part.
    pub(crate) fn blobs_mut(&mut self) -> Vec<&mut Blob> {
        match self {
            Self::Blob(blob) => vec![blob],
            Self::Multipart(parts) => parts.iter_mut().map(|part| &mut part.content).collect(),
            Self::Messages(_) => Vec::new(),
        }
    }
}

/// One part of a multipart body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RecordedPart {
    pub(crate) name: String,
    pub(crate) filename: Option<String>,
    pub(crate) content_type: Option<String>,
    /// All other headers; also `Content-Disposition`, if name and file name do not give all of it.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) content: Blob,
}

#[cfg(feature = "cli")]
impl RecordedPart {
    /// Returns the part of a request; `None` when its content is in a separate file.
    pub(crate) fn to_part(&self) -> Option<Part> {
        let Blob::Inline(content) = &self.content else {
            return None;
        };
        Some(Part {
            name: self.name.clone(),
            filename: self.filename.clone(),
            content_type: self.content_type.clone(),
            headers: self.headers.clone(),
            content: content.clone(),
        })
    }
}

/// The most readable form from which exactly the same bytes can be written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Form<'a> {
    Empty,
    Json(Value, JsonLayout),
    Events(Events<'a>),
    /// An Amazon event stream.
    Frames(Vec<FrameForm>),
    Text(&'a str),
    Base64(&'a [u8]),
}

/// An event stream with `\n\n` after each event, except after the last one of a truncated stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Events<'a> {
    pub(crate) entries: Vec<&'a str>,
    pub(crate) is_truncated: bool,
}

const BLANK_LINE: &str = "\n\n";

impl<'a> Form<'a> {
    /// Returns the form of these bytes. Only a response of the type `text/event-stream` is an event stream.
    pub(crate) fn of(bytes: &'a [u8], is_event_stream: bool) -> Self {
        if bytes.is_empty() {
            return Self::Empty;
        }
        if let Some(frames) = FrameForm::all(bytes) {
            return Self::Frames(frames);
        }
        let Ok(text) = std::str::from_utf8(bytes) else {
            return Self::Base64(bytes);
        };
        if is_event_stream && !text.contains('\r') {
            return Self::Events(Events::split(text));
        }
        match parse_exact_json(bytes) {
            Some((value, layout)) => Self::Json(value, layout),
            None => Self::Text(text),
        }
    }

    /// Returns the name of the form in the document.
    #[cfg(feature = "cli")]
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Json(..) => "json",
            Self::Events(_) => "events",
            Self::Frames(_) => "frames",
            Self::Text(_) => "text",
            Self::Base64(_) => "base64",
        }
    }
}

impl<'a> Events<'a> {
    fn split(text: &'a str) -> Self {
        let (complete, is_truncated) = match text.strip_suffix(BLANK_LINE) {
            Some(complete) => (complete, false),
            None => (text, true),
        };
        Self {
            entries: complete.split(BLANK_LINE).collect(),
            is_truncated,
        }
    }

    /// Returns the event stream with these entries.
    pub(crate) fn join(entries: &[String], is_truncated: bool) -> String {
        let mut text = entries.join(BLANK_LINE);
        if !is_truncated {
            text.push_str(BLANK_LINE);
        }
        text
    }
}
