//! What keys, tokens, cookies and passwords look like, whoever's they are: found in what is kept, and never repeated.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, AhoCorasickKind, Input};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use base64::{Engine as _, alphabet};
use regex::bytes::{Captures, Regex};
use serde_json::Value;

use crate::cassette::{Blob, RecordedBody, RecordedRequest, RecordedResponse};
use crate::http::{Splitter, parse};
use crate::settings::Secrets;
use crate::settings::matching::PLACEHOLDER;

/// How likely it is that what was found is a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Trust {
    /// It stands where secrets stand, and looks random.
    Likely,
    /// It has the shape of a key that somebody gives out.
    Sure,
}

/// A secret that was found, without its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Secret {
    /// What it is, with its article: `a GitHub token`.
    pub(crate) kind: &'static str,
    pub(crate) trust: Trust,
    /// Where it stands; `None` where it does not stand as it is.
    pub(crate) at: Option<Range<usize>>,
}

/// One shape.
struct Kind {
    name: &'static str,
    /// One of them is in every text that holds one, in upper or lower case: most texts hold none, which is quick to see.
    literals: &'static [&'static str],
    /// Its last group is the secret, or the whole match where there is none.
    pattern: &'static str,
    /// Whether what has the shape is no placeholder.
    judge: fn(&Captures<'_>) -> Option<Trust>,
}

/// Where a word begins: in JSON too, where a line break is written as backslash and n.
macro_rules! word {
    () => {
        r"(?:\b|\\[nrt])"
    };
}

/// What stands between a name and its value, in code, JSON, JSON inside of JSON, YAML and headers.
macro_rules! is {
    () => {
        r#"\\*["']?\s*(?::|=>?)\s*\\*["']?"#
    };
}

