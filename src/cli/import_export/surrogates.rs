//! Unpaired surrogates: half a character of UTF-16, which JSON and YAML can escape and UTF-8 cannot hold.
//!
//! Tools that cut text in the middle of a character write them. A parser refuses the complete document then. Here, a
//! mark takes the place of each before the document is parsed; what is serialized as JSON gets the escape back, and an
//! interaction with a mark in another place cannot be imported.

use std::borrow::Cow;

use serde_json::Value;

/// Two characters that Unicode reserves for the use inside a program; the four digits of the surrogate follow.
const MARK: &str = "\u{fdd0}\u{fdd1}";
const ESCAPED_MARK: &str = r"\ufdd0\ufdd1";

/// Replaces the unpaired surrogates of a JSON or YAML document by marks.
pub(super) fn mark(document: &[u8]) -> Cow<'_, [u8]> {
    let mut marked = Vec::new();
    let (mut at, mut copied) = (0, 0);
    while let Some(offset) = memchr::memchr2(b'\\', 0xed, &document[at..]) {
        at += offset;
        let rest = &document[at..];
        let (replacement, length) = match unpaired(rest) {
            Some(found) => found,
            None => {
                at += skipped(rest);
                continue;
            }
        };
        marked.extend_from_slice(&document[copied..at]);
        marked.extend_from_slice(replacement.as_bytes());
        at += length;
        copied = at;
    }
    if copied == 0 {
        return document.into();
    }
    marked.extend_from_slice(&document[copied..]);
    marked.into()
}

/// The mark for the unpaired surrogate at the beginning of `text`, and the length of the surrogate there.
fn unpaired(text: &[u8]) -> Option<(String, usize)> {
    if let [0xed, second @ 0xa0..=0xbf, third @ 0x80..=0xbf, ..] = text {
        // UTF-8 does not allow this form; some programs write it.
        let unit = 0xd000 | u16::from(second & 0x3f) << 6 | u16::from(third & 0x3f);
        return Some((format!("{MARK}{unit:04x}"), 3));
    }
    let unit = escaped_unit(text)?;
    let is_pair = is_high(unit) && text.get(6..).and_then(escaped_unit).is_some_and(is_low);
    if !is_high(unit) && !is_low(unit) || is_pair {
        return None;
    }
    let digits = String::from_utf8_lossy(&text[2..6]);
    Some((format!("{ESCAPED_MARK}{digits}"), 6))
}

/// How many bytes belong to what begins at `text`: a pair, an escape, or one byte.
fn skipped(text: &[u8]) -> usize {
    let length = match (text.first(), escaped_unit(text)) {
        (_, Some(unit)) if is_high(unit) => 12,
        (Some(b'\\'), _) => 2,
        _ => 1,
    };
    length.min(text.len())
}

/// The UTF-16 code unit of the escape at the beginning of `text`.
fn escaped_unit(text: &[u8]) -> Option<u16> {
    let digits = std::str::from_utf8(text.strip_prefix(br"\u")?.get(..4)?).ok()?;
    let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    u16::from_str_radix(digits, 16).ok().filter(|_| is_hex)
}

fn is_high(unit: u16) -> bool {
    (0xd800..0xdc00).contains(&unit)
}

fn is_low(unit: u16) -> bool {
    (0xdc00..0xe000).contains(&unit)
}

/// Restores the text of YAML scalars in which a backslash is an ordinary character.
pub(super) fn restore_literals(value: &mut Value) {
    match value {
        Value::String(text) if text.contains(ESCAPED_MARK) => *text = text.replace(ESCAPED_MARK, r"\u"),
        Value::Array(items) => items.iter_mut().for_each(restore_literals),
        Value::Object(members) => members.values_mut().for_each(restore_literals),
        _ => {}
    }
}

/// Replaces the marks in text by the escapes of the surrogates.
pub(super) fn escape(text: &str) -> Cow<'_, str> {
    if text.contains(MARK) {
        text.replace(MARK, r"\u").into()
    } else {
        text.into()
    }
}

/// The escape of the first surrogate in these bytes.
pub(super) fn find(bytes: &[u8]) -> Option<String> {
    let at = memchr::memmem::find(bytes, MARK.as_bytes())? + MARK.len();
    let digits = bytes.get(at..at + 4)?;
    Some(format!(r"\u{}", String::from_utf8_lossy(digits)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn marked(document: &str) -> String {
        String::from_utf8(mark(document.as_bytes()).into_owned()).unwrap()
    }

    #[test]
    fn only_unpaired_surrogates_are_marked() {
        for unchanged in [
            r#"{"a":"\ud83c\udf2c"}"#,
            r#"{"a":"\\ud83d"}"#,
            r#"{"a":"é\u00e9\n"}"#,
            "힣",
            r"\u",
            r"\ud8",
            "\\",
        ] {
            assert_eq!(marked(unchanged), unchanged);
        }
        for (document, surrogate) in [
            (r#"{"a":"x\ud83d"}"#, r"\ud83d"),
            (r#"{"a":"\uDF2C\n"}"#, r"\uDF2C"),
            (r#"{"a":"\ud83c\ud83c\udf2c"}"#, r"\ud83c"),
            (r#"{"a":"\\\ud83d"}"#, r"\ud83d"),
        ] {
            let value: Value = serde_json::from_str(&marked(document)).unwrap();
            let text = value["a"].as_str().unwrap();
            assert_eq!(find(text.as_bytes()).as_deref(), Some(surrogate), "{document}");
            assert!(escape(text).contains(surrogate), "{document}");
        }
        let raw = mark(b"{\"a\":\"\xed\xa0\xbd\"}");
        let value: Value = serde_json::from_slice(&raw).unwrap();
        assert_eq!(find(value["a"].as_str().unwrap().as_bytes()).unwrap(), r"\ud83d");
    }

    #[test]
    fn text_in_which_a_backslash_is_ordinary_is_restored() {
        let mut value = json!({ "a": [marked(r#"{"b":"\ud83d"}"#)] });
        restore_literals(&mut value);
        assert_eq!(value, json!({ "a": [r#"{"b":"\ud83d"}"#] }));
    }
}
