//! Two texts, whole, with the changed words marked: side by side on a wide terminal, otherwise one below the other.

use console::measure_text_width;
use similar::{ChangeTag, DiffOp, TextDiff};

use crate::diff::pieces;
use crate::escape::escape_controls;

/// The number of columns from which texts are side by side.
const WIDE: usize = 100;

/// How two texts are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct View {
    /// The number of columns of the terminal; `None` if the output is not one.
    pub(crate) columns: Option<usize>,
    pub(crate) is_colored: bool,
}

/// A part of a line: a text, and whether the other side has it.
type Part = (bool, String);

/// A line of either side. Of two lines of one row, one replaces the other.
struct Row {
    old: Option<Vec<Part>>,
    new: Option<Vec<Part>>,
}

/// The two texts.
pub(crate) fn both(old: &str, new: &str, view: View) -> String {
    let rows = rows(&escape_controls(old), &escape_controls(new));
    match view.columns {
        Some(columns) if columns >= WIDE => side_by_side(&rows, columns, view.is_colored),
        _ => one_below_the_other(&rows, view.is_colored),
    }
}

fn rows(old: &str, new: &str) -> Vec<Row> {
    let diff = TextDiff::from_lines(old, new);
    let text = |line: Option<&str>| line.unwrap_or_default().trim_end_matches('\n').to_owned();
    let mut rows = Vec::new();
    for op in diff.ops() {
        let (olds, news) = (op.old_range(), op.new_range());
        if let DiffOp::Equal { .. } = op {
            rows.extend(olds.zip(news).map(|(old, new)| Row {
                old: Some(vec![(true, text(diff.old_slice(old)))]),
                new: Some(vec![(true, text(diff.new_slice(new)))]),
            }));
            continue;
        }
        let paired = olds.len().min(news.len());
        for (old, new) in olds.clone().zip(news.clone()) {
            rows.push(changed_words(&text(diff.old_slice(old)), &text(diff.new_slice(new))));
        }
        rows.extend(olds.skip(paired).map(|old| Row {
            old: Some(vec![(false, text(diff.old_slice(old)))]),
            new: None,
        }));
        rows.extend(news.skip(paired).map(|new| Row {
            old: None,
            new: Some(vec![(false, text(diff.new_slice(new)))]),
        }));
    }
    rows
}

/// A line and its replacement.
fn changed_words(old: &str, new: &str) -> Row {
    let (mut old_parts, mut new_parts) = (Vec::new(), Vec::new());
    for (tag, text) in pieces(old, new) {
        match tag {
            ChangeTag::Equal => {
                old_parts.push((true, text.clone()));
                new_parts.push((true, text));
            }
            ChangeTag::Delete => old_parts.push((false, text)),
            ChangeTag::Insert => new_parts.push((false, text)),
        }
    }
    Row {
        old: Some(old_parts),
        new: Some(new_parts),
    }
}

const RED: u8 = 31;
const GREEN: u8 = 32;

/// A line with its changed parts in color.
fn styled(parts: &[Part], color: u8, is_colored: bool) -> String {
    let part = |(is_same, text): &Part| match is_colored && !is_same && !text.is_empty() {
        true => format!("\x1b[{color}m{text}\x1b[0m"),
        false => text.clone(),
    };
    parts.iter().map(part).collect()
}

fn is_same(row: &Row) -> bool {
    let whole = |parts: &Option<Vec<Part>>| parts.as_ref().is_some_and(|parts| parts.iter().all(|(same, _)| *same));
    whole(&row.old) && whole(&row.new)
}

/// Each line after its sign, as in a unified diff. The lines of one change are together.
fn one_below_the_other(rows: &[Row], is_colored: bool) -> String {
    let mut text = String::new();
    for group in rows.chunk_by(|a, b| is_same(a) == is_same(b)) {
        if is_same(&group[0]) {
            for parts in group.iter().filter_map(|row| row.old.as_ref()) {
                text += format!("  {}", styled(parts, RED, false)).trim_end();
                text.push('\n');
            }
            continue;
        }
        let side = |sign: &str, color: u8, parts: &[Part]| {
            let sign: Part = (false, sign.to_owned());
            format!(
                "{} {}\n",
                styled(&[sign], color, is_colored),
                styled(parts, color, is_colored)
            )
        };
        text.extend(group.iter().filter_map(|row| Some(side("-", RED, row.old.as_ref()?))));
        text.extend(group.iter().filter_map(|row| Some(side("+", GREEN, row.new.as_ref()?))));
    }
    text
}

/// Two columns with a sign between them: `|` between a line and its replacement, `<` after a line of the old text, `>` before
/// one of the new text, as sdiff. Long lines are wrapped.
fn side_by_side(rows: &[Row], columns: usize, is_colored: bool) -> String {
    let width = (columns - 3) / 2;
    let mut text = String::new();
    for row in rows {
        let sign = match (&row.old, &row.new) {
            _ if is_same(row) => " ",
            (Some(_), Some(_)) => "|",
            (Some(_), None) => "<",
            (None, _) => ">",
        };
        let lines = |side: &Option<Vec<Part>>| side.as_ref().map_or_else(Vec::new, |parts| wrapped(parts, width));
        let (old, new) = (lines(&row.old), lines(&row.new));
        for at in 0..old.len().max(new.len()) {
            let of = |lines: &[Vec<Part>]| lines.get(at).cloned().unwrap_or_default();
            let (old, new) = (of(&old), of(&new));
            let taken: usize = old.iter().map(|(_, text)| measure_text_width(text)).sum();
            let gap = " ".repeat(width.saturating_sub(taken));
            let line = format!(
                "{}{gap} {sign} {}",
                styled(&old, RED, is_colored),
                styled(&new, GREEN, is_colored)
            );
            text += line.trim_end();
            text.push('\n');
        }
    }
    text
}

