//! `report`: writes an HTML page that shows the recordings.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::process::ExitCode;

use crate::cli::arguments::{Directory, PriceTable};
use crate::cli::comparison::{Row, Status, compare_sides, read_side, side_of};
use crate::cli::output::{count, print, print_error, success_if};
use crate::cli::output_file::{TextWriter, is_device, write_output_file};
use crate::cli::parallel::{in_order, processors};
use crate::cli::report::{Change, GENERATOR_TAG, Page, PageWriter, Recording};
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
    let store = arguments.directory.open()?;
    store.check_exists()?;
    let page = Page {
        location: store.location().to_owned(),
        since: arguments
            .since
            .as_deref()
            .map(|since| without_password(since).to_owned()),
        prices: arguments.prices.read()?,
        with_media: arguments.with_media,
    };
    let write = |write: TextWriter<'_>| match &arguments.since {
        None => write_all(&store, page.begin(write)?),
        Some(since) => {
            let (recordings, old_errors) = read_changes(&store, since, &arguments.directory.dir)?;
            write_changes(page.begin(write)?, &recordings, old_errors)
        }
    };
    let written = if to_stdout {
        write(&mut print)?
    } else {
        write_output_file(out, write)?
    };
    written.errors.iter().for_each(print_error);
    if !to_stdout {
        let Written { contents, bytes, .. } = &written;
        print(&format!("{contents} in {}, {bytes} bytes\n", arguments.out))?;
    }
    Ok(success_if(written.errors.is_empty()))
}

/// What was written.
struct Written {
    /// How many recordings there are, as the header of the page counts them.
    contents: String,
    bytes: usize,
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

/// Writes each recording when it is read: all together may not fit into memory.
fn write_all(store: &Store, mut writer: PageWriter<'_>) -> Result<Written> {
    let (mut number, mut errors, mut added) = (0, Vec::new(), Ok(()));
    let page = writer.page();
    let work = async |document: Document| {
        let (listed, cassette) = store.with_bodies(document).await;
        let recording = Recording::new(listed.name, cassette, None);
        (page.entry(&recording), recording.cassette.err())
    };
    runtime()?.block_on(store.each(work, |(entry, error)| {
        number += 1;
        errors.extend(error);
        if added.is_ok() {
            added = writer.add(entry);
        }
    }))?;
    added?;
    Ok(Written {
        contents: count(number, "recording"),
        bytes: writer.end(&[])?,
        errors,
    })
}

/// Writes recordings that were compared with earlier ones, some of which could not be read.
fn write_changes(mut writer: PageWriter<'_>, recordings: &[Recording], old_errors: Vec<Error>) -> Result<Written> {
    let page = writer.page();
    in_order(
        recordings,
        processors(),
        |recording| page.entry(recording),
        |entry| writer.add(entry),
    )?;
    let problems: Vec<String> = old_errors.iter().map(Error::report).collect();
    let bytes = writer.end(&problems)?;
    let is_gone = |recording: &&Recording| {
        let change = recording.change.as_ref();
        change.is_some_and(|change| change.kind == Status::Gone.name())
    };
    let gone = recordings.iter().filter(is_gone).count();
    let present = count(recordings.len() - gone, "recording");
    let errors = recordings
        .iter()
        .filter_map(|recording| recording.cassette.as_ref().err().cloned());
    Ok(Written {
        contents: match gone {
            0 => present,
            gone => format!("{present} and {gone} gone"),
        },
        bytes,
        errors: errors.chain(old_errors).collect(),
    })
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
    let damaged = damaged.into_iter();
    recordings.extend(damaged.map(|(name, error)| Recording::new(name, Err(error), None)));
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
    let change = Change {
        kind: status.name(),
        differences: row.differences,
        old,
    };
    Some(Recording::new(row.name, Ok(cassette), Some(change)))
}
