//! Compares the responses of two recordings and classifies the change.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value, json};

use super::messages;
use crate::cassette::{Blob, RecordedResponse};
use crate::diff::{Difference, differences};
use crate::http::{Event, parse_json};

/// The kind of a change, in the order of its effect on a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum ChangeKind {
    /// No byte differs.
    Same,
    /// Only ids, times, padding or token counts differ.
    Volatile,
    /// Only numbers differ, such as those of an embedding.
    Numbers,
    /// The text of the model differs.
    Wording,
    /// Another tool is called, or with other arguments.
    ToolCall,
    /// The finish reason, the status or the error differs.
    Ending,
    /// A member is added, removed or has another type.
    Shape,
}

impl ChangeKind {
    /// The name in the output of `diff`, `refresh` and `report`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Volatile => "only volatile fields",
            Self::Numbers => "numbers",
            Self::Wording => "wording",
            Self::ToolCall => "tool call",
            Self::Ending => "ending",
            Self::Shape => "shape",
        }
    }
}

impl fmt::Display for ChangeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The kind of a change, and the differences that are not volatile.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) kind: ChangeKind,
    pub(crate) differences: Vec<Difference>,
}

/// The names of members that differ in every response.
const VOLATILE: [&str; 12] = [
    "id",
    "created",
    "p",
    "created_at",
    "completed_at",
    "updated_at",
    "usage",
    "usage_info",
    "conversation_id",
    "tool_call_id",
    "system_fingerprint",
    "expires_at",
];

/// Compares the responses of two recordings of one request. Their bodies must be inline. `is_id` says that a difference is only
/// that of an id, as far as the caller knows the ids.
pub(crate) fn compare(
    old: &[RecordedResponse],
    new: &[RecordedResponse],
    is_id: impl Fn(&Difference) -> bool,
) -> Change {
    let mut change = Change {
        kind: ChangeKind::Same,
        differences: Vec::new(),
    };
    if old.len() != new.len() {
        change.kind = ChangeKind::Shape;
        change.differences.push(Difference {
            pointer: "/responses".to_owned(),
            old: Some(json!(old.len())),
            new: Some(json!(new.len())),
        });
    }
    for (number, (old, new)) in old.iter().zip(new).enumerate() {
        let is_same_content = old.body == new.body && old.messages == new.messages;
        if old.status == new.status && is_same_content && old.headers == new.headers {
            continue;
        }
        change.kind = change.kind.max(ChangeKind::Volatile);
        if old.status != new.status {
            // The bodies of a result and of an error have no members in common.
            change.kind = change.kind.max(ChangeKind::Ending);
            change.differences.push(Difference {
                pointer: "/status".to_owned(),
                old: Some(json!(old.status.as_u16())),
                new: Some(json!(new.status.as_u16())),
            });
            continue;
        }
        for mut difference in differences(&normalized_content(old), &normalized_content(new)) {
            let kind = match is_id(&difference) {
                true => ChangeKind::Volatile,
                false => kind_of(&difference),
            };
            change.kind = change.kind.max(kind);
            if kind > ChangeKind::Volatile {
                if number > 0 {
                    difference.pointer = format!("/responses/{number}{}", difference.pointer);
                }
                change.differences.push(difference);
            }
        }
    }
    change
}

