//! The table of `list`.

use console::{measure_text_width, truncate_str};

use super::row::{Row, Totals};
use crate::escape::escape_controls;

/// The columns from left to right.
const HEADER: [&str; 5] = ["cassette", "responses", "recorded", "prompt", "answer"];

/// The width of prompt and answer where the table is as wide as it needs.
const TEXT_WIDTH: usize = 60;

/// The smallest width of prompt and answer on a terminal. Where less is left, columns are omitted.
const MIN_TEXT_WIDTH: usize = 12;

/// The digits of a key that a terminal shows.
const DIGITS: usize = 8;

/// The number of columns between two cells.
const GAP: usize = 2;

/// A longer cell does not widen its column.
const MAX_WIDTH: usize = 100;

/// The table, with a header if there are rows, and the totals. On a terminal of this width, each line fits, and a cassette is
/// named by its folder and the start of its key, which `show` and `remove` find.
pub(super) fn text(rows: &[Row], terminal: Option<usize>) -> String {
    let cells: Vec<[String; 5]> = rows.iter().map(|row| cells_of(row, terminal.is_some())).collect();
    let natural = |column: usize| {
        let widths = cells.iter().map(|row| measure_text_width(&row[column]));
        let widest = widths.filter(|width| *width <= MAX_WIDTH).max().unwrap_or_default();
        widest.max(HEADER[column].len())
    };
    let natural: [usize; 5] = [0, 1, 2, 3, 4].map(natural);
    let widths = match terminal {
        Some(terminal) => fitting(natural, terminal),
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

fn cells_of(row: &Row, is_terminal: bool) -> [String; 5] {
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
    [name, row.responses(), recorded, words(&row.prompt), words(&row.answer)]
}

/// The folder and the first digits of the key, without the words of the slug: the prompt is in a column of its own.
fn short_name(row: &Row) -> String {
    match (&row.listed.key, row.listed.name.rsplit_once('/')) {
        (Some(key), Some((folder, _))) => format!("{folder}/{}", &key.short()[..DIGITS]),
        _ => row.listed.name.clone(),
    }
}

/// The widths in a terminal; those of columns that have no room are 0.
fn fitting(natural: [usize; 5], terminal: usize) -> [usize; 5] {
    let [name, responses, recorded, prompt, answer] = natural;
    // Prompt and answer say more than the time.
    for recorded in [recorded, 0] {
        let gap = |width: usize| if width > 0 { width + GAP } else { 0 };
        let Some(left) = terminal.checked_sub(name + GAP + responses + GAP + gap(recorded) + GAP) else {
            continue;
        };
        if left >= (2 * MIN_TEXT_WIDTH).min(prompt + answer) {
            // What one of them does not need is for the other.
            let prompt = prompt.min((left / 2).max(left.saturating_sub(answer)));
            return [name, responses, recorded, prompt, answer.min(left - prompt)];
        }
    }
    let left = terminal.saturating_sub(name + GAP + responses + GAP);
    let prompt = if left >= MIN_TEXT_WIDTH { prompt.min(left) } else { 0 };
    [name.min(terminal), responses, 0, prompt, 0]
}

/// One line of the table, without spaces at its end.
fn line(cells: &[&str; 5], widths: [usize; 5], terminal: Option<usize>) -> String {
    let mut line = String::new();
    for (cell, width) in cells.iter().zip(widths).filter(|(_, width)| *width > 0) {
        if !line.is_empty() {
            line.push_str(&" ".repeat(GAP));
        }
        let cell = match terminal {
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

    #[test]
    fn the_columns_fit_a_terminal() {
        let natural = [30, 10, 19, 60, 60];
        for terminal in [20, 40, 60, 80, 100, 140, 300] {
            let widths = fitting(natural, terminal);
            let used: Vec<usize> = widths.into_iter().filter(|width| *width > 0).collect();
            let cells = natural.map(|width| "x".repeat(width));
            let line = line(&cells.each_ref().map(String::as_str), widths, Some(terminal));
            assert!(line.trim_end().chars().count() <= terminal, "{terminal}: {widths:?}");
            assert!(terminal < 80 || used.len() >= 4, "{terminal}: {widths:?}");
        }
        assert_eq!(fitting(natural, 300), natural);
        // A short answer leaves its room to the prompt.
        assert_eq!(fitting([30, 10, 19, 60, 5], 120), [30, 10, 19, 48, 5]);
    }
}
