//! The table of `list`.

use std::borrow::Cow;

use console::{measure_text_width, truncate_str};

use super::order::Order;
use super::row::{Row, Totals};
use crate::escape::escape_controls;

/// The number of columns.
const COLUMNS: usize = 6;

/// The columns from left to right. `bytes` is shown only if the rows are sorted by size.
const HEADER: [&str; COLUMNS] = ["cassette", "responses", "bytes", "recorded", "prompt", "answer"];

/// The width of prompt and answer where the table is as wide as it needs.
const TEXT_WIDTH: usize = 60;

/// The smallest width of prompt and answer on a terminal. Where less is left, columns are omitted.
const MIN_TEXT_WIDTH: usize = 12;

/// The smallest width of a shortened name: an ellipsis, a slash and the digits of the key.
const MIN_NAME_WIDTH: usize = DIGITS + 2;

/// The digits of a key that a terminal shows.
const DIGITS: usize = 8;

/// The number of columns between two cells.
const GAP: usize = 2;

/// A longer cell does not widen its column, except on a terminal.
const MAX_WIDTH: usize = 100;

/// The table, with a header if there are rows, and the totals. On a terminal of this width, each line fits, and a cassette is
/// named by its folder and the start of its key, which `show` and `remove` find.
pub(super) fn text(rows: &[Row], order: Order, terminal: Option<usize>) -> String {
    let mut cells: Vec<[String; COLUMNS]> = rows.iter().map(|row| cells_of(row, terminal.is_some())).collect();
    let mut natural = natural_widths(&cells, terminal.is_some());
    let [_, _, bytes, ..] = &mut natural;
    if order != Order::Size {
        *bytes = 0;
    }
    for [_, _, size, ..] in &mut cells {
        *size = format!("{size:>bytes$}");
    }
    let widths = match terminal {
        Some(terminal) => fitting(natural, order, terminal),
        None => natural,
    };
    let mut text = String::new();
    if !rows.is_empty() {
        text.push_str(&line(&HEADER, widths, terminal));
    }
    for row in &cells {
        text.push_str(&line(&row.each_ref().map(String::as_str), widths, terminal));
    }
    text.push_str(&format!("{}\n", Totals::of(rows)));
    text
}

/// The widths that the columns need. A terminal shortens what is too long.
fn natural_widths(cells: &[[String; COLUMNS]], is_terminal: bool) -> [usize; COLUMNS] {
    std::array::from_fn(|column| {
        let widths = cells.iter().map(|row| measure_text_width(&row[column]));
        let widest = widths
            .filter(|width| is_terminal || *width <= MAX_WIDTH)
            .max()
            .unwrap_or_default();
        widest.max(HEADER[column].len())
    })
}

fn cells_of(row: &Row, is_terminal: bool) -> [String; COLUMNS] {
    let words = |text: &str| truncate_str(&escape_controls(text), TEXT_WIDTH, "…").into_owned();
    let (name, recorded) = match is_terminal {
        true => (
            short_name(row),
            row.recorded.second().replace('T', " ").replace('Z', ""),
        ),
        false => (row.listed.name.clone(), row.recorded.second()),
    };
    let (name, recorded) = (
        escape_controls(&name).into_owned(),
        escape_controls(&recorded).into_owned(),
    );
    [
        name,
        row.responses(),
        row.size.to_string(),
        recorded,
        words(&row.prompt),
        words(&row.answer),
    ]
}

/// The folder and the first digits of the key, without the words of the slug: the prompt is in a column of its own.
fn short_name(row: &Row) -> String {
    match (&row.listed.key, row.listed.name.rsplit_once('/')) {
        (Some(key), Some((folder, _))) => format!("{folder}/{}", &key.short()[..DIGITS]),
        _ => row.listed.name.clone(),
    }
}

/// The widths in a terminal; those of columns that have no room are 0. The column that the rows are sorted by is not omitted.
fn fitting(natural: [usize; COLUMNS], order: Order, terminal: usize) -> [usize; COLUMNS] {
    let gap = |width: usize| if width > 0 { width + GAP } else { 0 };
    if natural.into_iter().map(gap).sum::<usize>() <= terminal + GAP {
        return natural;
    }
    let [name, responses, bytes, recorded, prompt, answer] = natural;
    let responses = responses.min((terminal / 4).max(HEADER[1].len()));
    // A long name takes half of the width, or what the others do not need.
    let others = [responses, bytes, prompt, answer].map(gap).iter().sum();
    let name = name.min((terminal / 2).max(MIN_NAME_WIDTH).max(terminal.saturating_sub(others)));
    let least = if order == Order::Recorded { recorded } else { 0 };
    // If not all columns fit, the time is omitted first: prompt and answer are more useful.
    for recorded in [recorded, least] {
        let taken = [name, responses, bytes, recorded].map(gap).iter().sum::<usize>() + GAP;
        let Some(left) = terminal.checked_sub(taken) else {
            continue;
        };
        if left >= (2 * MIN_TEXT_WIDTH).min(prompt + answer) {
            // What one of them does not need is for the other.
            let prompt = prompt.min((left / 2).max(left.saturating_sub(answer)));
            return [name, responses, bytes, recorded, prompt, answer.min(left - prompt)];
        }
    }
    let left = terminal.saturating_sub([name, responses, bytes, least].map(gap).iter().sum());
    let prompt = if left >= MIN_TEXT_WIDTH { prompt.min(left) } else { 0 };
    [name.min(terminal), responses, bytes, least, prompt, 0]
}

