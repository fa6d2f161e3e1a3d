//! `copy`: from one place to another.

use std::process::ExitCode;

use indicatif::{ProgressBar, ProgressStyle};

use crate::cli::store::Store;
use crate::cli::{SUCCESS, print, runtime, say, wrong};
use crate::engine::copy;
use crate::error::Result;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// A cassette directory, or the URL of a cache.
    from: String,
    /// Another one.
    to: String,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let (from, to) = (Store::open(&arguments.from)?, Store::open(&arguments.to)?);
    // It shows itself on a terminal only.
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} cassettes, {eta} left") {
        bar.set_style(style);
    }
    let copied = runtime()?.block_on(copy(&*from.engine, &*to.engine, |copied| {
        bar.set_length(copied.total as u64);
        bar.set_position(copied.done() as u64);
    }));
    bar.finish_and_clear();
    let copied = copied?;
    for failure in &copied.failures {
        say(&format!("error: {}", failure.report()));
    }
    print(&format!("{copied}\n"))?;
    Ok(if copied.failures.is_empty() { SUCCESS } else { wrong() })
}
