//! The events of Amazon Bedrock, in the form of the API's own streams, so that they are shown, compared and counted like those.

use serde_json::{Map, Value, json};

use super::frames::{EVENT_TYPE, Frame};
use super::json::parse_json;
use super::sse::Event;

/// The member in the last chunk of a stream that has its tokens.
pub(crate) const METRICS: &str = "amazon-bedrock-invocationMetrics";

/// Returns a frame as the event of the API that has the same meaning. If there is none, returns its name and its
/// content.
pub(crate) fn event(frame: &Frame) -> Event {
    let content = frame.content();
    let name = frame
        .exception()
        .or_else(|| frame.header(EVENT_TYPE))
        .map(str::to_owned);
    let chunk = parse_json(&content).and_then(|value| completion_chunk(name.as_deref().unwrap_or_default(), &value));
    match chunk {
        Some(chunk) => Event {
            name: None,
            data: chunk.to_string(),
        },
        None => Event {
            name,
            data: String::from_utf8_lossy(&content).into_owned(),
        },
    }
}

/// Returns an event as a chunk of a chat completion. `None` for events of other models and of other services.
fn completion_chunk(name: &str, event: &Value) -> Option<Value> {
    match name {
        "chunk" => model_chunk(event),
        "messageStart" => Some(choice(json!({ "role": event["role"] }))),
        "contentBlockStart" => Some(choice(tool_call(
            event,
            json!({ "id": event["start"]["toolUse"]["toolUseId"], "type": "function" }),
            json!({ "name": event["start"]["toolUse"]["name"].as_str()?, "arguments": "" }),
        ))),
        "contentBlockDelta" => block_delta(event).map(choice),
        "messageStop" => {
            Some(json!({ "choices": [{ "index": 0, "delta": {}, "finish_reason": event["stopReason"] }] }))
        }
        "metadata" => Some(json!({ "choices": [], "usage": usage(&event["usage"])? })),
        _ => None,
    }
}

fn choice(delta: Value) -> Value {
    json!({ "choices": [{ "index": 0, "delta": delta, "finish_reason": null }] })
}

/// A piece of a content block of the Converse API.
fn block_delta(event: &Value) -> Option<Value> {
    let delta = &event["delta"];
    if let Some(text) = delta["text"].as_str() {
        return Some(json!({ "content": text }));
    }
    if let Some(text) = delta["reasoningContent"]["text"].as_str() {
        let text = json!([{ "type": "text", "text": text }]);
        return Some(json!({ "content": [{ "type": "thinking", "thinking": text }] }));
    }
    let arguments = json!({ "arguments": delta["toolUse"]["input"].as_str()? });
    Some(tool_call(event, json!({}), arguments))
}

fn tool_call(event: &Value, mut call: Value, function: Value) -> Value {
    call["index"] = event["contentBlockIndex"].clone();
    call["function"] = function;
    json!({ "tool_calls": [call] })
}

/// A chunk of a Mistral model: `outputs` with texts, or `choices` with messages. Its reason to stop is `stop_reason`.
fn model_chunk(chunk: &Value) -> Option<Value> {
    let (name, choices) = ["outputs", "choices"]
        .iter()
        .find_map(|name| Some((*name, chunk[*name].as_array()?)))?;
    let choices = choices.iter().enumerate().map(|(at, choice)| {
        let delta = match name {
            "outputs" => json!({ "content": choice["text"] }),
            _ => choice
                .get("delta")
                .or_else(|| choice.get("message"))
                .cloned()
                .unwrap_or_default(),
        };
        let reason = choice.get("finish_reason").or_else(|| choice.get("stop_reason"));
        let index = choice["index"].as_u64().unwrap_or(at as u64);
        json!({ "index": index, "delta": delta, "finish_reason": reason })
    });
    let mut event = json!({ "choices": choices.collect::<Vec<_>>() });
    let metrics = &chunk[METRICS];
    let usage = chunk.get("usage").filter(|usage| usage.is_object()).cloned();
    if let Some(usage) = usage.or_else(|| tokens(&metrics["inputTokenCount"], &metrics["outputTokenCount"])) {
        event["usage"] = usage;
    }
    Some(event)
}

fn usage(usage: &Value) -> Option<Value> {
    tokens(&usage["inputTokens"], &usage["outputTokens"])
}

