//! JSON bodies: read without loss, and written again in the layout they came in.

use std::io;

use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};
use serde_json::{Number, Value};

/// Deeper documents than this stay text: every reader has a limit, and this one is below all of them.
const MAX_DEPTH: usize = 48;

/// How a JSON text is spaced and escaped: all that is needed to write the same bytes again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) spacing: Spacing,
    /// Whether everything outside ASCII is written as `\u` and four hex digits.
    pub(crate) ascii: bool,
    /// Whether floats are written as Python does (`1e-05`, `1e+16`), as the API's own servers do in places.
    pub(crate) python_floats: bool,
    pub(crate) final_newline: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Spacing {
    /// `{"a":1,"b":2}`
    #[default]
    Compact,
    /// `{"a": 1, "b": 2}`
    Spaced,
    /// A line for each member, indented by this many spaces a level.
    Indented(u8),
}

impl Layout {
    /// The layout that this text seems to have; writing it again tells whether it really has.
    fn guess(text: &str) -> Self {
        let final_newline = text.ends_with('\n');
        let spacing = if let Some(rest) = text.strip_prefix("{\n").or_else(|| text.strip_prefix("[\n")) {
            let indent = rest.len() - rest.trim_start_matches(' ').len();
            Spacing::Indented(u8::try_from(indent).unwrap_or(u8::MAX))
        } else if first_separator_is_spaced(text) {
            Spacing::Spaced
        } else {
            Spacing::Compact
        };
        Self {
            spacing,
            ascii: text.contains("\\u") && text.is_ascii(),
            python_floats: false,
            final_newline,
        }
    }

    /// The value as text in this layout.
    pub(crate) fn write(self, value: &Value) -> Vec<u8> {
        let mut out = Vec::with_capacity(1024);
        let mut serializer = serde_json::Serializer::with_formatter(&mut out, Writer::new(self));
        // Writing a `Value` into a `Vec` cannot fail: its keys are strings, and the sink takes everything.
        let written = Plain(value).serialize(&mut serializer);
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
        rest = behind_string(&rest[at + 1..]);
    }
    false
}

/// What follows the string whose opening quote stands before this; nothing when it has no end.
fn behind_string(mut rest: &[u8]) -> &[u8] {
    loop {
        match memchr::memchr2(b'"', b'\\', rest) {
            Some(at) if rest[at] == b'"' => return &rest[at + 1..],
            Some(at) => rest = rest.get(at + 2..).unwrap_or_default(),
            None => return &[],
        }
    }
}

/// The value, when a `Value` holds all that the text says: `None` for what is not JSON, for integers too large to be
/// told apart, and for documents nested too deep.
pub(crate) fn parse(body: &[u8]) -> Option<Value> {
    let text = std::str::from_utf8(body).ok()?;
    if !matches!(text.trim_start().as_bytes().first()?, b'{' | b'[' | b'"') || has_huge_integer(text) {
        return None;
    }
    let value = serde_json::from_str(text).ok()?;
    (depth(&value) <= MAX_DEPTH).then_some(value)
}

/// The value and its layout, when writing it again gives these very bytes.
pub(crate) fn from_exact(body: &[u8]) -> Option<(Value, Layout)> {
    let value = parse(body)?;
    let guess = Layout::guess(std::str::from_utf8(body).ok()?);
    let candidates = [false, true].map(|python_floats| Layout { python_floats, ..guess });
    let layout = candidates.into_iter().find(|layout| layout.write(&value) == body)?;
    Some((value, layout))
}

/// Whether an integer stands there that a `Value` would round to the nearest float: two seeds could share a request key.
fn has_huge_integer(text: &str) -> bool {
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|byte| matches!(byte, b'"' | b'-' | b'0'..=b'9')) {
        rest = &rest[at..];
        if rest[0] == b'"' {
            rest = behind_string(&rest[1..]);
            continue;
        }
        let is_of_number = |byte: &u8| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
        let end = rest.iter().position(|byte| !is_of_number(byte)).unwrap_or(rest.len());
        let (number, behind) = rest.split_at(end);
        let is_integer = !number.iter().any(|byte| matches!(byte, b'.' | b'e' | b'E'));
        if is_integer && number.len() > 18 && !fits_integer(number) {
            return true;
        }
        rest = behind;
    }
    false
}

fn fits_integer(number: &[u8]) -> bool {
    let number = std::str::from_utf8(number).unwrap_or_default();
    number.parse::<i64>().is_ok() || number.parse::<u64>().is_ok()
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// A value that is serialised by what its numbers are worth.
///
/// With serde_json's feature `arbitrary_precision`, which any crate in a user's tree can turn on, a `Number` serialises
/// as a private map; this does not.
pub(crate) struct Plain<'a>(pub(crate) &'a Value);

