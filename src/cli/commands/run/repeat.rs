//! `run --repeat`: finds requests that differ from run to run.

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};

use crate::cassette::RecordedRequest;
use crate::cli::output::{SUCCESS, count, findings, print_message};
use crate::error::{Error, ErrorKind, Result};
use crate::recorder::{AnsweredRequest, RequestListener, RequestOutcome};

/// A run that has ended.
pub(super) struct Ended {
    pub(super) exit: ExitCode,
    pub(super) is_success: bool,
    /// The misses and failures of the proxy.
    pub(super) failures: Vec<Error>,
    /// How often each request was sent, by method, target and recording.
    pub(super) sent: Sent,
}

/// How often each request was sent.
pub(super) type Sent = BTreeMap<String, usize>;

/// Counts the requests of a run that have a recording.
#[derive(Debug, Default)]
pub(super) struct Counter(Mutex<Sent>);

impl Counter {
    /// Returns the counts so far, and starts again from 0.
    pub(super) fn take(&self) -> Sent {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl RequestListener for Counter {
    fn answered(&self, answered: &AnsweredRequest, _: Option<&RecordedRequest>, _: Option<&Error>) {
        let has_recording = matches!(
            answered.outcome,
            RequestOutcome::Replayed { .. }
                | RequestOutcome::Shared
                | RequestOutcome::Recorded
                | RequestOutcome::Injected(_)
        );
        if let Some(key) = answered.key.as_ref().filter(|_| has_recording) {
            let request = format!("{} ({})", answered.line, key.file_name());
            let mut sent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            *sent.entry(request).or_default() += 1;
        }
    }
}

/// Runs a command several times against the same recordings, and reports the requests that differ. `once` runs it the first
/// time, and `again` each further time.
pub(super) fn run(times: u16, once: impl Fn() -> Result<Ended>, again: impl Fn() -> Result<Ended>) -> Result<ExitCode> {
    print_message(&format!("mistral-cassette: run 1 of {times}"));
    let first = once()?;
    if !first.is_success {
        return Ok(first.exit);
    }
    // The key says what differs, without the values, which may be others in each run.
    let mut found: BTreeMap<String, (u16, String)> = BTreeMap::new();
    for number in 2..=times {
        print_message(&format!("mistral-cassette: run {number} of {times}"));
        let ended = again()?;
        let misses = ended.failures.iter().filter(|error| error.kind() == ErrorKind::Miss);
        let mut of_run: BTreeMap<String, String> = misses.map(described).collect();
        if of_run.is_empty() {
            // A changed request is a miss, and also lowers the count of the original one, so counts are compared only without
            // misses.
            of_run.extend(other_counts(&first.sent, &ended.sent));
        }
        if !ended.is_success && of_run.is_empty() {
            return Ok(ended.exit);
        }
        while let Some((what, text)) = of_run.pop_first() {
            found.entry(what).or_insert((0, text)).0 += 1;
        }
    }
    if found.is_empty() {
        print_message(&format!(
            "mistral-cassette: the requests of all {times} runs are the same"
        ));
        return Ok(SUCCESS);
    }
    let number = count(found.len(), "request");
    let mut text = format!("mistral-cassette: {number} not the same as in the first run:");
    for (runs, request) in found.values() {
        text.push_str(&format!(
            "\n\nin {} of {}: {request}",
            runs,
            count(usize::from(times - 1), "further run")
        ));
    }
    print_message(&text);
    Ok(findings())
}

/// The requests that two runs have not sent equally often, and how often each run has.
fn other_counts(first: &Sent, further: &Sent) -> Vec<(String, String)> {
    let requests: BTreeSet<&String> = first.keys().chain(further.keys()).collect();
    let times = |sent: &Sent, request: &String| sent.get(request).copied().unwrap_or_default();
    requests
        .into_iter()
        .map(|request| (request, times(first, request), times(further, request)))
        .filter(|(_, before, now)| before != now)
        .map(|(request, before, now)| {
            let text = format!(
                "{request}\n    sent {} in the first run, and {} in this one",
                count(before, "time"),
                count(now, "time")
            );
            (request.clone(), text)
        })
        .collect()
}

/// What differs in the request of a miss, and a text with the differences and the setting that ignores them.
fn described(miss: &Error) -> (String, String) {
    let message = miss.message();
    let first = message.lines().next().unwrap_or_default();
    let first = first.strip_prefix("not recorded: ").unwrap_or(first);
    let (request, _) = first.rsplit_once(" (").unwrap_or((first, ""));
    let (mut what, mut text) = (request.to_owned(), request.to_owned());
    for line in message
        .lines()
        .filter(|line| ["@ ", "- ", "+ "].iter().any(|sign| line.starts_with(sign)))
    {
        text.push_str(&format!("\n    {line}"));
        if line.starts_with('@') {
            what.push_str(line);
        }
    }
    // The last line says how to record a request.
    let hint = miss.hint().and_then(|hint| hint.rsplit_once('\n'));
    if let Some((setting, _)) = hint {
        text.push_str(&format!("\n{setting}"));
    }
    (what, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_whatever_their_order() {
        let sent = |requests: &[(&str, usize)]| -> Sent {
            let sent = requests.iter().map(|(request, times)| ((*request).to_owned(), *times));
            sent.collect()
        };
        let first = sent(&[("a", 1), ("b", 2), ("c", 1)]);
        assert_eq!(other_counts(&first, &first), []);
        let texts: Vec<String> = other_counts(&first, &sent(&[("b", 3), ("c", 1), ("d", 1)]))
            .into_iter()
            .map(|(_, text)| text)
            .collect();
        assert_eq!(
            texts,
            [
                "a\n    sent 1 time in the first run, and 0 times in this one",
                "b\n    sent 2 times in the first run, and 3 times in this one",
                "d\n    sent 0 times in the first run, and 1 time in this one",
            ]
        );
    }

    #[test]
    fn what_differs_does_not_depend_on_the_values() {
        let miss = |value: u32| {
            let message = format!(
                "not recorded: POST /v1/a (b) (cassettes/x-{value}.yaml, mode strict)\nthe nearest recording is y (99 % alike):\n@ /body/json/run_id\n- 0\n+ {value}"
            );
            Error::new(ErrorKind::Miss, message).with_hint("add this:\nmatching:\nrecord it")
        };
        let (what, text) = described(&miss(1));
        assert_eq!(what, described(&miss(2)).0);
        assert_eq!(
            text,
            "POST /v1/a (b)\n    @ /body/json/run_id\n    - 0\n    + 1\nadd this:\nmatching:"
        );
    }
}
