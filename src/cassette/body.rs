//! What a body is in a cassette, and which readable form its bytes allow.

use bytes::Bytes;
use serde_json::Value;

#[cfg(feature = "cli")]
use crate::http::Part;
use crate::http::{Layout, from_exact};

/// The bytes of a body: in the document, or in a file beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Blob {
    Inline(Bytes),
    /// In `bodies/<sha256>`.
    External {
        sha256: String,
    },
}

impl Blob {
    /// How many bytes stand in the document.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Inline(bytes) => bytes.len(),
            Self::External { .. } => 0,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        matches!(self, Self::Inline(bytes) if bytes.is_empty())
    }
}

/// The body of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RecordedBody {
    Blob(Blob),
    Multipart(Vec<RecordedPart>),
}

/// One part of a multipart body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RecordedPart {
    pub(crate) name: String,
    pub(crate) filename: Option<String>,
    pub(crate) content_type: Option<String>,
    pub(crate) content: Blob,
}

#[cfg(feature = "cli")]
impl RecordedPart {
    /// As it is sent; `None` when its content lies beside the document.
    pub(crate) fn sent(&self) -> Option<Part> {
        let Blob::Inline(content) = &self.content else {
            return None;
        };
        Some(Part {
            name: self.name.clone(),
            filename: self.filename.clone(),
            content_type: self.content_type.clone(),
            content: content.clone(),
        })
    }
}

/// The most readable form from which the very same bytes can be written again.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Form<'a> {
    Empty,
    Json(Value, Layout),
    Events(Events<'a>),
    Text(&'a str),
    Base64(&'a [u8]),
}

/// An event stream with `\n\n` behind each event, but perhaps not behind the last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Events<'a> {
    pub(crate) entries: Vec<&'a str>,
    pub(crate) is_cut: bool,
}

const BLANK_LINE: &str = "\n\n";

impl<'a> Form<'a> {
    /// The form of these bytes; only what was sent as an event stream is read as one.
    pub(crate) fn of(bytes: &'a [u8], is_event_stream: bool) -> Self {
        if bytes.is_empty() {
            return Self::Empty;
        }
        let Ok(text) = std::str::from_utf8(bytes) else {
            return Self::Base64(bytes);
        };
        if is_event_stream && !text.contains('\r') {
            return Self::Events(Events::split(text));
        }
        match from_exact(bytes) {
            Some((value, layout)) => Self::Json(value, layout),
            None => Self::Text(text),
        }
    }

    /// The name, as it stands in the document.
    #[cfg(feature = "cli")]
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Json(..) => "json",
            Self::Events(_) => "events",
            Self::Text(_) => "text",
            Self::Base64(_) => "base64",
        }
    }
}

impl<'a> Events<'a> {
    fn split(text: &'a str) -> Self {
        let (whole, is_cut) = match text.strip_suffix(BLANK_LINE) {
            Some(whole) => (whole, false),
            None => (text, true),
        };
        Self {
            entries: whole.split(BLANK_LINE).collect(),
            is_cut,
        }
    }

    /// The stream of these entries.
    pub(crate) fn join(entries: &[String], is_cut: bool) -> String {
        let mut text = entries.join(BLANK_LINE);
        if !is_cut {
            text.push_str(BLANK_LINE);
        }
        text
    }
}
