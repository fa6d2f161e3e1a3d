//! The first words of a request and of a response.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::{Map, Value};

use super::assembled::{Assembly, assembled};
use super::messages;
use crate::cassette::{Blob, RecordedBody, RecordedRequest, RecordedResponse};
use crate::http::{StreamFormat, parse_events};
use crate::key::description_of;

/// How many characters are read at most.
const LONGEST: usize = 200;

/// How many events of a stream are read. Later ones are not among the first words, or the model has thought for long.
const EVENTS: usize = 40;

/// How many are read at first, and with how many characters these suffice: a list reads many streams.
const FIRST_EVENTS: usize = 16;
const ENOUGH: usize = 60;

/// The first words of a prompt, or of what else describes a request best; `None` when nothing does.
pub(crate) fn prompt_of(request: &RecordedRequest) -> Option<String> {
    match &request.body {
        RecordedBody::Blob(Blob::Inline(bytes)) => prompt_in(&serde_json::from_slice(bytes).ok()?),
        RecordedBody::Blob(Blob::External { .. }) => None,
        RecordedBody::Multipart(parts) => parts.iter().find_map(|part| first_words(part.filename.as_ref()?)),
        RecordedBody::Messages(messages) => first_words(&messages::text_of_client(messages)),
    }
}

/// The first words of a prompt in the JSON of a request.
pub(crate) fn prompt_in(value: &Value) -> Option<String> {
    first_words(&description_of(value)?)
}

/// The first words of an answer: text of the model, a tool call, an error. `None` when there are none.
pub(crate) fn answer_of(response: &RecordedResponse) -> Option<String> {
    if !response.messages.is_empty() {
        return first_words(&messages::text_of_api(response));
    }
    if let Some(value) = plain_json(response) {
        return answer_in(&value);
    }
    let Blob::Inline(bytes) = &response.body else {
        return None;
    };
    match response.stream_format()? {
        StreamFormat::Events => start_of_answer(bytes),
        format => answer_in(&assembled(&format.parse(bytes))?),
    }
}

/// The JSON object of a response that is no stream, without its member `data`.
pub(crate) fn plain_json(response: &RecordedResponse) -> Option<Value> {
    match &response.body {
        Blob::Inline(bytes) if response.stream_format().is_none() && response.messages.is_empty() => {
            serde_json::from_slice::<WithoutData>(bytes).ok().map(|object| object.0)
        }
        _ => None,
    }
}

/// A JSON object without its member `data`: the vectors, models or files in a list are not parsed, as they have no words.
struct WithoutData(Value);

impl<'de> Deserialize<'de> for WithoutData {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = WithoutData;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
                let mut object = Map::new();
                while let Some(name) = members.next_key::<String>()? {
                    if name == "data" {
                        members.next_value::<IgnoredAny>()?;
                    } else {
                        object.insert(name, members.next_value()?);
                    }
                }
                Ok(WithoutData(Value::Object(object)))
            }
        }

        deserializer.deserialize_map(Members)
    }
}

/// The first words of an answer in the first events of a stream.
fn start_of_answer(stream: &[u8]) -> Option<String> {
    let mut response = Assembly::default();
    let mut rest = stream;
    let mut words = None;
    // Each event ends with a blank line. Comments are no events.
    for events in [FIRST_EVENTS, EVENTS - FIRST_EVENTS] {
        let ends = memchr::memmem::find_iter(rest, "\n\n").map(|end| end + 2);
        let end = ends.filter(|end| rest.get(*end) != Some(&b':')).nth(events - 1);
        let (start, other) = rest.split_at(end.unwrap_or(rest.len()));
        response.add(&parse_events(start));
        rest = other;
        words = response.value().as_ref().and_then(answer_in);
        // The answer comes after thinking, and counts more.
        let is_enough = |words: &String| words.chars().count() >= ENOUGH;
        if words.as_ref().is_some_and(is_enough) && memchr::memmem::find(stream, b"thinking").is_none() {
            break;
        }
    }
    words
}

/// The first words of an answer in the JSON of a response.
pub(crate) fn answer_in(value: &Value) -> Option<String> {
    let items = |name: &str| value[name].as_array().into_iter().flatten();
    // An answer counts more than the calls and the thinking before it.
    let is_before_the_answer = |output: &&Value| output["type"] == "tool.execution" || output["type"] == "reasoning";
    let words = |text: &Value| first_words(text.as_str()?);
    None.or_else(|| items("choices").map(|choice| &choice["message"]).find_map(of_message))
        .or_else(|| {
            let outputs = items("outputs").chain(items("output"));
            outputs
                .filter(|output| !is_before_the_answer(output))
                .find_map(of_message)
        })
        .or_else(|| words(&value["text"]))
        .or_else(|| words(&value["pages"][0]["markdown"]))
        .or_else(|| error_in(&value["message"]))
        .or_else(|| error_in(&value["error"]))
        .or_else(|| error_in(&value["detail"]))
        .or_else(|| items("outputs").chain(items("output")).find_map(of_message))
}

