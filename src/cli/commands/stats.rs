//! `stats`: how much is kept, and what it was good for.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::json;

use crate::cassette::{Blob, Cassette};
use crate::cli::prices::{Prices, Spent, dollars};
use crate::cli::store::Store;
use crate::cli::{Directory, Format, PRICES_VARIABLE, SUCCESS, count, print, runtime, say};
use crate::engine::{Stats, inline_bodies, stats_and};
use crate::error::{Error, ErrorKind, Result};
use crate::key::RequestKey;
use crate::recorder::Used;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    directory: Directory,
    /// A ledger, for what replaying has saved: what MISTRAL_CASSETTE_LEDGER or --ledger named while the tests ran.
    #[arg(long, value_name = "FILE", env = crate::recorder::USAGE_LOG_VARIABLE)]
    ledger: Option<PathBuf>,
    /// A table of prices, in place of the one that comes with the program.
    #[arg(long, value_name = "FILE", env = PRICES_VARIABLE)]
    prices: Option<PathBuf>,
    /// How to print.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let store = arguments.directory.open()?;
    let prices = Prices::new(arguments.prices.as_deref())?;
    let used = arguments
        .ledger
        .as_ref()
        .map(|ledger| read(ledger, &store))
        .transpose()?;
    let mut costs = Costs::default();
    let stats = runtime()?.block_on(async {
        let mut filed = Vec::new();
        let stats = stats_and(&*store.engine, |key, mut cassette| {
            let is_whole = cassette.bodies_mut().iter().all(|blob| matches!(blob, Blob::Inline(_)));
            if is_whole {
                costs.add(key, &cassette, &prices, used.as_ref());
            } else {
                filed.push((key.clone(), cassette));
            }
        })
        .await?;
        for (key, cassette) in filed {
            match inline_bodies(&*store.engine, cassette, &store.engine.location_of(&key)).await {
                Ok(cassette) => costs.add(&key, &cassette, &prices, used.as_ref()),
                Err(error) => say(&format!("error: {}", error.report())),
            }
        }
        Ok::<_, Error>(stats)
    })?;
    let has_replays = used.is_some();
    print(&match arguments.format {
        Format::Text => text(&stats) + &costs.text(&prices, has_replays),
        Format::Json => {
            let mut document = document(&stats);
            document["costs"] = costs.document(&prices, has_replays);
            format!("{document:#}\n")
        }
    })?;
    Ok(SUCCESS)
}

fn read(ledger: &Path, store: &Store) -> Result<Used> {
    match &store.directory {
        Some(directory) => Used::read(ledger, 0, directory.root()),
        None => Err(Error::new(
            ErrorKind::Settings,
            "a ledger tells of a cassette directory, and this is a cache",
        )),
    }
}

/// What recordings took, and what replaying them has saved.
#[derive(Default)]
struct Costs {
    models: BTreeMap<String, Row>,
    tests: BTreeMap<String, Row>,
}

#[derive(Default)]
struct Row {
    cassettes: u64,
    tokens: u64,
    /// In US dollars, as far as prices are known.
    cost: f64,
    replays: u64,
    saved_tokens: u64,
    saved: f64,
    /// Cassettes without a price.
    unknown: u64,
}

impl Costs {
    fn add(&mut self, key: &RequestKey, cassette: &Cassette, prices: &Prices, used: Option<&Used>) {
        let Spent { model, usage, cost } = prices.spent(cassette);
        let none = || "-".to_owned();
        let model = model.unwrap_or_else(none);
        let test = cassette.recorded.test.clone();
        let recorded = |row: &mut Row| {
            row.cassettes += 1;
            row.tokens += usage.tokens();
            row.cost += cost.unwrap_or_default();
            row.unknown += u64::from(cost.is_none());
        };
        recorded(self.models.entry(model.clone()).or_default());
        recorded(self.tests.entry(test.clone().unwrap_or_else(none)).or_default());
        let id = (key.scope().clone(), key.short().to_owned());
        let Some(replays) = used.and_then(|used| used.replays.get(&id)) else {
            return;
        };
        // The n-th replay gives the n-th response; what is saved is counted as their average.
        let share = 1.0 / cassette.responses.len().max(1) as f64;
        for (replaying, times) in replays {
            let replayed = |row: &mut Row| {
                row.replays += times;
                row.saved_tokens += (usage.tokens() as f64 * share * *times as f64) as u64;
                row.saved += cost.unwrap_or_default() * share * *times as f64;
            };
            replayed(self.models.entry(model.clone()).or_default());
            let test = replaying.clone().or_else(|| test.clone()).unwrap_or_else(none);
            replayed(self.tests.entry(test).or_default());
        }
    }

