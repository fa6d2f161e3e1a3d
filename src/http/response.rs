//! A response: status, headers, and a body that may be a stream.

use std::sync::LazyLock;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use memchr::memmem::Finder;
use serde::de::DeserializeOwned;

#[cfg(doc)]
use crate::error::ErrorKind;
use crate::error::{Error, Result};
use crate::http::api_error::api_error;
use crate::http::bedrock;
use crate::http::body::{Body, BodyStream};
use crate::http::frames::parse_frames;
use crate::http::headers::strip_response_headers;
use crate::http::json::read_json;
use crate::http::outcome::Outcome;

/// A response of the API, live or from a cassette.
#[derive(Debug)]
pub struct Response {
    status: StatusCode,
    headers: HeaderMap,
    body: Body,
    origin: Option<String>,
}

impl Response {
    /// Creates a response without headers.
    pub fn new(status: StatusCode, body: impl Into<Body>) -> Self {
        Self {
            status,
            headers: HeaderMap::new(),
            body: body.into(),
            origin: None,
        }
    }

    /// Adds a header. Others of the same name stay.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.append(name, value);
        self
    }

    /// Replaces all headers.
    #[must_use]
    pub fn headers(mut self, headers: HeaderMap) -> Self {
        self.headers = headers;
        self
    }

    /// Sets the origin of the response, such as `https://api.mistral.ai`. A cassette stores it as `recorded.from`.
    #[must_use]
    pub fn origin(mut self, origin: impl Into<String>) -> Self {
        self.origin = Some(origin.into());
        self
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The headers.
    pub fn header_map(&self) -> &HeaderMap {
        &self.headers
    }

    pub(crate) fn recorded_origin(&self) -> Option<&str> {
        self.origin.as_deref()
    }

    /// Returns the body, which may be a stream.
    pub fn into_body(self) -> Body {
        self.body
    }

    /// Replaces the stream of a body that is received in chunks. A complete body is unchanged.
    pub(crate) fn map_stream(mut self, map: impl FnOnce(BodyStream) -> BodyStream) -> Self {
        self.body = self.body.map_stream(map);
        self
    }

    /// The response to a request with this method without the headers that are not passed on.
    pub(crate) fn without_connection_headers(mut self, method: &str) -> Self {
        strip_response_headers(&mut self.headers, method);
        self
    }

    pub(crate) fn into_parts(self) -> (StatusCode, HeaderMap, Body) {
        (self.status, self.headers, self.body)
    }

    /// Receives the complete body.
    ///
    /// # Errors
    /// The error that ended the body, usually [`ErrorKind::Upstream`].
    pub async fn bytes(self) -> Result<Bytes> {
        self.body.bytes().await
    }

    /// Receives the complete body as UTF-8 text.
    ///
    /// # Errors
    /// As [`bytes`](Self::bytes), and [`ErrorKind::Parse`] when the body is not UTF-8.
    pub async fn text(self) -> Result<String> {
        let status = self.status.as_u16();
        let body = self.body.bytes().await?;
        String::from_utf8(body.to_vec()).map_err(|error| {
            Error::parse(format!("the response (status {status}) is not UTF-8 text"), &body).with_source(error)
        })
    }

    /// Receives the complete body and deserializes it from JSON.
    ///
    /// # Errors
    /// As [`bytes`](Self::bytes), and [`ErrorKind::Parse`] when the body is not JSON of this type, or [`ErrorKind::Api`] when
    /// it is an error of the API. The error contains the body.
    pub async fn json<T: DeserializeOwned>(self) -> Result<T> {
        let status = self.status.as_u16();
        let body = self.body.bytes().await?;
        read_json(&body).map_err(|error| {
            if status >= 400 || Outcome::of(&body).is_envelope(&body) {
                return api_error(status, &body);
            }
            let message = format!("the response (status {status}) is not the expected JSON: {error}");
            Error::parse(message, &body).with_source(error)
        })
    }

    /// Turns a response with an error status into an error, which contains the status and the body.
    ///
    /// # Errors
    /// [`ErrorKind::Api`] when the status is 400 or above.
    pub async fn error_for_status(self) -> Result<Self> {
        if self.status.as_u16() < 400 {
            return Ok(self);
        }
        let status = self.status;
        let body = self.body.bytes().await?;
        Err(api_error(status.as_u16(), &body))
    }
}

/// The last `total_tokens` in a response body, also in one of Amazon Bedrock; 0 when there is none.
pub(crate) fn total_tokens(body: &[u8]) -> u64 {
    if let Ok(frames) = parse_frames(body) {
        let events = frames.iter().rev().map(bedrock::event);
        return events
            .map(|event| total_tokens(event.data.as_bytes()))
            .find(|tokens| *tokens > 0)
            .unwrap_or(0);
    }
    // The second is the name in the Converse API of Bedrock.
    const NAMES: [&[u8]; 2] = [b"\"total_tokens\":", b"\"totalTokens\":"];
    static FINDERS: LazyLock<[Finder<'_>; 2]> = LazyLock::new(|| NAMES.map(Finder::new));
    // A forward search, which uses vector instructions.
    let last = |(name, finder): (&[u8], &Finder<'_>)| Some(finder.find_iter(body).last()? + name.len());
    let Some(at) = NAMES.into_iter().zip(FINDERS.iter()).find_map(last) else {
        return 0;
    };
    let rest = body[at..].trim_ascii_start();
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).take(15);
    digits.fold(0, |tokens, digit| tokens * 10 + u64::from(digit - b'0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_token_count_of_a_stream_counts() {
        let stream = b"data: {\"usage\":{\"total_tokens\":3}}\n\ndata: {\"usage\":{\"total_tokens\": 18}}\n\n";
        assert_eq!(total_tokens(stream), 18);
        assert_eq!(total_tokens(b"{\"total_tokens\":null}"), 0);
        assert_eq!(total_tokens(b"{}"), 0);
        assert_eq!(total_tokens(b"{\"usage\":{\"inputTokens\":1,\"totalTokens\":4}}"), 4);
    }
}
