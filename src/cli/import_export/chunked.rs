//! Undoes the chunked transfer encoding of request bodies: some tools save what was sent on the connection.

use bytes::Bytes;

use super::interaction::{Headers, header};

/// Removes the chunk sizes from a request body if it was sent in chunks and consists of nothing but chunks.
///
/// # Errors
/// The first chunk is followed by something else than chunks, or chunks are missing.
pub(super) fn decode_request(body: Bytes, headers: &Headers) -> Result<Bytes, String> {
    let encoding = header(headers, "transfer-encoding").unwrap_or_default();
    let is_declared = encoding.to_ascii_lowercase().contains("chunked");
    // A request that was sent in chunks has no content-length.
    if !is_declared && header(headers, "content-length").is_some() {
        return Ok(body);
    }
    match decode(&body) {
        Some(decoded) if is_declared || !decoded.is_empty() => Ok(decoded),
        None if is_declared && chunk(&body).is_some() => {
            Err("the request body was sent in chunks, and not all of them are in the file".to_owned())
        }
        _ => Ok(body),
    }
}

/// The content of the chunks, if the body consists of chunks, the last of which is empty, and optional trailers.
fn decode(body: &[u8]) -> Option<Bytes> {
    let (mut rest, mut content) = (body, Vec::new());
    loop {
        let (piece, after) = chunk(rest)?;
        if piece.is_empty() {
            let is_end = after == b"\r\n" || after.ends_with(b"\r\n\r\n");
            return is_end.then(|| content.into());
        }
        content.extend_from_slice(piece);
        rest = after.strip_prefix(b"\r\n")?;
    }
}

/// The content of the chunk at the beginning of `text`, and what follows it.
fn chunk(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let line = memchr::memmem::find(text, b"\r\n")?;
    let size = std::str::from_utf8(text[..line].split(|byte| *byte == b';').next()?).ok()?;
    let size = size.trim_end();
    if size.is_empty() || !size.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    text[line + 2..].split_at_checked(usize::from_str_radix(size, 16).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(body: &str, headers: &[(&str, &str)]) -> Result<String, String> {
        let headers = headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let decoded = decode_request(Bytes::from(body.to_owned()), &headers.collect());
        decoded.map(|body| String::from_utf8(body.to_vec()).unwrap())
    }

    #[test]
    fn the_chunks_of_a_request_are_joined() {
        let chunked = [("Transfer-Encoding", "Chunked")];
        for (body, content) in [
            ("d\r\n{\"model\":\"m\"}\r\n0\r\n\r\n", r#"{"model":"m"}"#),
            (
                "1;a=b\r\nx\r\n0C\r\n0\r\n\r\n0123456\r\n0\r\nDigest: a\r\n\r\n",
                "x0\r\n\r\n0123456",
            ),
            ("2\r\né\r\n0\r\n\r\n", "é"),
        ] {
            assert_eq!(decoded(body, &chunked).as_deref(), Ok(content), "{body:?}");
            assert_eq!(decoded(body, &[]).as_deref(), Ok(content), "{body:?}");
            assert_eq!(
                decoded(body, &[("content-length", "9")]).as_deref(),
                Ok(body),
                "{body:?}"
            );
        }
        assert_eq!(decoded("0\r\n\r\n", &chunked).as_deref(), Ok(""));
        assert_eq!(decoded("0\r\n\r\n", &[]).as_deref(), Ok("0\r\n\r\n"));
        // The tool has joined them already.
        for body in ["{\"model\":\"m\"}", "", "abc"] {
            assert_eq!(decoded(body, &chunked).as_deref(), Ok(body), "{body:?}");
        }
        for truncated in ["1\r\nx\r\n", "1\r\nx\r\n5\r\nab", "2\r\nxyz\r\n0\r\n\r\n"] {
            assert!(decoded(truncated, &chunked).is_err(), "{truncated:?}");
        }
    }
}
