//! `stats`: prints statistics about the cassettes, their cost, and the savings by replay.

mod costs;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::json;

use self::costs::{Costs, Estimated};
use crate::cli::arguments::{Directory, Format, Output, PriceTable};
use crate::cli::output::{SUCCESS, count, print, print_error};
use crate::cli::prices::Prices;
use crate::cli::runtime::runtime;
use crate::cli::store::{Document, Store};
use crate::engine::{EntryStats, Listed, Stats, inline_bodies};
use crate::error::{Error, ErrorKind, Result};
use crate::key::RequestKey;
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
    let all = store.list().await?.into_iter();
    let listed: Vec<Listed> = all.filter(|listed| listed.key.is_some()).collect();
    let mut stats = Stats {
        counts: store.engine.extensions().counts().await?,
        ..Stats::default()
    };
    let (mut costs, mut bodies, mut errors) = (Costs::default(), BTreeSet::new(), Vec::new());
    let work = async |document: Document| one(store, document, prices).await;
    store.each_of(&listed, work, |read| match read {
        Ok((key, entry, estimate)) => {
            stats.add(entry, &mut bodies);
            match estimate {
                Some(Ok(estimate)) => costs.add(&key, &estimate, used),
                Some(Err(error)) => errors.push(error),
                None => {}
            }
        }
        Err(error) => errors.push(error),
    })?;
    errors.iter().for_each(print_error);
    // One definition for the sum and its parts: what the API counts, also for connectors.
    stats.tokens = costs.tokens();
    Ok((stats, costs))
}

/// Reads a cassette: what it adds to the statistics, and its usage; `None` if it is unreadable.
async fn one(
    store: &Store,
    document: Document,
    prices: &Prices,
) -> Result<(RequestKey, EntryStats, Option<Result<Estimated>>)> {
    let Document {
        listed,
        location,
        bytes,
        cassette,
    } = document;
    let Some(key) = listed.key else {
        return Err(Error::new(ErrorKind::Internal, format!("{location} has no key")));
    };
    let cassette = cassette.ok();
    let entry = EntryStats::of(&*store.engine, &key, &bytes, cassette.as_ref()).await?;
    let estimate = match cassette {
        None => None,
        Some(cassette) => {
            let cassette = inline_bodies(&*store.engine, cassette, &location).await;
            Some(cassette.map(|cassette| Estimated::of(&cassette, prices)))
        }
    };
    Ok((key, entry, estimate))
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
