//! Searches a request and its response before they are recorded.

use bytes::Bytes;
use serde_json::Value;

use super::body::find_in_body;
use super::checks::Confidence;
use super::environment::Environment;
use super::mask::{mask, name_reveals};
use super::rules::QUERY_CREDENTIAL;
use super::search::{Secret, SecretValue};
use crate::cassette::{Blob, Message, RecordedBody, RecordedRequest, RecordedResponse};
use crate::http::{EventSplitter, parse_frames, parse_json};
use crate::settings::Secrets;

/// The hint for a response that contains a secret.
pub(crate) const SECRET_HINT: &str = "add its pattern to redaction in settings.yaml, which replaces it before anything is recorded; or allow it with secrets: allow in settings.yaml or with --allow-secrets";

/// The hint for a response that cannot be searched.
pub(crate) const ENCODED_BODY_HINT: &str = "decode the body before it is recorded, as mistral-cassette does for the encodings that it requests; or allow bodies that cannot be searched with secrets: allow in settings.yaml or with --allow-secrets";

/// The reason why an exchange must not be recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    /// It contains secrets.
    Secrets(Found),
    /// Its response body still has this content encoding and cannot be searched.
    ContentEncoding(String),
}

impl Finding {
    /// The reason as the end of a sentence: `it contains a secret: …`.
    pub(crate) fn reason(&self) -> String {
        match self {
            Self::Secrets(found) => format!("it contains a secret: {}", found.summary()),
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

    /// A name that was derived from the request, for a message; `…` if it may contain a part of a secret.
    pub(crate) fn without_secrets<'a>(&self, name: &'a str) -> &'a str {
        match self {
            Self::Secrets(found) if found.reveals(name) => "…",
            _ => name,
        }
    }
}

/// The names that are written with an exchange.
pub(crate) struct WrittenNames<'a> {
    pub(crate) scope: &'a str,
    pub(crate) test: &'a str,
    /// The words in the name of the file.
    pub(crate) slug: &'a str,
}

/// Searches an exchange that is about to be recorded, and the names that would be written with it. Returns `None` when it may be
/// recorded, and when the policy is [`Secrets::Allow`].
pub(crate) fn scan_exchange(
    request: &RecordedRequest,
    response: &RecordedResponse,
    names: &WrittenNames<'_>,
    policy: Secrets,
) -> Option<Finding> {
    if policy == Secrets::Allow {
        return None;
    }
    if let Some(encoding) = response.content_encoding() {
        return Some(Finding::ContentEncoding(encoding.to_owned()));
    }
    let mut found = secrets_in(request, response);
    found.scan_names(names);
    (!found.descriptions.is_empty()).then_some(Finding::Secrets(found))
}

/// Describes the certain secrets in an exchange by kind and position, for example `a GitHub token in the request at
/// /messages/0/content`.
#[cfg(all(fuzzing, feature = "cli"))]
pub(crate) fn certain_secrets(request: &RecordedRequest, response: &RecordedResponse) -> Vec<String> {
    secrets_in(request, response).descriptions
}

fn secrets_in(request: &RecordedRequest, response: &RecordedResponse) -> Found {
    let mut found = Found::default();
    found.scan_text(&request.path, "the path of the request");
    if let Some(query) = &request.query {
        found.scan_query(query, "the query of the request");
    }
    if let Some(content_type) = &request.content_type {
        found.scan_text(content_type, "the content type of the request");
    }
    match &request.body {
        RecordedBody::Blob(blob) => found.scan_blob(blob, "the request"),
        RecordedBody::Multipart(parts) => {
            for part in parts {
                // The name itself may contain a secret.
                let location = format!("the part {:?} of the request", mask(&part.name));
                for text in [Some(&part.name), part.filename.as_ref(), part.content_type.as_ref()] {
                    found.scan_text(text.map_or("", String::as_str), &location);
                }
                for (name, value) in &part.headers {
                    found.scan_text(&format!("{name}: {value}"), &location);
                }
                found.scan_blob(&part.content, &location);
            }
        }
        // They are in the session, below.
        RecordedBody::Messages(_) => {}
    }
    for (name, value) in &response.headers {
        let location = format!("the header {} of the response", mask(name));
        found.scan_text(&format!("{name}: {value}"), &location);
        // A name is in lower case.
        found.scan_name(name, "the name of a header of the response");
        if let Some((_, query)) = value.split_once('?') {
            found.scan_query(query, &location);
        }
    }
    found.scan_blob(&response.body, "the response");
    for (number, message) in response.messages.iter().enumerate() {
        match message {
            Message::Closed(close) => found.scan_text(&close.reason, "the reason of the close of the session"),
            Message::Audio(_) => {}
            message => {
                let location = format!("message {} of the session", number + 1);
                message
                    .blob()
                    .into_iter()
                    .for_each(|blob| found.scan_blob(blob, &location));
            }
        }
    }
    found.descriptions.dedup();
    found
}

