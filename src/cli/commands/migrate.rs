//! `migrate`: documents of older format versions in the form of today.

use std::process::ExitCode;

use crate::cassette::yaml;
use crate::cli::{Directory, SUCCESS, count, print, runtime, say, wrong};
use crate::error::Result;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    directory: Directory,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let store = arguments.directory.open()?;
    let all = runtime()?.block_on(store.read_all())?;
    let mut current = 0;
    for (_, cassette) in &all {
        match cassette {
            // Every version that was ever written is read as this one; there has been one so far.
            Ok(_) => current += 1,
            Err(error) => say(&format!("error: {}", error.report())),
        }
    }
    print(&format!(
        "{} of format version {}, the current one: nothing to do\n",
        count(current, "cassette"),
        yaml::VERSION
    ))?;
    Ok(if current == all.len() { SUCCESS } else { wrong() })
}
