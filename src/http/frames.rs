//! Amazon event streams (`application/vnd.amazon.eventstream`): binary frames with headers, a payload and two checksums, in
//! which Amazon Bedrock streams its responses.
//!
//! | bytes | |
//! | --- | --- |
//! | 4 | the length of the frame |
//! | 4 | the length of its headers |
//! | 4 | the CRC-32 of these 8 bytes |
//! | | the headers: name, type and value of each |
//! | | the payload |
//! | 4 | the CRC-32 of everything before |

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::{Buf as _, Bytes, BytesMut};
use serde_json::Value;

use crate::http::headers::media_type;
use crate::http::json::{parse_exact_json, parse_json};

const PRELUDE: usize = 12;
const CHECKSUM: usize = 4;

/// The limit of the format.
const MAX_FRAME: usize = 16 << 20;
const MAX_HEADERS: usize = 128 << 10;

/// The type of a header whose value is a text.
const TEXT: u8 = 7;

pub(crate) const EVENT_TYPE: &str = ":event-type";
pub(crate) const CONTENT_TYPE: &str = ":content-type";
pub(crate) const MESSAGE_TYPE: &str = ":message-type";

/// Whether a content type is that of an Amazon event stream.
pub(crate) fn is_frame_stream(content_type: Option<&str>) -> bool {
    content_type.is_some_and(|kind| media_type(kind).eq_ignore_ascii_case("application/vnd.amazon.eventstream"))
}

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) headers: Vec<(String, FrameValue)>,
    pub(crate) payload: Bytes,
}

/// The value of a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FrameValue {
    Text(String),
    /// Any other type: the byte of the type, and the value as it is in the frame.
    Other(Bytes),
}

/// Why a stream cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FrameError {
    /// It ends in the middle of a frame.
    Truncated,
    /// A checksum or a length is wrong.
    Damaged,
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Truncated => "an event stream that ends in the middle of a frame",
            Self::Damaged => "an event stream with a damaged frame",
        })
    }
}

/// Reads all frames of a stream. A stream without a frame is truncated.
///
/// # Errors
/// The bytes are not complete frames.
pub(crate) fn parse_frames(bytes: &[u8]) -> Result<Vec<Frame>, FrameError> {
    let (mut frames, mut rest) = (Vec::new(), bytes);
    while !rest.is_empty() || frames.is_empty() {
        let length = frame_length(rest)?;
        frames.push(Frame::parse(rest.get(..length).ok_or(FrameError::Truncated)?)?);
        rest = &rest[length..];
    }
    Ok(frames)
}

