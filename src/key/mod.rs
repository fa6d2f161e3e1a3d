//! The request key: the SHA-256 of the [canonical request](CanonicalRequest), and a readable name.

mod canonical;
mod names;
mod part;
mod part_type;
mod scope;
mod slug;

use std::fmt;

#[cfg(feature = "realtime")]
pub(crate) use self::canonical::CanonicalMessage;
pub(crate) use self::canonical::CanonicalRequest;
#[cfg(feature = "proxy")]
pub(crate) use self::canonical::is_version;
pub(crate) use self::names::{BODIES, EXTENSION};
pub use self::scope::Scope;
#[cfg(feature = "cli")]
pub(crate) use self::slug::description_of;
use self::slug::{endpoint_of, slug_of};
use crate::cassette::{Cassette, RecordedRequest};
use crate::error::{Error, ErrorKind, Result};
use crate::hash::{is_lower_hex, sha256_hex};
use crate::settings::matching::Matching;

/// The number of hash digits in a name.
const SHORT: usize = 16;

/// The identity of a recorded request: the hash of the canonical request, the scope, and a readable name.
///
/// Two keys are equal when their hashes and scopes are equal. The name does not count.
#[derive(Clone, Debug)]
pub struct RequestKey {
    hash: String,
    scope: Scope,
    endpoint: String,
    slug: String,
}

impl RequestKey {
    /// Returns the key of a redacted request.
    pub(crate) fn of(request: &RecordedRequest, scope: &Scope, matching: &Matching) -> Self {
        Self::from_canonical(&CanonicalRequest::of(request, matching), scope)
    }

    /// Returns the key of a canonical request. Its name depends on the canonical request only, so that equal keys have
    /// equal names.
    pub(crate) fn from_canonical(request: &CanonicalRequest, scope: &Scope) -> Self {
        let (endpoint, ids) = endpoint_of(&request.path);
        Self {
            hash: sha256_hex(request.text().as_bytes()),
            scope: scope.clone(),
            slug: slug_of(request, &ids),
            endpoint,
        }
    }

    /// Returns a key from its parts. The hash may be only the first 16 digits, as in a file name.
    pub(crate) fn from_parts(hash: String, scope: Scope, endpoint: String, slug: String) -> Self {
        Self {
            hash,
            scope,
            endpoint,
            slug,
        }
    }

    /// Returns the same key with its whole hash.
    #[cfg(feature = "realtime")]
    pub(crate) fn with_hash(self, hash: &str) -> Self {
        Self {
            hash: hash.to_owned(),
            ..self
        }
    }