/// The shapes. Of two that match at one place the first one counts.
const KINDS: [Kind; 26] = [
    kind(
        "an Anthropic API key",
        &["sk-ant-"],
        concat!(word!(), r"(sk-ant-[A-Za-z0-9_-]{20,})"),
        random,
    ),
    kind(
        "an OpenAI API key",
        &["sk-"],
        concat!(
            word!(),
            r"(sk-(?:proj|svcacct|admin)-[A-Za-z0-9_-]{20,}|sk-[A-Za-z0-9]{10,}T3BlbkFJ[A-Za-z0-9]{10,})"
        ),
        random,
    ),
    kind(
        "an API key",
        &["sk-"],
        concat!(word!(), r"(sk-[A-Za-z0-9_-]{20,})"),
        random,
    ),
    kind(
        "a Stripe key",
        &["k_live_"],
        concat!(word!(), r"([rs]k_live_[A-Za-z0-9]{16,})"),
        no_placeholder,
    ),
    kind(
        "an AWS access key id",
        &["AKIA", "ASIA"],
        concat!(word!(), r"((?:AKIA|ASIA)[A-Z2-7]{16})\b"),
        no_placeholder,
    ),
    kind(
        "an AWS secret key",
        &["secret"],
        concat!(
            r"(?i:secret[_-]?(?:access[_-]?)?key)",
            is!(),
            r"([A-Za-z0-9/+]{40})(?:[^A-Za-z0-9/+=]|$)"
        ),
        mixed,
    ),
    kind(
        "an Azure storage key",
        &["AccountKey="],
        r"\bAccountKey=([A-Za-z0-9+/]{80,}==)",
        no_placeholder,
    ),
    kind(
        "a Google API key",
        &["AIza"],
        concat!(word!(), r"(AIza[0-9A-Za-z_-]{35})"),
        no_placeholder,
    ),
    kind(
        "a Google OAuth token",
        &["ya29."],
        concat!(word!(), r"(ya29\.[0-9A-Za-z_-]{20,})"),
        no_placeholder,
    ),
    kind(
        "a Google client secret",
        &["GOCSPX-"],
        concat!(word!(), r"(GOCSPX-[0-9A-Za-z_-]{20,})"),
        no_placeholder,
    ),
    kind(
        "a GitHub token",
        &["ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_"],
        concat!(word!(), r"(gh[pousr]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{22,})"),
        no_placeholder,
    ),
    kind(
        "a GitLab token",
        &["glpat-"],
        concat!(word!(), r"(glpat-[A-Za-z0-9_-]{20,})"),
        no_placeholder,
    ),
    kind(
        "a Slack token",
        &["xox", "xapp-", "hooks.slack.com"],
        concat!(
            word!(),
            r"(xox[abeoprs]-[A-Za-z0-9-]{10,}|xapp-\d-[A-Za-z0-9-]{10,}|hooks\.slack\.com/services/T[A-Z0-9]+/B[A-Z0-9]+/[A-Za-z0-9]{16,})"
        ),
        random,
    ),
    kind(
        "a Hugging Face token",
        &["hf_"],
        concat!(word!(), r"(hf_[A-Za-z0-9]{30,})"),
        no_placeholder,
    ),
    kind(
        "an npm token",
        &["npm_"],
        concat!(word!(), r"(npm_[A-Za-z0-9]{36})\b"),
        no_placeholder,
    ),
    kind(
        "a PyPI token",
        &["pypi-AgE"],
        concat!(word!(), r"(pypi-AgE[A-Za-z0-9_-]{40,})"),
        no_placeholder,
    ),
    kind(
        "a JSON web token",
        &["eyJ"],
        concat!(
            word!(),
            r"(eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,})"
        ),
        sure,
    ),
    kind(
        "a private key",
        &["PRIVATE KEY"],
        r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----(?:\\+[nr]|\s|[A-Za-z-]+: [^\n\\]*)*([A-Za-z0-9+/=]{16,})",
        no_placeholder,
    ),
    kind(
        "a session cookie",
        &["__cf_bm", "_cfuvid", "cf_clearance"],
        r#"\b(?:__cf_bm|_cfuvid|cf_clearance)=([^;\s"'\\]{8,})"#,
        no_placeholder,
    ),
    kind(
        "a session cookie",
        &["cookie"],
        concat!(
            r#"(?i)\bcookie"#,
            is!(),
            r#"[^\r\n"']{0,400}?[a-z0-9_.-]*(?:sess|sid|auth|token)[a-z0-9_.-]*=([a-z0-9%._~+/-]{16,})"#
        ),
        random,
    ),
    kind(
        "basic authorization",
        &["basic"],
        concat!(r"(?i)\bauthorization", is!(), r"basic\s+([a-z0-9+/]{8,}={0,2})"),
        name_and_password,
    ),
    kind(
        "a Mistral API key",
        &["key", "authorization"],
        concat!(
            r"(?i:mistral[_-]?(?:api[_-]?)?key|\bx-api-key|\bapi[_-]?key|\bauthorization)",
            is!(),
            r"(?i:bearer\s+)?([A-Za-z0-9]{32})(?:[^A-Za-z0-9_.-]|$)"
        ),
        mixed,
    ),
    kind(
        "a bearer token",
        &["bearer"],
        concat!(r"(?i)", word!(), r"bearer\s+([a-z0-9._~+/-]{16,})"),
        random,
    ),
    kind(
        "a password in a URL",
        &["://"],
        r#"(?i)\b[a-z][a-z0-9+.-]{1,20}://([^/\s:@"'\\<>{}$\[\]*]{0,64}):([^/\s:@"'\\<>{}$\[\]*]{3,100})@[a-z0-9\[]"#,
        password_of_a_url,
    ),
    kind(
        "a signed URL",
        &["sig=", "signature="],
        r"(?i)(?:[?&]|\\u0026|&amp;)(?:sig=[a-z0-9%+/]{43,}|x-(?:amz|goog)-signature=[0-9a-f]{64,})",
        likely,
    ),
    kind(
        "what looks like a password or a token",
        &["token", "secret", "passw", "pwd", "passphrase", "key", "credential"],
        concat!(
            r#"(?i)([a-z0-9_.-]{0,40}(?:token|secret|passw(?:or)?d|pwd|passphrase|api[_-]?key|access[_-]?key|private[_-]?key|credential))"#,
            is!(),
            r#"([a-z0-9_+/~!@#%^*=.-]{8,200})(?:[^a-z0-9(\[]|$)"#
        ),
        behind_a_name,
    ),
];

const fn kind(
    name: &'static str,
    literals: &'static [&'static str],
    pattern: &'static str,
    judge: fn(&Captures<'_>) -> Option<Trust>,
) -> Kind {
    Kind {
        name,
        literals,
        pattern,
        judge,
    }
}

