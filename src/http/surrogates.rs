//! Unpaired surrogates: half a character of UTF-16, which JSON can escape and UTF-8 cannot represent. Tools that cut text in
//! the middle of a character write them.

use std::borrow::Cow;

/// How an unpaired surrogate is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// As an escape of JSON.
    Escape,
    /// As three bytes, which UTF-8 does not allow; some programs write them.
    Bytes,
}

/// Replaces the unpaired surrogates in a JSON or YAML text. `replacement` gets the form and the four hex digits of each.
pub(crate) fn replace_unpaired(text: &[u8], replacement: impl Fn(Form, &str) -> String) -> Cow<'_, [u8]> {
    let mut replaced = Vec::new();
    let (mut at, mut copied) = (0, 0);
    while let Some(offset) = memchr::memchr2(b'\\', 0xed, &text[at..]) {
        at += offset;
        let rest = &text[at..];
        let Some((form, digits)) = unpaired(rest) else {
            at += skipped(rest);
            continue;
        };
        replaced.extend_from_slice(&text[copied..at]);
        replaced.extend_from_slice(replacement(form, &digits).as_bytes());
        at += if form == Form::Escape { 6 } else { 3 };
        copied = at;
    }
    if copied == 0 {
        return text.into();
    }
    replaced.extend_from_slice(&text[copied..]);
    replaced.into()
}

/// The form and the digits of the unpaired surrogate at the beginning of `text`.
fn unpaired(text: &[u8]) -> Option<(Form, String)> {
    if let [0xed, second @ 0xa0..=0xbf, third @ 0x80..=0xbf, ..] = text {
        let unit = 0xd000 | u16::from(second & 0x3f) << 6 | u16::from(third & 0x3f);
        return Some((Form::Bytes, format!("{unit:04x}")));
    }
    let unit = escaped_unit(text)?;
    let is_pair = is_high(unit) && text.get(6..).and_then(escaped_unit).is_some_and(is_low);
    if !is_high(unit) && !is_low(unit) || is_pair {
        return None;
    }
    Some((Form::Escape, String::from_utf8_lossy(&text[2..6]).into_owned()))
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
