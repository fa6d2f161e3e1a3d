//! Escapes control characters in text that is printed.

use std::borrow::Cow;

/// Replaces each control character and each character that changes the text direction by its JSON escape (`\u001b`), so
/// that text from a server cannot control a terminal and a JSON document keeps its meaning. Line feeds and tabs stay.
pub(crate) fn escape_controls(text: &str) -> Cow<'_, str> {
    if !text.contains(is_control) {
        return text.into();
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for letter in text.chars() {
        if is_control(letter) {
            escaped.push_str(&format!("\\u{:04x}", u32::from(letter)));
        } else {
            escaped.push(letter);
        }
    }
    escaped.into()
}

fn is_control(letter: char) -> bool {
    match letter {
        '\n' | '\t' => false,
        // Embeddings, overrides and isolates change the direction of the text that follows.
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => true,
        other => other.is_control(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_control_characters_are_escaped() {
        let plain = "a\tb\nmistral – ミストラル 🌬 \u{200d}\u{200f}";
        assert!(matches!(escape_controls(plain), Cow::Borrowed(text) if text == plain));
        assert_eq!(
            escape_controls("\u{1b}[2J\u{7}\r\u{0}\u{7f}\u{9b}31m\u{202e}x\u{2066}"),
            r"\u001b[2J\u0007\u000d\u0000\u007f\u009b31m\u202ex\u2066"
        );
        // The value of a JSON document does not change.
        let value = serde_json::json!({ "a": "\u{9b}\u{202e}\u{1b}" });
        let escaped = escape_controls(&value.to_string()).into_owned();
        assert!(!escaped.contains(is_control));
        assert_eq!(serde_json::from_str::<serde_json::Value>(&escaped).unwrap(), value);
    }
}
