//! A miss explained: why, the nearest recordings, how the request differs from the first of them, and what would help.

use std::collections::HashSet;
use std::fmt;
use std::path::PathBuf;
use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

use crate::cassette::{RecordedBody, RecordedRequest, yaml};
use crate::diff::{Difference, differences, similarity};
use crate::engine::{CacheEngine, read_body};
use crate::error::{Error, ErrorKind};
use crate::key::{RequestKey, canonical_value};
use crate::settings::matching::Matching;

/// How many recordings, the likeliest by their names, are read and compared.
const COMPARED: usize = 32;

/// How many of them are named.
const NAMED: usize = 3;

/// From here on a second recording is worth a line.
const NEAR: f32 = 0.5;

const LONGEST_DIFF: usize = 40;

struct Near {
    place: String,
    canonical: Value,
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
    let mut message = format!("not recorded: {} ({}, {why})", request.line(), engine.location_of(key));
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
            engine.location_of(elsewhere)
        ));
        let way = match elsewhere.scope().as_str() {
            "" => "without a scope".to_owned(),
            scope => format!("with --scope {scope} or the base URL …/c/{scope}"),
        };
        hint = format!("run the same {way}; or, {hint}");
    }
    let wanted = canonical_value(request, matching);
    let near = nearest(engine, key, &wanted, &keys, matching).await;
    match near.split_first() {
        Some((nearest, _)) if nearest.canonical == wanted => {
            message.push_str(&format!(
                "\nit is recorded in {}, under another key: the settings for matching, or that file, have changed since",
                nearest.place
            ));
            hint = format!("mistral-cassette rekey gives recordings the keys that their requests have now; or, {hint}");
        }
        Some((nearest, others)) => {
            let differences = differences(&nearest.canonical, &wanted);
            message.push_str(&format!(
                "\nthe nearest recording is {nearest}:\n{}",
                told(&differences)
            ));
            for other in others.iter().filter(|other| other.alike >= NEAR) {
                message.push_str(&format!("\nalso near: {other}"));
            }
            if let Some(setting) = what_would_ignore(&differences) {
                hint = format!("{setting}\n{hint}");
            }
        }
        None => {
            let here = keys.iter().filter(|other| other.scope() == key.scope()).count();
            message.push_str(&match missing_directory(engine) {
                Some(missing) => {
                    hint =
                        format!("run it where the directory of your cassettes is, or name it with --dir; or, {hint}");
                    format!("\nthere is no directory {}", missing.display())
                }
                None if here == 0 => format!("\nnothing is recorded in {} yet", scope_name(key)),
                None => format!(
                    "\nnothing is recorded for {} in {} (for other endpoints: {here})",
                    key.endpoint(),
                    scope_name(key)
                ),
            });
        }
    }
    Error::new(ErrorKind::Miss, message).with_hint(hint)
}

/// Where the cassettes should be, when nothing is there.
fn missing_directory(engine: &dyn CacheEngine) -> Option<PathBuf> {
    let root = engine.extensions().directory().filter(|root| !root.exists())?;
    Some(std::path::absolute(root).unwrap_or_else(|_| root.to_owned()))
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
    wanted: &Value,
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
        let place = engine.location_of(other);
        // A recording that cannot be read cannot be near; whoever asks for it gets its error.
        let Ok(Some(document)) = engine.get(other).await else {
            continue;
        };
        let Ok(mut cassette) = yaml::read(&document, &place) else {
            continue;
        };
        if let RecordedBody::Blob(blob) = &mut cassette.request.body {
            let Ok(bytes) = read_body(engine, blob, || place.clone()).await else {
                continue;
            };
            *blob = bytes.into();
        }
        let canonical = canonical_value(&cassette.request, matching);
        let alike = similarity(&canonical, wanted);
        near.push(Near {
            place,
            canonical,
            alike,
        });
    }
    near.sort_by(|a, b| b.alike.total_cmp(&a.alike));
    near.truncate(NAMED);
    near
}

/// The differences as a person reads them, the settings' pointers before each.
fn told(differences: &[Difference]) -> String {
    let mut lines = vec!["--- recorded".to_owned(), "+++ requested".to_owned()];
    lines.extend(differences.iter().flat_map(|difference| {
        let of_body = difference.pointer.strip_prefix("/body/json");
        let pointer = of_body.unwrap_or(&difference.pointer).to_owned();
        Difference {
            pointer,
            ..difference.clone()
        }
        .lines()
    }));
    if lines.len() > LONGEST_DIFF {
        let more = lines.len() - LONGEST_DIFF;
        lines.truncate(LONGEST_DIFF);
        lines.push(format!("  … {more} more lines"));
    }
    lines.join("\n")
}

/// What is another one each day or each run: its name, and what it looks like in the settings.
static VOLATILE: LazyLock<Vec<(&str, &str, Regex)>> = LazyLock::new(|| {
    [
        (
            "time",
            r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)?",
        ),
        ("date", r"\d{4}-\d\d-\d\d"),
        ("uuid", r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"),
        ("path", r"(/tmp|/var/folders|/private/var)/[^\s\x22\x27]+"),
        ("path", r"[A-Za-z]:\\Users\\[^\s\x22\x27]+\\Temp\\[^\s\x22\x27]+"),
        ("hex", r"\b[0-9a-f]{16,}\b"),
        ("seconds", r"\b1[0-9]{9}([0-9]{3})?\b"),
        ("clock", r"\b\d\d:\d\d(:\d\d)?\b"),
    ]
    .into_iter()
    .filter_map(|(name, pattern)| Some((name, pattern, Regex::new(pattern).ok()?)))
    .collect()
});

