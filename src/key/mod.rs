//! The request key: SHA-256 of the canonical request, and the name that people see.
//!
//! # Key scheme 1
//! The hash is over this JSON object in the canonical form of [RFC 8785](https://www.rfc-editor.org/rfc/rfc8785):
//!
//! - `method` and `path`, as strings; in the path only what [RFC 3986](https://www.rfc-editor.org/rfc/rfc3986#section-3.3)
//!   does not let stand in a segment is percent-encoded, so that `ft:m` and `ft%3Am` are one model;
//! - `query`, when there is one: the decoded pairs, sorted, each as an array of two strings, and of a third one, the SHA-256 of the
//!   bytes of the pair, where those are no UTF-8;
//! - `body`, when there is one, as an object with one member: `json` with the value; or `multipart` with the sorted
//!   list of parts, each an object of `name`, `filename` (when it has one) and the `sha256` of its bytes; or `text`
//!   with the text; or `sha256` with the hash of bytes that are no text. A body is JSON when it is an object or an
//!   array, whatever its content type says.
//!
//! RFC 8785 writes every number as the nearest double, so that integers above 2^53 would be merged; here such an integer
//! becomes the object `{"$integer":"<its digits>"}`, and a member that is called `$integer` (`$$integer`, …) has one more dollar sign. What [`Matching`] leaves out is removed before.

use std::borrow::Cow;
use std::fmt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};
use serde_json::{Map, Value, json};

use crate::cassette::{Blob, Cassette, RecordedBody, RecordedPart, RecordedRequest};
use crate::error::{Error, ErrorKind, Result};
use crate::hash::sha256_hex;
use crate::http::{Plain, parse};
use crate::settings::matching::Matching;

/// The longest slug, in bytes: with the endpoint and the key it stays far below every file system's limit.
const LONGEST_SLUG: usize = 48;

/// The longest name of a scope, in bytes.
const LONGEST_SCOPE: usize = 200;

/// Names that no file has on Windows, with or without an extension.
const DEVICES: [&str; 22] = [
    "con", "prn", "aux", "nul", "com1", "com2", "com3", "com4", "com5", "com6", "com7", "com8", "com9", "lpt1", "lpt2",
    "lpt3", "lpt4", "lpt5", "lpt6", "lpt7", "lpt8", "lpt9",
];

/// The folder of large bodies, which is no endpoint and no scope.
pub(crate) const BODIES: &str = "bodies";

/// What the name of a cassette's file has behind that of its key.
pub(crate) const EXTENSION: &str = ".yaml";

/// Integers beyond this are not all doubles.
const LARGEST_SAFE_INTEGER: u64 = (1 << 53) - 1;

/// The member that stands for such an integer, behind a dollar sign.
const INTEGER: &str = "integer";

/// What is percent-encoded in a segment of a path: all but RFC 3986's `pchar`.
const NO_PCHAR: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'!')
    .remove(b'$')
    .remove(b'&')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b'+')
    .remove(b',')
    .remove(b';')
    .remove(b'=')
    .remove(b':')
    .remove(b'@');

/// What identifies a recorded request: the hash of the canonical request, the scope it was made in, and a readable name.
///
/// Two keys are equal when hash and scope are; the name is for people.
#[derive(Clone, Debug)]
pub struct RequestKey {
    hash: String,
    scope: Scope,
    endpoint: String,
    slug: String,
}

impl RequestKey {
    /// The key of a redacted request.
    ///
    /// The name comes from the canonical request as well, so that one key has one name.
    pub(crate) fn of(request: &RecordedRequest, scope: &Scope, matching: &Matching) -> Self {
        let canonical = canonical_value(request, matching);
        let (endpoint, ids) = endpoint_of(canonical["path"].as_str().unwrap_or_default());
        let slug = slug_of(request, &canonical["body"], &ids);
        Self {
            hash: sha256_hex(canonical_text(canonical).as_bytes()),
            scope: scope.clone(),
            endpoint,
            slug,
        }
    }

    /// A key known by its parts, as a directory finds them in a file name: the hash may be its first 16 digits only.
    pub(crate) fn from_parts(hash: String, scope: Scope, endpoint: String, slug: String) -> Self {
        Self {
            hash,
            scope,
            endpoint,
            slug,
        }
    }

