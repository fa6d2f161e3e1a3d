//! `copy`: copies all cassettes to another location.

use std::process::ExitCode;

use crate::cli::output::{print, print_error, success_if};
use crate::cli::progress::Progress;
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
    from.check_exists()?;
    let mut progress = Progress::new(0, "cassettes");
    let copied = runtime()?.block_on(copy(&*from.engine, &*to.engine, |copied| {
        progress.set_number(copied.total);
        progress.set(copied.done());
    }));
    drop(progress);
    let copied = copied?;
    copied.failures.iter().for_each(print_error);
    print(&format!("{copied}\n"))?;
    Ok(success_if(copied.failures.is_empty()))
}
