//! `report`: one HTML page to read the recordings in.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::diff::{Row, What, rows, side, side_of};
use crate::cli::change::ChangeKind;
use crate::cli::prices::Prices;
use crate::cli::report::{Change, MARK, Page, Recording};
use crate::cli::store::without_password;
use crate::cli::{Directory, PRICES_VARIABLE, SUCCESS, count, print, runtime, say, wrong};
use crate::engine::write_file;
use crate::error::{Error, ErrorKind, Result};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    directory: Directory,
    /// The file to write; - is stdout.
    #[arg(long, value_name = "FILE", default_value = "report.html")]
    out: String,
    /// Show what has changed since: a git revision of --dir, another directory, or the URL of a cache.
    #[arg(long, value_name = "OLD")]
    since: Option<String>,
    /// A table of prices, in place of the one that comes with the program.
    #[arg(long, value_name = "FILE", env = PRICES_VARIABLE)]
    prices: Option<PathBuf>,
    /// Put media into the page however large they are; without it, what is over 256 KiB is a note.
    #[arg(long)]
    with_media: bool,
    /// Replace a file that is no report.
    #[arg(long)]
    force: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let to_stdout = arguments.out == "-";
    let out = Path::new(&arguments.out);
    if !to_stdout && !arguments.force {
        check(out)?;
    }
    let (page, trouble) = gathered(arguments)?;
    for error in &trouble {
        say(&format!("error: {}", error.report()));
    }
    let html = page.html();
    let said = format!(
        "{} in {}, {} bytes\n",
        count(page.recordings.len(), "recording"),
        arguments.out,
        html.len()
    );
    if to_stdout {
        print(&html)?;
    } else {
        write_file(out, html.as_bytes())?;
        print(&said)?;
    }
    Ok(if trouble.is_empty() { SUCCESS } else { wrong() })
}

/// Whether the file may be written: there is none, or a report.
fn check(out: &Path) -> Result<()> {
    let mut start = Vec::new();
    let read = File::open(out).and_then(|file| file.take(1024).read_to_end(&mut start));
    let is_report = memchr::memmem::find(&start, MARK.as_bytes()).is_some();
    match read {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Ok(_) if is_report || start.is_empty() => Ok(()),
        Ok(_) => {
            let what = format!("{} is there already, and is no report", out.display());
            Err(Error::new(ErrorKind::Settings, what).with_hint("--force replaces it"))
        }
        Err(error) => {
            let what = format!("{} cannot be written", out.display());
            Err(Error::new(ErrorKind::Io, what).with_source(error))
        }
    }
}

/// The recordings for the page, and what cannot be read.
fn gathered(arguments: &Arguments) -> Result<(Page, Vec<Error>)> {
    let store = arguments.directory.open()?;
    let runtime = runtime()?;
    let (found, damaged) = runtime.block_on(store.read_whole())?;
    let mut of_old = Vec::new();
    let mut recordings: Vec<Recording> = match &arguments.since {
        None => found
            .into_iter()
            .map(|(name, cassette)| Recording {
                name,
                cassette: Ok(cassette),
                change: None,
            })
            .collect(),
        Some(since) => {
            let old = runtime.block_on(side(since, &arguments.directory.dir, &mut of_old))?;
            let is_damaged = |row: &Row| damaged.iter().any(|(name, _)| *name == row.name);
            // What cannot be read any more has not gone.
            let rows = rows(old, side_of(found)).into_iter();
            rows.filter(|row| row.what != What::Gone || !is_damaged(row))
                .filter_map(compared)
                .collect()
        }
    };
    let problems = of_old.iter().map(Error::report).collect();
    let trouble = damaged.iter().map(|(_, error)| error.clone()).chain(of_old).collect();
    recordings.extend(damaged.into_iter().map(|(name, error)| Recording {
        name,
        cassette: Err(error),
        change: None,
    }));
    recordings.sort_by(|a, b| a.name.cmp(&b.name));
    let page = Page {
        place: store.place().to_owned(),
        since: arguments
            .since
            .as_deref()
            .map(|since| without_password(since).to_owned()),
        problems,
        recordings,
        prices: Prices::new(arguments.prices.as_deref())?,
        with_media: arguments.with_media,
    };
    Ok((page, trouble))
}

fn compared(row: Row) -> Option<Recording> {
    let what = row.what.name();
    let (cassette, old) = match (row.new, row.old) {
        (Some(new), old) => (new, old.filter(|_| row.what != What::Changed(ChangeKind::Same))),
        (None, Some(old)) => (old, None),
        (None, None) => return None,
    };
    Some(Recording {
        name: row.name,
        cassette: Ok(cassette),
        change: Some(Change {
            what,
            differences: row.differences,
            old,
        }),
    })
}
