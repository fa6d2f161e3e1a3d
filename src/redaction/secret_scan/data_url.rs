//! Texts in data URLs, for example in `document_url`.

use std::ops::Range;

use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use base64::{Engine as _, alphabet};

/// The maximum number of base64 characters that are decoded of one data URL. A multiple of four.
pub(super) const MAX_BASE64: usize = 4 << 20;

/// The texts in data URLs, each with the position of its base64.
pub(super) fn texts_in_data_urls(bytes: &[u8]) -> impl Iterator<Item = (Range<usize>, Vec<u8>)> {
    const BASE64: &[u8] = b";base64,";
    // This number of characters suffices to tell an image from a text.
    const PROBE: usize = 1024;
    let is_base64 = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_');
    memchr::memmem::find_iter(bytes, BASE64).filter_map(move |at| {
        if !ends_with_data_scheme(&bytes[..at]) {
            return None;
        }
        let start = at + BASE64.len();
        let data = &bytes[start..bytes.len().min(start + MAX_BASE64)];
        let data = &data[..data.iter().take_while(is_base64).count()];
        decode_text(&data[..data.len().min(PROBE)])?;
        Some((start..start + data.len(), decode_text(data)?))
    })
}

/// Whether these bytes end like `data:text/plain;charset=utf-8`.
fn ends_with_data_scheme(bytes: &[u8]) -> bool {
    const MAX_LENGTH: usize = 200;
    let is_url_byte = |byte: &&u8| byte.is_ascii_graphic() && **byte != b'"';
    let url = bytes.iter().rev().take(MAX_LENGTH).take_while(is_url_byte).count();
    memchr::memmem::find(&bytes[bytes.len() - url..], b"data:").is_some()
}

/// Decodes base64 in either alphabet and without padding to a text. Returns `None` when the data is not UTF-8. The base64 and the
/// last character may be truncated.
fn decode_text(base64: &[u8]) -> Option<Vec<u8>> {
    const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
    const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);
    let is_url_safe = base64.iter().any(|byte| matches!(byte, b'-' | b'_'));
    let alphabet = if is_url_safe { URL_SAFE } else { STANDARD };
    // One remaining character does not encode a byte.
    let length = base64.len() - usize::from(base64.len() % 4 == 1);
    let mut text = alphabet.decode(&base64[..length]).ok()?;
    match std::str::from_utf8(&text) {
        Ok(_) => {}
        Err(error) if error.error_len().is_none() => text.truncate(error.valid_up_to()),
        Err(_) => return None,
    }
    Some(text)
}
