//! Redaction: replaces secrets in requests and responses before anything is hashed, recorded or used in a file name.

mod dummy;
pub(crate) mod secret_scan;
mod unescape;

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use percent_encoding::percent_decode_str;
use serde_json::Value;

use self::dummy::MIN_SECRET_LENGTH;
pub(crate) use self::dummy::is_dummy;
use self::unescape::Unescaped;
use crate::cassette::{Blob, RecordedBody, RecordedPart, RecordedRequest};
use crate::http::{
    Frame, JsonLayout, Request, header_text, is_connection_header, multipart_boundary, parse_exact_json, parse_frames,
    parse_json, parse_multipart,
};
use crate::settings::matching::{PLACEHOLDER, Replacement};

/// The placeholder in a path or a query, where brackets would have to be escaped.
const PLACEHOLDER_IN_URL: &str = "REDACTED";

/// The placeholder in the name of a header.
const PLACEHOLDER_IN_HEADER_NAME: &str = "redacted";

/// The response headers that are recorded. All others are not, so that an unknown header cannot disclose a secret.
const RECORDED_HEADERS: [&str; 19] = [
    "accept-ranges",
    "content-length",
    "content-type",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-location",
    "etag",
    "last-modified",
    "location",
    "retry-after",
    "retry-after-ms",
    "mistral-correlation-id",
    "x-kong-request-id",
    "x-model-deprecation-timestamp",
    "x-should-retry",
    "deprecation",
    "sunset",
    "warning",
];

/// Prefixes of more recorded headers. Rate limits have many names (`x-ratelimit-remaining-req-minute`,
/// `ratelimitbysize-reset`). Without headers such as `access-control-allow-origin`, a browser rejects the response.
const RECORDED_PREFIXES: [&str; 3] = ["access-control-", "x-ratelimit", "ratelimit"];

/// Replaces secrets in requests and responses.
#[derive(Clone)]
pub(crate) struct Redactor {
    secrets: Arc<[String]>,
    patterns: Arc<[Replacement]>,
    more_headers: Arc<[String]>,
}

impl Redactor {
    /// Creates a redactor for known secrets, for patterns, and with names of more headers to record. It ignores secrets that are
    /// too short.
    pub(crate) fn new(
        secrets: impl IntoIterator<Item = String>,
        patterns: &[Replacement],
        more_headers: &[String],
    ) -> Self {
        let without_secrets = Self {
            secrets: Arc::default(),
            patterns: patterns.into(),
            more_headers: more_headers.iter().map(|name| name.to_ascii_lowercase()).collect(),
        };
        let secrets: Vec<String> = secrets.into_iter().collect();
        without_secrets.with_all(secrets.iter().map(String::as_str))
    }

