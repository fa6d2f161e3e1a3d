//! `stats`: how much is kept, and what it was good for.

use std::process::ExitCode;

use serde_json::json;

use super::{Format, Listing, WELL, count, print, runtime};
use crate::engine::{Stats, stats};
use crate::error::Result;

pub(super) fn run(arguments: &Listing) -> Result<ExitCode> {
    let store = arguments.directory.open()?;
    let stats = runtime()?.block_on(stats(&*store.engine))?;
    print(&match arguments.format {
        Format::Text => text(&stats),
        Format::Json => format!("{:#}\n", document(&stats)),
    })?;
    Ok(WELL)
}

fn text(stats: &Stats) -> String {
    let mut lines = vec![format!(
        "{}, {}, {} bytes, {} tokens",
        count(whole(stats.entries), "cassette"),
        count(whole(stats.responses), "response"),
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

fn whole(number: u64) -> usize {
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
