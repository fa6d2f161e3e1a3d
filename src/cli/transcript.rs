//! Cassettes and responses as text for people.

use std::fmt::Write as _;

use serde_json::Value;

use super::assembled::assembled;
use super::messages;
use super::store::Store;
use crate::cassette::{Blob, RecordedBody, RecordedPart, RecordedResponse, yaml};
use crate::diff::cut;
use crate::engine::{CacheEngine, Listed, inline_bodies, read_body};
use crate::error::Result;
use crate::http::{frames_as_text, parse_json};

/// The length limit of a text, in characters.
const LONGEST_TEXT: usize = 4000;

/// How much of a text is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Extent {
    /// Long texts and long lists are cut, which is marked.
    #[default]
    Cut,
    Whole,
}

impl Extent {
    pub(crate) fn whole_if(is_whole: bool) -> Self {
        if is_whole { Self::Whole } else { Self::Cut }
    }
}

/// The text of a whole response whose body is inline: its status, then what the model said or the body.
pub(crate) fn whole_response(response: &RecordedResponse) -> String {
    let mut page = Page::new(Extent::Whole);
    page.line(&format!("status: {}", response.status));
    match &response.body {
        Blob::Inline(body) => page.response_content(response, body),
        Blob::External { sha256 } => page.line(&format!("(a body in a file of its own, with the SHA-256 {sha256})")),
    }
    page.text
}

/// The text of a cassette: its title, its request, then each response.
pub(crate) async fn transcript(store: &Store, listed: &Listed, title: &str, extent: Extent) -> Result<String> {
    let cassette = store.read(listed).await?;
    let (engine, location) = (&*store.engine, || store.location_of(listed));
    let mut page = Page::new(extent);
    page.line(&format!("# {title}"));
    let from = cassette
        .recorded
        .from
        .as_deref()
        .map(|from| format!(" from {from}"))
        .unwrap_or_default();
    let test = cassette
        .recorded
        .test
        .as_deref()
        .map(|test| format!(" by {test}"))
        .unwrap_or_default();
    page.line(&format!(
        "{}, recorded {}{from}{test}",
        cassette.request.line(),
        cassette.recorded.second()
    ));
    match &cassette.request.body {
        RecordedBody::Multipart(parts) => page.parts(engine, parts, &location).await?,
        RecordedBody::Blob(blob) => page.request_body(&read_body(engine, blob, location).await?),
        RecordedBody::Messages(_) => {}
    }
    let cassette = match &cassette.request.body {
        RecordedBody::Messages(_) => inline_bodies(engine, cassette, &location()).await?,
        _ => cassette,
    };
    for (number, response) in cassette.responses.iter().enumerate() {
        let body = read_body(engine, &response.body, location).await?;
        page.response(number, cassette.responses.len(), response, &body);
    }
    page.text.push('\n');
    Ok(page.text)
}

/// The text that is being written.
struct Page {
    text: String,
    extent: Extent,
}

impl Page {
    fn new(extent: Extent) -> Self {
        Self {
            text: String::new(),
            extent,
        }
    }

    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn heading(&mut self, heading: &str) {
        // Writing to a string cannot fail.
        let _ = write!(self.text, "\n[{heading}]\n");
    }

    fn block(&mut self, text: &str) {
        let end = match self.extent {
            Extent::Cut => text.char_indices().nth(LONGEST_TEXT),
            Extent::Whole => None,
        };
        match end {
            None => self.line(text.trim_end_matches('\n')),
            Some((cut, _)) => self.line(&format!("{}… ({} bytes in all)", &text[..cut], text.len())),
        }
    }

    async fn parts(
        &mut self,
        engine: &dyn CacheEngine,
        parts: &[RecordedPart],
        location: &impl Fn() -> String,
    ) -> Result<()> {
        for part in parts {
            let content = read_body(engine, &part.content, location).await?;
            match (&part.filename, std::str::from_utf8(&content)) {
                (None, Ok(text)) => self.line(&format!("{}: {text}", part.name)),
                (filename, _) => {
                    let filename = filename.as_deref().unwrap_or("no file name");
                    let kind = part.content_type.as_deref().unwrap_or("no content type");
                    self.line(&format!("{}: {filename} ({kind}, {} bytes)", part.name, content.len()));
                }
            }
        }
        Ok(())
    }

