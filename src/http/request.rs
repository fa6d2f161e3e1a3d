//! A request to the API, with its complete body.

use std::fmt;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};
use serde::Serialize;

use crate::diff::cut;
use crate::error::{Error, ErrorKind, Result};
use crate::http::headers::content_type;

/// The environment variable with the API key.
pub(crate) const API_KEY_VARIABLE: &str = "MISTRAL_API_KEY";

/// The API key that `run` sets for its command when there is none, because SDKs do not start without one. The recorder treats
/// it as no key. A program that bypasses the proxy with it gets a 401 response and no bill.
pub(crate) const DUMMY_KEY: &str = "mistral-cassette-needs-no-key";

/// A request to the Mistral API: method, path, query, headers and the complete body.
///
/// It has no host: the [`Transport`](crate::Transport) knows the upstream. (Only the proxy sets a host, when it intercepts a
/// request to a host that is not one of the API.) The path begins with a slash (`/v1/chat/completions`). A doubled version
/// (`/v1/v1/…`) is replaced by a single one: clients send it when their base URL already ends in `/v1`.
///
/// ```
/// use mistral_cassette::Request;
///
/// let request = Request::post("/v1/embeddings")?.json(&serde_json::json!({
///     "model": "mistral-embed",
///     "input": ["Mistral is a wind"],
/// }))?;
/// assert_eq!(request.path(), "/v1/embeddings");
/// # Ok::<(), mistral_cassette::Error>(())
/// ```
#[derive(Clone)]
pub struct Request(Box<Inner>);

/// Boxed, because a request is moved often and its members are large.
#[derive(Clone)]
struct Inner {
    method: Method,
    /// Only of a request to another host than those of the API.
    host: Option<Box<str>>,
    target: PathAndQuery,
    headers: HeaderMap,
    body: Bytes,
}

/// The headers in which clients send API keys.
static CREDENTIALS: [HeaderName; 3] = [
    header::AUTHORIZATION,
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("api-key"),
];

/// Whether a URL parser changes this path: it resolves dot segments and treats a backslash as a slash.
fn is_changed_by_url_parsers(path: &str) -> bool {
    // Most paths contain none of these characters.
    path.bytes().any(|byte| matches!(byte, b'.' | b'%' | b'\\'))
        && (path.contains('\\') || path.split('/').any(is_dot_segment))
}

/// Whether a URL parser resolves this segment.
fn is_dot_segment(segment: &str) -> bool {
    segment.starts_with(['.', '%']) && matches!(segment.to_ascii_lowercase().replace("%2e", ".").as_str(), "." | "..")
}

impl Request {
    /// Creates a request without headers and body. `target` is a percent-encoded path with an optional query.
    ///
    /// # Errors
    /// [`ErrorKind::Request`] when the target does not start with a slash, has a dot segment (`/../`) or a backslash, or has
    /// a character that a URL cannot contain.
    pub fn new(method: Method, target: &str) -> Result<Self> {
        let target = target.split('#').next().unwrap_or_default();
        if !target.starts_with('/') {
            return Err(no_leading_slash(target));
        }
        Self::from_target(method, parse_target(target)?)
    }

    /// Creates a request from a parsed target; see [`new`](Self::new).
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub(crate) fn from_target(method: Method, mut target: PathAndQuery) -> Result<Self> {
        // For a target that is only a query, `path()` returns a slash that the target does not have.
        if !target.as_str().starts_with('/') {
            return Err(no_leading_slash(target.as_str()));
        }
        let path = target.path();
        if is_changed_by_url_parsers(path) {
            return Err(Error::new(
                ErrorKind::Request,
                format!("the path {path:?} has a dot segment or a backslash, and a URL parser would change it"),
            ));
        }
        if path.starts_with("/v1/v1/") {
            tracing::warn!(
                "the base URL ends in /v1 and the client adds it again: {path} is treated as {}",
                &path[3..]
            );
            target = parse_target(&target.as_str()[3..])?;
        }
        Ok(Self(Box::new(Inner {
            method,
            host: None,
            target,
            headers: HeaderMap::new(),
            body: Bytes::new(),
        })))
    }

    /// Creates a `GET` request; see [`Request::new`].
    ///
    /// # Errors
    /// As [`Request::new`].
    pub fn get(target: &str) -> Result<Self> {
        Self::new(Method::GET, target)
    }

    /// Creates a `POST` request; see [`Request::new`].
    ///
    /// # Errors
    /// As [`Request::new`].
    pub fn post(target: &str) -> Result<Self> {
        Self::new(Method::POST, target)
    }

    /// Creates a `DELETE` request; see [`Request::new`].
    ///
    /// # Errors
    /// As [`Request::new`].
    pub fn delete(target: &str) -> Result<Self> {
        Self::new(Method::DELETE, target)
    }

    /// Sets the body to this value as JSON, and the content type to `application/json`.
    ///
    /// # Errors
    /// [`ErrorKind::Request`] when the value cannot be written as JSON, for example a map whose keys are not strings.
    pub fn json(self, value: &(impl Serialize + ?Sized)) -> Result<Self> {
        let body = serde_json::to_vec(value).map_err(|error| {
            Error::new(ErrorKind::Request, "cannot write the request body as JSON").with_source(error)
        })?;
        Ok(self
            .header(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .body(body))
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.0.body = body.into();
        self
    }

    /// Sets a header and replaces its previous value. ([`Response::header`](crate::Response::header) adds one.)
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.insert(name, value);
        self
    }

