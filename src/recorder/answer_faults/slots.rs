//! A text that is spread over several places of several JSON documents, as in a stream.

use serde_json::Value;

/// One place of a text: a string, or another JSON value, whose JSON text counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    /// The index of the document.
    pub(super) document: usize,
    /// The place in the document, as a JSON pointer.
    pub(super) pointer: String,
}

impl Slot {
    pub(super) fn new(document: usize, pointer: impl Into<String>) -> Self {
        Self {
            document,
            pointer: pointer.into(),
        }
    }

    pub(super) fn value<'a>(&self, values: &'a [Value]) -> &'a Value {
        values[self.document].pointer(&self.pointer).unwrap_or(&Value::Null)
    }

    pub(super) fn value_mut<'a>(&self, values: &'a mut [Value]) -> Option<&'a mut Value> {
        values[self.document].pointer_mut(&self.pointer)
    }

    fn text(&self, values: &[Value]) -> String {
        match self.value(values) {
            Value::String(text) => text.clone(),
            Value::Null => String::new(),
            value => value.to_string(),
        }
    }
}

/// The places of one text, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Slots(pub(super) Vec<Slot>);

impl Slots {
    /// The whole text.
    pub(super) fn text(&self, values: &[Value]) -> String {
        self.0.iter().map(|slot| slot.text(values)).collect()
    }

    /// Replaces the text. Each place gets as many characters as it had, and the last one the rest.
    pub(super) fn set(&self, values: &mut [Value], text: &str) {
        let mut rest = text;
        for (index, slot) in self.0.iter().enumerate() {
            let had = slot.text(values).chars().count();
            let end = match rest.char_indices().nth(had) {
                Some((end, _)) if index + 1 < self.0.len() => end,
                _ => rest.len(),
            };
            let (part, after) = rest.split_at(end);
            rest = after;
            if let Some(value) = slot.value_mut(values) {
                *value = part.into();
            }
        }
    }

    /// Replaces the text by its first half.
    pub(super) fn cut(&self, values: &mut [Value]) {
        let half = first_half(&self.text(values));
        self.set(values, &half);
    }
}

/// The first half of the characters.
pub(super) fn first_half(text: &str) -> String {
    text.chars().take(text.chars().count() / 2).collect()
}