    fn request_body(&mut self, body: &[u8]) {
        let Some(Value::Object(mut members)) = parse_json(body) else {
            if !body.is_empty() {
                self.heading("request");
                self.raw(body);
            }
            return;
        };
        let messages = ["messages", "inputs", "input", "prompt"]
            .iter()
            .find_map(|name| members.shift_remove(*name).map(|value| (*name, value)));
        let tools = members.shift_remove("tools");
        let rest: Vec<String> = members
            .iter()
            .map(|(name, value)| format!("{name}: {}", self.value(value)))
            .collect();
        if !rest.is_empty() {
            self.line(&rest.join(", "));
        }
        if let Some(Value::Array(tools)) = tools {
            let names: Vec<&str> = tools
                .iter()
                .filter_map(|tool| tool["function"]["name"].as_str().or_else(|| tool["type"].as_str()))
                .collect();
            self.line(&format!("tools: {}", names.join(", ")));
            if self.extent == Extent::Whole && !tools.is_empty() {
                // Their descriptions and parameters.
                self.heading("tools");
                self.block(&yaml::display(&Value::Array(tools)));
            }
        }
        match messages {
            Some((_, Value::Array(entries))) if entries.iter().all(Value::is_object) => {
                entries.iter().for_each(|entry| self.message(entry))
            }
            Some((name, value)) => {
                self.heading(name);
                self.content(&value);
            }
            None => {}
        }
    }

    /// Writes a message of a conversation: `{role, content, tool_calls}`, or an entry `{type, …}`.
    fn message(&mut self, message: &Value) {
        let role = message["role"]
            .as_str()
            .or_else(|| message["type"].as_str())
            .unwrap_or("message");
        match message["name"].as_str().or_else(|| message["tool_call_id"].as_str()) {
            Some(name) => self.heading(&format!("{role} {name}")),
            None => self.heading(role),
        }
        if let Some(arguments) = message.get("arguments").or_else(|| message.get("result")) {
            self.content(arguments);
        }
        self.content(&message["content"]);
        self.tool_calls(&message["tool_calls"]);
    }

    fn tool_calls(&mut self, calls: &Value) {
        for call in calls.as_array().into_iter().flatten() {
            let name = call["function"]["name"].as_str().unwrap_or("?");
            let id = call["id"].as_str().map(|id| format!(" (id {id})")).unwrap_or_default();
            let arguments = match &call["function"]["arguments"] {
                Value::String(arguments) => arguments.clone(),
                other => other.to_string(),
            };
            self.line(&format!("calls {name}{id}: {arguments}"));
        }
    }

    fn content(&mut self, content: &Value) {
        match content {
            Value::Null => {}
            Value::String(text) if text.is_empty() => {}
            Value::String(text) => self.block(text),
            Value::Array(chunks) => chunks.iter().for_each(|chunk| self.chunk(chunk)),
            other => self.block(&yaml::display(other)),
        }
    }

    fn chunk(&mut self, chunk: &Value) {
        match (chunk["type"].as_str(), chunk) {
            // The chunks of Bedrock have no type.
            (Some("text" | "output_text" | "reasoning_text") | None, Value::Object(chunk))
                if chunk.get("text").is_some_and(Value::is_string) =>
            {
                self.block(chunk["text"].as_str().unwrap_or_default());
                if let Some(annotations) = chunk
                    .get("annotations")
                    .filter(|list| **list != Value::Array(Vec::new()))
                {
                    self.line(&format!("(annotations: {})", self.value(annotations)));
                }
            }
            (Some("thinking"), _) => {
                self.line("(thinking)");
                self.content(&chunk["thinking"]);
                self.line("(end of thinking)");
            }
            (_, Value::String(text)) => self.block(text),
            (Some(kind), _) => self.line(&format!("({kind}: {})", self.value(chunk))),
            (None, other) => self.line(&self.value(other)),
        }
    }

    fn response(&mut self, number: usize, total: usize, response: &RecordedResponse, body: &[u8]) {
        let title = if total > 1 {
            format!("response {} of {total}", number + 1)
        } else {
            "response".to_owned()
        };
        let duration = response
            .timing_ms
            .last()
            .map(|milliseconds| format!(" in {milliseconds} ms"))
            .unwrap_or_default();
        let events = response.events(body);
        let count = events.map(|events| format!(", {} events", events.len()));
        let count = count.unwrap_or_default();
        let _ = write!(self.text, "\n## {title}: {}{duration}{count}\n", response.status);
        self.response_content(response, body);
    }