/// The first words of an error: a text, `{message}`, or the details of an invalid request, `[{msg}]`, also in `{detail}`.
fn error_in(error: &Value) -> Option<String> {
    [error, &error["message"], &error[0]["msg"], &error["detail"][0]["msg"]]
        .into_iter()
        .find_map(|text| first_words(text.as_str()?))
}

/// The first words of a message, or its first tool call.
fn of_message(message: &Value) -> Option<String> {
    let call = |name: &Value, arguments: &Value| {
        let arguments = arguments.as_str().map_or_else(|| arguments.to_string(), str::to_owned);
        first_words(&format!("{}({arguments})", name.as_str()?))
    };
    let function = &message["tool_calls"][0]["function"];
    None.or_else(|| text_in(&message["content"]))
        .or_else(|| call(&function["name"], &function["arguments"]))
        .or_else(|| call(&message["name"], message.get("arguments")?))
}

/// The first words of a content. Of thinking only if there is nothing else.
fn text_in(content: &Value) -> Option<String> {
    let words = |text: &Value| first_words(text.as_str()?);
    let chunks = || content.as_array().into_iter().flatten();
    None.or_else(|| words(content))
        .or_else(|| chunks().find_map(|chunk| words(chunk).or_else(|| words(&chunk["text"]))))
        .or_else(|| chunks().find_map(|chunk| words(&chunk["thinking"][0]["text"])))
}

