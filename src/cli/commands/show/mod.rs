//! `show`: prints cassettes as text.

mod transcript;

use std::process::ExitCode;

use self::transcript::transcript;
use crate::cli::arguments::Directory;
use crate::cli::output::{SUCCESS, print};
use crate::cli::runtime::runtime;
use crate::cli::select::{find, outside};
use crate::error::Result;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    directory: Directory,
    /// The path of any cassette, or in the directory a name, a part of a name, or the start of a key.
    #[arg(required = true, value_name = "CASSETTE")]
    cassettes: Vec<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let store = arguments.directory.open()?;
    runtime()?.block_on(async {
        let mut names = None;
        for wanted in &arguments.cassettes {
            if let Some((other, listed)) = outside(&store, wanted)? {
                print(&transcript(&other, &listed, wanted).await?)?;
                continue;
            }
            let all = match &mut names {
                Some(all) => all,
                none => none.insert(store.list().await?),
            };
            for listed in find(&store, all, wanted).await? {
                print(&transcript(&store, &listed, &listed.name).await?)?;
            }
        }
        Ok(SUCCESS)
    })
}
