//! `show`: a recording as a person reads it.

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

use serde_json::{Map, Value};

use crate::cassette::{Cassette, RecordedBody, RecordedPart, RecordedResponse, yaml};
use crate::cli::store::{Read, Store};
use crate::cli::{Directory, SUCCESS, print, runtime};
use crate::engine::{CacheEngine, Listed, layout, read_body};
use crate::error::{Error, ErrorKind, Result};
use crate::http::{Event, events, parse};

/// Text bodies are shown up to here.
const LONGEST_TEXT: usize = 4000;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    directory: Directory,
    /// Which: a path, a name, the beginning of a key, or a part of a name.
    #[arg(required = true, value_name = "CASSETTE")]
    cassettes: Vec<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let store = arguments.directory.open()?;
    let runtime = runtime()?;
    let all = runtime.block_on(store.read_all())?;
    for wanted in &arguments.cassettes {
        for (listed, cassette) in find(&store, &all, wanted)? {
            let cassette = cassette.as_ref().map_err(Clone::clone)?;
            print(&runtime.block_on(transcript(&store, listed, cassette))?)?;
        }
    }
    Ok(SUCCESS)
}

/// Whether two paths lead to the same file, however they are written.
fn is_same_file(path: &Path, other: &str) -> bool {
    matches!((path.canonicalize(), Path::new(other).canonicalize()), (Ok(path), Ok(other)) if path == other)
}

/// The cassettes that a person means: exactly named ones, else those whose name or key holds the words.
///
/// # Errors
/// [`ErrorKind::Settings`] when there is none.
pub(crate) fn find<'a>(store: &Store, all: &'a [Read], wanted: &str) -> Result<Vec<&'a Read>> {
    let is_named = |(listed, _): &&Read| {
        is_same_file(Path::new(&store.place_of(listed)), wanted)
            || listed.name == wanted
            || listed.name.strip_suffix(layout::EXTENSION) == Some(wanted)
    };
    let is_meant = |(listed, cassette): &&Read| {
        listed.name.contains(wanted) || cassette.as_ref().is_ok_and(|cassette| cassette.key.starts_with(wanted))
    };
    let mut found: Vec<_> = all.iter().filter(is_named).collect();
    if found.is_empty() {
        found = all.iter().filter(is_meant).collect();
    }
    if found.is_empty() {
        let what = format!("no cassette in {} is called {wanted:?}", store.place());
        return Err(Error::new(ErrorKind::Settings, what).with_hint("mistral-cassette list names them all"));
    }
    Ok(found)
}

async fn transcript(store: &Store, listed: &Listed, cassette: &Cassette) -> Result<String> {
    let (engine, place) = (&*store.engine, || store.place_of(listed));
    let mut page = Page::default();
    page.line(&format!("# {}", listed.name));
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
        cassette.recorded.at
    ));
    match &cassette.request.body {
        RecordedBody::Multipart(parts) => page.parts(engine, parts, &place).await?,
        RecordedBody::Blob(blob) => page.request(&read_body(engine, blob, place).await?),
    }
    for (number, response) in cassette.responses.iter().enumerate() {
        let body = read_body(engine, &response.body, place).await?;
        page.response(number, cassette.responses.len(), response, &body);
    }
    page.text.push('\n');
    Ok(page.text)
}

