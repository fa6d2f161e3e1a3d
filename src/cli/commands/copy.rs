//! `copy`: copies all cassettes to another location.

use std::process::ExitCode;

use indicatif::{ProgressBar, ProgressStyle};

use crate::cli::output::{print, print_error, success_if};
use crate::cli::runtime::runtime;
use crate::cli::store::Store;
use crate::engine::copy;
use crate::error::Result;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The source: a cassette directory, or the URL of a cache.
    from: String,
    /// The destination: a cassette directory, or the URL of a cache.
    to: String,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let (from, to) = (Store::open(&arguments.from)?, Store::open(&arguments.to)?);
    // Hidden unless stderr is a terminal.
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
    copied.failures.iter().for_each(print_error);
    print(&format!("{copied}\n"))?;
    Ok(success_if(copied.failures.is_empty()))
}