    /// A key by its [name](Self::name), as stores list it: its hash is the first 16 digits only.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        let (_, file) = name.rsplit_once('/')?;
        let (slug, short) = file.rsplit_once('-')?;
        let is_short = short.len() == 16 && short.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let (scope, endpoint) = scope_and_endpoint(name);
        let scope = scope.map_or(Ok(Scope::root()), Scope::new).ok()?;
        is_short.then(|| Self::from_parts(short.to_owned(), scope, endpoint.to_owned(), slug.to_owned()))
    }

    /// The [name](Self::name) of its file in a directory.
    #[cfg(any(feature = "cli", feature = "object-store"))]
    pub(crate) fn file_name(&self) -> String {
        self.name() + EXTENSION
    }

    /// A key by the name of its file, as [`from_name`](Self::from_name).
    pub(crate) fn from_file_name(name: &str) -> Option<Self> {
        Self::from_name(name.strip_suffix(EXTENSION)?)
    }

    /// Checks that a cassette belongs to this key, as far as the key is known: a name has the first 16 digits only.
    ///
    /// # Errors
    /// [`ErrorKind::Cassette`] when the key in it is another.
    pub(crate) fn check(&self, cassette: &Cassette, location: impl FnOnce() -> String) -> Result<()> {
        let known = self.hash();
        let is_it = cassette.key == known || (known == self.short() && cassette.key.starts_with(known));
        if is_it {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Cassette,
            format!(
                "{}: the key in it is {}, and the request that its name stands for has {self}",
                location(),
                cassette.key
            ),
        )
        .with_hint("mistral-cassette verify tells whether the file or its name was changed"))
    }

    /// What tells it from every other key, for stores that look up by it: the hash, behind the scope and a slash unless
    /// that is the root.
    ///
    /// [`name`](Self::name) is for people, and serves stores whose entries people look at.
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

    /// The first 16 digits of the hash, as they stand in file names.
    pub fn short(&self) -> &str {
        &self.hash[..16]
    }

    /// The scope in which the request was made.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// The endpoint as a folder name, such as `chat-completions`.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// A few words of the request: ASCII, short, safe in file names.
    pub(crate) fn slug(&self) -> &str {
        &self.slug
    }

    /// Scope, endpoint, slug and short hash: the cassette's path in its directory, without `.yaml`.
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

/// The folders in the name of a cassette: its scope, `None` for the root, and its endpoint. A file that a person has put
/// elsewhere may have neither.
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
        // The beginning of a hash is one.
        self.short().hash(state);
        self.scope.hash(state);
    }
}

impl fmt::Display for RequestKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.hash)
    }
}

/// A folder of its own for one test or suite, inside a cassette directory; the root scope is the directory itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Scope(String);

impl Scope {
    /// The cassette directory itself.
    pub fn root() -> Self {
        Self::default()
    }

    /// A scope of this name: one or more folder names joined by `/`.
    ///
    /// # Errors
    /// [`ErrorKind::Request`] unless each folder name is 1 to 100 characters of `A–Z a–z 0–9 _ - .`, does not begin
    /// or end with a dot, does not end with `.yaml`, and is not `bodies`; and unless the whole has at most 200.
    /// Names that Windows keeps for devices (`aux`, `nul`) are none either. Two names that differ in case only share a folder
    /// where the file system does not tell them apart.
    pub fn new(name: &str) -> Result<Self> {
        if name.len() > LONGEST_SCOPE {
            return Err(Error::new(
                ErrorKind::Request,
                format!(
                    "a name of {} bytes cannot be a scope: it has at most {LONGEST_SCOPE}",
                    name.len()
                ),
            ));
        }
        for folder in name.split('/') {
            let in_lower_case = folder.to_ascii_lowercase();
            let device = in_lower_case.split('.').next().unwrap_or_default();
            let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
            let is_fine = (1..=100).contains(&folder.len())
                && folder.bytes().all(is_plain)
                && !folder.starts_with('.')
                && !folder.ends_with('.')
                && !in_lower_case.ends_with(EXTENSION)
                && in_lower_case != BODIES
                && !DEVICES.contains(&device);
            if !is_fine {
                return Err(Error::new(
                    ErrorKind::Request,
                    format!("{name:?} cannot be a scope: {folder:?} is no folder name that every system takes"),
                )
                .with_hint("use letters, digits, _, - and . (not first or last), at most 100; \"bodies\" and names that end in .yaml are taken"));
            }
        }
        Ok(Self(name.to_owned()))
    }