/// The secrets that were found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// By kind and position.
    descriptions: Vec<String>,
    values: Vec<SecretValue>,
}

impl Found {
    /// The first few secrets, and the number of the others.
    fn summary(&self) -> String {
        const MAX_SHOWN: usize = 5;
        let shown: Vec<&str> = self
            .descriptions
            .iter()
            .take(MAX_SHOWN)
            // A name in a position may be a secret that only its surroundings reveal.
            .map(|description| match description.split_once(" in ") {
                Some((kind, position)) if self.reveals(position) => kind,
                _ => description,
            })
            .collect();
        let more = match self.descriptions.len().saturating_sub(MAX_SHOWN) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        shown.join(", ") + &more
    }

    fn reveals(&self, name: &str) -> bool {
        self.values.iter().any(|SecretValue(value)| name_reveals(name, value))
    }

    fn scan_text(&mut self, text: &str, location: &str) {
        for secret in certain(text.as_bytes()) {
            self.add(secret, location);
        }
    }

    fn scan_names(&mut self, names: &WrittenNames<'_>) {
        let (scope, test) = (
            (names.scope, "the name of the scope"),
            (names.test, "the name of the test"),
        );
        for (name, location) in [scope, test] {
            self.scan_text(name, location);
        }
        // The words of a slug are from the request. Joined with hyphens, they may look like a token.
        for (name, location) in [scope, test, (names.slug, "the file name")] {
            self.scan_name(name, location);
        }
    }

    /// Searches a name for the values of variables, whatever their case.
    fn scan_name(&mut self, name: &str, location: &str) {
        for kind in Environment::of_process().kinds_in_name(name) {
            self.add_description(format!("{kind} in {location}"));
        }
    }

    /// Scans a query. In it, the name of a parameter suffices to make its value a secret.
    fn scan_query(&mut self, query: &str, location: &str) {
        let query = format!("?{query}");
        // A plus sign stands for a blank or for itself.
        let texts = [
            Some(query.replace('+', " ")).filter(|spaced| *spaced != query),
            Some(query),
        ];
        for secret in texts.iter().flatten().flat_map(|text| find_in_body(text.as_bytes())) {
            if secret.confidence == Confidence::Certain || secret.kind == QUERY_CREDENTIAL {
                self.add(secret, location);
            }
        }
    }

    fn add(&mut self, secret: Secret, location: &str) {
        self.add_description(format!("{} in {location}", secret.kind));
        self.values.push(secret.value);
    }

    fn add_description(&mut self, description: String) {
        if !self.descriptions.contains(&description) {
            self.descriptions.push(description);
        }
    }

    fn scan_blob(&mut self, blob: &Blob, location: &str) {
        let Blob::Inline(bytes) = blob else { return };
        // The body is parsed only if it contains a secret.
        let secrets: Vec<Secret> = certain(bytes).collect();
        if secrets.is_empty() {
            return;
        }
        let located = locate_in_body(bytes, location);
        for secret in secrets {
            if located.iter().any(|description| description.starts_with(secret.kind)) {
                self.values.push(secret.value);
            } else {
                self.add(secret, &format!("the body of {location}"));
            }
        }
        self.descriptions.extend(located);
    }
}

