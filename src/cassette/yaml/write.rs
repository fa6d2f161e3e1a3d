//! Writes cassettes as YAML that people can read and every YAML reader understands.
//!
//! Strings that a reader could misunderstand are quoted, strings with several lines are literal blocks, long lines are
//! not folded, and arrays of numbers stay on one line.

use std::fmt;

use bytes::Bytes;
use serde::Serialize as SerializeDerive;
use serde_yaml::FlowSeq;

use super::body_out::{BlobOut, HeadersOut, RequestBodyOut, Text};
use super::session::MessageOut;
use super::version::VERSION;
use crate::cassette::body::RecordedBody;
use crate::cassette::{Cassette, History, RecordedResponse};
use crate::error::{Error, ErrorKind, Result};

/// Returns the document of a cassette.
///
/// # Errors
/// [`ErrorKind::Cassette`] when the YAML crate fails, which is a defect.
pub(crate) fn write(cassette: &Cassette) -> Result<Bytes> {
    let document = DocumentOut {
        version: VERSION,
        key: Text(&cassette.key),
        recorded: RecordedOut {
            at: &cassette.recorded.at,
            earlier_us: Some(&*cassette.recorded.earlier_us)
                .filter(|times| !times.is_empty())
                .map(FlowSeq),
            by: Text(&cassette.recorded.by),
            from: cassette.recorded.from.as_deref().map(Text),
            test: cassette.recorded.test.as_deref().map(Text),
        },
        history: cassette.history,
        request: RequestOut {
            method: Text(&cassette.request.method),
            host: cassette.request.host.as_deref().map(Text),
            path: Text(&cassette.request.path),
            query: cassette.request.query.as_deref().map(Text),
            content_type: cassette.request.content_type.as_deref().map(Text),
            body: match &cassette.request.body {
                RecordedBody::Blob(blob) if blob.is_empty() => None,
                // The body is computed from the session.
                RecordedBody::Messages(_) => None,
                body => Some(RequestBodyOut(body)),
            },
        },
        responses: cassette.responses.iter().map(ResponseOut::new).collect(),
    };
    let mut options = serde_yaml::SerializerOptions::default();
    // `Block` selects literal blocks explicitly.
    options.prefer_block_scalars = false;
    let mut text = Sink(Vec::with_capacity(8192));
    serde_yaml::to_fmt_writer_with_options(&mut text, &document, options)
        .map_err(|error| Error::new(ErrorKind::Cassette, "cannot write the cassette as YAML").with_source(error))?;
    Ok(text.0.into())
}

/// Returns the offset of the first response in a document that [`write`] has returned. Only the members of the document are not
/// indented, so a line `responses:` is that member.
pub(crate) fn responses_at(document: &[u8]) -> Option<usize> {
    const MEMBER: &[u8] = b"\nresponses:\n";
    Some(memchr::memmem::find(document, MEMBER)? + MEMBER.len())
}

/// Returns the document of a cassette whose first responses are written already: `earlier` is their text in a document that
/// [`write`] or this function has returned.
///
/// # Errors
/// The same as [`write`].
pub(crate) fn append(earlier: &[u8], cassette: &Cassette) -> Result<Bytes> {
    let text = write(cassette)?;
    let at = responses_at(&text).ok_or_else(|| Error::new(ErrorKind::Internal, "a cassette without responses"))?;
    Ok([&text[..at], earlier, &text[at..]].concat().into())
}

/// A growing text. The YAML crate writes quoted text character by character, and this is faster than a `String`.
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
    #[serde(skip_serializing_if = "Option::is_none")]
    earlier_us: Option<FlowSeq<&'a [u64]>>,
    by: Text<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    test: Option<Text<'a>>,
}

#[derive(SerializeDerive)]
struct RequestOut<'a> {
    method: Text<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<Text<'a>>,
    path: Text<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    query: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_type: Option<Text<'a>>,
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
    #[serde(skip_serializing_if = "Vec::is_empty")]
    session: Vec<MessageOut<'a>>,
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
            session: response.messages.iter().map(MessageOut).collect(),
            timing_ms: FlowSeq(&response.timing_ms),
        }
    }
}