    /// The name; empty for the root.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is the cassette directory itself.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The canonical request, before integers are guarded and it is hashed; its parts are what a miss compares.
pub(crate) fn canonical_value(request: &RecordedRequest, matching: &Matching) -> Value {
    let mut canonical = Map::new();
    canonical.insert("method".to_owned(), Value::from(request.method.as_str()));
    canonical.insert("path".to_owned(), Value::from(canonical_path(&request.path)));
    let query = query_pairs(request, matching);
    if !query.is_empty() {
        canonical.insert("query".to_owned(), json!(query));
    }
    if let Some(body) = canonical_body(&request.body, matching) {
        canonical.insert("body".to_owned(), body);
    }
    Value::Object(canonical)
}

/// The text that is hashed.
pub(crate) fn canonical_text(mut canonical: Value) -> String {
    guard_integers(&mut canonical);
    // Only maps whose keys are no strings and floats that are no numbers cannot be written; a `Value` holds neither.
    serde_json_canonicalizer::to_string(&Plain(&canonical)).unwrap_or_else(|_| canonical.to_string())
}

/// The path with each segment percent-encoded in one way; one with a `%` that begins no escape stays as it is.
fn canonical_path(path: &str) -> String {
    let canonical = |segment: &str| {
        let is_escaped = |rest: &str| rest.len() >= 2 && rest.bytes().take(2).all(|byte| byte.is_ascii_hexdigit());
        if segment.split('%').skip(1).all(is_escaped) {
            let bytes: Vec<u8> = percent_decode_str(segment).collect();
            percent_encode(&bytes, NO_PCHAR).to_string()
        } else {
            segment.to_owned()
        }
    };
    path.split('/').map(canonical).collect::<Vec<_>>().join("/")
}

fn query_pairs(request: &RecordedRequest, matching: &Matching) -> Vec<Vec<String>> {
    let pairs = request.query.iter().flat_map(|query| query.split('&'));
    let canonical = |pair: &str| {
        let (name, value) = form_urlencoded::parse(pair.as_bytes()).next()?;
        if matching.ignore_query.iter().any(|ignored| *ignored == name) {
            return None;
        }
        let mut canonical = vec![name.into_owned(), replaced(&value, matching)];
        let bytes: Vec<u8> = percent_decode_str(&pair.replace('+', " ")).collect();
        if std::str::from_utf8(&bytes).is_err() {
            canonical.push(sha256_hex(&bytes));
        }
        Some(canonical)
    };
    let mut pairs: Vec<Vec<String>> = pairs.filter_map(canonical).collect();
    pairs.sort();
    pairs
}

fn canonical_body(body: &RecordedBody, matching: &Matching) -> Option<Value> {
    let bytes = match body {
        RecordedBody::Multipart(parts) => {
            let mut parts: Vec<Value> = parts.iter().filter_map(|part| canonical_part(part, matching)).collect();
            parts.sort_by_cached_key(Value::to_string);
            return Some(json!({ "multipart": parts }));
        }
        RecordedBody::Blob(Blob::External { sha256 }) => return Some(json!({ "sha256": sha256 })),
        RecordedBody::Blob(Blob::Inline(bytes)) if bytes.is_empty() => return None,
        RecordedBody::Blob(Blob::Inline(bytes)) => bytes,
    };
    if let Some(mut value) = parse(bytes).filter(|value| value.is_object() || value.is_array()) {
        for pointer in &matching.ignore {
            remove(&mut value, pointer.segments());
        }
        if !matching.replace.is_empty() {
            replace_strings(&mut value, matching);
        }
        return Some(json!({ "json": value }));
    }
    Some(match std::str::from_utf8(bytes) {
        Ok(text) => json!({ "text": replaced(text, matching) }),
        Err(_) => json!({ "sha256": sha256_hex(bytes) }),
    })
}

fn canonical_part(part: &RecordedPart, matching: &Matching) -> Option<Value> {
    let is_ignored = matching
        .ignore
        .iter()
        .any(|pointer| matches!(pointer.segments(), [name] if *name == part.name));
    if is_ignored {
        return None;
    }
    let sha256 = match &part.content {
        Blob::External { sha256 } => sha256.clone(),
        Blob::Inline(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) if !matching.replace.is_empty() => sha256_hex(replaced(text, matching).as_bytes()),
            _ => sha256_hex(bytes),
        },
    };
    let mut value = json!({ "name": part.name, "sha256": sha256 });
    if let Some(filename) = &part.filename {
        value["filename"] = Value::from(replaced(filename, matching));
    }
    Some(value)
}

