//! The typed client: requests, parsed responses and errors.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::support::server::{Call, Reply, Server};
use crate::support::{KEY, api};
use futures_util::StreamExt;
use mistral_cassette::client::*;
use mistral_cassette::{DirectoryEngine, ErrorKind, MemoryEngine, Mode, Recorder, Request};
use serde_json::{Value, json};

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

/// A server that sends one response to every request.
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
        .safe_prompt(true);
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
async fn a_chat_response_and_a_stream_replay_without_the_api() {
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
async fn tool_calls_are_parsed_and_unknown_members_are_preserved() {
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
async fn an_error_status_becomes_an_api_error_with_status_and_body() {
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
    for (status, body, output) in bodies {
        let (_server, client) = answering(move || Reply::new(status, "application/json", body)).await;
        for error in [
            client.chat(ChatRequest::new("x").user("?")).await.unwrap_err(),
            client.chat_stream(ChatRequest::new("x").user("?")).await.unwrap_err(),
        ] {
            assert_eq!(
                (error.kind(), error.status(), error.body()),
                (ErrorKind::Api, Some(status), Some(body.as_bytes()))
            );
            assert!(error.message().ends_with(output), "{error}");
        }
    }
}

#[tokio::test]
async fn a_response_that_is_not_a_chat_is_an_error_with_its_body() {
    for body in ["<html>busy</html>", r#"{"id":1}"#, ""] {
        let (_server, client) = answering(move || Reply::json(body)).await;
        let error = client.chat(ChatRequest::new("x").user("?")).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.status(), error.body()),
            (ErrorKind::Parse, None, Some(body.as_bytes())),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_stream_that_ends_early_is_an_error() {
    let chunk = r#"data: {"id":"1","model":"m","choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}"#;
    for (rest, kind, message) in [
        ("\n\n", ErrorKind::Api, "it ended without its last event, [DONE]"),
        ("\n\ndata: {\"id\":\n\n", ErrorKind::Parse, "is not the expected JSON"),
    ] {
        let (_server, client) = answering(move || Reply::events(format!("{chunk}{rest}"))).await;
        let mut stream = client.chat_stream(ChatRequest::new("m").user("?")).await.unwrap();
        assert_eq!(stream.next().await.unwrap().unwrap().text(), "a");
        let error = stream.next().await.unwrap().unwrap_err();
        assert_eq!(error.kind(), kind);
        assert!(error.message().contains(message), "{error}");
    }
}

#[tokio::test]
async fn an_invalid_base_url_or_key_is_an_error_before_anything_is_sent() {
    for url in ["api.mistral.ai", "ftp://x", "http://", "http://x/?a=1", ""] {
        let error = Client::builder().base_url(url).build().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Settings, "{url}");
    }
    let error = Client::builder().api_key("line\nbreak").build().unwrap_err();
    assert!(!error.report().contains("break\""), "{error}");
    assert_eq!(Request::get("v1/models").unwrap_err().kind(), ErrorKind::Request);
}

#[tokio::test]
async fn a_base_url_may_end_with_the_version() {
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
async fn each_member_of_a_chat_is_sent_once() {
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

/// The parts of a form: name, name of the file, content.
async fn parts(call: &Call) -> Vec<(String, Option<String>, String)> {
    let boundary = multer::parse_boundary(call.header("content-type").unwrap()).unwrap();
    let body = call.body.clone();
    let body = futures_util::stream::once(async move { Ok::<_, std::convert::Infallible>(body) });
    let mut form = multer::Multipart::new(body, boundary);
    let mut parts = Vec::new();
    while let Some(part) = form.next_field().await.unwrap() {
        let (name, file) = (part.name().unwrap().to_owned(), part.file_name().map(str::to_owned));
        parts.push((name, file, part.text().await.unwrap()));
    }
    parts.sort();
    parts
}

/// The requests of mistralai 3.7.0 for Python for the same calls, captured by a server. Without the `metadata` of
/// lists, which it sends by mistake if it is not set.
#[tokio::test]
async fn each_call_sends_what_the_official_sdk_sends() {
    let (server, client) = answering(|| Reply::json("{}")).await;
    let user = || ChatMessage::user("hi");
    let weather = || Tool::with_parameters("f", "d", json!({ "type": "object" }));
    let json_body = "application/json";
    let (plain, stream) = (Some("application/json"), Some("text/event-stream"));
    let mut expected = Vec::<(&str, &str, Option<&str>, Value)>::new();
    macro_rules! sends {
        ($call:ident($($argument:expr),*), $method:literal $target:literal, $accept:expr, $($body:tt)+) => {
            // Only the request matters here; most responses are not "{}".
            drop(client.$call($($argument),*).await);
            expected.push(($method, $target, $accept, json!($($body)+)));
        };
    }

    let mut answer = ChatMessage::new("assistant", "");
    answer.tool_calls =
        serde_json::from_value(json!([{ "id": "x", "function": { "name": "f", "arguments": "{}" } }])).unwrap();
    let chat = ChatRequest::new("m")
        .user("hi")
        .message(answer)
        .tool("x", "f", "r")
        .with_tool(weather())
        .tool_choice("auto");
    sends!(chat(chat), "POST" "/v1/chat/completions", plain, { "model": "m", "messages": [
        { "content": "hi", "role": "user" },
        { "role": "assistant", "content": "", "tool_calls": [{ "function": { "name": "f", "arguments": "{}" }, "id": "x", "type": "function", "index": 0 }], "prefix": false },
        { "content": "r", "role": "tool", "tool_call_id": "x", "name": "f" },
    ], "stream": false, "tools": [{ "function": { "name": "f", "parameters": { "type": "object" }, "description": "d" }, "type": "function" }], "tool_choice": "auto" });
    let chunks = [
        ContentChunk::text("t"),
        ContentChunk::image("u"),
        ContentChunk::document("d"),
        ContentChunk::audio("b"),
        ContentChunk::thinking("q"),
    ];
    sends!(chat_stream(ChatRequest::new("m").user(chunks)), "POST" "/v1/chat/completions", stream, { "model": "m", "messages": [{ "content": [
        { "text": "t", "type": "text" }, { "image_url": "u", "type": "image_url" }, { "document_url": "d", "type": "document_url" },
        { "input_audio": "b", "type": "input_audio" }, { "thinking": [{ "text": "q", "type": "text" }], "type": "thinking" },
    ], "role": "user" }], "stream": true });
    sends!(fim(FimRequest::new("m", "p").suffix("s")), "POST" "/v1/fim/completions", plain,
        { "model": "m", "prompt": "p", "stream": false, "suffix": "s" });
    sends!(fim_stream(FimRequest::new("m", "p")), "POST" "/v1/fim/completions", stream,
        { "model": "m", "prompt": "p", "stream": true });
    sends!(agent_chat(AgentChatRequest::new("a").user("hi")), "POST" "/v1/agents/completions", plain,
        { "messages": [{ "content": "hi", "role": "user" }], "agent_id": "a", "stream": false });
    sends!(agent_chat_stream(AgentChatRequest::new("a").user("hi")), "POST" "/v1/agents/completions", stream,
        { "messages": [{ "content": "hi", "role": "user" }], "agent_id": "a", "stream": true });

    sends!(embeddings(EmbeddingsRequest::new("m", ["a"])), "POST" "/v1/embeddings", plain,
        { "model": "m", "input": ["a"] });
    sends!(embeddings(EmbeddingsRequest::new("m", "a").output_dimension(4)), "POST" "/v1/embeddings", plain,
        { "model": "m", "input": "a", "output_dimension": 4 });
    sends!(moderate(ModerationRequest::new("m", vec!["a"])), "POST" "/v1/moderations", plain,
        { "model": "m", "input": ["a"] });
    sends!(moderate_chat(ChatModerationRequest::new("m", [user()])), "POST" "/v1/chat/moderations", plain,
        { "input": [{ "content": "hi", "role": "user" }], "model": "m" });
    sends!(classify(ClassificationRequest::new("m", ["a"])), "POST" "/v1/classifications", plain,
        { "model": "m", "input": ["a"] });
    sends!(classify_chat(ChatClassificationRequest::new("m", [[user()]])), "POST" "/v1/chat/classifications", plain,
        { "model": "m", "input": [{ "messages": [{ "content": "hi", "role": "user" }] }] });
    sends!(ocr(OcrRequest::new("m", ContentChunk::document("d"))), "POST" "/v1/ocr", plain,
        { "model": "m", "document": { "document_url": "d", "type": "document_url" }, "include_blocks": true });
    sends!(ocr(OcrRequest::new("m", ContentChunk::image("d")).pages([0])), "POST" "/v1/ocr", plain,
        { "model": "m", "document": { "image_url": "d", "type": "image_url" }, "pages": [0], "include_blocks": true });
    sends!(ocr(OcrRequest::new("m", ContentChunk::file("d"))), "POST" "/v1/ocr", plain,
        { "model": "m", "document": { "file_id": "d", "type": "file" }, "include_blocks": true });

    sends!(models(), "GET" "/v1/models", plain, null);
    sends!(model("ft:a:b é"), "GET" "/v1/models/ft:a:b%20%C3%A9", plain, null);
    sends!(delete_model("x"), "DELETE" "/v1/models/x", plain, null);
    sends!(files(ListQuery::new()), "GET" "/v1/files?page=0&page_size=100&include_total=true", plain, null);
    sends!(file("f"), "GET" "/v1/files/f", plain, null);
    sends!(file_content("f"), "GET" "/v1/files/f/content", Some("application/octet-stream"), null);
    sends!(file_url("f", 24), "GET" "/v1/files/f/url?expiry=24", plain, null);
    sends!(delete_file("f"), "DELETE" "/v1/files/f", plain, null);

    sends!(start_conversation(ConversationRequest::with_model("m", "hi")), "POST" "/v1/conversations", plain,
        { "inputs": "hi", "stream": false, "model": "m" });
    let request = ConversationRequest::with_agent("a", [ConversationEntry::message("user", "x")])
        .tools([Tool::built_in("web_search")])
        .completion_args(CompletionArgs::new().temperature(0.1));
    sends!(start_conversation_stream(request), "POST" "/v1/conversations", stream,
        { "inputs": [{ "role": "user", "content": "x", "object": "entry", "type": "message.input", "prefix": false }], "stream": true, "tools": [{ "type": "web_search" }], "completion_args": { "temperature": 0.1 }, "agent_id": "a" });
    sends!(append_to_conversation("c", AppendRequest::new([ConversationEntry::function_result("t", "r")])), "POST" "/v1/conversations/c", plain,
        { "inputs": [{ "tool_call_id": "t", "result": "r", "object": "entry", "type": "function.result" }], "stream": false, "store": true, "handoff_execution": "server" });
    sends!(append_to_conversation_stream("c", AppendRequest::new("x")), "POST" "/v1/conversations/c", stream,
        { "inputs": "x", "stream": true, "store": true, "handoff_execution": "server" });
    sends!(restart_conversation("c", RestartRequest::new("e").inputs("x")), "POST" "/v1/conversations/c/restart", plain,
        { "from_entry_id": "e", "inputs": "x", "stream": false, "store": true, "handoff_execution": "server" });
    sends!(restart_conversation_stream("c", RestartRequest::new("e")), "POST" "/v1/conversations/c/restart", stream,
        { "from_entry_id": "e", "stream": true, "store": true, "handoff_execution": "server" });
    sends!(conversation("c"), "GET" "/v1/conversations/c", plain, null);
    sends!(conversations(ListQuery::new()), "GET" "/v1/conversations?page=0&page_size=100", plain, null);
    sends!(conversation_history("c"), "GET" "/v1/conversations/c/history", plain, null);
    sends!(conversation_messages("c"), "GET" "/v1/conversations/c/messages", plain, null);
    sends!(delete_conversation("c"), "DELETE" "/v1/conversations/c", plain, null);

    sends!(create_agent(AgentRequest::new("m", "n")), "POST" "/v1/agents", plain, { "model": "m", "name": "n" });
    sends!(agents(ListQuery::new()), "GET" "/v1/agents?page=0&page_size=20", plain, null);
    sends!(agent("a"), "GET" "/v1/agents/a", plain, null);
    sends!(update_agent("a", AgentRequest::change().set("name", "n")), "PATCH" "/v1/agents/a", plain, { "name": "n" });
    sends!(update_agent_version("a", 2), "PATCH" "/v1/agents/a/version?version=2", plain, null);
    sends!(delete_agent("a"), "DELETE" "/v1/agents/a", plain, null);

    sends!(speech(SpeechRequest::new("hi").model("m").voice_id("v")), "POST" "/v1/audio/speech", plain,
        { "input": "hi", "model": "m", "stream": false, "voice_id": "v" });
    sends!(speech_stream(SpeechRequest::new("hi")), "POST" "/v1/audio/speech", stream,
        { "input": "hi", "stream": true });
    sends!(create_batch_job(BatchRequest::new("/v1/chat/completions").input_files(["f"]).model("m")), "POST" "/v1/batch/jobs", plain,
        { "endpoint": "/v1/chat/completions", "input_files": ["f"], "model": "m", "timeout_hours": 24 });
    sends!(create_batch_job(BatchRequest::new("/v1/chat/completions").request("0", json!({ "a": 1 })).model("m")), "POST" "/v1/batch/jobs", plain,
        { "endpoint": "/v1/chat/completions", "requests": [{ "body": { "a": 1 }, "custom_id": "0" }], "model": "m", "timeout_hours": 24 });
    sends!(batch_jobs(ListQuery::new()), "GET" "/v1/batch/jobs?page=0&page_size=100&created_by_me=false&order_by=-created", plain, null);
    sends!(batch_job("j"), "GET" "/v1/batch/jobs/j", plain, null);
    sends!(batch_job_with_outputs("j"), "GET" "/v1/batch/jobs/j?inline=true", plain, null);
    sends!(cancel_batch_job("j"), "POST" "/v1/batch/jobs/j/cancel", plain, null);

    let calls = server.calls();
    assert_eq!(calls.len(), expected.len());
    for (call, (method, target, accept, body)) in calls.iter().zip(expected) {
        assert_eq!(
            (call.method.as_str(), call.target.as_str(), call.header("accept")),
            (method, target, accept)
        );
        assert_eq!(call.json(), body, "{method} {target}");
        assert_eq!(
            call.header("content-type"),
            (!body.is_null()).then_some(json_body),
            "{method} {target}"
        );
    }
}

#[tokio::test]
async fn forms_have_the_parts_that_the_official_sdk_sends() {
    let (server, client) = answering(|| Reply::json("{}")).await;
    let audio = || TranscriptionRequest::new("m").file("a.wav", "x");
    drop(client.upload_file(FileUpload::new("a.pdf", "x").purpose("ocr")).await);
    drop(
        client
            .upload_file(FileUpload::new("a.pdf", "x").visibility("user").expiry(5))
            .await,
    );
    drop(client.transcribe(audio()).await);
    drop(
        client
            .transcribe_stream(audio().language("en").diarize(true).context_bias(["a", "b"]))
            .await,
    );
    let calls = server.calls();
    let part = |name: &str, content: &str| (name.to_owned(), None, content.to_owned());
    let file = |name: &str| ("file".to_owned(), Some(name.to_owned()), "x".to_owned());
    assert_eq!(
        parts(&calls[0]).await,
        [file("a.pdf"), part("purpose", "ocr"), part("visibility", "workspace")]
    );
    assert_eq!(
        parts(&calls[1]).await,
        [part("expiry", "5"), file("a.pdf"), part("visibility", "user")]
    );
    assert_eq!(
        parts(&calls[2]).await,
        [
            part("diarize", "false"),
            file("a.wav"),
            part("model", "m"),
            part("stream", "false")
        ]
    );
    assert_eq!(
        parts(&calls[3]).await,
        [
            part("context_bias", "a"),
            part("context_bias", "b"),
            part("diarize", "true"),
            file("a.wav"),
            part("language", "en"),
            part("model", "m"),
            part("stream", "true"),
        ]
    );
    assert_eq!(calls[3].header("accept"), Some("text/event-stream"));
}

async fn values<T: serde::Serialize>(stream: EventStream<T>) -> Value
where
    EventStream<T>: futures_util::Stream<Item = mistral_cassette::Result<T>>,
{
    let events: Vec<T> = stream.map(Result::unwrap).collect().await;
    json!(events)
}

/// One call of every operation that the stand-in supports.
async fn everything(client: &Client) -> Vec<Value> {
    let agent = || AgentChatRequest::new("ag_1").user("Hello");
    let conversation = || ConversationRequest::with_model("m", "Hello");
    vec![
        json!(client.agent_chat(agent()).await.unwrap()),
        values(client.agent_chat_stream(agent()).await.unwrap()).await,
        json!(
            client
                .fim(FimRequest::new("codestral-latest", "def add(a, b):\n"))
                .await
                .unwrap()
        ),
        json!(
            client
                .embeddings(EmbeddingsRequest::new("mistral-embed", ["a", "b"]))
                .await
                .unwrap()
        ),
        json!(
            client
                .moderate(ModerationRequest::new("mistral-moderation-latest", "a"))
                .await
                .unwrap()
        ),
        json!(
            client
                .ocr(OcrRequest::new(
                    "mistral-ocr-latest",
                    ContentChunk::document("https://x/y.pdf")
                ))
                .await
                .unwrap()
        ),
        json!(client.models().await.unwrap()),
        json!(
            client
                .upload_file(FileUpload::new("a.pdf", "x").purpose("ocr"))
                .await
                .unwrap()
        ),
        json!(client.file_content("f").await.unwrap().to_vec()),
        json!(client.delete_file("f").await.unwrap()),
        json!(client.delete_agent("ag_1").await.unwrap()),
        json!(
            client
                .transcribe(TranscriptionRequest::new("m").file("a.wav", "x"))
                .await
                .unwrap()
        ),
        json!(
            client
                .speech(SpeechRequest::new("Hello"))
                .await
                .unwrap()
                .audio()
                .unwrap()
                .to_vec()
        ),
        values(client.speech_stream(SpeechRequest::new("Hello")).await.unwrap()).await,
        json!(client.start_conversation(conversation()).await.unwrap().text()),
        values(client.start_conversation_stream(conversation()).await.unwrap()).await,
    ]
}

#[tokio::test]
async fn every_resource_replays_without_the_api() {
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
    let live = everything(&client).await;
    let requested = recorder.finish().await.unwrap();
    assert_eq!((requested.recorded, requested.replayed), (live.len(), 0));
    drop(server);
    assert_eq!(everything(&client).await, live);
    assert_eq!(recorder.finish().await.unwrap().replayed, live.len());
}

#[tokio::test]
async fn a_stream_is_assembled_with_its_tool_calls() {
    let delta = |delta: Value, reason: Value, more: Value| {
        let mut chunk = json!({ "id": "1", "object": "chat.completion.chunk", "created": 5, "model": "m", "choices": [{ "index": 0, "delta": delta, "finish_reason": reason }] });
        chunk.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        format!("data: {chunk}\n\n")
    };
    let call = |id: Value, index: i64, name: &str, arguments: &str| json!({ "tool_calls": [{ "id": id, "index": index, "function": { "name": name, "arguments": arguments } }] });
    let body = [
        delta(json!({ "role": "assistant", "content": "" }), Value::Null, json!({})),
        delta(json!({ "content": [{ "type": "thinking", "thinking": [{ "type": "text", "text": "h" }] }] }), Value::Null, json!({ "p": "abc" })),
        delta(json!({ "content": [{ "type": "thinking", "thinking": [{ "type": "text", "text": "m" }], "closed": true }] }), Value::Null, json!({})),
        delta(json!({ "content": "Let me " }), Value::Null, json!({})),
        delta(json!({ "content": "see." }), Value::Null, json!({})),
        delta(call(json!("a"), 0, "f", "{\"x\""), Value::Null, json!({})),
        delta(call(json!("b"), 1, "g", "{}"), Value::Null, json!({})),
        delta(call(json!("null"), 0, "", ": 1}"), json!("tool_calls"), json!({ "usage": { "prompt_tokens": 1, "total_tokens": 2 } })),
        "data: [DONE]\n\n".to_owned(),
    ]
    .concat();
    let (_server, client) = answering(move || Reply::events(body.clone())).await;
    let answer = client
        .chat_stream(ChatRequest::new("m").user("?"))
        .await
        .unwrap()
        .collect_answer()
        .await
        .unwrap();
    assert_eq!(
        (
            answer.text().as_str(),
            answer.choices[0].message.content.thinking().as_str()
        ),
        ("Let me see.", "hm")
    );
    assert_eq!(
        answer.tool_calls()[0].function.parse::<Value>().unwrap(),
        json!({ "x": 1 })
    );
    assert_eq!(
        json!(answer),
        json!({
            "id": "1", "object": "chat.completion", "created": 5, "model": "m", "usage": { "prompt_tokens": 1, "total_tokens": 2 },
            "choices": [{ "index": 0, "finish_reason": "tool_calls", "message": {
                "role": "assistant",
                "content": [
                    { "type": "thinking", "thinking": [{ "type": "text", "text": "hm" }], "closed": true },
                    { "type": "text", "text": "Let me see." },
                ],
                "tool_calls": [
                    { "id": "a", "index": 0, "function": { "name": "f", "arguments": "{\"x\": 1}" } },
                    { "id": "b", "index": 1, "function": { "name": "g", "arguments": "{}" } },
                ],
            } }],
        })
    );
}

#[tokio::test]
async fn a_truncated_stream_is_an_error() {
    let chunk = "data: {\"id\":\"1\",\"model\":\"m\",\"choices\":[]}\n\n";
    for (body, message) in [
        (chunk, "it ended without its last event, [DONE]"),
        ("data: [DONE]\n\n", "without a chunk"),
    ] {
        let (_server, client) = answering(move || Reply::events(body)).await;
        let stream = client.chat_stream(ChatRequest::new("m").user("?")).await.unwrap();
        let error = stream.collect_answer().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Api);
        assert!(error.message().contains(message), "{error}");
    }
}

#[tokio::test]
async fn a_stream_without_its_last_event_is_an_error() {
    let event = |name: &str, more: &str| format!("event: {name}\ndata: {{\"type\":\"{name}\"{more}}}\n\n");
    let started = event("conversation.response.started", r#","conversation_id":"c""#);
    let failed = event("conversation.response.error", r#","message":"it broke","code":500"#);
    let whole = started.clone() + &failed;
    for (body, ends_well) in [(whole, true), (started, false)] {
        let (_server, client) = answering(move || Reply::events(body.clone())).await;
        let request = ConversationRequest::with_model("m", "?");
        let mut events: Vec<_> = client.start_conversation_stream(request).await.unwrap().collect().await;
        match events.pop().unwrap() {
            Ok(last) => assert!(ends_well && matches!(last, ConversationEvent::Error { .. })),
            Err(error) => {
                assert!(!ends_well, "{error}");
                assert!(
                    error
                        .message()
                        .contains("it ended without its last event, conversation.response.done"),
                    "{error}"
                );
            }
        }
        assert!(
            matches!(&events[..], [Ok(ConversationEvent::Started { conversation_id, .. })] if conversation_id == "c")
        );
    }
    let (_server, client) = answering(|| Reply::events("event: speech.audio.delta\ndata: {}\n\n")).await;
    let spoken: Vec<_> = client
        .speech_stream(SpeechRequest::new("?"))
        .await
        .unwrap()
        .collect()
        .await;
    assert!(
        spoken
            .last()
            .unwrap()
            .as_ref()
            .unwrap_err()
            .message()
            .contains("speech.audio.done")
    );
    let (_server, client) = answering(|| Reply::events("event: transcription.text.delta\ndata: {}\n\n")).await;
    let request = TranscriptionRequest::new("m").file("a.wav", "x");
    let received: Vec<_> = client.transcribe_stream(request).await.unwrap().collect().await;
    assert!(
        received
            .last()
            .unwrap()
            .as_ref()
            .unwrap_err()
            .message()
            .contains("transcription.done")
    );
}

#[tokio::test]
async fn a_response_that_does_not_match_the_type_is_an_error_with_its_text() {
    #[derive(Debug, serde::Deserialize)]
    struct Capital {
        city: String,
    }
    let answering_with = |text: &'static str| {
        answering(move || {
            Reply::json(json!({ "id": "1", "model": "m", "choices": [{ "index": 0, "message": { "role": "assistant", "content": text } }] }).to_string())
        })
    };
    let (_server, client) = answering_with("{\"city\": \"Paris\"}").await;
    let answer = client.chat(ChatRequest::new("m").user("?")).await.unwrap();
    assert_eq!(answer.parse::<Capital>().unwrap().city, "Paris");
    for text in ["{\"town\": \"Paris\"}", "Paris, of course.", ""] {
        let (_server, client) = answering_with(text).await;
        let error = client
            .chat(ChatRequest::new("m").user("?"))
            .await
            .unwrap()
            .parse::<Capital>()
            .unwrap_err();
        assert_eq!((error.kind(), error.body()), (ErrorKind::Parse, Some(text.as_bytes())));
        assert!(
            error.message().contains("cannot be parsed as the requested type"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn an_empty_id_sends_no_request() {
    let (server, client) = answering(|| Reply::json("{}")).await;
    assert_eq!(client.delete_file("").await.unwrap_err().kind(), ErrorKind::Request);
    assert_eq!(client.conversation("").await.unwrap_err().kind(), ErrorKind::Request);
    assert_eq!(client.agent("..").await.unwrap_err().kind(), ErrorKind::Request);
    assert_eq!(server.call_count(), 0);
    // Always one path segment.
    drop(client.file("a/b?c").await);
    assert_eq!(server.calls()[0].target, "/v1/files/a%2Fb%3Fc");
}

const ANSWER: &str = r#"{"id":"1","model":"m","choices":[]}"#;

/// A server that refuses the first calls with these statuses and a `retry-after` of 40 milliseconds.
async fn refusing(statuses: &'static [u16]) -> Server {
    Server::start(move |number, _| match statuses.get(number) {
        Some(status) => Reply::new(*status, "application/json", r#"{"message":"busy"}"#).header("retry-after-ms", "40"),
        None => Reply::json(ANSWER),
    })
    .await
}

#[tokio::test]
async fn transient_errors_are_retried_and_other_errors_are_not() {
    let question = || ChatRequest::new("m").user("?");
    for (statuses, retries, calls, outcome) in [
        (&[429, 503][..], Some(2), 3, Ok(())),
        (&[500, 502, 504], Some(3), 4, Ok(())),
        (&[429, 429], Some(1), 2, Err(Some(429))),
        (&[429], None, 1, Err(Some(429))),
        (&[401], Some(3), 1, Err(Some(401))),
        (&[400], Some(3), 1, Err(Some(400))),
    ] {
        let server = refusing(statuses).await;
        let mut builder = Client::builder().base_url(&server.url).api_key(KEY);
        if let Some(retries) = retries {
            builder = builder.retries(Retries::new(retries));
        }
        let client = builder.build().unwrap();
        let started = Instant::now();
        let answered = client.chat(question()).await.map(drop).map_err(|error| error.status());
        assert_eq!((answered, server.call_count()), (outcome, calls), "{statuses:?}");
        assert!(
            started.elapsed() >= Duration::from_millis(40) * (calls as u32 - 1),
            "{statuses:?}"
        );
        let sent = server.calls();
        assert!(
            sent.iter().all(|call| call.body == sent[0].body),
            "each time the same bytes"
        );
    }
}

#[tokio::test]
async fn a_failed_connection_is_retried_and_does_not_fail_the_verdict() {
    // Nothing listens until the port is bound again while the client waits.
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let recorder = Recorder::builder(MemoryEngine::new())
        .mode(Mode::Replay)
        .build()
        .unwrap();
    let tried = Arc::new(AtomicUsize::new(0));
    let counted = tried.clone();
    let client = Client::builder()
        .base_url(format!("http://{free}"))
        .api_key(KEY)
        .recorder(recorder.clone())
        .retries(Retries::new(2).first_wait(Duration::from_millis(10)))
        .rate_limiter(move |_| {
            counted.fetch_add(1, Ordering::SeqCst);
            async {}
        })
        .build()
        .unwrap();
    let error = client.chat(ChatRequest::new("m").user("?")).await.unwrap_err();
    assert_eq!((error.kind(), tried.load(Ordering::SeqCst)), (ErrorKind::Upstream, 3));
    assert_eq!(recorder.finish().await.unwrap_err().kind(), ErrorKind::Upstream);
}

#[tokio::test]
async fn recorded_refusals_replay_unchanged_without_waiting() {
    let server = refusing(&[429, 429]).await;
    let directory = tempfile::tempdir().unwrap();
    let turns = Arc::new(AtomicUsize::new(0));
    let client = |mode| {
        let counted = turns.clone();
        let recorder = Recorder::builder(DirectoryEngine::new(directory.path()))
            .mode(mode)
            .save_errors()
            .allow_record_in_ci()
            .build()
            .unwrap();
        let limiter = move |request: &Request| {
            assert_eq!(request.path(), "/v1/chat/completions");
            counted.fetch_add(1, Ordering::SeqCst);
            async {}
        };
        Client::builder()
            .base_url(&server.url)
            .api_key(KEY)
            .recorder(recorder)
            .retries(Retries::new(2))
            .rate_limiter(limiter)
            .build()
            .unwrap()
    };
    let question = || ChatRequest::new("m").user("?");
    let recording = client(Mode::Record);
    recording.chat(question()).await.unwrap();
    recording.recorder().unwrap().finish().await.unwrap();
    assert_eq!((server.call_count(), turns.load(Ordering::SeqCst)), (3, 3));

    let replaying = client(Mode::Strict);
    // With this clock only waits take time.
    tokio::time::pause();
    let started = tokio::time::Instant::now();
    replaying.chat(question()).await.unwrap();
    assert!(
        started.elapsed() < Duration::from_millis(40),
        "it waited {:?}",
        started.elapsed()
    );
    assert_eq!(replaying.recorder().unwrap().session().summary().replayed, 3);
    assert_eq!((server.call_count(), turns.load(Ordering::SeqCst)), (3, 3));
}

#[cfg(feature = "schemars")]
mod schemas {
    use super::*;

    /// Where to look.
    #[derive(schemars::JsonSchema)]
    #[allow(dead_code)]
    struct Args {
        /// A city.
        city: String,
        days: Option<u8>,
        near: Vec<Place>,
    }

    #[derive(schemars::JsonSchema)]
    #[allow(dead_code)]
    struct Place {
        name: String,
    }

    #[tokio::test]
    async fn tools_and_response_formats_are_derived_from_types() {
        let server = api::start().await;
        let request = ChatRequest::new("m")
            .user("?")
            .with_tool(Tool::function::<Args>("weather", "Now."))
            .json_schema::<Args>("place");
        let answer = client(&server.url).chat(request).await.unwrap();
        assert_eq!(answer.tool_calls()[0].function.name, "weather");
        let body = server.calls()[0].json();
        let function = &body["tools"][0]["function"];
        assert_eq!(
            (&function["name"], &function["description"]),
            (&json!("weather"), &json!("Now."))
        );
        assert_eq!(
            function["parameters"]["properties"]["city"],
            json!({ "description": "A city.", "type": "string" })
        );
        assert_eq!(function["parameters"]["required"], json!(["city", "near"]));
        assert_eq!(function["parameters"].get("$schema"), None);
        let format = &body["response_format"];
        assert_eq!(
            (
                &format["type"],
                &format["json_schema"]["name"],
                &format["json_schema"]["strict"]
            ),
            (&json!("json_schema"), &json!("place"), &json!(true))
        );
        let schema = &format["json_schema"]["schema"];
        assert_eq!(schema["additionalProperties"], json!(false));
        assert_eq!(schema["$defs"]["Place"]["additionalProperties"], json!(false));
    }
}

const ENVELOPE: &str =
    r#"{"object":"error","message":"Service tier capacity exceeded","type":"capacity","code":"3505"}"#;

#[tokio::test]
async fn an_error_in_place_of_a_response_has_the_message_of_the_api() {
    let chunk = r#"{"id":"c","model":"m","choices":[{"index":0,"delta":{"content":"He"},"finish_reason":null}]}"#;
    let events = format!("data: {chunk}\n\ndata: {ENVELOPE}\n\n");
    let check = |error: &mistral_cassette::Error| {
        assert_eq!(error.kind(), ErrorKind::Api, "{error:?}");
        assert_eq!(error.api_message().as_deref(), Some("Service tier capacity exceeded"));
        assert_eq!(
            (error.api_code().as_deref(), error.api_type().as_deref()),
            (Some("3505"), Some("capacity"))
        );
        assert!(error.message().ends_with(": Service tier capacity exceeded"), "{error}");
    };
    let (_server, client) = answering(|| Reply::json(ENVELOPE)).await;
    check(&client.chat(ChatRequest::new("m").user("hi")).await.unwrap_err());
    check(&client.chat_stream(ChatRequest::new("m").user("hi")).await.unwrap_err());

    let (_server, client) = answering(move || Reply::events(events.clone())).await;
    let stream = client.chat_stream(ChatRequest::new("m").user("hi")).await.unwrap();
    let answers: Vec<_> = stream.collect().await;
    assert!(answers[0].is_ok());
    check(answers[1].as_ref().unwrap_err());
}

#[tokio::test]
async fn responses_of_gateways_are_read() {
    let body = "\u{feff}{\"id\":\"c\",\"model\":\"m\",\"usage\":{\"prompt_tokens\":1.0,\"completion_tokens\":2e0,\"total_tokens\":3},\
        \"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"half \\ud83d\"},\"finish_reason\":\"stop\"}]}";
    let (_server, client) = answering(move || Reply::json(body)).await;
    let answer = client.chat(ChatRequest::new("m").user("hi")).await.unwrap();
    let usage = answer.usage.clone().unwrap();
    assert_eq!(
        (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens),
        (1, Some(2), 3)
    );
    assert_eq!(answer.text(), "half \u{fffd}");

    let events =
        "data:\n\nevent: ping\ndata: \n\ndata: {\"id\":\"c\",\"model\":\"m\",\"choices\":[]}\n\ndata: [DONE] \n\n";
    let (_server, client) = answering(move || Reply::events(events)).await;
    assert_eq!(chunks(&client, ChatRequest::new("m").user("hi")).await.len(), 1);
}