    fn text(&self, prices: &Prices, has_replays: bool) -> String {
        let mut text = String::new();
        let is_counted = |rows: &BTreeMap<String, Row>| rows.values().any(|row| row.tokens > 0 || row.cost > 0.0);
        if !is_counted(&self.models) {
            return text;
        }
        for (what, rows) in [("model", &self.models), ("test", &self.tests)] {
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
                let cost = match (row.unknown, row.cost) {
                    (0, cost) => dollars(cost),
                    (_, 0.0) => "no price".to_owned(),
                    (_, cost) => format!("> {}", dollars(cost)),
                };
                text.push_str(&format!(
                    "{name:width$}  {:>9}  {:>10}  {cost:>10}",
                    row.cassettes, row.tokens
                ));
                if has_replays {
                    text.push_str(&format!("  {:>10}  {:>10}", row.replays, dollars(row.saved)));
                }
                text.push('\n');
            }
        }
        text.push_str(&format!(
            "\nin US dollars at the prices of {}, from {}\n",
            prices.date, prices.source
        ));
        if !has_replays {
            text.push_str("with --ledger it tells what replaying has saved\n");
        }
        text
    }

    fn document(&self, prices: &Prices, has_replays: bool) -> serde_json::Value {
        let rows = |rows: &BTreeMap<String, Row>| {
            let rows = rows.iter().map(|(name, row)| {
                let mut value = json!({
                    "cassettes": row.cassettes, "tokens": row.tokens, "cost": row.cost, "without_price": row.unknown,
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
            "tests": rows(&self.tests),
        })
    }
}

fn text(stats: &Stats) -> String {
    let mut lines = vec![format!(
        "{}, {}, {} bytes, {} tokens",
        count(clipped(stats.entries), "cassette"),
        count(clipped(stats.responses), "response"),
        stats.bytes,
        stats.tokens
    )];
    if let (Some(oldest), Some(newest)) = (&stats.oldest, &stats.newest) {
        lines.push(format!("recorded between {oldest} and {newest}"));
    }
    if stats.damaged > 0 {
        lines.push(format!("{} cannot be read: see verify", stats.damaged));
    }
    lines.extend(
        stats
            .endpoints
            .iter()
            .map(|(endpoint, number)| format!("{number:>8}  {endpoint}")),
    );
    match &stats.counts {
        Some(counts) => {
            let rate = counts.hit_rate().map(|rate| format!(" ({:.1} % hits)", rate * 100.0));
            lines.push(format!(
                "{} hits, {} misses{}; saved {} tokens and {:.1} s",
                counts.hits,
                counts.misses,
                rate.unwrap_or_default(),
                counts.tokens_saved,
                counts.milliseconds_saved as f64 / 1000.0
            ));
        }
        None => lines.push("hits and misses are not counted here".to_owned()),
    }
    lines.join("\n") + "\n"
}

fn clipped(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn document(stats: &Stats) -> serde_json::Value {
    let counts = stats.counts.map(|counts| {
        json!({
            "hits": counts.hits,
            "misses": counts.misses,
            "hit_rate": counts.hit_rate(),
            "tokens_saved": counts.tokens_saved,
            "milliseconds_saved": counts.milliseconds_saved,
        })
    });
    json!({
        "cassettes": stats.entries,
        "responses": stats.responses,
        "bytes": stats.bytes,
        "tokens": stats.tokens,
        "oldest": stats.oldest,
        "newest": stats.newest,
        "endpoints": stats.endpoints,
        "damaged": stats.damaged,
        "counts": counts,
    })
}
