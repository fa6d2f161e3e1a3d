//! What `refresh` prints.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::estimate::Estimate;
use crate::cli::change::{Change, ChangeKind};
use crate::cli::output::count;
use crate::cli::prices::format_dollars;
use crate::cli::refresh::{Outcome, RefreshResult};
use crate::diff::Difference;

fn description(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Refreshed {
            change, moved: None, ..
        } => change.kind.name().to_owned(),
        Outcome::Refreshed {
            change,
            moved: Some(moved),
            ..
        } => format!("{}, with a new request: {moved}", change.kind),
        Outcome::NotSent(why) => format!("not sent: {why}"),
        Outcome::Failed(error) => format!("failed: {}", error.message().lines().next().unwrap_or_default()),
        Outcome::LeftForChain { change, failed } => {
            let change = change
                .as_ref()
                .map_or(String::new(), |change| format!("{}, ", change.kind));
            format!("{change}not saved: it belongs to the chain of {failed}")
        }
        Outcome::Skipped(why) => format!("left: {why}"),
    }
}

fn change_of(outcome: &Outcome) -> Option<&Change> {
    match outcome {
        Outcome::Refreshed { change, .. } => Some(change),
        Outcome::LeftForChain { change, .. } => change.as_ref(),
        _ => None,
    }
}

pub(super) fn text(all: &[RefreshResult], sent: usize, show: bool) -> String {
    let mut text = String::new();
    let (mut changed, mut unchanged) = (0, 0);
    for refreshed in all {
        match &refreshed.outcome {
            Outcome::Refreshed { is_changed: false, .. } => unchanged += 1,
            outcome => {
                changed += usize::from(matches!(outcome, Outcome::Refreshed { .. }));
                text.push_str(&format!("{}: {}\n", refreshed.name, description(outcome)));
            }
        }
        if let (true, Some(change)) = (show, change_of(&refreshed.outcome)) {
            for line in change.differences.iter().flat_map(Difference::lines) {
                text.push_str(&format!("    {line}\n"));
            }
        }
    }
    let is_left = |refreshed: &&RefreshResult| !matches!(refreshed.outcome, Outcome::Refreshed { .. });
    let left = match all.iter().filter(is_left).count() {
        0 => String::new(),
        left => format!(", {left} left as they were"),
    };
    text.push_str(&format!(
        "{}, {changed} changed, {unchanged} unchanged{left}, {} sent, {} spent\n",
        count(all.len(), "recording"),
        count(sent, "request"),
        format_dollars(spent(all))
    ));
    text
}

/// The changes by their meaning, as Markdown: those of the model first, then those that failed.
pub(super) fn markdown(all: &[RefreshResult], sent: usize) -> String {
    const MAX_TEXT: usize = 120;
    let cell = |text: &str| {
        let short: String = text.chars().take(MAX_TEXT).collect();
        let short = if short.len() < text.len() { short + "…" } else { short };
        short
            .replace(['\n', '\r'], " ")
            .replace('|', "\\|")
            .replace('<', "&lt;")
    };
    let value = |value: &Option<Value>| match value {
        Some(Value::String(text)) => cell(text),
        Some(value) => cell(&value.to_string()),
        None => "–".to_owned(),
    };
    let mut kinds = BTreeMap::<ChangeKind, usize>::new();
    let (mut changed, mut failed) = (String::new(), String::new());
    for result in all {
        match &result.outcome {
            Outcome::Refreshed { change, .. } => {
                *kinds.entry(change.kind).or_default() += 1;
                for difference in &change.differences {
                    let (old, new) = match difference.numbers() {
                        Some(numbers) => ("–".to_owned(), numbers),
                        None => (value(&difference.old), value(&difference.new)),
                    };
                    changed.push_str(&format!(
                        "| `{}` | {} | `{}` | {old} | {new} |\n",
                        cell(&result.name),
                        change.kind,
                        cell(&difference.pointer),
                    ));
                }
            }
            outcome => failed.push_str(&format!(
                "- `{}`: {}\n",
                cell(&result.name),
                cell(&description(outcome))
            )),
        }
    }
    let counts = kinds.iter().rev().map(|(kind, number)| format!("{number} {kind}"));
    let counts: Vec<String> = counts.collect();
    let mut text = format!(
        "## Refreshed recordings\n\n{}: {}; {} sent, {} spent\n",
        count(all.len(), "recording"),
        if counts.is_empty() {
            "none refreshed".to_owned()
        } else {
            counts.join(", ")
        },
        count(sent, "request"),
        format_dollars(spent(all))
    );
    if !changed.is_empty() {
        text.push_str("\n| recording | change | where | old | new |\n| --- | --- | --- | --- | --- |\n");
        text.push_str(&changed);
    }
    if !failed.is_empty() {
        text.push_str("\n### Left as they were\n\n");
        text.push_str(&failed);
    }
    text
}

/// The cost of all requests, without models whose price is unknown.
fn spent(all: &[RefreshResult]) -> f64 {
    // `sum` of an empty iterator is -0.0.
    all.iter()
        .filter_map(|refreshed| refreshed.cost)
        .fold(0.0, |sum, cost| sum + cost)
}

pub(super) fn document(all: &[RefreshResult], sent: usize, estimate: &Estimate) -> Value {
    let row = |refreshed: &RefreshResult| {
        let change = change_of(&refreshed.outcome);
        let moved = match &refreshed.outcome {
            Outcome::Refreshed { moved, .. } => moved.clone(),
            _ => None,
        };
        let differences = change.map(|change| change.differences.clone()).unwrap_or_default();
        let change = change.map(|change| change.kind.name());
        let differences: Vec<Value> = differences
            .iter()
            .map(|difference| json!({ "pointer": difference.pointer, "old": difference.old, "new": difference.new }))
            .collect();
        json!({ "name": refreshed.name, "outcome": description(&refreshed.outcome), "change": change, "moved": moved, "cost": refreshed.cost, "differences": differences })
    };
    json!({
        "recordings": all.iter().map(row).collect::<Vec<_>>(),
        "estimated_cost": estimate.cost,
        "requests": sent,
        "cost": spent(all),
        "prices": estimate.date,
    })
}
