//! `report`: writes an HTML page that shows the recordings.

use std::convert::Infallible;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::process::ExitCode;

use crate::cli::arguments::{Directory, PriceTable};
use crate::cli::comparison::{Row, Status, compare_sides, read_side, side_of};
use crate::cli::output::{count, print, print_error, success_if};
use crate::cli::output_file::{is_device, write_output_file};
use crate::cli::parallel::{in_order, processors};
use crate::cli::report::{Change, Entry, GENERATOR_TAG, Page, Recording};
use crate::cli::runtime::runtime;
use crate::cli::store::{Document, Store, without_password};
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
    let Report {
        page,
        entries,
        contents,
        errors,
    } = read(arguments)?;
    errors.iter().for_each(print_error);
    if to_stdout {
        page.write(entries, print)?;
        return Ok(success_if(errors.is_empty()));
    }
    let bytes = write_output_file(out, |write| page.write(entries, write))?;
    print(&format!("{contents} in {}, {bytes} bytes\n", arguments.out))?;
    Ok(success_if(errors.is_empty()))
}

/// What is reported.
struct Report {
    page: Page,
    entries: Vec<Entry>,
    /// How many recordings there are, as the header of the page counts them.
    contents: String,
    /// The errors of unreadable cassettes.
    errors: Vec<Error>,
}

/// Refuses to replace a file that is not a report.
fn check(out: &Path) -> Result<()> {
    // Reading a named pipe would wait for another process.
    if is_device(out) {
        return Ok(());
    }
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

fn read(arguments: &Arguments) -> Result<Report> {
    let store = arguments.directory.open()?;
    let page = Page {
        location: store.location().to_owned(),
        since: arguments
            .since
            .as_deref()
            .map(|since| without_password(since).to_owned()),
        problems: Vec::new(),
        prices: arguments.prices.read()?,
        with_media: arguments.with_media,
    };
    match &arguments.since {
        None => read_all(&store, page),
        Some(since) => {
            let (recordings, old_errors) = read_changes(&store, since, &arguments.directory.dir)?;
            Ok(report_changes(page, &recordings, old_errors))
        }
    }
}

/// Reads the recordings, and makes the entry of each when it is read: all together may not fit into memory.
fn read_all(store: &Store, page: Page) -> Result<Report> {
    let (mut entries, mut errors) = (Vec::new(), Vec::new());
    let work = async |document: Document| {
        let (listed, cassette) = store.with_bodies(document).await;
        let recording = Recording {
            name: listed.name,
            cassette,
            change: None,
        };
        (page.entry(&recording), recording.cassette.err())
    };
    runtime()?.block_on(store.each(work, |(entry, error)| {
        entries.push(entry);
        errors.extend(error);
    }))?;
    Ok(Report {
        contents: count(entries.len(), "recording"),
        page,
        entries,
        errors,
    })
}

/// The report of recordings that were compared with earlier ones, some of which could not be read.
fn report_changes(page: Page, recordings: &[Recording], old_errors: Vec<Error>) -> Report {
    let page = Page {
        problems: old_errors.iter().map(Error::report).collect(),
        ..page
    };
    let mut entries = Vec::new();
    let Ok(()) = in_order(
        recordings,
        processors(),
        |recording| page.entry(recording),
        |entry| {
            entries.push(entry);
            Ok::<_, Infallible>(())
        },
    );
    let is_gone = |recording: &&Recording| {
        let change = recording.change.as_ref();
        change.is_some_and(|change| change.kind == Status::Gone.name())
    };
    let gone = recordings.iter().filter(is_gone).count();
    let present = count(recordings.len() - gone, "recording");
    let errors = recordings
        .iter()
        .filter_map(|recording| recording.cassette.as_ref().err().cloned());
    Report {
        contents: match gone {
            0 => present,
            gone => format!("{present} and {gone} gone"),
        },
        errors: errors.chain(old_errors).collect(),
        page,
        entries,
    }
}

/// Reads the recordings and compares them with earlier ones, sorted by name. The errors are those of earlier ones.
fn read_changes(store: &Store, since: &str, directory: &str) -> Result<(Vec<Recording>, Vec<Error>)> {
    let runtime = runtime()?;
    let (found, damaged) = runtime.block_on(store.read_with_bodies())?;
    let mut old_errors = Vec::new();
    let old = runtime.block_on(read_side(since, directory, &mut old_errors))?;
    let matching = runtime.block_on(store.settings())?.matching;
    let is_damaged = |row: &Row| damaged.iter().any(|(name, _)| *name == row.name);
    // A damaged cassette is missing on the new side, but it still exists.
    let mut recordings: Vec<Recording> = compare_sides(old, side_of(found), &matching)
        .into_iter()
        .filter(|row| row.status != Status::Gone || !is_damaged(row))
        .filter_map(recording)
        .collect();
    recordings.extend(damaged.into_iter().map(|(name, error)| Recording {
        name,
        cassette: Err(error),
        change: None,
    }));
    recordings.sort_by(|a, b| a.name.cmp(&b.name));
    Ok((recordings, old_errors))
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
