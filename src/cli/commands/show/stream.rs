//! Assembles the response that the events of a stream add up to.

use serde_json::{Map, Value, json};

use crate::http::{Event, parse_json};

/// The response that the events of a stream add up to; `None` when they are not events of this API.
pub(super) fn assembled(events: &[Event]) -> Option<Value> {
    let mut response = Map::new();
    let mut outputs: Vec<Value> = Vec::new();
    let mut text = String::new();
    for Event { data, .. } in events {
        let Some(Value::Object(event)) = parse_json(data.as_bytes()) else {
            continue;
        };
        if let Some(usage) = event.get("usage").filter(|usage| !usage.is_null()) {
            response.insert("usage".to_owned(), usage.clone());
        }
        for choice in event.get("choices").and_then(Value::as_array).into_iter().flatten() {
            add_choice(&mut response, choice);
        }
        match event.get("type").and_then(Value::as_str) {
            Some("message.output.delta") => add_text(
                output(&mut outputs, &event, "message.output"),
                "content",
                &event["content"],
            ),
            Some("function.call.delta") => add_text(
                output(&mut outputs, &event, "function.call"),
                "arguments",
                &event["arguments"],
            ),
            Some("transcription.text.delta") => {
                text.push_str(event.get("text").and_then(Value::as_str).unwrap_or_default())
            }
            _ => {}
        }
    }
    if !outputs.is_empty() {
        response.insert("outputs".to_owned(), Value::Array(outputs));
    }
    if !text.is_empty() {
        response.insert("text".to_owned(), Value::String(text));
    }
    (!response.is_empty()).then_some(Value::Object(response))
}

/// Appends the delta of a choice to the choice with its index.
fn add_choice(response: &mut Map<String, Value>, choice: &Value) {
    let index = usize::try_from(choice["index"].as_u64().unwrap_or(0))
        .unwrap_or(0)
        .min(127);
    let choices = response.entry("choices").or_insert_with(|| Value::Array(Vec::new()));
    let Some(choices) = choices.as_array_mut() else { return };
    while choices.len() <= index {
        choices.push(json!({ "message": { "role": "assistant", "content": "" } }));
    }
    let choice_so_far = &mut choices[index];
    let delta = &choice["delta"];
    add_text(&mut choice_so_far["message"], "content", &delta["content"]);
    for call in delta["tool_calls"].as_array().into_iter().flatten() {
        add_call(&mut choice_so_far["message"], call);
    }
    if !choice["finish_reason"].is_null() {
        choice_so_far["finish_reason"] = choice["finish_reason"].clone();
    }
}

/// Appends a delta to the tool call with its index, or adds a new tool call.
fn add_call(message: &mut Value, call: &Value) {
    if message["tool_calls"].is_null() {
        message["tool_calls"] = Value::Array(Vec::new());
    }
    let Some(calls) = message["tool_calls"].as_array_mut() else {
        return;
    };
    let same = calls.iter_mut().find(|call_so_far| {
        call_so_far["index"] == call["index"]
            && (call["id"].is_null() || call["id"] == "null" || call_so_far["id"] == call["id"])
    });
    match same {
        Some(call_so_far) => add_text(
            &mut call_so_far["function"],
            "arguments",
            &call["function"]["arguments"],
        ),
        None => calls.push(call.clone()),
    }
}

/// The output with the id of this event, or a new one.
fn output<'a>(outputs: &'a mut Vec<Value>, event: &Map<String, Value>, kind: &str) -> &'a mut Value {
    let id = event.get("id").cloned().unwrap_or_default();
    let at = outputs
        .iter()
        .position(|output| output["id"] == id && output["type"] == kind)
        .unwrap_or_else(|| {
            let name = event.get("name").cloned().unwrap_or_default();
            outputs.push(json!({ "type": kind, "id": id, "name": name }));
            outputs.len() - 1
        });
    &mut outputs[at]
}

/// Appends text or chunks to a member.
fn add_text(value: &mut Value, member: &str, more: &Value) {
    let so_far = value[member].take();
    value[member] = match (so_far, more) {
        (so_far, Value::Null) => so_far,
        (Value::String(so_far), Value::String(more)) => Value::String(so_far + more),
        (Value::Null, more) => more.clone(),
        (Value::String(so_far), more) if so_far.is_empty() => more.clone(),
        (Value::Array(mut so_far), Value::Array(more)) => {
            so_far.extend(more.iter().cloned());
            Value::Array(so_far)
        }
        (Value::Array(mut so_far), more) => {
            so_far.push(more.clone());
            Value::Array(so_far)
        }
        (so_far, more) => Value::Array(vec![so_far, more.clone()]),
    };
}
