//! JSON that does not match its schema: a required member is missing.

use serde_json::Value;

use super::answer::Answer;
use super::slots::Slots;
use crate::http::parse_json;

/// Removes a required member from the content, or else from the arguments of the first tool call.
pub(super) fn break_schema(answer: &Answer, values: &mut [Value], request: &Value) -> bool {
    let schema = content_schema(request);
    if answer
        .answer_texts(values)
        .iter()
        .any(|text| remove_required(text, values, schema))
    {
        return true;
    }
    let Some(call) = answer.calls.first() else {
        return false;
    };
    let schema = arguments_schema(request, &call.name(values));
    remove_required(&call.arguments, values, schema)
}

/// Removes a required member from the JSON object in this text; the first member if there is no schema. Returns whether a
/// member was removed.
fn remove_required(text: &Slots, values: &mut [Value], schema: Option<&Value>) -> bool {
    let Some(Value::Object(mut object)) = parse_json(text.text(values).as_bytes()) else {
        return false;
    };
    let changed = match schema {
        None => {
            let first = object.keys().next().cloned();
            first
                .and_then(|first| object.shift_remove(&first))
                .map(|_| Value::Object(object))
        }
        Some(schema) => {
            let mut value = Value::Object(object);
            remove_by(&mut value, schema, schema, 0).then_some(value)
        }
    };
    let Some(changed) = changed else {
        return false;
    };
    text.set(values, &changed.to_string());
    true
}

/// Removes the first member that this schema requires, on any level. `root` is the whole schema.
fn remove_by(value: &mut Value, schema: &Value, root: &Value, depth: usize) -> bool {
    /// A schema may refer to itself.
    const MAX_DEPTH: usize = 32;
    if depth > MAX_DEPTH {
        return false;
    }
    if let Some(pointer) = schema["$ref"]
        .as_str()
        .and_then(|reference| reference.strip_prefix('#'))
    {
        return root
            .pointer(pointer)
            .is_some_and(|schema| remove_by(value, schema, root, depth + 1));
    }
    match value {
        Value::Object(object) => {
            let required = schema["required"].as_array().into_iter().flatten();
            let removed = required
                .filter_map(Value::as_str)
                .find(|name| object.contains_key(*name));
            if let Some(name) = removed {
                object.shift_remove(name);
                return true;
            }
            let mut members = object.iter_mut();
            members.any(|(name, member)| remove_by(member, &schema["properties"][name], root, depth + 1))
        }
        Value::Array(items) => items
            .iter_mut()
            .any(|item| remove_by(item, &schema["items"], root, depth + 1)),
        _ => false,
    }
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
        .find(|schema| schema.is_object())
}