/// Returns the length of the frame with which these bytes begin.
fn frame_length(bytes: &[u8]) -> Result<usize, FrameError> {
    let mut prelude = bytes.get(..PRELUDE).ok_or(FrameError::Truncated)?;
    let checksum = crc32(&prelude[..8]);
    let (length, headers) = (prelude.get_u32() as usize, prelude.get_u32() as usize);
    let is_possible = (PRELUDE + CHECKSUM..=MAX_FRAME).contains(&length)
        && headers <= MAX_HEADERS
        && headers <= length - PRELUDE - CHECKSUM;
    match is_possible && prelude.get_u32() == checksum {
        true => Ok(length),
        false => Err(FrameError::Damaged),
    }
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

impl Frame {
    /// Creates a frame with text headers.
    pub(crate) fn new(headers: impl IntoIterator<Item = (String, String)>, payload: impl Into<Bytes>) -> Self {
        let headers = headers.into_iter();
        Self {
            headers: headers.map(|(name, value)| (name, FrameValue::Text(value))).collect(),
            payload: payload.into(),
        }
    }

    /// Parses one complete frame, whose length was checked.
    fn parse(frame: &[u8]) -> Result<Self, FrameError> {
        let (content, mut checksum) = frame.split_at(frame.len() - CHECKSUM);
        let (mut prelude, content_after) = content.split_at(PRELUDE);
        prelude.advance(4);
        let (headers, payload) = content_after.split_at(prelude.get_u32() as usize);
        if checksum.get_u32() != crc32(content) {
            return Err(FrameError::Damaged);
        }
        Ok(Self {
            headers: parse_headers(headers).ok_or(FrameError::Damaged)?,
            payload: Bytes::copy_from_slice(payload),
        })
    }

    /// Returns the bytes of the frame. `None` if they would exceed a limit of the format.
    pub(crate) fn write(&self) -> Option<Vec<u8>> {
        let mut headers = Vec::new();
        for (name, value) in &self.headers {
            headers.push(u8::try_from(name.len()).ok()?);
            headers.extend_from_slice(name.as_bytes());
            match value {
                FrameValue::Text(text) => {
                    headers.push(TEXT);
                    headers.extend_from_slice(&u16::try_from(text.len()).ok()?.to_be_bytes());
                    headers.extend_from_slice(text.as_bytes());
                }
                FrameValue::Other(bytes) => headers.extend_from_slice(bytes),
            }
        }
        let length = PRELUDE + headers.len() + self.payload.len() + CHECKSUM;
        if length > MAX_FRAME || headers.len() > MAX_HEADERS {
            return None;
        }
        let mut frame = Vec::with_capacity(length);
        for length in [length, headers.len()] {
            frame.extend_from_slice(&u32::try_from(length).ok()?.to_be_bytes());
        }
        frame.extend_from_slice(&crc32(&frame).to_be_bytes());
        frame.extend_from_slice(&headers);
        frame.extend_from_slice(&self.payload);
        frame.extend_from_slice(&crc32(&frame).to_be_bytes());
        Some(frame)
    }

    /// Returns the text of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find_map(|(candidate, value)| match value {
            FrameValue::Text(text) if candidate == name => Some(&**text),
            _ => None,
        })
    }

    /// Returns the type of the exception or the error in this frame, if it has one.
    pub(crate) fn exception(&self) -> Option<&str> {
        match self.header(MESSAGE_TYPE)? {
            "exception" => Some(self.header(":exception-type").unwrap_or("exception")),
            "error" => Some(self.header(":error-code").unwrap_or("error")),
            _ => None,
        }
    }

    /// Returns the message of an exception or an error.
    pub(crate) fn message(&self) -> String {
        let in_payload = || parse_json(&self.payload)?["message"].as_str().map(str::to_owned);
        let in_headers = || self.header(":error-message").map(str::to_owned);
        in_payload().or_else(in_headers).unwrap_or_default()
    }

    /// Returns what the model has sent: Bedrock's `InvokeModelWithResponseStream` has it in base64, as `{"bytes":"…"}`.
    pub(crate) fn chunk(&self) -> Option<Vec<u8>> {
        if self.payload.first() != Some(&b'{') {
            return None;
        }
        BASE64.decode(parse_json(&self.payload)?["bytes"].as_str()?).ok()
    }

    /// Returns what the frame says: the [chunk](Self::chunk) in it, or else its payload.
    pub(crate) fn content(&self) -> Bytes {
        self.chunk().map_or_else(|| self.payload.clone(), Bytes::from)
    }

    /// Returns this frame with its texts changed: those of its headers, its payload, and the decoded chunk instead of
    /// its base64. [`write`](Self::write) computes the lengths and checksums.
    pub(crate) fn map(&self, mut change: impl FnMut(&Bytes) -> Bytes) -> Self {
        let mut frame = self.clone();
        for (_, value) in &mut frame.headers {
            if let FrameValue::Text(text) = value {
                let changed = change(&Bytes::copy_from_slice(text.as_bytes()));
                *text = String::from_utf8_lossy(&changed).into_owned();
            }
        }
        frame.payload = match self.chunk() {
            Some(chunk) => self.with_chunk(change(&chunk.into()), change),
            None => change(&self.payload),
        };
        frame
    }

    /// Returns the payload with another chunk, and with its other members changed.
    fn with_chunk(&self, chunk: Bytes, mut change: impl FnMut(&Bytes) -> Bytes) -> Bytes {
        let exact = parse_exact_json(&self.payload);
        let (Some(mut value), layout) = (parse_json(&self.payload), exact.map(|(_, layout)| layout)) else {
            return self.payload.clone();
        };
        let base64 = Value::String(BASE64.encode(chunk));
        let is_same = value["bytes"] == base64;
        value["bytes"] = Value::Null;
        let layout = layout.unwrap_or_default();
        let rest = Bytes::from(layout.write(&value));
        let changed = change(&rest);
        if is_same && changed == rest {
            return self.payload.clone();
        }
        let mut value = parse_json(&changed).unwrap_or(value);
        value["bytes"] = base64;
        layout.write(&value).into()
    }
}