    /// Parses a [name](Self::name). The hash of the returned key is only the first 16 digits.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        let (_, file) = name.rsplit_once('/')?;
        let (slug, short) = file.rsplit_once('-')?;
        let (scope, endpoint) = scope_and_endpoint(name);
        let scope = scope.map_or(Ok(Scope::root()), Scope::new).ok()?;
        is_lower_hex(short, SHORT)
            .then(|| Self::from_parts(short.to_owned(), scope, endpoint.to_owned(), slug.to_owned()))
    }

    /// Returns the path of the cassette file in its directory.
    #[cfg(any(feature = "cli", feature = "object-store"))]
    pub(crate) fn file_name(&self) -> String {
        self.name() + EXTENSION
    }

    /// Parses a [file name](Self::file_name); see [`from_name`](Self::from_name).
    pub(crate) fn from_file_name(name: &str) -> Option<Self> {
        Self::from_name(name.strip_suffix(EXTENSION)?)
    }

    /// Checks that a cassette has this key. A key from a name is compared by its first 16 digits.
    ///
    /// # Errors
    /// [`ErrorKind::Cassette`] when the cassette has another key.
    pub(crate) fn check(&self, cassette: &Cassette, location: impl FnOnce() -> String) -> Result<()> {
        let hash = self.hash();
        let matches = cassette.key == hash || (hash == self.short() && cassette.key.starts_with(hash));
        if matches {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Cassette,
            format!(
                "{}: the name has the key {self}, and the content has the key {}",
                location(),
                cassette.key
            ),
        )
        .with_hint("run mistral-cassette verify to see whether the name or the content was changed"))
    }

    /// The unique id for stores that look up by it: the hash, preceded by the scope and a slash unless the scope is the
    /// root.
    ///
    /// A store whose entries people look at can use the [`name`](Self::name) instead.
    pub fn id(&self) -> String {
        if self.scope.is_root() {
            self.hash.clone()
        } else {
            format!("{}/{}", self.scope, self.hash)
        }
    }

    /// The hash: 64 hex digits in lower case.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// The first 16 digits of the hash, which are part of file names.
    pub fn short(&self) -> &str {
        &self.hash[..SHORT]
    }

    /// The scope of the request.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// The endpoint as a folder name, such as `chat-completions`.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// A short description of the request: ASCII, safe in file names.
    pub(crate) fn slug(&self) -> &str {
        &self.slug
    }

    /// Scope, endpoint, slug and short hash: the path of the cassette in its directory, without `.yaml`.
    pub fn name(&self) -> String {
        let mut name = String::new();
        if !self.scope.is_root() {
            name.push_str(self.scope.as_str());
            name.push('/');
        }
        name.push_str(&self.endpoint);
        name.push('/');
        name.push_str(&self.slug);
        name.push('-');
        name.push_str(self.short());
        name
    }
}

/// Returns the folders in the name of a cassette: its scope (`None` for the root) and its endpoint. The name of a file
/// that was moved by hand may contain neither.
pub(crate) fn scope_and_endpoint(name: &str) -> (Option<&str>, &str) {
    let folders = name.rsplit_once('/').map_or("", |(folders, _)| folders);
    match folders.rsplit_once('/') {
        Some((scope, endpoint)) => (Some(scope), endpoint),
        None => (None, folders),
    }
}

impl PartialEq for RequestKey {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash && self.scope == other.scope
    }
}

impl Eq for RequestKey {}

impl std::hash::Hash for RequestKey {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        // 16 digits of a SHA-256 are enough for a hash table.
        self.short().hash(state);
        self.scope.hash(state);
    }
}

