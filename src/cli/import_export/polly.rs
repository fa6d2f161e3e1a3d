//! Reads recordings of Polly.js: HAR files with their own form of binary and compressed response bodies.

use bytes::Bytes;
use serde_json::Value;

use super::body;
use super::har;
use super::interaction::{Headers, SourceEntry, header};

pub(super) fn read(document: &Value) -> Vec<SourceEntry> {
    har::read_entries(document, |content, headers, _| read_body(content, headers))
}

/// Reads the body of a response. A compressed body is a JSON list of chunks, each in base64, or in hex in older
/// versions.
fn read_body(content: &Value, headers: &Headers) -> Result<Bytes, String> {
    let Some(text) = content["text"].as_str() else {
        return Ok(Bytes::new());
    };
    // The size is that of the text.
    har::check_size(content, text.len())?;
    let is_compressed =
        header(headers, "content-encoding").is_some_and(|name| !name.trim().is_empty() && name != "identity");
    let decode = |chunk: &str| match content["encoding"].as_str() {
        Some("base64") => body::from_base64(chunk),
        Some("hex") | None => body::from_hex(chunk, "response"),
        Some(other) => Err(body::unsupported_encoding("response", other)),
    };
    let chunks = || {
        let chunks = serde_json::from_str::<Vec<String>>(text).ok();
        chunks.filter(|_| is_compressed)
    };
    if let Some(chunks) = chunks() {
        let chunks: Vec<Bytes> = chunks.iter().map(|chunk| decode(chunk)).collect::<Result<_, _>>()?;
        return Ok(chunks.concat().into());
    }
    if content["_isBinary"] == true {
        return decode(text);
    }
    har::read_content(content)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn chunks_of_a_compressed_body_are_joined() {
        let headers = vec![("content-encoding".to_owned(), "gzip".to_owned())];
        let base64 = json!({ "text": r#"["H4s=","AA=="]"#, "encoding": "base64" });
        assert_eq!(read_body(&base64, &headers).unwrap(), b"\x1f\x8b\x00"[..]);
        let hex = json!({ "text": r#"["1f8b","00"]"#, "size": 13 });
        assert_eq!(read_body(&hex, &headers).unwrap(), b"\x1f\x8b\x00"[..]);
        let truncated = json!({ "text": r#"["1f8b","00"]"#, "size": 14 });
        assert!(read_body(&truncated, &headers).is_err());
        let invalid = json!({ "text": r#"["1f8"]"# });
        assert!(read_body(&invalid, &headers).is_err());
        // Without a content encoding, a JSON list is the body itself.
        assert_eq!(read_body(&hex, &Headers::new()).unwrap(), r#"["1f8b","00"]"#);
    }
}
