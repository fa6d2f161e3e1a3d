//! Bodies as other tools keep them: text, base64, compressed, or no longer what they were.

use std::io::Read;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use serde_json::Value;

use super::yaml::BINARY;
use super::{Headers, header};
use crate::http::is_event_stream;

/// How large a body may be after content decoding, in bytes.
const LARGEST_DECODED: u64 = 256 << 20;

const UNREADABLE: &str = "a form that cannot be read";

const FORGIVING: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A string, or what a tool has written as one without quoting it.
pub(super) fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(value) => Some(value.to_string()),
        Value::Object(_) => String::from_utf8(binary(value)?.ok()?).ok(),
        _ => None,
    }
}

/// The bytes of base64, whatever its line breaks.
pub(super) fn from_base64(text: &str) -> Result<Bytes, String> {
    let text: String = text.split_ascii_whitespace().collect();
    let bytes = FORGIVING.decode(text);
    bytes
        .map(Bytes::from)
        .map_err(|error| format!("a body is not base64: {error}"))
}

pub(super) fn to_base64(bytes: &[u8]) -> String {
    BASE64.encode(bytes)
}

/// The bytes of `!!binary`, when that is what it is.
fn binary(value: &Value) -> Option<Result<Vec<u8>, String>> {
    let base64 = value.get(BINARY)?.as_str()?;
    Some(from_base64(base64).map(Vec::from))
}

/// A body: nothing, text, bytes, or a value that a tool has read from JSON, which is written again.
pub(super) fn bytes(value: &Value, whose: &str) -> Result<Bytes, String> {
    match value {
        Value::Null => Ok(Bytes::new()),
        Value::String(text) => Ok(text.clone().into()),
        Value::Object(_) => match binary(value) {
            Some(bytes) => bytes.map(Bytes::from),
            None => json(value),
        },
        Value::Array(_) => json(value),
        _ => Err(format!("the body of its {whose} is in {UNREADABLE}")),
    }
}

/// Why a body (`request`, `response`) whose encoding is called so is not read.
pub(super) fn unknown_encoding(whose: &str, encoding: &str) -> String {
    format!("the body of its {whose} is in the encoding {encoding}, which cannot be read")
}

/// A value as compact JSON.
pub(super) fn json(value: &Value) -> Result<Bytes, String> {
    let bytes = serde_json::to_vec(value);
    bytes
        .map(Bytes::from)
        .map_err(|error| format!("a body cannot be written as JSON: {error}"))
}

/// A text whose bytes were in another encoding: what Ruby and Rust name beside the text.
pub(super) fn in_encoding(text: &Value, encoding: Option<&str>, whose: &str) -> Result<Bytes, String> {
    let bytes = bytes(text, whose)?;
    let encoding = encoding.unwrap_or_default();
    let name = encoding.to_ascii_uppercase();
    if bytes.is_ascii()
        || !text.is_string()
        || matches!(&*name, "" | "UTF-8" | "UTF8" | "US-ASCII" | "ASCII-8BIT" | "BINARY")
    {
        return Ok(bytes);
    }
    let latin = || {
        text.as_str()?
            .chars()
            .map(|character| u8::try_from(character).ok())
            .collect::<Option<Vec<u8>>>()
    };
    match latin().filter(|_| name == "ISO-8859-1") {
        Some(bytes) => Ok(bytes.into()),
        None => Err(unknown_encoding(whose, encoding)),
    }
}

/// The body of a response as a client has it after content decoding, and its headers without what was decoded.
///
/// Some tools keep the header and decode the body, others keep both as they came.
pub(super) fn decoded(body: Bytes, headers: &mut Headers) -> Result<Bytes, String> {
    check_text(&body, header(headers, "content-type"))?;
    let Some(encodings) = header(headers, "content-encoding").map(str::to_ascii_lowercase) else {
        return Ok(body);
    };
    let encodings: Vec<&str> = encodings
        .split(',')
        .map(str::trim)
        .filter(|name| !matches!(*name, "" | "identity"))
        .collect();
    if !encodings
        .iter()
        .all(|name| matches!(*name, "gzip" | "x-gzip" | "deflate" | "br" | "zstd"))
    {
        // A client is handed it as it is.
        return Ok(body);
    }
    let mut body = body;
    for encoding in encodings.into_iter().rev() {
        if is_encoded(&body, encoding) {
            body = decode(&body, encoding)
                .map_err(|error| format!("its response says to be {encoding}, and cannot be decoded: {error}"))?;
        }
    }
    headers.retain(|(name, _)| !name.eq_ignore_ascii_case("content-encoding"));
    Ok(body)
}

/// Whether a body still has its encoding, and was not decoded before it was kept.
fn is_encoded(body: &[u8], encoding: &str) -> bool {
    match encoding {
        "gzip" | "x-gzip" => body.starts_with(b"\x1f\x8b"),
        "zstd" => body.starts_with(b"\x28\xb5\x2f\xfd"),
        // These begin with nothing of their own.
        _ => !body.is_empty() && std::str::from_utf8(body).is_err(),
    }
}

