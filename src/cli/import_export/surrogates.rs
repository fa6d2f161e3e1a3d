//! Unpaired surrogates in documents of other tools.
//!
//! A parser refuses the complete document because of one. Here, a mark takes the place of each before the document is parsed;
//! what is serialized as JSON gets the escape back, and an interaction with a mark in another place cannot be imported.

use std::borrow::Cow;

use serde_json::Value;

use crate::http::{SurrogateForm, replace_unpaired};

/// Two characters that Unicode reserves for the use inside a program; the four digits of the surrogate follow.
const MARK: &str = "\u{fdd0}\u{fdd1}";
const ESCAPED_MARK: &str = r"\ufdd0\ufdd1";

/// Replaces the unpaired surrogates of a JSON or YAML document by marks.
pub(super) fn mark(document: &[u8]) -> Cow<'_, [u8]> {
    replace_unpaired(document, |form, digits| match form {
        SurrogateForm::Escape => format!("{ESCAPED_MARK}{digits}"),
        SurrogateForm::Bytes => format!("{MARK}{digits}"),
    })
}

/// Restores the text of YAML scalars in which a backslash is an ordinary character.
pub(super) fn restore_literals(value: &mut Value) {
    match value {
        Value::String(text) if text.contains(ESCAPED_MARK) => *text = text.replace(ESCAPED_MARK, r"\u"),
        Value::Array(items) => items.iter_mut().for_each(restore_literals),
        Value::Object(members) => members.values_mut().for_each(restore_literals),
        _ => {}
    }
}

/// Replaces the marks in text by the escapes of the surrogates.
pub(super) fn escape(text: &str) -> Cow<'_, str> {
    if text.contains(MARK) {
        text.replace(MARK, r"\u").into()
    } else {
        text.into()
    }
}

/// The escape of the first surrogate in these bytes.
pub(super) fn find(bytes: &[u8]) -> Option<String> {
    let at = memchr::memmem::find(bytes, MARK.as_bytes())? + MARK.len();
    let digits = bytes.get(at..at + 4)?;
    Some(format!(r"\u{}", String::from_utf8_lossy(digits)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn marked(document: &str) -> String {
        String::from_utf8(mark(document.as_bytes()).into_owned()).unwrap()
    }

    #[test]
    fn only_unpaired_surrogates_are_marked() {
        for unchanged in [
            r#"{"a":"\ud83c\udf2c"}"#,
            r#"{"a":"\\ud83d"}"#,
            r#"{"a":"é\u00e9\n"}"#,
            "힣",
            r"\u",
            r"\ud8",
            "\\",
        ] {
            assert_eq!(marked(unchanged), unchanged);
        }
        for (document, surrogate) in [
            (r#"{"a":"x\ud83d"}"#, r"\ud83d"),
            (r#"{"a":"\uDF2C\n"}"#, r"\uDF2C"),
            (r#"{"a":"\ud83c\ud83c\udf2c"}"#, r"\ud83c"),
            (r#"{"a":"\\\ud83d"}"#, r"\ud83d"),
        ] {
            let value: Value = serde_json::from_str(&marked(document)).unwrap();
            let text = value["a"].as_str().unwrap();
            assert_eq!(find(text.as_bytes()).as_deref(), Some(surrogate), "{document}");
            assert!(escape(text).contains(surrogate), "{document}");
        }
        let raw = mark(b"{\"a\":\"\xed\xa0\xbd\"}");
        let value: Value = serde_json::from_slice(&raw).unwrap();
        assert_eq!(find(value["a"].as_str().unwrap().as_bytes()).unwrap(), r"\ud83d");
    }

    #[test]
    fn text_in_which_a_backslash_is_ordinary_is_restored() {
        let mut value = json!({ "a": [marked(r#"{"b":"\ud83d"}"#)] });
        restore_literals(&mut value);
        assert_eq!(value, json!({ "a": [r#"{"b":"\ud83d"}"#] }));
    }
}
