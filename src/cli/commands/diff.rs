//! `diff`: compares two sets of cassettes, and classifies each change.

use std::path::Path;
use std::process::ExitCode;

use serde_json::json;

use crate::cassette::Cassette;
use crate::cli::arguments::{ComparisonOutput, Format};
use crate::cli::comparison::{Row, compare_files, compare_locations, whole_answers};
use crate::cli::output::{colored_differences, count, print, print_error, success_if};
use crate::cli::pager::page;
use crate::cli::runtime::runtime;
use crate::diff::Difference;
use crate::error::Result;
use crate::escape::escape_controls;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The old side: a cassette, a directory, the URL of a cache, or a git revision of --dir.
    old: String,
    /// The new side: a cassette, a directory, the URL of a cache, or a git revision of --dir [default: --dir].
    new: Option<String>,
    /// The cassette directory that git revisions refer to.
    #[arg(long, value_name = "DIR", default_value = "cassettes")]
    dir: String,
    #[command(flatten)]
    comparison: ComparisonOutput,
    /// As --show, and then both answers whole, with the changed words marked: side by side on a wide terminal.
    #[arg(long)]
    full: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let (old, new) = (&arguments.old, arguments.new.as_ref().unwrap_or(&arguments.dir));
    let mut errors = Vec::new();
    let rows = if Path::new(old).is_file() && Path::new(new).is_file() {
        vec![compare_files(Path::new(old), Path::new(new))?]
    } else {
        runtime()?.block_on(compare_locations(old, new, &arguments.dir, &mut errors))?
    };
    errors.iter().for_each(print_error);
    match arguments.comparison.output.format {
        Format::Text => page(&text(&rows, arguments.comparison.show, arguments.full))?,
        Format::Json => print(&format!("{:#}\n", document(&rows)))?,
    }
    let is_same = rows.iter().all(|row| row.status.is_same());
    Ok(success_if(is_same && errors.is_empty()))
}

fn text(rows: &[Row], show: bool, full: bool) -> String {
    let mut text = String::new();
    let changed: Vec<&Row> = rows.iter().filter(|row| !row.status.is_same()).collect();
    for row in &changed {
        let moved = match &row.moved_from {
            Some(old) => format!(", with a new request: it was {old}"),
            None => String::new(),
        };
        text.push_str(&escape_controls(&format!(
            "{}: {}{moved}\n",
            row.name,
            row.status.name()
        )));
        if show || full {
            let lines = row.differences.iter().flat_map(Difference::lines);
            let lines: String = lines.map(|line| format!("    {line}\n")).collect();
            text.push_str(&colored_differences(&lines));
        }
        if full {
            let responses =
                |side: &Option<Cassette>| side.as_ref().map_or_else(Vec::new, |side| side.responses.clone());
            text.push_str(&whole_answers(&responses(&row.old), &responses(&row.new)));
        }
    }
    let same = rows.len() - changed.len();
    text.push_str(&format!(
        "{} changed, {same} unchanged\n",
        count(changed.len(), "cassette")
    ));
    text
}

fn document(rows: &[Row]) -> serde_json::Value {
    let row = |row: &Row| {
        let differences: Vec<_> = row
            .differences
            .iter()
            .map(|difference| json!({ "pointer": difference.pointer, "old": difference.old, "new": difference.new }))
            .collect();
        json!({ "name": row.name, "moved_from": row.moved_from, "change": row.status.name(), "differences": differences })
    };
    json!({ "cassettes": rows.iter().map(row).collect::<Vec<_>>() })
}
