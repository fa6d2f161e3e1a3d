//! Pace, fragments and injected faults of replayed responses, through every front end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::support::KEY;
use crate::support::project::{Project, RunningProxy};
use crate::support::server::{Reply, Server};
use crate::support::wire::{Answer, Wire, ask};
use futures_util::StreamExt as _;
use futures_util::future::join_all;
use mistral_cassette::client::{Client, Retries};
use mistral_cassette::settings::Pace;
use mistral_cassette::{
    CacheEngine, CassetteMiddleware, DirectoryEngine, ErrorKind, MemoryEngine, Mode, Playback, Recorder, Request,
    Response, Upstream,
};
use serde_json::{Value, json};

const CHAT: &str = "POST /v1/chat/completions";

/// A port on which nothing listens.
const CLOSED: &str = "http://127.0.0.1:9";

/// With a character of two bytes in each event.
const STREAM: &str = "data: {\"a\":\"mistral é\"}\n\ndata: {\"b\":\"é\"}\n\ndata: {\"c\":\"é\"}\n\ndata: [DONE]\n\n";

fn question(text: &str) -> String {
    json!({ "model": "m", "messages": [{ "role": "user", "content": text }] }).to_string()
}

fn streamed(text: &str) -> String {
    json!({ "model": "m", "stream": true, "messages": [{ "role": "user", "content": text }] }).to_string()
}

