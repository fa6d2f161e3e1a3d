//! JSON bodies: parses them without loss, and writes them in their original layout.

use std::borrow::Cow;
use std::io;

use serde::de::DeserializeOwned;
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};
use serde_json::{Number, Value};

use super::surrogates::{Form, replace_unpaired};

/// The maximum nesting depth. It is below the limits of all JSON and YAML parsers that may read a cassette. A document that is
/// nested deeper is treated as text.
const MAX_DEPTH: usize = 48;

/// The spacing and the escapes of a JSON text: with them, a value is written as the same bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct JsonLayout {
    pub(crate) spacing: JsonSpacing,
    /// Whether characters outside ASCII are written as `\u` and four hex digits.
    pub(crate) ascii: bool,
    /// Whether floats are written like in Python (`1e-05`, `1e+16`), as some endpoints of the API do.
    pub(crate) python_floats: bool,
    pub(crate) final_newline: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum JsonSpacing {
    /// `{"a":1,"b":2}`
    #[default]
    Compact,
    /// `{"a": 1, "b": 2}`
    Spaced,
    /// A line for each member, indented by this number of spaces a level.
    Indented(u8),
}

impl JsonLayout {
    /// Guesses the layout of a text. The guess is right if writing the value gives the same text.
    fn guess(text: &str) -> Self {
        let final_newline = text.ends_with('\n');
        let spacing = if let Some(rest) = text.strip_prefix("{\n").or_else(|| text.strip_prefix("[\n")) {
            let indent = rest.len() - rest.trim_start_matches(' ').len();
            JsonSpacing::Indented(u8::try_from(indent).unwrap_or(u8::MAX))
        } else if first_separator_is_spaced(text) {
            JsonSpacing::Spaced
        } else {
            JsonSpacing::Compact
        };
        Self {
            spacing,
            ascii: text.contains("\\u") && text.is_ascii(),
            python_floats: false,
            final_newline,
        }
    }

    /// Writes a value in this layout.
    pub(crate) fn write(self, value: &Value) -> Vec<u8> {
        let mut out = Vec::with_capacity(1024);
        let mut serializer = serde_json::Serializer::with_formatter(&mut out, LayoutWriter::new(self));
        // Writing a `Value` into a `Vec` cannot fail: its keys are strings, and a `Vec` has no I/O errors.
        let written = PlainJson(value).serialize(&mut serializer);
        debug_assert!(written.is_ok());
        if self.final_newline {
            out.push(b'\n');
        }
        out
    }
}

/// Whether the first `:` or `,` outside a string is followed by a space.
fn first_separator_is_spaced(text: &str) -> bool {
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|byte| matches!(byte, b'"' | b':' | b',')) {
        if rest[at] != b'"' {
            return rest.get(at + 1) == Some(&b' ');
        }
        rest = after_string(&rest[at + 1..]);
    }
    false
}

/// The text after the string whose opening quote precedes `rest`; empty when the string has no end.
fn after_string(mut rest: &[u8]) -> &[u8] {
    loop {
        match memchr::memchr2(b'"', b'\\', rest) {
            Some(at) if rest[at] == b'"' => return &rest[at + 1..],
            Some(at) => rest = rest.get(at + 2..).unwrap_or_default(),
            None => return &[],
        }
    }
}

/// Deserializes a JSON text from the API. A byte-order mark is ignored, and half of a surrogate pair, which JSON allows
/// and text does not, becomes U+FFFD.
///
/// # Errors
/// The text is not JSON of this type.
pub(crate) fn read_json<T: DeserializeOwned>(text: &[u8]) -> serde_json::Result<T> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    match serde_json::from_slice(text) {
        Err(error) if error.is_syntax() => match replace_unpaired(text, replacement) {
            Cow::Owned(paired) => serde_json::from_slice(&paired),
            Cow::Borrowed(_) => Err(error),
        },
        result => result,
    }
}

fn replacement(form: Form, _digits: &str) -> String {
    match form {
        Form::Escape => r"\ufffd".to_owned(),
        Form::Bytes => "\u{fffd}".to_owned(),
    }
}

