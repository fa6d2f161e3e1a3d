//! SHA-256 and its hex form.

use sha2::{Digest, Sha256};

/// Returns the SHA-256.
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// Returns the SHA-256 as 64 hex digits in lower case.
pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    hex(sha256(bytes))
}

/// Returns the SHA-256 of a start, and of the start followed by an end, for little more than the cost of one.
pub(crate) fn sha256_hex_of_both(start: &[u8], end: &[u8]) -> (String, String) {
    let of_start = Sha256::new_with_prefix(start);
    let of_both = of_start.clone().chain_update(end);
    (hex(of_start.finalize().into()), hex(of_both.finalize().into()))
}

fn hex(hash: [u8; 32]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut hex = String::with_capacity(64);
    for byte in hash {
        hex.push(DIGITS[usize::from(byte >> 4)] as char);
        hex.push(DIGITS[usize::from(byte & 15)] as char);
    }
    hex
}

/// Whether a text has exactly this number of digits and all of them are hex digits in lower case.
pub(crate) fn is_lower_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sha256_is_written_in_lower_case() {
        // printf abc | sha256sum
        let hex = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256_hex(b"abc"), hex);
        assert_eq!(sha256_hex_of_both(b"ab", b"c"), (sha256_hex(b"ab"), hex.to_owned()));
        assert!(is_lower_hex(hex, 64));
    }

    #[test]
    fn only_lower_case_hex_of_the_given_length_is_accepted() {
        for (text, digits, is_hex) in [
            ("0123456789abcdef", 16, true),
            ("0123456789ABCDEF", 16, false),
            ("0123456789abcde", 16, false),
            ("0123456789abcdeg", 16, false),
            ("é0", 3, false),
            ("", 0, true),
        ] {
            assert_eq!(is_lower_hex(text, digits), is_hex, "{text:?}");
        }
    }
}