fn kind_of(difference: &Difference) -> ChangeKind {
    let names: Vec<&str> = difference.pointer.split('/').skip(1).collect();
    if names.iter().any(|name| VOLATILE.contains(name)) {
        return ChangeKind::Volatile;
    }
    // An id by another name: a signed URL, an output file.
    let is_id = |value: &Option<Value>| value.as_ref().and_then(Value::as_str).is_some_and(is_random);
    if is_id(&difference.old) && is_id(&difference.new) {
        return ChangeKind::Volatile;
    }
    if matches!(names.as_slice(), ["status" | "content-type", ..])
        || names
            .iter()
            .any(|name| matches!(*name, "finish_reason" | "refusal" | "code" | "detail"))
        || names == ["message"]
        || names == ["type"]
    {
        return ChangeKind::Ending;
    }
    // A missing member, null and an empty list all mean that no tool is called.
    let is_none = |calls: &Option<Value>| match calls {
        None | Some(Value::Null) => true,
        Some(calls) => calls.as_array().is_some_and(Vec::is_empty),
    };
    if names
        .iter()
        .any(|name| matches!(*name, "tool_calls" | "arguments" | "function"))
        && !(is_none(&difference.old) && is_none(&difference.new))
    {
        return ChangeKind::ToolCall;
    }
    match (&difference.old, &difference.new) {
        (Some(Value::Number(_)), Some(Value::Number(_))) => ChangeKind::Numbers,
        _ if difference.numbers().is_some() => ChangeKind::Numbers,
        (Some(old), Some(new)) if json_type(old) == json_type(new) => ChangeKind::Wording,
        // An added or removed item: a page, a chunk, a vector.
        (None, Some(item)) | (Some(item), None)
            if names.last().is_some_and(|name| is_index(name)) && !item.is_null() =>
        {
            ChangeKind::Wording
        }
        // Only one of the responses has thinking.
        _ if names.last() == Some(&"thinking") => ChangeKind::Wording,
        _ => ChangeKind::Shape,
    }
}

pub(crate) fn is_index(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit())
}

fn json_type(value: &Value) -> u8 {
    match value {
        Value::Null => 0,
        Value::Bool(_) => 1,
        Value::Number(_) => 2,
        Value::String(_) => 3,
        Value::Array(_) => 4,
        Value::Object(_) => 5,
    }
}

/// Whether a text is so random that it is the same value wherever it stands, even within another text: an id, a signed URL.
pub(crate) fn is_random(text: &str) -> bool {
    const MIN_PART: usize = 8;
    const MAX_LENGTH: usize = 4096;
    let is_random_part = |part: &str| {
        part.len() >= MIN_PART
            && part.contains(|letter: char| letter.is_ascii_digit())
            && part.contains(|letter: char| letter.is_ascii_alphabetic())
    };
    text.len() <= MAX_LENGTH
        && !text.contains(char::is_whitespace)
        && text
            .split(|letter: char| !letter.is_ascii_alphanumeric())
            .any(is_random_part)
}

/// Returns the content of a response as one value. The events of a stream are joined, so that their boundaries do not
/// matter.
pub(crate) fn normalized_content(response: &RecordedResponse) -> Value {
    if !response.messages.is_empty() {
        return json!({ "status": response.status.as_u16(), "session": messages::received(response) });
    }
    let bytes = match &response.body {
        Blob::Inline(bytes) => bytes.clone(),
        Blob::External { sha256 } => return json!({ "status": response.status.as_u16(), "body": sha256 }),
    };
    let plain = || {
        parse_json(&bytes).unwrap_or_else(|| match std::str::from_utf8(&bytes) {
            Ok(text) => json!({ "text": text }),
            Err(_) => json!({ "sha256": crate::hash::sha256_hex(&bytes) }),
        })
    };
    let mut value = match response.events(&bytes) {
        // A stream that cannot be read has no events.
        Some(events) if !events.is_empty() || bytes.is_empty() => join_events(events),
        _ => plain(),
    };
    if !value.is_object() {
        value = json!({ "body": value });
    }
    // A job has a member `status` of its own.
    let status = if value["status"].is_null() {
        "status"
    } else {
        "http-status"
    };
    value[status] = json!(response.status.as_u16());
    value["content-type"] = json!(response.header("content-type"));
    value
}