/// A name that is at most this wide, without its middle. The digits of the key at its end stay: `show` finds them.
fn elided(name: &str, width: usize) -> Cow<'_, str> {
    if measure_text_width(name) <= width {
        return name.into();
    }
    let tail_width = (width.saturating_sub(1) / 2)
        .max(DIGITS + 1)
        .min(width.saturating_sub(1));
    let starts = name.char_indices().rev().map(|(start, _)| start);
    let tail = starts
        .take_while(|start| measure_text_width(&name[*start..]) <= tail_width)
        .last()
        .unwrap_or(name.len());
    let head = truncate_str(
        &name[..tail],
        width.saturating_sub(measure_text_width(&name[tail..])),
        "…",
    );
    format!("{head}{}", &name[tail..]).into()
}

/// One line of the table, without spaces at its end.
fn line(cells: &[&str; COLUMNS], widths: [usize; COLUMNS], terminal: Option<usize>) -> String {
    let mut line = String::new();
    for (column, (cell, width)) in cells.iter().zip(widths).enumerate() {
        if width == 0 {
            continue;
        }
        if !line.is_empty() {
            line.push_str(&" ".repeat(GAP));
        }
        let cell = match terminal {
            Some(_) if column == 0 => elided(cell, width),
            Some(_) => truncate_str(cell, width, "…"),
            None => (*cell).into(),
        };
        let missing = width.saturating_sub(measure_text_width(&cell));
        line.push_str(&cell);
        line.push_str(&" ".repeat(missing));
    }
    let line = match terminal {
        Some(terminal) => truncate_str(line.trim_end(), terminal, "…"),
        None => line.trim_end().into(),
    };
    format!("{line}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A row with cells of these widths.
    fn row(widths: [usize; COLUMNS]) -> [String; COLUMNS] {
        widths.map(|width| "x".repeat(width))
    }

    fn shown(natural: [usize; COLUMNS], order: Order, terminal: usize) -> (String, [usize; COLUMNS]) {
        let (cells, widths) = (row(natural), fitting(natural, order, terminal));
        (
            line(&cells.each_ref().map(String::as_str), widths, Some(terminal)),
            widths,
        )
    }

    #[test]
    fn the_columns_fit_a_terminal() {
        for natural in [[30, 10, 0, 19, 60, 60], [90, 10, 0, 19, 60, 60], [90, 80, 0, 19, 9, 9]] {
            for order in [Order::Name, Order::Recorded] {
                for terminal in [1, 8, 10, 20, 40, 60, 80, 100, 140, 200] {
                    let (line, widths) = shown(natural, order, terminal);
                    let width = measure_text_width(line.trim_end());
                    assert!(width <= terminal, "{terminal}: {widths:?}");
                    let [_, _, _, recorded, prompt, _] = widths;
                    let has_room = terminal >= 80 && order == Order::Name;
                    assert!(prompt > 0 || !has_room, "{terminal}: {widths:?}");
                    assert!(recorded > 0 || order == Order::Name, "{terminal}: {widths:?}");
                }
            }
        }
        let natural = [30, 10, 0, 19, 60, 60];
        assert_eq!(fitting(natural, Order::Name, 300), natural);
        // A short answer leaves its room to the prompt.
        assert_eq!(
            fitting([30, 10, 0, 19, 60, 5], Order::Name, 120),
            [30, 10, 0, 19, 48, 5]
        );
        // A long name leaves room, and takes what the others do not need.
        assert_eq!(fitting([90, 10, 0, 19, 60, 60], Order::Name, 80)[0], 40);
        assert_eq!(fitting([90, 10, 0, 19, 9, 9], Order::Name, 120)[0], 86);
    }

    #[test]
    fn a_name_of_any_length_counts_on_a_terminal() {
        let cells = [row([150, 10, 0, 19, 60, 60]), row([30, 10, 0, 19, 60, 60])];
        assert_eq!(natural_widths(&cells, true)[0], 150);
        assert_eq!(natural_widths(&cells, false)[0], 30);
    }

    #[test]
    fn a_long_name_keeps_the_digits_of_its_key() {
        let name = "tests/test_agents.py/test_a_long_conversation/chat-completions/5f64e09a";
        assert_eq!(elided(name, 100), name);
        assert_eq!(elided(name, 40), "tests/test_agents.py…ompletions/5f64e09a");
        assert_eq!(elided(name, 20), "tests/test…/5f64e09a");
        for width in DIGITS + 1..name.len() {
            let elided = elided(name, width);
            assert!(elided.ends_with("5f64e09a") && elided.contains('…'), "{elided}");
            assert!(measure_text_width(&elided) <= width, "{elided}");
        }
        assert_eq!(elided("日本語の長い名前/chat/5f64e09a", 19), "日本語の…/5f64e09a");
    }
}
