//! Searches a request and its response before they are recorded.

use serde_json::Value;

use super::body::find_in_body;
use super::checks::Confidence;
use super::mask::mask;
use crate::cassette::{Blob, RecordedBody, RecordedRequest, RecordedResponse};
use crate::http::{EventSplitter, parse_json};
use crate::settings::Secrets;

/// The hint for a response that contains a secret.
pub(crate) const SECRET_HINT: &str = "add its pattern to redaction in settings.yaml, which replaces it before anything is recorded; or allow it with secrets: allow in settings.yaml or with --allow-secrets";

/// The hint for a response that cannot be searched.
pub(crate) const ENCODED_BODY_HINT: &str = "decode the body before it is recorded, as mistral-cassette does for the encodings that it requests; or allow bodies that cannot be searched with secrets: allow in settings.yaml or with --allow-secrets";

/// The reason why an exchange must not be recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    /// It contains these secrets, described by kind and position.
    Secrets(String),
    /// Its response body still has this content encoding and cannot be searched.
    ContentEncoding(String),
}

impl Finding {
    /// The reason as the end of a sentence: `it contains a secret: …`.
    pub(crate) fn reason(&self) -> String {
        match self {
            Self::Secrets(secrets) => format!("it contains a secret: {secrets}"),
            Self::ContentEncoding(encoding) => {
                format!("it cannot be searched for secrets: its body has the content encoding {encoding}")
            }
        }
    }

    pub(crate) fn hint(&self) -> &'static str {
        match self {
            Self::Secrets(_) => SECRET_HINT,
            Self::ContentEncoding(_) => ENCODED_BODY_HINT,
        }
    }
}

/// Searches an exchange that is about to be recorded. Returns `None` when it may be recorded, and when the policy is
/// [`Secrets::Allow`].
pub(crate) fn scan_exchange(
    request: &RecordedRequest,
    response: &RecordedResponse,
    policy: Secrets,
) -> Option<Finding> {
    const MAX_SHOWN: usize = 5;
    if policy == Secrets::Allow {
        return None;
    }
    if let Some(encoding) = response.content_encoding() {
        return Some(Finding::ContentEncoding(encoding.to_owned()));
    }
    let found = certain_secrets(request, response);
    let more = match found.len().saturating_sub(MAX_SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    (!found.is_empty()).then(|| Finding::Secrets(found[..found.len().min(MAX_SHOWN)].join(", ") + &more))
}

/// Describes the certain secrets in an exchange by kind and position, for example `a GitHub token in the request at
/// /messages/0/content`.
pub(crate) fn certain_secrets(request: &RecordedRequest, response: &RecordedResponse) -> Vec<String> {
    let mut found = Vec::new();
    scan_text(&mut found, &request.path, "the path of the request");
    if let Some(query) = &request.query {
        scan_text(&mut found, &format!("?{query}"), "the query of the request");
    }
    match &request.body {
        RecordedBody::Blob(blob) => scan_blob(&mut found, blob, "the request"),
        RecordedBody::Multipart(parts) => {
            for part in parts {
                // The name itself may contain a secret.
                let location = format!("the part {:?} of the request", mask(&part.name));
                for text in [Some(&part.name), part.filename.as_ref(), part.content_type.as_ref()] {
                    scan_text(&mut found, text.map_or("", String::as_str), &location);
                }
                scan_blob(&mut found, &part.content, &location);
            }
        }
    }
    for (name, value) in &response.headers {
        let location = format!("the header {name} of the response");
        scan_text(&mut found, &format!("{name}: {value}"), &location);
    }
    scan_blob(&mut found, &response.body, "the response");
    found.dedup();
    found
}

fn certain_kinds(bytes: &[u8]) -> impl Iterator<Item = &'static str> {
    let found = find_in_body(bytes).into_iter();
    found
        .filter(|secret| secret.confidence == Confidence::Certain)
        .map(|secret| secret.kind)
}

fn scan_text(found: &mut Vec<String>, text: &str, location: &str) {
    found.extend(certain_kinds(text.as_bytes()).map(|kind| format!("{kind} in {location}")));
}

