//! The error type of this crate: a kind to match on, a message, a hint and the cause.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

use crate::escape::escape_controls;

/// `std::result::Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of one of ten [kinds](ErrorKind), with a message and, where possible, a hint about what to do.
///
/// It can be cloned: all concurrent callers of one failed request receive the same error.
#[derive(Clone)]
pub struct Error(Box<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    message: String,
    hint: Option<String>,
    api: Option<ApiResponse>,
    timed_out: bool,
    injected: bool,
    /// Whether the message was formatted, in this copy or another.
    shown: Arc<AtomicBool>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

#[derive(Clone)]
struct ApiResponse {
    /// `None` if the API did not respond with an error, but the response cannot be parsed.
    status: Option<u16>,
    body: Arc<[u8]>,
}

/// The kinds of [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The request is not recorded, and the mode forbids requests to the upstream.
    Miss,
    /// A cassette is damaged, has a newer format version, or has another key than its name.
    Cassette,
    /// The store of the cassettes failed: a directory, a shared store, or a custom engine.
    Engine,
    /// The upstream API cannot be reached, or its response is incomplete.
    Upstream,
    /// The API responded with an error: see [`Error::status`] and [`Error::body`].
    Api,
    /// A response, or what a model wrote in it, is not of the requested type: see [`Error::body`].
    Parse,
    /// A setting, a mode or a command-line argument is invalid.
    Settings,
    /// A file or folder that is not part of a store, or a standard stream, cannot be read or written.
    Io,
    /// This program failed: a task panicked, or the system refused a resource such as a thread.
    Internal,
    /// The request cannot be sent or recorded: for example an invalid URL, scope name or body.
    Request,
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Miss => "miss",
            Self::Cassette => "cassette",
            Self::Engine => "engine",
            Self::Upstream => "upstream",
            Self::Api => "api",
            Self::Parse => "parse",
            Self::Settings => "settings",
            Self::Io => "io",
            Self::Internal => "internal",
            Self::Request => "request",
        })
    }
}

impl Error {
    /// Creates an error of a kind with a message. [`with_hint`](Self::with_hint) and [`with_source`](Self::with_source) add
    /// to it.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            message: escaped(message.into()),
            hint: None,
            api: None,
            timed_out: false,
            injected: false,
            shown: Arc::default(),
            source: None,
        }))
    }

    /// Creates an error of the kind [`ErrorKind::Engine`], for a custom [`CacheEngine`](crate::CacheEngine) whose store
    /// fails.
    pub fn engine(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Engine, message)
    }

    /// Adds a hint about what to do.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(escaped(hint.into()));
        self
    }

    /// Begins the message with what the error is about: a request, or a member of a command.
    pub(crate) fn with_prefix(mut self, what: &str) -> Self {
        self.0.message = escaped(format!("{what}: {}", self.0.message));
        self
    }

    /// Adds the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.0.source = Some(Arc::new(source));
        self
    }

    /// Adds status and body of the API response.
    pub(crate) fn with_response(mut self, status: u16, body: &[u8]) -> Self {
        self.0.api = Some(ApiResponse {
            status: Some(status),
            body: body.into(),
        });
        self
    }

    /// Creates an error of the kind [`ErrorKind::Parse`], with the text that is not of the requested type.
    pub(crate) fn parse(message: impl Into<String>, text: &[u8]) -> Self {
        let mut error = Self::new(ErrorKind::Parse, message);
        error.0.api = Some(ApiResponse {
            status: None,
            body: text.into(),
        });
        error
    }

    /// Marks the error as a timeout.
    pub(crate) fn with_timed_out(mut self, timed_out: bool) -> Self {
        self.0.timed_out = timed_out;
        self
    }

    /// Marks the error as an injected fault, which is not a failure of the session.
    pub(crate) fn with_injected(mut self) -> Self {
        self.0.injected = true;
        self
    }

    pub(crate) fn is_injected(&self) -> bool {
        self.0.injected
    }

    /// The kind of the error.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The message, without the hint and the cause.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The hint about what to do, if there is one.
    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// The HTTP status of the API response; `None` unless the kind is [`ErrorKind::Api`].
    pub fn status(&self) -> Option<u16> {
        self.0.api.as_ref()?.status
    }

    /// The body of the API response for [`ErrorKind::Api`], and the text that cannot be parsed for [`ErrorKind::Parse`];
    /// otherwise `None`.
    pub fn body(&self) -> Option<&[u8]> {
        self.0.api.as_ref().map(|response| &*response.body)
    }

    /// The error message of the API: `message` or `detail` of the error body, in any known shape. The locations and
    /// messages of a list of validation errors are joined. `None` when the body is not JSON or has no message.
    ///
    /// The known shapes are those of recorded responses: `{"detail":"…"}`, `{"detail":[{"loc":[…],"msg":"…"}]}`, and
    /// `{"object":"error","message":…,"type":…,"code":…}` where the message is a text, such a list, or an object with a text.
    pub fn api_message(&self) -> Option<String> {
        let body = self.decoded_body()?;
        ["message", "detail", "error"]
            .iter()
            .find_map(|name| text_of(body.get(name)?))
    }

    /// The `code` of the error body, such as `1500` or `invalid_api_key`; a number is returned as text.
    pub fn api_code(&self) -> Option<String> {
        self.member("code")
    }

    /// The `type` of the error body, such as `invalid_model` or `rate_limited`.
    pub fn api_type(&self) -> Option<String> {
        self.member("type")
    }

    /// A member of the error body, or of the object `error` in it.
    fn member(&self, name: &str) -> Option<String> {
        let body = self.decoded_body()?;
        [body.get(name), body.get("error").and_then(|error| error.get(name))]
            .into_iter()
            .flatten()
            .find_map(text_of)
    }

    fn decoded_body(&self) -> Option<Value> {
        serde_json::from_slice(self.body()?).ok()
    }

    /// Whether this error or a copy of it was formatted, for example by a failed `unwrap`.
    pub(crate) fn is_shown(&self) -> bool {
        self.0.shown.load(Ordering::Relaxed)
    }

    /// Whether the upstream took longer than the timeout.
    pub fn is_timeout(&self) -> bool {
        self.0.timed_out
    }

    /// The message, the causes and the hint, each on a line of its own.
    pub fn report(&self) -> String {
        match &self.0.hint {
            Some(hint) => format!("{}\nhint: {hint}", self.with_causes()),
            None => self.with_causes(),
        }
    }

    /// The message and the causes in one line, for the log.
    pub(crate) fn in_one_line(&self) -> String {
        self.with_causes().replace("\n  caused by: ", ": ")
    }

    /// The message and the causes, each on a line of its own.
    pub(crate) fn with_causes(&self) -> String {
        let mut text = self.0.message.clone();
        let mut source = self.source();
        while let Some(cause) = source {
            text.push_str("\n  caused by: ");
            text.push_str(&escape_controls(&cause.to_string()));
            source = cause.source();
        }
        text
    }
}