impl Serialize for Plain<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Null => serializer.serialize_unit(),
            Value::Bool(value) => serializer.serialize_bool(*value),
            Value::Number(number) => serialize_number(number, serializer),
            Value::String(text) => serializer.serialize_str(text),
            Value::Array(items) => {
                let mut seq = serializer.serialize_seq(Some(items.len()))?;
                for item in items {
                    seq.serialize_element(&Plain(item))?;
                }
                seq.end()
            }
            Value::Object(members) => {
                let mut map = serializer.serialize_map(Some(members.len()))?;
                for (name, value) in members {
                    map.serialize_entry(name, &Plain(value))?;
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

/// Writes JSON in a [`Layout`].
struct Writer {
    layout: Layout,
    depth: usize,
    has_members: bool,
}

impl Writer {
    fn new(layout: Layout) -> Self {
        Self {
            layout,
            depth: 0,
            has_members: false,
        }
    }

    fn new_line<W: ?Sized + io::Write>(&self, writer: &mut W) -> io::Result<()> {
        if let Spacing::Indented(step) = self.layout.spacing {
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
            writer.write_all(if self.layout.spacing == Spacing::Spaced {
                b", "
            } else {
                b","
            })?;
        }
        self.has_members = true;
        self.new_line(writer)
    }
}

impl serde_json::ser::Formatter for Writer {
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
        writer.write_all(if self.layout.spacing == Spacing::Compact {
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
        // Python escapes DEL as well.
        let stays = |character: char| character.is_ascii() && character != '\u{7f}';
        if !self.layout.ascii || fragment.chars().all(stays) {
            return writer.write_all(fragment.as_bytes());
        }
        let mut units = [0; 2];
        for character in fragment.chars() {
            if stays(character) {
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

/// The shortest digits of a float as Python's `repr` lays them out.
///
/// The digits are those that `serde_json` writes: of two shortest ones it takes the even one, as Python does and as the
/// standard library does not.
fn python_float(value: f64) -> String {
    let shortest = Number::from_f64(value.abs())
        .map(|number| number.to_string())
        .unwrap_or_default();
    let (mantissa, exponent) = shortest.split_once('e').unwrap_or((&shortest, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = format!("{whole}{fraction}");
    let digits = all.trim_start_matches('0');
    // Where the point stands, counted from the first digit that is not zero.
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
    fn comes_back(text: &str) {
        let (value, layout) = from_exact(text.as_bytes()).unwrap_or_else(|| panic!("{text} is not exact"));
        assert_eq!(String::from_utf8(layout.write(&value)).as_deref(), Ok(text));
    }

    #[test]
    fn the_layouts_of_known_servers_come_back() {
        comes_back(r#"{"a":1,"b":[1.5,-0.0,1e-7,18446744073709551615],"c":{},"d":[],"e":"é\n\u0001"}"#);
        comes_back(r#"{"a": 1, "b": [1, 2], "c": {}, "d": "\u00e9 \ud83c\udf89 \u007f"}"#);
        comes_back("{\n  \"a\": [\n    1,\n    {}\n  ],\n  \"b\": []\n}\n");
        comes_back("[\n    1,\n    2\n]");
        // Written by Python.
        comes_back(
            r#"{"a":[1e-05,0.0001,-2.5e-07,1e+16,123456789012345.6,1.0,1e+300,0.00012,1000000000000000.0,-0.0,0.0010080337524414062,9007199254740992.0]}"#,
        );
        comes_back("{}");
        comes_back("\"a text\"");
        comes_back("[\"a: b\",\"\\\"\"]");
    }

    #[test]
    fn what_would_change_is_not_exact() {
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
            assert_eq!(from_exact(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn integers_that_a_float_would_merge_are_told_apart() {
        assert!(parse(b"[9007199254740993,18446744073709551615,-9223372036854775808]").is_some());
        assert!(parse(b"[18446744073709551616]").is_none());
        assert!(parse(b"[-9223372036854775809]").is_none());
        assert!(parse(br#"["18446744073709551616",0.18446744073709551616,1e30]"#).is_some());
        assert!(parse(br#"{"a\\":"\"18446744073709551616","b":"\\"}"#).is_some());
        assert!(parse(br#"{"a":"\\","b":18446744073709551616}"#).is_none());
    }

    #[test]
    fn a_document_that_is_nested_too_deep_is_not_read() {
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(parse(nested(MAX_DEPTH).as_bytes()).is_some());
        assert!(parse(nested(MAX_DEPTH + 1).as_bytes()).is_none());
        assert!(parse(nested(100_000).as_bytes()).is_none());
    }
}
