//! The contents of data URLs, for example in `document_url` and `image_url`.

use std::ops::Range;

use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use base64::{Engine as _, alphabet};

/// The maximum number of bytes of base64 that are decoded of one data URL. A multiple of four.
pub(super) const MAX_BASE64: usize = 4 << 20;

/// What ends the head of a data URL with base64, in lower case.
const BASE64: &[u8] = b";base64,";

/// The contents of data URLs, each with the position of its base64. The base64 may be broken into lines.
pub(super) fn contents_of_data_urls(bytes: &[u8]) -> impl Iterator<Item = (Range<usize>, Vec<u8>)> {
    memchr::memchr_iter(b';', bytes).filter_map(move |at| {
        let is_base64 = bytes
            .get(at..at + BASE64.len())
            .is_some_and(|head| head.eq_ignore_ascii_case(BASE64));
        if !is_base64 || !ends_with_data_scheme(&bytes[..at]) {
            return None;
        }
        let start = at + BASE64.len();
        let (length, base64) = base64_at_start(&bytes[start..bytes.len().min(start + MAX_BASE64)]);
        Some((start..start + length, decode(&base64)?))
    })
}

/// The base64 at the start of a text: its length with line breaks, and itself without them.
fn base64_at_start(text: &[u8]) -> (usize, Vec<u8>) {
    let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_');
    let (mut length, mut at, mut base64) = (0, 0, Vec::new());
    loop {
        let start = at;
        let line = text[start..].iter().take_while(|byte| is_base64(**byte)).count();
        if line > 0 {
            length = start + line;
            base64.extend_from_slice(&text[start..length]);
        }
        let blanks = text[length..]
            .iter()
            .take_while(|byte| byte.is_ascii_whitespace())
            .count();
        at = length + blanks;
        // A line break and its indentation continue the base64. A blank alone ends it.
        if line == 0 && start > 0 || !text[length..at].contains(&b'\n') && !text[length..at].contains(&b'\r') {
            return (length, base64);
        }
    }
}

/// Whether these bytes end like `data:text/plain;charset=utf-8`.
fn ends_with_data_scheme(bytes: &[u8]) -> bool {
    const MAX_LENGTH: usize = 200;
    const SCHEME: &[u8] = b"data:";
    let is_url_byte = |byte: &&u8| byte.is_ascii_graphic() && **byte != b'"';
    let length = bytes.iter().rev().take(MAX_LENGTH).take_while(is_url_byte).count();
    let url = &bytes[bytes.len() - length..];
    url.windows(SCHEME.len()).any(|head| head.eq_ignore_ascii_case(SCHEME))
}

/// Decodes base64 in either alphabet and without padding. The base64 and the last character may be truncated.
fn decode(base64: &[u8]) -> Option<Vec<u8>> {
    const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
    const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);
    let is_url_safe = base64.iter().any(|byte| matches!(byte, b'-' | b'_'));
    let alphabet = if is_url_safe { URL_SAFE } else { STANDARD };
    // One remaining character does not encode a byte.
    let length = base64.len() - usize::from(base64.len() % 4 == 1);
    alphabet.decode(&base64[..length]).ok()
}
