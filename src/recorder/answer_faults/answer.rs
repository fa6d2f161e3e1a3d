//! One answer of a model in a response: its text, its tool calls, and the reason why it ended.

use serde_json::{Value, json};

use super::slots::{Slot, Slots, first_half};

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
    /// The last choice, which gets a `finish_reason` if the answer has none.
    last_choice: Option<Slot>,
}

/// A tool call.
#[derive(Debug, Default)]
pub(super) struct Call {
    /// The id that the API gave the call; `None` until an event contains it.
    id: Option<String>,
    /// The position among the calls of the answer, as a stream numbers them.
    index: u64,
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

    /// Adds the part of the call that one event or message contains.
    fn add(&mut self, function: &Value, at: &Slot, owner: &Slot) {
        self.owners.push(owner.clone());
        if function["name"].as_str().is_some_and(|name| !name.is_empty()) {
            self.names.push(Slot::new(at.document, format!("{}/name", at.pointer)));
        }
        if !function["arguments"].is_null() {
            let arguments = format!("{}/arguments", at.pointer);
            self.arguments.0.push(Slot::new(at.document, arguments));
        }
    }

    /// Ends the arguments in their middle. That is impossible for arguments whose first half is valid JSON, such as a
    /// number.
    fn cut_arguments(&self, values: &mut [Value]) -> bool {
        let arguments = self.arguments.text(values);
        let arguments = arguments.trim_ascii_end();
        let half = first_half(arguments);
        let is_cut = !arguments.is_empty() && serde_json::from_str::<Value>(&half).is_err();
        if is_cut {
            self.arguments.set(values, &half);
        }
        is_cut
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
                let function = format!("{}/tool_calls/{position}/function", message_at.pointer);
                let index = call["index"].as_u64().unwrap_or(position as u64);
                let call_at = self.call_at(call["id"].as_str(), index);
                call_at.add(&call["function"], &Slot::new(document, function), &message_at);
            }
            self.messages.push(message_at);
        }
        self.last_choice = Some(Slot::new(document, &*choice_at));
        if !choice["finish_reason"].is_null() {
            let finish_reason = format!("{choice_at}/finish_reason");
            self.finish_reasons.push(Slot::new(document, finish_reason));
        }
    }

    /// The call with this id. Events without an id continue the last call with their index.
    fn call_at(&mut self, id: Option<&str>, index: u64) -> &mut Call {
        // For a missing id, the API also sends the text "null".
        let id = id.filter(|id| !id.is_empty() && *id != "null");
        let is_it = |call: &Call| match (id, &call.id) {
            (Some(id), Some(own)) => own == id,
            _ => call.index == index,
        };
        let position = self.calls.iter().rposition(is_it).unwrap_or_else(|| {
            self.calls.push(Call {
                index,
                ..Call::default()
            });
            self.calls.len() - 1
        });
        let call = &mut self.calls[position];
        if call.id.is_none() {
            call.id = id.map(str::to_owned);
        }
        call
    }

    /// The places of the text, thinking included.
    fn texts(&self, values: &[Value]) -> Slots {
        places(&self.messages, values, &["text", "thinking"])
    }

    /// The texts that a program reads as the answer, without thinking: one, or several if a conversation has several
    /// messages.
    pub(super) fn answer_texts(&self, values: &[Value]) -> Vec<Slots> {
        let is_stream = self.messages.iter().any(|message| message.document > 0);
        let messages = match is_stream {
            true => vec![&self.messages[..]],
            false => self.messages.chunks(1).collect(),
        };
        messages
            .into_iter()
            .map(|messages| places(messages, values, &["text"]))
            .collect()
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
            Slots(texts.0.into_iter().take(1).collect()).set(values, text);
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
        let last = self.last_choice.as_ref().filter(|_| self.finish_reasons.is_empty());
        if let Some(choice) = last.and_then(|slot| slot.value_mut(values)) {
            choice["finish_reason"] = reason.into();
        }
    }
}

/// Adds an entry of the outputs of a conversation, or an event of its stream.
fn add_entry(answers: &mut Vec<Answer>, at: Slot, entry: &Value) {
    if is_function_call(entry) {
        let id = entry["tool_call_id"].as_str().or_else(|| entry["id"].as_str());
        let answer = Answer::at(answers, 0);
        let index = answer.calls.len() as u64;
        answer.call_at(id, index).add(entry, &at, &at);
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

/// The places of the text of these messages. `members` are those of a chunk that count.
fn places(messages: &[Slot], values: &[Value], members: &[&str]) -> Slots {
    let mut texts = Vec::new();
    for message in messages {
        let content = format!("{}/content", message.pointer);
        let value = &message.value(values)["content"];
        add_texts(&mut texts, message.document, &content, value, members);
    }
    Slots(texts)
}

/// Adds the places of the text of a message: a string, chunks of text, or chunks of thinking with texts in them.
fn add_texts(texts: &mut Vec<Slot>, document: usize, pointer: &str, content: &Value, members: &[&str]) {
    match content {
        Value::String(_) => texts.push(Slot::new(document, pointer)),
        Value::Array(chunks) => {
            for (index, chunk) in chunks.iter().enumerate() {
                add_texts(texts, document, &format!("{pointer}/{index}"), chunk, members);
            }
        }
        // A conversation streams one chunk for each event, without a list.
        Value::Object(chunk) => {
            for member in members {
                if let Some(inner) = chunk.get(*member) {
                    add_texts(texts, document, &format!("{pointer}/{member}"), inner, members);
                }
            }
        }
        _ => {}
    }
}

/// The text of a content; `None` if it has none.
fn content_text(content: &Value) -> Option<String> {
    let mut texts = Vec::new();
    add_texts(&mut texts, 0, "", content, &["text", "thinking"]);
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