/// The settings under which these differences would not count, when all of them look as if they were meant not to.
fn what_would_ignore(differences: &[Difference]) -> Option<String> {
    let (mut ignored, mut replaced) = (Vec::new(), Vec::new());
    for difference in differences {
        let pointer = difference.pointer.strip_prefix("/body/json")?;
        let pattern = match (&difference.old, &difference.new) {
            (Some(Value::String(old)), Some(Value::String(new))) => pattern_of(old, new),
            _ => None,
        };
        match pattern {
            Some(pattern) if replaced.contains(&pattern) => {}
            Some(pattern) => replaced.push(pattern),
            None if is_name_of_a_run(pointer) => ignored.push(pointer),
            None => return None,
        }
    }
    let mut yaml = String::from("matching:\n");
    if !ignored.is_empty() {
        yaml.push_str(&format!("  ignore: [{}]\n", ignored.join(", ")));
    }
    if !replaced.is_empty() {
        yaml.push_str("  replace:\n");
        for (name, pattern) in replaced {
            yaml.push_str(&format!("  - pattern: '{pattern}'\n    with: <{name}>\n"));
        }
    }
    Some(format!(
        "it differs only in what looks like another run; with this in settings.yaml, and recorded again, it does not count:\n{}",
        yaml.trim_end()
    ))
}

/// What changes from run to run in these texts, when that is all that differs.
fn pattern_of(old: &str, new: &str) -> Option<(&'static str, &'static str)> {
    VOLATILE
        .iter()
        .find(|(_, _, regex)| regex.is_match(old) && regex.replace_all(old, "\0") == regex.replace_all(new, "\0"))
        .map(|(name, pattern, _)| (*name, *pattern))
}

/// Whether a member is called as what belongs to a run and not to a request.
fn is_name_of_a_run(pointer: &str) -> bool {
    let name = pointer.rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
    name.split(['_', '-']).any(|word| {
        matches!(
            word,
            "id" | "uuid" | "time" | "timestamp" | "date" | "session" | "nonce" | "trace" | "run"
        )
    }) && !name.ends_with("tool_call_id")
        && !matches!(name.as_str(), "agent_id" | "voice_id" | "file_id" | "conversation_id")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn setting(old: Value, new: Value) -> Option<String> {
        let body = |value| json!({ "body": { "json": value } });
        what_would_ignore(&differences(&body(old), &body(new)))
    }

    #[test]
    fn what_looks_like_another_run_comes_with_the_setting_that_ignores_it() {
        let told = setting(
            json!({ "metadata": { "run_id": "a" }, "messages": [{ "content": "Today is 2026-11-20, in /tmp/ab12/x." }] }),
            json!({ "metadata": { "run_id": "b" }, "messages": [{ "content": "Today is 2026-11-21, in /tmp/ab12/x." }] }),
        );
        insta::assert_snapshot!(told.unwrap(), @r"
        it differs only in what looks like another run; with this in settings.yaml, and recorded again, it does not count:
        matching:
          ignore: [/metadata/run_id]
          replace:
          - pattern: '\d{4}-\d\d-\d\d'
            with: <date>
        ");
    }

    #[test]
    fn a_suggested_setting_is_one_that_can_be_read_and_works() {
        for (old, new) in [
            ("at 2026-11-20T10:00:00Z", "at 2026-11-21T11:30:00.5Z"),
            (
                "id 6f9a3f6e-3f0e-4b0e-9a55-5b8a1c9d0e11",
                "id 7f9a3f6e-3f0e-4b0e-9a55-5b8a1c9d0e22",
            ),
            ("see /tmp/a1/x.txt", "see /tmp/b2/x.txt"),
            ("in C:\\Users\\me\\Temp\\a", "in C:\\Users\\me\\Temp\\b"),
            ("hash 0123456789abcdef01", "hash fedcba987654321001"),
            ("since 1795255200", "since 1795255300"),
            ("it is 10:00", "it is 11:30"),
        ] {
            let told = setting(json!({ "x": old }), json!({ "x": new })).unwrap_or_else(|| panic!("{old}"));
            let yaml = &told[told.find("matching:").unwrap()..];
            let settings = crate::Settings::from_yaml(yaml.as_bytes(), "settings.yaml").unwrap();
            let replaced = |text: &str| {
                settings.matching.replace[0]
                    .pattern
                    .replace_all(text, "<>")
                    .into_owned()
            };
            assert_eq!(replaced(old), replaced(new));
        }
    }

    #[test]
    fn what_is_meant_gets_no_setting() {
        assert_eq!(
            setting(json!({ "temperature": 0.2 }), json!({ "temperature": 0.7 })),
            None
        );
        assert_eq!(setting(json!({ "agent_id": "a" }), json!({ "agent_id": "b" })), None);
        assert_eq!(
            setting(
                json!({ "x": "2026-11-20 in Paris" }),
                json!({ "x": "2026-11-21 in Lyon" })
            ),
            None
        );
    }

    #[test]
    fn a_long_difference_is_cut_and_says_so() {
        let items = |word: &str| Value::from((0..200).map(|number| format!("{word} {number}")).collect::<Vec<_>>());
        let told = told(&differences(&items("old"), &items("new")));
        assert_eq!(told.lines().count(), LONGEST_DIFF + 1);
        assert!(told.ends_with("more lines"), "{told}");
    }
}