struct Compiled {
    literals: AhoCorasick,
    /// The length of the longest one.
    longest: usize,
    /// Which kind each literal belongs to.
    kind_of: Vec<usize>,
    patterns: Vec<Regex>,
}

static COMPILED: LazyLock<Compiled> = LazyLock::new(|| {
    let literals = || {
        let numbered = KINDS.iter().enumerate();
        numbered.flat_map(|(index, kind)| kind.literals.iter().map(move |literal| (index, literal)))
    };
    let pattern = |kind: &Kind| Regex::new(&format!("(?-u){}", kind.pattern)).expect("a pattern of this file");
    Compiled {
        literals: AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .kind(Some(AhoCorasickKind::DFA))
            .build(literals().map(|(_, literal)| literal))
            .expect("the literals of this file"),
        longest: literals().map(|(_, literal)| literal.len()).max().unwrap_or_default(),
        kind_of: literals().map(|(index, _)| index).collect(),
        patterns: KINDS.iter().map(pattern).collect(),
    }
});

/// How far before and behind a literal its pattern may reach.
const REACH: (usize, usize) = (64, 8192);

/// How many are found in one text: more say nothing more.
const MOST: usize = 1000;

/// For each kind the places of these bytes where it could be.
fn places_in(bytes: &[u8]) -> Vec<Vec<Range<usize>>> {
    let mut places = vec![Vec::new(); KINDS.len()];
    // Most texts hold none, or one near their end. To find the first takes half as long as to find all.
    let Some(first) = COMPILED.literals.find(bytes) else {
        return places;
    };
    // One that begins before it may end behind it.
    let from = first.end().saturating_sub(COMPILED.longest);
    for found in COMPILED.literals.find_overlapping_iter(Input::new(bytes).range(from..)) {
        let places: &mut Vec<Range<usize>> = &mut places[COMPILED.kind_of[found.pattern().as_usize()]];
        let place = found.start().saturating_sub(REACH.0)..bytes.len().min(found.end() + REACH.1);
        match places.last_mut() {
            Some(last) if place.start <= last.end => last.end = last.end.max(place.end),
            _ => places.push(place),
        }
    }
    places
}

/// What in these bytes looks like a secret, from the first to the last.
pub(crate) fn secrets_in(bytes: &[u8]) -> Vec<Secret> {
    let mut found: Vec<(Range<usize>, Secret)> = Vec::new();
    for ((kind, pattern), places) in KINDS.iter().zip(&COMPILED.patterns).zip(places_in(bytes)) {
        for place in places {
            for captures in pattern.captures_iter(&bytes[place.clone()]) {
                let Some(value) = captures.iter().flatten().last() else {
                    continue;
                };
                if found.len() >= MOST {
                    break;
                }
                let range = place.start + value.start()..place.start + value.end();
                let is_known = || {
                    let mut known = found.iter();
                    known.any(|(known, _)| known.start < range.end && range.start < known.end)
                };
                if let Some(trust) = (kind.judge)(&captures)
                    && !is_inside_of_data(bytes, range.clone())
                    && !is_known()
                {
                    let secret = Secret {
                        kind: kind.name,
                        trust,
                        at: Some(range.clone()),
                    };
                    found.push((range, secret));
                }
            }
        }
    }
    found.sort_by_key(|(range, _)| range.start);
    found.into_iter().map(|(_, secret)| secret).collect()
}

/// Whether this stands in the middle of base64: an image or a sound holds every short text somewhere.
fn is_inside_of_data(bytes: &[u8], range: Range<usize>) -> bool {
    const MORE: usize = 128;
    let is_base64 = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    let before = bytes[..range.start]
        .iter()
        .rev()
        .take(MORE)
        .take_while(is_base64)
        .count();
    let behind = bytes[range.end..].iter().take(MORE).take_while(is_base64).count();
    before + behind >= MORE
}

fn last<'a>(captures: &Captures<'a>) -> &'a [u8] {
    captures.iter().flatten().last().map_or(&[], |value| value.as_bytes())
}

fn sure(_: &Captures<'_>) -> Option<Trust> {
    Some(Trust::Sure)
}

fn likely(_: &Captures<'_>) -> Option<Trust> {
    Some(Trust::Likely)
}