fn remove(value: &mut Value, path: &[String]) {
    let [first, rest @ ..] = path else { return };
    match value {
        Value::Object(members) if rest.is_empty() => {
            if first == "*" {
                members.clear();
            }
            members.shift_remove(first);
        }
        Value::Object(members) => {
            for (_, member) in members.iter_mut().filter(|(name, _)| first == "*" || first == *name) {
                remove(member, rest);
            }
        }
        Value::Array(items) if rest.is_empty() => {
            if first == "*" {
                items.clear();
            } else if let Some(at) = first.parse::<usize>().ok().filter(|at| *at < items.len()) {
                // The place stays, so that the items behind it keep theirs.
                items[at] = Value::Null;
            }
        }
        Value::Array(items) => {
            for (at, item) in items.iter_mut().enumerate() {
                if first == "*" || first.parse::<usize>() == Ok(at) {
                    remove(item, rest);
                }
            }
        }
        _ => {}
    }
}

fn replace_strings(value: &mut Value, matching: &Matching) {
    match value {
        Value::String(text) => *text = replaced(text, matching),
        Value::Array(items) => items.iter_mut().for_each(|item| replace_strings(item, matching)),
        Value::Object(members) => members
            .values_mut()
            .for_each(|member| replace_strings(member, matching)),
        _ => {}
    }
}

fn replaced(text: &str, matching: &Matching) -> String {
    matching.replace.iter().fold(text.to_owned(), |text, replacement| {
        replacement
            .pattern
            .replace_all(&text, replacement.with.as_str())
            .into_owned()
    })
}

fn guard_integers(value: &mut Value) {
    match value {
        Value::Number(number) => {
            let magnitude = number.as_i64().map(i64::unsigned_abs).or_else(|| number.as_u64());
            if magnitude.is_some_and(|magnitude| magnitude > LARGEST_SAFE_INTEGER) {
                *value = json!({ format!("${INTEGER}"): number.to_string() });
            }
        }
        Value::Array(items) => items.iter_mut().for_each(guard_integers),
        Value::Object(members) => {
            members.values_mut().for_each(guard_integers);
            let is_taken = |name: &str| name.starts_with('$') && name.trim_start_matches('$') == INTEGER;
            if members.keys().any(|name| is_taken(name)) {
                let guarded = |name: String| if is_taken(&name) { format!("${name}") } else { name };
                let taken = std::mem::take(members).into_iter();
                *members = taken.map(|(name, value)| (guarded(name), value)).collect();
            }
        }
        _ => {}
    }
}

