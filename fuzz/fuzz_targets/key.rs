//! Request keys: two spellings of one request have the same key, and requests with different meanings have different keys.
//!
//! This file implements the meaning of a request independently of the crate.
#![no_main]

use arbitrary::{Arbitrary, Result, Unstructured};
use http::HeaderValue;
use libfuzzer_sys::fuzz_target;
use mistral_cassette::fuzzing::key;
use mistral_cassette::{Request, Settings};
use mistral_cassette_fuzz::{Json, JsonBody, Part, encoded_name, part_name, text};
use serde_json::{Value, json};

/// The largest integer up to which every integer is a double. Larger integers keep their digits.
const LARGEST_SAFE: i128 = (1 << 53) - 1;

#[derive(Clone, Debug)]
struct Content {
    segments: Vec<String>,
    query: Vec<(String, String)>,
    body: Body,
}

#[derive(Clone, Debug)]
enum Body {
    None,
    Json(Value),
    Text(String),
    Bytes(Vec<u8>),
    Form(Vec<Part>),
}

#[derive(Debug)]
enum Input {
    Spellings(Box<[Option<Request>; 2]>),
    Pair(Box<[(Request, Meaning); 2]>),
}

impl<'a> Arbitrary<'a> for Input {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let content = content(u)?;
        if u.arbitrary()? {
            return Ok(Self::Spellings(Box::new([
                spelled(&content, u)?,
                spelled(&content, u)?,
            ])));
        }
        let other = match u.int_in_range(0..=4)? {
            0 => self::content(u)?,
            4 => content.clone(),
            1 => Content {
                query: pairs(u)?,
                ..content.clone()
            },
            2 => Content {
                segments: segments(u)?,
                ..content.clone()
            },
            _ => Content {
                body: changed(&content.body, u)?,
                ..content.clone()
            },
        };
        let mut both = [None, None];
        for (slot, content) in both.iter_mut().zip([content, other]) {
            let raw = *u.choose(&[None, Some("a=%FF"), Some("a=%FE"), Some("a=%EF%BF%BD"), Some("a=%25FF")])?;
            let Some(request) = spelled(&content, u)?.and_then(|request| with_query(request, raw)) else {
                return Err(arbitrary::Error::IncorrectFormat);
            };
            let meaning = Meaning::of(&request, &content.body);
            *slot = Some((request, meaning));
        }
        match both {
            [Some(one), Some(other)] => Ok(Self::Pair(Box::new([one, other]))),
            _ => Err(arbitrary::Error::IncorrectFormat),
        }
    }
}

fn with_query(request: Request, query: Option<&str>) -> Option<Request> {
    let Some(query) = query else { return Some(request) };
    let again = Request::new(request.method().clone(), &format!("{}?{query}", request.path())).ok()?;
    Some(
        again
            .headers(request.header_map().clone())
            .body(request.body_bytes().clone()),
    )
}

fuzz_target!(|input: Input| {
    let settings = Settings::default();
    match input {
        Input::Spellings(both) => {
            let [Some(one), Some(other)] = *both else { return };
            let (one, other) = (checked_key(&one, &settings), checked_key(&other, &settings));
            assert_eq!(one.1, other.1);
            assert_eq!((one.0.hash(), one.0.name()), (other.0.hash(), other.0.name()));
        }
        Input::Pair(both) => {
            let [(one, meaning), (other, other_meaning)] = *both;
            let (one, other) = (checked_key(&one, &settings), checked_key(&other, &settings));
            assert_eq!(
                one.0 == other.0,
                one.1 == other.1,
                "keys are equal if and only if the canonical texts are"
            );
            if meaning != other_meaning {
                assert_ne!(one.1, other.1, "{meaning:?}\n{other_meaning:?}");
            }
        }
    }
});

fn checked_key(request: &Request, settings: &Settings) -> (mistral_cassette::RequestKey, String) {
    let (key, text) = key(request, settings);
    let name = key.name();
    let is_portable = |character: char| character.is_ascii_alphanumeric() || matches!(character, '-' | '_' | '/');
    assert!(
        name.chars().all(is_portable) && name.len() < 200,
        "{name:?} is not a portable path"
    );
    (key, text)
}

