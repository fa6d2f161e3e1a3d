//! What `list` shows of a cassette.

use std::fmt;

use serde_json::{Value, json};

use crate::cassette::{Blob, Form, Recorded, RecordedBody, RecordedResponse};
use crate::cli::output::count;
use crate::cli::store::{Document, Store};
use crate::cli::texts::{answer_in, answer_of, prompt_of};
use crate::engine::{Listed, inline_bodies};
use crate::error::Result;

/// A cassette in the list.
pub(super) struct Row {
    pub(super) listed: Listed,
    key: String,
    method: String,
    path: String,
    query: Option<String>,
    /// The form of the body; empty if only the table is printed.
    request_body: &'static str,
    /// The status and the form of the body of each response.
    pub(super) responses: Vec<(u16, &'static str)>,
    pub(super) recorded: Recorded,
    /// The size of the document in bytes.
    pub(super) size: usize,
    /// The beginning of the prompt, or else the request line; empty if only the document is printed.
    pub(super) prompt: String,
    /// The beginning of the first answer.
    pub(super) answer: String,
}

impl Row {
    /// Reads what is shown; `with_texts` says whether prompt and answer are.
    pub(super) async fn of(store: &Store, document: Document, with_texts: bool) -> Result<Self> {
        let mut cassette = document.cassette?;
        let (mut prompt, mut answer) = (None, None);
        if with_texts {
            prompt = prompt_of(&cassette.request);
        }
        let mut responses = Vec::new();
        for response in &cassette.responses {
            let body = BodyForm::of(response);
            if with_texts && responses.is_empty() {
                answer = match &body {
                    BodyForm::Inline(Form::Json(value, _)) => answer_in(value),
                    _ => answer_of(response),
                };
            }
            responses.push((response.status.as_u16(), body.name()));
        }
        let mut row = Self {
            request_body: "",
            responses,
            listed: document.listed,
            key: cassette.key.clone(),
            method: cassette.request.method.clone(),
            path: cassette.request.path.clone(),
            query: cassette.request.query.clone(),
            recorded: cassette.recorded.clone(),
            size: document.bytes.len(),
            prompt: String::new(),
            answer: String::new(),
        };
        if !with_texts {
            row.request_body = request_form(&cassette.request.body);
            return Ok(row);
        }
        let line = cassette.request.line();
        let is_external = |body: &&mut Blob| matches!(body, Blob::External { .. });
        if (prompt.is_none() || answer.is_none()) && cassette.bodies_mut().iter().any(is_external) {
            // A body that cannot be read has no text here; `verify` reports it.
            if let Ok(cassette) = inline_bodies(&*store.engine, cassette, &document.location).await {
                prompt = prompt_of(&cassette.request);
                answer = cassette.responses.first().and_then(answer_of);
            }
        }
        row.prompt = prompt.unwrap_or(line);
        row.answer = answer.unwrap_or_default();
        Ok(row)
    }

    /// The status and form of each response; equal neighbors are counted: `429 json, 200 events ×3`.
    pub(super) fn responses(&self) -> String {
        let counted = self.responses.chunk_by(|a, b| a == b).map(|same| {
            let (status, form) = same[0];
            match same.len() {
                1 => format!("{status} {form}"),
                number => format!("{status} {form} ×{number}"),
            }
        });
        counted.collect::<Vec<_>>().join(", ")
    }

    pub(super) fn document(&self) -> Value {
        let response = |(status, form): &(u16, &str)| json!({ "status": status, "body": form });
        json!({
            "name": self.listed.name,
            "key": self.key,
            "method": self.method,
            "path": self.path,
            "query": self.query,
            "request_body": self.request_body,
            "responses": self.responses.iter().map(response).collect::<Vec<_>>(),
            "recorded_at": self.recorded.at,
            "recorded_from": self.recorded.from,
            "test": self.recorded.test,
        })
    }
}

/// The form in which a cassette stores the body of a response.
enum BodyForm<'a> {
    Session,
    Inline(Form<'a>),
    File,
}

impl<'a> BodyForm<'a> {
    fn of(response: &'a RecordedResponse) -> Self {
        match &response.body {
            _ if !response.messages.is_empty() => Self::Session,
            Blob::Inline(bytes) => Self::Inline(Form::of(bytes, response.is_event_stream())),
            Blob::External { .. } => Self::File,
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Inline(form) => form.name(),
            Self::File => "file",
        }
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

/// The sums of all rows.
pub(super) struct Totals {
    cassettes: usize,
    pub(super) responses: usize,
    /// Response bodies that are not empty.
    pub(super) bodies: usize,
    /// Response bodies recorded as `json` or `events`.
    pub(super) readable: usize,
}

impl Totals {
    pub(super) fn of(rows: &[Row]) -> Self {
        let forms = || rows.iter().flat_map(|row| &row.responses).map(|(_, form)| *form);
        Self {
            cassettes: rows.len(),
            responses: forms().count(),
            bodies: forms().filter(|form| *form != "empty").count(),
            readable: forms().filter(|form| matches!(*form, "json" | "events")).count(),
        }
    }

    /// Rounded to one decimal.
    pub(super) fn readable_percent(&self) -> f64 {
        if self.bodies == 0 {
            return 100.0;
        }
        (self.readable as f64 * 1000.0 / self.bodies as f64).round() / 10.0
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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
