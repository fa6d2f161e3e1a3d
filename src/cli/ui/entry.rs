//! What the page gets of a request.

use serde_json::{Value, json};

use crate::cassette::{Blob, RecordedBody, RecordedRequest};
use crate::cli::request_line::RequestLine;
use crate::cli::texts::prompt_of;
use crate::diff::cut;
use crate::error::Error;
use crate::recorder::AnsweredRequest;

/// The prompt of a larger body is not read, because the caller waits meanwhile: the title is then the request line.
const MAX_READ: usize = 1 << 20;

/// The length limit of a path or a reason, in characters.
const MAX_LINE: usize = 500;

/// The length limit of an error, in characters. The diff of a miss has at most 40 lines.
const MAX_ERROR: usize = 20_000;

/// Returns a request as JSON: its line as in the control channel, its `title`, and the `error` that the caller got.
pub(super) fn entry(answered: &AnsweredRequest, request: Option<&RecordedRequest>, error: Option<&Error>) -> Value {
    let mut line = RequestLine::from(answered);
    for text in [&mut line.method, &mut line.path, &mut line.detail] {
        *text = cut(text, MAX_LINE);
    }
    let mut entry = json!(line);
    entry["title"] = json!(request.filter(|request| is_short(request)).and_then(prompt_of));
    entry["error"] = json!(error.map(|error| cut(&error.report(), MAX_ERROR)));
    entry
}

fn is_short(request: &RecordedRequest) -> bool {
    match &request.body {
        RecordedBody::Blob(Blob::Inline(bytes)) => bytes.len() <= MAX_READ,
        RecordedBody::Blob(Blob::External { .. }) => false,
        RecordedBody::Multipart(_) | RecordedBody::Messages(_) => true,
    }
}