fn content(u: &mut Unstructured<'_>) -> Result<Content> {
    let body = match u.int_in_range(0..=6)? {
        0 => Body::None,
        1..=3 => Body::Json(u.arbitrary::<JsonBody>()?.0),
        4 => Body::Text(text(u)?),
        5 => Body::Bytes(u.arbitrary()?),
        _ => Body::Form(u.arbitrary()?),
    };
    Ok(Content {
        segments: segments(u)?,
        query: pairs(u)?,
        body,
    })
}

fn segments(u: &mut Unstructured<'_>) -> Result<Vec<String>> {
    (0..u.int_in_range(0..=3)?).map(|_| text(u)).collect()
}

fn pairs(u: &mut Unstructured<'_>) -> Result<Vec<(String, String)>> {
    (0..u.int_in_range(0..=3)?).map(|_| Ok((text(u)?, text(u)?))).collect()
}

/// Returns a body with a small change.
fn changed(body: &Body, u: &mut Unstructured<'_>) -> Result<Body> {
    Ok(match body {
        Body::Json(value) => {
            let mut value = value.clone();
            change(&mut value, u)?;
            Body::Json(value)
        }
        Body::Form(parts) if !parts.is_empty() => {
            let mut parts = parts.clone();
            let at = u.choose_index(parts.len())?;
            match u.int_in_range(0..=3)? {
                0 => drop(parts.remove(at)),
                1 => parts[at].content.push(u.arbitrary()?),
                2 => parts[at].filename = if u.arbitrary()? { Some(part_name(u)?) } else { None },
                _ => parts[at].name = part_name(u)?,
            }
            Body::Form(parts)
        }
        Body::Text(text) => Body::Json(json!([text])),
        _ => Body::Text(text(u)?),
    })
}

fn change(value: &mut Value, u: &mut Unstructured<'_>) -> Result<()> {
    match value {
        Value::Array(items) if !items.is_empty() && u.ratio(3, 4)? => {
            let at = u.choose_index(items.len())?;
            return change(&mut items[at], u);
        }
        Value::Object(members) if !members.is_empty() && u.ratio(3, 4)? => {
            let at = u.choose_index(members.len())?;
            if u.ratio(1, 4)? {
                let name = members.keys().nth(at).cloned().unwrap_or_default();
                members.shift_remove(&name);
                return Ok(());
            }
            return members.values_mut().nth(at).map_or(Ok(()), |member| change(member, u));
        }
        _ => {}
    }
    *value = match (u.int_in_range(0..=4)?, &*value) {
        (0, Value::Number(number)) => json!({ "$integer": number.to_string() }),
        (1, value) => value.to_string().into(),
        (2, Value::Number(number)) => number.as_i64().and_then(|number| number.checked_add(1)).into(),
        (3, value) => json!([value]),
        _ => u.arbitrary::<Json>()?.0,
    };
    Ok(())
}

// The spellings of a request.

fn spelled(content: &Content, u: &mut Unstructured<'_>) -> Result<Option<Request>> {
    let mut target = "/v1/x".to_owned();
    for segment in &content.segments {
        target.push('/');
        encode(segment, "-._~!$&'()*+,;=:@", &mut target, u)?;
    }
    for (at, (name, value)) in shuffled(&content.query, |(name, _)| name.clone(), u)?
        .into_iter()
        .enumerate()
    {
        target.push(if at == 0 { '?' } else { '&' });
        let mut pair = |text: &str, target: &mut String| {
            for (at, word) in text.split(' ').enumerate() {
                if at > 0 {
                    target.push_str(if u.arbitrary()? { "+" } else { "%20" });
                }
                encode(word, "-._~!$'()*,;:@/?", target, u)?;
            }
            Ok::<_, arbitrary::Error>(())
        };
        pair(&name, &mut target)?;
        target.push('=');
        pair(&value, &mut target)?;
    }
    let Ok(mut request) = Request::post(&target) else {
        return Ok(None);
    };
    match &content.body {
        Body::None => {}
        Body::Json(value) => {
            let mut text = String::new();
            json_text(value, &mut text, u)?;
            request = request.body(text);
        }
        Body::Text(text) => request = request.body(text.clone()),
        Body::Bytes(bytes) => request = request.body(bytes.clone()),
        Body::Form(parts) => {
            let mut parts = shuffled(parts, |part| encoded_name(&part.name), u)?;
            for part in &mut parts {
                // What says no more than the file name.
                let derived = part
                    .filename
                    .as_ref()
                    .map_or("text/plain", |_| "application/octet-stream");
                part.content_type = *u.choose(&[None, Some(derived)])?;
            }
            let (kind, body) =
                mistral_cassette::fuzzing::sent_form(&parts.into_iter().map(Part::into_crate_part).collect::<Vec<_>>());
            let kind = HeaderValue::from_str(&kind).map_err(|_| arbitrary::Error::IncorrectFormat)?;
            request = request.header(http::header::CONTENT_TYPE, kind).body(body);
        }
    }
    Ok(Some(request))
}

