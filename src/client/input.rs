//! The input of embeddings, moderations and classifications: one text, or a list of texts.

use serde_json::Value;

/// One text, or a list of texts. One text and a list of one text are different requests, as in the official SDKs.
#[derive(Clone, Debug, PartialEq)]
pub struct Input(Value);

impl From<&str> for Input {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl From<String> for Input {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl<Text: Into<String>> From<Vec<Text>> for Input {
    fn from(texts: Vec<Text>) -> Self {
        Self(texts.into_iter().map(|text| Value::String(text.into())).collect())
    }
}

impl<Text: Into<String>, const N: usize> From<[Text; N]> for Input {
    fn from(texts: [Text; N]) -> Self {
        Self(texts.into_iter().map(|text| Value::String(text.into())).collect())
    }
}

impl From<Input> for Value {
    fn from(input: Input) -> Self {
        input.0
    }
}
