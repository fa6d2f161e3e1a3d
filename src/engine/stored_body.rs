//! Large bodies as files that editors, formatters and git hooks do not damage.
//!
//! If such tools take a file for text, they remove white space at the ends of lines, convert line breaks, and add or remove
//! line breaks at the end of the file. A body is stored unchanged if it is binary, or if they could only convert its line
//! breaks and add one at its end: [`decode`] undoes both, and checks the result with the SHA-256 in the name of the file. Any
//! other text is stored in Base64.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;

use crate::hash::{sha256_hex, sha256_hex_of_both};

/// How many bytes tools read to find out whether a file is text. git reads more.
const SNIFFED: usize = 1024;

/// The length of a line in Base64.
const LINE: usize = 76;

/// Returns the content of the file for a body.
pub(super) fn encode(body: &[u8]) -> Cow<'_, [u8]> {
    if is_binary(body) || is_stable_text(body) {
        return Cow::Borrowed(body);
    }
    let encoded = BASE64.encode(body);
    let mut lines = Vec::with_capacity(encoded.len() + encoded.len() / LINE + 1);
    for line in encoded.as_bytes().chunks(LINE) {
        lines.extend_from_slice(line);
        lines.push(b'\n');
    }
    Cow::Owned(lines)
}

/// Returns the body with this SHA-256 from the content of its file; `None` when the content is damaged.
pub(crate) fn decode(stored: Bytes, sha256: &str) -> Option<Bytes> {
    if let Some(body) = with_or_without_line_end(&stored, sha256) {
        return Some(body);
    }
    if memchr::memmem::find(&stored, b"\r\n").is_some() && !is_binary(&stored) {
        let with_lf = Bytes::from(replace_crlf(&stored));
        if let Some(body) = with_or_without_line_end(&with_lf, sha256) {
            return Some(body);
        }
    }
    let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/=\r\n".contains(byte);
    if !stored.iter().all(is_base64) {
        return None;
    }
    let encoded: Vec<u8> = stored.iter().copied().filter(|byte| !b"\r\n".contains(byte)).collect();
    let body = BASE64.decode(encoded).ok()?;
    (sha256_hex(&body) == sha256).then(|| body.into())
}

/// The content, or the content without the line break at its end.
fn with_or_without_line_end(stored: &Bytes, sha256: &str) -> Option<Bytes> {
    let Some(start) = stored.strip_suffix(b"\n") else {
        return (sha256_hex(stored) == sha256).then(|| stored.clone());
    };
    let (without, with) = sha256_hex_of_both(start, b"\n");
    if with == sha256 {
        return Some(stored.clone());
    }
    (without == sha256).then(|| stored.slice(..start.len()))
}

fn replace_crlf(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = 0;
    for at in memchr::memmem::find_iter(text, b"\r\n") {
        out.extend_from_slice(&text[rest..at]);
        rest = at + 1;
    }
    out.extend_from_slice(&text[rest..]);
    out
}

/// Whether git and other tools take these bytes for binary data: they contain a NUL near the beginning.
fn is_binary(bytes: &[u8]) -> bool {
    memchr::memchr(0, &bytes[..bytes.len().min(SNIFFED)]).is_some()
}

/// Whether tools that take these bytes for text only convert line breaks and add one at the end. This is text in UTF-8 with
/// `\n` as line break, without white space at the end of a line, with at most one line break at the end, without a byte-order
/// mark, and without `#!` at the start, by which some formatters recognize a program.
fn is_stable_text(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return false;
    };
    let is_trimmed = |line: &str| !line.ends_with(char::is_whitespace);
    let lines = text.strip_suffix('\n').unwrap_or(text);
    (!lines.is_empty() && !lines.ends_with('\n') && lines.split('\n').all(is_trimmed))
        && !text.contains('\r')
        && !text.starts_with('\u{feff}')
        && !text.starts_with("#!")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stored_form_gives_the_body_and_is_left_alone_by_tools_that_fix_white_space() {
        let binary = [b"RIFF\0".as_slice(), b" \r\n \n", b"\xff"].concat();
        for (body, form) in [
            (&b"{\"a\":1}\n"[..], Some("{\"a\":1}\n")),
            (b"one\n\ntwo\n", Some("one\n\ntwo\n")),
            (b"{\"a\":1}", Some("{\"a\":1}")),
            (b"ends in a blank ", Some("ZW5kcyBpbiBhIGJsYW5rIA==\n")),
            (b"two line ends\n\n", None),
            (b"a blank \nline", None),
            (b"a tab\t\nline\n", None),
            ("a no-break space\u{a0}\nline\n".as_bytes(), None),
            (b"a,b\r\nc,d\r\n", None),
            (b"\xef\xbb\xbfmark\n", None),
            (b"#!/usr/bin/env node\nlet  a\n", None),
            (b"latin \xe9\n", None),
            (b"\n", None),
            (b"QUJD", Some("QUJD")),
            (&binary, Some("RIFF\0 \r\n \n\u{fffd}")),
        ] {
            let stored = encode(body);
            let shown = String::from_utf8_lossy(&stored).into_owned();
            if let Some(form) = form {
                assert_eq!(shown, form);
            }
            assert!(is_binary(&stored) || is_stable_text(&stored), "{shown:?}");
            assert_eq!(*encode(&stored), *stored, "{shown:?}");
            let sha256 = sha256_hex(body);
            for changed in [
                stored.to_vec(),
                String::from_utf8_lossy(&stored).replace('\n', "\r\n").into_bytes(),
            ] {
                if changed == *stored || !is_binary(&stored) {
                    assert_eq!(decode(changed.into(), &sha256).as_deref(), Some(body), "{shown:?}");
                }
            }
            let damaged = [&stored, &b"x"[..]].concat();
            assert_eq!(decode(damaged.into(), &sha256), None);
        }
    }

    /// Files of earlier versions.
    #[test]
    fn a_body_that_was_stored_as_it_is_is_read_also_after_a_line_end_was_added() {
        for body in ["{\"a\":1}", "a \r\nb", "a\nb"] {
            let sha256 = sha256_hex(body.as_bytes());
            for stored in [body.to_owned(), format!("{body}\n")] {
                assert_eq!(decode(stored.into(), &sha256).as_deref(), Some(body.as_bytes()));
            }
        }
    }
}