fn decode(body: &[u8], encoding: &str) -> std::io::Result<Bytes> {
    match encoding {
        "gzip" | "x-gzip" => whole(flate2::read::MultiGzDecoder::new(body)),
        // The name means zlib, and some servers send what is inside of it.
        "deflate" => {
            whole(flate2::read::ZlibDecoder::new(body)).or_else(|_| whole(flate2::read::DeflateDecoder::new(body)))
        }
        "br" => whole(brotli::Decompressor::new(body, 4096)),
        _ => whole(zstd::stream::read::Decoder::new(body)?),
    }
}

/// All that a decoder gives, up to a bound: a few bytes may stand for more than there is memory.
fn whole(decoder: impl Read) -> std::io::Result<Bytes> {
    let mut out = Vec::new();
    decoder.take(LARGEST_DECODED + 1).read_to_end(&mut out)?;
    if out.len() as u64 > LARGEST_DECODED {
        let what = format!("it has more than {} MiB", LARGEST_DECODED >> 20);
        return Err(std::io::Error::other(what));
    }
    Ok(out.into())
}

/// Says that bytes were read as text and lost, where that shows.
fn check_text(body: &[u8], kind: Option<&str>) -> Result<(), String> {
    const REPLACEMENT: &str = "\u{fffd}";
    let Ok(text) = std::str::from_utf8(body) else {
        return Ok(());
    };
    let is_lost = text.contains(REPLACEMENT) && !is_text(kind) || text.starts_with("\u{1f}\u{fffd}");
    if is_lost {
        return Err("its response had bytes that were kept as text, and are lost".to_owned());
    }
    Ok(())
}

/// The same for a request, whose bytes make its key.
pub(super) fn check_request(body: &[u8], kind: Option<&str>) -> Result<(), String> {
    check_text(body, kind).map_err(|what| what.replace("response", "request"))
}

fn is_text(kind: Option<&str>) -> bool {
    let Some(kind) = kind else { return true };
    let essence = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    is_event_stream(Some(kind))
        || essence.starts_with("text/")
        || essence.ends_with("json")
        || essence.ends_with("xml")
        || matches!(
            &*essence,
            "application/x-ndjson" | "application/jsonl" | "application/x-www-form-urlencoded"
        )
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn said(encoding: &str) -> Headers {
        vec![
            ("Content-Type".to_owned(), "application/json".to_owned()),
            ("Content-Encoding".to_owned(), encoding.to_owned()),
        ]
    }

    #[test]
    fn what_is_still_compressed_is_decoded_and_says_so_no_more() {
        let plain = br#"{"name":"Rh\u00f4ne"}"#;
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(plain).unwrap();
        let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        zlib.write_all(plain).unwrap();
        let mut brotli = Vec::new();
        brotli::CompressorWriter::new(&mut brotli, 4096, 5, 20)
            .write_all(plain)
            .unwrap();
        for (encoding, body) in [
            ("gzip", gzip.finish().unwrap()),
            ("deflate", zlib.finish().unwrap()),
            ("br", brotli),
            ("zstd", zstd::stream::encode_all(&plain[..], 1).unwrap()),
        ] {
            for body in [body, plain.to_vec()] {
                let mut headers = said(encoding);
                assert_eq!(decoded(body.into(), &mut headers).unwrap(), plain[..], "{encoding}");
                assert_eq!(headers.len(), 1);
            }
        }
    }

    #[test]
    fn what_cannot_be_decoded_is_said() {
        let cut = decoded(Bytes::from_static(b"\x1f\x8b\x08\x00"), &mut said("gzip"));
        assert!(cut.unwrap_err().contains("says to be gzip"));
        let lost = decoded(Bytes::from_static("\u{1f}\u{fffd}\u{8}".as_bytes()), &mut said("gzip"));
        assert!(lost.unwrap_err().contains("are lost"));
        let unknown = decoded(Bytes::from_static(b"\x00"), &mut said("compress"));
        assert_eq!(unknown.unwrap(), b"\x00"[..]);
    }

    #[test]
    fn a_few_bytes_do_not_fill_the_memory() {
        let zeros = std::io::repeat(0).take(LARGEST_DECODED + 1);
        let mut bomb = Vec::new();
        zstd::stream::copy_encode(zeros, &mut bomb, 1).unwrap();
        let mut headers = said("zstd");
        assert!(bomb.len() < 100_000);
        assert!(
            decoded(bomb.into(), &mut headers)
                .unwrap_err()
                .ends_with("it has more than 256 MiB")
        );
    }

    #[test]
    fn a_text_in_latin_1_has_its_bytes_back() {
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
}
