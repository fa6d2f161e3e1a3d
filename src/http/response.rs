//! A response: status, headers, and a body that may still be arriving.

use std::sync::LazyLock;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use memchr::memmem::Finder;
use serde::de::DeserializeOwned;

use crate::diff::cut;
use crate::error::{Error, ErrorKind, Result};
use crate::http::body::Body;

/// An answer of the API, live or from a cassette.
#[derive(Debug)]
pub struct Response {
    status: StatusCode,
    headers: HeaderMap,
    body: Body,
    origin: Option<String>,
}

impl Response {
    /// A response with no headers.
    pub fn new(status: StatusCode, body: impl Into<Body>) -> Self {
        Self {
            status,
            headers: HeaderMap::new(),
            body: body.into(),
            origin: None,
        }
    }

    /// Adds a header, beside those of the same name.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.append(name, value);
        self
    }

    /// Sets all headers.
    #[must_use]
    pub fn headers(mut self, headers: HeaderMap) -> Self {
        self.headers = headers;
        self
    }

    /// Says who answered: what a cassette keeps as `recorded.from`, such as `https://api.mistral.ai`.
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

    pub(crate) fn answered_by(&self) -> Option<&str> {
        self.origin.as_deref()
    }

    /// The body, to read as it arrives.
    pub fn into_body(self) -> Body {
        self.body
    }

    pub(crate) fn into_parts(self) -> (StatusCode, HeaderMap, Body) {
        (self.status, self.headers, self.body)
    }

    /// Waits for the whole body.
    ///
    /// # Errors
    /// Whatever broke the body off, mostly [`ErrorKind::Upstream`].
    pub async fn bytes(self) -> Result<Bytes> {
        self.body.bytes().await
    }

    /// Waits for the whole body and reads it as UTF-8.
    ///
    /// # Errors
    /// As [`bytes`](Self::bytes), and [`ErrorKind::Api`] when the body is not UTF-8.
    pub async fn text(self) -> Result<String> {
        let status = self.status.as_u16();
        let body = self.body.bytes().await?;
        String::from_utf8(body.to_vec()).map_err(|error| {
            Error::new(
                ErrorKind::Api,
                format!("the answer (status {status}) is not UTF-8 text"),
            )
            .with_response(status, &body)
            .with_source(error)
        })
    }

    /// Waits for the whole body and reads it as JSON.
    ///
    /// # Errors
    /// As [`bytes`](Self::bytes), and [`ErrorKind::Api`] when the body is not JSON of that shape; the error keeps the body.
    pub async fn json<T: DeserializeOwned>(self) -> Result<T> {
        let status = self.status.as_u16();
        let body = self.body.bytes().await?;
        serde_json::from_slice(&body).map_err(|error| {
            Error::new(
                ErrorKind::Api,
                format!("the answer (status {status}) is not the JSON that was expected: {error}"),
            )
            .with_response(status, &body)
            .with_source(error)
        })
    }

    /// Turns an error status into an error that keeps the status and the raw body.
    ///
    /// # Errors
    /// [`ErrorKind::Api`] when the status is 400 or above.
    pub async fn error_for_status(self) -> Result<Self> {
        if self.status.as_u16() < 400 {
            return Ok(self);
        }
        let status = self.status;
        let body = self.body.bytes().await?;
        Err(
            Error::new(ErrorKind::Api, format!("the API answered {status}: {}", said(&body)))
                .with_response(status.as_u16(), &body),
        )
    }
}

/// The message inside an error body: `message` or `detail`, whatever their shape, else the text of the body.
fn said(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let value: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    let found = ["message", "detail"].iter().find_map(|name| match value.get(name)? {
        serde_json::Value::Null => None,
        serde_json::Value::String(message) => Some(message.clone()),
        other => Some(other.to_string()),
    });
    let message = found.unwrap_or_else(|| text.trim().to_owned());
    if message.is_empty() {
        return "(no body)".to_owned();
    }
    cut(&message, 500)
}

/// The last `total_tokens` of an answer, as the API counts what it took.
pub(crate) fn tokens_in(body: &[u8]) -> u64 {
    const NAME: &[u8] = b"\"total_tokens\":";
    static FINDER: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new(NAME));
    // Forwards: there are vector instructions for that.
    let Some(at) = FINDER.find_iter(body).last() else {
        return 0;
    };
    let rest = body[at + NAME.len()..].trim_ascii_start();
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).take(15);
    digits.fold(0, |tokens, digit| tokens * 10 + u64::from(digit - b'0'))
}
