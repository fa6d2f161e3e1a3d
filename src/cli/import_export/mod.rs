//! Import and export: interactions as other tools keep them, read into cassettes and written from them.
//!
//! A reader of a format knows its members and nothing of keys, redaction or files; what it cannot read of an interaction it
//! says, and goes on with the next one. [`import`] makes cassettes of what was read, by the same rules as a recording.

mod body;
mod export;
mod go_vcr;
mod har;
mod import;
mod jsonl;
mod polly;
mod ruby_vcr;
mod vcrpy;
mod yaml;

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::Value;

use crate::error::{Error, ErrorKind, Result};

pub(crate) use export::exported;
pub(crate) use import::{Import, Imported};

/// What stands in an export, so that its bodies are taken as they are when it comes back.
const OURS: &str = "mistral-cassette";

/// Names with values, repeated ones repeated.
type Headers = Vec<(String, String)>;

/// One request and one response to it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Exchange {
    method: String,
    /// Absolute, or a path where nobody knows who answered.
    url: String,
    request_headers: Headers,
    request_body: Bytes,
    status: u16,
    response_headers: Headers,
    response_body: Bytes,
    at: Option<Timestamp>,
    timing: Timing,
    /// Who answered, where the URL alone does not tell.
    from: Option<String>,
    scope: Option<String>,
    test: Option<String>,
    /// Whether this tool wrote it: then nothing is still to be decoded.
    is_ours: bool,
}

/// When the first of these was recorded.
pub(crate) fn recorded_at(exchanges: &[Exchange]) -> Timestamp {
    let at = exchanges.first().and_then(|exchange| exchange.at);
    at.unwrap_or_default()
}

/// How long an answer took.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Timing {
    #[default]
    Unknown,
    /// The whole of it, in milliseconds.
    Total(u64),
    /// As a cassette has it.
    Pieces(Vec<u64>),
}

/// The interactions of a document whose list and whose URLs are called so; `one` reads each.
fn interactions(
    document: &Value,
    list: &str,
    url: &str,
    one: impl Fn(&Value) -> Result<Exchange, String>,
) -> Vec<Found> {
    let found = |(at, interaction): (usize, &Value)| {
        let request = &interaction["request"];
        let said = [&request["method"], &request[url]];
        Found::new("interaction", at + 1, said, one(interaction))
    };
    let interactions = document[list].as_array().into_iter().flatten();
    interactions.enumerate().map(found).collect()
}

/// An interaction with its place in the source, or why it cannot be represented.
pub(crate) struct Found {
    /// `interaction 3`, `line 7`, with method and URL as far as they are known.
    place: String,
    exchange: Result<Exchange, String>,
}

impl Found {
    /// What was found at a place (`interaction`, counted from 1), whose method and URL stand in the place.
    fn new(kind: &str, at: usize, request: [&Value; 2], exchange: Result<Exchange, String>) -> Self {
        let shown = |text: &str| match split_url(text) {
            // Without a password.
            Some((Some(origin), target)) => format!("{origin}{target}"),
            _ => text.to_owned(),
        };
        let said: Vec<String> = request.into_iter().filter_map(Value::as_str).map(shown).collect();
        let said = if said.is_empty() {
            String::new()
        } else {
            format!(" ({})", said.join(" "))
        };
        Self {
            place: format!("{kind} {at}{said}"),
            exchange,
        }
    }
}

/// The formats that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SourceFormat {
    VcrPy,
    RubyVcr,
    GoVcr,
    Rvcr,
    Polly,
    Har,
    Jsonl,
}

