//! One answer of a model in a response: its text, its tool calls, and the reason why it ended.

use serde_json::{Value, json};

use super::slots::{Slot, Slots};

/// An answer: a choice of a chat or FIM completion, or the outputs of a conversation. In a stream, each of its parts is
/// in one of several events.
#[derive(Debug, Default)]
pub(super) struct Answer {
    /// The index of the choice; 0 in a conversation.
    index: u64,
    /// The objects that have the content: messages, the deltas of a stream, or all entries of a conversation, calls
    /// included.
    messages: Vec<Slot>,
    pub(super) calls: Vec<Call>,
    /// The members `finish_reason` that have a value. A conversation has none.
    finish_reasons: Vec<Slot>,
}

/// A tool call.
#[derive(Debug)]
pub(super) struct Call {
    /// What tells the calls of one answer apart.
    id: Value,
    names: Vec<Slot>,
    pub(super) arguments: Slots,
    /// The objects of which the call is a part: messages or deltas of a completion, or entries of a conversation.
    owners: Vec<Slot>,
}

impl Call {
    pub(super) fn name(&self, values: &[Value]) -> String {
        let name = self.names.first().and_then(|slot| slot.value(values).as_str());
        name.unwrap_or_default().to_owned()
    }

    fn cut_arguments(&self, values: &mut [Value]) -> bool {
        let has_arguments = !self.arguments.text(values).is_empty();
        self.arguments.cut(values);
        has_arguments
    }
}

impl Answer {
    /// The answers in the documents of a response.
    pub(super) fn all(values: &[Value]) -> Vec<Self> {
        let mut answers = Vec::new();
        for (document, value) in values.iter().enumerate() {
            if let Some(choices) = value["choices"].as_array() {
                for (position, choice) in choices.iter().enumerate() {
                    let index = choice["index"].as_u64().unwrap_or(position as u64);
                    Self::at(&mut answers, index).add_choice(document, position, choice);
                }
            } else if let Some(outputs) = value["outputs"].as_array() {
                for (position, output) in outputs.iter().enumerate() {
                    let slot = Slot::new(document, format!("/outputs/{position}"));
                    add_entry(&mut answers, slot, output);
                }
            } else {
                add_entry(&mut answers, Slot::new(document, ""), value);
            }
        }
        answers
    }

    fn at(answers: &mut Vec<Self>, index: u64) -> &mut Self {
        let position = answers.iter().position(|answer| answer.index == index);
        let position = position.unwrap_or_else(|| {
            answers.push(Self {
                index,
                ..Self::default()
            });
            answers.len() - 1
        });
        &mut answers[position]
    }

    fn add_choice(&mut self, document: usize, position: usize, choice: &Value) {
        let choice_at = format!("/choices/{position}");
        for member in ["message", "delta"] {
            let Some(message) = choice[member].as_object() else {
                continue;
            };
            let message_at = Slot::new(document, format!("{choice_at}/{member}"));
            let calls = message.get("tool_calls").and_then(Value::as_array);
            for (position, call) in calls.into_iter().flatten().enumerate() {
                let id = [&call["index"], &call["id"]].into_iter().find(|id| !id.is_null());
                let id = id.cloned().unwrap_or_else(|| position.into());
                let function = format!("{}/tool_calls/{position}/function", message_at.pointer);
                self.add_call(id, &call["function"], &Slot::new(document, function), &message_at);
            }
            self.messages.push(message_at);
        }
        if !choice["finish_reason"].is_null() {
            let finish_reason = format!("{choice_at}/finish_reason");
            self.finish_reasons.push(Slot::new(document, finish_reason));
        }
    }