/// The first words of a text on one line; `None` when it has none.
fn first_words(text: &str) -> Option<String> {
    let end = text.char_indices().nth(LONGEST).map_or(text.len(), |(end, _)| end);
    let words = text[..end].split_whitespace().collect::<Vec<_>>().join(" ");
    (!words.is_empty()).then_some(words)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::StatusCode;
    use serde_json::json;

    use super::*;

    fn answer(kind: &str, body: &str) -> Option<String> {
        answer_of(&RecordedResponse {
            status: StatusCode::OK,
            headers: vec![("content-type".to_owned(), kind.to_owned())],
            body: Bytes::copy_from_slice(body.as_bytes()).into(),
            timing_ms: vec![1],
            messages: Vec::new(),
        })
    }

    #[test]
    fn the_prompt_is_the_last_question() {
        let messages = json!({ "messages": [
            { "role": "system", "content": "Be brief." },
            { "role": "user", "content": [{ "type": "text", "text": "What is\n the wind?" }] },
        ] });
        let prompt = |body: &str| prompt_of(&RecordedRequest::new("POST", "/v1/x", body.to_owned()));
        assert_eq!(prompt(&messages.to_string()).as_deref(), Some("What is the wind?"));
        for none in ["", "{}", "not JSON", r#"{"prompt":" \n"}"#] {
            assert_eq!(prompt(none), None, "{none}");
        }
    }

    #[test]
    fn the_answer_of_every_endpoint_has_first_words() {
        let thinking = json!({ "type": "thinking", "thinking": [{ "type": "text", "text": "Hm." }] });
        let text = json!({ "type": "text", "text": "A wind." });
        let call = json!({ "id": "a", "function": { "name": "weather", "arguments": "{\"at\":1}" } });
        for (body, words) in [
            (
                json!({ "choices": [{ "message": { "content": "A\n\nwind." } }] }),
                Some("A wind."),
            ),
            (
                json!({ "choices": [{ "message": { "content": [thinking, text] } }] }),
                Some("A wind."),
            ),
            (
                json!({ "choices": [{ "message": { "content": [thinking] } }] }),
                Some("Hm."),
            ),
            (
                json!({ "choices": [{ "message": { "content": "", "tool_calls": [call] } }] }),
                Some("weather({\"at\":1})"),
            ),
            (
                json!({ "outputs": [{ "type": "tool.execution", "name": "web", "arguments": "" }, { "type": "message.output", "content": "Yes." }] }),
                Some("Yes."),
            ),
            (json!({ "text": "spoken" }), Some("spoken")),
            (json!({ "pages": [{ "markdown": "# Menu" }] }), Some("# Menu")),
            (json!({ "object": "error", "message": "too long" }), Some("too long")),
            (
                json!({ "output": [
                    { "type": "reasoning", "content": [{ "type": "reasoning_text", "text": "Hm." }] },
                    { "type": "message", "content": [{ "type": "output_text", "text": "A wind." }] },
                ] }),
                Some("A wind."),
            ),
            (
                json!({ "output": [{ "type": "function_call", "name": "weather", "arguments": "{}" }] }),
                Some("weather({})"),
            ),
            (
                json!({ "outputs": [{ "type": "tool.execution", "name": "web", "arguments": "{}" }] }),
                Some("web({})"),
            ),
            (
                json!({ "detail": [{ "loc": ["body"], "msg": "field required" }] }),
                Some("field required"),
            ),
            (
                json!({ "message": { "detail": [{ "msg": "too few" }] } }),
                Some("too few"),
            ),
            (json!({ "error": { "message": "no quota" } }), Some("no quota")),
            (json!({ "error": "no quota" }), Some("no quota")),
            (json!({ "data": [{ "embedding": [0.1] }] }), None),
        ] {
            assert_eq!(
                answer("application/json", &body.to_string()).as_deref(),
                words,
                "{body}"
            );
        }
        let chunk = |text: &str| format!("data: {}\n\n", json!({ "choices": [{ "delta": { "content": text } }] }));
        let stream = chunk("A ") + &chunk("wind.") + "data: [DONE]\n\n";
        assert_eq!(answer("text/event-stream", &stream).as_deref(), Some("A wind."));
        assert_eq!(answer("text/plain", "plain"), None);
        let event = |event: Value| {
            format!(
                "event: {}\ndata: {event}\n\n",
                event["type"].as_str().unwrap_or("message")
            )
        };
        let delta = |kind: &str, text: &str| event(json!({ "type": kind, "item_id": "a", "delta": text }));
        for (stream, words) in [
            (
                delta("response.reasoning_text.delta", "Hm.") + &delta("response.output_text.delta", "A wind."),
                "A wind.",
            ),
            (
                event(
                    json!({ "type": "response.output_item.added", "item": { "type": "function_call", "id": "a", "name": "at" } }),
                ) + &delta("response.function_call_arguments.delta", "{\"x\":")
                    + &delta("response.function_call_arguments.delta", "1}"),
                "at({\"x\":1})",
            ),
            (event(json!({ "object": "error", "message": "too many" })), "too many"),
            (event(json!({ "type": "error", "message": "too many" })), "too many"),
            (
                event(json!({ "type": "error", "error": "too many", "reason": "x" })),
                "too many",
            ),
            (
                chunk("")
                    + &event(json!({ "object": "error", "type": "invalid_request_error", "message": "too many" })),
                "too many",
            ),
            (
                event(json!({ "type": "conversation.response.error", "message": "too many" })),
                "too many",
            ),
            (
                event(json!({ "type": "response.failed", "response": { "error": { "message": "too many" } } })),
                "too many",
            ),
            (": wait\n\n".repeat(EVENTS) + &chunk("A wind."), "A wind."),
        ] {
            assert_eq!(answer("text/event-stream", &stream).as_deref(), Some(words), "{stream}");
        }
        // The first events are not enough: they are empty, short, or thinking.
        let thought = |word: &str| {
            let content = json!([{ "type": "thinking", "thinking": [{ "type": "text", "text": word }] }]);
            format!(
                "data: {}\n\n",
                json!({ "choices": [{ "delta": { "content": content } }] })
            )
        };
        let long = "0123456789 ".repeat(6);
        for (first, words) in [
            (chunk("").repeat(20), long.trim_end().to_owned()),
            (chunk("a").repeat(20), format!("{}{}", "a".repeat(20), long.trim_end())),
            (thought("some thought ").repeat(20), long.trim_end().to_owned()),
        ] {
            assert_eq!(answer("text/event-stream", &(first + &chunk(&long))), Some(words));
        }
        let many = chunk("word ").repeat(100);
        assert!(answer("text/event-stream", &many).unwrap().len() < EVENTS * 5 / 2);
        let frame = crate::http::frame_tests::chunk(r#"{"outputs":[{"text":"A wind.","stop_reason":"stop"}]}"#);
        let bedrock = RecordedResponse {
            status: StatusCode::OK,
            headers: vec![(
                "content-type".to_owned(),
                "application/vnd.amazon.eventstream".to_owned(),
            )],
            body: Bytes::from(frame).into(),
            timing_ms: vec![1],
            messages: Vec::new(),
        };
        assert_eq!(answer_of(&bedrock).as_deref(), Some("A wind."));
    }
}
