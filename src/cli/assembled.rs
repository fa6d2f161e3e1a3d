//! Assembles the response that the events of a stream add up to.

use serde_json::{Map, Value, json};

use crate::http::Event;

/// The response that the events of a stream add up to; `None` when they are not events of this API.
pub(crate) fn assembled(events: &[Event]) -> Option<Value> {
    let mut assembly = Assembly::default();
    assembly.add(events);
    assembly.value()
}

/// The response that the events so far add up to.
#[derive(Default)]
pub(crate) struct Assembly {
    response: Map<String, Value>,
    outputs: Vec<Value>,
}

impl Assembly {
    pub(crate) fn add(&mut self, events: &[Event]) {
        for event in events {
            if let Ok(event @ Value::Object(_)) = serde_json::from_str(&event.data) {
                self.add_one(&event);
            }
        }
    }

    fn add_one(&mut self, event: &Value) {
        let Self { response, outputs } = self;
        copy(response, event, &["usage"]);
        for choice in event["choices"].as_array().into_iter().flatten() {
            add_choice(response, choice);
        }
        match event["type"].as_str() {
            // What an API answers in place of an event: `{object: "error", type, message, …}`, `{error: …}`, `{detail: …}`.
            _ if event["object"] == "error" => copy(response, event, &["object", "type", "message", "code"]),
            Some(kind) => add_event(response, outputs, kind, event),
            None if event["choices"].is_null() => copy(response, event, &["object", "message", "error", "detail"]),
            None => {}
        }
    }

    /// The response; `None` when the events are not those of this API.
    pub(crate) fn value(&self) -> Option<Value> {
        let mut response = self.response.clone();
        if !self.outputs.is_empty() {
            response.insert("outputs".to_owned(), Value::Array(self.outputs.clone()));
        }
        (!response.is_empty()).then_some(Value::Object(response))
    }
}

/// Adds an event of a conversation, of a transcription, or of the Responses API.
fn add_event(response: &mut Map<String, Value>, outputs: &mut Vec<Value>, kind: &str, event: &Value) {
    let mut grow = |id: &str, kind: &str, name: &str, more: &str| {
        add_text(output(outputs, event, id, kind), name, &event[more]);
    };
    match kind {
        "message.output.delta" => grow("id", "message.output", "content", "content"),
        "function.call.delta" => grow("id", "function.call", "arguments", "arguments"),
        "tool.execution.started" | "tool.execution.delta" => grow("id", "tool.execution", "arguments", "arguments"),
        "response.output_text.delta" => grow("item_id", "message", "content", "delta"),
        "response.reasoning_text.delta" => grow("item_id", "reasoning", "content", "delta"),
        "response.function_call_arguments.delta" => grow("item_id", "function_call", "arguments", "delta"),
        "response.output_item.added" if event["item"]["type"] == "function_call" => {
            let mut item = event["item"].clone();
            item["arguments"] = Value::String(String::new());
            outputs.push(item);
        }
        "transcription.text.delta" => {
            let mut text = response.remove("text").unwrap_or_else(|| Value::String(String::new()));
            if let (Value::String(text), Some(more)) = (&mut text, event["text"].as_str()) {
                text.push_str(more);
            }
            response.insert("text".to_owned(), text);
        }
        "response.completed" | "response.incomplete" | "response.failed" => {
            copy(response, &event["response"], &["usage", "error"]);
        }
        "error" | "conversation.response.error" => copy(response, event, &["type", "code", "message", "error"]),
        _ => {}
    }
}