/// The lines of a line that are at most this wide: cut after a space if there is one.
fn wrapped(parts: &[Part], width: usize) -> Vec<Vec<Part>> {
    let mut lines = vec![Vec::new()];
    let mut taken = 0;
    for (is_same, text) in parts {
        // A tab is as wide as one space here, because its width depends on its column.
        for word in text.replace('\t', " ").split_inclusive(' ') {
            let mut word = word;
            while !word.is_empty() {
                let needed = measure_text_width(word.trim_end());
                if taken + needed <= width {
                    push(&mut lines, *is_same, word);
                    taken += measure_text_width(word);
                    break;
                }
                if taken > 0 {
                    lines.push(Vec::new());
                    taken = 0;
                } else {
                    let (fits, rest) = word.split_at(fitting(word, width));
                    push(&mut lines, *is_same, fits);
                    lines.push(Vec::new());
                    word = rest;
                }
            }
        }
    }
    if lines.len() > 1 && lines.last().is_some_and(Vec::is_empty) {
        lines.pop();
    }
    lines.iter_mut().for_each(trim_end);
    lines
}

/// Removes the spaces at the end of a line: that after a last word as wide as the column would move the next column.
fn trim_end(line: &mut Vec<Part>) {
    while let Some((_, text)) = line.last_mut() {
        text.truncate(text.trim_end_matches(' ').len());
        if !text.is_empty() {
            break;
        }
        line.pop();
    }
}

fn push(lines: &mut [Vec<Part>], is_same: bool, text: &str) {
    let Some(line) = lines.last_mut() else { return };
    match line.last_mut() {
        Some((same, last)) if *same == is_same => last.push_str(text),
        _ => line.push((is_same, text.to_owned())),
    }
}

/// The number of bytes of a word, at least those of one character, that are at most this wide.
fn fitting(word: &str, width: usize) -> usize {
    let ends = word.char_indices().map(|(start, letter)| start + letter.len_utf8());
    ends.take_while(|end| measure_text_width(&word[..*end]) <= width)
        .last()
        .unwrap_or_else(|| word.chars().next().map_or(0, char::len_utf8))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "Paris is the capital of France.\nIt is old.\n\nThe end.\n";
    const NEW: &str = "Paris is the capital city of France.\nIt is old.\nIt has a river.\n\nThe end.\n";

    fn shown(old: &str, new: &str, columns: Option<usize>, is_colored: bool) -> String {
        both(old, new, View { columns, is_colored })
    }

    #[test]
    fn texts_are_one_below_the_other_without_a_wide_terminal() {
        for columns in [None, Some(80)] {
            insta::allow_duplicates! {
                insta::assert_snapshot!(shown(OLD, NEW, columns, false), @r"
                - Paris is the capital of France.
                + Paris is the capital city of France.
                  It is old.
                + It has a river.

                  The end.
                ");
            }
        }
        let colored = shown(OLD, NEW, None, true);
        assert!(
            colored.contains("\x1b[32m+\x1b[0m Paris is the capital \x1b[32mcity \x1b[0mof France.\n"),
            "{colored:?}"
        );
    }

    #[test]
    fn texts_are_side_by_side_on_a_wide_terminal() {
        insta::assert_snapshot!(shown(OLD, NEW, Some(100), false), @r"
        Paris is the capital of France.                  | Paris is the capital city of France.
        It is old.                                         It is old.
                                                         > It has a river.

        The end.                                           The end.
        ");
    }

    #[test]
    fn long_lines_are_wrapped_and_nothing_is_lost() {
        let words: String = (0..60).map(|number| format!("word{number} ")).collect();
        let long = format!("{words}{}", "x".repeat(130));
        let shown = shown(&long, &long.replace("word30", "ワード三十"), Some(100), false);
        for line in shown.lines() {
            assert!(measure_text_width(line) <= 100, "{line}");
        }
        for word in (0..60)
            .filter(|number| *number != 30)
            .map(|number| format!("word{number} "))
        {
            assert_eq!(
                shown.replace('\n', " \n").matches(&word).count(),
                2,
                "{word} in\n{shown}"
            );
        }
        assert_eq!(shown.matches('x').count(), 2 * 130);
        assert!(shown.contains("ワード三十"));
    }

    #[test]
    fn the_sign_is_always_in_the_same_column() {
        // The columns are 48 wide, as are seven words without the space after the last one.
        let old = "123456 ".repeat(30);
        let shown = shown(&old, &old.replacen("123456", "654321", 1), Some(100), false);
        assert_eq!(shown.lines().count(), 5, "{shown}");
        for line in shown.lines() {
            assert_eq!(line.find('|'), Some(49), "{shown}");
        }
    }

    #[test]
    fn controls_are_escaped_and_line_ends_at_the_end_do_not_matter() {
        let text = shown("a\u{1b}[2J", "b", None, false);
        assert_eq!(text, "- a\\u001b[2J\n+ b\n");
        assert_eq!(shown("", "", Some(120), true), "");
    }
}