fn parse_headers(mut bytes: &[u8]) -> Option<Vec<(String, FrameValue)>> {
    let mut headers = Vec::new();
    while !bytes.is_empty() {
        let name = bytes.try_get_u8().ok()?;
        let name = take(&mut bytes, name.into())?;
        let name = String::from_utf8(name.to_vec()).ok()?;
        let typed = bytes;
        let kind = bytes.try_get_u8().ok()?;
        // true, false, 8, 16, 32 and 64 bits, bytes, text, a time, a UUID
        let length = match kind {
            0 | 1 => 0,
            2 => 1,
            3 => 2,
            4 => 4,
            5 | 8 => 8,
            6 | TEXT => bytes.try_get_u16().ok()?.into(),
            9 => 16,
            _ => return None,
        };
        let value = take(&mut bytes, length)?;
        let text = (kind == TEXT).then(|| std::str::from_utf8(value).ok()).flatten();
        let value = match text {
            Some(text) => FrameValue::Text(text.to_owned()),
            None => FrameValue::Other(Bytes::copy_from_slice(&typed[..typed.len() - bytes.len()])),
        };
        headers.push((name, value));
    }
    Some(headers)
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(taken)
}

/// Splits a stream, which arrives in chunks of any size, after each frame. What follows a damaged frame stays together.
#[derive(Debug, Default)]
pub(crate) struct FrameSplitter {
    buffer: BytesMut,
}

impl FrameSplitter {
    /// Appends a chunk, and returns the frames that it completes.
    pub(crate) fn push(&mut self, chunk: &[u8]) -> Vec<Bytes> {
        self.buffer.extend_from_slice(chunk);
        let mut frames = Vec::new();
        while let Ok(length) = frame_length(&self.buffer) {
            if self.buffer.len() < length {
                break;
            }
            frames.push(self.buffer.split_to(length).freeze());
        }
        frames
    }

    /// Whether what is left cannot become a frame. A caller that only counts frames can then discard it.
    pub(crate) fn is_overlong(&self) -> bool {
        self.buffer.len() > MAX_FRAME
    }

    /// Returns the rest when the stream has ended: a part of a frame, or `None`.
    pub(crate) fn rest(&mut self) -> Option<Bytes> {
        (!self.buffer.is_empty()).then(|| self.buffer.split().freeze())
    }
}

