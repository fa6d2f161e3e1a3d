//! `show`: prints cassettes as text.

mod stream;
mod transcript;

use std::process::ExitCode;

use self::transcript::transcript;
use crate::cli::arguments::Directory;
use crate::cli::output::{SUCCESS, print};
use crate::cli::runtime::runtime;
use crate::cli::select::find;
use crate::error::Result;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    directory: Directory,
    /// A path, a name, a part of a name, or the start of a key.
    #[arg(required = true, value_name = "CASSETTE")]
    cassettes: Vec<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let store = arguments.directory.open()?;
    let runtime = runtime()?;
    let all = runtime.block_on(store.read_all())?;
    for wanted in &arguments.cassettes {
        for (listed, cassette) in find(&store, &all, wanted)? {
            let cassette = cassette.as_ref().map_err(Clone::clone)?;
            print(&runtime.block_on(transcript(&store, listed, cassette))?)?;
        }
    }
    Ok(SUCCESS)
}
