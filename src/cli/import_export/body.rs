//! Reads bodies from the forms in which other tools write them: text, base64, `!!binary`, JSON.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use serde_json::Value;

use super::surrogates;
use super::yaml::BINARY;

/// Reads base64 with and without padding.
const BASE64_ANY_PADDING: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Returns the text of a string, number, boolean or `!!binary`: tools write some strings without quotes.
pub(super) fn text_of_scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(value) => Some(value.to_string()),
        Value::Object(_) => String::from_utf8(binary(value)?.ok()?).ok(),
        _ => None,
    }
}

/// Decodes base64 that can contain line breaks.
pub(super) fn from_base64(text: &str) -> Result<Bytes, String> {
    let text: String = text.split_ascii_whitespace().collect();
    let bytes = BASE64_ANY_PADDING.decode(text);
    bytes
        .map(Bytes::from)
        .map_err(|error| format!("a body is not valid base64: {error}"))
}

pub(super) fn to_base64(bytes: &[u8]) -> String {
    BASE64.encode(bytes)
}

/// Returns the bytes of a `!!binary` value, or `None` for any other value.
fn binary(value: &Value) -> Option<Result<Vec<u8>, String>> {
    let base64 = value.get(BINARY)?.as_str()?;
    Some(from_base64(base64).map(Vec::from))
}

/// Whether a value holds `!!binary` bytes.
pub(super) fn is_binary(value: &Value) -> bool {
    value[BINARY].is_string()
}

/// Reads a body: null, text, `!!binary`, or JSON that the tool parsed, which is serialized again. `side` is `request`
/// or `response`.
pub(super) fn bytes(value: &Value, side: &str) -> Result<Bytes, String> {
    match value {
        Value::Null => Ok(Bytes::new()),
        Value::String(text) => Ok(text.clone().into()),
        Value::Object(_) => match binary(value) {
            Some(bytes) => bytes.map(Bytes::from),
            None => json(value),
        },
        Value::Array(_) => json(value),
        Value::Bool(_) | Value::Number(_) => Err(format!("the {side} body is neither text nor JSON")),
    }
}

/// The error for a body in an encoding that is not supported; `side` is `request` or `response`.
pub(super) fn unsupported_encoding(side: &str, encoding: &str) -> String {
    format!("the encoding of the {side} body is not supported: {encoding}")
}

/// Serializes a value as compact JSON.
pub(super) fn json(value: &Value) -> Result<Bytes, String> {
    let text = serde_json::to_string(value).map_err(|error| format!("cannot serialize a body as JSON: {error}"))?;
    Ok(surrogates::escape(&text).into_owned().into())
}

/// Decodes pairs of hexadecimal digits; `side` is `request` or `response`.
pub(super) fn from_hex(text: &str, side: &str) -> Result<Bytes, String> {
    hex(text).ok_or_else(|| format!("the {side} body is not valid hex"))
}

/// The bytes that pairs of hexadecimal digits stand for, or `None` for any other text.
pub(super) fn hex(text: &str) -> Option<Bytes> {
    let digits: Vec<u32> = text.chars().map(|digit| digit.to_digit(16)).collect::<Option<_>>()?;
    let pairs = digits.chunks(2).map(|pair| match pair {
        [high, low] => u8::try_from(high * 16 + low).ok(),
        _ => None,
    });
    pairs.collect::<Option<Vec<u8>>>().map(Bytes::from)
}

/// Reads a text whose original character encoding the file names; `side` is `request` or `response`.
pub(super) fn in_encoding(text: &Value, encoding: Option<&str>, side: &str) -> Result<Bytes, String> {
    let bytes = bytes(text, side)?;
    let encoding = encoding.unwrap_or_default();
    let name = encoding.to_ascii_uppercase();
    if bytes.is_ascii()
        || !text.is_string()
        || matches!(&*name, "" | "UTF-8" | "UTF8" | "US-ASCII" | "ASCII-8BIT" | "BINARY")
    {
        return Ok(bytes);
    }
    let latin_1 = || {
        text.as_str()?
            .chars()
            .map(|character| u8::try_from(character).ok())
            .collect::<Option<Vec<u8>>>()
    };
    match latin_1().filter(|_| name == "ISO-8859-1") {
        Some(bytes) => Ok(bytes.into()),
        None => Err(unsupported_encoding(side, encoding)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_in_latin_1_is_converted_to_its_bytes() {
        assert_eq!(
            in_encoding(&"é".into(), Some("ISO-8859-1"), "response").unwrap(),
            b"\xe9"[..]
        );
        assert_eq!(
            in_encoding(&"é".into(), Some("UTF-8"), "response").unwrap(),
            "é".as_bytes()
        );
        assert!(in_encoding(&"é".into(), Some("Shift_JIS"), "response").is_err());
    }

    #[test]
    fn base64_is_read_with_line_breaks_and_without_padding() {
        for text in ["aGVsbG8=", "aGVsbG8", "aGVs\nbG8=\n"] {
            assert_eq!(from_base64(text).unwrap(), "hello");
        }
        assert!(from_base64("?").is_err());
    }
}
