//! Text of others, made safe to print: what steers a terminal becomes visible instead.

use std::borrow::Cow;

/// A text without characters that move the cursor, colour, clear, ring or turn the direction of reading around: each is
/// written as its escape in JSON (`\u001b`), so that a JSON document keeps its meaning. Line ends and tabs stay.
pub(crate) fn escape_controls(text: &str) -> Cow<'_, str> {
    if !text.contains(steers) {
        return text.into();
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for letter in text.chars() {
        if steers(letter) {
            shown.push_str(&format!("\\u{:04x}", u32::from(letter)));
        } else {
            shown.push(letter);
        }
    }
    shown.into()
}

fn steers(letter: char) -> bool {
    match letter {
        '\n' | '\t' => false,
        // Embeddings, overrides and isolates: what follows is read in another order than it stands.
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => true,
        other => other.is_control(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_is_shown_and_everything_else_stays() {
        let plain = "a\tb\nmistral – ミストラル 🌬 \u{200d}\u{200f}";
        assert!(matches!(escape_controls(plain), Cow::Borrowed(text) if text == plain));
        assert_eq!(
            escape_controls("\u{1b}[2J\u{7}\r\u{0}\u{7f}\u{9b}31m\u{202e}x\u{2066}"),
            r"\u001b[2J\u0007\u000d\u0000\u007f\u009b31m\u202ex\u2066"
        );
        // In JSON nothing changes.
        let value = serde_json::json!({ "a": "\u{9b}\u{202e}\u{1b}" });
        let shown = escape_controls(&value.to_string()).into_owned();
        assert!(!shown.contains(steers));
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
    }
}