/// Joins the events of a stream: completion chunks become choices with their texts joined, other events a text for each
/// type.
fn join_events(events: Vec<Event>) -> Value {
    let mut choices = BTreeMap::<u64, Map<String, Value>>::new();
    let mut others = Map::new();
    let mut is_complete = false;
    for Event { name, data } in events {
        if data == "[DONE]" {
            is_complete = true;
            continue;
        }
        let Some(event) = parse_json(data.as_bytes()) else {
            append(&mut others, "text", &data);
            continue;
        };
        if let Some(chunk) = event["choices"].as_array() {
            for choice in chunk {
                append_choice(
                    choices.entry(choice["index"].as_u64().unwrap_or_default()).or_default(),
                    choice,
                );
            }
            continue;
        }
        let name = name.as_deref().or(event["type"].as_str()).unwrap_or("event");
        let text = ["content", "text", "delta", "arguments", "audio_data"]
            .iter()
            .find_map(|member| event[*member].as_str());
        match text {
            Some(text) => {
                append(&mut others, name, text);
                // The ids in the first event of its kind; the others repeat them.
                let is_id = |member: &String| member == "id" || member.ends_with("_id");
                let ids = event
                    .as_object()
                    .into_iter()
                    .flatten()
                    .filter(|(member, _)| is_id(member));
                let ids: Map<String, Value> = ids.map(|(member, id)| (member.clone(), id.clone())).collect();
                if !ids.is_empty() {
                    others.entry(format!("{name} ids")).or_insert(ids.into());
                }
            }
            None => {
                let list = others.entry(name).or_insert_with(|| json!([]));
                if let Some(list) = list.as_array_mut() {
                    list.push(event);
                }
            }
        }
    }
    let mut value = Value::Object(others);
    if !choices.is_empty() {
        value["choices"] = choices.into_values().collect();
        value["is_complete"] = json!(is_complete);
    }
    value
}

fn append(members: &mut Map<String, Value>, name: &str, text: &str) {
    let joined = members.entry(name).or_insert_with(|| json!(""));
    if let Value::String(joined) = joined {
        joined.push_str(text);
    }
}

fn append_choice(joined: &mut Map<String, Value>, choice: &Value) {
    match &choice["delta"]["content"] {
        Value::String(text) => append(joined, "content", text),
        Value::Array(chunks) => chunks.iter().for_each(|chunk| append_chunk(joined, chunk)),
        _ => {}
    }
    for call in choice["delta"]["tool_calls"].as_array().into_iter().flatten() {
        let at = call["index"].as_u64().unwrap_or_default();
        let calls = joined.entry("tool_calls").or_insert_with(|| json!({}));
        if let Some(calls) = calls.as_object_mut() {
            let one = calls.entry(at.to_string()).or_insert_with(|| json!({}));
            if let Some(one) = one.as_object_mut() {
                for (member, value) in [("name", &call["function"]["name"]), ("id", &call["id"])] {
                    if value.is_string() {
                        one.insert(member.to_owned(), value.clone());
                    }
                }
                match &call["function"]["arguments"] {
                    Value::String(text) => append(one, "arguments", text),
                    Value::Null => {}
                    other => drop(one.insert("arguments".to_owned(), other.clone())),
                }
            }
        }
    }
    if choice["finish_reason"].is_string() {
        joined.insert("finish_reason".to_owned(), choice["finish_reason"].clone());
    }
}

