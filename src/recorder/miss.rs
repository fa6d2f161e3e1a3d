//! Explains a miss: the reason, the nearest recordings, how the request differs from them, and what to do.

use std::collections::HashSet;
use std::fmt;
use std::path::PathBuf;
use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

use super::exchange::Exchange;
use super::prepared::PreparedRequest;
use super::usage_log::Use;
use super::{Recorder, User};
use crate::cassette::{RecordedBody, yaml};
use crate::diff::{Difference, differences, similarity};
use crate::engine::{CacheEngine, read_body};
use crate::error::{Error, ErrorKind};
use crate::key::{CanonicalRequest, RequestKey};
use crate::mode::Mode;
use crate::settings::matching::Matching;

/// How many recordings with similar names are read and compared.
const MAX_COMPARED: usize = 32;

/// How many of the nearest recordings are named.
const MAX_NAMED: usize = 3;

/// The minimum similarity of the recordings that are named besides the nearest one.
const ALSO_NEAR: f32 = 0.5;

/// The most lines of a diff.
const MAX_DIFF_LINES: usize = 40;

/// A recording that is similar to the request.
struct Candidate {
    location: String,
    canonical: Value,
    /// 0 to 1.
    similarity: f32,
}

/// How to record a request, the last hint of every miss.
fn record_hint(mode: Mode, user: User) -> &'static str {
    match (mode.is_offline(), user) {
        (true, User::Program) => {
            "to record it, run the same with MISTRAL_CASSETTE_MODE=replay and your key in MISTRAL_API_KEY"
        }
        (true, User::CommandLine) => {
            "to record it, run the same with MISTRAL_CASSETTE_MODE=replay (or --mode replay) and your key in MISTRAL_API_KEY"
        }
        (true, User::TestRunner) => "to record it, run the test in mode replay, with your key in MISTRAL_API_KEY",
        (false, _) => "to record it, run the same with your key in MISTRAL_API_KEY",
    }
}

impl Recorder {
    /// Why a request that is not recorded is not sent.
    fn reason_not_to_send(&self) -> String {
        match self.shared.mode {
            mode if mode.is_offline() => format!("mode {mode}"),
            mode => format!("mode {mode}, and there is no API key to send the request with"),
        }
    }

    /// Counts a WebSocket session that is not recorded, and returns the error that explains it.
    #[cfg(feature = "realtime")]
    pub(super) fn session_missed(&self, exchange: &Exchange, nearest: &str, summary: &str, diff: &[String]) -> Error {
        self.shared.store.count(|counts| counts.misses += 1);
        self.log_use(exchange.key(), Use::Missed);
        // A close frame has room for the beginning of the message only, so the difference comes first.
        let mut message = format!(
            "not recorded: {summary}: the session {} ({})\nthe nearest recording is {nearest}",
            exchange.prepared.request.line(),
            self.reason_not_to_send(),
        );
        if !diff.is_empty() {
            message.push_str(&format!(
                ":\n{}",
                limited([&["--- recorded".to_owned(), "+++ sent".to_owned()], diff].concat())
            ));
        }
        Error::new(ErrorKind::Miss, message).with_hint(record_hint(self.shared.mode, self.shared.user))
    }

    /// Counts a miss, and returns the error that explains it.
    pub(super) async fn missed(&self, exchange: &Exchange) -> Error {
        let reason = self.reason_not_to_send();
        self.shared.store.count(|counts| counts.misses += 1);
        self.log_use(exchange.key(), Use::Missed);
        let miss = Miss {
            engine: self.shared.store.engine(),
            prepared: &exchange.prepared,
            matching: &exchange.settings.settings.matching,
            record_hint: record_hint(self.shared.mode, self.shared.user),
            user: self.shared.user,
        };
        miss.explain(&reason).await
    }
}

/// A request that is not recorded.
struct Miss<'a> {
    engine: &'a dyn CacheEngine,
    prepared: &'a PreparedRequest,
    matching: &'a Matching,
    record_hint: &'static str,
    user: User,
}

