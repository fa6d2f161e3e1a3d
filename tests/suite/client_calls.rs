//! The typed client: members of requests, options of one call, polling.

use std::time::Duration;

use crate::support::server::{Reply, Server, Step};
use crate::support::{KEY, resources};
use futures_util::StreamExt;
use mistral_cassette::client::*;
use mistral_cassette::{DirectoryEngine, ErrorKind, MemoryEngine, Mode, Recorder};
use serde_json::{Value, json};

/// The bodies of mistralai 3.7.0 for Python for the same calls, captured by a server.
#[test]
fn each_member_of_a_request_has_a_method_that_sends_what_the_official_sdk_sends() {
    let sends = |request: Value, body: Value| assert_eq!(request, body);
    sends(
        ChatRequest::new("m")
            .user("hi")
            .stop(["a"])
            .metadata([("a", 1)])
            .response_format(ResponseFormat::json_object())
            .tool_choice(ToolChoice::function("f"))
            .presence_penalty(0.5)
            .frequency_penalty(0.5)
            .n(2)
            .prediction("x")
            .parallel_tool_calls(false)
            .reasoning_effort(ReasoningEffort::High)
            .prompt_mode("reasoning")
            .guardrails([json!({ "block_on_error": true })])
            .prompt_cache_key("k")
            .service_tier(ServiceTier::Auto)
            .safe_prompt(true)
            .into(),
        json!({"model":"m","messages":[{"content":"hi","role":"user"}],"stop":["a"],"metadata":{"a":1},"response_format":{"type":"json_object"},"tool_choice":{"function":{"name":"f"},"type":"function"},"presence_penalty":0.5,"frequency_penalty":0.5,"n":2,"prediction":{"type":"content","content":"x"},"parallel_tool_calls":false,"reasoning_effort":"high","prompt_mode":"reasoning","guardrails":[{"block_on_error":true}],"prompt_cache_key":"k","service_tier":"auto","safe_prompt":true}),
    );
    sends(
        ChatRequest::new("m")
            .messages([
                ChatMessage::assistant("").with_tool_calls([ToolCall::new("i", "f", "{}")]),
                ChatMessage::tool("i", "f", "x"),
                ChatMessage::assistant("x").with_prefix(),
            ])
            .tools([Tool::built_in("web_search")])
            .stop("a")
            .tool_choice("any")
            .response_format(ResponseFormat::json_schema("n", json!({ "type": "object" })).strict(true))
            .into(),
        json!({"model":"m","messages":[
            {"role":"assistant","content":"","tool_calls":[{"id":"i","type":"function","index":0,"function":{"name":"f","arguments":"{}"}}],"prefix":false},
            {"content":"x","role":"tool","tool_call_id":"i","name":"f"},
            {"role":"assistant","content":"x","prefix":true},
        ],"tools":[{"type":"web_search"}],"stop":"a","tool_choice":"any","response_format":{"type":"json_schema","json_schema":{"name":"n","schema":{"type":"object"},"strict":true}}}),
    );
    sends(
        FimRequest::new("m", "p")
            .min_tokens(3)
            .stop(["a"])
            .top_p(0.5)
            .metadata([("a", "b")])
            .prompt_cache_key("k")
            .into(),
        json!({"model":"m","prompt":"p","top_p":0.5,"stop":["a"],"metadata":{"a":"b"},"min_tokens":3,"prompt_cache_key":"k"}),
    );
    sends(
        ConversationRequest::with_model("m", "x")
            .completion_args(
                CompletionArgs::new()
                    .temperature(0.1)
                    .stop(["a"])
                    .response_format(ResponseFormat::text()),
            )
            .metadata([("a", 1)])
            .guardrails([json!({ "block_on_error": false })])
            .handoff_execution("client")
            .agent_version(1)
            .into(),
        json!({"inputs":"x","handoff_execution":"client","completion_args":{"stop":["a"],"temperature":0.1,"response_format":{"type":"text"}},"guardrails":[{"block_on_error":false}],"metadata":{"a":1},"agent_version":1,"model":"m"}),
    );
    sends(
        AppendRequest::new("x")
            .tool_confirmations([("t", true), ("u", false)])
            .into(),
        json!({"inputs":"x","store":true,"handoff_execution":"server","tool_confirmations":[{"tool_call_id":"t","confirmation":"allow"},{"tool_call_id":"u","confirmation":"deny"}]}),
    );
    sends(
        AgentRequest::new("m", "n")
            .handoffs(["a"])
            .metadata([("a", 1)])
            .version_message("v")
            .completion_args(CompletionArgs::new().temperature(0.1))
            .into(),
        json!({"model":"m","name":"n","completion_args":{"temperature":0.1},"handoffs":["a"],"metadata":{"a":1},"version_message":"v"}),
    );
    sends(
        OcrRequest::new("m", ContentChunk::document("d"))
            .page_ranges("0-3")
            .bbox_annotation_format(ResponseFormat::json_schema("n", json!({})))
            .document_annotation_prompt("p")
            .extract_header(true)
            .extract_footer(true)
            .confidence_scores_granularity("word")
            .image_min_size(2)
            .table_format("html")
            .into(),
        json!({"model":"m","document":{"document_url":"d","type":"document_url"},"pages":"0-3","image_min_size":2,"bbox_annotation_format":{"type":"json_schema","json_schema":{"name":"n","schema":{}}},"document_annotation_prompt":"p","table_format":"html","extract_header":true,"extract_footer":true,"include_blocks":true,"confidence_scores_granularity":"word"}),
    );
    sends(
        SpeechRequest::new("x").ref_audio("b").response_format("mp3").into(),
        json!({"input":"x","ref_audio":"b","response_format":"mp3"}),
    );
    sends(
        ChatModerationRequest::for_chats("m", [[ChatMessage::user("hi")]]).into(),
        json!({"input":[[{"content":"hi","role":"user"}]],"model":"m"}),
    );
    sends(
        BatchRequest::new("/v1/chat/completions")
            .metadata([("a", "b")])
            .request("1", FimRequest::new("m", "p"))
            .into(),
        json!({"endpoint":"/v1/chat/completions","metadata":{"a":"b"},"timeout_hours":24,"requests":[{"custom_id":"1","body":{"model":"m","prompt":"p"}}]}),
    );
    sends(
        EmbeddingsRequest::new("m", ["a"])
            .output_dtype(EmbeddingDtype::Int8)
            .encoding_format("base64")
            .metadata([("a", 1)])
            .into(),
        json!({"model":"m","input":["a"],"metadata":{"a":1},"output_dtype":"int8","encoding_format":"base64"}),
    );
}