fn no_placeholder(captures: &Captures<'_>) -> Option<Trust> {
    (!is_placeholder(last(captures))).then_some(Trust::Sure)
}

/// Not prose (`Bearer authentication-and-authorization`) and no placeholder (`sk-xxxxxxxxxxxxxxxxxxxxxxxx`).
fn random(captures: &Captures<'_>) -> Option<Trust> {
    let value = last(captures);
    (is_random(value, 10, 3) && !is_placeholder(value)).then_some(Trust::Sure)
}

/// Lower case, upper case and digits: no hash and no word.
fn mixed(captures: &Captures<'_>) -> Option<Trust> {
    let value = last(captures);
    let is_mixed = value.iter().any(u8::is_ascii_lowercase) && value.iter().any(u8::is_ascii_uppercase);
    (is_mixed && is_random(value, 10, 4) && !is_placeholder(value)).then_some(Trust::Sure)
}

fn name_and_password(captures: &Captures<'_>) -> Option<Trust> {
    let decoded = base64::engine::general_purpose::STANDARD.decode(last(captures)).ok()?;
    let is_pair = decoded.contains(&b':') && decoded.iter().all(|byte| (b' '..=b'~').contains(byte));
    (is_pair && !is_placeholder(&decoded)).then_some(Trust::Sure)
}

fn password_of_a_url(captures: &Captures<'_>) -> Option<Trust> {
    let (user, password) = (captures.get(1)?.as_bytes(), last(captures));
    if password == user || is_placeholder(password) || is_word(password) {
        return None;
    }
    let trust = if is_random(password, 8, 3) {
        Trust::Sure
    } else {
        Trust::Likely
    };
    Some(trust)
}

fn behind_a_name(captures: &Captures<'_>) -> Option<Trust> {
    let (name, value) = (captures.get(1)?.as_bytes().to_ascii_lowercase(), last(captures));
    // What pages through a list, or what a tokenizer knows.
    const NONE: [&str; 13] = [
        "page",
        "next",
        "continuation",
        "cursor",
        "count",
        "max",
        "usage",
        "pad",
        "eos",
        "bos",
        "cache",
        "public",
        "idempotency",
    ];
    let holds = |word: &str| memchr::memmem::find(&name, word.as_bytes()).is_some();
    let is_password = holds("pass") || holds("pwd");
    let (different, changes, length) = if is_password { (8, 3, 8) } else { (10, 4, 12) };
    let is_one = !NONE.into_iter().any(holds)
        && value.len() >= length
        && is_random(value, different, changes)
        && !is_placeholder(value)
        && !is_uuid(value);
    is_one.then_some(Trust::Likely)
}

/// Whether a value has digits and letters, so many different characters, and changes so often from one kind of character
/// to another: words do not.
fn is_random(value: &[u8], different: usize, changes: usize) -> bool {
    let kind_of = |byte: &u8| match byte {
        b'0'..=b'9' => 1,
        b'a'..=b'z' => 2,
        b'A'..=b'Z' => 3,
        _ => 4,
    };
    let mut seen = [false; 256];
    value.iter().for_each(|byte| seen[usize::from(*byte)] = true);
    let kinds: Vec<u8> = value
        .iter()
        .map(kind_of)
        .filter(|kind| different < 10 || *kind != 4)
        .collect();
    // A capital at the beginning of a word is none.
    let changed = kinds
        .windows(2)
        .filter(|pair| pair[0] != pair[1] && pair != &[3, 2])
        .count();
    value.iter().any(u8::is_ascii_digit)
        && value.iter().any(u8::is_ascii_alphabetic)
        && seen.iter().filter(|seen| **seen).count() >= different
        && changed >= changes
}

/// Whether this was written to be seen: `your-key-here`, `AKIAIOSFODNN7EXAMPLE`, `0123456789abcdef`.
fn is_placeholder(value: &[u8]) -> bool {
    const WORDS: [&str; 12] = [
        "example",
        "placeholder",
        "your",
        "redacted",
        "dummy",
        "changeme",
        "xxxx",
        "****",
        "....",
        "00000000",
        "12345678",
        "insert",
    ];
    let value = value.to_ascii_lowercase();
    WORDS
        .iter()
        .any(|word| memchr::memmem::find(&value, word.as_bytes()).is_some())
}