impl SourceFormat {
    const ALL: [Self; 7] = [
        Self::VcrPy,
        Self::RubyVcr,
        Self::GoVcr,
        Self::Rvcr,
        Self::Polly,
        Self::Har,
        Self::Jsonl,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::VcrPy => "vcrpy",
            Self::RubyVcr => "ruby-vcr",
            Self::GoVcr => "go-vcr",
            Self::Rvcr => "rvcr",
            Self::Polly => "polly",
            Self::Har => "har",
            Self::Jsonl => "jsonl",
        }
    }

    fn names() -> String {
        Self::ALL.map(Self::name).join(", ")
    }

    /// The format that a document has by its members.
    fn of(document: &Value, is_json: bool) -> Option<Self> {
        let interactions = document["interactions"].as_array();
        let has = |member: &str| {
            let mut interactions = interactions.into_iter().flatten();
            interactions.any(|interaction| interaction["request"].get(member).is_some())
        };
        if document["log"]["entries"].is_array() {
            let by_polly = document["log"].get("_recordingName").is_some();
            Some(if by_polly { Self::Polly } else { Self::Har })
        } else if document["http_interactions"].is_array() {
            Some(if is_json { Self::Rvcr } else { Self::RubyVcr })
        } else if interactions.is_some() && has("url") && !has("uri") {
            Some(Self::GoVcr)
        } else if interactions.is_some() {
            Some(Self::VcrPy)
        } else if is_json && document["request"].is_object() {
            Some(Self::Jsonl)
        } else {
            None
        }
    }

    /// Whether a document that was said to have this format can have it.
    fn fits(self, document: &Value) -> bool {
        match self {
            Self::VcrPy | Self::GoVcr => document["interactions"].is_array(),
            Self::RubyVcr | Self::Rvcr => document["http_interactions"].is_array(),
            Self::Polly | Self::Har => document["log"]["entries"].is_array(),
            Self::Jsonl => document["request"].is_object(),
        }
    }
}

impl fmt::Display for SourceFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for SourceFormat {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|format| format.name() == name);
        found.ok_or_else(|| {
            let message = format!("there is no format {name:?}: it is one of {}", Self::names());
            Error::new(ErrorKind::Settings, message)
        })
    }
}

/// Every interaction of a file, in its order; `source` names it in errors.
///
/// # Errors
/// [`ErrorKind::Io`] when it is damaged, or of no known format, or not of the one that it was said to have.
pub(crate) fn read(document: &[u8], source: &str, said: Option<SourceFormat>) -> Result<Vec<Found>> {
    let document = document.strip_prefix(b"\xef\xbb\xbf").unwrap_or(document);
    let starts_as_json = matches!(document.trim_ascii_start().first(), Some(b'{' | b'['));
    let hint = || format!("the formats are {}", SourceFormat::names());
    let unknown = || {
        let what = match said {
            Some(said) => format!("{source}: this is not of the format {said}"),
            None => format!("{source}: this is of no format that can be imported"),
        };
        Error::new(ErrorKind::Io, what).with_hint(hint())
    };
    let (value, is_json) = match serde_json::from_slice::<Value>(document) {
        Ok(value) => (value, true),
        Err(_) if jsonl::begins(document) => match said {
            None | Some(SourceFormat::Jsonl) => return Ok(jsonl::read(document)),
            Some(_) => return Err(unknown()),
        },
        Err(error) if starts_as_json => {
            let message = format!("cannot read {source}: line {}: {error}", error.line());
            return Err(Error::new(ErrorKind::Io, message).with_hint(hint()));
        }
        Err(_) if document.trim_ascii().is_empty() || std::str::from_utf8(document).is_err() => return Err(unknown()),
        Err(_) => (
            yaml::read(document, source).map_err(|error| error.with_hint(hint()))?,
            false,
        ),
    };
    if value.get("key").is_some() && value["recorded"].is_object() {
        let message = format!("{source}: this is a cassette of this tool already");
        return Err(Error::new(ErrorKind::Io, message).with_hint("mistral-cassette copy FROM TO copies them"));
    }
    let format = match said {
        Some(said) => said.fits(&value).then_some(said),
        None => SourceFormat::of(&value, is_json),
    };
    Ok(match format.ok_or_else(unknown)? {
        SourceFormat::VcrPy => vcrpy::read(&value),
        SourceFormat::RubyVcr | SourceFormat::Rvcr => ruby_vcr::read(&value),
        SourceFormat::GoVcr => go_vcr::read(&value),
        SourceFormat::Polly => har::read(&value, true),
        SourceFormat::Har => har::read(&value, false),
        SourceFormat::Jsonl => jsonl::read(document),
    })
}

/// The formats that are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TargetFormat {
    Har,
    Jsonl,
}

impl TargetFormat {
    /// The document of these interactions.
    pub(crate) fn write(self, exchanges: &[Exchange]) -> String {
        match self {
            Self::Har => har::write(exchanges),
            Self::Jsonl => jsonl::write(exchanges),
        }
    }
}

impl FromStr for TargetFormat {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "har" => Ok(Self::Har),
            "jsonl" => Ok(Self::Jsonl),
            _ => Err(Error::new(
                ErrorKind::Settings,
                format!("nothing is exported as {name:?}: it is har or jsonl"),
            )),
        }
    }
}