impl Miss<'_> {
    fn key(&self) -> &RequestKey {
        &self.prepared.key
    }

    /// The error for this miss. `reason` says why the upstream was not asked.
    async fn explain(&self, reason: &str) -> Error {
        let mut message = format!(
            "not recorded: {} ({}, {reason})",
            self.prepared.request.line(),
            self.engine.location_of(self.key())
        );
        let mut hint = self.record_hint.to_owned();
        let keys = self.engine.keys().await.unwrap_or_else(|error| {
            message.push_str(&format!("\ncannot list the recordings to find the nearest: {error}"));
            Vec::new()
        });
        self.explain_other_scope(&keys, &mut message, &mut hint);
        let requested = self.prepared.canonical.to_value();
        let candidates = self.nearest(&requested, &keys).await;
        match candidates.split_first() {
            Some((nearest, _)) if nearest.canonical == requested => {
                message.push_str(&format!(
                    "\nit is recorded in {}, under another key: the settings for matching, or that file, have changed since",
                    nearest.location
                ));
                hint = format!(
                    "mistral-cassette rekey gives recordings the keys that their requests have now; or, {hint}"
                );
            }
            Some((nearest, others)) => {
                let differences = differences(&nearest.canonical, &requested);
                message.push_str(&format!(
                    "\nthe nearest recording is {nearest}:\n{}",
                    format_diff(&differences)
                ));
                for other in others.iter().filter(|other| other.similarity >= ALSO_NEAR) {
                    message.push_str(&format!("\nalso near: {other}"));
                }
                if let Some(settings) = settings_that_ignore(&differences) {
                    hint = format!("{settings}\n{hint}");
                }
            }
            None => self.explain_empty_scope(&keys, &mut message, &mut hint),
        }
        Error::new(ErrorKind::Miss, message).with_hint(hint)
    }

    /// Names another scope in which the same request is recorded.
    fn explain_other_scope(&self, keys: &[RequestKey], message: &mut String, hint: &mut String) {
        let key = self.key();
        let is_same_request = |other: &&RequestKey| other.short() == key.short() && other.scope() != key.scope();
        let Some(elsewhere) = keys.iter().find(is_same_request) else {
            return;
        };
        message.push_str(&format!(
            "\nthe same request is recorded in {}: {}",
            scope_name(elsewhere),
            self.engine.location_of(elsewhere)
        ));
        let how = match elsewhere.scope().as_str() {
            old if self.user == User::TestRunner && !elsewhere.scope().is_root() => {
                let new = key.scope();
                *hint = format!(
                    "if the test was renamed, rename the folder {old} in the cassette directory to {new}; or, {hint}"
                );
                return;
            }
            "" => "without a scope".to_owned(),
            scope if self.user == User::CommandLine => format!("with --scope {scope} or the base URL …/c/{scope}"),
            scope => format!("in the scope {scope}"),
        };
        *hint = format!("run the same {how}; or, {hint}");
    }

    /// Says that there is no recording to compare with.
    fn explain_empty_scope(&self, keys: &[RequestKey], message: &mut String, hint: &mut String) {
        let key = self.key();
        let in_scope = keys.iter().filter(|other| other.scope() == key.scope()).count();
        message.push_str(&match missing_directory(self.engine) {
            Some(missing) => {
                if self.user == User::CommandLine {
                    *hint =
                        format!("run it where the directory of your cassettes is, or name it with --dir; or, {hint}");
                }
                format!("\nnothing is recorded yet: there is no directory {}", missing.display())
            }
            None if in_scope == 0 => format!("\nnothing is recorded in {} yet", scope_name(key)),
            None => format!(
                "\nnothing is recorded for {} in {} (for other endpoints: {in_scope})",
                key.endpoint(),
                scope_name(key)
            ),
        });
    }

    /// The recordings of the same scope and endpoint that are most similar to the request.
    async fn nearest(&self, requested: &Value, keys: &[RequestKey]) -> Vec<Candidate> {
        let key = self.key();
        let words: HashSet<&str> = key.slug().split('-').collect();
        let common = |other: &RequestKey| other.slug().split('-').filter(|word| words.contains(word)).count();
        let mut likely: Vec<(usize, &RequestKey)> = keys
            .iter()
            .filter(|other| other.endpoint() == key.endpoint() && other.scope() == key.scope())
            .map(|other| (common(other), other))
            .collect();
        likely.sort_by_key(|(common, other)| (std::cmp::Reverse(*common), other.slug().to_owned()));
        let mut candidates = Vec::new();
        for (_, other) in likely.into_iter().take(MAX_COMPARED) {
            // A recording that cannot be read is left out. A request for it gets its error.
            if let Some(canonical) = self.canonical_request_of(other).await {
                candidates.push(Candidate {
                    location: self.engine.location_of(other),
                    similarity: similarity(&canonical, requested),
                    canonical,
                });
            }
        }
        candidates.sort_by(|a, b| b.similarity.total_cmp(&a.similarity));
        candidates.truncate(MAX_NAMED);
        candidates
    }

    /// The canonical request of a recording.
    async fn canonical_request_of(&self, key: &RequestKey) -> Option<Value> {
        let location = self.engine.location_of(key);
        let document = self.engine.get(key).await.ok()??;
        let mut cassette = yaml::read(&document, &location).ok()?;
        if let RecordedBody::Blob(body) = &mut cassette.request.body {
            let bytes = read_body(self.engine, body, || location.clone()).await.ok()?;
            *body = bytes.into();
        }
        Some(CanonicalRequest::of(&cassette.request, self.matching).into_value())
    }
}