/// Returns the items in another order, in which items of one name keep theirs.
fn shuffled<T: Clone>(items: &[T], name: impl Fn(&T) -> String, u: &mut Unstructured<'_>) -> Result<Vec<T>> {
    let mut names: Vec<String> = items.iter().map(&name).collect();
    for at in (1..names.len()).rev() {
        names.swap(at, u.int_in_range(0..=at)?);
    }
    let mut rest = items.to_vec();
    let mut take = |wanted: &String| {
        let at = rest.iter().position(|item| name(item) == *wanted);
        at.map(|at| rest.remove(at))
    };
    Ok(names.iter().filter_map(&mut take).collect())
}

/// Percent-encodes text: plain characters sometimes, all others always.
fn encode(text: &str, plain: &str, out: &mut String, u: &mut Unstructured<'_>) -> Result<()> {
    for character in text.chars() {
        if (character.is_ascii_alphanumeric() || plain.contains(character)) && u.ratio(3, 4)? {
            out.push(character);
            continue;
        }
        for byte in character.to_string().bytes() {
            out.push_str(&if u.arbitrary()? {
                format!("%{byte:02x}")
            } else {
                format!("%{byte:02X}")
            });
        }
    }
    Ok(())
}

fn json_text(value: &Value, out: &mut String, u: &mut Unstructured<'_>) -> Result<()> {
    space(out, u)?;
    match value {
        Value::Null | Value::Bool(_) => out.push_str(&value.to_string()),
        Value::Number(number) => out.push_str(&number_text(number, u)?),
        Value::String(text) => string_text(text, out, u)?,
        Value::Array(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                out.push_str(if at == 0 { "" } else { "," });
                json_text(item, out, u)?;
            }
            out.push(']');
        }
        Value::Object(members) => {
            let names: Vec<&String> = members.keys().collect();
            out.push('{');
            for (at, name) in shuffled(&names, |name| (*name).clone(), u)?.into_iter().enumerate() {
                out.push_str(if at == 0 { "" } else { "," });
                space(out, u)?;
                string_text(name, out, u)?;
                space(out, u)?;
                out.push(':');
                json_text(&members[name], out, u)?;
            }
            out.push('}');
        }
    }
    space(out, u)
}

fn space(out: &mut String, u: &mut Unstructured<'_>) -> Result<()> {
    out.push_str(u.choose(&["", "", "", " ", "\n", "\t\r\n"])?);
    Ok(())
}

fn number_text(number: &serde_json::Number, u: &mut Unstructured<'_>) -> Result<String> {
    let safe = match integer_of(number) {
        Some(integer) if integer.abs() <= LARGEST_SAFE => Some(integer),
        Some(_) => return Ok(number.to_string()),
        None => {
            let float = number.as_f64().unwrap_or_default();
            let is_safe = float.fract() == 0.0 && float.abs() <= LARGEST_SAFE as f64;
            is_safe.then_some(float as i128)
        }
    };
    let float = number.as_f64().unwrap_or_default();
    Ok(match (u.int_in_range(0..=5)?, safe) {
        (0, Some(integer)) => integer.to_string(),
        (1, Some(integer)) => format!("{integer}.0"),
        (2, Some(integer)) => format!("{}e-1", integer * 10),
        (3, _) => format!("{float:e}").replace('e', "E"),
        (4, _) => format!("{float:e}").replace('e', ".0e").replacen(
            ".0e",
            if format!("{float:e}").contains('.') {
                "0e"
            } else {
                ".0e"
            },
            1,
        ),
        (5, Some(0)) => "-0".to_owned(),
        _ => number.to_string(),
    })
}

