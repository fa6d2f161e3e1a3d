//! A request on its way to the API, with the whole of its body.

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

/// The key that `run` gives a command which needs none: SDKs refuse to start without one. To the road it is no key, and
/// a program that goes past the proxy with it gets a 401 instead of a bill.
pub(crate) const DUMMY_KEY: &str = "mistral-cassette-needs-no-key";

/// A request for the Mistral API: method, path, query, headers and the whole body.
///
/// It names no host: the door it leaves by knows the upstream. The path begins with a slash
/// (`/v1/chat/completions`); a doubled version (`/v1/v1/…`, what a client sends whose base URL already ends in `/v1`)
/// is collapsed.
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

/// In one place: a request is handed from function to function, and its parts are many bytes to copy.
#[derive(Clone)]
struct Inner {
    method: Method,
    target: PathAndQuery,
    headers: HeaderMap,
    body: Bytes,
}

/// The headers in which callers send their keys.
static CREDENTIALS: [HeaderName; 3] = [
    header::AUTHORIZATION,
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("api-key"),
];

/// Whether a URL parser makes another path of this one: it takes a backslash for a slash.
fn climbs(path: &str) -> bool {
    // Most paths have none of these.
    path.bytes().any(|byte| matches!(byte, b'.' | b'%' | b'\\'))
        && (path.contains('\\') || path.split('/').any(is_dot_segment))
}

/// Whether a URL parser resolves this segment instead of keeping it.
fn is_dot_segment(segment: &str) -> bool {
    segment.starts_with(['.', '%']) && matches!(segment.to_ascii_lowercase().replace("%2e", ".").as_str(), "." | "..")
}

impl Request {
    /// A request with no headers and no body. `target` is a path with an optional query, percent-encoded.
    ///
    /// # Errors
    /// [`ErrorKind::Request`] when the target does not start with a slash, climbs (`/../`, `\`) or holds what
    /// cannot stand in a URL.
    pub fn new(method: Method, target: &str) -> Result<Self> {
        let target = target.split('#').next().unwrap_or_default();
        if !target.starts_with('/') {
            return Err(no_path(target));
        }
        Self::of(method, parsed(target)?)
    }

    /// As [`new`](Self::new), of a target that is parsed already.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub(crate) fn of(method: Method, mut target: PathAndQuery) -> Result<Self> {
        // The path of a query alone would be a slash that is not there.
        if !target.as_str().starts_with('/') {
            return Err(no_path(target.as_str()));
        }
        let path = target.path();
        if climbs(path) {
            return Err(Error::new(
                ErrorKind::Request,
                format!("the path {path:?} climbs: it would be asked of the upstream as another one"),
            ));
        }
        if path.starts_with("/v1/v1/") {
            tracing::warn!(
                "the base URL ends in /v1 and the client adds it again: {path} is taken as {}",
                &path[3..]
            );
            target = parsed(&target.as_str()[3..])?;
        }
        Ok(Self(Box::new(Inner {
            method,
            target,
            headers: HeaderMap::new(),
            body: Bytes::new(),
        })))
    }

    /// A `GET` request; see [`Request::new`].
    ///
    /// # Errors
    /// As [`Request::new`].
    pub fn get(target: &str) -> Result<Self> {
        Self::new(Method::GET, target)
    }

    /// A `POST` request; see [`Request::new`].
    ///
    /// # Errors
    /// As [`Request::new`].
    pub fn post(target: &str) -> Result<Self> {
        Self::new(Method::POST, target)
    }

    /// A `DELETE` request; see [`Request::new`].
    ///
    /// # Errors
    /// As [`Request::new`].
    pub fn delete(target: &str) -> Result<Self> {
        Self::new(Method::DELETE, target)
    }

    /// Sets the body to this value as JSON, and the content type.
    ///
    /// # Errors
    /// [`ErrorKind::Request`] when the value cannot be written as JSON (a map with keys that are not strings).
    pub fn json(self, value: &(impl Serialize + ?Sized)) -> Result<Self> {
        let body = serde_json::to_vec(value).map_err(|error| {
            Error::new(ErrorKind::Request, "the request body cannot be written as JSON").with_source(error)
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

    /// Sets a header, in place of what it was (a [`Response`](crate::Response) adds, since its headers repeat).
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.insert(name, value);
        self
    }

    /// Sets all headers.
    #[must_use]
    pub fn headers(mut self, headers: HeaderMap) -> Self {
        self.0.headers = headers;
        self
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

    /// Path and query as they stand in a request line.
    pub fn target(&self) -> String {
        let target = match self.query() {
            Some(_) => self.0.target.as_str(),
            None => self.path(),
        };
        target.to_owned()
    }

    /// Path and query as they were given, but for a fragment and a doubled version.
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

    /// The whole body.
    pub fn body_bytes(&self) -> &Bytes {
        &self.0.body
    }

    /// The content type, when it is text.
    pub(crate) fn content_type(&self) -> Option<&str> {
        content_type(&self.0.headers)
    }

    /// The keys that the caller sent, whatever the headers they came in, and no dummies of ours.
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

fn parsed(target: &str) -> Result<PathAndQuery> {
    // A URI has a limit to its length, and a path with a query in older releases of `http` has none.
    let uri: Uri = target.parse().map_err(|error| {
        Error::new(
            ErrorKind::Request,
            format!("{:?} is not a path with a query", cut(target, 500)),
        )
        .with_source(error)
    })?;
    uri.into_parts().path_and_query.ok_or_else(|| no_path(target))
}

fn no_path(target: &str) -> Error {
    let what = format!("the path {target:?} does not start with a slash");
    Error::new(ErrorKind::Request, what)
        .with_hint("give the path alone, as in /v1/chat/completions; the host is the upstream's")
}

/// Without query, headers and body, which may hold secrets.
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
        for (target, why) in [
            ("", "does not start with a slash"),
            ("*", "does not start with a slash"),
            ("v1/models", "does not start with a slash"),
            ("https://api.mistral.ai/v1", "does not start with a slash"),
            ("/v1/../models", "climbs"),
            ("/v1/%2E%2e/models", "climbs"),
            ("/v1/.", "climbs"),
            ("/v1\\..\\models", "climbs"),
            ("/v1/mod els", "is not a path with a query"),
            (&long, "is not a path with a query"),
        ] {
            let error = Request::get(target).unwrap_err();
            assert!(error.message().contains(why), "{target}: {error}");
            assert!(error.message().len() < 2000);
        }
    }
}
