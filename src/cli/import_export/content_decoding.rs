//! Undoes the content encoding of imported bodies, and detects bodies that lost bytes when a tool saved them as text.

use std::io::Read;

use bytes::Bytes;

use super::interaction::{Headers, header};
use crate::http::{is_event_stream, media_type};

/// The largest body after content decoding, in bytes.
const LARGEST_DECODED: u64 = 256 << 20;

/// Decodes the body of a response and removes the header `content-encoding`.
///
/// Some tools save the header with a body that they decoded, others save both as received. A body in an encoding that
/// is not supported stays as it is, with its header.
pub(super) fn decode_response(body: Bytes, headers: &mut Headers) -> Result<Bytes, String> {
    check_not_lossy(&body, header(headers, "content-type"), "response")?;
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
        return Ok(body);
    }
    let mut body = body;
    for encoding in encodings.into_iter().rev() {
        if is_encoded(&body, encoding) {
            body = decode(&body, encoding)
                .map_err(|error| format!("cannot decode the response body from {encoding}: {error}"))?;
        }
    }
    headers.retain(|(name, _)| !name.eq_ignore_ascii_case("content-encoding"));
    Ok(body)
}

/// Whether a body is still encoded: the tool may have decoded it before saving it.
fn is_encoded(body: &[u8], encoding: &str) -> bool {
    match encoding {
        "gzip" | "x-gzip" => body.starts_with(b"\x1f\x8b"),
        "zstd" => body.starts_with(b"\x28\xb5\x2f\xfd"),
        // deflate and br have no magic number.
        _ => !body.is_empty() && std::str::from_utf8(body).is_err(),
    }
}

fn decode(body: &[u8], encoding: &str) -> std::io::Result<Bytes> {
    match encoding {
        "gzip" | "x-gzip" => read_all(flate2::read::MultiGzDecoder::new(body)),
        // "deflate" means the zlib format; some servers send raw deflate data instead.
        "deflate" => read_all(flate2::read::ZlibDecoder::new(body))
            .or_else(|_| read_all(flate2::read::DeflateDecoder::new(body))),
        "br" => read_all(brotli::Decompressor::new(body, 4096)),
        _ => read_all(zstd::stream::read::Decoder::new(body)?),
    }
}

/// Reads a decoder to its end, up to a limit that protects memory from decompression bombs.
fn read_all(decoder: impl Read) -> std::io::Result<Bytes> {
    let mut out = Vec::new();
    decoder.take(LARGEST_DECODED + 1).read_to_end(&mut out)?;
    if out.len() as u64 > LARGEST_DECODED {
        let message = format!("larger than {} MiB", LARGEST_DECODED >> 20);
        return Err(std::io::Error::other(message));
    }
    Ok(out.into())
}

/// Fails when a tool saved a binary body as text, so that some bytes became U+FFFD; `side` is `request` or `response`.
pub(super) fn check_not_lossy(body: &[u8], content_type: Option<&str>, side: &str) -> Result<(), String> {
    const REPLACEMENT: &str = "\u{fffd}";
    let Ok(text) = std::str::from_utf8(body) else {
        return Ok(());
    };
    // The header of gzip, whose second byte was replaced or read as Latin-1.
    let is_gzip = ["\u{1f}\u{fffd}", "\u{1f}\u{8b}"]
        .iter()
        .any(|start| text.starts_with(start));
    let is_lossy = text.contains(REPLACEMENT) && !is_text(content_type)
        || is_gzip
        || !text.is_ascii() && content_type.is_some_and(is_media);
    if is_lossy {
        return Err(format!(
            "the {side} body is binary but was saved as text, so bytes are lost"
        ));
    }
    Ok(())
}

/// Whether a body of this type is never a text of UTF-8.
fn is_media(content_type: &str) -> bool {
    let kind = content_type.trim_start().to_ascii_lowercase();
    ["audio/", "image/", "video/"]
        .iter()
        .any(|start| kind.starts_with(start))
        && !kind.contains("xml")
}

fn is_text(content_type: Option<&str>) -> bool {
    let Some(content_type) = content_type else { return true };
    let essence = media_type(content_type).to_ascii_lowercase();
    is_event_stream(Some(content_type))
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

    fn json_in(encoding: &str) -> Headers {
        vec![
            ("Content-Type".to_owned(), "application/json".to_owned()),
            ("Content-Encoding".to_owned(), encoding.to_owned()),
        ]
    }

    #[test]
    fn an_encoded_body_is_decoded_and_loses_its_content_encoding() {
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
                let mut headers = json_in(encoding);
                let decoded = decode_response(body.into(), &mut headers).unwrap();
                assert_eq!(decoded, plain[..], "{encoding}");
                assert_eq!(headers.len(), 1);
            }
        }
    }

    #[test]
    fn truncated_and_lossy_bodies_are_errors() {
        let truncated = decode_response(Bytes::from_static(b"\x1f\x8b\x08\x00"), &mut json_in("gzip"));
        assert!(truncated.unwrap_err().contains("from gzip"));
        let lossy = Bytes::from_static("\u{1f}\u{fffd}\u{8}".as_bytes());
        let lossy = decode_response(lossy, &mut json_in("gzip"));
        assert!(lossy.unwrap_err().contains("are lost"));
        for (body, kind) in [
            ("\u{1f}\u{8b}\u{8}", "application/json"),
            ("\u{ff}\u{fb}P", "audio/mpeg"),
        ] {
            let lossy = check_not_lossy(body.as_bytes(), Some(kind), "response");
            assert!(lossy.unwrap_err().contains("are lost"), "{kind}");
        }
        check_not_lossy("<svg>é</svg>".as_bytes(), Some("image/svg+xml"), "response").unwrap();
        let unsupported = decode_response(Bytes::from_static(b"\x00"), &mut json_in("compress"));
        assert_eq!(unsupported.unwrap(), b"\x00"[..]);
    }

    #[test]
    fn a_decompression_bomb_is_an_error() {
        let zeros = std::io::repeat(0).take(LARGEST_DECODED + 1);
        let mut bomb = Vec::new();
        zstd::stream::copy_encode(zeros, &mut bomb, 1).unwrap();
        assert!(bomb.len() < 100_000);
        let error = decode_response(bomb.into(), &mut json_in("zstd")).unwrap_err();
        assert!(error.ends_with("larger than 256 MiB"), "{error}");
    }
}