/// Parses a body if a `Value` can represent it without loss. Returns `None` for a body that is not JSON, that has an integer
/// which does not fit 64 bits or two members of one name in an object, or that is nested too deep.
pub(crate) fn parse_json(body: &[u8]) -> Option<Value> {
    let text = std::str::from_utf8(body).ok()?;
    if !matches!(text.trim_start().as_bytes().first()?, b'{' | b'[' | b'"') {
        return None;
    }
    let members = count_members(text)?;
    let value = serde_json::from_str(text).ok()?;
    // Of two members of one name, the value has only the last.
    let mut parsed = 0;
    (depth(&value, &mut parsed) <= MAX_DEPTH && parsed == members).then_some(value)
}

/// Parses a body if writing the value in the returned layout gives the same bytes.
pub(crate) fn parse_exact_json(body: &[u8]) -> Option<(Value, JsonLayout)> {
    let value = parse_json(body)?;
    let guess = JsonLayout::guess(std::str::from_utf8(body).ok()?);
    let candidates = [false, true].map(|python_floats| JsonLayout { python_floats, ..guess });
    let layout = candidates.into_iter().find(|layout| layout.write(&value) == body)?;
    Some((value, layout))
}

/// Counts the members of all objects in a JSON text. Returns `None` if it has an integer that a `Value` would round to a float:
/// two such integers, for example seeds, could give the same request key.
fn count_members(text: &str) -> Option<usize> {
    let (mut rest, mut members) = (text.as_bytes(), 0);
    while let Some(at) = rest
        .iter()
        .position(|byte| matches!(byte, b'"' | b':' | b'-' | b'0'..=b'9'))
    {
        rest = &rest[at..];
        match rest[0] {
            b'"' => rest = after_string(&rest[1..]),
            b':' => {
                members += 1;
                rest = &rest[1..];
            }
            _ => {
                let is_number_byte = |byte: &u8| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
                let end = rest.iter().position(|byte| !is_number_byte(byte)).unwrap_or(rest.len());
                let (number, after) = rest.split_at(end);
                let is_integer = !number.iter().any(|byte| matches!(byte, b'.' | b'e' | b'E'));
                if is_integer && number.len() > 18 && !fits_integer(number) {
                    return None;
                }
                rest = after;
            }
        }
    }
    Some(members)
}

fn fits_integer(number: &[u8]) -> bool {
    let number = std::str::from_utf8(number).unwrap_or_default();
    number.parse::<i64>().is_ok() || number.parse::<u64>().is_ok()
}

/// Returns how deep a value is nested, and adds up the members of its objects.
fn depth(value: &Value, members: &mut usize) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(|item| depth(item, members)).max().unwrap_or(0),
        Value::Object(object) => {
            *members += object.len();
            1 + object.values().map(|value| depth(value, members)).max().unwrap_or(0)
        }
        _ => 0,
    }
}

/// Serializes a value with plain numbers.
///
/// With serde_json's feature `arbitrary_precision`, which any dependency of a program can enable, a `Number` serializes as a
/// private struct. This wrapper always serializes an integer or a float.
pub(crate) struct PlainJson<'a>(pub(crate) &'a Value);

impl Serialize for PlainJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Null => serializer.serialize_unit(),
            Value::Bool(value) => serializer.serialize_bool(*value),
            Value::Number(number) => serialize_number(number, serializer),
            Value::String(text) => serializer.serialize_str(text),
            Value::Array(items) => {
                let mut seq = serializer.serialize_seq(Some(items.len()))?;
                for item in items {
                    seq.serialize_element(&PlainJson(item))?;
                }
                seq.end()
            }
            Value::Object(members) => {
                let mut map = serializer.serialize_map(Some(members.len()))?;
                for (name, value) in members {
                    map.serialize_entry(name, &PlainJson(value))?;
                }
                map.end()
            }
        }
    }
}

pub(crate) fn serialize_number<S: Serializer>(number: &Number, serializer: S) -> Result<S::Ok, S::Error> {
    if let Some(value) = number.as_i64() {
        serializer.serialize_i64(value)
    } else if let Some(value) = number.as_u64() {
        serializer.serialize_u64(value)
    } else {
        serializer.serialize_f64(number.as_f64().unwrap_or(f64::NAN))
    }
}

/// A `serde_json` formatter for a [`JsonLayout`].
struct LayoutWriter {
    layout: JsonLayout,
    depth: usize,
    has_members: bool,
}

