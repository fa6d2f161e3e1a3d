//! `clear`: everything goes.

use std::process::ExitCode;

use crate::cli::{Directory, SUCCESS, count, print, runtime};
use crate::error::{Error, ErrorKind, Result};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    directory: Directory,
    /// Do it; without this it only says what would go.
    #[arg(long)]
    yes: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let store = arguments.directory.open()?;
    runtime()?.block_on(async {
        let number = count(store.list().await?.len(), "cassette");
        if !arguments.yes {
            return Err(Error::new(
                ErrorKind::Settings,
                format!("this would remove {number} from {}", store.place()),
            )
            .with_hint("add --yes to do it"));
        }
        store.engine.clear().await?;
        print(&format!("{number} removed\n"))?;
        Ok(SUCCESS)
    })
}