/// A transcript being written.
#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn heading(&mut self, heading: &str) {
        // Writing to a string cannot fail.
        let _ = write!(self.text, "\n[{heading}]\n");
    }

    fn block(&mut self, text: &str) {
        match text.char_indices().nth(LONGEST_TEXT) {
            None => self.line(text.trim_end_matches('\n')),
            Some((cut, _)) => self.line(&format!("{}… ({} bytes in all)", &text[..cut], text.len())),
        }
    }

    async fn parts(
        &mut self,
        engine: &dyn CacheEngine,
        parts: &[RecordedPart],
        place: &impl Fn() -> String,
    ) -> Result<()> {
        for part in parts {
            let content = read_body(engine, &part.content, place).await?;
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

    fn request(&mut self, body: &[u8]) {
        let Some(Value::Object(mut members)) = parse(body) else {
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
            .map(|(name, value)| format!("{name}: {}", brief(value)))
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

    /// A message of a conversation: `{role, content, tool_calls}`, or an entry `{type, …}`.
    fn message(&mut self, message: &Value) {
        let who = message["role"]
            .as_str()
            .or_else(|| message["type"].as_str())
            .unwrap_or("message");
        match message["name"].as_str().or_else(|| message["tool_call_id"].as_str()) {
            Some(name) => self.heading(&format!("{who} {name}")),
            None => self.heading(who),
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
            (Some("text"), _) => self.block(chunk["text"].as_str().unwrap_or_default()),
            (Some("thinking"), _) => {
                self.line("(thinking)");
                self.content(&chunk["thinking"]);
                self.line("(end of thinking)");
            }
            (_, Value::String(text)) => self.block(text),
            (Some(kind), _) => self.line(&format!("({kind}: {})", brief(chunk))),
            (None, other) => self.line(&brief(other)),
        }
    }

    fn response(&mut self, number: usize, of: usize, response: &RecordedResponse, body: &[u8]) {
        let which = if of > 1 {
            format!("response {} of {of}", number + 1)
        } else {
            "response".to_owned()
        };
        let took = response
            .timing_ms
            .last()
            .map(|milliseconds| format!(" in {milliseconds} ms"))
            .unwrap_or_default();
        let kind = if response.is_event_stream() {
            format!(", {} events", events(body).len())
        } else {
            String::new()
        };
        let _ = write!(self.text, "\n## {which}: {}{took}{kind}\n", response.status);
        let answer = if response.is_event_stream() {
            assembled(body)
        } else {
            parse(body)
        };
        match answer {
            Some(value) => self.answer(value),
            None if body.is_empty() => {}
            None => self.raw(body),
        }
    }

    fn answer(&mut self, mut value: Value) {
        let usage = value.as_object_mut().and_then(|members| members.shift_remove("usage"));
        let mut take = |name: &str| {
            value
                .as_object_mut()
                .and_then(|members| members.shift_remove(name))
                .unwrap_or_default()
        };
        let (choices, outputs) = (take("choices"), take("outputs"));
        if let Value::Array(choices) = choices {
            for choice in &choices {
                self.message(&choice["message"]);
                if let Some(reason) = choice["finish_reason"].as_str().filter(|reason| *reason != "stop") {
                    self.line(&format!("(finished: {reason})"));
                }
            }
        } else if let Value::Array(outputs) = outputs {
            outputs.iter().for_each(|output| self.message(output));
        } else {
            self.line("");
            shorten(&mut value);
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

    fn raw(&mut self, body: &[u8]) {
        match std::str::from_utf8(body) {
            Ok(text) => self.block(text),
            Err(_) => self.line(&format!("({} bytes that are no text)", body.len())),
        }
    }
}

/// A value on part of a line.
fn brief(value: &Value) -> String {
    const LONGEST: usize = 120;
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    match text.char_indices().nth(LONGEST) {
        Some((cut, _)) => format!("{}…", &text[..cut]),
        None => text,
    }
}

/// Replaces long lists of numbers, such as embeddings, by what they begin with.
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

/// The whole answer that the events of a stream add up to; `None` when they are not events of this API.
fn assembled(body: &[u8]) -> Option<Value> {
    let mut answer = Map::new();
    let mut outputs: Vec<Value> = Vec::new();
    let mut text = String::new();
    for Event { data, .. } in events(body) {
        let Some(Value::Object(event)) = parse(data.as_bytes()) else {
            continue;
        };
        if let Some(usage) = event.get("usage").filter(|usage| !usage.is_null()) {
            answer.insert("usage".to_owned(), usage.clone());
        }
        for choice in event.get("choices").and_then(Value::as_array).into_iter().flatten() {
            add_choice(&mut answer, choice);
        }
        match event.get("type").and_then(Value::as_str) {
            Some("message.output.delta") => add_text(
                entry(&mut outputs, &event, "message.output"),
                "content",
                &event["content"],
            ),
            Some("function.call.delta") => add_text(
                entry(&mut outputs, &event, "function.call"),
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
        answer.insert("outputs".to_owned(), Value::Array(outputs));
    }
    if !text.is_empty() {
        answer.insert("text".to_owned(), Value::String(text));
    }
    (!answer.is_empty()).then_some(Value::Object(answer))
}

fn add_choice(answer: &mut Map<String, Value>, choice: &Value) {
    let index = usize::try_from(choice["index"].as_u64().unwrap_or(0))
        .unwrap_or(0)
        .min(127);
    let choices = answer.entry("choices").or_insert_with(|| Value::Array(Vec::new()));
    let Some(choices) = choices.as_array_mut() else { return };
    while choices.len() <= index {
        choices.push(serde_json::json!({ "message": { "role": "assistant", "content": "" } }));
    }
    let whole = &mut choices[index];
    let delta = &choice["delta"];
    add_text(&mut whole["message"], "content", &delta["content"]);
    for call in delta["tool_calls"].as_array().into_iter().flatten() {
        add_call(&mut whole["message"], call);
    }
    if !choice["finish_reason"].is_null() {
        whole["finish_reason"] = choice["finish_reason"].clone();
    }
}

/// Adds a piece of a tool call: to the one of its index, or as a new one.
fn add_call(message: &mut Value, call: &Value) {
    if message["tool_calls"].is_null() {
        message["tool_calls"] = Value::Array(Vec::new());
    }
    let Some(calls) = message["tool_calls"].as_array_mut() else {
        return;
    };
    let same = calls.iter_mut().find(|known| {
        known["index"] == call["index"] && (call["id"].is_null() || call["id"] == "null" || known["id"] == call["id"])
    });
    match same {
        Some(known) => add_text(&mut known["function"], "arguments", &call["function"]["arguments"]),
        None => calls.push(call.clone()),
    }
}

fn entry<'a>(outputs: &'a mut Vec<Value>, event: &Map<String, Value>, kind: &str) -> &'a mut Value {
    let id = event.get("id").cloned().unwrap_or_default();
    let at = outputs
        .iter()
        .position(|output| output["id"] == id && output["type"] == kind)
        .unwrap_or_else(|| {
            let name = event.get("name").cloned().unwrap_or_default();
            outputs.push(serde_json::json!({ "type": kind, "id": id, "name": name }));
            outputs.len() - 1
        });
    &mut outputs[at]
}

/// Adds text or chunks to what a member holds.
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
