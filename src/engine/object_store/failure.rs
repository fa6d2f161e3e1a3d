//! What a store's failure says to people. Its texts hold whole answers, and an answer may repeat a session token: only
//! the parts that cannot are taken over.

use std::error::Error as StdError;
use std::fmt;

use object_store::Error as StoreError;
use object_store::client::{HttpError, HttpErrorKind};

use super::Bucket;
use crate::error::Error;

/// The cause, as far as it is repeated.
#[derive(Debug)]
struct Cause(String);

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl StdError for Cause {}

/// There is no such object; a bucket that is missing is another matter.
pub(super) fn is_absent(error: &StoreError) -> bool {
    matches!(error, StoreError::NotFound { .. }) && !is_no_bucket(&error.to_string())
}

pub(super) fn is_not_implemented(error: &StoreError) -> bool {
    let text = error.to_string();
    status(&text) == Some(501) || code(&text) == Some("NotImplemented")
}

fn is_no_bucket(text: &str) -> bool {
    matches!(code(text), Some("NoSuchBucket" | "ContainerNotFound"))
}

/// The code in the answer: `NoSuchKey`.
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

/// The deepest cause.
pub(super) fn root<'a>(error: &'a (dyn StdError + 'static)) -> &'a (dyn StdError + 'static) {
    let mut deepest = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest
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

impl Bucket {
    /// The error for what was done with the object of this name, or with the whole bucket.
    pub(super) fn failed(&self, what: &str, name: &str, error: &StoreError) -> Error {
        let text = error.to_string();
        let place = if name.is_empty() {
            self.place.to_string()
        } else {
            self.place_of(name)
        };
        let said = |message: String| Error::engine(format!("cannot {what} {place}: {message}"));
        // Where a machine has no role, nobody is there to ask, or has none to give.
        if ["//169.254.", "//metadata.", "/latest/api/token", "/latest/meta-data/"]
            .iter()
            .any(|role| text.contains(role))
        {
            return said("no credentials were found".to_owned()).with_hint(self.credentials.from);
        }
        if let Some(error) = network(error) {
            let message = match error.kind() {
                HttpErrorKind::Connect => "the store cannot be reached",
                HttpErrorKind::Timeout => "the store took too long",
                _ => "the connection to the store broke",
            };
            return said(message.to_owned()).with_source(Cause(root(error).to_string()));
        }
        if is_no_bucket(&text) {
            return said("the bucket does not exist".to_owned())
                .with_hint("make it first, or correct its name or the endpoint");
        }
        let status = status(&text).or(match error {
            StoreError::NotFound { .. } => Some(404),
            StoreError::PermissionDenied { .. } => Some(403),
            StoreError::Unauthenticated { .. } => Some(401),
            StoreError::AlreadyExists { .. } => Some(409),
            StoreError::Precondition { .. } => Some(412),
            _ => None,
        });
        let Some(status) = status else {
            if text.contains("redirect without LOCATION") {
                return said("the store sends elsewhere".to_owned())
                    .with_hint("the bucket is in another region: add ?region=… to the URL");
            }
            return said("the store failed".to_owned()).with_source(Cause(root(error).to_string()));
        };
        let answer = match code(&text) {
            Some(code) => format!("{status} {code}"),
            None => status.to_string(),
        };
        let failed = match status {
            401 | 403 => said(format!("the store refuses it ({answer})"))
                .with_hint(format!("{}; {}", self.credentials.from, self.credentials.rights)),
            300..=399 => said(format!("the store sends elsewhere ({answer})"))
                .with_hint("the bucket is in another region: add ?region=… to the URL"),
            _ => said(format!("the store answers {answer}")),
        };
        // Below its first line stand numbers of the request.
        match within(&text, "Message").and_then(|message| message.lines().next()) {
            Some(message) => failed.with_source(Cause(message.to_owned())),
            None => failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_told_without_what_it_repeats() {
        let text = "Error performing PUT http://h/b/k in 1ms - Server returned non-2xx status code: 403 Forbidden: \
            <Error><Code>SignatureDoesNotMatch</Code><Message>The signature does not match</Message>\
            <CanonicalRequest>x-amz-security-token:hush</CanonicalRequest></Error>";
        assert_eq!((status(text), code(text)), (Some(403), Some("SignatureDoesNotMatch")));
        let bucket = crate::engine::object_store::address::open("s3://b/p?endpoint=http://h&region=r").unwrap();
        let error = StoreError::Generic {
            store: "S3",
            source: text.into(),
        };
        let told = bucket.failed("write", "x.yaml", &error);
        assert_eq!(
            told.message(),
            "cannot write s3://b/p/x.yaml: the store refuses it (403 SignatureDoesNotMatch)"
        );
        assert!(
            told.report()
                .contains("caused by: The signature does not match\nhint: "),
            "{told:?}"
        );
        assert!(!format!("{told:?}").contains("hush"));
    }
}
