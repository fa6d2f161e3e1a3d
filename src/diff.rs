//! The differences between two JSON values, field by field, and their similarity.

use std::collections::HashMap;
use std::ops::Range;
use std::time::{Duration, Instant};

use serde_json::Value;
#[cfg(feature = "cli")]
pub(crate) use similar::ChangeTag;
use similar::{Algorithm, DiffOp, TextDiff, capture_diff_slices_deadline};

/// The number of words and spaces that are shown before and after a change.
const CONTEXT: usize = 12;

/// The maximum number of characters of a value that are shown.
const LONGEST_SHOWN: usize = 160;

/// The maximum number of changes within one text that are shown.
const MOST_CHANGES: usize = 4;

/// If more numbers of an array differ, it is one difference: two embeddings of a text may differ in every number.
const MOST_NUMBERS: usize = 8;

/// The maximum time for the comparison of arrays and texts. After it the result is less exact.
const TIMEOUT: Duration = Duration::from_millis(200);

/// A difference between two values.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Difference {
    /// A JSON pointer into the new value, or into the old value for a removed item.
    pub(crate) pointer: String,
    pub(crate) old: Option<Value>,
    pub(crate) new: Option<Value>,
}

/// Returns the differences between two values, in the order of the new value. Array items are matched by their content, so that
/// an additional message at the beginning is one difference. Two arrays of equally many numbers, such as embeddings, are one
/// difference if more than a few numbers differ.
pub(crate) fn differences(old: &Value, new: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    compare(String::new(), old, new, Instant::now() + TIMEOUT, &mut found);
    found
}

fn compare(pointer: String, old: &Value, new: &Value, deadline: Instant, found: &mut Vec<Difference>) {
    if old == new {
        return;
    }
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            let gone = old.keys().filter(|name| !new.contains_key(*name));
            let names: Vec<&String> = new.keys().chain(gone).collect();
            for name in names {
                let pointer = format!("{pointer}/{}", escaped(name));
                match (old.get(name), new.get(name)) {
                    (Some(old), Some(new)) => compare(pointer, old, new, deadline, found),
                    (old, new) => found.push(Difference {
                        pointer,
                        old: old.cloned(),
                        new: new.cloned(),
                    }),
                }
            }
        }
        (Value::Array(old), Value::Array(new)) => compare_arrays(&pointer, old, new, deadline, found),
        (old, new) => found.push(Difference {
            pointer,
            old: Some(old.clone()),
            new: Some(new.clone()),
        }),
    }
}

fn compare_arrays(pointer: &str, old: &[Value], new: &[Value], deadline: Instant, found: &mut Vec<Difference>) {
    let texts = |items: &[Value]| items.iter().map(Value::to_string).collect::<Vec<_>>();
    let (old_texts, new_texts) = (texts(old), texts(new));
    let ops = capture_diff_slices_deadline(Algorithm::Myers, &old_texts, &new_texts, Some(deadline));
    if are_vectors(old, new) {
        let changed = ops.iter().filter(|op| !matches!(op, DiffOp::Equal { .. }));
        let changed: usize = changed.map(|op| op.old_range().len().max(op.new_range().len())).sum();
        if changed > MOST_NUMBERS {
            found.push(Difference {
                pointer: pointer.to_owned(),
                old: Some(Value::from(old)),
                new: Some(Value::from(new)),
            });
            return;
        }
    }
    for op in ops.iter().filter(|op| !matches!(op, DiffOp::Equal { .. })) {
        let (olds, news) = (op.old_range(), op.new_range());
        let both = olds.len().min(news.len());
        for (at_old, at_new) in olds.clone().zip(news.clone()) {
            compare(
                format!("{pointer}/{at_new}"),
                &old[at_old],
                &new[at_new],
                deadline,
                found,
            );
        }
        found.extend(olds.skip(both).map(|at| Difference {
            pointer: format!("{pointer}/{at}"),
            old: Some(old[at].clone()),
            new: None,
        }));
        found.extend(news.skip(both).map(|at| Difference {
            pointer: format!("{pointer}/{at}"),
            old: None,
            new: Some(new[at].clone()),
        }));
    }
}

/// Whether both arrays have numbers only, and equally many.
fn are_vectors(old: &[Value], new: &[Value]) -> bool {
    old.len() == new.len() && old.iter().chain(new).all(Value::is_number)
}

fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