/// Whether this is a password only in name: those of the manuals.
fn is_word(password: &[u8]) -> bool {
    const WORDS: [&str; 14] = [
        "password", "passwd", "pass", "pwd", "secret", "user", "postgres", "root", "admin", "test", "guest", "mysql",
        "redis", "pw",
    ];
    let password = password.to_ascii_lowercase();
    WORDS.iter().any(|word| password == word.as_bytes())
}

fn is_uuid(value: &[u8]) -> bool {
    value.len() == 36
        && value.iter().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// How much base64 of one data URL is decoded, in bytes: a multiple of four.
const LONGEST_DATA: usize = 4 << 20;

/// The texts in data URLs, each with the place of its base64.
fn texts_of_data_urls(bytes: &[u8]) -> impl Iterator<Item = (Range<usize>, Vec<u8>)> {
    const BASE64: &[u8] = b";base64,";
    // So much of it tells a picture from a text.
    const BEGINNING: usize = 1024;
    let is_base64 = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_');
    memchr::memmem::find_iter(bytes, BASE64).filter_map(move |at| {
        if !ends_with_data_scheme(&bytes[..at]) {
            return None;
        }
        let start = at + BASE64.len();
        let data = &bytes[start..bytes.len().min(start + LONGEST_DATA)];
        let data = &data[..data.iter().take_while(is_base64).count()];
        text_of(&data[..data.len().min(BEGINNING)])?;
        Some((start..start + data.len(), text_of(data)?))
    })
}

/// Whether these bytes end like `data:text/plain;charset=utf-8`.
fn ends_with_data_scheme(bytes: &[u8]) -> bool {
    const LONGEST: usize = 200;
    let is_of_url = |byte: &&u8| byte.is_ascii_graphic() && **byte != b'"';
    let url = bytes.iter().rev().take(LONGEST).take_while(is_of_url).count();
    memchr::memmem::find(&bytes[bytes.len() - url..], b"data:").is_some()
}

/// The text that this is the base64 of, in either alphabet and without padding; `None` when it is of something else. Both may be
/// cut at their end.
fn text_of(base64: &[u8]) -> Option<Vec<u8>> {
    const FORGIVING: GeneralPurposeConfig = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, FORGIVING);
    const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, FORGIVING);
    let is_url_safe = base64.iter().any(|byte| matches!(byte, b'-' | b'_'));
    let alphabet = if is_url_safe { URL_SAFE } else { STANDARD };
    // A single letter is no byte.
    let whole = base64.len() - usize::from(base64.len() % 4 == 1);
    let mut text = alphabet.decode(&base64[..whole]).ok()?;
    match std::str::from_utf8(&text) {
        Ok(_) => {}
        Err(error) if error.error_len().is_none() => text.truncate(error.valid_up_to()),
        Err(_) => return None,
    }
    Some(text)
}

/// What in a text and in its data URLs looks like a secret, from the first to the last; what is in a URL stands where its
/// base64 does.
fn secrets_in_text(text: &[u8]) -> Vec<Secret> {
    let mut found = secrets_in(text);
    for (place, data) in texts_of_data_urls(text) {
        let secrets = secrets_in(&data).into_iter();
        found.extend(secrets.map(|secret| Secret {
            at: Some(place.clone()),
            ..secret
        }));
    }
    found.sort_by_key(|secret| secret.at.as_ref().map(|at| at.start));
    found
}

/// What in a body looks like a secret, in strings that JSON wrote with escapes as well. Those have no place.
pub(crate) fn secrets_in_body(body: &[u8]) -> Vec<Secret> {
    let mut found = secrets_in_text(body);
    let is_escaped = |escape: &str| memchr::memmem::find(body, escape.as_bytes()).is_some();
    if (is_escaped("\\u00") || is_escaped("\\/"))
        && let Some(value) = parse(body)
    {
        let more = secrets_in_text(value.to_string().as_bytes());
        let is_new = |secret: &Secret| !found.iter().any(|known| known.kind == secret.kind);
        let more: Vec<Secret> = more
            .into_iter()
            .filter(is_new)
            .map(|secret| Secret { at: None, ..secret })
            .collect();
        found.extend(more);
    }
    found
}