    /// Returns a redactor that also replaces these credentials, except [dummies](is_dummy).
    pub(crate) fn with_secrets<'a>(&self, credentials: impl IntoIterator<Item = &'a str>) -> Self {
        self.with_all(credentials.into_iter().filter(|credential| !is_dummy(credential)))
    }

    fn with_all<'a>(&self, secrets: impl IntoIterator<Item = &'a str>) -> Self {
        let is_new =
            |secret: &&str| secret.len() >= MIN_SECRET_LENGTH && !self.secrets.iter().any(|known| known == secret);
        let new: Vec<String> = secrets
            .into_iter()
            .map(str::trim)
            .filter(is_new)
            .map(str::to_owned)
            .collect();
        if new.is_empty() {
            return self.clone();
        }
        let mut secrets: Vec<String> = self.secrets.iter().cloned().chain(new).collect();
        // A secret may be the beginning of another one. The longer one is replaced first, or its end would remain.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        Self {
            secrets: secrets.into(),
            ..self.clone()
        }
    }

    /// Converts a request to the form that is recorded and hashed, without secrets.
    pub(crate) fn redact_request(&self, request: &Request) -> RecordedRequest {
        let body = request.body_bytes();
        let parts = request
            .content_type()
            .and_then(multipart_boundary)
            .and_then(|boundary| parse_multipart(body, &boundary));
        RecordedRequest {
            host: request.host().map(str::to_owned),
            method: request.method().as_str().to_owned(),
            path: self.redact_path(request.path()).into_owned(),
            query: request.query().map(|query| self.redact_query(query).into_owned()),
            content_type: recorded_type(request)
                .filter(|_| parts.is_none())
                .map(|kind| self.redact_text(kind).into_owned()),
            body: match parts {
                None => RecordedBody::Blob(Blob::Inline(self.redact_body(body))),
                Some(parts) => RecordedBody::Multipart(
                    parts
                        .into_iter()
                        .map(|part| RecordedPart {
                            name: self.redact_text(&part.name).into_owned(),
                            filename: part.filename.map(|name| self.redact_text(&name).into_owned()),
                            content_type: part.content_type.map(|kind| self.redact_text(&kind).into_owned()),
                            headers: part
                                .headers
                                .into_iter()
                                .map(|(name, value)| {
                                    (self.redact_header_name(&name), self.redact_text(&value).into_owned())
                                })
                                .collect(),
                            content: Blob::Inline(self.redact_body(&part.content)),
                        })
                        .collect(),
                ),
            },
        }
    }

    /// The response headers that are recorded, in order and without secrets. Headers of the connection are removed before
    /// (see [`strip_response_headers`](crate::http::strip_response_headers)).
    pub(crate) fn recorded_headers(&self, headers: &http::HeaderMap) -> Vec<(String, String)> {
        let mut recorded = Vec::new();
        for (name, value) in headers {
            if self.is_recorded(name.as_str()) {
                let value = self.redact_text(&header_text(value)).into_owned();
                recorded.push((self.redact_header_name(name.as_str()), value));
            }
        }
        recorded
    }

    /// Replaces the secrets in the name of a header. Libraries write such names in lower case.
    fn redact_header_name(&self, name: &str) -> String {
        let mut clean = name.to_owned();
        for secret in self.secrets.iter() {
            for written in [secret, &secret.to_ascii_lowercase()] {
                clean = clean.replace(written.as_str(), PLACEHOLDER_IN_HEADER_NAME);
            }
        }
        clean
    }

    fn is_recorded(&self, name: &str) -> bool {
        (!is_connection_header(name) || name == "content-length")
            && (RECORDED_HEADERS.contains(&name)
                || RECORDED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
                || self.more_headers.iter().any(|recorded| recorded == name))
    }

    /// Replaces the secrets in a text.
    pub(crate) fn redact_text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        self.replace_patterns(self.replace_secrets(text, PLACEHOLDER))
    }

    fn replace_secrets<'a>(&self, text: &'a str, placeholder: &str) -> Cow<'a, str> {
        let mut clean = Cow::Borrowed(text);
        for secret in self.secrets.iter() {
            if clean.contains(secret.as_str()) {
                clean = Cow::Owned(clean.replace(secret.as_str(), placeholder));
            }
        }
        match self.replace_escaped(clean.as_bytes(), placeholder) {
            Some(redacted) => Cow::Owned(String::from_utf8_lossy(&redacted).into_owned()),
            None => clean,
        }
    }

    /// Replaces the secrets that are written with escapes: those of JSON, also in an event or in JSON lines, of URLs and of HTML.
    /// Everything else stays as it is. Returns `None` when there is no such secret.
    fn replace_escaped(&self, text: &[u8], placeholder: &str) -> Option<Vec<u8>> {
        if !self.may_be_escaped(text) {
            return None;
        }
        let unescaped = Unescaped::of(text);
        let mut found: Vec<Range<usize>> = Vec::new();
        for (level, decoded) in unescaped.texts() {
            for secret in self.secrets.iter() {
                let positions = memchr::memmem::find_iter(decoded, secret.as_str());
                found.extend(positions.map(|at| unescaped.origin(level, at..at + secret.len())));
            }
        }
        if found.is_empty() {
            return None;
        }
        // Of two secrets at one position, the longer one counts.
        found.sort_by_key(|range| (range.start, std::cmp::Reverse(range.end)));
        let (mut clean, mut copied) = (Vec::with_capacity(text.len()), 0);
        for range in found {
            if range.start >= copied {
                clean.extend_from_slice(&text[copied..range.start]);
                clean.extend_from_slice(placeholder.as_bytes());
            }
            copied = copied.max(range.end);
        }
        clean.extend_from_slice(&text[copied..]);
        Some(clean)
    }

    /// Whether a text has an escape that may stand for a character of a secret. The usual ones, `\n` and `\"`, do not.
    fn may_be_escaped(&self, text: &[u8]) -> bool {
        let has_special = || {
            self.secrets
                .iter()
                .any(|secret| secret.contains(['"', '\'', '\\', '&', '<', '>']))
        };
        !self.secrets.is_empty()
            && memchr::memchr3_iter(b'\\', b'%', b'&', text).any(|at| match &text[at..] {
                [b'\\', b'u', b'0' | b'{', ..] | [b'\\', b'U' | b'x' | b'/', ..] | [b'&', b'#', ..] => true,
                [b'%', first, second, ..] => first.is_ascii_hexdigit() && second.is_ascii_hexdigit(),
                [b'\\', b'"' | b'\'' | b'\\', ..] | [b'&', ..] => has_special(),
                _ => false,
            })
    }

    fn replace_patterns<'a>(&self, mut text: Cow<'a, str>) -> Cow<'a, str> {
        for Replacement { pattern, with } in self.patterns.iter() {
            if let Cow::Owned(replaced) = pattern.replace_all(&text, with.as_str()) {
                text = Cow::Owned(replaced);
            }
        }
        text
    }

    /// Replaces the secrets in a body. A body without secrets is returned unchanged.
    pub(crate) fn redact_body(&self, body: &Bytes) -> Bytes {
        if let Ok(frames) = parse_frames(body) {
            return self.redact_frames(body, &frames);
        }
        let mut body = body.clone();
        for secret in self.secrets.iter() {
            if memchr::memmem::find(&body, secret.as_bytes()).is_some() {
                body = replace_bytes(&body, secret.as_bytes(), PLACEHOLDER.as_bytes());
            }
        }
        if let Some(redacted) = self.replace_escaped(&body, PLACEHOLDER) {
            body = redacted.into();
        }
        if self.patterns.is_empty() {
            return body;
        }
        // A pattern is applied to the strings of JSON without their quotes and escapes.
        if let Some(mut value) = parse_json(&body) {
            if self.redact_value(&mut value) {
                let layout = parse_exact_json(&body).map_or(JsonLayout::default(), |(_, layout)| layout);
                return layout.write(&value).into();
            }
            return body;
        }
        let redacted =
            std::str::from_utf8(&body)
                .ok()
                .and_then(|text| match self.replace_patterns(Cow::Borrowed(text)) {
                    Cow::Owned(redacted) => Some(redacted),
                    Cow::Borrowed(_) => None,
                });
        redacted.map_or(body, Bytes::from)
    }

    /// Replaces the secrets in the content of frames, whose lengths and checksums fit it afterwards.
    fn redact_frames(&self, body: &Bytes, frames: &[Frame]) -> Bytes {
        let redacted = frames.iter().map(|frame| frame.map(|text| self.redact_body(text)));
        let redacted: Vec<Frame> = redacted.collect();
        if redacted == frames {
            return body.clone();
        }
        let written: Option<Vec<Vec<u8>>> = redacted.iter().map(Frame::write).collect();
        // If a frame becomes too large, the body is left out: that is better than a secret in a file.
        written.map_or_else(Bytes::new, |frames| frames.concat().into())
    }

    /// The position of the first secret that is not escaped.
    #[cfg(feature = "cli")]
    pub(crate) fn find_secret(&self, body: &[u8]) -> Option<usize> {
        let secrets = self.secrets.iter();
        secrets
            .filter_map(|secret| memchr::memmem::find(body, secret.as_bytes()))
            .min()
    }

    /// Redacts all strings of a value. Returns whether anything was replaced.
    fn redact_value(&self, value: &mut Value) -> bool {
        match value {
            Value::String(text) => {
                let redacted = match self.redact_text(text) {
                    Cow::Owned(redacted) if redacted != *text => redacted,
                    _ => return false,
                };
                *text = redacted;
                true
            }
            Value::Array(items) => items
                .iter_mut()
                .map(|item| self.redact_value(item))
                .fold(false, |a, b| a | b),
            Value::Object(members) => {
                let is_redacted = members
                    .keys()
                    .any(|name| matches!(self.redact_text(name), Cow::Owned(_)));
                if is_redacted {
                    *members = std::mem::take(members)
                        .into_iter()
                        .map(|(name, value)| (self.redact_text(&name).into_owned(), value))
                        .collect();
                }
                members
                    .values_mut()
                    .map(|member| self.redact_value(member))
                    .fold(is_redacted, |a, b| a | b)
            }
            _ => false,
        }
    }

    /// Replaces the secrets in a path, also percent-encoded ones.
    fn redact_path<'a>(&self, raw: &'a str) -> Cow<'a, str> {
        let clean = self.replace_secrets(raw, PLACEHOLDER_IN_URL);
        let decoded = percent_decode_str(&clean).decode_utf8_lossy();
        match self.redact_text(&decoded) {
            Cow::Owned(redacted) if redacted != decoded => Cow::Owned(percent_encode(&redacted)),
            _ => clean,
        }
    }

    /// Replaces the secrets in a query, also percent-encoded ones.
    fn redact_query<'a>(&self, raw: &'a str) -> Cow<'a, str> {
        let clean = self.replace_secrets(raw, PLACEHOLDER_IN_URL);
        let has_secret = |text: &str| self.redact_text(text) != text;
        if !form_urlencoded::parse(clean.as_bytes()).any(|(name, value)| has_secret(&name) || has_secret(&value)) {
            return clean;
        }
        let redacted = |text: &str| percent_encode(&self.redact_text(text));
        let pairs: Vec<String> = form_urlencoded::parse(clean.as_bytes())
            .map(|(name, value)| format!("{}={}", redacted(&name), redacted(&value)))
            .collect();
        Cow::Owned(pairs.join("&"))
    }
}

