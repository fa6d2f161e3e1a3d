//! `remove`: cassettes by name or key.

use std::process::ExitCode;

use super::show::find;
use crate::cli::{Directory, SUCCESS, print, runtime};
use crate::error::{Error, ErrorKind, Result};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    directory: Directory,
    /// Which: a path, a name, or the beginning of a key; each must mean one cassette.
    #[arg(required = true, value_name = "CASSETTE")]
    cassettes: Vec<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let store = arguments.directory.open()?;
    runtime()?.block_on(async {
        let all = store.read_all().await?;
        let mut removed = Vec::new();
        // All are found before the first goes.
        for wanted in &arguments.cassettes {
            match &find(&store, &all, wanted)?[..] {
                [(listed, _)] => removed.push(listed),
                several => {
                    let names: Vec<&str> = several.iter().map(|(listed, _)| listed.name.as_str()).collect();
                    return Err(Error::new(
                        ErrorKind::Settings,
                        format!("{wanted:?} may be any of {}", names.join(", ")),
                    )
                    .with_hint("nothing was removed: say more of its name"));
                }
            }
        }
        for listed in removed {
            store.remove(listed).await?;
            print(&format!("removed {}\n", listed.name))?;
        }
        Ok(SUCCESS)
    })
}