    fn add_call(&mut self, id: Value, function: &Value, at: &Slot, owner: &Slot) {
        let position = self.calls.iter().position(|call| call.id == id);
        let position = position.unwrap_or_else(|| {
            self.calls.push(Call {
                id,
                names: Vec::new(),
                arguments: Slots::default(),
                owners: Vec::new(),
            });
            self.calls.len() - 1
        });
        let call = &mut self.calls[position];
        call.owners.push(owner.clone());
        if function["name"].as_str().is_some_and(|name| !name.is_empty()) {
            call.names.push(Slot::new(at.document, format!("{}/name", at.pointer)));
        }
        if !function["arguments"].is_null() {
            let arguments = format!("{}/arguments", at.pointer);
            call.arguments.0.push(Slot::new(at.document, arguments));
        }
    }

    /// The places of the text, with that of thinking.
    fn texts(&self, values: &[Value]) -> Slots {
        let mut texts = Vec::new();
        for message in &self.messages {
            let content = format!("{}/content", message.pointer);
            let value = &message.value(values)["content"];
            add_texts(&mut texts, message.document, &content, value);
        }
        Slots(texts)
    }

    pub(super) fn text(&self, values: &[Value]) -> String {
        self.texts(values).text(values)
    }

    pub(super) fn set_text(&self, values: &mut [Value], text: &str) {
        self.texts(values).set(values, text);
    }

    /// Ends the arguments of the first tool call in their middle, so that they are not valid JSON.
    pub(super) fn cut_first_arguments(&self, values: &mut [Value]) -> bool {
        self.calls.first().is_some_and(|call| call.cut_arguments(values))
    }

    /// Gives the first tool call the name of a tool that the program does not have.
    pub(super) fn rename_tool(&self, values: &mut [Value]) -> bool {
        let names = self.calls.first().map(|call| &call.names[..]).unwrap_or_default();
        for slot in names {
            let unknown = format!("unknown_{}", slot.value(values).as_str().unwrap_or_default());
            if let Some(name) = slot.value_mut(values) {
                *name = unknown.into();
            }
        }
        !names.is_empty()
    }

    /// Ends the answer in its middle, as if it had reached the limit of tokens.
    pub(super) fn cut(&mut self, values: &mut [Value]) -> bool {
        let texts = self.texts(values);
        if !texts.text(values).is_empty() {
            texts.cut(values);
            self.remove_calls(values);
            for message in &self.messages {
                let content = message.value_mut(values).and_then(|message| message.get_mut("content"));
                if let Some(content) = content {
                    remove_empty_texts(content);
                }
            }
            values.iter_mut().for_each(remove_empty_messages);
        } else if !self.calls.last().is_some_and(|call| call.cut_arguments(values)) {
            return false;
        }
        self.set_finish_reason(values, "length");
        true
    }

    /// Replaces the whole answer, tool calls included, by a text.
    pub(super) fn replace(&mut self, values: &mut [Value], text: &str) -> bool {
        self.remove_calls(values);
        let Some(first) = self.messages.first() else {
            return false;
        };
        let mut has_content = false;
        for message in &self.messages {
            let whole = content_text(&message.value(values)["content"]);
            if let (Some(message), Some(whole)) = (message.value_mut(values), whole) {
                message["content"] = whole.into();
                has_content = true;
            }
        }
        if !has_content && let Some(message) = first.value_mut(values) {
            message["content"] = "".into();
        }
        let texts = self.texts(values);
        if texts.0.iter().all(|slot| slot.document == texts.0[0].document) {
            // Several messages in one document: the first one gets the text.
            texts.set(values, "");
            Slots(texts.0[..1].to_vec()).set(values, text);
        } else {
            texts.set(values, text);
        }
        values.iter_mut().for_each(remove_empty_messages);
        self.set_finish_reason(values, "stop");
        true
    }

    /// Removes the tool calls. Entries of a conversation that are calls become messages without content.
    fn remove_calls(&mut self, values: &mut [Value]) {
        for owner in self.calls.drain(..).flat_map(|call| call.owners) {
            let Some(value) = owner.value_mut(values) else { continue };
            if is_function_call(value) {
                make_message(value);
            } else if let Some(message) = value.as_object_mut() {
                message.shift_remove("tool_calls");
            }
        }
    }