/// The content type to record: that of a body that is not JSON, unless it is `application/octet-stream`.
fn recorded_type(request: &Request) -> Option<&str> {
    let kind = request.content_type()?.trim();
    let is = |other: &str| {
        kind.get(..other.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(other))
    };
    let body = request.body_bytes();
    let is_usual = is("application/json") || is("application/octet-stream") || body.is_empty();
    (!is_usual && parse_json(body).is_none()).then_some(kind)
}

fn percent_encode(redacted: &str) -> String {
    const UNRESERVED: &percent_encoding::AsciiSet = &percent_encoding::NON_ALPHANUMERIC
        .remove(b'/')
        .remove(b'-')
        .remove(b'_')
        .remove(b'.')
        .remove(b'~');
    percent_encoding::utf8_percent_encode(&redacted.replace(PLACEHOLDER, PLACEHOLDER_IN_URL), UNRESERVED).to_string()
}

fn replace_bytes(body: &[u8], secret: &[u8], with: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(body.len());
    let mut rest = 0;
    for at in memchr::memmem::find_iter(body, secret) {
        out.extend_from_slice(&body[rest..at]);
        out.extend_from_slice(with);
        rest = at + secret.len();
    }
    out.extend_from_slice(&body[rest..]);
    out.into()
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, header};

    use super::*;
    use crate::http::frame_tests;

    const KEY: &str = "sk-roundtrip-0123456789";

    fn redactor() -> Redactor {
        Redactor::new([KEY.to_owned()], &[], &["X-Cost".to_owned()])
    }

    fn body(text: &'static str) -> String {
        String::from_utf8(redactor().redact_body(&Bytes::from_static(text.as_bytes())).to_vec()).unwrap()
    }

    #[test]
    fn a_secret_is_replaced_in_bodies_paths_and_queries() {
        assert_eq!(
            body(r#"{"a":"my key is sk-roundtrip-0123456789."}"#),
            r#"{"a":"my key is [REDACTED]."}"#
        );
        assert_eq!(body(r#"{"sk-roundtrip-0123456789":1}"#), r#"{"[REDACTED]":1}"#);
        assert_eq!(
            body(r#"{"a": "\u0073k-roundtrip-0123456789"}"#),
            r#"{"a": "[REDACTED]"}"#
        );
        assert_eq!(body("data: sk-roundtrip-0123456789\n\n"), "data: [REDACTED]\n\n");
        let request = Request::get("/v1/files/sk-roundtrip-0123456789?q=sk%2Droundtrip-0123456789&n=1").unwrap();
        assert_eq!(
            redactor().redact_request(&request).line(),
            "GET /v1/files/REDACTED?q=REDACTED&n=1"
        );
        let request = Request::get("/v1/files/%73k-roundtrip-0123456789").unwrap();
        assert_eq!(redactor().redact_request(&request).path, "/v1/files/REDACTED");
        let binary = redactor().redact_body(&Bytes::from_static(b"\xff\xfesk-roundtrip-0123456789\x00"));
        assert_eq!(&binary[..], b"\xff\xfe[REDACTED]\x00");
    }

    #[test]
    fn a_secret_that_is_said_back_is_replaced_wherever_it_stands() {
        let percent: String = KEY.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let units: String = KEY.bytes().map(|byte| format!("\\u{byte:04x}")).collect();
        for (text, redacted) in [
            (
                r#"data: {"a": "\u0073k-roundtrip-0123456789\n"}"#,
                r#"data: {"a": "[REDACTED]\n"}"#,
            ),
            (
                r#"data: {"a":"{\"b\":\"\\u0073k-roundtrip-0123456789\"}"}"#,
                r#"data: {"a":"{\"b\":\"[REDACTED]\"}"}"#,
            ),
            (
                "{\"a\":1}\n{\"a\":\"sk\\u002droundtrip-0123456789\"}\n",
                "{\"a\":1}\n{\"a\":\"[REDACTED]\"}\n",
            ),
            (
                &format!("{{\"a\":\"x{units}{units}\""),
                "{\"a\":\"x[REDACTED][REDACTED]\"",
            ),
            ("<a href='?k=sk%2Droundtrip-0123456789'>", "<a href='?k=[REDACTED]'>"),
            ("sk&#45;roundtrip-0123456789", "[REDACTED]"),
        ] {
            assert_eq!(body(text_of(text)), redacted, "{text}");
        }
        let mut headers = http::HeaderMap::new();
        let location = format!("https://a.example/cb?k={percent}&n=1");
        headers.insert("location", HeaderValue::from_str(&location).unwrap());
        headers.insert("x-ratelimit-sk-roundtrip-0123456789", HeaderValue::from_static("5"));
        let recorded = redactor().recorded_headers(&headers);
        let text = format!("{recorded:?}");
        assert!(text.contains("https://a.example/cb?k=[REDACTED]&n=1"), "{text}");
        assert!(text.contains("x-ratelimit-redacted"), "{text}");
        let quoted = Redactor::new(["pass\"word\\1234".to_owned()], &[], &[]);
        let body = quoted.redact_body(&Bytes::from_static(br#"{"a":"pass\"word\\1234"}"#));
        assert_eq!(&body[..], br#"{"a":"[REDACTED]"}"#);
    }

    #[test]
    fn a_secret_is_replaced_in_the_headers_of_a_part() {
        let body = format!(
            "--XX\r\nContent-Disposition: form-data; name=\"a {KEY}\"; filename=\"b {KEY}\"\r\n\
             Content-Type: text/plain; c={KEY}\r\nX-{KEY}: e {KEY}\r\n\r\nd {KEY}\r\n--XX--\r\n"
        );
        let request = Request::post("/v1/files").unwrap().body(body);
        let form = HeaderValue::from_static("multipart/form-data; boundary=XX");
        let recorded = redactor().redact_request(&request.header(header::CONTENT_TYPE, form));
        let RecordedBody::Multipart(parts) = recorded.body else {
            panic!()
        };
        let [part] = &parts[..] else { panic!() };
        assert_eq!(
            (&*part.name, part.filename.as_deref()),
            ("a [REDACTED]", Some("b [REDACTED]"))
        );
        assert_eq!(part.content_type.as_deref(), Some("text/plain; c=[REDACTED]"));
        let expected = (format!("X-{PLACEHOLDER_IN_HEADER_NAME}"), "e [REDACTED]".to_owned());
        assert_eq!(part.headers, [expected]);
        assert_eq!(part.content, Blob::Inline(Bytes::from_static(b"d [REDACTED]")));
    }

    #[test]
    fn other_text_is_not_changed() {
        for text in [
            r#"{"max_tokens":100,"prompt":"the key to the token economy","api_key":"x"}"#,
            "Bearer of good news: sk-round",
            "{\"spaced\" :  1.50}",
        ] {
            assert_eq!(body(text_of(text)), text);
        }
        let dummy = Redactor::new(["test".to_owned(), String::new()], &[], &[]);
        assert_eq!(dummy.redact_text("a test of testing"), "a test of testing");
        // A dummy in place of a key, but what a person names as a secret is one.
        let text = "anything but a test-api-key";
        let dummies = ["anything", "test-api-key"];
        assert_eq!(dummy.with_secrets(dummies).redact_text(text), text);
        let named = Redactor::new(dummies.map(str::to_owned), &[], &[]);
        assert_eq!(named.redact_text(text), "[REDACTED] but a [REDACTED]");
    }

    fn text_of(text: &str) -> &'static str {
        Box::leak(text.to_owned().into_boxed_str())
    }

    #[test]
    fn the_api_key_of_the_request_is_replaced() {
        let mut headers = http::HeaderMap::new();
        headers.insert("authorization", HeaderValue::from_static("Bearer another-key-42"));
        let request = Request::post("/v1/x")
            .unwrap()
            .headers(headers)
            .body("say another-key-42");
        let redactor = redactor().with_secrets(request.credentials());
        let RecordedBody::Blob(Blob::Inline(bytes)) = redactor.redact_request(&request).body else {
            panic!()
        };
        assert_eq!(&bytes[..], b"say [REDACTED]");
        assert_eq!(redactor.redact_text(KEY), PLACEHOLDER);
    }

    #[test]
    fn a_secret_that_begins_with_another_is_replaced_completely() {
        let redactor = Redactor::new(["abcd+efgh".to_owned(), " abcd+efgh-and-more\n".to_owned()], &[], &[]);
        assert_eq!(
            redactor.redact_text("abcd+efgh-and-more abcd+efgh"),
            "[REDACTED] [REDACTED]"
        );
        let request = Request::get("/v1/x?k=abcd+efgh&l=1").unwrap();
        assert_eq!(redactor.redact_request(&request).line(), "GET /v1/x?k=REDACTED&l=1");
    }

    #[test]
    fn patterns_apply_to_json_strings_and_preserve_the_layout() {
        let patterns = [Replacement {
            pattern: regex::Regex::new("^cust-(\\d)\\d*$").unwrap(),
            with: "<customer $1>".to_owned(),
        }];
        let redactor = Redactor::new([], &patterns, &[]);
        let clean = redactor.redact_body(&Bytes::from_static(b"{\"a\": [\"cust-123\"], \"b\": \"xcust-123\"}"));
        assert_eq!(&clean[..], b"{\"a\": [\"<customer 1>\"], \"b\": \"xcust-123\"}");
    }

    #[test]
    fn only_listed_headers_are_recorded() {
        let mut headers = http::HeaderMap::new();
        for (name, value) in [
            ("content-type", "application/json"),
            ("x-ratelimit-remaining-req-minute", "59"),
            ("set-cookie", "__cf_bm=secret"),
            ("access-control-allow-origin", "*"),
            ("x-unheard-of", "1"),
            ("x-cost", "sk-roundtrip-0123456789"),
            ("transfer-encoding", "chunked"),
        ] {
            headers.append(name, HeaderValue::from_static(value));
        }
        let recorded = redactor().recorded_headers(&headers);
        let names: Vec<&str> = recorded.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(
            names,
            [
                "content-type",
                "x-ratelimit-remaining-req-minute",
                "access-control-allow-origin",
                "x-cost"
            ]
        );
        assert_eq!(recorded[3].1, PLACEHOLDER);
    }

    #[test]
    fn secrets_in_frames_are_replaced_and_the_frames_stay_readable() {
        let chunk = |key: &str| frame_tests::chunk(&format!("{{\"a\":\"{key}\"}}"));
        let body = |key: &str| [chunk(key), frame_tests::event("x", format!("{{\"b\":\"{key}\"}}"))].concat();
        let secret = "sk-roundtrip-0123456789";
        assert_eq!(redactor().redact_body(&body(secret).into()), body(PLACEHOLDER));
        let clean = Bytes::from(body("nothing"));
        assert_eq!(redactor().redact_body(&clean), clean);
    }
}