fn scan_blob(found: &mut Vec<String>, blob: &Blob, location: &str) {
    let Blob::Inline(bytes) = blob else { return };
    // The body is parsed only if it contains a secret.
    let kinds: Vec<&str> = certain_kinds(bytes).collect();
    if kinds.is_empty() {
        return;
    }
    let located = locate_in_body(bytes, location);
    let is_not_located = |kind: &&str| !located.iter().any(|secret| secret.starts_with(*kind));
    found.extend(
        kinds
            .iter()
            .copied()
            .filter(is_not_located)
            .map(|kind| format!("{kind} in the body of {location}")),
    );
    found.extend(located);
}

/// Describes the secrets in a body by JSON pointer, and by event in a stream; empty when the body is neither.
fn locate_in_body(body: &[u8], location: &str) -> Vec<String> {
    let mut found = Vec::new();
    if let Some(value) = parse_json(body) {
        scan_value(&value, "", &mut |kind, pointer| {
            found.push(format!("{kind} in {location} at {pointer}"));
        });
    } else if !body.contains(&b'\r') {
        let mut splitter = EventSplitter::default();
        let mut events = splitter.push(body);
        events.extend(splitter.rest());
        for (number, event) in events.iter().enumerate() {
            let data = event
                .split(|byte| *byte == b'\n')
                .find_map(|line| line.strip_prefix(b"data:"));
            if let Some(value) = data.and_then(|data| parse_json(data.trim_ascii())) {
                scan_value(&value, "", &mut |kind, pointer| {
                    found.push(format!("{kind} in event {} of {location} at {pointer}", number + 1));
                });
            }
        }
    }
    found
}

/// Reports every string with a secret, with its JSON pointer.
fn scan_value(value: &Value, pointer: &str, report: &mut impl FnMut(&'static str, &str)) {
    match value {
        Value::String(text) => {
            // Some rules need the name before the value.
            let name = pointer.rsplit('/').next().unwrap_or_default();
            certain_kinds(format!("{name}: {text}").as_bytes()).for_each(|kind| report(kind, pointer));
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                scan_value(item, &format!("{pointer}/{index}"), report);
            }
        }
        Value::Object(members) => {
            for (name, member) in members {
                let below = format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1"));
                if certain_kinds(name.as_bytes()).next().is_some() {
                    // The name itself is a secret and must not be shown.
                    certain_kinds(name.as_bytes()).for_each(|kind| report(kind, pointer));
                    scan_value(member, &format!("{pointer}/…"), report);
                } else {
                    scan_value(member, &below, report);
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn located(body: &str) -> Vec<String> {
        let mut found = Vec::new();
        let blob = Blob::Inline(Bytes::copy_from_slice(body.as_bytes()));
        scan_blob(&mut found, &blob, "the response");
        found
    }

    fn token() -> String {
        ["gh", "p_k7Hs02LmQx94TzRbVn61WcYp83GdJf5ErT2u"].concat()
    }

    #[test]
    fn a_secret_in_json_is_located_by_its_pointer() {
        let token = token();
        assert_eq!(
            located(&format!(r#"{{"a":[{{"b/c":"{token}"}}]}}"#)),
            ["a GitHub token in the response at /a/0/b~1c"]
        );
        assert_eq!(
            located(&format!(r#"{{"m":{{"{token}":{{"x":"{token}"}}}}}}"#)),
            [
                "a GitHub token in the response at /m",
                "a GitHub token in the response at /m/…/x"
            ]
        );
    }

    #[test]
    fn a_secret_in_a_stream_is_located_by_its_event() {
        let token = token();
        assert_eq!(
            located(&format!("data: {{}}\n\ndata: {{\"a\":\"{token}\"}}\n\n")),
            ["a GitHub token in event 2 of the response at /a"]
        );
        assert_eq!(
            located(&format!("a text with {token}")),
            ["a GitHub token in the body of the response"]
        );
    }

    #[test]
    fn a_finding_gives_a_reason_and_a_hint() {
        let finding = Finding::Secrets("a GitHub token in the response".to_owned());
        assert_eq!(finding.reason(), "it contains a secret: a GitHub token in the response");
        assert_eq!(finding.hint(), SECRET_HINT);
        let finding = Finding::ContentEncoding("compress".to_owned());
        assert!(finding.reason().ends_with("content encoding compress"));
        assert_eq!(finding.hint(), ENCODED_BODY_HINT);
    }
}
