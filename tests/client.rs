//! The typed client: what it sends, what it reads, and how it fails.
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used)]

mod support;

use futures_util::StreamExt;
use mistral_cassette::client::{ChatChunk, ChatRequest, Client};
use mistral_cassette::{ErrorKind, MemoryEngine, Mode, Recorder, Request};
use serde_json::json;
use support::server::{Reply, Server};
use support::{KEY, api};

fn client(url: &str) -> Client {
    Client::builder().base_url(url).api_key(KEY).build().unwrap()
}

async fn chunks(client: &Client, request: ChatRequest) -> Vec<ChatChunk> {
    client
        .chat_stream(request)
        .await
        .unwrap()
        .map(Result::unwrap)
        .collect()
        .await
}

/// A server with one answer for everything.
async fn answering(reply: impl Fn() -> Reply + Send + Sync + 'static) -> (Server, Client) {
    let server = Server::start(move |_, _| reply()).await;
    let client = client(&server.url);
    (server, client)
}

#[tokio::test]
async fn a_chat_sends_what_the_official_sdks_send() {
    let server = api::start().await;
    let request = ChatRequest::new("mistral-small-latest")
        .system("Be brief.")
        .user("Hello")
        .assistant("Hi")
        .tool("call-1", "get_weather", "sunny")
        .temperature(0.2)
        .max_tokens(50)
        .random_seed(7)
        .set("safe_prompt", true);
    client(&server.url).chat(request).await.unwrap();
    let call = &server.calls()[0];
    assert_eq!(
        call.json(),
        json!({
            "model": "mistral-small-latest",
            "messages": [
                { "role": "system", "content": "Be brief." },
                { "role": "user", "content": "Hello" },
                { "role": "assistant", "content": "Hi", "prefix": false },
                { "role": "tool", "content": "sunny", "tool_call_id": "call-1", "name": "get_weather" },
            ],
            "temperature": 0.2,
            "max_tokens": 50,
            "random_seed": 7,
            "stream": false,
            "safe_prompt": true,
        })
    );
    assert_eq!(call.header("authorization"), Some(format!("Bearer {KEY}").as_str()));
    assert_eq!(call.header("content-type"), Some("application/json"));
}

#[tokio::test]
async fn an_answer_and_a_stream_of_it_replay_without_the_api() {
    let server = api::start().await;
    let recorder = Recorder::builder(MemoryEngine::new())
        .mode(Mode::Replay)
        .build()
        .unwrap();
    let client = Client::builder()
        .base_url(&server.url)
        .api_key(KEY)
        .recorder(recorder.clone())
        .build()
        .unwrap();
    let question = || ChatRequest::new("mistral-small-latest").user("Tell me about the mistral.");
    let live = (
        client.chat(question()).await.unwrap().text(),
        chunks(&client, question()).await,
    );
    recorder.finish().await.unwrap();
    drop(server);
    let replayed = (
        client.chat(question()).await.unwrap().text(),
        chunks(&client, question()).await,
    );
    assert_eq!(live.0, replayed.0);
    assert_eq!(
        serde_json::to_value(&live.1).unwrap(),
        serde_json::to_value(&replayed.1).unwrap()
    );
    let text: String = live.1.iter().map(ChatChunk::text).collect();
    assert_eq!(text, live.0);
    assert!(live.1.last().unwrap().usage.as_ref().unwrap().total_tokens > 0);
}

