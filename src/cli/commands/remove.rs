//! `remove`: removes cassettes.

use std::process::ExitCode;

use crate::cli::arguments::Directory;
use crate::cli::output::{SUCCESS, print};
use crate::cli::runtime::runtime;
use crate::cli::select::find;
use crate::error::{Error, ErrorKind, Result};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    directory: Directory,
    /// A path, a name, a part of a name, or the start of a key; each must match exactly one cassette.
    #[arg(required = true, value_name = "CASSETTE")]
    cassettes: Vec<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let store = arguments.directory.open()?;
    runtime()?.block_on(async {
        let all = store.list().await?;
        let mut selected = Vec::new();
        // Find all cassettes before removing the first.
        for wanted in &arguments.cassettes {
            match &find(&store, &all, wanted).await?[..] {
                [listed] => selected.push(listed.clone()),
                several => {
                    let names: String = several.iter().map(|listed| format!("\n  {}", listed.name)).collect();
                    return Err(Error::new(
                        ErrorKind::Settings,
                        format!("{wanted:?} matches {} cassettes:{names}", several.len()),
                    )
                    .with_hint("nothing was removed; use a longer name"));
                }
            }
        }
        for listed in selected {
            store.remove(&listed).await?;
            print(&format!("removed {}\n", listed.name))?;
        }
        Ok(SUCCESS)
    })
}
