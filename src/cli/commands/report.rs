//! `report`: writes an HTML page that shows the recordings.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::process::ExitCode;

use crate::cli::arguments::{Directory, PriceTable};
use crate::cli::comparison::{Row, Status, compare_sides, read_side, side_of};
use crate::cli::output::{count, print, print_error, success_if};
use crate::cli::report::{Change, GENERATOR_TAG, Page, Recording};
use crate::cli::runtime::runtime;
use crate::cli::store::without_password;
use crate::engine::write_file;
use crate::error::{Error, ErrorKind, Result};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    directory: Directory,
    /// The output file; - for stdout.
    #[arg(long, value_name = "FILE", default_value = "report.html")]
    out: String,
    /// Show the changes since a git revision of --dir, another directory, or the URL of a cache.
    #[arg(long, value_name = "OLD")]
    since: Option<String>,
    #[command(flatten)]
    prices: PriceTable,
    /// Include media of any size; by default, the page only mentions media over 256 KiB.
    #[arg(long)]
    with_media: bool,
    /// Replace the output file even if it is not a report.
    #[arg(long)]
    force: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let to_stdout = arguments.out == "-";
    let out = Path::new(&arguments.out);
    if !to_stdout && !arguments.force {
        check(out)?;
    }
    let (page, errors) = read(arguments)?;
    errors.iter().for_each(print_error);
    let html = page.html();
    let summary = format!("{} in {}, {} bytes\n", contents(&page), arguments.out, html.len());
    if to_stdout {
        print(&html)?;
    } else {
        write_file(out, html.as_bytes())?;
        print(&summary)?;
    }
    Ok(success_if(errors.is_empty()))
}

/// How many recordings a page has, as its header counts them.
fn contents(page: &Page) -> String {
    let is_gone = |recording: &&Recording| {
        recording
            .change
            .as_ref()
            .is_some_and(|change| change.kind == Status::Gone.name())
    };
    let gone = page.recordings.iter().filter(is_gone).count();
    let present = count(page.recordings.len() - gone, "recording");
    match gone {
        0 => present,
        gone => format!("{present} and {gone} gone"),
    }
}

/// Refuses to replace a file that is not a report.
fn check(out: &Path) -> Result<()> {
    let mut start = Vec::new();
    let read = File::open(out).and_then(|file| file.take(1024).read_to_end(&mut start));
    let is_report = memchr::memmem::find(&start, GENERATOR_TAG.as_bytes()).is_some();
    match read {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Ok(_) if is_report || start.is_empty() => Ok(()),
        Ok(_) => {
            let message = format!("{} exists, and is not a report", out.display());
            Err(Error::new(ErrorKind::Settings, message).with_hint("--force replaces it"))
        }
        Err(error) => {
            let message = format!("cannot write {}", out.display());
            Err(Error::new(ErrorKind::Io, message).with_source(error))
        }
    }
}

/// Reads the recordings for the page; the errors are those of unreadable cassettes.
fn read(arguments: &Arguments) -> Result<(Page, Vec<Error>)> {
    let store = arguments.directory.open()?;
    let runtime = runtime()?;
    let (found, damaged) = runtime.block_on(store.read_with_bodies())?;
    let mut old_errors = Vec::new();
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
            let old = runtime.block_on(read_side(since, &arguments.directory.dir, &mut old_errors))?;
            let matching = runtime.block_on(store.settings())?.matching;
            let is_damaged = |row: &Row| damaged.iter().any(|(name, _)| *name == row.name);
            // A damaged cassette is missing on the new side, but it still exists.
            let rows = compare_sides(old, side_of(found), &matching).into_iter();
            rows.filter(|row| row.status != Status::Gone || !is_damaged(row))
                .filter_map(recording)
                .collect()
        }
    };
    let problems = old_errors.iter().map(Error::report).collect();
    let errors = damaged
        .iter()
        .map(|(_, error)| error.clone())
        .chain(old_errors)
        .collect();
    recordings.extend(damaged.into_iter().map(|(name, error)| Recording {
        name,
        cassette: Err(error),
        change: None,
    }));
    recordings.sort_by(|a, b| a.name.cmp(&b.name));
    let page = Page {
        location: store.location().to_owned(),
        since: arguments
            .since
            .as_deref()
            .map(|since| without_password(since).to_owned()),
        problems,
        recordings,
        prices: arguments.prices.read()?,
        with_media: arguments.with_media,
    };
    Ok((page, errors))
}

fn recording(row: Row) -> Option<Recording> {
    let status = row.status;
    let (cassette, old) = match (row.new, row.old) {
        (Some(new), old) => (new, old.filter(|_| !status.is_same())),
        (None, Some(old)) => (old, None),
        (None, None) => return None,
    };
    Some(Recording {
        name: row.name,
        cassette: Ok(cassette),
        change: Some(Change {
            kind: status.name(),
            differences: row.differences,
            old,
        }),
    })
}