/// Responds with the number of the call: as a stream if requested, as text if the request body is empty.
async fn api() -> Server {
    Server::start(|number, call| match call.json()["stream"] {
        Value::Bool(true) => Reply::events(STREAM),
        _ if call.method == "DELETE" => Reply::new(204, "application/json", ""),
        _ => Reply::json(format!(r#"{{"id":"{number}","answer":{number}}}"#)),
    })
    .await
}

/// A project with recordings of these bodies, in this order, and their files, which must not change.
async fn recorded(bodies: &[String]) -> (Project, BTreeMap<String, Vec<u8>>) {
    let (project, server) = (Project::new(), api().await);
    let proxy = project.proxy("record", &server.url, &[]);
    for body in bodies {
        assert_eq!(ask(&proxy.url, CHAT, body).await.status, 200);
    }
    assert_eq!(ended(proxy), format!("0 replayed, {} recorded", bodies.len()));
    let tree = project.tree();
    (project, tree)
}

/// Replays the recordings with these flags.
fn replaying(project: &Project, flags: &[&str]) -> RunningProxy {
    project.proxy("strict", CLOSED, flags)
}

/// The summary of a proxy without errors.
fn ended(proxy: RunningProxy) -> String {
    let done = proxy.stop();
    assert_eq!(done.code(), 0, "{done:?}");
    let last = done.stderr.lines().last().unwrap_or_default();
    last.trim_start_matches("mistral-cassette: ").to_owned()
}

/// Sends a request with one of our headers.
async fn with_headers(url: &str, header: &str, value: &str, body: &str) -> Answer {
    let mut wire = Wire::to(url).await;
    let headers = format!("content-type: application/json\r\nmistral-cassette-{header}: {value}\r\n");
    wire.send(CHAT, &headers, body.as_bytes()).await;
    wire.answer().await
}

fn lengths(answer: &Answer) -> Vec<usize> {
    answer.pieces.iter().map(Vec::len).collect()
}

/// The statuses of consecutive responses; 0 for a closed connection.
async fn statuses(url: &str, body: &str, asks: usize) -> Vec<u16> {
    let mut statuses = Vec::new();
    for _ in 0..asks {
        statuses.push(ask(url, CHAT, body).await.status);
    }
    statuses
}

#[tokio::test]
async fn bodies_arrive_in_the_requested_fragments() {
    let (project, tree) = recorded(&[streamed("a"), question("a")]).await;
    let whole = r#"{"id":"1","answer":1}"#;

    let proxy = replaying(&project, &["--fragment", "1,5,2,13"]);
    let stream = ask(&proxy.url, CHAT, streamed("a")).await;
    assert_eq!(stream.text(), STREAM);
    assert_eq!(
        lengths(&stream),
        [1, 5, 2, 13, 1, 5, 2, 13, 1, 5, 2, 13, 1, 5, 2, 5],
        "{stream:?}"
    );
    let torn = |piece: &Vec<u8>| std::str::from_utf8(piece).is_err();
    assert!(stream.pieces.iter().any(torn), "a character is torn");
    let plain = ask(&proxy.url, CHAT, question("a")).await;
    assert_eq!((plain.text().as_str(), lengths(&plain)), (whole, vec![1, 5, 2, 13]));
    // A request header overrides the flags.
    let alone = with_headers(&proxy.url, "fragment", "20", &question("a")).await;
    assert_eq!(lengths(&alone), [20, 1]);
    let as_it_is = with_headers(&proxy.url, "fragment", "none", &question("a")).await;
    assert_eq!(as_it_is.header("content-length"), Some("21"));
    assert_eq!(ended(proxy), "4 replayed, 0 recorded");

    let proxy = replaying(&project, &[]);
    let stream = ask(&proxy.url, CHAT, streamed("a")).await;
    assert_eq!(stream.pieces.len(), 4, "event by event");
    let stream = with_headers(&proxy.url, "fragment", "7", &streamed("a")).await;
    assert!(lengths(&stream)[..9].iter().all(|length| *length == 7), "{stream:?}");
    assert_eq!(stream.text(), STREAM);
    assert_eq!(project.tree(), tree);
}

#[tokio::test]
async fn responses_are_replayed_with_their_recorded_delays() {
    let (project, _) = recorded(&[streamed("a")]).await;
    let (name, text) = project.tree().pop_first().unwrap();
    let text = String::from_utf8(text).unwrap();
    let (before, _) = text.split_once("timing_ms:").unwrap();
    project.write(&name, format!("{before}timing_ms: [200, 220, 600, 600]\n"));
    let began = Instant::now();
    let elapsed = || began.elapsed();

    let proxy = replaying(&project, &["--pace", "2x"]);
    let mut wire = Wire::to(&proxy.url).await;
    wire.send(CHAT, "", streamed("a").as_bytes()).await;
    let sent = elapsed();
    wire.head().await;
    assert!(elapsed() - sent >= Duration::from_millis(99));
    for _ in 0..3 {
        wire.chunk().await.unwrap();
    }
    assert!(elapsed() - sent >= Duration::from_millis(299));

    // Unit tests check the delays with a paused clock; this test checks that the values are read.
    let sent = elapsed();
    with_headers(&proxy.url, "pace", "recorded", &streamed("a")).await;
    assert!(elapsed() - sent >= Duration::from_millis(599));
    project.write("cassettes/settings.yaml", "pace: 4x\n");
    let settings = replaying(&project, &[]);
    let sent = elapsed();
    ask(&settings.url, CHAT, streamed("a")).await;
    assert!(elapsed() - sent >= Duration::from_millis(149));
}

#[tokio::test]
async fn an_injected_status_looks_like_an_api_error_and_the_real_response_follows() {
    let (project, tree) = recorded(&[question("a"), question("a"), question("a")]).await;
    let proxy = replaying(&project, &["--inject", "429:0.5,seed:1"]);
    let (mut real, mut refused) = (Vec::new(), 0);
    for _ in 0..20 {
        let answer = ask(&proxy.url, CHAT, question("a")).await;
        if answer.status == 429 {
            let message = answer.error(429);
            assert_eq!(message, "Rate limit exceeded (injected by mistral-cassette)");
            assert_eq!(answer.header("retry-after"), Some("1"));
            assert_eq!(answer.header("mistral-cassette-injected"), Some("429"));
            refused += 1;
        } else {
            let body: Value = serde_json::from_slice(&answer.body()).unwrap();
            real.push(body["answer"].as_u64().unwrap());
        }
    }
    let expected: Vec<u64> = (0..20 - refused).map(|ask| ask.min(2)).collect();
    assert_eq!(real, expected);
    assert!((2..18).contains(&refused), "{refused}");
    let other = with_headers(&proxy.url, "inject", "503", &question("a")).await;
    assert_eq!(other.error(503), "Service unavailable. (injected by mistral-cassette)");
    assert_eq!(
        ended(proxy),
        format!("{} replayed, 0 recorded, {} injected", 20 - refused, refused + 1)
    );
    assert_eq!(project.tree(), tree);
}

#[tokio::test]
async fn a_truncated_body_closes_its_connection_and_the_next_one_is_complete() {
    let (project, _) = recorded(&[streamed("a"), question("a"), question("a")]).await;
    let proxy = replaying(&project, &["--inject", "cut"]);
    for _ in 0..2 {
        let stream = ask(&proxy.url, CHAT, streamed("a")).await;
        assert!(!stream.is_whole && stream.status == 200, "{stream:?}");
        assert_eq!(stream.header("mistral-cassette-injected"), Some("cut"));
        assert_eq!(stream.text(), STREAM[..STREAM.len() / 2]);
    }
    let plain = ask(&proxy.url, CHAT, question("a")).await;
    assert!(!plain.is_whole && plain.text() == r#"{"id":"1",""#[..10], "{plain:?}");
    for number in [1, 2, 2] {
        let next = with_headers(&proxy.url, "inject", "none", &question("a")).await;
        assert!(next.is_whole);
        assert_eq!(next.text(), format!(r#"{{"id":"{number}","answer":{number}}}"#));
    }
    assert_eq!(ended(proxy), "3 replayed, 0 recorded, 3 injected");
}

#[tokio::test]
async fn a_reset_connection_returns_no_response() {
    let (project, _) = recorded(&[question("a")]).await;
    let proxy = replaying(&project, &["--inject", "reset"]);
    let mut wire = Wire::to(&proxy.url).await;
    wire.send(CHAT, "", question("a").as_bytes()).await;
    let mut output = Vec::new();
    tokio::io::AsyncReadExt::read_to_end(&mut wire.stream, &mut output)
        .await
        .unwrap();
    assert_eq!(output, b"");
    assert_eq!(ended(proxy), "0 replayed, 0 recorded, 1 injected");
}

#[tokio::test]
async fn a_malformed_body_ends_normally_and_cannot_be_parsed() {
    let (project, _) = recorded(&[streamed("a"), question("a")]).await;
    let proxy = replaying(&project, &["--inject", "malformed"]);
    let plain = ask(&proxy.url, CHAT, question("a")).await;
    assert!(plain.is_whole);
    assert!(serde_json::from_slice::<Value>(&plain.body()).is_err(), "{plain:?}");
    let stream = ask(&proxy.url, CHAT, streamed("a")).await;
    assert!(stream.is_whole);
    let text = stream.text();
    let broken: Vec<&str> = text
        .split_terminator("\n\n")
        .map(|event| event.strip_prefix("data: ").unwrap())
        .filter(|data| *data != "[DONE]" && serde_json::from_str::<Value>(data).is_err())
        .collect();
    assert_eq!(broken, ["{\"b"], "{text}");
    assert!(text.ends_with("data: [DONE]\n\n"));
    assert_eq!(ended(proxy), "0 replayed, 0 recorded, 2 injected");
}

#[tokio::test]
async fn responses_without_a_body_are_not_broken() {
    let (project, server) = (Project::new(), api().await);
    let proxy = project.proxy("record", &server.url, &[]);
    assert_eq!(ask(&proxy.url, "DELETE /v1/files/1", "").await.status, 204);
    ended(proxy);
    for fault in ["cut", "malformed"] {
        let proxy = replaying(&project, &["--inject", fault]);
        let answer = ask(&proxy.url, "DELETE /v1/files/1", "").await;
        assert_eq!((answer.status, answer.is_whole), (204, true));
        assert_eq!(ended(proxy), "1 replayed, 0 recorded");
    }
}

/// Responds as a model that calls a tool, if the request has one, or says `Bonjour à tous`.
async fn model() -> Server {
    Server::start(|_, call| {
        let request = call.json();
        let tool_call =
            json!({"id": "a", "index": 0, "function": {"name": "weather", "arguments": r#"{"city":"Paris"}"#}});
        let (messages, reason) = if request["tools"].is_array() {
            (vec![json!({"content": "", "tool_calls": [tool_call]})], "tool_calls")
        } else {
            let words = ["Bonjour", " à", " tous"];
            (words.map(|word| json!({"content": word})).to_vec(), "stop")
        };
        let choice = |member: &str, message: &Value, reason: Value| {
            json!({"choices": [{"index": 0, member: message, "finish_reason": reason}]}).to_string()
        };
        let (last, before) = messages.split_last().unwrap();
        if request["stream"] == true {
            let mut events: String = before
                .iter()
                .map(|delta| format!("data: {}\n\n", choice("delta", delta, Value::Null)))
                .collect();
            events += &format!("data: {}\n\ndata: [DONE]\n\n", choice("delta", last, reason.into()));
            Reply::events(events)
        } else {
            let text: String = messages
                .iter()
                .filter_map(|message| message["content"].as_str())
                .collect();
            let message = json!({"content": text, "tool_calls": last["tool_calls"]});
            Reply::json(choice("message", &message, reason.into()))
        }
    })
    .await
}

/// The text, the first tool call and the reason of a completion, plain or streamed.
fn completion(answer: &Answer) -> (String, Value, String) {
    let text = answer.text();
    let documents: Vec<Value> = match text.strip_prefix("data: ") {
        Some(events) => events
            .trim_end()
            .split("\n\ndata: ")
            .filter(|data| *data != "[DONE]")
            .map(|data| serde_json::from_str(data).unwrap())
            .collect(),
        None => vec![serde_json::from_str(&text).unwrap()],
    };
    let (mut said, mut call, mut reason) = (String::new(), Value::Null, String::new());
    for document in &documents {
        let choice = &document["choices"][0];
        let message = [&choice["message"], &choice["delta"]]
            .into_iter()
            .find(|message| message.is_object());
        let message = message.unwrap();
        said += message["content"].as_str().unwrap_or_default();
        if message["tool_calls"][0].is_object() {
            call = message["tool_calls"][0]["function"].clone();
        }
        reason += choice["finish_reason"].as_str().unwrap_or_default();
    }
    (said, call, reason)
}

#[tokio::test]
async fn an_answer_of_the_model_is_faulty_plain_and_streamed() {
    let (project, server) = (Project::new(), model().await);
    let ask_for = |text: &str, has_tool: bool, is_streamed: bool| {
        let mut request: Value = serde_json::from_str(&question(text)).unwrap();
        if has_tool {
            request["tools"] =
                json!([{"type": "function", "function": {"name": "weather", "parameters": {"required": ["city"]}}}]);
        }
        request["stream"] = is_streamed.into();
        request.to_string()
    };
    let forms = [(false, false), (false, true), (true, false), (true, true)];
    let proxy = project.proxy("record", &server.url, &[]);
    for (has_tool, is_streamed) in forms {
        ask(&proxy.url, CHAT, ask_for("a", has_tool, is_streamed)).await;
    }
    assert_eq!(ended(proxy), "0 replayed, 4 recorded");
    let tree = project.tree();
    let call = |name: &str, arguments: &str| json!({"name": name, "arguments": arguments});
    let whole = r#"{"city":"Paris"}"#;
    for (fault, of_text, of_call) in [
        (
            "tool-json",
            None,
            Some(("", call("weather", r#"{"city":"#), "tool_calls")),
        ),
        (
            "unknown-tool",
            None,
            Some(("", call("unknown_weather", whole), "tool_calls")),
        ),
        ("schema", None, Some(("", call("weather", "{}"), "tool_calls"))),
        (
            "length",
            Some(("Bonjour", "length")),
            Some(("", call("weather", r#"{"city":"#), "length")),
        ),
        (
            "refusal",
            Some(("I'm sorry, but I can't help with that.", "stop")),
            Some(("I'm sorry, but I can't help with that.", Value::Null, "stop")),
        ),
        ("empty", Some(("", "stop")), Some(("", Value::Null, "stop"))),
    ] {
        let proxy = replaying(&project, &["--inject", fault]);
        let mut injected = 0;
        for (has_tool, is_streamed) in forms {
            let answer = ask(&proxy.url, CHAT, ask_for("a", has_tool, is_streamed)).await;
            assert!(answer.status == 200 && answer.is_whole);
            let expected = if has_tool {
                of_call.clone()
            } else {
                of_text.map(|(text, reason)| (text, Value::Null, reason))
            };
            injected += usize::from(expected.is_some());
            let is_named = answer.header("mistral-cassette-injected") == Some(fault);
            assert_eq!(is_named, expected.is_some(), "{fault}: {answer:?}");
            let (text, call, reason) = expected.unwrap_or(("Bonjour à tous", Value::Null, "stop"));
            assert_eq!(
                completion(&answer),
                (text.to_owned(), call, reason.to_owned()),
                "{fault}"
            );
        }
        let summary = format!("{} replayed, 0 recorded, {injected} injected", 4 - injected);
        assert_eq!(ended(proxy), summary, "{fault}");
    }
    assert_eq!(project.tree(), tree);
}

#[tokio::test]
async fn a_request_for_a_fault_that_its_answer_cannot_have_is_an_error() {
    let (project, server) = (Project::new(), model().await);
    let proxy = project.proxy("record", &server.url, &[]);
    ask(&proxy.url, CHAT, question("a")).await;
    ended(proxy);
    let proxy = replaying(&project, &[]);
    let message = with_headers(&proxy.url, "inject", "tool-json", &question("a"))
        .await
        .error(400);
    assert!(
        message.starts_with("cannot inject tool-json: the response has no tool call\nhint: remove the header"),
        "{message}"
    );
    let answer = with_headers(&proxy.url, "inject", "tool-json:0,length", &question("a")).await;
    assert_eq!(completion(&answer).0, "Bonjour");
    let done = proxy.stop();
    assert_eq!(done.code(), 1);
    assert!(done.stderr.contains("1 request has failed"), "{done:?}");
}

#[tokio::test]
async fn a_delay_is_awaited_unless_the_proxy_shuts_down() {
    let (project, _) = recorded(&[question("a")]).await;
    let proxy = replaying(&project, &["--inject", "delay:150ms"]);
    let began = Instant::now();
    assert_eq!(ask(&proxy.url, CHAT, question("a")).await.status, 200);
    assert!(began.elapsed() >= Duration::from_millis(150));
    assert_eq!(ended(proxy), "1 replayed, 0 recorded, 1 delayed");

    let proxy = replaying(&project, &["--inject", "delay:1h"]);
    let mut wire = Wire::to(&proxy.url).await;
    wire.send(CHAT, "", question("a").as_bytes()).await;
    // The response to this request follows once the first one has been read.
    with_headers(&proxy.url, "inject", "none", &question("a")).await;
    let ended = tokio::task::spawn_blocking(|| ended(proxy));
    assert_eq!(wire.answer().await.status, 200);
    assert_eq!(ended.await.unwrap(), "2 replayed, 0 recorded, 1 delayed");
}

#[tokio::test]
async fn requests_without_a_recording_are_forwarded_without_faults_and_without_fault_headers() {
    let (project, server) = (Project::new(), api().await);
    let proxy = project.proxy(
        "replay",
        &server.url,
        &["--inject", "429", "--fragment", "1", "--pace", "recorded"],
    );
    for text in ["a", "b"] {
        let miss = with_headers(&proxy.url, "inject", "cut", &question(text)).await;
        assert_eq!((miss.status, miss.is_whole), (200, true));
    }
    let names: Vec<String> = server
        .calls()
        .iter()
        .flat_map(|call| call.headers.keys().map(ToString::to_string).collect::<Vec<_>>())
        .collect();
    assert!(!names.iter().any(|name| name.contains("cassette")), "{names:?}");
    let tree = project.tree();
    assert_eq!(tree.len(), 2);
    assert!(
        tree.values()
            .all(|file| !String::from_utf8_lossy(file).contains("inject"))
    );
    // The key is the same with and without them.
    assert_eq!(statuses(&proxy.url, &question("a"), 2).await, [429, 429]);
    let hit = with_headers(&proxy.url, "inject", "none", &question("a")).await;
    assert_eq!((hit.status, lengths(&hit).len()), (200, 21));
    assert_eq!(server.call_count(), 2);
    assert_eq!(ended(proxy), "1 replayed, 2 recorded, 2 injected");

    for mode in ["record", "live"] {
        let proxy = project.proxy(mode, &server.url, &["--inject", "429"]);
        assert_eq!(statuses(&proxy.url, &question("a"), 2).await, [200, 200]);
    }
}

#[tokio::test]
async fn an_invalid_fault_header_is_an_error_and_no_request_is_sent() {
    let (project, server) = (Project::new(), api().await);
    let proxy = project.proxy("replay", &server.url, &[]);
    for (header, value, reported) in [
        (
            "inject",
            "429:2",
            "in the header mistral-cassette-inject: cannot inject \"429:2\" in \"429:2\"",
        ),
        (
            "pace",
            "fast",
            "in the header mistral-cassette-pace: \"fast\" is not a pace",
        ),
        (
            "fragment",
            "0",
            "in the header mistral-cassette-fragment: \"0\" in \"0\" is not the length",
        ),
        ("injct", "429", "unknown header mistral-cassette-injct"),
    ] {
        let message = with_headers(&proxy.url, header, value, &question("a")).await.error(400);
        assert!(message.starts_with(reported) && message.contains("hint: "), "{message}");
    }
    assert_eq!(server.connection_count(), 0);
    let done = proxy.stop();
    assert_eq!(done.code(), 1);
    assert!(done.stderr.contains("4 requests have failed"), "{done:?}");
    for (flag, value) in [("--inject", "429:2"), ("--pace", "0x"), ("--fragment", "x")] {
        let done = project.run(&["proxy", flag, value]);
        assert_eq!(done.code(), 2);
        assert!(done.stderr.contains(flag) && done.stderr.contains("hint: "), "{done:?}");
    }
}

/// The seed is printed, and two processes make the same choices, whatever the order of requests.
#[tokio::test]
async fn the_same_requests_are_hit_in_every_process_and_order() {
    const ASKS: usize = 12;
    let bodies: Vec<String> = (0..6).map(|number| question(&number.to_string())).collect();
    let (project, _) = recorded(&bodies).await;
    let flags = ["--inject", "429:0.3,503:0.2,seed:11"];

    let proxy = replaying(&project, &flags);
    let mut first = Vec::new();
    for body in &bodies {
        first.push(statuses(&proxy.url, body, ASKS).await);
    }
    let done = proxy.stop();
    assert!(done.stderr.contains("injects 429:0.3,503:0.2,seed:11\n"), "{done:?}");

    // All keys concurrently, each with its own order.
    let proxy = replaying(&project, &flags);
    let url = proxy.url.clone();
    let second = join_all(bodies.iter().map(|body| statuses(&url, body, ASKS))).await;
    assert_eq!(first, second);
    assert!(first.iter().any(|statuses| *statuses != first[0]), "{first:?}");

    let proxy = replaying(&project, &["--inject", "429:0.3,503:0.2,seed:12"]);
    let url = proxy.url.clone();
    assert_ne!(
        first,
        join_all(bodies.iter().map(|body| statuses(&url, body, ASKS))).await
    );

    // Concurrent requests with one key: the number of hits is the same.
    let proxy = replaying(&project, &flags);
    let url = proxy.url.clone();
    let mut at_once: Vec<u16> = join_all((0..ASKS).map(|_| statuses(&url, &bodies[0], 1)))
        .await
        .concat();
    at_once.sort_unstable();
    first[0].sort_unstable();
    assert_eq!(at_once, first[0]);

    let proxy = replaying(&project, &["--inject", "429"]);
    assert!(
        proxy.stop().stderr.contains("injects 429:1,seed:0\n"),
        "the default seed"
    );
}

#[tokio::test]
async fn run_passes_the_fault_flags_to_the_proxy() {
    let (project, _) = recorded(&[question("a")]).await;
    let script = r#"curl -s -o /dev/null -w '%{http_code}' -d "$0" "$MISTRAL_SERVER_URL/v1/chat/completions""#;
    let body = question("a");
    let done = project.run(&[
        "run", "--mode", "strict", "--inject", "529", "--", "sh", "-c", script, &body,
    ]);
    assert_eq!((done.code(), done.stdout.as_str()), (0, "529"), "{done:?}");
    assert!(done.stderr.contains("0 replayed, 0 recorded, 1 injected"), "{done:?}");
}

// In the library.

fn asking(text: &str) -> Request {
    Request::post("/v1/chat/completions")
        .unwrap()
        .body(question(text).into_bytes())
}

/// A session with an engine that contains one recording.
async fn session(playback: Playback) -> Recorder {
    let engine: Arc<dyn CacheEngine> = Arc::new(MemoryEngine::new());
    let first = Recorder::builder(engine.clone()).mode(Mode::Replay).build().unwrap();
    let upstream = async |_: Request| Ok(Response::new(http::StatusCode::OK, "{\"answer\":\"é\"}"));
    first
        .answer(asking("a"), upstream)
        .await
        .unwrap()
        .bytes()
        .await
        .unwrap();
    first.finish().await.unwrap();
    Recorder::builder(engine)
        .mode(Mode::Strict)
        .playback(playback)
        .build()
        .unwrap()
}

fn nowhere() -> Upstream {
    Upstream::builder().base_url(CLOSED).build().unwrap()
}

#[tokio::test]
async fn a_recorder_applies_its_fault_settings() {
    let playback = Playback::new().fragments([12, 1, 4]);
    let recorder = session(playback).await;
    let pieces = recorder
        .answer(asking("a"), nowhere())
        .await
        .unwrap()
        .into_body()
        .into_stream();
    let pieces: Vec<String> = pieces
        .map(|piece| String::from_utf8_lossy(&piece.unwrap()).into_owned())
        .collect()
        .await;
    assert_eq!(pieces, ["{\"answer\":\"\u{fffd}", "\u{fffd}", "\"}"]);

    let cut = recorder.with_playback(Playback::new().inject("cut").unwrap());
    let mut pieces = cut
        .answer(asking("a"), nowhere())
        .await
        .unwrap()
        .into_body()
        .into_stream();
    assert_eq!(pieces.next().await.unwrap().unwrap(), "{\"answe");
    assert_eq!(pieces.next().await.unwrap().unwrap_err().kind(), ErrorKind::Upstream);
    assert!(pieces.next().await.is_none());

    let reset = recorder.with_playback(Playback::new().inject("reset").unwrap());
    let error = reset.answer(asking("a"), nowhere()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Upstream);
    // An injected fault does not fail the verdict.
    let summary = recorder.finish().await.unwrap();
    assert_eq!((summary.replayed, summary.injected, summary.failed), (1, 2, 0));
}

#[tokio::test(start_paused = true)]
async fn delays_and_paces_use_the_clock_of_the_runtime() {
    let recorder = session(
        Playback::new()
            .inject("delay:200ms,delay:1s,429:0")
            .unwrap()
            .pace(Pace::Instant),
    )
    .await;
    let began = tokio::time::Instant::now();
    recorder.answer(asking("a"), nowhere()).await.unwrap();
    assert_eq!(began.elapsed(), Duration::from_millis(1200));
    assert_eq!(recorder.session().summary().delayed, 1);
}

#[tokio::test(start_paused = true)]
async fn the_client_accepts_fault_headers_and_retries_without_waiting() {
    for (fault, reported) in [("429", 429), ("reset", 0)] {
        let mut injected = 0;
        for seed in 0..8 {
            let playback = Playback::new().inject(&format!("{fault}:0.5,seed:{seed}")).unwrap();
            let recorder = session(playback).await;
            let client = Client::builder().base_url(CLOSED).retries(Retries::new(20));
            let client = client.recorder(recorder.clone()).build().unwrap();
            let began = tokio::time::Instant::now();
            assert_eq!(client.request(asking("a")).await.unwrap().status(), 200);
            assert!(
                began.elapsed() < Duration::from_secs(1),
                "the client does not wait after an injected fault"
            );
            let summary = recorder.finish().await.unwrap();
            assert_eq!(summary.replayed, 1);
            injected += summary.injected;

            // Without retries it is an error.
            let with_headers = asking("a").header("mistral-cassette-inject".parse().unwrap(), fault.parse().unwrap());
            let once = Client::builder().base_url(CLOSED).recorder(recorder).build().unwrap();
            let answered = once.request(with_headers).await;
            assert_eq!(answered.map_or(0, |answer| answer.status().as_u16()), reported);
        }
        assert!(injected > 0, "{fault}");
    }
}

/// A client without a recorder, and one whose recorder is in a middleware.
#[tokio::test]
async fn fault_headers_reach_the_upstream_through_no_front_end() {
    let server = api().await;
    let with_headers = || asking("a").header("mistral-cassette-pace".parse().unwrap(), "2x".parse().unwrap());
    let client = Client::builder().base_url(&server.url).api_key(KEY).build().unwrap();
    client.request(with_headers()).await.unwrap();

    let folder = tempfile::tempdir().unwrap();
    let recorder = Recorder::builder(DirectoryEngine::new(folder.path()))
        .mode(Mode::Replay)
        .build()
        .unwrap();
    rustls::crypto::ring::default_provider().install_default().ok();
    let client = reqwest_middleware::ClientBuilder::new(reqwest::Client::new())
        .with(CassetteMiddleware::new(recorder.clone()))
        .build();
    let send = |header: &'static str, value: &'static str| {
        client
            .post(format!("{}/v1/chat/completions", server.url))
            .bearer_auth(KEY)
            .header(header, value)
            .body(question("a"))
            .send()
    };
    let first = send("mistral-cassette-inject", "429").await.unwrap();
    assert_eq!(first.status(), 200);
    first.bytes().await.unwrap();
    assert_eq!(send("mistral-cassette-inject", "429").await.unwrap().status(), 429);
    let cut = send("mistral-cassette-inject", "cut").await.unwrap();
    assert!(cut.bytes().await.is_err());
    let reset = send("mistral-cassette-inject", "reset").await.unwrap_err();
    assert!(reset.to_string().contains("connection was closed"), "{reset}");
    let reported = send("mistral-cassette-pace", "fast").await.unwrap_err();
    assert!(reported.to_string().contains("\"fast\" is not a pace"), "{reported}");
    assert_eq!(server.call_count(), 2);
    for call in server.calls() {
        assert_eq!(call.header("mistral-cassette-pace"), None);
        assert_eq!(call.header("mistral-cassette-inject"), None);
    }
}