    /// Replaces all headers.
    #[must_use]
    pub fn headers(mut self, headers: HeaderMap) -> Self {
        self.0.headers = headers;
        self
    }

    /// Sets the host that takes part in the key, of a request to another host than those of the API.
    #[cfg(feature = "proxy")]
    pub(crate) fn with_host(mut self, host: Option<&str>) -> Self {
        self.0.host = host.map(Into::into);
        self
    }

    /// The host that takes part in the key, of a request to another host than those of the API.
    pub(crate) fn host(&self) -> Option<&str> {
        self.0.host.as_deref()
    }

    /// The method.
    pub fn method(&self) -> &Method {
        &self.0.method
    }

    /// The path, percent-encoded, without the query.
    pub fn path(&self) -> &str {
        self.0.target.path()
    }

    /// The query without its question mark, percent-encoded; `None` when there is none or it is empty.
    pub fn query(&self) -> Option<&str> {
        self.0.target.query().filter(|query| !query.is_empty())
    }

    /// Path and query as in a request line.
    pub fn target(&self) -> String {
        let target = match self.query() {
            Some(_) => self.0.target.as_str(),
            None => self.path(),
        };
        target.to_owned()
    }

    /// Path and query as given, without the fragment and with a single version.
    pub(crate) fn path_and_query(&self) -> &PathAndQuery {
        &self.0.target
    }

    /// The headers.
    pub fn header_map(&self) -> &HeaderMap {
        &self.0.headers
    }

    pub(crate) fn header_map_mut(&mut self) -> &mut HeaderMap {
        &mut self.0.headers
    }

    /// The complete body.
    pub fn body_bytes(&self) -> &Bytes {
        &self.0.body
    }

    /// The content type, when it is visible ASCII.
    pub(crate) fn content_type(&self) -> Option<&str> {
        content_type(&self.0.headers)
    }

    /// Whether the client sent the dummy key of `run`.
    pub(crate) fn has_dummy_key(&self) -> bool {
        let headers = CREDENTIALS.iter().filter_map(|name| self.0.headers.get(name));
        headers
            .filter_map(|value| value.to_str().ok())
            .any(|value| value.contains(DUMMY_KEY))
    }

    /// The API keys that the client sent, from all headers that may contain one, without the dummy key of `run`.
    pub(crate) fn credentials(&self) -> impl Iterator<Item = &str> {
        CREDENTIALS
            .iter()
            .filter_map(|name| self.0.headers.get(name)?.to_str().ok())
            .map(|value| {
                value
                    .trim()
                    .split_once(' ')
                    .map_or(value, |(_scheme, token)| token)
                    .trim()
            })
            .filter(|token| !matches!(*token, "" | "Bearer" | DUMMY_KEY))
    }
}

fn parse_target(target: &str) -> Result<PathAndQuery> {
    // Parsed as a URI, which has a maximum length. Older releases of `http` do not limit a `PathAndQuery`.
    let uri: Uri = target.parse().map_err(|error| {
        Error::new(
            ErrorKind::Request,
            format!("{:?} is not a path with a query", cut(target, 500)),
        )
        .with_source(error)
    })?;
    uri.into_parts().path_and_query.ok_or_else(|| no_leading_slash(target))
}

fn no_leading_slash(target: &str) -> Error {
    let message = format!("the path {target:?} does not start with a slash");
    Error::new(ErrorKind::Request, message)
        .with_hint("give the path without a host, as in /v1/chat/completions; the upstream has the host")
}

/// Omits query, headers and body, which may contain secrets.
impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Request({} {}, {} bytes)",
            self.0.method,
            self.path(),
            self.0.body.len()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_path_with_a_query() {
        for (target, path, query, sent) in [
            ("/v1/models", "/v1/models", None, "/v1/models"),
            ("/v1/models?", "/v1/models", None, "/v1/models"),
            ("/v1/models?a=1&b", "/v1/models", Some("a=1&b"), "/v1/models?a=1&b"),
            ("/v1/models?a#b", "/v1/models", Some("a"), "/v1/models?a"),
            ("/v1/v1/models?a", "/v1/models", Some("a"), "/v1/models?a"),
            (
                "/v1/models/ft:a.b%2Fc",
                "/v1/models/ft:a.b%2Fc",
                None,
                "/v1/models/ft:a.b%2Fc",
            ),
            ("//models", "//models", None, "//models"),
            ("/", "/", None, "/"),
        ] {
            let request = Request::get(target).unwrap();
            assert_eq!((request.path(), request.query()), (path, query), "{target}");
            assert_eq!(request.target(), sent, "{target}");
        }
        let long = format!("/v1/{}/../../admin?a", "a".repeat(70_000));
        for (target, reason) in [
            ("", "does not start with a slash"),
            ("*", "does not start with a slash"),
            ("v1/models", "does not start with a slash"),
            ("https://api.mistral.ai/v1", "does not start with a slash"),
            ("/v1/../models", "has a dot segment or a backslash"),
            ("/v1/%2E%2e/models", "has a dot segment or a backslash"),
            ("/v1/.", "has a dot segment or a backslash"),
            ("/v1\\..\\models", "has a dot segment or a backslash"),
            ("/v1/mod els", "is not a path with a query"),
            (&long, "is not a path with a query"),
        ] {
            let error = Request::get(target).unwrap_err();
            assert!(error.message().contains(reason), "{target}: {error}");
            assert!(error.message().len() < 2000);
        }
    }
}