#[tokio::test]
async fn headers_and_the_total_timeout_are_those_of_one_call() {
    let (sender, slow) = Reply::directed("text/event-stream");
    let slow = std::sync::Mutex::new(Some(slow));
    let server = Server::start(move |_, call| {
        if call.json()["stream"] == true {
            return slow.lock().unwrap().take().unwrap();
        }
        Reply::json(r#"{"id":"1","model":"m","choices":[]}"#)
    })
    .await;
    let recorder = Recorder::builder(MemoryEngine::new())
        .mode(Mode::Record)
        .allow_record_in_ci();
    let client = Client::builder()
        .base_url(&server.url)
        .api_key(KEY)
        .recorder(recorder.build().unwrap())
        .build()
        .unwrap();
    let question = || ChatRequest::new("m").user("?");
    client
        .with_header("x-of-one-call", "a")
        .unwrap()
        .chat(question())
        .await
        .unwrap();
    client.chat(question()).await.unwrap();
    let sent: Vec<_> = server
        .calls()
        .iter()
        .map(|call| call.header("x-of-one-call").map(str::to_owned))
        .collect();
    assert_eq!(sent, [Some("a".to_owned()), None]);

    let chunk = r#"{"id":"1","model":"m","choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}"#;
    sender.send(Step::Send(format!("data: {chunk}\n\n").into())).unwrap();
    let mut stream = client
        .with_total_timeout(Duration::from_millis(200))
        .chat_stream(question())
        .await
        .unwrap();
    assert_eq!(stream.next().await.unwrap().unwrap().text(), "a");
    let error = stream.next().await.unwrap().unwrap_err();
    assert!(error.is_timeout(), "{error:?}");
    assert_eq!(error.message(), "the call took longer than its total timeout of 200ms");
    assert!(stream.next().await.is_none());

    // The caller has left; the recording continues.
    sender.send(Step::Send("data: [DONE]\n\n".into())).unwrap();
    drop(sender);
    assert_eq!(client.recorder().unwrap().finish().await.unwrap().recorded, 3);
}

#[tokio::test]
async fn a_response_that_misses_the_total_timeout_fails_the_verdict() {
    // The connection is accepted by the system, and nobody reads from it.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let recorder = Recorder::builder(MemoryEngine::new())
        .mode(Mode::Replay)
        .build()
        .unwrap();
    let client = Client::builder()
        .base_url(format!("http://{}", silent.local_addr().unwrap()))
        .api_key(KEY)
        .recorder(recorder.clone())
        .retries(Retries::new(5))
        .total_timeout(Duration::from_millis(50))
        .build()
        .unwrap();
    let error = client.chat(ChatRequest::new("m").user("?")).await.unwrap_err();
    assert!(error.is_timeout() && error.kind() == ErrorKind::Upstream, "{error:?}");
    assert!(
        recorder
            .finish()
            .await
            .unwrap_err()
            .report()
            .contains("total timeout of 50ms")
    );
}

#[tokio::test]
async fn a_call_without_a_key_says_so_before_it_is_sent() {
    for mode in [Mode::Record, Mode::Live] {
        let recorder = Recorder::builder(MemoryEngine::new())
            .mode(mode)
            .allow_record_in_ci()
            .build()
            .unwrap();
        let client = Client::builder()
            .recorder(recorder.clone())
            .retries(Retries::new(3))
            .build()
            .unwrap();
        let error = client.chat(ChatRequest::new("m").user("?")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Settings);
        let report = error.report();
        let expected = match mode {
            Mode::Record => "not sent: mode record needs an API key: POST /v1/chat/completions",
            _ => "there is no API key for POST /v1/chat/completions to https://api.mistral.ai",
        };
        assert!(report.contains(expected) && report.contains("hint: set "), "{report}");
        assert_eq!(recorder.finish().await.unwrap_err().kind(), ErrorKind::Settings);
    }
    let error = Client::builder().build().unwrap().models().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Settings, "{error:?}");

    // Another server may need no key.
    let server = Server::start(|_, _| Reply::json(r#"{"data":[]}"#)).await;
    let client = Client::builder().base_url(&server.url).build().unwrap();
    assert!(client.models().await.unwrap().data.is_empty());
}

fn polling_client(directory: &std::path::Path, mode: Mode, url: &str) -> Client {
    let recorder = Recorder::builder(DirectoryEngine::new(directory))
        .mode(mode)
        .build()
        .unwrap();
    Client::builder()
        .base_url(url)
        .api_key(KEY)
        .recorder(recorder)
        .build()
        .unwrap()
}

async fn runs_a_batch(client: &Client, polling: &Polling) -> mistral_cassette::Result<BatchJob> {
    let file = client
        .upload_file(FileUpload::new("a.jsonl", "{}\n").purpose(FilePurpose::Batch))
        .await?;
    let file = file.wait_until_done(client, polling.clone()).await?;
    let job = client
        .create_batch_job(BatchRequest::new("/v1/chat/completions").input_files([file.id]))
        .await?;
    assert_eq!(job.status, BatchJobStatus::Queued);
    job.wait_until_done(client, polling.clone()).await
}

#[tokio::test]
async fn waiting_for_a_batch_job_ends_at_once_on_replay() {
    let directory = tempfile::tempdir().unwrap();
    // Its jobs are done with the fourth poll.
    let server = resources::start(3).await;
    let quick = Polling::at_most(Duration::from_secs(20)).interval(Duration::from_millis(10));
    let recording = polling_client(directory.path(), Mode::Replay, &server.url);
    let live = runs_a_batch(&recording, &quick).await.unwrap();
    assert_eq!(live.status, "SUCCESS");
    recording.recorder().unwrap().finish().await.unwrap();
    let calls = server.call_count();
    assert_eq!(calls, 3 + 4);
    drop(server);

    // With this clock only waits take time.
    tokio::time::pause();
    let started = tokio::time::Instant::now();
    let replaying = polling_client(directory.path(), Mode::Strict, "http://127.0.0.1:9");
    let hourly = Polling::at_most(Duration::from_secs(86_400)).interval(Duration::from_secs(3600));
    assert_eq!(runs_a_batch(&replaying, &hourly).await.unwrap(), live);
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    // Equal states in a row are one recording.
    assert_eq!(replaying.recorder().unwrap().finish().await.unwrap().replayed, 3 + 2);

    // Too little time for the second poll: the bound counts delays that a replay skips.
    let replaying = polling_client(directory.path(), Mode::Strict, "http://127.0.0.1:9");
    let error = runs_a_batch(&replaying, &Polling::at_most(Duration::from_millis(900)))
        .await
        .unwrap_err();
    assert!(error.is_timeout() && started.elapsed() < Duration::from_secs(1));
    assert!(
        error
            .message()
            .ends_with("the state in the last of 1 polls was \"RUNNING\""),
        "{error}"
    );
}

#[tokio::test]
async fn a_file_that_is_not_there_yet_is_polled_until_the_bound() {
    let server = Server::start(|number, call| match (number, call.target.as_str()) {
        (2.., "/v1/files/late") => Reply::json(r#"{"id":"late","purpose":"of_tomorrow"}"#),
        _ => Reply::new(404, "application/json", r#"{"detail":"not found"}"#),
    })
    .await;
    let client = Client::builder().base_url(&server.url).api_key(KEY).build().unwrap();
    let polling = |time| Polling::at_most(Duration::from_millis(time)).interval(Duration::from_millis(5));
    let late = client.wait_for_file("late", polling(30_000)).await.unwrap();
    assert_eq!(
        late.purpose.as_ref(),
        Some(&FilePurpose::Unknown("of_tomorrow".to_owned()))
    );
    let error = client.wait_for_file("never", polling(20)).await.unwrap_err();
    assert!(error.is_timeout(), "{error:?}");
    assert_eq!(error.hint(), Some("allow more time"));
}
