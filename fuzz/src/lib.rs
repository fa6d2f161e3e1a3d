//! What several targets share: generators of JSON, forms, requests and responses, and the environment of a proxy.

mod environment;

use arbitrary::{Arbitrary, Result, Unstructured};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use mistral_cassette::Request;
use serde_json::{Map, Number, Value};

pub use self::environment::Environment;

/// The maximum nesting. The crate treats JSON that is nested much deeper as text.
const MAX_DEPTH: usize = 6;

/// Strings that a YAML reader could misread, and lines of event streams.
const SPECIAL_TEXTS: [&str; 24] = [
    "",
    " ",
    "\n",
    "\n\n",
    " a",
    "a ",
    "a\n",
    "# a",
    "- a",
    "a: b",
    "'",
    "\"",
    "null",
    "~",
    "yes",
    "1e3",
    "0x1",
    "2026-11-21",
    "\u{85}",
    "\u{feff}",
    "\0",
    "é",
    "$integer",
    "data: [DONE]\n\n",
];

/// A JSON value with limited nesting.
#[derive(Clone, Debug)]
pub struct Json(pub Value);

impl<'a> Arbitrary<'a> for Json {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        value(u, 0).map(Self)
    }
}

/// A JSON object or array. The crate treats a body as JSON only if it is one of these.
#[derive(Clone, Debug)]
pub struct JsonBody(pub Value);

impl<'a> Arbitrary<'a> for JsonBody {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let value = if u.arbitrary()? { object(u, 0) } else { array(u, 0) };
        value.map(Self)
    }
}

fn value(u: &mut Unstructured<'_>, depth: usize) -> Result<Value> {
    let kinds = if depth < MAX_DEPTH { 8 } else { 6 };
    Ok(match u.int_in_range(0..=kinds - 1)? {
        0 => Value::Null,
        1 => u.arbitrary::<bool>()?.into(),
        2 => u.arbitrary::<i64>()?.into(),
        3 => u.arbitrary::<u64>()?.into(),
        4 => Number::from_f64(u.arbitrary()?).map_or(Value::Null, Value::Number),
        5 => text(u)?.into(),
        6 => array(u, depth)?,
        _ => object(u, depth)?,
    })
}

fn array(u: &mut Unstructured<'_>, depth: usize) -> Result<Value> {
    let length = u.int_in_range(0..=5)?;
    (0..length)
        .map(|_| value(u, depth + 1))
        .collect::<Result<Vec<_>>>()
        .map(Value::Array)
}

fn object(u: &mut Unstructured<'_>, depth: usize) -> Result<Value> {
    let mut members = Map::new();
    for _ in 0..u.int_in_range(0..=5)? {
        members.insert(text(u)?, value(u, depth + 1)?);
    }
    Ok(Value::Object(members))
}

/// Text, sometimes with one of the [`SPECIAL_TEXTS`].
pub fn text(u: &mut Unstructured<'_>) -> Result<String> {
    let mut text = String::new();
    loop {
        if u.ratio(1, 3)? {
            text.push_str(u.choose(&SPECIAL_TEXTS)?);
        } else {
            text.push_str(u.arbitrary()?);
        }
        if u.is_empty() || !u.ratio(1, 4)? {
            return Ok(text);
        }
    }
}

/// A part of a form.
#[derive(Clone, Debug)]
pub struct Part {
    pub name: String,
    pub filename: Option<String>,
    pub content_type: Option<&'static str>,
    pub content: Vec<u8>,
}

impl<'a> Arbitrary<'a> for Part {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        Ok(Self {
            name: part_name(u)?,
            filename: if u.arbitrary()? { Some(part_name(u)?) } else { None },
            content_type: *u.choose(&[None, Some("audio/wav"), Some("text/plain; charset=utf-8")])?,
            content: u.arbitrary()?,
        })
    }
}

/// A name that multer reads correctly. Multer searches for `name=` inside names too, and treats a quote after a backslash
/// as a part of the name, unlike browsers.
pub fn part_name(u: &mut Unstructured<'_>) -> Result<String> {
    Ok(text(u)?.replace("name", "").replace('\\', "/"))
}

/// Encodes a part name as in a form.
pub fn encoded_name(name: &str) -> String {
    let encoded = |character: char| match character {
        '"' | '\0'..='\x1f' | '\x7f' => format!("%{:02X}", u32::from(character)),
        other => other.to_string(),
    };
    name.chars().map(encoded).collect()
}

impl Part {
    /// Converts the part into the type of the crate.
    pub fn into_crate_part(self) -> mistral_cassette::fuzzing::Part {
        let kind = self.content_type.map(str::to_owned);
        (self.name, self.filename, kind, self.content.into())
    }
}

