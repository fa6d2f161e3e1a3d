//! `list`: prints a line for each cassette.

mod order;
mod row;
mod table;

use std::process::ExitCode;

use console::Term;
use serde_json::json;

use self::order::Order;
use self::row::{Row, Totals};
use crate::cli::arguments::{Format, Listing};
use crate::cli::output::{print, print_error, success_if};
use crate::cli::runtime::runtime;
use crate::cli::store::Document;
use crate::error::Result;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    listing: Listing,
    /// The order of the cassettes.
    #[arg(long, value_enum, value_name = "ORDER", default_value_t)]
    sort: Order,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let Arguments { listing, sort } = arguments;
    let is_table = listing.output.format == Format::Text;
    let store = listing.directory.open()?;
    let (mut rows, mut errors) = (Vec::new(), Vec::new());
    let work = async |document: Document| Row::of(&store, document, is_table).await;
    runtime()?.block_on(store.each(work, |row| match row {
        Ok(row) => rows.push(row),
        Err(error) => errors.push(error),
    }))?;
    errors.iter().for_each(print_error);
    sort.sort(&mut rows);
    print(&match listing.output.format {
        Format::Text => table::text(&rows, *sort, width_of_terminal()),
        Format::Json => document(&rows),
    })?;
    Ok(success_if(errors.is_empty()))
}

/// The width of the terminal to which the table is printed, if it is one.
fn width_of_terminal() -> Option<usize> {
    let terminal = Term::stdout();
    let (_, columns) = terminal.size_checked()?;
    terminal.is_term().then_some(usize::from(columns))
}

fn document(rows: &[Row]) -> String {
    let totals = Totals::of(rows);
    let document = json!({
        "cassettes": rows.iter().map(Row::document).collect::<Vec<_>>(),
        "summary": {
            "cassettes": rows.len(),
            "responses": totals.responses,
            "bodies": totals.bodies,
            "readable_bodies": totals.readable,
            "readable_percent": totals.readable_percent(),
        },
    });
    format!("{document:#}\n")
}
