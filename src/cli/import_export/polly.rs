//! Polly.js: a HAR whose bodies of binary and of compressed responses are kept in a way of its own.

use bytes::Bytes;
use serde_json::Value;

use super::{Headers, body, har, header};

/// The body of a response: one that came compressed is a JSON list of its chunks, each in base64, or in hex as older
/// versions had it.
pub(super) fn body(content: &Value, headers: &Headers) -> Result<Bytes, String> {
    let Some(text) = content["text"].as_str() else {
        return Ok(Bytes::new());
    };
    let is_encoded =
        header(headers, "content-encoding").is_some_and(|name| !name.trim().is_empty() && name != "identity");
    let decode = |chunk: &str| match content["encoding"].as_str() {
        Some("base64") => body::from_base64(chunk),
        Some("hex") | None => {
            from_hex(chunk).ok_or_else(|| "its response has chunks that are no hex digits".to_owned())
        }
        Some(other) => Err(body::unknown_encoding("response", other)),
    };
    let chunks = || serde_json::from_str::<Vec<String>>(text).ok().filter(|_| is_encoded);
    if let Some(chunks) = chunks() {
        let chunks: Vec<Bytes> = chunks.iter().map(|chunk| decode(chunk)).collect::<Result<_, _>>()?;
        return Ok(chunks.concat().into());
    }
    if content["_isBinary"] == true {
        return decode(text);
    }
    har::body(content)
}

fn from_hex(text: &str) -> Option<Bytes> {
    let digits: Vec<u32> = text.chars().map(|digit| digit.to_digit(16)).collect::<Option<_>>()?;
    let pairs = digits.chunks(2).map(|pair| match pair {
        [high, low] => u8::try_from(high * 16 + low).ok(),
        _ => None,
    });
    pairs.collect::<Option<Vec<u8>>>().map(Bytes::from)
}