/// Whether a file name, which is made from what was asked, says a part of a secret.
#[cfg(feature = "cli")]
pub(crate) fn is_told_by(name: &str, secret: &[u8]) -> bool {
    const TELLING: usize = 5;
    let name = name.to_ascii_lowercase();
    let secret = String::from_utf8_lossy(secret).to_ascii_lowercase();
    let words = secret.split(|letter: char| !letter.is_ascii_alphanumeric());
    // A slug may break off in the middle of a word.
    words
        .filter(|word| word.len() >= TELLING)
        .any(|word| name.contains(&word[..TELLING]))
}

/// What to do about an answer that cannot be searched.
pub(crate) const CODED_HINT: &str = "mistral-cassette decodes what it asks for, and a client of your own must do so too; or allow what cannot be searched, with secrets: allow in settings.yaml or with --allow-secrets";

/// What to do about a secret that keeps something from being kept.
pub(crate) const HINT: &str = "add its pattern to redaction in settings.yaml, so that it is replaced before anything is kept; or allow it, with secrets: allow there or with --allow-secrets";

/// Why something is not fit to be kept.
pub(crate) enum Left {
    /// These secrets are in it, in half a sentence.
    Secrets(String),
    /// Nobody can tell: its answer is still in this coding.
    Coded(String),
}

/// What is left in what is about to be kept; `None` when all is well, and where nobody wants to know.
pub(crate) fn left_in(request: &RecordedRequest, response: &RecordedResponse, policy: Secrets) -> Option<Left> {
    const TOLD: usize = 5;
    if policy == Secrets::Allow {
        return None;
    }
    if let Some(coding) = response.content_encoding() {
        return Some(Left::Coded(coding.to_owned()));
    }
    let found = in_exchange(request, response);
    let more = match found.len().saturating_sub(TOLD) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    (!found.is_empty()).then(|| Left::Secrets(found[..found.len().min(TOLD)].join(", ") + &more))
}

/// A text to be told, with a placeholder for each secret in it.
pub(crate) fn hidden(text: &str) -> Cow<'_, str> {
    let found = secrets_in_text(text.as_bytes());
    if found.is_empty() {
        return Cow::Borrowed(text);
    }
    let mut hidden = Vec::with_capacity(text.len());
    let mut behind = 0;
    for at in found.into_iter().filter_map(|secret| secret.at) {
        if at.start < behind {
            // Several in one data URL.
            continue;
        }
        hidden.extend_from_slice(&text.as_bytes()[behind..at.start]);
        hidden.extend_from_slice(PLACEHOLDER.as_bytes());
        behind = at.end;
    }
    hidden.extend_from_slice(&text.as_bytes()[behind..]);
    Cow::Owned(String::from_utf8_lossy(&hidden).into_owned())
}

/// The secrets of which there is no doubt in what is about to be kept: what they are and where, as in `a GitHub token in
/// the request at /messages/0/content`.
pub(crate) fn in_exchange(request: &RecordedRequest, response: &RecordedResponse) -> Vec<String> {
    let mut found = Vec::new();
    let in_text = |found: &mut Vec<String>, text: &str, place: &str| {
        found.extend(sure_ones(text.as_bytes()).map(|kind| format!("{kind} in {place}")));
    };
    in_text(&mut found, &request.path, "the path of the request");
    if let Some(query) = &request.query {
        in_text(&mut found, &format!("?{query}"), "the query of the request");
    }
    match &request.body {
        RecordedBody::Blob(blob) => in_blob(&mut found, blob, "the request"),
        RecordedBody::Multipart(parts) => {
            for part in parts {
                // The name itself may be one.
                let place = format!("the part {:?} of the request", hidden(&part.name));
                for text in [Some(&part.name), part.filename.as_ref(), part.content_type.as_ref()] {
                    in_text(&mut found, text.map_or("", String::as_str), &place);
                }
                in_blob(&mut found, &part.content, &place);
            }
        }
    }
    for (name, value) in &response.headers {
        in_text(
            &mut found,
            &format!("{name}: {value}"),
            &format!("the header {name} of the response"),
        );
    }
    in_blob(&mut found, &response.body, "the response");
    found.dedup();
    found
}

fn sure_ones(bytes: &[u8]) -> impl Iterator<Item = &'static str> {
    let found = secrets_in_body(bytes).into_iter();
    found
        .filter(|secret| secret.trust == Trust::Sure)
        .map(|secret| secret.kind)
}

