//! Faulty answers of a model, made from recorded ones: valid HTTP and valid JSON, with content that a program may not
//! expect.

mod answer;
mod documents;
mod schema;
mod slots;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use serde_json::Value;

use self::answer::Answer;
use self::documents::Documents;
use crate::cassette::{Blob, RecordedBody, RecordedRequest};
use crate::error::{Error, ErrorKind};
use crate::http::{StreamFormat, parse_json};
use crate::settings::faults::{AnswerFault, Fault};

/// What a model says in a refusal.
const REFUSAL: &str = "I'm sorry, but I can't help with that.";

/// Returns the response body with this fault in each of its answers. `None` if it has no answer that can have the fault.
/// A stream keeps its number of events, so that each keeps its recorded time.
pub(super) fn inject(
    fault: AnswerFault,
    body: &[u8],
    format: Option<StreamFormat>,
    request: &RecordedRequest,
) -> Option<Bytes> {
    let mut documents = Documents::parse(body, format)?;
    let mut answers = Answer::all(documents.values());
    let request = request_json(request);
    let mut is_faulty = false;
    for answer in &mut answers {
        is_faulty |= inject_one(fault, answer, documents.values_mut(), &request);
    }
    is_faulty.then(|| documents.write())
}

/// The error for a fault that the response with this body cannot have.
pub(super) fn inapplicable(fault: AnswerFault, body: &[u8], format: Option<StreamFormat>) -> Error {
    let reason = match fault {
        _ if Documents::parse(body, format).is_none() => {
            "the response is not JSON that can be changed without loss: it is binary or text, or has an integer of more than 64 bits, a name twice in an object, or is nested more than 48 levels deep"
        }
        AnswerFault::ToolJson | AnswerFault::UnknownTool => "the response has no tool call",
        AnswerFault::Refusal | AnswerFault::Empty => "the response is not an answer of a chat model",
        AnswerFault::Length => "the response has no text and no tool call of a model",
        AnswerFault::Schema => {
            "neither its content nor the arguments of its first tool call are a JSON object with a member that the schema requires"
        }
    };
    not_injected(Fault::Answer(fault), reason)
}

/// The error for a request that asks for a fault which its response cannot have.
pub(super) fn not_injected(fault: Fault, reason: &str) -> Error {
    Error::new(ErrorKind::Request, format!("cannot inject {fault}: {reason}"))
        .with_hint("remove the header mistral-cassette-inject, or give a fault that this response can have")
}

fn inject_one(fault: AnswerFault, answer: &mut Answer, values: &mut [Value], request: &Value) -> bool {
    match fault {
        AnswerFault::ToolJson => answer.cut_first_arguments(values),
        AnswerFault::UnknownTool => answer.rename_tool(values),
        AnswerFault::Refusal => answer.replace(values, REFUSAL),
        AnswerFault::Empty => answer.replace(values, ""),
        AnswerFault::Length => answer.cut(values),
        AnswerFault::Schema => schema::break_schema(answer, values, request),
    }
}

fn request_json(request: &RecordedRequest) -> Value {
    match &request.body {
        RecordedBody::Blob(Blob::Inline(body)) => parse_json(body).unwrap_or_default(),
        _ => Value::Null,
    }
}