/// Copies the members that are there and not null.
fn copy(to: &mut Map<String, Value>, from: &Value, names: &[&str]) {
    for name in names {
        if let Some(value) = from.get(name).filter(|value| !value.is_null()) {
            to.insert((*name).to_owned(), value.clone());
        }
    }
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
fn output<'a>(outputs: &'a mut Vec<Value>, event: &Value, id: &str, kind: &str) -> &'a mut Value {
    let id = event[id].clone();
    let at = outputs
        .iter()
        .position(|output| output["id"] == id && output["type"] == kind)
        .unwrap_or_else(|| {
            outputs.push(json!({ "type": kind, "id": id, "name": event["name"] }));
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
        (Value::Null, Value::String(more)) => Value::String(more.clone()),
        (Value::Null, more) if !more.is_array() => more.clone(),
        (so_far, more) => {
            let mut chunks = match so_far {
                Value::Array(chunks) => chunks,
                Value::Null => Vec::new(),
                Value::String(text) if text.is_empty() => Vec::new(),
                other => vec![other],
            };
            match more {
                Value::Array(more) => more.iter().for_each(|chunk| add_chunk(&mut chunks, chunk)),
                other => add_chunk(&mut chunks, other),
            }
            Value::Array(chunks)
        }
    };
}

/// Appends a chunk of content. Texts are put together, and so are the texts of thinking.
fn add_chunk(chunks: &mut Vec<Value>, chunk: &Value) {
    let text = |chunk: &Value| chunk.as_str().or_else(|| chunk["text"].as_str()).map(str::to_owned);
    let is_thinking = |chunk: &Value| chunk["type"] == "thinking";
    match chunks.last_mut() {
        Some(last) if is_thinking(last) && is_thinking(chunk) => add_text(last, "thinking", &chunk["thinking"]),
        Some(last) if is_text(last) && is_text(chunk) => {
            let joined = text(last).unwrap_or_default() + &text(chunk).unwrap_or_default();
            *last = json!({ "type": "text", "text": joined });
        }
        _ if is_thinking(chunk) => {
            // Its first texts are put together, too.
            let mut thinking = json!({ "type": "thinking" });
            add_text(&mut thinking, "thinking", &chunk["thinking"]);
            chunks.push(thinking);
        }
        _ => chunks.push(chunk.clone()),
    }
}

/// Whether a chunk is a text and nothing else.
fn is_text(chunk: &Value) -> bool {
    let is_part_of_text = |name: &String| matches!(name.as_str(), "type" | "text");
    chunk.is_string()
        || chunk["type"] == "text"
            && chunk["text"].is_string()
            && chunk
                .as_object()
                .is_some_and(|members| members.keys().all(is_part_of_text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::parse_events;

    fn stream(contents: &[Value]) -> String {
        let event = |content| json!({ "choices": [{ "index": 0, "delta": { "content": content } }] });
        let events = contents.iter().map(|content| format!("data: {}\n\n", event(content)));
        events.collect()
    }

    #[test]
    fn the_pieces_of_thinking_and_of_text_are_put_together() {
        let text = |text: &str| json!({ "type": "text", "text": text });
        let thinking = |word: &str| json!([{ "type": "thinking", "thinking": [text(word)] }]);
        let reference = json!({ "type": "reference", "reference_ids": [1] });
        let body = stream(&[
            json!(""),
            thinking("Let me "),
            thinking("think."),
            json!([text("It "), text("is ")]),
            json!("windy"),
            json!([reference]),
            json!("!"),
        ]);
        let content = |response: Option<Value>| response.unwrap()["choices"][0]["message"]["content"].clone();
        let all = json!([
            { "type": "thinking", "thinking": [text("Let me think.")] },
            text("It is windy"),
            reference,
            "!",
        ]);
        assert_eq!(content(assembled(&parse_events(body.as_bytes()))), all);
        // An event without its members adds nothing.
        for kind in [
            "message.output.delta",
            "function.call.delta",
            "tool.execution.started",
            "response.output_text.delta",
            "response.output_item.added",
            "response.completed",
            "response.failed",
            "transcription.text.delta",
            "conversation.response.error",
            "error",
        ] {
            let event = format!("data: {}\n\n", json!({ "type": kind }));
            let response = assembled(&parse_events(event.as_bytes())).unwrap_or_default();
            assert!(
                response["usage"].is_null() && response["message"].is_null(),
                "{kind}: {response}"
            );
        }
        let events = parse_events(body.as_bytes());
        let mut assembly = Assembly::default();
        assembly.add(&events[..3]);
        assert_eq!(content(assembly.value())[0], all[0]);
        assembly.add(&events[3..]);
        assert_eq!(content(assembly.value()), all);
    }
}