/// The folder name of an endpoint, and the segments of its path that are ids: `/v1/files/0b6c…/content` is
/// `files-content`, and `0b6c…` is left.
fn endpoint_of(path: &str) -> (String, Vec<String>) {
    let is_version = |segment: &str| {
        segment
            .strip_prefix('v')
            .is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let is_word =
        |segment: &str| segment.len() <= 30 && segment.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    let (mut words, mut ids) = (Vec::new(), Vec::new());
    for segment in path
        .split('/')
        .filter(|segment| !segment.is_empty() && !is_version(segment))
    {
        let word = if words.is_empty() {
            slugged(segment, 30)
        } else {
            segment.to_owned()
        };
        if words.len() < 3 && is_word(&word) || words.is_empty() && !word.is_empty() {
            words.push(word);
        } else {
            ids.push(segment.to_owned());
        }
    }
    if words.is_empty() {
        words.push("root".to_owned());
    }
    if words == [BODIES] {
        words.push("endpoint".to_owned());
    }
    (words.join("-"), ids)
}

/// A few words that tell a person which request this is; `body` is that of the canonical request.
fn slug_of(request: &RecordedRequest, body: &Value, ids: &[String]) -> String {
    let parts = body["multipart"].as_array().into_iter().flatten();
    let filename = parts.filter_map(|part| part["filename"].as_str()).next();
    let said = filename.map(str::to_owned).or_else(|| said_in(&body["json"]));
    let mut words = match request.method.as_str() {
        "GET" | "POST" => String::new(),
        other => format!("{other} "),
    };
    match said {
        Some(text) => words.push_str(&text),
        None => words.push_str(&ids.join(" ")),
    }
    let slug = slugged(&words, LONGEST_SLUG);
    if slug.is_empty() {
        slugged(&request.method, LONGEST_SLUG)
    } else {
        slug
    }
}

fn said_in(body: &Value) -> Option<String> {
    let last_user_message = |messages: &Value| {
        let messages = messages.as_array()?;
        let is_user = |message: &&Value| message["role"] == "user";
        let message = messages.iter().rev().find(is_user).or(messages.last())?;
        text_of(message.get("content")?)
    };
    let document = |value: &Value| {
        ["document_name", "document_url", "image_url", "file_id"]
            .iter()
            .find_map(|name| text_of(value.get(*name)?))
            .map(|url| url.rsplit('/').next().unwrap_or_default().to_owned())
            .filter(|name| name.len() <= 200)
    };
    None.or_else(|| last_user_message(body.get("messages")?))
        .or_else(|| text_of(body.get("prompt")?))
        .or_else(|| last_user_message(body.get("inputs")?))
        .or_else(|| last_user_message(body.get("input")?))
        .or_else(|| text_of(body.get("inputs")?))
        .or_else(|| text_of(body.get("input")?))
        .or_else(|| document(body.get("document")?))
        .or_else(|| text_of(body.get("name")?))
        .or_else(|| text_of(body.get("model")?))
        .filter(|text| !text.trim().is_empty())
}

/// The text of a string, of the first string in a list, or of the first text chunk.
fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Array(items) => items.iter().find_map(text_of),
        Value::Object(chunk) => ["text", "content", "url"]
            .iter()
            .find_map(|name| text_of(chunk.get(*name)?)),
        _ => None,
    }
}

