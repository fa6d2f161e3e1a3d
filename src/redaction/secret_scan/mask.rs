//! Keeps secrets out of messages and file names.

use std::borrow::Cow;

use super::body::find_in_body;
use crate::settings::matching::PLACEHOLDER;

/// Replaces each secret in a text with a placeholder.
pub(crate) fn mask(text: &str) -> Cow<'_, str> {
    let found = find_in_body(text.as_bytes());
    if found.is_empty() {
        return Cow::Borrowed(text);
    }
    let mut masked = Vec::with_capacity(text.len());
    let mut end = 0;
    for at in found.into_iter().map(|secret| secret.at) {
        if at.start < end {
            // Another secret in the same data URL.
            continue;
        }
        masked.extend_from_slice(&text.as_bytes()[end..at.start]);
        masked.extend_from_slice(PLACEHOLDER.as_bytes());
        end = at.end;
    }
    masked.extend_from_slice(&text.as_bytes()[end..]);
    Cow::Owned(String::from_utf8_lossy(&masked).into_owned())
}

/// Whether a file name, which is derived from the request, contains a part of a secret.
pub(crate) fn name_reveals(name: &str, secret: &[u8]) -> bool {
    const MIN_LENGTH: usize = 5;
    let name = name.to_ascii_lowercase();
    let secret = String::from_utf8_lossy(secret).to_ascii_lowercase();
    let words = secret.split(|letter: char| !letter.is_ascii_alphanumeric());
    // A slug may be truncated within a word.
    words
        .filter(|word| word.len() >= MIN_LENGTH)
        .any(|word| name.contains(&word[..MIN_LENGTH]))
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;

    use super::*;

    #[test]
    fn secrets_are_masked() {
        let token = ["gh", "p_k7Hs02LmQx94TzRbVn61WcYp83GdJf5ErT2u"].concat();
        let encoded = base64::engine::general_purpose::STANDARD.encode(format!("{token} {token}"));
        assert_eq!(
            mask(&format!(
                "entry 1 (GET https://a.example/v1/x?é={token}&b=1): data:,;base64,{encoded}!"
            )),
            "entry 1 (GET https://a.example/v1/x?é=[REDACTED]&b=1): data:,;base64,[REDACTED]!"
        );
        assert_eq!(mask("entry 1 (GET /v1/x)"), "entry 1 (GET /v1/x)");
        assert_eq!(
            mask(&format!("GET /v1/%67{}?n=1%20", &token[1..])),
            "GET /v1/[REDACTED]?n=1%20"
        );
    }

    /// A slug is in lower case and has only letters, digits and hyphens.
    #[test]
    fn a_file_name_may_contain_the_start_of_a_secret() {
        assert!(name_reveals(
            "my-key-q8wn3ed6rf-0123456789abcdef.yaml",
            b"Q8Wn3Ed6Rf5Tg2Yh"
        ));
        assert!(!name_reveals(
            "capital-of-france-0123456789abcdef.yaml",
            b"Q8Wn3Ed6Rf5Tg2Yh"
        ));
    }
}
