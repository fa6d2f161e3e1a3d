//! Faulty answers of a model, made from recorded ones: valid HTTP and valid JSON, with content that a program may not
//! expect.

mod answer;
mod documents;
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

/// The error for a fault that the response cannot have.
pub(super) fn inapplicable(fault: AnswerFault) -> Error {
    let reason = match fault {
        AnswerFault::ToolJson | AnswerFault::UnknownTool => "the response has no tool call",
        AnswerFault::Refusal | AnswerFault::Empty => "the response is not an answer of a chat model",
        AnswerFault::Length => "the response has no text and no tool call of a model",
        AnswerFault::Schema => "the response has no JSON object as its content or in a tool call",
    };
    let fault = Fault::Answer(fault);
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
        AnswerFault::Schema => break_schema(answer, values, request),
    }
}

/// Removes a required member from the content, or from the arguments of the first tool call.
fn break_schema(answer: &Answer, values: &mut [Value], request: &Value) -> bool {
    if let Some(text) = without_required(&answer.text(values), content_schema(request)) {
        answer.set_text(values, &text);
        return true;
    }
    let Some(call) = answer.calls.first() else {
        return false;
    };
    let schema = arguments_schema(request, &call.name(values));
    match without_required(&call.arguments.text(values), schema) {
        Some(arguments) => {
            call.arguments.set(values, &arguments);
            true
        }
        None => false,
    }
}

/// The JSON object in this text without the first required member that it has; without its first member if the schema
/// requires none.
fn without_required(text: &str, schema: Option<&Value>) -> Option<String> {
    let Value::Object(mut object) = parse_json(text.as_bytes())? else {
        return None;
    };
    let required = schema.and_then(|schema| schema["required"].as_array());
    let required = required.into_iter().flatten().filter_map(Value::as_str);
    let removed = required
        .map(str::to_owned)
        .find(|name| object.contains_key(name))
        .or_else(|| object.keys().next().cloned())?;
    object.shift_remove(&removed);
    Some(Value::Object(object).to_string())
}

/// The schema that the content of the answer is to have.
fn content_schema(request: &Value) -> Option<&Value> {
    ["/response_format", "/completion_args/response_format"]
        .iter()
        .find_map(|format| request.pointer(&format!("{format}/json_schema/schema")))
}

/// The schema of the arguments of this tool.
fn arguments_schema<'a>(request: &'a Value, name: &str) -> Option<&'a Value> {
    let functions = request["tools"].as_array()?.iter().map(|tool| &tool["function"]);
    functions
        .filter(|function| function["name"] == name)
        .map(|function| &function["parameters"])
        .next()
}

fn request_json(request: &RecordedRequest) -> Value {
    match &request.body {
        RecordedBody::Blob(Blob::Inline(body)) => parse_json(body).unwrap_or_default(),
        _ => Value::Null,
    }
}
