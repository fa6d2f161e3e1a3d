//! `export`: cassettes as a file that other tools read.

use std::fs;
use std::process::ExitCode;

use crate::cli::import_export::{TargetFormat, exported, recorded_at};
use crate::cli::{Directory, SUCCESS, count, print, runtime, say, wrong};
use crate::error::{Error, ErrorKind, Result};
use crate::key::Scope;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    directory: Directory,
    /// har or jsonl.
    #[arg(long, value_name = "FORMAT")]
    to: TargetFormat,
    /// The file to write; - is stdout.
    #[arg(long, value_name = "FILE")]
    out: String,
    /// Only the cassettes of this scope.
    #[arg(long, value_name = "NAME")]
    scope: Option<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let store = arguments.directory.open()?;
    let wanted = arguments.scope.as_deref().map(Scope::new).transpose()?;
    let (mut cassettes, mut failed) = (Vec::new(), false);
    runtime()?.block_on(async {
        for (listed, cassette) in store.read_all().await? {
            let scope = listed.key.as_ref().map(|key| key.scope().clone()).unwrap_or_default();
            if wanted.as_ref().is_some_and(|wanted| *wanted != scope) {
                continue;
            }
            let place = store.place_of(&listed);
            let exchanges = match cassette {
                Ok(cassette) => exported(&*store.engine, cassette, &scope, &place).await,
                Err(error) => Err(error),
            };
            match exchanges {
                Ok(exchanges) => cassettes.push((recorded_at(&exchanges), arguments.to.write(&exchanges), exchanges)),
                Err(error) => {
                    say(&format!("not exported: {}", error.report()));
                    failed = true;
                }
            }
        }
        Ok::<_, Error>(())
    })?;
    // In the order of their times, as other tools have it; and in one order, whatever the files are called.
    cassettes.sort_by(|(at, text, _), (other_at, other_text, _)| (at, text).cmp(&(other_at, other_text)));
    let number = cassettes.len();
    let exchanges: Vec<_> = cassettes.into_iter().flat_map(|(_, _, exchanges)| exchanges).collect();
    let document = arguments.to.write(&exchanges);
    let said = format!(
        "{} in {} exported",
        count(exchanges.len(), "interaction"),
        count(number, "cassette")
    );
    if arguments.out == "-" {
        print(&document)?;
        say(&said);
    } else {
        fs::write(&arguments.out, document)
            .map_err(|error| Error::new(ErrorKind::Io, format!("cannot write {}", arguments.out)).with_source(error))?;
        print(&format!("{said}\n"))?;
    }
    Ok(if failed { wrong() } else { SUCCESS })
}
