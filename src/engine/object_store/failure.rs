//! Converts errors of a store. Their texts contain complete responses, and a response may contain a session token, so
//! only the parts without tokens are copied.

use std::error::Error as StdError;
use std::fmt;

use object_store::Error as StoreError;
use object_store::client::{HttpError, HttpErrorKind};

use crate::error::Error;

/// Where credentials come from and which permissions they need, for hints.
#[derive(Clone, Copy)]
pub(super) struct Credentials {
    pub(super) source: &'static str,
    pub(super) permissions: &'static str,
}

/// The part of the cause that is copied.
#[derive(Debug)]
struct Cause(String);

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl StdError for Cause {}

/// Returns whether the object does not exist. A missing bucket is a different error.
pub(super) fn is_absent(error: &StoreError) -> bool {
    matches!(error, StoreError::NotFound { .. }) && !is_bucket_missing(&error.to_string())
}

pub(super) fn is_not_implemented(error: &StoreError) -> bool {
    let text = error.to_string();
    status(&text) == Some(501) || code(&text) == Some("NotImplemented")
}

fn is_bucket_missing(text: &str) -> bool {
    matches!(code(text), Some("NoSuchBucket" | "ContainerNotFound"))
}

/// Returns the code in the response, such as `NoSuchKey`.
fn code(text: &str) -> Option<&str> {
    within(text, "Code").filter(|code| code.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

fn within<'a>(text: &'a str, tag: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(&format!("<{tag}>"))?;
    Some(rest.split_once("</")?.0)
}

fn status(text: &str) -> Option<u16> {
    let (_, rest) = text.split_once("status code: ")?;
    rest.get(..3)?.parse().ok()
}

fn status_of(error: &StoreError) -> Option<u16> {
    match error {
        StoreError::NotFound { .. } => Some(404),
        StoreError::PermissionDenied { .. } => Some(403),
        StoreError::Unauthenticated { .. } => Some(401),
        StoreError::AlreadyExists { .. } => Some(409),
        StoreError::Precondition { .. } => Some(412),
        _ => None,
    }
}

/// Returns the innermost cause.
pub(super) fn root<'a>(error: &'a (dyn StdError + 'static)) -> &'a (dyn StdError + 'static) {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost
}

fn network<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a HttpError> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<HttpError>() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// Converts the error of an operation, such as `read s3://bucket/name`.
pub(super) fn convert(operation: &str, credentials: Credentials, error: &StoreError) -> Error {
    let text = error.to_string();
    let failed = |message: String| Error::engine(format!("cannot {operation}: {message}"));
    // A machine without a role has no metadata service, or one that provides no credentials.
    if ["//169.254.", "//metadata.", "/latest/api/token", "/latest/meta-data/"]
        .iter()
        .any(|role| text.contains(role))
    {
        return failed("no credentials were found".to_owned()).with_hint(credentials.source);
    }
    if let Some(error) = network(error) {
        let message = match error.kind() {
            HttpErrorKind::Connect => "cannot connect to the store",
            HttpErrorKind::Timeout => "the store did not respond in time",
            _ => "the connection to the store broke",
        };
        return failed(message.to_owned()).with_source(Cause(root(error).to_string()));
    }
    if is_bucket_missing(&text) {
        return failed("the bucket does not exist".to_owned())
            .with_hint("create it, or correct its name or the endpoint");
    }
    let Some(status) = status(&text).or_else(|| status_of(error)) else {
        if text.contains("redirect without LOCATION") {
            return failed("the store redirects the request".to_owned())
                .with_hint("if the bucket is in another region, add ?region=… to the URL");
        }
        return failed("the store failed".to_owned()).with_source(Cause(root(error).to_string()));
    };
    let response = match code(&text) {
        Some(code) => format!("{status} {code}"),
        None => status.to_string(),
    };
    let error = match status {
        401 | 403 => failed(format!("the store denies access ({response})"))
            .with_hint(format!("{}; {}", credentials.source, credentials.permissions)),
        300..=399 => failed(format!("the store redirects the request ({response})"))
            .with_hint("if the bucket is in another region, add ?region=… to the URL"),
        _ => failed(format!("the store responds with {response}")),
    };
    // The following lines identify the request.
    match within(&text, "Message").and_then(|message| message.lines().next()) {
        Some(message) => error.with_source(Cause(message.to_owned())),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_contains_no_token_from_the_response() {
        let text = "Error performing PUT http://h/b/k in 1ms - Server returned non-2xx status code: 403 Forbidden: \
            <Error><Code>SignatureDoesNotMatch</Code><Message>The signature does not match</Message>\
            <CanonicalRequest>x-amz-security-token:hush</CanonicalRequest></Error>";
        assert_eq!((status(text), code(text)), (Some(403), Some("SignatureDoesNotMatch")));
        let credentials = Credentials {
            source: "from the environment",
            permissions: "all",
        };
        let error = StoreError::Generic {
            store: "S3",
            source: text.into(),
        };
        let error = convert("write s3://b/p/x.yaml", credentials, &error);
        assert_eq!(
            error.message(),
            "cannot write s3://b/p/x.yaml: the store denies access (403 SignatureDoesNotMatch)"
        );
        assert!(
            error
                .report()
                .contains("caused by: The signature does not match\nhint: "),
            "{error:?}"
        );
        assert!(!format!("{error:?}").contains("hush"));
    }
}