impl Difference {
    /// Returns the difference as lines: the pointer, then the old value after a `-` and the new value after a `+`. Of two
    /// texts only the changed words and the words around them are shown. Two vectors are one line.
    pub(crate) fn lines(&self) -> Vec<String> {
        let pointer = if self.pointer.is_empty() { "/" } else { &self.pointer };
        if let Some(numbers) = self.numbers() {
            return vec![format!("@ {pointer}: {numbers}")];
        }
        let mut lines = vec![format!("@ {pointer}")];
        if let (Some(Value::String(old)), Some(Value::String(new))) = (&self.old, &self.new) {
            lines.extend(changed_words(old, new));
        } else {
            lines.extend(self.old.iter().map(|old| format!("- {}", on_one_line(old))));
            lines.extend(self.new.iter().map(|new| format!("+ {}", on_one_line(new))));
        }
        lines
    }

    /// How many numbers of two vectors differ, and by how much: `1024 of 1024 numbers differ (by 0.17 at most)`. `None` if the
    /// values are not vectors of one length.
    pub(crate) fn numbers(&self) -> Option<String> {
        let (Some(Value::Array(old)), Some(Value::Array(new))) = (&self.old, &self.new) else {
            return None;
        };
        if !are_vectors(old, new) || old.is_empty() {
            return None;
        }
        let changed = old.iter().zip(new).filter(|(old, new)| old != new);
        let number = |value: &Value| value.as_f64().unwrap_or(f64::NAN);
        // `max` ignores a number that is not finite.
        let most = changed
            .clone()
            .map(|(old, new)| (number(old) - number(new)).abs())
            .fold(0.0, f64::max);
        let (changed, all) = (changed.count(), old.len());
        Some(format!(
            "{changed} of {all} numbers differ (by {} at most)",
            rounded(most)
        ))
    }
}

/// A number with two significant digits: `0.17`, `0.000012`, `1200`.
fn rounded(number: f64) -> String {
    if number == 0.0 || !number.is_finite() {
        return number.to_string();
    }
    let two: f64 = format!("{number:.1e}").parse().unwrap_or(number);
    if (1e-9..1e15).contains(&two) {
        two.to_string()
    } else {
        format!("{two:e}")
    }
}

/// Returns a value on one line, shortened.
fn on_one_line(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.replace('\n', "⏎"),
        other => other.to_string(),
    };
    cut(&text, LONGEST_SHOWN)
}

/// Returns the first characters of a text, with an ellipsis if it has more.
pub(crate) fn cut(text: &str, longest: usize) -> String {
    match text.char_indices().nth(longest) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Returns the changes in a text, each with the words around it.
fn changed_words(old: &str, new: &str) -> Vec<String> {
    let diff = TextDiff::configure().timeout(TIMEOUT).diff_words(old, new);
    let groups = diff.grouped_ops(CONTEXT);
    let (old_word, new_word) = (|at| diff.old_slice(at), |at| diff.new_slice(at));
    let mut lines = Vec::new();
    for group in groups.iter().take(MOST_CHANGES) {
        let (Some(first), Some(last)) = (group.first(), group.last()) else {
            continue;
        };
        let olds = first.old_range().start..last.old_range().end;
        let news = first.new_range().start..last.new_range().end;
        lines.push(line('-', olds, old_word));
        lines.push(line('+', news, new_word));
    }
    if groups.len() > MOST_CHANGES {
        lines.push(format!("  … {} more changes in this text", groups.len() - MOST_CHANGES));
    }
    lines
}

/// Splits two texts into pieces that are in both, only in the old one, or only in the new one.
#[cfg(feature = "cli")]
pub(crate) fn pieces(old: &str, new: &str) -> Vec<(ChangeTag, String)> {
    let diff = TextDiff::configure().timeout(TIMEOUT).diff_words(old, new);
    let mut pieces = Vec::<(ChangeTag, String)>::new();
    for change in diff.iter_all_changes() {
        match pieces.last_mut() {
            Some((tag, text)) if *tag == change.tag() => text.push_str(change.value()),
            _ => pieces.push((change.tag(), change.value().to_owned())),
        }
    }
    pieces
}

/// Returns a range of the words of a text, with an ellipsis where there are more.
fn line<'a>(sign: char, range: Range<usize>, word: impl Fn(usize) -> Option<&'a str>) -> String {
    let before = if range.start > 0 { "…" } else { "" };
    let after = if word(range.end).is_some() { "…" } else { "" };
    let text: String = range.filter_map(word).collect();
    format!(
        "{sign} {before}{}{after}",
        cut(text.replace('\n', "⏎").trim_end(), LONGEST_SHOWN)
    )
}

/// Returns the similarity of two values, from 0 to 1: the part of their words that they have in common, in any order. A
/// long prompt has more weight than a short one, and thousands of recordings are compared quickly.
pub(crate) fn similarity(old: &Value, new: &Value) -> f32 {
    let mut counts = HashMap::<Word<'_>, usize>::new();
    let (mut all, mut same) = (0, 0);
    words(old, "", &mut |word| {
        all += 1;
        *counts.entry(word).or_default() += 1;
    });
    words(new, "", &mut |word| {
        all += 1;
        if let Some(left) = counts.get_mut(&word).filter(|left| **left > 0) {
            *left -= 1;
            same += 1;
        }
    });
    if all == 0 { 1.0 } else { 2.0 * same as f32 / all as f32 }
}