/// Lower-case ASCII words joined by dashes, at most `longest` bytes, without the words that questions open with.
fn slugged(text: &str, longest: usize) -> String {
    const OPENERS: [&str; 13] = [
        "what", "whats", "who", "is", "are", "the", "a", "an", "please", "can", "could", "you", "me",
    ];
    let start = text.char_indices().nth(400).map_or(text, |(end, _)| &text[..end]);
    let ascii = if start.is_ascii() {
        Cow::Borrowed(start)
    } else {
        Cow::Owned(deunicode::deunicode(start))
    };
    let ascii = ascii.replace('\'', "");
    let words = || {
        ascii
            .split(|character: char| !character.is_ascii_alphanumeric())
            .filter(|word| !word.is_empty())
    };
    let opens = |word: &&str| OPENERS.iter().any(|opener| word.eq_ignore_ascii_case(opener));
    let opening = words().take_while(opens).count();
    let only_openers = words().nth(opening).is_none();
    let mut slug = String::new();
    for word in words().skip(if only_openers { 0 } else { opening }) {
        if !slug.is_empty() && slug.len() + 1 + word.len() > longest {
            break;
        }
        if !slug.is_empty() {
            slug.push('-');
        }
        slug.push_str(word);
    }
    slug.make_ascii_lowercase();
    slug.truncate(longest);
    slug
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
        Redactor::new([], &[], &[]).request(&request)
    }

    fn key(method: &str, target: &str, body: &str) -> RequestKey {
        RequestKey::of(&recorded(method, target, body), &Scope::root(), &Matching::default())
    }

    fn chat(body: &str) -> String {
        key("POST", "/v1/chat/completions", body).hash().to_owned()
    }

    fn matching(yaml: &str) -> Matching {
        crate::Settings::from_yaml(format!("matching:\n{yaml}").as_bytes(), "settings.yaml")
            .unwrap()
            .matching
    }

    #[test]
    fn the_folders_of_a_name_are_scope_and_endpoint() {
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
    fn the_canonical_text_is_what_the_scheme_says() {
        let request = recorded(
            "POST",
            "/v1/x?b=2&a=%20&a=1",
            r#"{"b":1.0,"a":["\u00e9",9007199254740993]}"#,
        );
        let text = canonical_text(canonical_value(&request, &Matching::default()));
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
    fn what_says_the_same_has_the_same_key() {
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
    fn what_another_spelling_of_a_path_would_change_stays() {
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
    fn whatever_differs_has_another_key() {
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

    /// Guards the two collisions that fuzzing was built to look for.
    #[test]
    fn nothing_looks_like_what_stands_for_something_else() {
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
    fn multipart_counts_by_names_and_bytes() {
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
                &Redactor::new([], &[], &[]).request(&request),
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

    #[test]
    fn what_the_settings_leave_out_takes_no_part() {
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

    #[test]
    fn the_name_tells_a_person_which_request_it_is() {
        let name = |method: &str, target: &str, body: &str| {
            let key = key(method, target, body);
            format!("{}/{}", key.endpoint(), key.slug())
        };
        let chat = |text: &str| {
            name(
                "POST",
                "/v1/chat/completions",
                &json!({"messages": [{"role": "user", "content": text}, {"role": "assistant", "content": "hm"}]})
                    .to_string(),
            )
        };
        assert_eq!(
            chat("What is the capital of France?"),
            "chat-completions/capital-of-france"
        );
        assert_eq!(
            chat("What's the weather like in Zürich today, and what should I wear for a long walk?"),
            "chat-completions/weather-like-in-zurich-today-and-what-should-i"
        );
        assert_eq!(chat("日本の首都は?"), "chat-completions/ri-ben-noshou-du-ha");
        assert_eq!(chat("../../etc/passwd\0 CON:|<>"), "chat-completions/etc-passwd-con");
        assert_eq!(chat("???"), "chat-completions/post");
        assert_eq!(chat(&"x".repeat(500)), format!("chat-completions/{}", "x".repeat(48)));
        assert_eq!(
            name("POST", "/v1/embeddings", r#"{"input":["Mistral is a wind","b"]}"#),
            "embeddings/mistral-is-a-wind"
        );
        assert_eq!(
            name("POST", "/v1/fim/completions", r#"{"prompt":"def add(a, b):"}"#),
            "fim-completions/def-add-a-b"
        );
        assert_eq!(
            name(
                "POST",
                "/v1/ocr",
                r#"{"document":{"type":"document_url","document_url":"https://arxiv.org/pdf/2201.04234"}}"#
            ),
            "ocr/2201-04234"
        );
        assert_eq!(name("GET", "/v1/models", ""), "models/get");
        assert_eq!(
            name("GET", "/v1/models/mistral-small-latest", ""),
            "models/mistral-small-latest"
        );
        assert_eq!(name("DELETE", "/v1/files/0b6c", ""), "files/delete-0b6c");
        assert_eq!(name("GET", "/v1/files/0b6c/content", ""), "files-content/0b6c");
        assert_eq!(name("GET", "/", ""), "root/get");
        assert_eq!(name("GET", "/v1/bodies", ""), "bodies-endpoint/get");
    }

    #[test]
    fn a_scope_stays_inside_the_directory() {
        for name in ["weather_agent", "suite/test-1", "a.b", "weather"] {
            assert_eq!(Scope::new(name).unwrap().as_str(), name);
        }
        for name in [
            "",
            ".",
            "..",
            "../x",
            "a/../b",
            "a//b",
            "/a",
            "a/",
            "a\\b",
            "C:",
            ".git",
            "a.",
            "bodies",
            "bodies/x",
            "settings.yaml",
            "Bodies",
            "X.YAML",
            "aux",
            "NUL.x",
            "a/b.yaml",
            "é",
            "a b",
            "a\0",
        ] {
            assert!(Scope::new(name).is_err(), "{name:?}");
        }
        assert!(Scope::new(&"x".repeat(101)).is_err());
        assert!(Scope::new(&"x/".repeat(200)[..399]).is_err());
    }
}