fn tokens(input: &Value, output: &Value) -> Option<Value> {
    let (input, output) = (input.as_u64()?, output.as_u64()?);
    let mut usage = Map::new();
    usage.insert("prompt_tokens".to_owned(), json!(input));
    usage.insert("completion_tokens".to_owned(), json!(output));
    usage.insert("total_tokens".to_owned(), json!(input.saturating_add(output)));
    Some(usage.into())
}

#[cfg(test)]
mod tests {
    use crate::http::frames::{parse_frames, tests as frames};
    use crate::http::total_tokens;

    fn events(stream: &[Vec<u8>]) -> Vec<String> {
        let frames = parse_frames(&stream.concat()).unwrap();
        let events = frames.iter().map(super::event);
        events
            .map(|event| format!("{}{}", event.name.unwrap_or_default(), event.data))
            .collect()
    }

    #[test]
    fn chunks_of_mistral_models_are_chunks_of_completions() {
        let stream = [
            frames::chunk(r#"{"outputs":[{"text":"Par","stop_reason":null}]}"#),
            frames::chunk(
                r#"{"outputs":[{"text":"is","stop_reason":"stop"}],"amazon-bedrock-invocationMetrics":{"inputTokenCount":7,"outputTokenCount":3}}"#,
            ),
            frames::chunk(r#"{"id":"a","choices":[{"index":1,"message":{"content":"x"},"stop_reason":"length"}]}"#),
        ];
        assert_eq!(
            events(&stream),
            [
                r#"{"choices":[{"index":0,"delta":{"content":"Par"},"finish_reason":null}]}"#,
                r#"{"choices":[{"index":0,"delta":{"content":"is"},"finish_reason":"stop"}],"usage":{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10}}"#,
                r#"{"choices":[{"index":1,"delta":{"content":"x"},"finish_reason":"length"}]}"#,
            ]
        );
        assert_eq!(total_tokens(&stream.concat()), 10);
    }

    #[test]
    fn events_of_the_converse_api_are_chunks_of_completions() {
        let of = |kind: &str, payload: &'static str| events(&[frames::event(kind, payload)]).remove(0);
        for (kind, payload, expected) in [
            (
                "messageStart",
                r#"{"p":"ab","role":"assistant"}"#,
                r#""delta":{"role":"assistant"}"#,
            ),
            (
                "contentBlockDelta",
                r#"{"contentBlockIndex":0,"delta":{"text":"Hi"}}"#,
                r#""delta":{"content":"Hi"}"#,
            ),
            (
                "contentBlockDelta",
                r#"{"contentBlockIndex":0,"delta":{"reasoningContent":{"text":"Hm"}}}"#,
                r#"[{"type":"thinking","thinking":[{"type":"text","text":"Hm"}]}]"#,
            ),
            (
                "contentBlockStart",
                r#"{"contentBlockIndex":1,"start":{"toolUse":{"toolUseId":"t1","name":"f"}}}"#,
                r#"{"tool_calls":[{"id":"t1","type":"function","index":1,"function":{"name":"f","arguments":""}}]}"#,
            ),
            (
                "contentBlockDelta",
                r#"{"contentBlockIndex":1,"delta":{"toolUse":{"input":"{}"}}}"#,
                r#"{"tool_calls":[{"index":1,"function":{"arguments":"{}"}}]}"#,
            ),
            (
                "messageStop",
                r#"{"stopReason":"end_turn"}"#,
                r#""finish_reason":"end_turn""#,
            ),
            (
                "metadata",
                r#"{"usage":{"inputTokens":7,"outputTokens":3,"totalTokens":10}}"#,
                r#""total_tokens":10"#,
            ),
            (
                "contentBlockStop",
                r#"{"contentBlockIndex":0}"#,
                r#"contentBlockStop{"contentBlockIndex":0}"#,
            ),
        ] {
            assert!(of(kind, payload).contains(expected), "{}", of(kind, payload));
        }
    }

    #[test]
    fn other_events_have_their_name_and_content() {
        let stream = [
            frames::event("PayloadPart", "plain"),
            frames::chunk(r#"{"type":"message_stop"}"#),
            frames::exception("throttlingException"),
        ];
        let expected = [
            "PayloadPartplain",
            r#"chunk{"type":"message_stop"}"#,
            r#"throttlingException{"message":"Too many requests"}"#,
        ];
        assert_eq!(events(&stream), expected);
        let frames = parse_frames(&stream[2]).unwrap();
        assert_eq!(
            (frames[0].exception(), &*frames[0].message()),
            (Some("throttlingException"), "Too many requests")
        );
    }
}