/// A body of any kind, with its content type.
#[derive(Clone, Debug)]
pub struct AnyBody {
    pub content_type: String,
    pub bytes: Bytes,
}

impl<'a> Arbitrary<'a> for AnyBody {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let of = |content_type: &str, bytes: Vec<u8>| Self {
            content_type: content_type.to_owned(),
            bytes: bytes.into(),
        };
        Ok(match u.int_in_range(0..=6)? {
            0 => of("application/json", u.arbitrary::<JsonBody>()?.0.to_string().into()),
            1 => of(
                "application/json",
                format!("{:#}\n", u.arbitrary::<JsonBody>()?.0).into(),
            ),
            2 => of("application/json", spaced(&u.arbitrary::<JsonBody>()?.0).into()),
            3 => {
                let mut stream = String::new();
                for _ in 0..u.int_in_range(0..=6)? {
                    stream.push_str(&match u.int_in_range(0..=3)? {
                        0 => format!("data: {}\n\n", u.arbitrary::<Json>()?.0),
                        1 => format!("event: {}\r\n\r\n", text(u)?),
                        2 => "data: [DONE]\n\n".to_owned(),
                        _ => text(u)?,
                    });
                }
                of("text/event-stream", stream.into())
            }
            4 => of("text/plain", text(u)?.into()),
            5 => of("application/octet-stream", u.arbitrary()?),
            _ => {
                let parts: Vec<Part> = u.arbitrary()?;
                let parts: Vec<_> = parts.into_iter().map(Part::into_crate_part).collect();
                let (content_type, bytes) = mistral_cassette::fuzzing::sent_form(&parts);
                Self { content_type, bytes }
            }
        })
    }
}

/// Writes JSON as Python does: with spaces, and only ASCII.
fn spaced(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(spaced).collect();
            out.push_str(&format!("[{}]", items.join(", ")));
        }
        Value::Object(members) => {
            let members: Vec<String> = members
                .iter()
                .map(|(name, value)| format!("{}: {}", escaped(name), spaced(value)))
                .collect();
            out.push_str(&format!("{{{}}}", members.join(", ")));
        }
        Value::String(text) => out.push_str(&escaped(text)),
        other => out.push_str(&other.to_string()),
    }
    out
}

/// Writes a JSON string in ASCII.
pub fn escaped(text: &str) -> String {
    let mut out = String::new();
    for unit in Value::from(text).to_string().encode_utf16() {
        match u8::try_from(unit) {
            Ok(byte) if byte.is_ascii() => out.push(char::from(byte)),
            _ => out.push_str(&format!("\\u{unit:04x}")),
        }
    }
    out
}

/// A response.
#[derive(Clone, Debug)]
pub struct Response {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl<'a> Arbitrary<'a> for Response {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let mut headers = HeaderMap::new();
        let body: AnyBody = u.arbitrary()?;
        if let Ok(kind) = HeaderValue::from_str(&body.content_type) {
            headers.insert("content-type", kind);
        }
        for _ in 0..u.int_in_range(0..=4)? {
            let name = *u.choose(&["x-ratelimit-a", "x-ratelimit-b", "location", "x-yes", "x-~"])?;
            let value = HeaderValue::from_bytes(u.arbitrary::<&str>()?.as_bytes());
            if let Ok(value) = value {
                headers.append(HeaderName::from_static(name), value);
            }
        }
        Ok(Self {
            status: StatusCode::from_u16(u.int_in_range(100..=999)?).unwrap_or_default(),
            headers,
            body: body.bytes,
        })
    }
}

/// A request; `None` if the generated target is invalid.
pub fn request(u: &mut Unstructured<'_>) -> Result<Option<Request>> {
    let method = u.choose(&["GET", "POST", "DELETE", "PATCH"])?;
    let target = if u.arbitrary()? {
        (*u.choose(&[
            "/v1/chat/completions",
            "/v1/files?page=1",
            "/v1/models/ft%3Am",
            "/v1/audio/transcriptions",
        ])?)
        .to_owned()
    } else {
        format!("/{}", text(u)?)
    };
    let body: AnyBody = u.arbitrary()?;
    let Ok(request) = Request::new(method.parse().unwrap_or_default(), &target) else {
        return Ok(None);
    };
    let Ok(kind) = HeaderValue::from_str(&body.content_type) else {
        return Ok(None);
    };
    Ok(Some(request.header(http::header::CONTENT_TYPE, kind).body(body.bytes)))
}
