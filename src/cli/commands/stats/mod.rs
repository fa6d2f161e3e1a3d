//! `stats`: prints statistics about the cassettes, their cost, and the savings by replay.

mod costs;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::json;

use self::costs::Costs;
use crate::cassette::Blob;
use crate::cli::arguments::{Directory, Format, Output, PriceTable};
use crate::cli::output::{SUCCESS, count, print, print_error};
use crate::cli::prices::Prices;
use crate::cli::runtime::runtime;
use crate::cli::store::Store;
use crate::engine::{Stats, inline_bodies, stats_with};
use crate::error::{Error, ErrorKind, Result};
use crate::recorder::{Used, usage_log_from_environment};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    directory: Directory,
    /// The usage log of a test run, for the savings by replay [default: MISTRAL_CASSETTE_USAGE_LOG].
    #[arg(long, value_name = "FILE", visible_alias = "ledger")]
    usage_log: Option<PathBuf>,
    #[command(flatten)]
    prices: PriceTable,
    #[command(flatten)]
    output: Output,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let store = arguments.directory.open()?;
    let prices = arguments.prices.read()?;
    let usage_log = arguments.usage_log.clone().or_else(usage_log_from_environment);
    let used = usage_log.map(|file| read_usage(&file, &store)).transpose()?;
    let (stats, costs) = runtime()?.block_on(read(&store, &prices, used.as_ref()))?;
    let has_replays = used.is_some();
    print(&match arguments.output.format {
        Format::Text => text(&stats) + &costs.text(&prices, has_replays),
        Format::Json => {
            let mut document = document(&stats);
            document["costs"] = costs.document(&prices, has_replays);
            format!("{document:#}\n")
        }
    })?;
    Ok(SUCCESS)
}

async fn read(store: &Store, prices: &Prices, used: Option<&Used>) -> Result<(Stats, Costs)> {
    let mut costs = Costs::default();
    // Cassettes with bodies outside of their documents.
    let mut external = Vec::new();
    let stats = stats_with(&*store.engine, |key, mut cassette| {
        let is_complete = cassette.bodies_mut().iter().all(|blob| matches!(blob, Blob::Inline(_)));
        if is_complete {
            costs.add(key, &cassette, prices, used);
        } else {
            external.push((key.clone(), cassette));
        }
    })
    .await?;
    for (key, cassette) in external {
        match inline_bodies(&*store.engine, cassette, &store.engine.location_of(&key)).await {
            Ok(cassette) => costs.add(&key, &cassette, prices, used),
            Err(error) => print_error(&error),
        }
    }
    Ok((stats, costs))
}

fn read_usage(usage_log: &Path, store: &Store) -> Result<Used> {
    match &store.directory {
        Some(directory) => Used::read(usage_log, 0, directory.root()),
        None => Err(Error::new(
            ErrorKind::Settings,
            format!(
                "--usage-log needs a cassette directory, but {} is a cache",
                store.location()
            ),
        )),
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
        lines.push(format!("{} unreadable: see mistral-cassette verify", stats.damaged));
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
                "{} hits, {} misses{}; {} tokens and {:.1} s saved",
                counts.hits,
                counts.misses,
                rate.unwrap_or_default(),
                counts.tokens_saved,
                counts.milliseconds_saved as f64 / 1000.0
            ));
        }
        None => lines.push("hits and misses are not counted in this store".to_owned()),
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