impl fmt::Display for RequestKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.hash)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::http::Request;
    use crate::redaction::Redactor;

    fn recorded(method: &str, target: &str, body: &str) -> RecordedRequest {
        let request = Request::new(method.parse().unwrap(), target)
            .unwrap()
            .body(Bytes::from(body.to_owned()));
        Redactor::new([], &[], &[]).redact_request(&request)
    }

    fn key(method: &str, target: &str, body: &str) -> RequestKey {
        RequestKey::of(&recorded(method, target, body), &Scope::root(), &Matching::default())
    }

    fn chat(body: &str) -> String {
        key("POST", "/v1/chat/completions", body).hash().to_owned()
    }

    fn matching(yaml: &str) -> Matching {
        crate::settings::Settings::from_yaml(format!("matching:\n{yaml}").as_bytes(), "settings.yaml")
            .unwrap()
            .matching
    }

    #[test]
    fn scope_and_endpoint_are_read_from_a_name() {
        for (name, scope, endpoint) in [
            ("chat/a-3f9a1c2b7d4e8a10.yaml", None, "chat"),
            ("one/chat/a", Some("one"), "chat"),
            ("one/two/chat/a", Some("one/two"), "chat"),
            ("a.yaml", None, ""),
        ] {
            assert_eq!(scope_and_endpoint(name), (scope, endpoint), "{name}");
        }
        assert!(RequestKey::from_name("/chat/a-3f9a1c2b7d4e8a10").is_none());
    }

    #[test]
    fn the_key_is_the_sha256_of_the_canonical_text() {
        let request = recorded(
            "POST",
            "/v1/x?b=2&a=%20&a=1",
            r#"{"b":1.0,"a":["\u00e9",9007199254740993]}"#,
        );
        let text = CanonicalRequest::of(&request, &Matching::default()).text();
        let expected = r#"{"body":{"json":{"a":["é",{"$integer":"9007199254740993"}],"b":1}},"method":"POST","path":"/v1/x","query":[["a"," "],["a","1"],["b","2"]]}"#;
        assert_eq!(text, expected);
        // printf '%s' '<that text>' | sha256sum
        assert_eq!(
            sha256_hex(b"abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(
            RequestKey::of(&request, &Scope::root(), &Matching::default()).hash(),
            sha256_hex(expected.as_bytes())
        );
    }

    #[test]
    fn equivalent_requests_have_the_same_key() {
        let one = chat(r#"{"model":"m","temperature":1.0,"messages":[{"role":"user","content":"é"}]}"#);
        assert_eq!(
            one,
            chat(
                "{ \"temperature\": 1, \"messages\": [{\"content\":\"\\u00e9\",\"role\":\"user\"}], \"model\": \"m\"}\n"
            )
        );
        assert_eq!(
            one,
            key(
                "POST",
                "/v1/v1/chat/completions#stream",
                r#"{"model":"m","temperature":1e0,"messages":[{"role":"user","content":"é"}]}"#
            )
            .hash()
        );
        assert_eq!(
            key("GET", "/v1/files?a=1&b=2", ""),
            key("GET", "/v1/files?b=2&a=%31", "")
        );
        assert_eq!(key("GET", "/v1/files?", ""), key("GET", "/v1/files", ""));
        let (encoded, plain) = (
            key("GET", "/v1/models/ft%3am%2Dx%3A1", ""),
            key("GET", "/v1/models/ft:m-x:1", ""),
        );
        assert_eq!(encoded, plain);
        assert_eq!(encoded.name(), plain.name());
    }

    #[test]
    fn paths_with_different_meanings_have_different_keys() {
        let paths = [
            "/v1/a%2Fb",
            "/v1/a/b",
            "/v1/a%25b",
            "/v1/a%",
            "/v1/a%25",
            "/v1/a%2",
            "/v1/a%252",
            "/v1/%C3%A9",
            "/v1/%E9",
            "/v1/a%3Fb",
            "/v1/a+b",
            "/v1/a%20b",
            "/v1/a//b",
        ];
        let keys: std::collections::HashSet<String> = paths
            .iter()
            .map(|path| key("GET", path, "").hash().to_owned())
            .collect();
        assert_eq!(keys.len(), paths.len());
    }

    #[test]
    fn different_requests_have_different_keys() {
        let bodies = [
            r#"{"model":"m"}"#,
            r#"{"model":"m","stop":null}"#,
            r#"{"model":"m","stream":true}"#,
            r#"{"model":"m","random_seed":9007199254740992}"#,
            r#"{"model":"m","random_seed":9007199254740993}"#,
            r#"{"model":"m","random_seed":18446744073709551615}"#,
            r#"{"model":"m","random_seed":18446744073709551616}"#,
            r#"{"model":"m","random_seed":18446744073709551617}"#,
            r#"{"model":"m","a":"1"}"#,
            r#"{"model":"m","a":1}"#,
            r#"{"model":"m","a":[]}"#,
            "",
            "model: m",
            r#"["model"]"#,
        ];
        let keys: std::collections::HashSet<String> = bodies.iter().map(|body| chat(body)).collect();
        assert_eq!(keys.len(), bodies.len());
        assert_ne!(
            key("GET", "/v1/files/a", "").hash(),
            key("DELETE", "/v1/files/a", "").hash()
        );
        assert_ne!(
            key("GET", "/v1/files?a=1", "").hash(),
            key("GET", "/v1/files?a=2", "").hash()
        );
    }

    /// Large integers and bytes that are not UTF-8 have escaped forms in the canonical text.
    #[test]
    fn escaped_values_do_not_collide_with_other_values() {
        let bodies = [
            r#"{"a":9007199254740993}"#,
            r#"{"a":{"$integer":"9007199254740993"}}"#,
            r#"{"a":{"$$integer":"9007199254740993"}}"#,
            r#"{"a":{"$$integer":"9007199254740993","$integer":1}}"#,
        ];
        let keys: std::collections::HashSet<String> = bodies.iter().map(|body| chat(body)).collect();
        assert_eq!(keys.len(), bodies.len());
        let queries = ["%FF", "%FE", "%EF%BF%BD", "%25FF", "%FF%FF"];
        let of = |query: &str| key("GET", &format!("/v1/files?a={query}"), "").hash().to_owned();
        let keys: std::collections::HashSet<String> = queries.iter().map(|query| of(query)).collect();
        assert_eq!(keys.len(), queries.len());
        assert_eq!(of("%FF+"), of("%ff%20"));
    }

    #[test]
    fn the_boundary_the_order_of_parts_and_derived_types_are_not_in_the_key() {
        let body = |boundary: &str, kind: &str, first: &str, second: &str| {
            let part = |text: &str| match text {
                "file" => format!(
                    "--{boundary}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"hello.wav\"\r\nContent-Type: {kind}\r\n\r\nRIFF\r\n"
                ),
                text => format!("--{boundary}\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\n{text}\r\n"),
            };
            let body = format!("{}{}--{boundary}--\r\n", part(first), part(second));
            let kind = http::HeaderValue::from_str(&format!("multipart/form-data; boundary={boundary}")).unwrap();
            let request = Request::post("/v1/audio/transcriptions")
                .unwrap()
                .header(http::header::CONTENT_TYPE, kind)
                .body(body);
            RequestKey::of(
                &Redactor::new([], &[], &[]).redact_request(&request),
                &Scope::root(),
                &Matching::default(),
            )
        };
        let python = body("0123abcd", "audio/x-wav", "voxtral", "file");
        assert_eq!(
            python,
            body("----formdata-undici-012345", "audio/wav", "file", "voxtral")
        );
        assert_ne!(python, body("0123abcd", "audio/x-wav", "other", "file"));
        assert_eq!(
            python.name(),
            format!("audio-transcriptions/hello-wav-{}", python.short())
        );
    }

    /// The key of a form with one part of these headers.
    fn form(head: &[u8]) -> String {
        let body = [b"a preamble\r\n--XX\r\n", head, b"\r\n\r\nsame bytes\r\n--XX--\r\n"].concat();
        let request = Request::post("/v1/files").unwrap().body(body).header(
            http::header::CONTENT_TYPE,
            http::HeaderValue::from_static("multipart/form-data; boundary=XX"),
        );
        let recorded = Redactor::new([], &[], &[]).redact_request(&request);
        RequestKey::of(&recorded, &Scope::root(), &Matching::default())
            .hash()
            .to_owned()
    }

    #[test]
    fn everything_that_a_part_says_is_in_the_key() {
        let heads: [&[u8]; 27] = [
            br#"Content-Disposition: form-data; name="file""#,
            br#"Content-Disposition: form-data; name="File""#,
            br#"Content-Disposition: form-data; name="file"; filename="a.pdf""#,
            br#"Content-Disposition: form-data; name="file"; filename="b.pdf""#,
            br#"Content-Disposition: form-data; name="file"; filename="""#,
            br#"Content-Disposition: form-data; name="file"; filename*=UTF-8''a.pdf"#,
            br#"Content-Disposition: form-data; name="file"; filename*=UTF-8''b.pdf"#,
            br#"Content-Disposition: form-data; name="file"; filename*=iso-8859-1''a.pdf"#,
            br#"Content-Disposition: form-data; name="file"; filename="a.pdf"; filename*=UTF-8''b.pdf"#,
            br#"Content-Disposition: form-data; name="file"; filename="a.pdf"; filename="b.pdf""#,
            br#"Content-Disposition: form-data; name="file"; size=1"#,
            br#"Content-Disposition: form-data; name*=UTF-8''file"#,
            br#"Content-Disposition: form-data"#,
            br#"Content-Disposition: attachment; name="file""#,
            b"Content-Disposition: form-data; name=\"file\"; filename=\"r\xe9sum\xe9.pdf\"",
            b"Content-Disposition: form-data; name=\"file\"; filename=\"r\xe8sum\xe8.pdf\"",
            "Content-Disposition: form-data; name=\"file\"; filename=\"r\u{e9}sum\u{e9}.pdf\"".as_bytes(),
            b"Content-Disposition: form-data; name=\"f\xe9\"",
            b"Content-Disposition: form-data; name=\"file\"\r\nX-Kind: 1",
            b"Content-Disposition: form-data; name=\"file\"\r\nX-Kind: 2",
            b"Content-Disposition: form-data; name=\"file\"\r\nX-Kind: 2\r\nX-Kind: 1",
            b"Content-Disposition: form-data; name=\"file\"\r\nContent-Type: text/csv",
            b"Content-Disposition: form-data; name=\"file\"\r\nContent-Type: text/plain; charset=utf-8",
            b"Content-Disposition: form-data; name=\"file\"\r\nContent-Type: text/plain; charset=iso-8859-1",
            b"Content-Disposition: form-data; name=\"file\"\r\nContent-Transfer-Encoding: base64",
            b"Content-Disposition: form-data; name=\"file\"\r\nContent-Language: fr",
            b"X-Kind: 1",
        ];
        let keys: std::collections::HashSet<String> = heads.iter().map(|head| form(head)).collect();
        assert_eq!(keys.len(), heads.len());
    }

    #[test]
    fn the_spelling_of_the_headers_of_a_part_is_not_in_the_key() {
        let key = form(br#"Content-Disposition: form-data; name="file"; filename="a.pdf""#);
        for head in [
            "content-disposition:form-data;NAME=file ;FileName=\"a.pdf\";",
            "Content-Type: application/pdf\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.pdf\"",
            "Content-Disposition: form-data; name=file; filename=a.pdf; filename*=utf-8''a%2Epdf\r\nContent-Length: 10",
            "Content-Disposition: form-data; filename=\"a.pdf\"; name=\"file\"\r\nContent-Transfer-Encoding: Binary",
        ] {
            assert_eq!(form(head.as_bytes()), key, "{head}");
        }
    }

    #[test]
    fn ignored_and_replaced_values_do_not_change_the_key() {
        let with = |matching: &Matching, body: &str, target: &str| {
            RequestKey::of(&recorded("POST", target, body), &Scope::root(), matching)
        };
        let ignoring = matching("  ignore: [/metadata, /messages/*/name]\n  ignore_query: [page]");
        let one = with(
            &ignoring,
            r#"{"metadata":{"run":1},"messages":[{"name":"a","content":"x"}]}"#,
            "/v1/x?page=1",
        );
        assert_eq!(
            one,
            with(
                &ignoring,
                r#"{"messages":[{"name":"b","content":"x"}]}"#,
                "/v1/x?page=2"
            )
        );
        assert_ne!(
            one,
            with(&ignoring, r#"{"messages":[{"name":"b","content":"y"}]}"#, "/v1/x")
        );
        let replacing = matching("  replace:\n  - pattern: '\\d{4}-\\d\\d-\\d\\d'\n    with: <date>");
        let today = with(
            &replacing,
            r#"{"messages":[{"content":"today is 2026-11-21"}]}"#,
            "/v1/x",
        );
        assert_eq!(
            today,
            with(
                &replacing,
                r#"{"messages":[{"content":"today is 2027-01-01"}]}"#,
                "/v1/x"
            )
        );
        assert_ne!(
            today,
            with(
                &Matching::default(),
                r#"{"messages":[{"content":"today is 2026-11-21"}]}"#,
                "/v1/x"
            )
        );
    }
}
