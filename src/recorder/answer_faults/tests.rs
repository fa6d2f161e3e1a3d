use bytes::Bytes;
use serde_json::{Value, json};

use super::*;
use crate::http::{Request, parse_events};
use crate::redaction::Redactor;
use crate::settings::faults::AnswerFault::{Empty, Length, Refusal, Schema, ToolJson, UnknownTool};

const ALL: [AnswerFault; 6] = [ToolJson, UnknownTool, Schema, Length, Refusal, Empty];

fn request(body: &Value) -> RecordedRequest {
    let request = Request::post("/v1/chat/completions").unwrap();
    let mut request = Redactor::new([], &[], &[]).redact_request(&request);
    request.body = RecordedBody::Blob(Blob::Inline(body.to_string().into()));
    request
}

fn inject_for(fault: AnswerFault, body: &str, request_body: &Value) -> Option<String> {
    let is_stream = body.contains("data: ");
    let format = is_stream.then_some(StreamFormat::Events);
    let body = inject(fault, body.as_bytes(), format, &request(request_body))?;
    Some(String::from_utf8(body.to_vec()).unwrap())
}

/// The body with this fault, for a request without a schema.
fn faulty(fault: AnswerFault, body: &str) -> Option<String> {
    inject_for(fault, body, &json!({}))
}

fn parsed(body: Option<String>) -> Value {
    serde_json::from_str(&body.unwrap()).unwrap()
}

/// The data of the events of a stream but the last, `[DONE]`.
fn events(body: Option<String>) -> Vec<Value> {
    let events = parse_events(body.unwrap().as_bytes());
    let json = events.iter().filter(|event| !event.is_done());
    json.map(|event| serde_json::from_str(&event.data).unwrap()).collect()
}

fn completion(message: Value, finish_reason: &str) -> String {
    json!({
        "id": "1",
        "choices": [{"index": 0, "message": message, "finish_reason": finish_reason}],
        "usage": {"completion_tokens": 9},
    })
    .to_string()
}

fn text_completion() -> String {
    completion(
        json!({"role": "assistant", "tool_calls": null, "content": "Bonjour, ça va ?"}),
        "stop",
    )
}