    fn response_content(&mut self, response: &RecordedResponse, body: &[u8]) {
        let document = match response.events(body) {
            Some(events) => assembled(&events),
            None => parse_json(body),
        };
        for line in messages::transcript(response) {
            self.line(&line);
        }
        match document {
            Some(value) => self.response_body(value),
            None if body.is_empty() => {}
            None => self.raw(body),
        }
    }

    fn response_body(&mut self, mut value: Value) {
        let usage = value.as_object_mut().and_then(|members| members.shift_remove("usage"));
        let mut take = |name: &str| {
            value
                .as_object_mut()
                .and_then(|members| members.shift_remove(name))
                .unwrap_or_default()
        };
        let (choices, outputs) = (take("choices"), take("outputs"));
        // The name in the Responses API. With another vendor, this is an object.
        let outputs = if value["output"].is_array() {
            value["output"].take()
        } else {
            outputs
        };
        let is_answer = choices.is_array() || outputs.is_array();
        for choice in choices.as_array().into_iter().flatten() {
            self.message(&choice["message"]);
            if let Some(reason) = choice["finish_reason"]
                .as_str()
                .filter(|reason| !matches!(*reason, "stop" | "end_turn"))
            {
                self.line(&format!("(finished: {reason})"));
            }
        }
        for output in outputs.as_array().into_iter().flatten() {
            self.message(output);
        }
        if is_answer {
            // The error of a stream that failed after its first events.
            for name in ["message", "error", "detail"] {
                if let Some(error) = value.get(name).filter(|error| !error.is_null()) {
                    self.line(&format!("({name}: {})", self.value(error)));
                }
            }
        } else {
            self.line("");
            if self.extent == Extent::Cut {
                shorten(&mut value);
            }
            self.block(&yaml::display(&value));
        }
        if let Some(Value::Object(usage)) = usage {
            let tokens = |name: &str| usage.get(name).and_then(Value::as_i64).unwrap_or(0);
            let (prompt, completion, total) = (
                tokens("prompt_tokens"),
                tokens("completion_tokens"),
                tokens("total_tokens"),
            );
            let _ = write!(self.text, "\nusage: {prompt} + {completion} = {total} tokens\n");
        }
    }

    /// A value on one line.
    fn value(&self, value: &Value) -> String {
        const LONGEST: usize = 120;
        let text = match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        match self.extent {
            Extent::Cut => cut(&text, LONGEST),
            Extent::Whole => text,
        }
    }

    fn raw(&mut self, body: &[u8]) {
        match std::str::from_utf8(body) {
            Ok(text) => self.block(text),
            Err(_) => match frames_as_text(body) {
                Some(text) => self.block(&text),
                None => self.line(&format!("({} bytes of binary data)", body.len())),
            },
        }
    }
}

/// Replaces long lists of numbers, such as embeddings, by their first numbers.
fn shorten(value: &mut Value) {
    const SHOWN: usize = 4;
    match value {
        Value::Array(items) if items.len() > 2 * SHOWN && items.iter().all(Value::is_number) => {
            let first: Vec<String> = items.iter().take(SHOWN).map(Value::to_string).collect();
            *value = Value::String(format!("[{}, … {} numbers]", first.join(", "), items.len()));
        }
        Value::Array(items) => items.iter_mut().for_each(shorten),
        Value::Object(members) => members.values_mut().for_each(shorten),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::StatusCode;
    use serde_json::json;

    use super::*;

    fn shown(events: &[Value]) -> String {
        let stream: String = events.iter().map(|event| format!("data: {event}\n\n")).collect();
        whole_response(&RecordedResponse {
            status: StatusCode::OK,
            headers: vec![("content-type".to_owned(), "text/event-stream".to_owned())],
            body: Bytes::from(stream).into(),
            timing_ms: vec![1; events.len()],
            messages: Vec::new(),
        })
    }

    #[test]
    fn a_stream_of_the_responses_api_is_put_together() {
        let delta = |text: &str| json!({ "type": "response.output_text.delta", "item_id": "a", "delta": text });
        let shown = shown(&[delta("A "), delta("wind."), json!({ "type": "response.completed" })]);
        assert!(shown.contains("A wind."), "{shown}");
    }

    #[test]
    fn an_error_that_ends_a_stream_is_shown() {
        let answer = json!({ "choices": [{ "index": 0, "delta": { "content": "A wind." } }] });
        let error = json!({ "object": "error", "type": "internal", "message": "too busy" });
        let shown = shown(&[answer, error]);
        assert!(shown.contains("A wind.") && shown.contains("too busy"), "{shown}");
    }
}