/// Appends a chunk of content: a text, thinking, or anything else as JSON.
fn append_chunk(joined: &mut Map<String, Value>, chunk: &Value) {
    match (&chunk["text"], &chunk["thinking"]) {
        (Value::String(text), _) => append(joined, "content", text),
        (_, Value::String(thinking)) => append(joined, "thinking", thinking),
        (_, Value::Array(pieces)) if pieces.iter().all(|piece| piece["text"].is_string()) => {
            let texts = pieces.iter().filter_map(|piece| piece["text"].as_str());
            texts.for_each(|text| append(joined, "thinking", text));
        }
        _ => append(joined, "content", &chunk.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::StatusCode;

    use super::*;

    fn response(status: u16, kind: &str, body: &str) -> RecordedResponse {
        RecordedResponse {
            status: StatusCode::from_u16(status).unwrap(),
            headers: vec![("content-type".to_owned(), kind.to_owned())],
            body: Blob::Inline(Bytes::from(body.to_owned())),
            timing_ms: vec![1],
            messages: Vec::new(),
        }
    }

    fn chat(message: &Value, reason: &str) -> RecordedResponse {
        let body = json!({ "id": "1", "usage": { "total_tokens": 1 }, "choices": [{ "finish_reason": reason, "message": message }] });
        response(200, "application/json", &body.to_string())
    }

    fn kind(old: RecordedResponse, new: RecordedResponse) -> ChangeKind {
        compare(&[old], &[new], |_| false).kind
    }

    #[test]
    fn each_change_is_classified() {
        let says = |text: &str| chat(&json!({ "content": text }), "stop");
        let calls = |id: &str, arguments: &str| {
            chat(
                &json!({ "content": "", "tool_calls": [{ "id": id, "function": { "name": "f", "arguments": arguments } }] }),
                "tool_calls",
            )
        };
        let json = |text: &str| response(200, "application/json", text);
        assert_eq!(kind(says("a"), says("a")), ChangeKind::Same);
        assert_eq!(
            kind(json(r#"{"id":"a","usage":{"x":1}}"#), json(r#"{"id":"b","usage":{}}"#)),
            ChangeKind::Volatile
        );
        assert_eq!(kind(says("a"), says("b")), ChangeKind::Wording);
        assert_eq!(
            kind(json(r#"{"data":[0.1,0.2]}"#), json(r#"{"data":[0.1,0.3]}"#)),
            ChangeKind::Numbers
        );
        let vector = |first: u8| json(&json!({ "data": (first..first + 100).collect::<Vec<_>>() }).to_string());
        assert_eq!(kind(vector(0), vector(100)), ChangeKind::Numbers);
        assert_eq!(
            kind(
                json(r#"{"pages":[{"a":"b"}]}"#),
                json(r#"{"pages":[{"a":"b"},{"a":"c"}]}"#)
            ),
            ChangeKind::Wording
        );
        assert_eq!(kind(calls("1", "{}"), calls("2", "{}")), ChangeKind::Volatile);
        assert_eq!(kind(calls("1", "{}"), calls("1", r#"{"a":1}"#)), ChangeKind::ToolCall);
        let without_calls = chat(&json!({ "content": "a", "tool_calls": null }), "stop");
        assert_eq!(kind(without_calls, says("a")), ChangeKind::Shape);
        assert_eq!(
            kind(says("a"), chat(&json!({ "content": "a" }), "length")),
            ChangeKind::Ending
        );
        assert_eq!(
            kind(says("a"), response(429, "application/json", r#"{"message":"busy"}"#)),
            ChangeKind::Ending
        );
        assert_eq!(
            kind(
                json(r#"{"message":"a"}"#),
                response(200, "application/json", r#"{"message":"b"}"#)
            ),
            ChangeKind::Ending
        );
        assert_eq!(kind(json(r#"{"a":1}"#), json(r#"{"a":1,"b":2}"#)), ChangeKind::Shape);
        assert_eq!(kind(json(r#"{"a":1}"#), json(r#"{"a":"1"}"#)), ChangeKind::Shape);
    }

    #[test]
    fn the_ids_of_events_and_the_status_of_a_job_are_content() {
        let stream = concat!(
            "event: conversation.response.started\ndata: {\"conversation_id\":\"conv_1\"}\n\n",
            "event: message.output.delta\ndata: {\"id\":\"msg_1\",\"content\":\"a\"}\n\n",
            "event: message.output.delta\ndata: {\"id\":\"msg_1\",\"content\":\"b\"}\n\n",
        );
        let content = normalized_content(&response(200, "text/event-stream", stream));
        assert_eq!(content["message.output.delta"], "ab");
        assert_eq!(content["message.output.delta ids"], json!({ "id": "msg_1" }));
        assert_eq!(content["conversation.response.started"][0]["conversation_id"], "conv_1");
        let job = |status: &str| response(200, "application/json", &format!(r#"{{"status":"{status}"}}"#));
        let change = compare(&[job("RUNNING")], &[job("FAILED")], |_| false);
        assert_eq!(change.kind, ChangeKind::Ending);
        let url = |sig: &str| {
            response(
                200,
                "application/json",
                &format!(r#"{{"link":"https://a.example?s={sig}"}}"#),
            )
        };
        let change = compare(&[url("9f86d081884c")], &[url("77aa00bb1122")], |_| false);
        assert_eq!(change.kind, ChangeKind::Volatile);
    }

    #[test]
    fn the_pieces_of_thinking_are_joined_apart_from_the_answer() {
        let event = |content: Value| {
            format!(
                "data: {}\n\n",
                json!({ "choices": [{ "delta": { "content": content } }] })
            )
        };
        let thinking = |text: &str| json!([{ "type": "thinking", "thinking": [{ "type": "text", "text": text }] }]);
        let stream = |pieces: &[&str], answer: &str| {
            let pieces = pieces.iter().map(|piece| event(thinking(piece)));
            response(
                200,
                "text/event-stream",
                &(pieces.collect::<String>() + &event(json!(answer))),
            )
        };
        let content = normalized_content(&stream(&["Let me ", "see."], "Paris"));
        assert_eq!(
            content["choices"][0],
            json!({ "thinking": "Let me see.", "content": "Paris" })
        );
        let same = kind(
            stream(&["Let me ", "see."], "Paris"),
            stream(&["Let ", "me see."], "Paris"),
        );
        assert_eq!(same, ChangeKind::Volatile);
        assert_eq!(
            kind(stream(&["Let me see."], "Paris"), stream(&[], "Paris")),
            ChangeKind::Wording
        );
    }

    #[test]
    fn the_boundaries_of_events_do_not_matter() {
        let stream = |pieces: &[&str]| {
            let event = |piece: &&str| {
                format!(
                    "data: {}\n\n",
                    json!({ "p": piece, "choices": [{ "index": 0, "delta": { "content": piece } }] })
                )
            };
            response(
                200,
                "text/event-stream",
                &(pieces.iter().map(event).collect::<String>() + "data: [DONE]\n\n"),
            )
        };
        assert_eq!(
            kind(stream(&["The cap", "ital"]), stream(&["The ", "capital"])),
            ChangeKind::Volatile
        );
        assert_eq!(
            kind(stream(&["The cap", "ital"]), stream(&["A capital"])),
            ChangeKind::Wording
        );
        let change = compare(
            &[stream(&["The capital is Paris."])],
            &[stream(&["The capital is ", "Lyon."])],
            |_| false,
        );
        assert_eq!(
            change.differences[0].lines(),
            [
                "@ /choices/0/content",
                "- The capital is Paris.",
                "+ The capital is Lyon."
            ]
        );
        let truncated = response(
            200,
            "text/event-stream",
            "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}}]}\n\n",
        );
        assert!(kind(stream(&["a"]), truncated) >= ChangeKind::Wording);
    }

    #[test]
    fn streams_of_bedrock_are_compared_by_their_text() {
        use crate::http::frame_tests as frames;

        let stream = |texts: &[&str], last: &str| {
            let mut body: Vec<Vec<u8>> = texts
                .iter()
                .map(|text| frames::chunk(&json!({ "outputs": [{ "text": text, "stop_reason": null }] }).to_string()))
                .collect();
            body.push(frames::chunk(
                &json!({ "outputs": [{ "text": "", "stop_reason": last }] }).to_string(),
            ));
            RecordedResponse {
                body: Blob::Inline(body.concat().into()),
                ..response(200, "application/vnd.amazon.eventstream", "")
            }
        };
        assert_eq!(
            kind(stream(&["ab", "c"], "stop"), stream(&["a", "bc"], "stop")),
            ChangeKind::Volatile
        );
        assert_eq!(
            kind(stream(&["ab"], "stop"), stream(&["xy"], "stop")),
            ChangeKind::Wording
        );
        assert_eq!(
            kind(stream(&["ab"], "stop"), stream(&["ab"], "length")),
            ChangeKind::Ending
        );
        let mut damaged = stream(&["ab"], "stop");
        damaged.body = Blob::Inline(Bytes::from_static(b"\0\0\0\x10"));
        assert_ne!(kind(stream(&["ab"], "stop"), damaged), ChangeKind::Same);
    }
}
