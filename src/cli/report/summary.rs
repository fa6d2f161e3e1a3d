//! What the list of the page shows of a recording, and the values of its filters.

use serde_json::{Value, json};

use super::recording::{Facts, Recording};
use crate::cassette::Cassette;
use crate::cli::prices::{CostEstimate, Prices, Usage};
use crate::key::scope_and_endpoint;

/// Returns the summary of a recording, whose bodies are inline.
pub(crate) fn summary(recording: &Recording, prices: &Prices) -> Value {
    let (scope, endpoint) = scope_and_endpoint(&recording.name);
    let mut summary = json!({ "name": recording.name, "scope": scope.unwrap_or_default(), "endpoint": endpoint });
    if let Some(change) = &recording.change {
        summary["change"] = json!(change.kind);
        if let Some(old) = &change.old {
            let CostEstimate { usage, cost, .. } = prices.estimate(old);
            summary["old"] = json!({ "responses": old.responses.len(), "usage": usage_value(&usage), "cost": cost });
        }
    }
    match &recording.cassette {
        Ok(cassette) => add(&mut summary, cassette, recording.facts(), prices),
        Err(_) => summary["is_damaged"] = json!(true),
    }
    summary
}

fn add(summary: &mut Value, cassette: &Cassette, facts: &Facts, prices: &Prices) {
    let title = facts.prompt.clone().unwrap_or_else(|| cassette.request.line());
    let statuses = cassette.responses.iter().map(|response| response.status.as_u16());
    summary["statuses"] = statuses.collect();
    summary["title"] = title.into();
    summary["answer"] = json!(facts.answer);
    summary["at"] = json!(cassette.recorded.second());
    summary["test"] = json!(cassette.recorded.test);
    let CostEstimate { model, usage, cost } = prices.estimate_of(facts.model.clone(), &facts.usages);
    summary["model"] = json!(model);
    // In US dollars; null when the price is unknown.
    summary["cost"] = json!(cost);
    summary["usage"] = usage_value(&usage);
}

pub(super) fn usage_value(usage: &Usage) -> Value {
    json!({
        "input": usage.input_tokens,
        "output": usage.output_tokens,
        "pages": usage.pages + usage.annotated_pages,
        "seconds": usage.audio_seconds,
        "characters": usage.characters,
    })
}