fn tool_completion() -> String {
    let call =
        |name: &str| json!({"id": name, "function": {"name": name, "arguments": r#"{"city":"Paris","unit":"C"}"#}});
    let calls = [call("weather"), call("time")];
    completion(
        json!({"role": "assistant", "content": "", "tool_calls": calls}),
        "tool_calls",
    )
}

/// A stream as the API sends it, of these deltas and a last one with this reason.
fn stream(deltas: &[Value], finish_reason: &str) -> String {
    let mut stream = String::new();
    for (index, delta) in deltas.iter().enumerate() {
        let finish_reason = (index + 1 == deltas.len()).then_some(finish_reason);
        let event =
            json!({"id": "1", "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}], "p": "ab"});
        stream += &format!("data: {event}\n\n");
    }
    stream + "data: [DONE]\n\n"
}

fn text_stream() -> String {
    let deltas = ["", "Bon", "jour", " à", " tous", ""].map(|content| json!({"content": content}));
    stream(&deltas, "stop")
}

fn tool_stream() -> String {
    let call = json!({"index": 0, "id": "a", "function": {"name": "weather", "arguments": r#"{"city":"Paris"}"#}});
    let deltas = [
        json!({"role": "assistant", "content": ""}),
        json!({"content": "", "tool_calls": [call]}),
    ];
    stream(&deltas, "tool_calls")
}

fn content(event: &Value) -> &str {
    event["choices"][0]["delta"]["content"].as_str().unwrap_or_default()
}

#[test]
fn the_arguments_of_a_tool_call_end_in_their_middle() {
    let body = parsed(faulty(ToolJson, &tool_completion()));
    let calls = &body["choices"][0]["message"]["tool_calls"];
    assert_eq!(calls[0]["function"]["arguments"], r#"{"city":"Pari"#);
    assert_eq!(calls[1]["function"]["arguments"], r#"{"city":"Paris","unit":"C"}"#);
    assert_eq!(body["choices"][0]["finish_reason"], "tool_calls");
    let events = events(faulty(ToolJson, &tool_stream()));
    let call = &events[1]["choices"][0]["delta"]["tool_calls"][0];
    assert_eq!(call["function"]["arguments"], r#"{"city":"#);
}

#[test]
fn arguments_in_several_events_end_in_the_middle_of_all() {
    let part = |arguments: &str| json!({"tool_calls": [{"index": 0, "id": "null", "function": {"name": "", "arguments": arguments}}]});
    let stream = stream(&[part("{\"a\""), part(":"), part("12345"), part("6}")], "tool_calls");
    let events = events(faulty(ToolJson, &stream));
    let arguments = events
        .iter()
        .map(|event| &event["choices"][0]["delta"]["tool_calls"][0]["function"]["arguments"]);
    assert_eq!(arguments.collect::<Vec<_>>(), ["{\"a\"", ":", "1", ""]);
}

#[test]
fn arguments_that_are_an_object_become_half_of_its_text() {
    let message = json!({"tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}}]});
    let body = parsed(faulty(ToolJson, &completion(message, "tool_calls")));
    let call = &body["choices"][0]["message"]["tool_calls"][0];
    assert_eq!(call["function"]["arguments"], "{\"a");
}

#[test]
fn a_tool_call_names_an_unknown_tool() {
    let body = parsed(faulty(UnknownTool, &tool_completion()));
    let calls = &body["choices"][0]["message"]["tool_calls"];
    assert_eq!(calls[0]["function"]["name"], "unknown_weather");
    assert_eq!(calls[1]["function"]["name"], "time");
    let events = events(faulty(UnknownTool, &tool_stream()));
    let call = &events[1]["choices"][0]["delta"]["tool_calls"][0];
    assert_eq!(call["function"]["name"], "unknown_weather");
}

#[test]
fn a_truncated_answer_ends_in_its_middle_with_the_reason_length() {
    let body = parsed(faulty(Length, &text_completion()));
    assert_eq!(body["choices"][0]["message"]["content"], "Bonjour,");
    assert_eq!(body["choices"][0]["finish_reason"], "length");
    assert_eq!(body["usage"]["completion_tokens"], 9);

    let events = events(faulty(Length, &text_stream()));
    let contents: Vec<&str> = events.iter().map(content).collect();
    assert_eq!(contents, ["", "Bon", "jour", "", "", ""]);
    assert_eq!(events[5]["choices"][0]["finish_reason"], "length");
}

#[test]
fn a_truncated_answer_of_tool_calls_ends_in_the_last_call() {
    let body = parsed(faulty(Length, &tool_completion()));
    let calls = &body["choices"][0]["message"]["tool_calls"];
    assert_eq!(calls[0]["function"]["arguments"], r#"{"city":"Paris","unit":"C"}"#);
    assert_eq!(calls[1]["function"]["arguments"], r#"{"city":"Pari"#);
    assert_eq!(body["choices"][0]["finish_reason"], "length");
}

#[test]
fn a_truncated_answer_with_thinking_has_no_empty_chunk() {
    let content = json!([
        {"type": "thinking", "thinking": [{"type": "text", "text": "aaaa"}, {"type": "text", "text": "bbbb"}]},
        {"type": "text", "text": "cc"},
    ]);
    let body = parsed(faulty(Length, &completion(json!({"content": content}), "stop")));
    assert_eq!(
        body["choices"][0]["message"]["content"],
        json!([{"type": "thinking", "thinking": [{"type": "text", "text": "aaaa"}, {"type": "text", "text": "b"}]}])
    );
    let thinking =
        |text: &str| json!({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": text}]}]});
    let stream = stream(&[thinking("aa"), thinking("bb"), json!({"content": "cc"})], "stop");
    let events = events(faulty(Length, &stream));
    let contents = events.iter().map(|event| &event["choices"][0]["delta"]["content"]);
    let contents: Vec<&Value> = contents.collect();
    assert_eq!(contents[1], &thinking("b")["content"]);
    assert_eq!(contents[2], "");
}

#[test]
fn a_refusal_replaces_the_text_and_the_tool_calls() {
    for (fault, expected) in [(Refusal, REFUSAL), (Empty, "")] {
        for body in [text_completion(), tool_completion()] {
            let body = parsed(faulty(fault, &body));
            let choice = &body["choices"][0];
            assert_eq!(choice["message"]["content"], expected);
            assert!(choice["message"]["tool_calls"].is_null(), "{choice}");
            assert_eq!(choice["finish_reason"], "stop");
        }
        for stream in [text_stream(), tool_stream()] {
            let changed = faulty(fault, &stream);
            assert!(changed.as_ref().unwrap().ends_with("data: [DONE]\n\n"));
            let (events, before) = (events(changed), events(Some(stream)));
            assert_eq!(events.len(), before.len());
            assert_eq!(events.iter().map(content).collect::<String>(), expected);
            assert!(!json!(events).to_string().contains("tool_calls"), "{events:?}");
            let last = &events.last().unwrap()["choices"][0];
            assert_eq!(last["finish_reason"], "stop");
        }
    }
}

#[test]
fn a_text_without_a_place_of_its_own_is_put_into_the_first_message() {
    let message = json!({"content": null, "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]});
    let body = parsed(faulty(Refusal, &completion(message, "tool_calls")));
    assert_eq!(body["choices"][0]["message"], json!({"content": REFUSAL}));
}

#[test]
fn each_choice_has_the_fault() {
    let choices = [0, 1].map(|index| json!({"index": index, "message": {"content": "aabb"}, "finish_reason": "stop"}));
    let body = parsed(faulty(Length, &json!({"choices": choices}).to_string()));
    assert_eq!(body["choices"][0]["message"]["content"], "aa");
    assert_eq!(body["choices"][1]["message"]["content"], "aa");
}

#[test]
fn a_required_member_is_removed_from_the_content() {
    let message = json!({"content": r#"{"name":"Bob","age":4}"#});
    let body = completion(message, "stop");
    let format = json!({"type": "json_schema", "json_schema": {"schema": {"required": ["height", "age"]}}});
    for request in [
        json!({"response_format": format}),
        json!({"completion_args": {"response_format": format}}),
    ] {
        let changed = parsed(inject_for(Schema, &body, &request));
        assert_eq!(changed["choices"][0]["message"]["content"], r#"{"name":"Bob"}"#);
    }
    let changed = parsed(faulty(Schema, &body));
    assert_eq!(changed["choices"][0]["message"]["content"], r#"{"age":4}"#);

    let parts = ["{\"na", "me\":\"Bo", "b\"}"].map(|content| json!({"content": content}));
    let events = events(faulty(Schema, &stream(&parts, "stop")));
    assert_eq!(events.iter().map(content).collect::<String>(), "{}");
}

#[test]
fn a_required_member_is_removed_from_the_arguments_of_a_tool_call() {
    let tools = json!({"tools": [{"function": {"name": "weather", "parameters": {"required": ["unit"]}}}]});
    let changed = parsed(inject_for(Schema, &tool_completion(), &tools));
    let calls = &changed["choices"][0]["message"]["tool_calls"];
    assert_eq!(calls[0]["function"]["arguments"], r#"{"city":"Paris"}"#);
}

#[test]
fn a_conversation_has_the_same_faults() {
    let message =
        json!({"object": "entry", "type": "message.output", "id": "msg_1", "role": "assistant", "content": "aabb"});
    let call = json!({"object": "entry", "type": "function.call", "id": "fc_1", "tool_call_id": "x", "name": "f", "arguments": "{\"a\":1}"});
    let conversation = |outputs: &[&Value]| json!({"conversation_id": "conv_1", "outputs": outputs}).to_string();
    let both = conversation(&[&call, &message]);
    let only_call = conversation(&[&call]);

    let outputs = |fault, body: &str| parsed(faulty(fault, body))["outputs"].clone();
    assert_eq!(outputs(ToolJson, &both)[0]["arguments"], "{\"a");
    assert_eq!(outputs(UnknownTool, &both)[0]["name"], "unknown_f");
    assert_eq!(outputs(Schema, &both)[0]["arguments"], "{}");
    assert_eq!(outputs(Length, &only_call)[0]["arguments"], "{\"a");
    let truncated = outputs(Length, &both);
    assert_eq!(truncated.as_array().unwrap().len(), 1);
    assert_eq!(truncated[0]["content"], "aa");
    for (fault, text) in [(Refusal, REFUSAL), (Empty, "")] {
        for body in [&both, &only_call] {
            let outputs = outputs(fault, body);
            assert_eq!(outputs.as_array().unwrap().len(), 1, "{outputs}");
            assert_eq!(outputs[0]["type"], "message.output");
            assert_eq!(outputs[0]["content"], text);
            assert!(outputs[0].get("tool_call_id").is_none());
        }
    }
}

#[test]
fn the_stream_of_a_conversation_has_the_same_faults() {
    let event = |data: Value| format!("event: {}\ndata: {data}\n\n", data["type"].as_str().unwrap());
    let call = |arguments: &str| {
        event(
            json!({"type": "function.call.delta", "id": "fc_1", "tool_call_id": "x", "name": "f", "arguments": arguments}),
        )
    };
    let text = |content: Value| event(json!({"type": "message.output.delta", "id": "msg_1", "content": content}));
    let done = event(json!({"type": "conversation.response.done", "usage": {}}));
    let calls = call("{\"a\"") + &call(":1}") + &done;
    let texts = text(json!({"type": "thinking", "thinking": "abc"})) + &text(json!("def")) + &done;

    let data = |fault, body: &str| events(faulty(fault, body));
    let unknown = data(UnknownTool, &calls);
    assert_eq!(
        (&unknown[0]["name"], &unknown[1]["name"]),
        (&json!("unknown_f"), &json!("unknown_f"))
    );
    let cut = data(ToolJson, &calls);
    assert_eq!(
        (&cut[0]["arguments"], &cut[1]["arguments"]),
        (&json!("{\"a"), &json!(""))
    );
    for body in [&calls, &texts] {
        let changed = faulty(Refusal, body).unwrap();
        assert!(changed.starts_with("event: message.output.delta\ndata: "), "{changed}");
        let refusal = events(Some(changed));
        let said: String = refusal
            .iter()
            .map(|event| event["content"].as_str().unwrap_or_default())
            .collect();
        assert_eq!(said, REFUSAL);
        assert_eq!(refusal[0]["type"], "message.output.delta");
        assert_eq!(refusal[2]["type"], "conversation.response.done");
    }
    let truncated = data(Length, &texts);
    assert_eq!(truncated[0]["content"]["thinking"], "abc");
    assert_eq!(truncated[1]["content"], "");
}

#[test]
fn what_is_not_an_answer_cannot_have_a_fault() {
    let error = json!({"object": "error", "message": "Rate limit exceeded"}).to_string();
    let embedding = json!({"object": "list", "data": [{"embedding": [0.1]}]}).to_string();
    for body in ["", "plain text", "[1,2]", "data: [DONE]\n\n", &error, &embedding] {
        for fault in ALL {
            assert_eq!(faulty(fault, body), None, "{fault:?} in {body}");
        }
    }
    for fault in [ToolJson, UnknownTool, Schema] {
        assert_eq!(faulty(fault, &text_completion()), None);
        assert_eq!(faulty(fault, &text_stream()), None);
    }
    let empty = completion(json!({"content": ""}), "stop");
    assert_eq!(faulty(Length, &empty), None);
    assert_eq!(
        inject(
            Empty,
            &Bytes::from("frame"),
            Some(StreamFormat::Frames),
            &request(&json!({}))
        ),
        None
    );
}

#[test]
fn what_does_not_change_keeps_its_bytes() {
    let spaced = text_completion().replace("\":", "\": ").replace(",\"", ", \"");
    let changed = faulty(Length, &spaced).unwrap();
    assert!(changed.contains(r#""finish_reason": "length""#), "{changed}");
    let stream = ": comment\r\n\r\nid: 7\r\ndata: {\"choices\":[{\"delta\":{\"content\":\"aabb\"}}]}\r\n\r\ndata: {\"x\" : 1.50}\r\n\r\n";
    let expected = ": comment\r\n\r\nid: 7\r\ndata: {\"choices\":[{\"delta\":{\"content\":\"aa\"},\"finish_reason\":\"length\"}]}\r\n\r\ndata: {\"x\" : 1.50}\r\n\r\n";
    assert_eq!(faulty(Length, stream).unwrap(), expected);
}

#[test]
fn thinking_is_no_part_of_json_and_each_message_is_one_document() {
    let content = json!([{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": r#"{"a":1}"#}]);
    let body = parsed(faulty(Schema, &completion(json!({"content": content}), "stop")));
    assert_eq!(body["choices"][0]["message"]["content"][0]["thinking"][0]["text"], "hm");
    assert_eq!(body["choices"][0]["message"]["content"][1]["text"], "{}");
    let outputs =
        [json!("Let me see."), json!(r#"{"a":1}"#)].map(|text| json!({"type": "message.output", "content": text}));
    let body = parsed(faulty(Schema, &json!({"outputs": outputs}).to_string()));
    assert_eq!(body["outputs"][0]["content"], "Let me see.");
    assert_eq!(body["outputs"][1]["content"], "{}");
}

#[test]
fn only_what_the_schema_requires_is_removed() {
    let body = |content: &str| completion(json!({"content": content}), "stop");
    let schema = |schema: Value| json!({"response_format": {"json_schema": {"schema": schema}}});
    let changed = |content: &str, of: Value| {
        let changed = inject_for(Schema, &body(content), &schema(of))?;
        let changed: Value = serde_json::from_str(&changed).unwrap();
        Some(changed["choices"][0]["message"]["content"].as_str().unwrap().to_owned())
    };
    assert_eq!(changed(r#"{"a":1}"#, json!({"properties": {"a": {}}})), None);
    assert_eq!(changed(r#"{"a":1}"#, json!({"required": []})), None);
    let by_reference = json!({"$ref": "#/$defs/P", "$defs": {"P": {"required": ["b"]}}});
    assert_eq!(changed(r#"{"a":1,"b":2}"#, by_reference).unwrap(), r#"{"a":1}"#);
    let nested = json!({"properties": {"list": {"items": {"required": ["b"]}}}});
    assert_eq!(
        changed(r#"{"list":[{"a":1},{"b":2}]}"#, nested).unwrap(),
        r#"{"list":[{"a":1},{}]}"#
    );
    let endless = json!({"$ref": "#"});
    assert_eq!(changed(r#"{"a":1}"#, endless), None);
}

#[test]
fn arguments_are_cut_only_if_the_rest_is_not_json() {
    let arguments = |arguments: Value| {
        let message = json!({"tool_calls": [{"function": {"name": "f", "arguments": arguments}}]});
        let changed = faulty(ToolJson, &completion(message, "tool_calls"))?;
        let changed: Value = serde_json::from_str(&changed).unwrap();
        Some(changed["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"].clone())
    };
    assert_eq!(arguments(json!("{\"a\":1}        ")).unwrap(), "{\"a");
    for unfit in [json!("1234"), json!(12), json!(""), json!(" ")] {
        assert_eq!(arguments(unfit.clone()), None, "{unfit}");
    }
}

#[test]
fn calls_with_one_index_and_several_ids_are_several_calls() {
    let call =
        |id: &str, name: &str| json!({"index": 0, "id": id, "function": {"name": name, "arguments": "{\"a\":1}"}});
    let message = json!({"tool_calls": [call("a", "first"), call("b", "second")]});
    let body = parsed(faulty(UnknownTool, &completion(message, "tool_calls")));
    let calls = &body["choices"][0]["message"]["tool_calls"];
    assert_eq!(calls[0]["function"]["name"], "unknown_first");
    assert_eq!(calls[1]["function"]["name"], "second");
}

#[test]
fn an_answer_without_a_reason_gets_one() {
    for choice in [
        json!({"message": {"content": "aabb"}}),
        json!({"message": {"content": "aabb"}, "finish_reason": null}),
    ] {
        let body = parsed(faulty(Length, &json!({"choices": [choice]}).to_string()));
        assert_eq!(body["choices"][0]["finish_reason"], "length");
    }
}

#[test]
fn events_of_any_form_are_changed() {
    let delta = |content: &str| format!("{{\"choices\":[{{\"delta\":{{\"content\":\"{content}\"}}}}]}}");
    let stream = format!(
        "\u{feff}data: {}\n\ndata:{}\r\rdata: [DONE]\r\r",
        delta("aa"),
        delta("bb")
    );
    let last = "{\"choices\":[{\"delta\":{\"content\":\"\"},\"finish_reason\":\"length\"}]}";
    let expected = format!("\u{feff}data: {}\n\ndata: {last}\r\rdata: [DONE]\r\r", delta("aa"));
    assert_eq!(faulty(Length, &stream).unwrap(), expected);
    let call = "event:function.call.delta\ndata: {\"type\":\"function.call.delta\",\"id\":\"x\",\"name\":\"f\",\"arguments\":\"{}\"}\n\n";
    assert!(
        faulty(Refusal, call)
            .unwrap()
            .starts_with("event: message.output.delta\n")
    );
}

#[test]
fn a_stream_with_an_event_that_cannot_be_read_cannot_have_a_fault() {
    let unreadable = text_stream().replacen("\"p\":\"ab\"", "\"p\":123456789012345678901234567890", 1);
    assert_eq!(faulty(Refusal, &unreadable), None);
    let error = inapplicable(Refusal, unreadable.as_bytes(), Some(StreamFormat::Events));
    assert!(error.message().contains("an integer of more than 64 bits"), "{error}");
}