    fn set_finish_reason(&self, values: &mut [Value], reason: &str) {
        for slot in &self.finish_reasons {
            if let Some(value) = slot.value_mut(values) {
                *value = reason.into();
            }
        }
    }
}

/// Adds an entry of the outputs of a conversation, or an event of its stream.
fn add_entry(answers: &mut Vec<Answer>, at: Slot, entry: &Value) {
    if is_function_call(entry) {
        let id = [&entry["tool_call_id"], &entry["id"]]
            .into_iter()
            .find(|id| !id.is_null());
        let id = id.cloned().unwrap_or_default();
        let answer = Answer::at(answers, 0);
        answer.add_call(id, entry, &at, &at);
        answer.messages.push(at);
    } else if matches!(entry["type"].as_str(), Some("message.output" | "message.output.delta")) {
        Answer::at(answers, 0).messages.push(at);
    }
}

fn is_function_call(entry: &Value) -> bool {
    matches!(entry["type"].as_str(), Some("function.call" | "function.call.delta"))
}

/// Makes a message of a function call in a conversation or in its stream.
fn make_message(entry: &mut Value) {
    let Some(object) = entry.as_object_mut() else { return };
    for member in ["tool_call_id", "name", "arguments", "confirmation_status"] {
        object.shift_remove(member);
    }
    let is_delta = object["type"] == "function.call.delta";
    let kind = if is_delta {
        "message.output.delta"
    } else {
        "message.output"
    };
    object.insert("type".to_owned(), kind.into());
    if is_delta {
        object.insert("content_index".to_owned(), json!(0));
    }
    object.insert("role".to_owned(), "assistant".into());
    object.insert("content".to_owned(), "".into());
}

/// Adds the places of the text of a message: a string, chunks of text, or chunks of thinking with texts in them.
fn add_texts(texts: &mut Vec<Slot>, document: usize, pointer: &str, content: &Value) {
    match content {
        Value::String(_) => texts.push(Slot::new(document, pointer)),
        Value::Array(chunks) => {
            for (index, chunk) in chunks.iter().enumerate() {
                add_texts(texts, document, &format!("{pointer}/{index}"), chunk);
            }
        }
        // A conversation streams one chunk for each event, without a list.
        Value::Object(chunk) => {
            for member in ["text", "thinking"] {
                if let Some(inner) = chunk.get(member) {
                    add_texts(texts, document, &format!("{pointer}/{member}"), inner);
                }
            }
        }
        _ => {}
    }
}

/// The text of a content; `None` if it has none.
fn content_text(content: &Value) -> Option<String> {
    let mut texts = Vec::new();
    add_texts(&mut texts, 0, "", content);
    let texts = Slots(texts);
    (!content.is_null()).then(|| texts.text(std::slice::from_ref(content)))
}

/// Removes the chunks whose text is empty. A content without a chunk becomes an empty text.
fn remove_empty_texts(content: &mut Value) {
    let Some(chunks) = content.as_array_mut() else { return };
    chunks.retain_mut(|chunk| {
        if chunk["thinking"].is_array() {
            let thinking = &mut chunk["thinking"];
            remove_empty_texts(thinking);
            return thinking.as_array().is_some_and(|texts| !texts.is_empty());
        }
        chunk["text"] != "" && chunk["thinking"] != ""
    });
    if chunks.is_empty() {
        *content = "".into();
    }
}

/// Removes the messages without content from the outputs of a conversation, except the first one if there is no other.
fn remove_empty_messages(document: &mut Value) {
    let Some(outputs) = document.get_mut("outputs").and_then(Value::as_array_mut) else {
        return;
    };
    let is_empty = |entry: &Value| entry["type"] == "message.output" && entry["content"] == "";
    let mut has_message = outputs
        .iter()
        .any(|entry| entry["type"] == "message.output" && !is_empty(entry));
    outputs.retain(|entry| {
        let is_kept = !is_empty(entry) || !has_message;
        has_message |= is_empty(entry);
        is_kept
    });
}
