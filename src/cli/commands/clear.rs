//! `clear`: removes all cassettes.

use std::process::ExitCode;

use crate::cli::arguments::{Confirmation, Directory};
use crate::cli::output::{SUCCESS, count, print};
use crate::cli::runtime::runtime;
use crate::error::{Error, ErrorKind, Result};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    directory: Directory,
    #[command(flatten)]
    confirmation: Confirmation,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let store = arguments.directory.open()?;
    runtime()?.block_on(async {
        let listed = store.list().await?;
        let number = count(listed.iter().filter(|listed| listed.key.is_some()).count(), "cassette");
        if !arguments.confirmation.yes {
            return Err(Error::new(
                ErrorKind::Settings,
                format!("this would remove {number} from {}", store.location()),
            )
            .with_hint("add --yes to remove them"));
        }
        store.engine.clear().await?;
        print(&format!("{number} removed\n"))?;
        Ok(SUCCESS)
    })
}
