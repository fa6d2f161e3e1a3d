//! `run --repeat`: finds requests that differ from run to run.

use std::collections::BTreeMap;
use std::process::ExitCode;

use crate::cli::output::{SUCCESS, count, findings, print_message};
use crate::error::{Error, ErrorKind, Result};

/// A run that has ended.
pub(super) struct Ended {
    pub(super) exit: ExitCode,
    pub(super) is_success: bool,
    /// The misses and failures of the proxy.
    pub(super) failures: Vec<Error>,
}

/// Runs a command several times against the same recordings, and reports the requests that differ. `once` runs it the first
/// time, and `again` each further time.
pub(super) fn run(times: u16, once: impl Fn() -> Result<Ended>, again: impl Fn() -> Result<Ended>) -> Result<ExitCode> {
    print_message(&format!("mistral-cassette: run 1 of {times}"));
    let first = once()?;
    if !first.is_success {
        return Ok(first.exit);
    }
    // By what differs, without the values, which differ in each run.
    let mut found: BTreeMap<String, (u16, String)> = BTreeMap::new();
    for number in 2..=times {
        print_message(&format!("mistral-cassette: run {number} of {times}"));
        let ended = again()?;
        let misses = ended.failures.iter().filter(|error| error.kind() == ErrorKind::Miss);
        let mut of_run: BTreeMap<String, String> = misses.map(described).collect();
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