#[tokio::test]
async fn tool_calls_are_read_and_nothing_unknown_is_lost() {
    let body = json!({
        "id": "1", "model": "m", "created": 5, "object": "chat.completion", "of_tomorrow": { "x": [1] },
        "usage": { "prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3, "num_cached_tokens": 0 },
        "choices": [{
            "index": 0, "finish_reason": "tool_calls", "logprobs": null,
            "message": {
                "role": "assistant", "content": null,
                "tool_calls": [{ "id": "D681PevKs", "index": 0, "function": { "name": "get_weather", "arguments": "{\"city\": \"Paris\"}" } }],
            },
        }, {
            "index": 1, "finish_reason": "a reason of tomorrow",
            "message": { "role": "assistant", "content": [{ "type": "thinking", "thinking": [] }, { "type": "text", "text": "Sunny." }] },
        }],
    });
    let text = body.to_string();
    let (_server, client) = answering(move || Reply::json(text.clone())).await;
    let answer = client.chat(ChatRequest::new("m").user("?")).await.unwrap();
    let call = &answer.choices[0].message.tool_calls.as_ref().unwrap()[0];
    assert_eq!(
        (call.id.as_deref(), call.function.name.as_str()),
        (Some("D681PevKs"), "get_weather")
    );
    assert_eq!(answer.text(), "");
    assert_eq!(answer.choices[1].message.content.text(), "Sunny.");
    assert_eq!(serde_json::to_value(&answer).unwrap(), body);
}

#[tokio::test]
async fn an_error_status_is_an_api_error_with_its_status_and_body() {
    let bodies = [
        (401, r#"{"detail":"Invalid API Key"}"#, "Invalid API Key"),
        (
            400,
            r#"{"object":"error","message":"Invalid model: x","type":"invalid_model","param":null,"code":"1500"}"#,
            "Invalid model: x",
        ),
        (
            422,
            r#"{"detail":[{"type":"missing","loc":["body","model"]}]}"#,
            r#"[{"type":"missing","loc":["body","model"]}]"#,
        ),
        (
            422,
            r#"{"object":"error","message":{"detail":[]},"code":null}"#,
            r#"{"detail":[]}"#,
        ),
        (500, "upstream connect error", "upstream connect error"),
        (503, "", "(no body)"),
    ];
    for (status, body, said) in bodies {
        let (_server, client) = answering(move || Reply::new(status, "application/json", body)).await;
        for error in [
            client.chat(ChatRequest::new("x").user("?")).await.unwrap_err(),
            client.chat_stream(ChatRequest::new("x").user("?")).await.unwrap_err(),
        ] {
            assert_eq!(
                (error.kind(), error.status(), error.body()),
                (ErrorKind::Api, Some(status), Some(body.as_bytes()))
            );
            assert!(error.message().ends_with(said), "{error}");
        }
    }
}

#[tokio::test]
async fn an_answer_that_is_no_chat_is_an_error_that_keeps_it() {
    for body in ["<html>busy</html>", r#"{"id":1}"#, ""] {
        let (_server, client) = answering(move || Reply::json(body)).await;
        let error = client.chat(ChatRequest::new("x").user("?")).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.body()),
            (ErrorKind::Api, Some(body.as_bytes())),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_stream_that_ends_early_says_so() {
    let chunk = r#"data: {"id":"1","model":"m","choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}"#;
    for (rest, message) in [
        ("\n\n", "ended early"),
        ("\n\ndata: {\"id\":\n\n", "is not the JSON that was expected"),
    ] {
        let (_server, client) = answering(move || Reply::events(format!("{chunk}{rest}"))).await;
        let mut stream = client.chat_stream(ChatRequest::new("m").user("?")).await.unwrap();
        assert_eq!(stream.next().await.unwrap().unwrap().text(), "a");
        let error = stream.next().await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Api);
        assert!(error.message().contains(message), "{error}");
    }
}

#[tokio::test]
async fn a_wrong_base_url_or_key_is_told_before_anything_is_sent() {
    for url in ["api.mistral.ai", "ftp://x", "http://", "http://x/?a=1", ""] {
        let error = Client::builder().base_url(url).build().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Settings, "{url}");
    }
    let error = Client::builder().api_key("line\nbreak").build().unwrap_err();
    assert!(!error.report().contains("break\""), "{error}");
    assert_eq!(Request::get("v1/models").unwrap_err().kind(), ErrorKind::Request);
}

#[tokio::test]
async fn a_base_url_may_end_in_the_version() {
    let server = api::start().await;
    for url in [
        format!("{}/", server.url),
        format!("{}/v1", server.url),
        format!("{}/v1/", server.url),
    ] {
        let response = client(&url).request(Request::get("/v1/models").unwrap()).await.unwrap();
        assert_eq!(response.status().as_u16(), 200, "{url}");
    }
}

#[tokio::test]
async fn no_member_of_a_chat_is_sent_twice() {
    let server = api::start().await;
    let request = ChatRequest::new("a")
        .user("x")
        .temperature(0.2)
        .set("temperature", 0.7)
        .set("stream", true)
        .set("model", "b");
    client(&server.url).chat(request).await.unwrap();
    let body = String::from_utf8(server.calls()[0].body.to_vec()).unwrap();
    for (member, value) in [
        ("temperature", "0.7"),
        ("stream", "false"),
        ("model", "\"b\""),
        ("messages", "["),
    ] {
        assert_eq!(body.matches(&format!("\"{member}\":")).count(), 1, "{body}");
        assert!(body.contains(&format!("\"{member}\":{value}")), "{body}");
    }
}
