//! The cost of recording, and the savings by replay.

use std::collections::BTreeMap;

use serde_json::json;

use crate::cassette::Cassette;
use crate::cli::prices::{CostEstimate, Prices, format_dollars};
use crate::key::RequestKey;
use crate::recorder::Used;

/// What is added of one cassette.
pub(super) struct Estimated {
    estimate: CostEstimate,
    test: Option<String>,
    responses: usize,
}

impl Estimated {
    /// Reads the usage of a cassette, whose bodies are inline.
    pub(super) fn of(cassette: &Cassette, prices: &Prices) -> Self {
        Self {
            estimate: prices.estimate(cassette),
            test: cassette.recorded.test.clone(),
            responses: cassette.responses.len(),
        }
    }
}

/// Costs and savings by model, by scope and by test.
#[derive(Default)]
pub(super) struct Costs {
    models: BTreeMap<String, Row>,
    scopes: BTreeMap<String, Row>,
    tests: BTreeMap<String, Row>,
}

#[derive(Default)]
struct Row {
    cassettes: u64,
    tokens: u64,
    /// In US dollars, without models whose price is unknown.
    cost: f64,
    replays: u64,
    saved_tokens: u64,
    saved: f64,
    /// The number of cassettes whose price is unknown.
    without_price: u64,
}

impl Costs {
    pub(super) fn add(&mut self, key: &RequestKey, cassette: &Estimated, used: Option<&Used>) {
        let CostEstimate { model, usage, cost } = &cassette.estimate;
        let none = || "-".to_owned();
        let model = model.clone().unwrap_or_else(none);
        let scope = Some(key.scope().to_string()).filter(|scope| !scope.is_empty());
        let scope = scope.unwrap_or_else(none);
        let recorded = |row: &mut Row| {
            row.cassettes += 1;
            row.tokens = row.tokens.saturating_add(usage.tokens());
            row.cost += cost.unwrap_or_default();
            row.without_price += u64::from(cost.is_none());
        };
        let test = cassette.test.clone();
        recorded(self.models.entry(model.clone()).or_default());
        recorded(self.scopes.entry(scope.clone()).or_default());
        recorded(self.tests.entry(test.clone().unwrap_or_else(none)).or_default());
        let id = (key.scope().clone(), key.short().to_owned());
        let Some(replays) = used.and_then(|used| used.replays.get(&id)) else {
            return;
        };
        // The n-th replay returns the n-th response; count their average for each.
        let share = 1.0 / cassette.responses.max(1) as f64;
        for (replaying, times) in replays {
            let replayed = |row: &mut Row| {
                row.replays += times;
                let tokens = (usage.tokens() as f64 * share * *times as f64) as u64;
                row.saved_tokens = row.saved_tokens.saturating_add(tokens);
                row.saved += cost.unwrap_or_default() * share * *times as f64;
            };
            replayed(self.models.entry(model.clone()).or_default());
            replayed(self.scopes.entry(scope.clone()).or_default());
            let test = replaying.clone().or_else(|| test.clone()).unwrap_or_else(none);
            replayed(self.tests.entry(test).or_default());
        }
    }

    /// The tokens of all cassettes.
    pub(super) fn tokens(&self) -> u64 {
        let rows = self.models.values();
        rows.fold(0, |tokens, row| tokens.saturating_add(row.tokens))
    }

    pub(super) fn text(&self, prices: &Prices, has_replays: bool) -> String {
        let mut text = String::new();
        let has_usage = |rows: &BTreeMap<String, Row>| rows.values().any(|row| row.tokens > 0 || row.cost > 0.0);
        if !has_usage(&self.models) {
            return text;
        }
        for (what, rows) in [("model", &self.models), ("scope", &self.scopes), ("test", &self.tests)] {
            if rows.len() == 1 && rows.contains_key("-") {
                continue;
            }
            let width = rows
                .keys()
                .map(|name| name.chars().count())
                .max()
                .unwrap_or_default()
                .max(what.len());
            text.push_str(&format!("\n{what:width$}  cassettes      tokens        cost"));
            text.push_str(if has_replays {
                "     replays       saved\n"
            } else {
                "\n"
            });
            for (name, row) in rows {
                let cost = match (row.without_price, row.cost) {
                    (0, cost) => format_dollars(cost),
                    (_, 0.0) => "no price".to_owned(),
                    (_, cost) => format!("> {}", format_dollars(cost)),
                };
                text.push_str(&format!(
                    "{name:width$}  {:>9}  {:>10}  {cost:>10}",
                    row.cassettes, row.tokens
                ));
                if has_replays {
                    text.push_str(&format!("  {:>10}  {:>10}", row.replays, format_dollars(row.saved)));
                }
                text.push('\n');
            }
        }
        text.push_str(&format!(
            "\nin US dollars at the prices of {}, from {}\n",
            prices.date, prices.source
        ));
        if !has_replays {
            text.push_str("--usage-log adds the savings by replay\n");
        }
        text
    }

    pub(super) fn document(&self, prices: &Prices, has_replays: bool) -> serde_json::Value {
        let rows = |rows: &BTreeMap<String, Row>| {
            let rows = rows.iter().map(|(name, row)| {
                let mut value = json!({
                    "cassettes": row.cassettes, "tokens": row.tokens, "cost": row.cost, "without_price": row.without_price,
                });
                if has_replays {
                    value["replays"] = json!(row.replays);
                    value["saved_tokens"] = json!(row.saved_tokens);
                    value["saved"] = json!(row.saved);
                }
                (name.clone(), value)
            });
            serde_json::Value::Object(rows.collect())
        };
        json!({
            "prices": { "date": prices.date, "source": prices.source, "currency": "USD" },
            "models": rows(&self.models),
            "scopes": rows(&self.scopes),
            "tests": rows(&self.tests),
        })
    }
}