/// Escapes control characters: a message can contain text from a recording or a server, and is printed in terminals.
fn escaped(text: String) -> String {
    match escape_controls(&text) {
        Cow::Borrowed(_) => text,
        Cow::Owned(escaped) => escaped,
    }
}

/// Returns the text of a member of an error body; `None` when it is empty.
fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()).filter(|text| !text.is_empty()),
        Value::Array(values) => {
            let texts: Vec<String> = values.iter().filter_map(text_of).collect();
            Some(texts.join("; ")).filter(|text| !text.is_empty())
        }
        Value::Object(members) => {
            let message = ["msg", "message", "detail"]
                .iter()
                .find_map(|name| text_of(members.get(*name)?));
            let location = members.get("loc").and_then(Value::as_array).map(|steps| {
                let steps: Vec<String> = steps.iter().filter_map(text_of).collect();
                steps.join(".")
            });
            match (location, message) {
                (Some(location), Some(message)) => Some(format!("{location}: {message}")),
                (_, message) => message.or_else(|| Some(value.to_string())),
            }
        }
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.shown.store(true, Ordering::Relaxed);
        f.write_str(&self.0.message)?;
        match &self.0.hint {
            Some(hint) => write!(f, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}

/// The kind and the [report](Error::report), so that an error that `main` returns and a failed `unwrap` are readable.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.shown.store(true, Ordering::Relaxed);
        write!(f, "{} error: {}", self.0.kind, self.report())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0
            .source
            .as_ref()
            .map(|source| &**source as &(dyn StdError + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn api_messages_are_read_in_every_known_shape() {
        let read = |body: &str| {
            let error = Error::new(ErrorKind::Api, "").with_response(422, body.as_bytes());
            let all = [error.api_message(), error.api_code(), error.api_type()];
            all.map(|text| text.unwrap_or_else(|| "-".to_owned())).join(" | ")
        };
        for (body, expected) in [
            (r#"{"detail":"Invalid API Key"}"#, "Invalid API Key | - | -"),
            (
                r#"{"object":"error","message":"Invalid model: X","type":"invalid_model","param":null,"code":"1500"}"#,
                "Invalid model: X | 1500 | invalid_model",
            ),
            (
                r#"{"detail":[{"type":"missing","loc":["body","messages",0],"msg":"Field required","input":null}]}"#,
                "body.messages.0: Field required | - | -",
            ),
            (
                r#"{"object":"error","message":{"detail":[{"loc":["body"],"msg":"a"},{"msg":"b"}]},"type":"invalid_request_error","code":null}"#,
                "body: a; b | - | invalid_request_error",
            ),
            (
                r#"{"object":"Error","detail":[],"message":[{"msg":"a"}],"code":3001}"#,
                "a | 3001 | -",
            ),
            (r#"{"object":"Error","detail":["b"],"message":[]}"#, "b | - | -"),
            (r#"{"message":{"of_tomorrow":1}}"#, r#"{"of_tomorrow":1} | - | -"#),
            (r#"{"error":{"message":"no such route"}}"#, "no such route | - | -"),
            (r#"{"error":{"message":"a","code":404,"type":"b"}}"#, "a | 404 | b"),
            ("upstream connect error", "- | - | -"),
            ("[]", "- | - | -"),
            ("", "- | - | -"),
        ] {
            assert_eq!(read(body), expected, "{body}");
        }
        assert_eq!(Error::engine("x").api_message(), None);
    }
}