/// The directory of the cassettes, if it does not exist.
fn missing_directory(engine: &dyn CacheEngine) -> Option<PathBuf> {
    let root = engine.extensions().directory().filter(|root| !root.exists())?;
    Some(std::path::absolute(root).unwrap_or_else(|_| root.to_owned()))
}

impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // They differ, or it would be a hit: never 100 %.
        write!(
            f,
            "{} ({:.0} % alike)",
            self.location,
            (self.similarity * 100.0).floor().min(99.0)
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

/// The differences for people, each after its JSON pointer as used in the settings.
fn format_diff(differences: &[Difference]) -> String {
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
    limited(lines)
}

/// The first lines of a diff, and the number of the others.
fn limited(mut lines: Vec<String>) -> String {
    if lines.len() > MAX_DIFF_LINES {
        let more = lines.len() - MAX_DIFF_LINES;
        lines.truncate(MAX_DIFF_LINES);
        lines.push(format!("  … {more} more lines"));
    }
    lines.join("\n")
}

/// Values that change with each day or each run: a name for the placeholder, and a pattern for the settings.
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

/// Settings that ignore these differences, if each of them looks like a value that changes with each run.
fn settings_that_ignore(differences: &[Difference]) -> Option<String> {
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
            None if is_run_specific(pointer) => ignored.push(pointer),
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
        "the differences look like values that change with each run; to ignore them, add this to settings.yaml and record again:\n{}",
        yaml.trim_end()
    ))
}

/// The pattern of the value that changes from run to run, if nothing else differs in these texts.
fn pattern_of(old: &str, new: &str) -> Option<(&'static str, &'static str)> {
    VOLATILE
        .iter()
        .find(|(_, _, regex)| regex.is_match(old) && regex.replace_all(old, "\0") == regex.replace_all(new, "\0"))
        .map(|(name, pattern, _)| (*name, *pattern))
}

/// Whether the name of a member suggests that its value changes with each run.
fn is_run_specific(pointer: &str) -> bool {
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
        settings_that_ignore(&differences(&body(old), &body(new)))
    }

    #[test]
    fn values_that_change_with_each_run_come_with_a_setting_that_ignores_them() {
        let told = setting(
            json!({ "metadata": { "run_id": "a" }, "messages": [{ "content": "Today is 2026-11-20, in /tmp/ab12/x." }] }),
            json!({ "metadata": { "run_id": "b" }, "messages": [{ "content": "Today is 2026-11-21, in /tmp/ab12/x." }] }),
        );
        insta::assert_snapshot!(told.unwrap(), @r"
        the differences look like values that change with each run; to ignore them, add this to settings.yaml and record again:
        matching:
          ignore: [/metadata/run_id]
          replace:
          - pattern: '\d{4}-\d\d-\d\d'
            with: <date>
        ");
    }

    #[test]
    fn a_suggested_setting_is_valid_and_works() {
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
            let settings = crate::settings::Settings::from_yaml(yaml.as_bytes(), "settings.yaml").unwrap();
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
    fn other_differences_get_no_suggested_setting() {
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
    fn a_long_diff_is_truncated_and_says_so() {
        let items = |word: &str| Value::from((0..200).map(|number| format!("{word} {number}")).collect::<Vec<_>>());
        let diff = format_diff(&differences(&items("old"), &items("new")));
        assert_eq!(diff.lines().count(), MAX_DIFF_LINES + 1);
        assert!(diff.ends_with("more lines"), "{diff}");
    }
}
