//! `list`: prints a line for each cassette.

use std::process::ExitCode;

use serde_json::json;

use crate::cassette::{Blob, Cassette, Form, RecordedBody, RecordedResponse};
use crate::cli::arguments::{Format, Listing};
use crate::cli::output::{count, print, print_error, success_if};
use crate::cli::runtime::runtime;
use crate::error::Result;

pub(crate) fn run(arguments: &Listing) -> Result<ExitCode> {
    let store = arguments.directory.open()?;
    let (mut rows, mut is_success) = (Vec::new(), true);
    for (listed, cassette) in runtime()?.block_on(store.read_all())? {
        match cassette {
            Ok(cassette) => rows.push((listed.name, cassette)),
            Err(error) => {
                print_error(&error);
                is_success = false;
            }
        }
    }
    print(&match arguments.output.format {
        Format::Text => table(&rows),
        Format::Json => document(&rows),
    })?;
    Ok(success_if(is_success))
}

fn table(rows: &[(String, Cassette)]) -> String {
    let cells: Vec<[String; 4]> = rows
        .iter()
        .map(|(name, cassette)| {
            [
                name.clone(),
                cassette.request.line(),
                responses_of(cassette),
                cassette.recorded.second(),
            ]
        })
        .collect();
    // A single very long cell does not widen its column.
    let widths = |column: usize| cells.iter().map(move |row| row[column].chars().count());
    let width = |column: usize| widths(column).filter(|width| *width <= 100).max().unwrap_or(0);
    let (first, second, third) = (width(0), width(1), width(2));
    let mut text: String = cells
        .iter()
        .map(|[name, line, responses, at]| format!("{name:first$}  {line:second$}  {responses:third$}  {at}\n"))
        .collect();
    text.push_str(&format!("{}\n", Totals::of(rows)));
    text
}

/// The status and form of each response; equal neighbors are counted: `429 json, 200 events ×3`.
fn responses_of(cassette: &Cassette) -> String {
    let responses: Vec<String> = cassette
        .responses
        .iter()
        .map(|response| format!("{} {}", response.status.as_u16(), form_of(response)))
        .collect();
    let counted = responses.chunk_by(|a, b| a == b).map(|same| match same {
        [one] => one.clone(),
        same => format!("{} ×{}", same[0], same.len()),
    });
    counted.collect::<Vec<_>>().join(", ")
}

fn document(rows: &[(String, Cassette)]) -> String {
    let cassettes: Vec<_> = rows
        .iter()
        .map(|(name, cassette)| {
            let responses: Vec<_> = cassette
                .responses
                .iter()
                .map(|response| json!({ "status": response.status.as_u16(), "body": form_of(response) }))
                .collect();
            json!({
                "name": name,
                "key": cassette.key,
                "method": cassette.request.method,
                "path": cassette.request.path,
                "query": cassette.request.query,
                "request_body": request_form(&cassette.request.body),
                "responses": responses,
                "recorded_at": cassette.recorded.at,
                "recorded_from": cassette.recorded.from,
                "test": cassette.recorded.test,
            })
        })
        .collect();
    let totals = Totals::of(rows);
    let document = json!({
        "cassettes": cassettes,
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

/// The form in which a cassette stores the body of a response.
fn form_of(response: &RecordedResponse) -> &'static str {
    match &response.body {
        _ if !response.messages.is_empty() => "session",
        Blob::Inline(bytes) => Form::of(bytes, response.is_event_stream()).name(),
        Blob::External { .. } => "file",
    }
}

fn request_form(body: &RecordedBody) -> &'static str {
    match body {
        RecordedBody::Blob(Blob::Inline(bytes)) => Form::of(bytes, false).name(),
        RecordedBody::Blob(Blob::External { .. }) => "file",
        RecordedBody::Multipart(_) => "multipart",
        RecordedBody::Messages(_) => "session",
    }
}

struct Totals {
    cassettes: usize,
    responses: usize,
    /// Response bodies that are not empty.
    bodies: usize,
    /// Response bodies recorded as `json` or `events`.
    readable: usize,
}

impl Totals {
    fn of(rows: &[(String, Cassette)]) -> Self {
        let responses = || rows.iter().flat_map(|(_, cassette)| &cassette.responses);
        let has_body = |body: &Blob| !body.is_empty();
        Self {
            cassettes: rows.len(),
            responses: responses().count(),
            bodies: responses().filter(|response| has_body(&response.body)).count(),
            readable: responses()
                .filter(|response| matches!(form_of(response), "json" | "events"))
                .count(),
        }
    }

    /// Rounded to one decimal.
    fn readable_percent(&self) -> f64 {
        if self.bodies == 0 {
            return 100.0;
        }
        (self.readable as f64 * 1000.0 / self.bodies as f64).round() / 10.0
    }
}

impl std::fmt::Display for Totals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            cassettes,
            responses,
            bodies,
            readable,
        } = self;
        write!(
            f,
            "{}, {}, {readable} of {bodies} bodies readable ({} %)",
            count(*cassettes, "cassette"),
            count(*responses, "response"),
            self.readable_percent()
        )
    }
}