/// Returns the frames as a text, a line for each: its type and its content. `None` if these bytes are no frames.
pub(crate) fn frames_as_text(bytes: &[u8]) -> Option<String> {
    let frames = parse_frames(bytes).ok()?;
    let line = |frame: &Frame| {
        let name = frame
            .exception()
            .or_else(|| frame.header(EVENT_TYPE))
            .unwrap_or("frame");
        format!("{name}: {}\n", String::from_utf8_lossy(&frame.content()))
    };
    Some(frames.iter().map(line).collect())
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A frame as Bedrock sends it.
    pub(crate) fn event(kind: &str, payload: impl Into<Bytes>) -> Vec<u8> {
        let headers = [
            (EVENT_TYPE, kind),
            (CONTENT_TYPE, "application/json"),
            (MESSAGE_TYPE, "event"),
        ];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Frame::new(headers, payload).write().unwrap()
    }

    /// A frame with a chunk of a model.
    pub(crate) fn chunk(chunk: &str) -> Vec<u8> {
        event(
            "chunk",
            format!("{{\"bytes\":\"{}\",\"p\":\"abcdef\"}}", BASE64.encode(chunk)),
        )
    }

    pub(crate) fn exception(kind: &str) -> Vec<u8> {
        let headers = [
            (":exception-type", kind),
            (CONTENT_TYPE, "application/json"),
            (MESSAGE_TYPE, "exception"),
        ];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Frame::new(headers, "{\"message\":\"Too many requests\"}")
            .write()
            .unwrap()
    }

    /// Frames of the tests of the AWS SDKs: an empty one, one with a payload, one with a header of 32 bits.
    const KNOWN: [&[u8]; 3] = [
        b"\0\0\0\x10\0\0\0\0\x05\xc2\x48\xeb\x7d\x98\xc8\xff",
        b"\0\0\0\x1d\0\0\0\0\xfd\x52\x8c\x5a{'foo':'bar'}\xc3\x65\x39\x36",
        b"\0\0\0\x2d\0\0\0\x10\x41\xc4\x24\xb8\x0aevent-type\x04\0\0\xa0\x0c{'foo':'bar'}\x36\xf4\x80\xa0",
    ];

    #[test]
    fn known_frames_are_read_and_written() {
        let frames = parse_frames(&KNOWN.concat()).unwrap();
        assert_eq!(
            frames[0],
            Frame {
                headers: Vec::new(),
                payload: Bytes::new()
            }
        );
        assert_eq!(frames[1].payload, "{'foo':'bar'}");
        let number = FrameValue::Other(Bytes::from_static(b"\x04\0\0\xa0\x0c"));
        assert_eq!(frames[2].headers, [("event-type".to_owned(), number)]);
        let written: Vec<u8> = frames.iter().flat_map(|frame| frame.write().unwrap()).collect();
        assert_eq!(written, KNOWN.concat());
    }

    #[test]
    fn headers_of_every_type_are_read() {
        let mut headers = Vec::new();
        for (kind, value) in [
            (0, &b""[..]),
            (1, b""),
            (2, b"\x01"),
            (3, b"\x01\x02"),
            (4, b"abcd"),
            (5, b"abcdefgh"),
            (6, b"\0\x02\xff\xfe"),
            (7, b"\0\x02hi"),
            (8, b"abcdefgh"),
            (9, b"0123456789abcdef"),
        ] {
            headers.extend_from_slice(&[1, b'a' + kind, kind]);
            headers.extend_from_slice(value);
        }
        let parsed = parse_headers(&headers).unwrap();
        assert_eq!(parsed.len(), 10);
        assert_eq!(parsed[7], ("h".to_owned(), FrameValue::Text("hi".to_owned())));
        let frame = Frame {
            headers: parsed,
            payload: Bytes::from_static(b"x"),
        };
        assert_eq!(parse_frames(&frame.write().unwrap()).unwrap(), [frame]);
        for damaged in [&headers[..headers.len() - 1], b"\x01a", b"\x01a\x0a", b"\x01\xff\0"] {
            assert_eq!(parse_headers(damaged), None, "{damaged:?}");
        }
    }

    #[test]
    fn every_truncated_or_changed_stream_is_an_error() {
        let stream = [event("a", "{}"), chunk("{}")].concat();
        assert_eq!(parse_frames(&stream).unwrap().len(), 2);
        for end in (0..stream.len()).filter(|end| *end != event("a", "{}").len()) {
            assert_eq!(parse_frames(&stream[..end]), Err(FrameError::Truncated), "{end}");
        }
        for at in 0..stream.len() {
            let mut changed = stream.clone();
            changed[at] ^= 1;
            assert_eq!(parse_frames(&changed), Err(FrameError::Damaged), "{at}");
        }
    }

    #[test]
    fn a_changed_chunk_is_a_complete_frame_again() {
        let body = chunk("{\"a\":\"secret\"}");
        let frames = parse_frames(&body).unwrap();
        let hide = |text: &Bytes| Bytes::from(String::from_utf8_lossy(text).replace("secret", "***"));
        let changed = frames[0].map(hide).write().unwrap();
        assert_eq!(changed, chunk("{\"a\":\"***\"}"));
        assert_eq!(frames[0].map(Bytes::clone), frames[0]);
        assert_eq!(frames_as_text(&changed).unwrap(), "chunk: {\"a\":\"***\"}\n");
    }

    proptest! {
        #[test]
        fn frames_are_split_whatever_the_chunks_are(cuts in proptest::collection::vec(1usize..40, 0..20), rest in 0usize..12) {
            let frames = [event("a", "{}"), chunk("{\"b\":1}"), KNOWN[2].to_vec()];
            let stream = [frames.concat(), frames[0][..rest].to_vec()].concat();
            let (mut splitter, mut found, mut left) = (FrameSplitter::default(), Vec::new(), &stream[..]);
            for cut in cuts {
                let (piece, after) = left.split_at(cut.min(left.len()));
                found.extend(splitter.push(piece));
                left = after;
            }
            found.extend(splitter.push(left));
            prop_assert_eq!(found, frames.to_vec());
            prop_assert_eq!(splitter.rest().unwrap_or_default(), &stream[stream.len() - rest..]);
        }
    }
}
