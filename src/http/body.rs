//! The body of a response: complete bytes, or a stream.

use std::fmt;
use std::pin::Pin;

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt, stream};

use crate::error::Result;

pub(crate) type BodyStream = Pin<Box<dyn Stream<Item = Result<Bytes>> + Send>>;

/// The body of a [`Response`](crate::Response): complete bytes, or a stream of chunks.
#[derive(Default)]
pub struct Body(Kind);

#[derive(Default)]
enum Kind {
    #[default]
    Empty,
    Complete(Bytes),
    Stream(BodyStream),
}

impl Body {
    /// Creates a body that is received in chunks.
    pub fn from_stream(stream: impl Stream<Item = Result<Bytes>> + Send + 'static) -> Self {
        Self(Kind::Stream(Box::pin(stream)))
    }

    /// Returns the bytes if the body is complete, and the body itself if it is a stream.
    #[cfg(any(feature = "middleware", feature = "proxy", feature = "tower"))]
    pub(crate) fn try_into_bytes(self) -> Result<Bytes, Self> {
        match self.0 {
            Kind::Empty => Ok(Bytes::new()),
            Kind::Complete(bytes) => Ok(bytes),
            stream @ Kind::Stream(_) => Err(Self(stream)),
        }
    }

    /// Replaces the stream of a body that is received in chunks. A complete body is unchanged.
    pub(crate) fn map_stream(self, map: impl FnOnce(BodyStream) -> BodyStream) -> Self {
        match self.0 {
            Kind::Stream(stream) => Self(Kind::Stream(map(stream))),
            complete => Self(complete),
        }
    }

    /// Receives the rest of the body and returns all of it.
    ///
    /// # Errors
    /// The error that ended the stream.
    pub async fn bytes(self) -> Result<Bytes> {
        let mut stream = match self.0 {
            Kind::Empty => return Ok(Bytes::new()),
            Kind::Complete(bytes) => return Ok(bytes),
            Kind::Stream(stream) => stream,
        };
        let Some(first) = stream.next().await.transpose()? else {
            return Ok(Bytes::new());
        };
        let Some(second) = stream.next().await.transpose()? else {
            return Ok(first);
        };
        let mut all = BytesMut::from(first.as_ref());
        all.extend_from_slice(&second);
        while let Some(chunk) = stream.next().await {
            all.extend_from_slice(&chunk?);
        }
        Ok(all.freeze())
    }

    /// Returns the chunks as a stream.
    pub fn into_stream(self) -> Pin<Box<dyn Stream<Item = Result<Bytes>> + Send>> {
        match self.0 {
            Kind::Empty => Box::pin(stream::empty()),
            Kind::Complete(bytes) => Box::pin(stream::once(async { Ok(bytes) })),
            Kind::Stream(stream) => stream,
        }
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self(if bytes.is_empty() {
            Kind::Empty
        } else {
            Kind::Complete(bytes)
        })
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::from(bytes).into()
    }
}

impl From<&'static str> for Body {
    fn from(text: &'static str) -> Self {
        Bytes::from_static(text.as_bytes()).into()
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Empty => f.write_str("Body(empty)"),
            Kind::Complete(bytes) => write!(f, "Body({} bytes)", bytes.len()),
            Kind::Stream(_) => f.write_str("Body(stream)"),
        }
    }
}