fn in_blob(found: &mut Vec<String>, blob: &Blob, place: &str) {
    let Blob::Inline(bytes) = blob else { return };
    // Where it stands is only looked for when there is one.
    let kinds: Vec<&str> = sure_ones(bytes).collect();
    if kinds.is_empty() {
        return;
    }
    let before = found.len();
    if let Some(value) = parse(bytes) {
        in_value(&value, "", &mut |kind, pointer| {
            found.push(format!("{kind} in {place} at {pointer}"))
        });
    } else if !bytes.contains(&b'\r') {
        let mut splitter = Splitter::default();
        let mut events = splitter.push(bytes);
        events.extend(splitter.rest());
        for (number, event) in events.iter().enumerate() {
            let data = event
                .split(|byte| *byte == b'\n')
                .find_map(|line| line.strip_prefix(b"data:"));
            if let Some(value) = data.and_then(|data| parse(data.trim_ascii())) {
                in_value(&value, "", &mut |kind, pointer| {
                    found.push(format!("{kind} in event {} of {place} at {pointer}", number + 1));
                });
            }
        }
    }
    let placed = found.split_off(before);
    let is_without_place = |kind: &&str| !placed.iter().any(|placed| placed.starts_with(*kind));
    found.extend(
        kinds
            .iter()
            .copied()
            .filter(is_without_place)
            .map(|kind| format!("{kind} in the body of {place}")),
    );
    found.extend(placed);
}

