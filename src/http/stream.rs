//! Streams of either format: server-sent events, or the frames of Amazon.

use bytes::Bytes;

#[cfg(feature = "cli")]
use super::bedrock;
#[cfg(feature = "cli")]
use super::frames::parse_frames;
use super::frames::{FrameSplitter, is_frame_stream};
#[cfg(feature = "cli")]
use super::sse::{Event, parse_events};
use super::sse::{EventSplitter, is_event_stream};

/// How a stream is split into events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StreamFormat {
    /// Server-sent events.
    Events,
    /// Frames of Amazon.
    Frames,
}

impl StreamFormat {
    /// Returns the format of a stream of this content type; `None` for a plain body.
    pub(crate) fn of(content_type: Option<&str>) -> Option<Self> {
        if is_event_stream(content_type) {
            Some(Self::Events)
        } else {
            is_frame_stream(content_type).then_some(Self::Frames)
        }
    }

    /// Returns the events of a complete stream. Events of Bedrock have the form of the API's own; a stream with a damaged
    /// frame has none.
    #[cfg(feature = "cli")]
    pub(crate) fn parse(self, body: &[u8]) -> Vec<Event> {
        match self {
            Self::Events => parse_events(body),
            Self::Frames => {
                let frames = parse_frames(body).unwrap_or_default();
                frames.iter().map(bedrock::event).collect()
            }
        }
    }

    /// Returns a splitter for a stream of this format.
    pub(crate) fn splitter(self) -> StreamSplitter {
        match self {
            Self::Events => StreamSplitter::Events(EventSplitter::default()),
            Self::Frames => StreamSplitter::Frames(FrameSplitter::default()),
        }
    }
}

/// Splits a stream, which arrives in chunks of any size, after each of its events. It never changes a byte.
#[derive(Debug)]
pub(crate) enum StreamSplitter {
    Events(EventSplitter),
    Frames(FrameSplitter),
}

impl StreamSplitter {
    /// Appends a chunk, and returns the events that it completes.
    pub(crate) fn push(&mut self, chunk: &[u8]) -> Vec<Bytes> {
        match self {
            Self::Events(splitter) => splitter.push(chunk),
            Self::Frames(splitter) => splitter.push(chunk),
        }
    }

    /// Returns the rest when the stream has ended: an incomplete event, or `None`.
    pub(crate) fn rest(&mut self) -> Option<Bytes> {
        match self {
            Self::Events(splitter) => splitter.rest(),
            Self::Frames(splitter) => splitter.rest(),
        }
    }

    /// Whether the incomplete event is longer than any can be.
    pub(crate) fn is_overlong(&self) -> bool {
        match self {
            Self::Events(splitter) => splitter.is_overlong(),
            Self::Frames(splitter) => splitter.is_overlong(),
        }
    }
}