impl LayoutWriter {
    fn new(layout: JsonLayout) -> Self {
        Self {
            layout,
            depth: 0,
            has_members: false,
        }
    }

    fn new_line<W: ?Sized + io::Write>(&self, writer: &mut W) -> io::Result<()> {
        if let JsonSpacing::Indented(step) = self.layout.spacing {
            writer.write_all(b"\n")?;
            for _ in 0..self.depth * usize::from(step) {
                writer.write_all(b" ")?;
            }
        }
        Ok(())
    }

    fn open<W: ?Sized + io::Write>(&mut self, writer: &mut W, bracket: &[u8]) -> io::Result<()> {
        self.depth += 1;
        self.has_members = false;
        writer.write_all(bracket)
    }

    fn close<W: ?Sized + io::Write>(&mut self, writer: &mut W, bracket: &[u8]) -> io::Result<()> {
        self.depth -= 1;
        if self.has_members {
            self.new_line(writer)?;
        }
        self.has_members = true;
        writer.write_all(bracket)
    }

    fn next<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if !first {
            writer.write_all(if self.layout.spacing == JsonSpacing::Spaced {
                b", "
            } else {
                b","
            })?;
        }
        self.has_members = true;
        self.new_line(writer)
    }
}

impl serde_json::ser::Formatter for LayoutWriter {
    fn begin_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.open(writer, b"[")
    }

    fn end_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.close(writer, b"]")
    }

    fn begin_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.next(writer, first)
    }

    fn begin_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.open(writer, b"{")
    }

    fn end_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.close(writer, b"}")
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.next(writer, first)
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(if self.layout.spacing == JsonSpacing::Compact {
            b":"
        } else {
            b": "
        })
    }

    fn write_f64<W: ?Sized + io::Write>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        if self.layout.python_floats {
            writer.write_all(python_float(value).as_bytes())
        } else {
            serde_json::ser::CompactFormatter.write_f64(writer, value)
        }
    }

    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        // Python also escapes DEL.
        let is_literal = |character: char| character.is_ascii() && character != '\u{7f}';
        if !self.layout.ascii || fragment.chars().all(is_literal) {
            return writer.write_all(fragment.as_bytes());
        }
        let mut units = [0; 2];
        for character in fragment.chars() {
            if is_literal(character) {
                writer.write_all(&[character as u8])?;
            } else {
                for unit in character.encode_utf16(&mut units) {
                    write!(writer, "\\u{unit:04x}")?;
                }
            }
        }
        Ok(())
    }
}