/// Scheme and authority of a URL, without user and password, and what follows them; a path has no origin.
fn split_url(url: &str) -> Option<(Option<String>, String)> {
    if url.starts_with('/') {
        return Some((None, url.to_owned()));
    }
    let (scheme, rest) = url.split_once("://")?;
    let (authority, target) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    if host.is_empty() {
        return None;
    }
    let target = if target.starts_with('/') {
        target.to_owned()
    } else {
        format!("/{target}")
    };
    Some((Some(format!("{scheme}://{host}")), target))
}

/// Headers as most formats keep them: an object of values or of lists of them, or a list of `name` and `value`.
fn headers(value: &Value) -> Result<Headers, String> {
    let mut headers = Headers::new();
    let mut add = |name: &str, value: &Value| {
        let text = match value {
            Value::Null => String::new(),
            value => {
                body::scalar(value).ok_or_else(|| format!("its header {name} is in a form that cannot be read"))?
            }
        };
        // Browsers keep repeated headers as lines of one.
        headers.extend(text.split('\n').map(|line| (name.to_owned(), line.to_owned())));
        Ok::<_, String>(())
    };
    match value {
        Value::Null => {}
        Value::Object(members) => {
            for (name, value) in members {
                match value {
                    Value::Array(values) => values.iter().try_for_each(|value| add(name, value))?,
                    value => add(name, value)?,
                }
            }
        }
        Value::Array(pairs) => {
            for pair in pairs {
                add(pair["name"].as_str().unwrap_or_default(), &pair["value"])?;
            }
        }
        _ => return Err("its headers are in a form that cannot be read".to_owned()),
    }
    // `:authority` and its kin are no headers.
    headers.retain(|(name, _)| !name.starts_with(':'));
    Ok(headers)
}

/// The value of a header, the first of its name.
fn header<'a>(headers: &'a Headers, name: &str) -> Option<&'a str> {
    let (_, value) = headers.iter().find(|(other, _)| other.eq_ignore_ascii_case(name))?;
    Some(value)
}

/// A status, which an interaction without a response has not.
fn status(value: &Value) -> Result<u16, String> {
    let status = match value {
        Value::String(text) => text.split(' ').next().and_then(|code| code.parse().ok()),
        value => value.as_u64(),
    };
    match status {
        None | Some(0) => Err("it has no response with a status".to_owned()),
        Some(status) => u16::try_from(status).map_err(|_| format!("{status} is no HTTP status")),
    }
}

/// A member that must be there and be text.
fn wanted(value: &Value, what: &str) -> Result<String, String> {
    let text = value.as_str().filter(|text| !text.is_empty());
    text.map(str::to_owned).ok_or_else(|| format!("it has no {what}"))
}

/// A time as any of the tools writes it: RFC 3339, as in a header, or without a zone, which is UTC.
fn time(text: &str) -> Option<Timestamp> {
    let from_header = || jiff::fmt::rfc2822::parse(text).ok().map(|zoned| zoned.timestamp());
    let without_zone = || {
        let time: jiff::civil::DateTime = text.trim_end_matches(" GMT").parse().ok()?;
        Some(time.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
    };
    text.parse().ok().or_else(from_header).or_else(without_zone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_tools_write_them() {
        for text in [
            "2026-11-21T10:00:00Z",
            "2026-11-21T11:00:00.000+01:00",
            "Sat, 21 Nov 2026 10:00:00 GMT",
            "Sat, 21 Nov 2026 10:00:00 +0000",
            "2026-11-21T10:00:00",
            "2026-11-21 10:00:00 GMT",
        ] {
            assert_eq!(time(text).unwrap().to_string(), "2026-11-21T10:00:00Z", "{text}");
        }
        assert_eq!(time("yesterday"), None);
    }

    #[test]
    fn an_origin_has_no_password() {
        let split = |url| split_url(url).unwrap();
        let origin = Some("https://a.example:8443".to_owned());
        assert_eq!(
            split("https://user:secret@a.example:8443/v1/x?a=@b"),
            (origin.clone(), "/v1/x?a=@b".to_owned())
        );
        assert_eq!(split("https://a.example:8443?a=b"), (origin, "/?a=b".to_owned()));
        assert_eq!(split("/v1/x"), (None, "/v1/x".to_owned()));
        assert_eq!(split_url("a.example/v1/x"), None);
        assert_eq!(split_url("https:///v1/x"), None);
    }
}