/// A word of a text, or any other value with the name of its member.
#[derive(PartialEq, Eq, Hash)]
enum Word<'a> {
    Text(&'a str),
    Member(&'a str, String),
}

/// Calls `visit` with each word of a value.
fn words<'a>(value: &'a Value, name: &'a str, visit: &mut impl FnMut(Word<'a>)) {
    match value {
        Value::Object(members) => members.iter().for_each(|(name, value)| words(value, name, visit)),
        Value::Array(items) => items.iter().for_each(|item| words(item, name, visit)),
        Value::String(text) => {
            visit(Word::Member(name, String::new()));
            text.split_whitespace().for_each(|word| visit(Word::Text(word)));
        }
        other => visit(Word::Member(name, other.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn lines(old: Value, new: Value) -> String {
        differences(&old, &new)
            .iter()
            .flat_map(Difference::lines)
            .collect::<Vec<_>>()
            .join("\n")
    }

    #[test]
    fn each_changed_field_is_one_difference() {
        let old = json!({ "model": "m", "temperature": 0.2, "stop": null, "tools": [1, 2], "a/b": 1 });
        let new = json!({ "model": "m", "temperature": 0.7, "tools": [2], "seed": 7, "a/b": 2 });
        insta::assert_snapshot!(lines(old, new), @r"
        @ /temperature
        - 0.2
        + 0.7
        @ /tools/0
        - 1
        @ /seed
        + 7
        @ /a~1b
        - 1
        + 2
        @ /stop
        - null
        ");
    }

    #[test]
    fn only_the_changed_words_of_a_long_text_are_shown() {
        let text = |word: &str| {
            format!(
                "{} the weather in {word} tomorrow {}",
                "before ".repeat(300),
                "after ".repeat(300)
            )
        };
        let old = json!({ "messages": [{ "content": text("Paris") }] });
        let new = json!({ "messages": [{ "content": text("Lyon") }] });
        insta::assert_snapshot!(lines(old, new), @r"
        @ /messages/0/content
        - …before before before  the weather in Paris tomorrow after after after after after…
        + …before before before  the weather in Lyon tomorrow after after after after after…
        ");
    }

    #[test]
    fn an_additional_message_is_one_difference() {
        let message = |text: &str| json!({ "role": "user", "content": text });
        let old = json!([message("one"), message("two")]);
        let new = json!([message("zero"), message("one"), message("two")]);
        insta::assert_snapshot!(lines(old, new), @r#"
        @ /0
        + {"role":"user","content":"zero"}
        "#);
    }

    #[test]
    fn a_changed_vector_is_one_line() {
        let vector = |step: f64| -> Value { (0..1024).map(|at| f64::from(at) * step).collect() };
        let response =
            |step: f64| json!({ "data": [{ "embedding": vector(step) }, { "embedding": vector(3.0 * step) }] });
        insta::assert_snapshot!(lines(response(0.5), response(0.25)), @r"
        @ /data/0/embedding: 1023 of 1024 numbers differ (by 260 at most)
        @ /data/1/embedding: 1023 of 1024 numbers differ (by 770 at most)
        ");
        let found = differences(&vector(0.5), &vector(0.25));
        assert_eq!(
            (&found[0].old, &found[0].new),
            (&Some(vector(0.5)), &Some(vector(0.25)))
        );
        // A few changed numbers are shown one by one, and so is an array of another length.
        let mut other = vector(0.5);
        other[7] = json!(-1);
        assert_eq!(lines(vector(0.5), other), "@ /7\n- 3.5\n+ -1");
        let longer: Value = (0..1025).map(|at| f64::from(at) * 0.5).collect();
        assert_eq!(lines(vector(0.5), longer), "@ /1024\n+ 512.0");
    }

    #[test]
    fn numbers_have_two_significant_digits() {
        let shown = [0.171_3, 0.000_012_34, 1234.0, 1.0, 0.0, 1.2e-12].map(rounded);
        assert_eq!(shown, ["0.17", "0.000012", "1200", "1", "0", "1.2e-12"]);
    }

    #[test]
    fn similarity_counts_common_words() {
        let chat = |text: &str| json!({ "model": "m", "content": text });
        assert!((similarity(&chat("a b c d"), &chat("a b c d")) - 1.0).abs() < f32::EPSILON);
        assert!(similarity(&chat("a b c d"), &chat("a b c e")) > similarity(&chat("a b c d"), &chat("x y z e")));
    }
}
