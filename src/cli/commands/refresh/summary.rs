//! What `refresh` prints.

use serde_json::{Value, json};

use super::estimate::Estimate;
use crate::cli::change::ChangeKind;
use crate::cli::output::count;
use crate::cli::prices::dollars;
use crate::cli::refresh::{Outcome, Refreshed};
use crate::diff::Difference;

fn description(outcome: &Outcome) -> String {
    match outcome {
        Outcome::PreparedRequest { change, moved: None } => change.grade.name().to_owned(),
        Outcome::PreparedRequest {
            change,
            moved: Some(moved),
        } => format!("{}, with a new request: {moved}", change.grade),
        Outcome::NotSent(why) => format!("not sent: {why}"),
        Outcome::Failed(error) => format!("failed: {}", error.message().lines().next().unwrap_or_default()),
        Outcome::Left(why) => format!("left: {why}"),
    }
}

pub(super) fn text(all: &[Refreshed], show: bool) -> String {
    let mut text = String::new();
    let mut unchanged = 0;
    for refreshed in all {
        match &refreshed.outcome {
            Outcome::PreparedRequest { change, moved: None } if change.grade <= ChangeKind::Volatile => unchanged += 1,
            outcome => text.push_str(&format!("{}: {}\n", refreshed.name, description(outcome))),
        }
        if let (true, Outcome::PreparedRequest { change, .. }) = (show, &refreshed.outcome) {
            for line in change.differences.iter().flat_map(Difference::lines) {
                text.push_str(&format!("    {line}\n"));
            }
        }
    }
    text.push_str(&format!(
        "{}, {unchanged} unchanged, {} spent\n",
        count(all.len(), "recording"),
        dollars(spent(all))
    ));
    text
}

/// The cost of all requests, without models whose price is unknown.
fn spent(all: &[Refreshed]) -> f64 {
    // `sum` of an empty iterator is -0.0.
    all.iter()
        .filter_map(|refreshed| refreshed.cost)
        .fold(0.0, |sum, cost| sum + cost)
}

pub(super) fn document(all: &[Refreshed], estimate: &Estimate) -> Value {
    let row = |refreshed: &Refreshed| {
        let (change, moved, differences) = match &refreshed.outcome {
            Outcome::PreparedRequest { change, moved } => {
                (Some(change.grade.name()), moved.clone(), change.differences.clone())
            }
            _ => (None, None, Vec::new()),
        };
        let differences: Vec<Value> = differences
            .iter()
            .map(|difference| json!({ "pointer": difference.pointer, "old": difference.old, "new": difference.new }))
            .collect();
        json!({ "name": refreshed.name, "outcome": description(&refreshed.outcome), "change": change, "moved": moved, "cost": refreshed.cost, "differences": differences })
    };
    json!({
        "recordings": all.iter().map(row).collect::<Vec<_>>(),
        "estimated_cost": estimate.cost,
        "cost": spent(all),
        "prices": estimate.date,
    })
}
