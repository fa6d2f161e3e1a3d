//! A miss explained: the nearest recordings, and how the request differs from the first of them.

use std::collections::HashSet;
use std::fmt;
use std::time::Duration;

use serde_json::Value;
use similar::{ChangeTag, TextDiff};

use crate::cassette::{RecordedBody, RecordedRequest, format};
use crate::engine::{CacheEngine, bytes_of};
use crate::error::{Error, ErrorKind};
use crate::key::{RequestKey, canonical_value};
use crate::settings::Matching;

/// How many recordings, the likeliest by their names, are read and compared.
const COMPARED: usize = 32;

/// How many of them are named.
const NAMED: usize = 3;

/// From here on a second recording is worth a line.
const NEAR: f32 = 0.5;

const LONGEST_DIFF: usize = 60;
const LONGEST_LINE: usize = 200;

/// How much of two requests is compared, in bytes: what differs behind that is rarely what a person looks for.
const LONGEST_COMPARED: usize = 512 << 10;

const DIFF_TIMEOUT: Duration = Duration::from_millis(100);

struct Near {
    place: String,
    text: String,
    alike: f32,
}

/// The error for a request that is not recorded. `why` says what kept the upstream from being asked.
pub(crate) async fn explain(
    engine: &dyn CacheEngine,
    key: &RequestKey,
    request: &RecordedRequest,
    matching: &Matching,
    why: &str,
) -> Error {
    let mut message = format!("not recorded: {} ({}, {why})", request.line(), engine.place_of(key));
    let mut hint = "to record it, run the same with MISTRAL_CASSETTE_MODE=replay (or --mode replay) and your key in MISTRAL_API_KEY".to_owned();
    let keys = match engine.keys().await {
        Ok(keys) => keys,
        Err(error) => {
            message.push_str(&format!("\nthe nearest recording cannot be told: {error}"));
            Vec::new()
        }
    };
    if let Some(elsewhere) = keys
        .iter()
        .find(|other| other.short() == key.short() && other.scope() != key.scope())
    {
        message.push_str(&format!(
            "\nthe same request is recorded in {}: {}",
            scope_name(elsewhere),
            engine.place_of(elsewhere)
        ));
        let way = match elsewhere.scope().as_str() {
            "" => "without a scope".to_owned(),
            scope => format!("with --scope {scope} or the base URL …/c/{scope}"),
        };
        hint = format!("run the same {way}; or, {hint}");
    }
    let wanted = text_of(request, matching);
    let near = nearest(engine, key, &wanted, &keys, matching).await;
    match near.split_first() {
        Some((nearest, others)) => {
            message.push_str(&format!(
                "\nthe nearest recording is {nearest}:\n{}",
                diff(&nearest.text, &wanted)
            ));
            for other in others.iter().filter(|other| other.alike >= NEAR) {
                message.push_str(&format!("\nalso near: {other}"));
            }
        }
        None => {
            let here = keys.iter().filter(|other| other.scope() == key.scope()).count();
            message.push_str(&match here {
                0 => format!("\nnothing is recorded in {} yet", scope_name(key)),
                _ => format!(
                    "\nnothing is recorded for {} in {} (for other endpoints: {here})",
                    key.endpoint(),
                    scope_name(key)
                ),
            });
        }
    }
    Error::new(ErrorKind::Miss, message).with_hint(hint)
}

impl fmt::Display for Near {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // They differ, or it would be a hit: never 100.
        write!(
            f,
            "{} ({:.0} % alike)",
            self.place,
            (self.alike * 100.0).floor().min(99.0)
        )
    }
}

fn scope_name(key: &RequestKey) -> String {
    if key.scope().is_root() {
        "the root scope".to_owned()
    } else {
        format!("scope {}", key.scope())
    }
}

async fn nearest(
    engine: &dyn CacheEngine,
    key: &RequestKey,
    wanted: &str,
    keys: &[RequestKey],
    matching: &Matching,
) -> Vec<Near> {
    let words: HashSet<&str> = key.slug().split('-').collect();
    let common = |other: &RequestKey| other.slug().split('-').filter(|word| words.contains(word)).count();
    let mut likely: Vec<(usize, &RequestKey)> = keys
        .iter()
        .filter(|other| other.endpoint() == key.endpoint() && other.scope() == key.scope())
        .map(|other| (common(other), other))
        .collect();
    likely.sort_by_key(|(common, other)| (std::cmp::Reverse(*common), other.slug().to_owned()));
    let mut near = Vec::new();
    for (_, other) in likely.into_iter().take(COMPARED) {
        let place = engine.place_of(other);
        // A recording that cannot be read cannot be near; whoever asks for it gets its error.
        let Ok(Some(document)) = engine.get(other).await else {
            continue;
        };
        let Ok(mut cassette) = format::read(&document, &place) else {
            continue;
        };
        if let RecordedBody::Blob(blob) = &mut cassette.request.body {
            let Ok(bytes) = bytes_of(engine, blob, || place.clone()).await else {
                continue;
            };
            *blob = bytes.into();
        }
        let text = text_of(&cassette.request, matching);
        let alike = TextDiff::configure()
            .timeout(DIFF_TIMEOUT)
            .diff_words(text.as_str(), wanted)
            .ratio();
        near.push(Near { place, text, alike });
    }
    near.sort_by(|a, b| b.alike.total_cmp(&a.alike));
    near.truncate(NAMED);
    near
}