/// Writes a float like Python's `repr`, with the fewest digits that identify it.
///
/// The digits are those of `serde_json`. Where two candidates are equally short, it takes the even one, like Python and
/// unlike the standard library.
fn python_float(value: f64) -> String {
    let shortest = Number::from_f64(value.abs())
        .map(|number| number.to_string())
        .unwrap_or_default();
    let (mantissa, exponent) = shortest.split_once('e').unwrap_or((&shortest, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = format!("{whole}{fraction}");
    let digits = all.trim_start_matches('0');
    // The position of the decimal point, counted from the first digit that is not zero.
    let point = whole.len() as i32 + exponent.parse().unwrap_or(0) - (all.len() - digits.len()) as i32;
    let digits = digits.trim_end_matches('0');
    let sign = if value.is_sign_negative() { "-" } else { "" };
    let zeros = |count: i32| "0".repeat(usize::try_from(count).unwrap_or(0));
    if digits.is_empty() {
        return format!("{sign}0.0");
    }
    match point {
        -3..=0 => format!("{sign}0.{}{digits}", zeros(-point)),
        1..=16 => match digits.split_at_checked(point as usize) {
            Some((whole, fraction)) if !fraction.is_empty() => format!("{sign}{whole}.{fraction}"),
            _ => format!("{sign}{digits}{}.0", zeros(point - digits.len() as i32)),
        },
        _ => {
            let (first, rest) = digits.split_at(1);
            let point_and_rest = if rest.is_empty() {
                String::new()
            } else {
                format!(".{rest}")
            };
            let exponent = point - 1;
            let direction = if exponent < 0 { '-' } else { '+' };
            format!(
                "{sign}{first}{point_and_rest}e{direction}{:02}",
                exponent.unsigned_abs()
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn assert_round_trip(text: &str) {
        let (value, layout) = parse_exact_json(text.as_bytes()).unwrap_or_else(|| panic!("{text} is not exact"));
        assert_eq!(String::from_utf8(layout.write(&value)).as_deref(), Ok(text));
    }

    #[test]
    fn the_layouts_of_known_servers_round_trip() {
        assert_round_trip(r#"{"a":1,"b":[1.5,-0.0,1e-7,18446744073709551615],"c":{},"d":[],"e":"é\n\u0001"}"#);
        assert_round_trip(r#"{"a": 1, "b": [1, 2], "c": {}, "d": "\u00e9 \ud83c\udf89 \u007f"}"#);
        assert_round_trip("{\n  \"a\": [\n    1,\n    {}\n  ],\n  \"b\": []\n}\n");
        assert_round_trip("[\n    1,\n    2\n]");
        // Written by Python.
        assert_round_trip(
            r#"{"a":[1e-05,0.0001,-2.5e-07,1e+16,123456789012345.6,1.0,1e+300,0.00012,1000000000000000.0,-0.0,0.0010080337524414062,9007199254740992.0]}"#,
        );
        assert_round_trip("{}");
        assert_round_trip("\"a text\"");
        assert_round_trip("[\"a: b\",\"\\\"\"]");
    }

    #[test]
    fn a_text_that_would_change_is_not_exact() {
        for text in [
            "1.50",
            "[1.50]",
            "[1E5]",
            r#"["\/"]"#,
            r#"{"a":1,"a":2}"#,
            "[1 ,2]",
            "[1,2",
            "{\"a\":1}\n\n",
            "[123456789012345678901]",
            r#"["\ud800"]"#,
            "",
        ] {
            assert_eq!(parse_exact_json(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn an_object_with_two_members_of_one_name_is_not_parsed() {
        for text in [
            r#"{"a":1,"a":2}"#,
            r#"[{"b":{"a":1,"\u0061":1}}]"#,
            r#"{"a":{"a":1},"a":{"b":1}}"#,
        ] {
            assert!(parse_json(text.as_bytes()).is_none(), "{text}");
        }
        for text in [
            r#"{"a":{"a":1},"b":[{"a":":"},{"a":"\":"}]}"#,
            r#"{"":1,":":2}"#,
            r#"{"a" : 1 , "A":-2}"#,
        ] {
            assert!(parse_json(text.as_bytes()).is_some(), "{text}");
        }
    }

    #[test]
    fn integers_beyond_64_bits_are_not_parsed() {
        assert!(parse_json(b"[9007199254740993,18446744073709551615,-9223372036854775808]").is_some());
        assert!(parse_json(b"[18446744073709551616]").is_none());
        assert!(parse_json(b"[-9223372036854775809]").is_none());
        assert!(parse_json(br#"["18446744073709551616",0.18446744073709551616,1e30]"#).is_some());
        assert!(parse_json(br#"{"a\\":"\"18446744073709551616","b":"\\"}"#).is_some());
        assert!(parse_json(br#"{"a":"\\","b":18446744073709551616}"#).is_none());
    }

    #[test]
    fn a_document_that_is_nested_too_deep_is_not_parsed() {
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(parse_json(nested(MAX_DEPTH).as_bytes()).is_some());
        assert!(parse_json(nested(MAX_DEPTH + 1).as_bytes()).is_none());
        assert!(parse_json(nested(100_000).as_bytes()).is_none());
    }

    #[test]
    fn byte_order_marks_and_halves_of_surrogate_pairs_are_read() {
        let read = |text: &str| read_json::<String>(text.as_bytes()).ok();
        for (text, expected) in [
            ("\u{feff}\"a\"", "a"),
            (r#""\ud83d\ude00""#, "\u{1f600}"),
            (r#""a\ud83db""#, "a\u{fffd}b"),
            (r#""\ude00\uD83D\ud83d\ude00""#, "\u{fffd}\u{fffd}\u{1f600}"),
            (r#""\\ud83d\ud83d""#, "\\ud83d\u{fffd}"),
        ] {
            assert_eq!(read(text).as_deref(), Some(expected), "{text}");
        }
        assert_eq!(read(r#""\ud83d"#), None);
        assert_eq!(read_json::<String>(b"\"a\xed\xa0\xbdb\"").unwrap(), "a\u{fffd}b");
    }
}