fn integer_of(number: &serde_json::Number) -> Option<i128> {
    number
        .as_i64()
        .map(i128::from)
        .or_else(|| number.as_u64().map(i128::from))
}

fn string_text(text: &str, out: &mut String, u: &mut Unstructured<'_>) -> Result<()> {
    out.push('"');
    for character in text.chars() {
        let mut units = [0; 2];
        match character {
            '/' if u.arbitrary()? => out.push_str("\\/"),
            '"' | '\\' => out.extend(['\\', character]),
            character if character < ' ' || u.ratio(1, 8)? => {
                for unit in character.encode_utf16(&mut units) {
                    out.push_str(&if u.arbitrary()? {
                        format!("\\u{unit:04x}")
                    } else {
                        format!("\\u{unit:04X}")
                    });
                }
            }
            character => out.push(character),
        }
    }
    out.push('"');
    Ok(())
}

// The meaning of a request.

#[derive(Debug)]
struct Meaning {
    /// Decoded segments.
    path: Vec<Vec<u8>>,
    /// Decoded pairs, by name.
    query: Vec<(Vec<u8>, Vec<u8>)>,
    body: MeaningOfBody,
}

#[derive(Debug)]
enum MeaningOfBody {
    Empty,
    Json(Value),
    Bytes(Vec<u8>),
    /// Names, file names and bytes, by name.
    Form(Vec<(String, Option<String>, Vec<u8>)>),
}

impl Meaning {
    fn of(request: &Request, body: &Body) -> Self {
        let path = request.path().split('/').map(decoded).collect();
        let pair = |pair: &str| {
            let pair = pair.replace('+', " ");
            let (name, value) = pair.split_once('=').unwrap_or((&pair, ""));
            (decoded(name), decoded(value))
        };
        let query = request.query().unwrap_or_default();
        let mut query: Vec<_> = query.split('&').filter(|pair| !pair.is_empty()).map(pair).collect();
        query.sort_by(|(a, _), (b, _)| a.cmp(b));
        let bytes = request.body_bytes();
        let value = serde_json::from_slice::<Value>(bytes)
            .ok()
            .filter(|value| value.is_object() || value.is_array());
        let body = match (body, value) {
            (Body::Form(parts), _) => {
                let mut parts: Vec<_> = parts
                    .iter()
                    .map(|part| {
                        (
                            encoded_name(&part.name),
                            part.filename.as_deref().map(encoded_name),
                            part.content.clone(),
                        )
                    })
                    .collect();
                parts.sort_by(|(a, ..), (b, ..)| a.cmp(b));
                MeaningOfBody::Form(parts)
            }
            (_, Some(value)) => MeaningOfBody::Json(value),
            _ if bytes.is_empty() => MeaningOfBody::Empty,
            _ => MeaningOfBody::Bytes(bytes.to_vec()),
        };
        Self { path, query, body }
    }
}

fn decoded(text: &str) -> Vec<u8> {
    percent_encoding::percent_decode_str(text).collect()
}

impl PartialEq for Meaning {
    fn eq(&self, other: &Self) -> bool {
        let same_body = match (&self.body, &other.body) {
            (MeaningOfBody::Empty, MeaningOfBody::Empty) => true,
            (MeaningOfBody::Json(one), MeaningOfBody::Json(other)) => is_same(one, other),
            (MeaningOfBody::Bytes(one), MeaningOfBody::Bytes(other)) => one == other,
            (MeaningOfBody::Form(one), MeaningOfBody::Form(other)) => one == other,
            _ => false,
        };
        same_body && self.path == other.path && self.query == other.query
    }
}

fn is_same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => match (integer_of(one), integer_of(other)) {
            (Some(one), Some(other)) => one == other,
            (None, None) => one.as_f64() == other.as_f64(),
            (Some(integer), None) => other.as_f64() == Some(integer as f64),
            (None, Some(integer)) => one.as_f64() == Some(integer as f64),
        },
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| is_same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one
                    .iter()
                    .all(|(name, one)| other.get(name).is_some_and(|other| is_same(one, other)))
        }
        (one, other) => one == other,
    }
}