/// A request as lines to compare: what takes part in its key, sorted, as YAML.
fn text_of(request: &RecordedRequest, matching: &Matching) -> String {
    let mut value = canonical_value(request, matching);
    value.sort_all_objects();
    // What everything hangs on comes last, so that the first lines say which call it is.
    if let Value::Object(members) = &mut value
        && let Some(body) = members.shift_remove("body")
    {
        members.insert("body".to_owned(), body);
    }
    let mut text = format::display(&value);
    let end = (0..=LONGEST_COMPARED.min(text.len()))
        .rev()
        .find(|end| text.is_char_boundary(*end));
    text.truncate(end.unwrap_or(0));
    text
}

fn diff(recorded: &str, requested: &str) -> String {
    let diff = TextDiff::configure()
        .timeout(DIFF_TIMEOUT)
        .diff_lines(recorded, requested);
    let mut lines = vec!["--- recorded".to_owned(), "+++ requested".to_owned()];
    let mut groups = diff.grouped_ops(2).into_iter().peekable();
    while let Some(group) = groups.next() {
        for op in &group {
            let changes: Vec<_> = diff.iter_changes(op).collect();
            let old: Vec<&str> = changes
                .iter()
                .filter(|change| change.tag() == ChangeTag::Delete)
                .map(similar::Change::value)
                .collect();
            let new: Vec<&str> = changes
                .iter()
                .filter(|change| change.tag() == ChangeTag::Insert)
                .map(similar::Change::value)
                .collect();
            let from = match (old.as_slice(), new.as_slice()) {
                ([old], [new]) => start_of_difference(old, new),
                _ => 0,
            };
            for change in changes {
                let sign = match change.tag() {
                    ChangeTag::Delete => '-',
                    ChangeTag::Insert => '+',
                    ChangeTag::Equal => ' ',
                };
                let from = if change.tag() == ChangeTag::Equal { 0 } else { from };
                lines.push(format!(
                    "{sign} {}",
                    window(change.value().trim_end_matches('\n'), from)
                ));
            }
        }
        if groups.peek().is_some() {
            lines.push("  …".to_owned());
        }
    }
    if lines.len() > LONGEST_DIFF {
        let more = lines.len() - LONGEST_DIFF;
        lines.truncate(LONGEST_DIFF);
        lines.push(format!("  … {more} more lines"));
    }
    lines.join("\n")
}

/// How many characters two lines have in common at their start.
fn start_of_difference(old: &str, new: &str) -> usize {
    old.chars().zip(new.chars()).take_while(|(a, b)| a == b).count()
}

/// A line, or the part of a long one in which the difference stands.
fn window(line: &str, difference: usize) -> String {
    let length = line.chars().count();
    if length <= LONGEST_LINE {
        return line.to_owned();
    }
    let start = difference.saturating_sub(LONGEST_LINE / 4).min(length - LONGEST_LINE);
    let shown: String = line.chars().skip(start).take(LONGEST_LINE).collect();
    let (before, after) = (
        if start > 0 { "…" } else { "" },
        if start + LONGEST_LINE < length { "…" } else { "" },
    );
    format!("{before}{shown}{after}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_in_a_long_line_is_in_the_window() {
        let (old, new) = (
            format!("{}x{}\n", "a".repeat(500), "b".repeat(500)),
            format!("{}y{}\n", "a".repeat(500), "b".repeat(500)),
        );
        let told = diff(&old, &new);
        assert!(told.contains("ax") && told.contains("ay"), "{told}");
        assert!(
            told.lines().all(|line| line.chars().count() <= LONGEST_LINE + 4),
            "{told}"
        );
    }

    #[test]
    fn a_long_difference_is_cut_and_says_so() {
        let lines = |word: &str| (0..200).map(|number| format!("{word} {number}\n")).collect::<String>();
        let told = diff(&lines("old"), &lines("new"));
        assert_eq!(told.lines().count(), LONGEST_DIFF + 1);
        assert!(told.ends_with("more lines"), "{told}");
    }
}
