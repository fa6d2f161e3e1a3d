//! `export`: writes recordings to a file for other tools.

use std::fs;
use std::process::ExitCode;

use crate::cli::arguments::Directory;
use crate::cli::import_export::{TargetFormat, interactions_of, recorded_at, write};
use crate::cli::output::{count, print, print_message, success_if};
use crate::cli::runtime::runtime;
use crate::error::{Error, ErrorKind, Result};
use crate::key::Scope;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    directory: Directory,
    /// The format: har or jsonl.
    #[arg(long, value_name = "FORMAT")]
    to: TargetFormat,
    /// The output file; - for stdout.
    #[arg(long, value_name = "FILE")]
    out: String,
    /// Export only the cassettes of this scope.
    #[arg(long, value_name = "NAME")]
    scope: Option<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let store = arguments.directory.open()?;
    let wanted = arguments.scope.as_deref().map(Scope::new).transpose()?;
    let (mut cassettes, mut is_success) = (Vec::new(), true);
    runtime()?.block_on(async {
        for (listed, cassette) in store.read_all().await? {
            let scope = listed.key.as_ref().map(|key| key.scope().clone()).unwrap_or_default();
            if wanted.as_ref().is_some_and(|wanted| *wanted != scope) {
                continue;
            }
            let location = store.location_of(&listed);
            let interactions = match cassette {
                Ok(cassette) => interactions_of(&*store.engine, cassette, &scope, &location).await,
                Err(error) => Err(error),
            };
            match interactions {
                Ok(interactions) => cassettes.push((
                    recorded_at(&interactions),
                    write(arguments.to, &interactions),
                    interactions,
                )),
                Err(error) => {
                    print_message(&format!("not exported: {}", error.report()));
                    is_success = false;
                }
            }
        }
        Ok::<_, Error>(())
    })?;
    // In order of time, like the exports of other tools; equal times are in a fixed order that does not depend on file names.
    cassettes.sort_by(|(at, text, _), (other_at, other_text, _)| (at, text).cmp(&(other_at, other_text)));
    let number = cassettes.len();
    let interactions: Vec<_> = cassettes
        .into_iter()
        .flat_map(|(_, _, interactions)| interactions)
        .collect();
    let document = write(arguments.to, &interactions);
    let summary = format!(
        "{} in {} exported",
        count(interactions.len(), "interaction"),
        count(number, "cassette")
    );
    if arguments.out == "-" {
        print(&document)?;
        print_message(&summary);
    } else {
        fs::write(&arguments.out, document)
            .map_err(|error| Error::new(ErrorKind::Io, format!("cannot write {}", arguments.out)).with_source(error))?;
        print(&format!("{summary}\n"))?;
    }
    Ok(success_if(is_success))
}