fn certain(bytes: &[u8]) -> impl Iterator<Item = Secret> {
    let found = find_in_body(bytes).into_iter();
    found.filter(|secret| secret.confidence == Confidence::Certain)
}

fn certain_kinds(bytes: &[u8]) -> impl Iterator<Item = &'static str> {
    certain(bytes).map(|secret| secret.kind)
}

/// Describes the secrets in a body by JSON pointer, and by event in a stream or by line in JSON lines; empty when the body is
/// neither.
fn locate_in_body(body: &[u8], location: &str) -> Vec<String> {
    let mut found = Vec::new();
    if let Some(value) = parse_json(body) {
        scan_value(&value, "", &mut |kind, pointer| {
            found.push(format!("{kind} in {location} at {pointer}"));
        });
        return found;
    }
    if let Ok(frames) = parse_frames(body) {
        for (number, frame) in frames.iter().enumerate() {
            scan_value(
                &parse_json(&frame.content()).unwrap_or_default(),
                "",
                &mut |kind, pointer| {
                    found.push(format!("{kind} in event {} of {location} at {pointer}", number + 1));
                },
            );
        }
        return found;
    }
    let mut splitter = EventSplitter::default();
    let mut events = splitter.push(body);
    events.extend(splitter.rest());
    let data = |event: &Bytes| {
        let mut lines = event.split(|byte| matches!(byte, b'\n' | b'\r'));
        lines.find_map(|line| parse_json(line.strip_prefix(b"data:")?.trim_ascii()))
    };
    let events = events.iter().map(data).map(|value| ("event", value));
    let lines = body.split(|byte| *byte == b'\n').map(parse_json);
    for (number, (unit, value)) in events.enumerate().chain(lines.map(|value| ("line", value)).enumerate()) {
        scan_value(&value.unwrap_or_default(), "", &mut |kind, pointer| {
            found.push(format!("{kind} in {unit} {} of {location} at {pointer}", number + 1));
        });
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
    use super::*;

    fn located(body: &str) -> Vec<String> {
        let mut found = Found::default();
        let blob = Blob::Inline(Bytes::copy_from_slice(body.as_bytes()));
        found.scan_blob(&blob, "the response");
        found.descriptions
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
            located(&format!("event: a\r\ndata: {{\"a\":\"{token}\"}}\r\n\r\n")),
            ["a GitHub token in event 1 of the response at /a"]
        );
        assert_eq!(
            located(&format!("{{}}\n{{\"a\":\"{token}\"}}\n")),
            ["a GitHub token in line 2 of the response at /a"]
        );
        assert_eq!(
            located(&format!("a text with {token}")),
            ["a GitHub token in the body of the response"]
        );
    }

    #[test]
    fn a_finding_gives_a_reason_and_a_hint() {
        let mut found = Found::default();
        found.scan_text(&token(), "the response");
        let finding = Finding::Secrets(found);
        assert_eq!(finding.reason(), "it contains a secret: a GitHub token in the response");
        assert_eq!(finding.hint(), SECRET_HINT);
        assert_eq!(finding.without_secrets("chat-completions"), "chat-completions");
        assert_eq!(finding.without_secrets("x-k7hs02lm"), "…");
        let finding = Finding::ContentEncoding("compress".to_owned());
        assert!(finding.reason().ends_with("content encoding compress"));
        assert_eq!(finding.hint(), ENCODED_BODY_HINT);
    }

    #[test]
    fn a_secret_in_a_frame_is_found_behind_its_base64() {
        let chunk = |text: &str| crate::http::frame_tests::chunk(&format!("{{\"a\":\"{text}\"}}"));
        let mut found = Found::default();
        let body = [chunk("nothing"), chunk(&token())].concat();
        found.scan_blob(&Blob::Inline(body.into()), "the response");
        assert_eq!(found.descriptions, ["a GitHub token in event 2 of the response at /a"]);
    }
}