/// Every string with a secret in it, by its JSON pointer.
fn in_value(value: &Value, pointer: &str, found: &mut impl FnMut(&'static str, &str)) {
    match value {
        Value::String(text) => {
            // Some are only known by the name before them.
            let name = pointer.rsplit('/').next().unwrap_or_default();
            sure_ones(format!("{name}: {text}").as_bytes()).for_each(|kind| found(kind, pointer));
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                in_value(item, &format!("{pointer}/{index}"), found);
            }
        }
        Value::Object(members) => {
            for (name, member) in members {
                let below = format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1"));
                if sure_ones(name.as_bytes()).next().is_some() {
                    // The name itself is one, and must not be said.
                    sure_ones(name.as_bytes()).for_each(|kind| found(kind, pointer));
                    in_value(member, &format!("{pointer}/…"), found);
                } else {
                    in_value(member, &below, found);
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_looks_like_a_secret_is_left_alone() {
        let image = base64::engine::general_purpose::STANDARD.encode(
            (0..30_000_u32)
                .flat_map(|number| number.wrapping_mul(2_654_435_761).to_be_bytes())
                .collect::<Vec<u8>>(),
        );
        let hash = "f3eaf5bd5e053e0e42f3a4339cbcee0701ae60cb0d534af8d7d0dfe651107fa4";
        for text in [
            format!(r#"{{"image_url":"data:image/png;base64,{image}"}}"#),
            format!(r#"{{"sha256":"{hash}","key":"{hash}","etag":"{hash}"}}"#),
            "mistral-correlation-id: 019f0000-0000-7000-8000-000000000012".to_owned(),
            r#"{"session_token":"0b6c1f2e-7a39-4d58-9c41-3f5e8d7a6b21"}"#.to_owned(),
            r#"{"tool_calls":[{"id":"D681PevKs","function":{"name":"token","arguments":"{}"}}]}"#.to_owned(),
            r#"{"usage":{"prompt_tokens":16,"total_tokens":18},"max_tokens":1000,"token":null}"#.to_owned(),
            r#"{"next_page_token":"CAESBzE3MjM0NTYaB3Q4Kd93LsmX72b"}"#.to_owned(),
            r#"{"embedding":[0.0123,-0.5e-05],"object":"embedding"}"#.to_owned(),
            "https://files.example.com/a.png?size=large&v=3&signature=none".to_owned(),
            "postgres://user:password@localhost/db and redis://:${PASSWORD}@host".to_owned(),
            "token = tokenizer.decode_2(ids[0:16], x1y2z3)".to_owned(),
            "password: your-password-here-123, api_key=os.environ['KEY_1A2B3C4D5E']".to_owned(),
            "AKIAIOSFODNN7EXAMPLE wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_owned(),
            "begin with -----BEGIN PRIVATE KEY----- and end with -----END PRIVATE KEY-----".to_owned(),
            "a basic authorization: Basic knowledge of HTTP; risk-assessment-2024-q1-b2-c3-d4-e5".to_owned(),
            "Bearer [REDACTED], key=REDACTED, __cf_bm=REDACTED".to_owned(),
            "1712345678:AAH is a timestamp; 1e-05; https://a.b/c@d:e".to_owned(),
        ] {
            let found = secrets_in_body(text.as_bytes());
            assert!(found.is_empty(), "{found:?} in {}", &text[..text.len().min(100)]);
        }
    }

    #[test]
    fn one_secret_is_told_once() {
        let token = [
            "eyJhbGciOiJIUzI1NiJ9",
            "eyJzdWIiOiI5OTQxMjM3In0",
            "dozjgNryP4J3jVmNHl0w5N",
        ]
        .join(".");
        let found = secrets_in(format!("authorization: Bearer {token}").as_bytes());
        let kinds: Vec<&str> = found.iter().map(|secret| secret.kind).collect();
        assert_eq!(kinds, ["a JSON web token"]);
    }

    #[test]
    fn texts_in_data_urls_are_searched() {
        use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
        let token = ["gh", "p_k7Hs02LmQx94TzRbVn61WcYp83GdJf5ErT2u"].concat();
        let text = format!("é??>>: the token is {token}, and so on");
        let base64 = STANDARD.encode(&text);
        let kinds = |body: &str| -> Vec<&str> {
            let found = secrets_in_body(body.as_bytes());
            found.iter().map(|secret| secret.kind).collect()
        };
        for found in [
            format!(r#"{{"document_url":"data:text/plain;base64,{base64}"}}"#),
            format!(
                r#"{{"document_url":"data:text\/plain;base64,{}"}}"#,
                base64.replace('/', "\\/")
            ),
            format!("see data:;charset=utf-8;base64,{}.", URL_SAFE_NO_PAD.encode(&text)),
            // Cut in the middle.
            format!("data:text/markdown;base64,{}", &base64[..base64.len() - 7]),
        ] {
            assert_eq!(kinds(&found), ["a GitHub token"], "{found}");
        }
        let place = secrets_in_body(format!("data:text/plain;base64,{base64}\n").as_bytes())[0]
            .at
            .clone();
        let padding = base64.len() - base64.trim_end_matches('=').len();
        assert_eq!(place, Some(23..23 + base64.len() - padding));
        let binary = STANDARD.encode([b"\x89PNG\r\n\x1a\n", token.as_bytes()].concat());
        let far = STANDARD.encode(format!("{}{token}", "a line of text\n".repeat(LONGEST_DATA / 15)));
        for other in [
            format!("data:image/png;base64,{binary}"),
            format!("data:text/plain;base64,{far}"),
            format!("text/plain;base64,{base64}"),
            format!("data: \"x;base64,{base64}\""),
            "data:text/plain;base64,".to_owned(),
            "data:text/plain;base64,=".to_owned(),
        ] {
            assert!(kinds(&other).is_empty(), "{}", &other[..other.len().min(100)]);
        }
    }

    #[test]
    fn a_text_is_told_without_its_secrets() {
        let token = ["gh", "p_k7Hs02LmQx94TzRbVn61WcYp83GdJf5ErT2u"].concat();
        let encoded = base64::engine::general_purpose::STANDARD.encode(format!("{token} {token}"));
        assert_eq!(
            hidden(&format!(
                "entry 1 (GET https://a.example/v1/x?é={token}&b=1): data:,;base64,{encoded}!"
            )),
            "entry 1 (GET https://a.example/v1/x?é=[REDACTED]&b=1): data:,;base64,[REDACTED]!"
        );
        assert_eq!(hidden("entry 1 (GET /v1/x)"), "entry 1 (GET /v1/x)");
    }

    /// A slug is in lower case and without signs.
    #[cfg(feature = "cli")]
    #[test]
    fn a_name_may_tell_a_secret() {
        assert!(is_told_by(
            "my-key-q8wn3ed6rf-0123456789abcdef.yaml",
            b"Q8Wn3Ed6Rf5Tg2Yh"
        ));
        assert!(!is_told_by(
            "capital-of-france-0123456789abcdef.yaml",
            b"Q8Wn3Ed6Rf5Tg2Yh"
        ));
    }
}
