//! The one error of this crate: a kind to match on, a message for people, a hint, the cause.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use crate::escape::escape_controls;

/// `std::result::Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, in one of nine [kinds](ErrorKind), with a message that says where and what to do.
///
/// It is cheap to clone: concurrent callers of one failed request all get the same error.
#[derive(Clone)]
pub struct Error(Box<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    message: String,
    hint: Option<String>,
    api: Option<ApiAnswer>,
    timed_out: bool,
    injected: bool,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

#[derive(Clone)]
struct ApiAnswer {
    status: u16,
    body: Arc<[u8]>,
}

/// The kinds of [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The request is not recorded, and the mode forbids asking the upstream.
    Miss,
    /// A cassette is damaged, is of a newer version or does not fit its key.
    Cassette,
    /// The store of the cassettes failed: a directory, a shared store, or a custom engine.
    Engine,
    /// The real API could not be reached, or its answer broke off.
    Upstream,
    /// The API answered with an error status; see [`Error::status`] and [`Error::body`].
    Api,
    /// A setting, a mode or a flag is wrong.
    Settings,
    /// A file or folder that is not part of a store, or a standard stream, cannot be read or written.
    Io,
    /// This program failed: a task panicked, or the system refused a resource such as a thread.
    Internal,
    /// The request itself cannot be sent or recorded (a bad URL, a bad scope name, a body that is not JSON).
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
            Self::Settings => "settings",
            Self::Io => "io",
            Self::Internal => "internal",
            Self::Request => "request",
        })
    }
}

impl Error {
    /// An error of a kind with a message; [`hint`](Self::with_hint) and [`source`](Self::with_source) can be added.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            message: shown(message.into()),
            hint: None,
            api: None,
            timed_out: false,
            injected: false,
            source: None,
        }))
    }

    /// An error of an engine: what a [`CacheEngine`](crate::CacheEngine) of your own returns when its store fails.
    pub fn engine(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Engine, message)
    }

    /// Adds what the reader can do about it.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(shown(hint.into()));
        self
    }

    /// Adds the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.0.source = Some(Arc::new(source));
        self
    }

    pub(crate) fn with_answer(mut self, status: u16, body: &[u8]) -> Self {
        self.0.api = Some(ApiAnswer {
            status,
            body: body.into(),
        });
        self
    }

    pub(crate) fn with_timed_out(mut self, timed_out: bool) -> Self {
        self.0.timed_out = timed_out;
        self
    }

    /// Says that it was wished for, and is no failure of the session.
    pub(crate) fn with_injected(mut self) -> Self {
        self.0.injected = true;
        self
    }

    pub(crate) fn is_injected(&self) -> bool {
        self.0.injected
    }

    /// The kind, to match on.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The message without the hint and without the cause.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// What the reader can do about it, when there is something.
    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// The HTTP status of the API's answer; `None` unless the kind is [`ErrorKind::Api`].
    pub fn status(&self) -> Option<u16> {
        self.0.api.as_ref().map(|answer| answer.status)
    }

    /// The raw body of the API's answer; `None` unless the kind is [`ErrorKind::Api`].
    pub fn body(&self) -> Option<&[u8]> {
        self.0.api.as_ref().map(|answer| &*answer.body)
    }

    /// What the API says went wrong: `message` or `detail` of the error body, whatever their shape; the places and
    /// messages of a list of validation errors are joined. `None` when the body is not JSON or says nothing.
    ///
    /// The shapes are those of recorded answers: `{"detail":"…"}`, `{"detail":[{"loc":[…],"msg":"…"}]}`, and
    /// `{"object":"error","message":…,"type":…,"code":…}` whose message is text, such a list, or an object with one.
    pub fn api_message(&self) -> Option<String> {
        let body = self.decoded_body()?;
        ["message", "detail", "error"]
            .iter()
            .find_map(|name| text_of(body.get(name)?))
    }

    /// The `code` of the error body, such as `1500` or `invalid_api_key`; a number is given as text.
    pub fn api_code(&self) -> Option<String> {
        text_of(self.decoded_body()?.get("code")?)
    }

    /// The `type` of the error body, such as `invalid_model` or `rate_limited`.
    pub fn api_type(&self) -> Option<String> {
        text_of(self.decoded_body()?.get("type")?)
    }

    fn decoded_body(&self) -> Option<Value> {
        serde_json::from_slice(self.body()?).ok()
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

/// A message tells what a recording or a server said, and stands in terminals.
fn shown(text: String) -> String {
    match escape_controls(&text) {
        Cow::Borrowed(_) => text,
        Cow::Owned(shown) => shown,
    }
}

/// What a member of an error body says, in one line; `None` when it says nothing.
fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()).filter(|text| !text.is_empty()),
        Value::Array(values) => {
            let texts: Vec<String> = values.iter().filter_map(text_of).collect();
            Some(texts.join("; ")).filter(|text| !text.is_empty())
        }
        Value::Object(members) => {
            let said = ["msg", "message", "detail"]
                .iter()
                .find_map(|name| text_of(members.get(*name)?));
            let place = members.get("loc").and_then(Value::as_array).map(|steps| {
                let steps: Vec<String> = steps.iter().filter_map(text_of).collect();
                steps.join(".")
            });
            match (place, said) {
                (Some(place), Some(said)) => Some(format!("{place}: {said}")),
                (_, said) => said.or_else(|| Some(value.to_string())),
            }
        }
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        match &self.0.hint {
            Some(hint) => write!(f, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}

/// As [`Error::report`], so that `main` returning an error and a failed `unwrap` in a test are readable.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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
    fn what_the_api_says_is_read_in_all_its_shapes() {
        let read = |body: &str| {
            let error = Error::new(ErrorKind::Api, "").with_answer(422, body.as_bytes());
            let all = [error.api_message(), error.api_code(), error.api_type()];
            all.map(|said| said.unwrap_or_else(|| "-".to_owned())).join(" | ")
        };
        for (body, said) in [
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
            ("upstream connect error", "- | - | -"),
            ("[]", "- | - | -"),
            ("", "- | - | -"),
        ] {
            assert_eq!(read(body), said, "{body}");
        }
        assert_eq!(Error::engine("x").api_message(), None);
    }
}
