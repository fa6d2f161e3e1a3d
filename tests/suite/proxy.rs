//! The proxy of the real binary: what it accepts, forwards and records, and how it shuts down.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use crate::support::KEY;
use crate::support::project::{Done, Project, RunningProxy};
use crate::support::server::{Reply, Server, Step};
use crate::support::skip::is_left_out;
use crate::support::wire::{Answer, PATIENCE, Wire, address, ask};
use bytes::Bytes;
use futures_util::future::join_all;
use mistral_cassette::client::Client;
use mistral_cassette::engine::EngineExtensions;
use mistral_cassette::proxy::Proxy;
use mistral_cassette::{CacheEngine, Mode, Recorder, Request, RequestKey, Upstream, async_trait};
use rustix::process::Signal;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::timeout;

/// A port on which nothing listens.
const CLOSED: &str = "http://127.0.0.1:9";

const CHAT: &str = "POST /v1/chat/completions";

fn question(text: &str) -> Vec<u8> {
    json!({ "model": "m", "messages": [{ "role": "user", "content": text }] })
        .to_string()
        .into_bytes()
}

fn asking(text: &str) -> Request {
    Request::post("/v1/chat/completions").unwrap().body(question(text))
}

fn client(url: &str) -> Client {
    Client::builder().base_url(url).api_key(KEY).build().unwrap()
}

/// A server whose responses contain the number of the call.
async fn counting() -> Server {
    Server::start(|number, _| Reply::json(format!(r#"{{"id":"{number}","answer":{number}}}"#))).await
}

/// A server with one response, a stream that the test controls.
async fn directed() -> (UnboundedSender<Step>, Server) {
    let (director, reply) = Reply::directed("text/event-stream");
    let reply = Mutex::new(Some(reply));
    let server = Server::start(move |_, _| reply.lock().unwrap().take().unwrap()).await;
    (director, server)
}

fn send(director: &UnboundedSender<Step>, event: &'static str) {
    let step = Step::Send(Bytes::from_static(event.as_bytes()));
    director.send(step).ok().unwrap();
}

/// Sends SIGTERM and waits for the end, while the servers of this test continue to run.
async fn stop(proxy: RunningProxy) -> Done {
    proxy.signal(Signal::TERM);
    end(proxy).await
}

async fn end(proxy: RunningProxy) -> Done {
    let ending = tokio::task::spawn_blocking(move || proxy.wait());
    timeout(PATIENCE, ending).await.expect("the proxy ends").unwrap()
}

/// Runs a command that must end without a signal.
async fn run(command: Command) -> Done {
    let output = tokio::process::Command::from(command).kill_on_drop(true).output();
    let output = timeout(PATIENCE, output).await.expect("the command ends").unwrap();
    Done {
        status: output.status,
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    assert!(timeout(PATIENCE, waiting).await.is_ok(), "waited in vain until {what}");
}

async fn until_connections_are_refused(url: &str) {
    until("connections are refused", async || {
        TcpStream::connect(address(url)).await.is_err()
    })
    .await;
}

/// The paths of the cassettes in a project.
fn cassettes(project: &Project) -> Vec<String> {
    let tree = project.tree();
    tree.into_keys().filter(|path| path.ends_with(".yaml")).collect()
}

#[track_caller]
fn assert_verified(project: &Project) {
    let done = project.run(&["verify"]);
    assert_eq!(done.code(), 0, "{done:?}");
}

/// An upstream that sends raw bytes: the n-th connection gets the n-th response and is closed; `None` sends nothing.
async fn below_http(listener: TcpListener, answers: Vec<Option<Vec<u8>>>) {
    let mut silent = Vec::new();
    for answer in answers {
        let (stream, _) = listener.accept().await.unwrap();
        let mut wire = Wire::on(stream, "upstream.test");
        let request = wire.head().await;
        let length = request
            .header("content-length")
            .map_or(0, |length| length.parse().unwrap());
        wire.bytes(length).await.unwrap();
        match answer {
            Some(answer) => wire.say(&answer).await,
            None => silent.push(wire),
        }
    }
    std::future::pending::<()>().await;
}

// Requests.

/// A request and the response of the upstream.
struct Case {
    line: &'static str,
    headers: &'static str,
    body: &'static [u8],
    answer: (u16, &'static str, &'static [u8]),
}

const JSON: &str = "application/json";
const EVENTS: &str = "text/event-stream; charset=utf-8";

#[rustfmt::skip]
fn cases() -> Vec<Case> {
    let case = |line, headers, body, answer| Case { line, headers, body, answer };
    let multipart = "content-type: multipart/form-data; boundary=xYz\r\n";
    let form: &[u8] = b"--xYz\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nocr\r\n--xYz\r\n\
        Content-Disposition: form-data; name=\"file\"; filename=\"a.bin\"\r\nContent-Type: application/pdf\r\n\r\n\
        \xff\x00\r\n--xY\r\n--xYz--\r\n";
    let as_json = "content-type: application/json\r\n";
    let as_bytes = "content-type: application/octet-stream\r\n";
    vec![
        case("GET /v1/models", "", b"", (200, JSON, br#"{"object":"list","data":[]}"#)),
        case("GET /v1/models?b=2&a=1&a=%20x%2F&empty=", "", b"", (200, JSON, b"{}")),
        case("GET /v1/models?", "accept: */*\r\n", b"?", (200, JSON, b"{\"a\":1.0,\"a\":2}")),
        case("GET /", "", b"", (404, "text/html", b"<h1>no Route matched</h1>\r\n")),
        case("GET /v2/unheard/of/it", "", b"", (200, "text/plain", "é\u{2028}\t\r\n ".as_bytes())),
        case("GET /v1/files/a%2Fb%20c/content", "", b"", (200, "application/pdf", b"%PDF\xff\xfe\x00\n")),
        case("GET /v1/redirected", "", b"", (307, "text/plain", b"")),
        case(CHAT, as_json, br#"{"model":"m"}"#, (200, JSON, b"{\n  \"id\": \"1\",\n  \"n\": 1e3\n}\n")),
        case(CHAT, as_json, br#"{"model": "m", "n": 2}"#, (422, JSON, br#"{"detail": [{"msg": "no"}]}"#)),
        case(CHAT, as_json, br#"{"stream":true}"#, (200, EVENTS, b": hi\n\ndata: 1\n\ndata: [DONE]\n\n")),
        case("POST /v1/workflows/stream", as_json, b"{}", (200, EVENTS, b"data: 1\r\n\r\ndata: 2\r\n\r\n")),
        case("POST /v1/files", multipart, form, (201, JSON, br#"{"id":"file"}"#)),
        case("POST /v1/binary", as_bytes, b"\xff\xfe\x00bytes", (200, "audio/mpeg", b"\xff\xfb\x90\x00\r\n")),
        case("POST /v1/empty", "", b"", (200, "text/plain", b"")),
        case("POST /v1/not-quite-json", as_json, b"{\"model\":", (400, JSON, b"{\"cut\":")),
        case("PUT /v1/text", "content-type: text/plain\r\n", "one\ntwo é".as_bytes(), (200, JSON, b"null")),
        case("PATCH /v1/agents/a1", as_json, b"[]", (200, JSON, b"[]\n")),
        case("DELETE /v1/agents/a1", "", b"", (204, JSON, b"")),
        case("HEAD /v1/models", "", b"", (200, JSON, b"")),
        case("OPTIONS /v1/models", "", b"", (200, "text/plain", b"GET,HEAD")),
        case("PURGE /v1/models", "", b"", (200, "text/plain", b"purged")),
    ]
}

async fn ask_all(url: &str) -> Vec<Answer> {
    let mut answers = Vec::new();
    for (number, case) in cases().into_iter().enumerate() {
        let mut wire = Wire::to(url).await;
        wire.send(case.line, &format!("x-case: {number}\r\n{}", case.headers), case.body)
            .await;
        answers.push(wire.answer().await);
    }
    answers
}

#[tokio::test]
async fn any_method_path_and_body_is_recorded_and_replayed_byte_for_byte() {
    let server = Server::start(|_, call| {
        let (status, kind, body) = cases()[call.header("x-case").unwrap().parse::<usize>().unwrap()].answer;
        Reply::new(status, kind, body)
    })
    .await;
    let project = Project::new();
    let proxy = project.proxy("record", &server.url, &[]);
    let recorded = ask_all(&proxy.url).await;
    let done = stop(proxy).await;
    assert_eq!(done.code(), 0, "{done:?}");
    for ((case, call), answer) in cases().iter().zip(server.calls()).zip(&recorded) {
        let (method, target) = case.line.split_once(' ').unwrap();
        assert_eq!(
            (call.method.as_str(), &call.body[..]),
            (method, case.body),
            "{}",
            case.line
        );
        assert_eq!(call.target.trim_end_matches('?'), target.trim_end_matches('?'));
        assert!(answer.is_whole, "{}: {answer:?}", case.line);
        let (status, kind, body) = case.answer;
        assert_eq!(answer.essence(), (status, Some(kind), body.to_vec()), "{}", case.line);
    }
    assert_eq!(cassettes(&project).len(), recorded.len());
    assert_verified(&project);

    drop(server);
    let proxy = project.proxy("strict", CLOSED, &[]);
    let tree = project.tree();
    for ((case, recorded), replayed) in cases().iter().zip(&recorded).zip(ask_all(&proxy.url).await) {
        assert!(replayed.is_whole, "{}: {replayed:?}", case.line);
        assert_eq!(replayed.essence(), recorded.essence(), "{}", case.line);
    }
    let done = stop(proxy).await;
    assert_eq!(done.code(), 0, "{done:?}");
    let summary = format!("{} replayed, 0 recorded", recorded.len());
    assert!(done.stderr.contains(&summary), "{done:?}");
    assert_eq!(project.tree(), tree, "a replay writes nothing");
}

#[tokio::test]
async fn a_repeated_version_and_an_absolute_target_are_the_same_request() {
    let server = counting().await;
    let project = Project::new();
    project.write("cassettes/settings.yaml", "polling: []\n");
    let proxy = project.proxy("replay", &server.url, &[]);
    let first = ask(&proxy.url, "GET /v1/v1/models?page=1", "").await;
    assert_eq!(server.calls()[0].target, "/v1/models?page=1");
    let itself = format!("GET {}/v1/models?page=1", proxy.url);
    for line in [
        "GET /v1/models?page=1",
        "GET https://localhost/v1/models?page=1",
        "GET http://127.0.0.1:8080/v1/v1/models?page=1",
        &itself,
    ] {
        assert_eq!(ask(&proxy.url, line, "").await.essence(), first.essence(), "{line}");
    }
    let elsewhere = ask(&proxy.url, "GET https://api.mistral.ai/v1/models?page=1", "").await;
    assert!(elsewhere.error(421).contains("\"api.mistral.ai\""), "{elsewhere:?}");
    assert_eq!(server.call_count(), 1);
}

#[tokio::test]
async fn connect_and_invalid_upgrades_are_refused() {
    let server = counting().await;
    let project = Project::new();
    let proxy = project.proxy("record", &server.url, &[]);
    let connect = ask(&proxy.url, "CONNECT api.mistral.ai:443", "").await;
    assert!(connect.error(400).contains("CONNECT"), "{connect:?}");
    let mut wire = Wire::to(&proxy.url).await;
    for (line, headers, message) in [
        (
            "POST /v1/realtime",
            "sec-websocket-version: 13\r\nsec-websocket-key: AA==\r\n",
            "GET",
        ),
        (
            "GET /v1/realtime",
            "sec-websocket-version: 12\r\nsec-websocket-key: AA==\r\n",
            "must be 13",
        ),
        (
            "GET /v1/realtime",
            "sec-websocket-version: 13\r\n",
            "sec-websocket-key is missing",
        ),
    ] {
        let headers = format!("connection: Upgrade\r\nupgrade: websocket\r\n{headers}");
        wire.send(line, &headers, b"").await;
        let upgrade = wire.answer().await;
        assert!(upgrade.error(400).contains(message), "{upgrade:?}");
    }
    assert_eq!(server.connection_count(), 0);
}

#[tokio::test]
async fn chunked_bodies_and_expect_continue_are_supported() {
    let server = counting().await;
    let project = Project::new();
    let proxy = project.proxy("replay", &server.url, &[]);
    let plain = ask(&proxy.url, CHAT, r#"{"model":"m"}"#).await;
    let mut wire = Wire::to(&proxy.url).await;
    let chunks = "6\r\n{\"mode\r\n7\r\nl\":\"m\"}\r\n0\r\n\r\n";
    let head = format!("{CHAT} HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n{chunks}");
    wire.say(head.as_bytes()).await;
    assert_eq!(wire.answer().await.essence(), plain.essence());
    let head = format!("{CHAT} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 13\r\nexpect: 100-continue\r\n\r\n");
    wire.say(head.as_bytes()).await;
    assert_eq!(wire.head().await.status, 100);
    wire.say(br#"{"model":"m"}"#).await;
    assert_eq!(wire.answer().await.essence(), plain.essence());
    assert_eq!(server.call_count(), 1);
}

#[tokio::test]
async fn headers_are_forwarded_except_hop_by_hop_headers() {
    let server = counting().await;
    let project = Project::new();
    let proxy = project.proxy("record", &server.url, &[]);
    let mut wire = Wire::to(&proxy.url).await;
    let passed = "authorization: Bearer the-caller's-own-key\r\nuser-agent: their-sdk/1\r\nx-request-id: 7\r\n\
        accept: text/event-stream\r\nx-twice: one\r\nx-twice: two\r\ncontent-type: application/json; charset=utf-8\r\n";
    let kept_back = "connection: keep-alive, X-Private\r\nconnection: X-More\r\nx-private: 1\r\nx-more: 1\r\n\
        keep-alive: timeout=5\r\nte: trailers\r\ntrailer: x-end\r\nproxy-authorization: Basic eDp5\r\n\
        proxy-connection: keep-alive\r\n";
    wire.send(CHAT, &format!("{passed}{kept_back}"), b"{}").await;
    assert_eq!(wire.answer().await.status, 200);
    let call = &server.calls()[0];
    for header in passed.split_terminator("\r\n") {
        let (name, value) = header.split_once(": ").unwrap();
        let mut values = call.headers.get_all(name).iter();
        assert!(values.any(|other| other == value), "{header} in {call:?}");
    }
    assert_eq!(call.headers.get_all("x-twice").iter().count(), 2);
    assert_eq!(call.headers.get_all("authorization").iter().count(), 1);
    for header in kept_back.split_terminator("\r\n") {
        let (name, _) = header.split_once(": ").unwrap();
        assert!(!call.headers.contains_key(name), "{header} in {call:?}");
    }
    assert_eq!(call.header("host").unwrap(), address(&server.url));
    assert!(!String::from_utf8_lossy(&project.tree().into_values().collect::<Vec<_>>().concat()).contains("own-key"));
}

#[tokio::test]
async fn recorded_headers_are_replayed_with_repetitions_and_cookies_are_not_recorded() {
    let server = Server::start(|_, _| {
        Reply::json("{}")
            .header("set-cookie", "__cf_bm=a-cookie-of-cloudflare; path=/")
            .header("set-cookie", "_cfuvid=another-cookie; path=/")
            .header("warning", "299 - \"first\"")
            .header("warning", "299 - \"second\"")
            .header("x-ratelimit-remaining-req-minute", "59")
            .header("x-ratelimit-remaining-req-minute", "58")
            .header("mistral-correlation-id", "019f")
            .header("connection", "x-for-this-connection")
            .header("x-for-this-connection", "1")
            .header("x-unheard-of", "live only")
    })
    .await;
    let project = Project::new();
    for (mode, unheard_of) in [("record", Some("live only")), ("strict", None)] {
        let proxy = project.proxy(mode, &server.url, &[]);
        let answer = ask(&proxy.url, CHAT, "{}").await;
        assert_eq!(answer.all("warning"), ["299 - \"first\"", "299 - \"second\""], "{mode}");
        assert_eq!(answer.all("x-ratelimit-remaining-req-minute"), ["59", "58"], "{mode}");
        assert_eq!(answer.all("mistral-correlation-id"), ["019f"], "{mode}");
        assert_eq!(answer.header("set-cookie"), None, "{mode}");
        assert_eq!(answer.header("x-for-this-connection"), None, "{mode}");
        assert_eq!(answer.header("x-unheard-of"), unheard_of, "{mode}");
        assert_eq!(stop(proxy).await.code(), 0);
    }
    let files = project.tree();
    assert_eq!(files.len(), 1);
    for content in files.values() {
        let content = String::from_utf8_lossy(content);
        assert!(
            !content.contains("cookie") && !content.contains("connection"),
            "{content}"
        );
    }
}

// Connections.

#[tokio::test]
async fn one_connection_serves_many_requests_and_many_connections_are_served_at_once() {
    let server = Server::start(|_, call| Reply::json(call.body.clone())).await;
    let project = Project::new();
    for mode in ["record", "strict"] {
        let proxy = project.proxy(mode, &server.url, &[]);
        let many_on_one = async |connection: usize| {
            let mut wire = Wire::to(&proxy.url).await;
            for number in 0..20 {
                let body = question(&format!("{connection} {number}"));
                wire.send(CHAT, "", &body).await;
                let answer = wire.answer().await;
                assert_eq!((answer.status, answer.body()), (200, body), "{mode}");
            }
        };
        join_all((0..16).map(many_on_one)).await;
        assert_eq!(stop(proxy).await.code(), 0);
    }
    assert_eq!(cassettes(&project).len(), 16 * 20);
}

#[tokio::test]
async fn a_client_of_http_1_0_is_served() {
    let server = Server::start(|_, call| match call.target.as_str() {
        "/v1/models" => Reply::json(r#"{"data":[]}"#),
        _ => Reply::events("data: 1\n\ndata: [DONE]\n\n"),
    })
    .await;
    let project = Project::new();
    for mode in ["record", "strict"] {
        let proxy = project.proxy(mode, &server.url, &[]);
        for (target, body) in [
            ("/v1/models", r#"{"data":[]}"#),
            ("/v1/stream", "data: 1\n\ndata: [DONE]\n\n"),
        ] {
            let mut wire = Wire::to(&proxy.url).await;
            wire.say(format!("GET {target} HTTP/1.0\r\n\r\n").as_bytes()).await;
            let answer = wire.answer().await;
            assert_eq!(answer.header("transfer-encoding"), None, "{mode}");
            assert_eq!((answer.status, answer.text().as_str()), (200, body), "{mode}");
        }
        assert_eq!(stop(proxy).await.code(), 0);
    }
}

// Streams.

#[tokio::test]
async fn the_first_event_reaches_the_caller_before_the_second_is_sent() {
    let (director, server) = directed().await;
    let project = Project::new();
    let proxy = project.proxy("record", &server.url, &[]);
    let mut wire = Wire::to(&proxy.url).await;
    wire.send(CHAT, "", &question("stream")).await;
    send(&director, "data: 1\n\n");
    assert_eq!(wire.head().await.status, 200);
    assert_eq!(wire.chunk().await.unwrap().unwrap(), b"data: 1\n\n");
    assert_eq!(project.tree(), BTreeMap::new(), "nothing is on disk before the end");
    send(&director, "data: [DONE]\n\n");
    assert_eq!(wire.chunk().await.unwrap().unwrap(), b"data: [DONE]\n\n");
    drop(director);
    assert_eq!(wire.chunk().await.unwrap(), None);
    assert_eq!(
        cassettes(&project).len(),
        1,
        "who has read the end can rely on the file"
    );
}

#[tokio::test]
async fn a_stream_is_replayed_event_by_event() {
    let events = [
        "event: a\ndata: {\"n\": 1}\n\n",
        ": ping\n\n",
        "data: one\ndata: two\n\n",
        "data: [DONE]\n\n",
    ];
    let server = Server::start(move |_, _| Reply::events(events.concat())).await;
    let project = Project::new();
    let proxy = project.proxy("record", &server.url, &[]);
    assert_eq!(ask(&proxy.url, CHAT, "{}").await.text(), events.concat());
    assert_eq!(stop(proxy).await.code(), 0);
    let proxy = project.proxy("strict", CLOSED, &[]);
    let answer = ask(&proxy.url, CHAT, "{}").await;
    assert_eq!(answer.header("content-type"), Some(EVENTS));
    assert_eq!(answer.pieces, events.map(|event| event.as_bytes().to_vec()));
}

#[tokio::test]
async fn a_caller_that_disconnects_does_not_damage_the_recording() {
    let (director, server) = directed().await;
    let project = Project::new();
    let proxy = project.proxy("record", &server.url, &[]);
    let mut wire = Wire::to(&proxy.url).await;
    wire.send(CHAT, "", &question("stream")).await;
    send(&director, "data: 1\n\n");
    wire.head().await;
    wire.chunk().await.unwrap();
    drop(wire);
    send(&director, "data: [DONE]\n\n");
    drop(director);
    let done = stop(proxy).await;
    assert_eq!(done.code(), 0, "{done:?}");
    let proxy = project.proxy("strict", CLOSED, &[]);
    assert_eq!(
        ask(&proxy.url, CHAT, question("stream")).await.text(),
        "data: 1\n\ndata: [DONE]\n\n"
    );
}

#[tokio::test]
async fn concurrent_identical_misses_make_one_upstream_call() {
    let server = counting().await;
    let project = Project::new();
    let proxy = project.proxy("replay", &server.url, &[]);
    let answers = join_all((0..24).map(|_| ask(&proxy.url, CHAT, question("same")))).await;
    assert_eq!(server.call_count(), 1);
    assert!(
        answers
            .iter()
            .all(|answer| answer.essence() == answers[0].essence() && answer.status == 200)
    );
    let done = stop(proxy).await;
    assert!(done.stderr.contains("23 replayed, 1 recorded"), "{done:?}");
}

#[tokio::test]
async fn concurrent_identical_misses_share_a_stream() {
    let (director, server) = directed().await;
    let project = Project::new();
    let proxy = project.proxy("replay", &server.url, &[]);
    let mut wires = Vec::new();
    for _ in 0..24 {
        let mut wire = Wire::to(&proxy.url).await;
        wire.send(CHAT, "", &question("stream")).await;
        wires.push(wire);
    }
    send(&director, "data: 1\n\n");
    for wire in &mut wires {
        assert_eq!(wire.head().await.status, 200);
        assert_eq!(wire.chunk().await.unwrap().unwrap(), b"data: 1\n\n");
    }
    // All callers have joined; only now does the stream continue.
    send(&director, "data: [DONE]\n\n");
    drop(director);
    for wire in &mut wires {
        assert_eq!(wire.chunk().await.unwrap().unwrap(), b"data: [DONE]\n\n");
        assert_eq!(wire.chunk().await.unwrap(), None);
    }
    assert_eq!(server.call_count(), 1);
    let done = stop(proxy).await;
    assert_eq!(done.code(), 0, "{done:?}");
    assert!(done.stderr.contains("23 replayed, 1 recorded"), "{done:?}");
}

// Scopes.

#[tokio::test]
async fn scopes_record_into_separate_folders_and_are_isolated() {
    let server = counting().await;
    let project = Project::new();
    let scopes = ["/c/one", "/c/two", "/c/suite%2Fcase-1", ""];
    let ask_in = async |proxy: &RunningProxy, scope: &str| {
        ask(
            &proxy.url,
            &format!("POST {scope}/v1/chat/completions"),
            question("same"),
        )
        .await
    };
    let proxy = project.proxy("replay", &server.url, &[]);
    let mut recorded = Vec::new();
    for scope in scopes {
        recorded.push(ask_in(&proxy, scope).await);
    }
    assert_eq!(server.call_count(), 4);
    assert!(server.calls().iter().all(|call| call.target == "/v1/chat/completions"));
    assert_eq!(stop(proxy).await.code(), 0);
    let folders = ["one/", "two/", "suite/case-1/", ""].map(|scope| format!("cassettes/{scope}chat-completions"));
    let files = cassettes(&project);
    let found: BTreeSet<_> = files
        .iter()
        .map(|file| Path::new(file).parent().unwrap().to_str().unwrap())
        .collect();
    assert_eq!((files.len(), found), (4, folders.iter().map(String::as_str).collect()));
    assert_verified(&project);

    let proxy = project.proxy("strict", CLOSED, &[]);
    for (scope, recorded) in scopes.into_iter().zip(&recorded) {
        assert_eq!(ask_in(&proxy, scope).await.essence(), recorded.essence(), "{scope}");
    }
    assert_eq!(ask_in(&proxy, "/c/one/v1").await.essence(), recorded[0].essence());
    let message = ask_in(&proxy, "/c/three").await.error(424);
    assert!(message.contains("the same request is recorded in"), "{message}");
}

#[tokio::test]
async fn a_scope_cannot_leave_the_directory() {
    let server = counting().await;
    let project = Project::new();
    // Deep enough to detect a scope that leaves by two folders.
    let proxy = project.proxy("record", &server.url, &["--dir", "deep/down/cassettes"]);
    let (long, very_long) = ("a".repeat(101), "a".repeat(5000));
    for name in [
        "..",
        "%2e%2e",
        "%2E.",
        "..%2f..%2fetc",
        "one%2F..%2F..%2F..%2Ftwo",
        "%2Fetc",
        "etc%2F",
        "one%2F%2Ftwo",
        ".",
        ".git",
        "one%2F.git",
        "",
        "bodies",
        "one%2Fbodies",
        "..%5C..%5Cetc",
        "one%5Ctwo",
        "one%00",
        "C%3A",
        "one%20two",
        "caf%C3%A9",
        "%ff",
        &long,
        &very_long,
    ] {
        let answer = ask(
            &proxy.url,
            &format!("POST /c/{name}/v1/chat/completions"),
            question("x"),
        )
        .await;
        let message = answer.error(400);
        assert!(message.contains("invalid scope"), "{name}: {message}");
    }
    for line in ["GET /c/one", "GET /c/", "GET /c/one?x=/v1/models"] {
        ask(&proxy.url, line, "").await.error(400);
    }
    assert_eq!(server.connection_count(), 0);
    assert_eq!(project.tree(), BTreeMap::new());
    for line in [
        "GET /v1/../../../../up",
        "GET /v1/%2e%2e/%2e%2e/up",
        "GET /v1/..%2f..%2f..%2fup",
        "GET /../../settings.yaml",
        "GET /c/one/../../../up",
        "GET /c/one/v1/..%5C..%5Cup",
    ] {
        ask(&proxy.url, line, "").await;
    }
    let tree = project.tree();
    assert!(!tree.is_empty());
    assert!(
        tree.keys().all(|path| path.starts_with("deep/down/cassettes/")),
        "{tree:?}"
    );
}

#[tokio::test]
async fn a_scope_deeper_than_a_path_is_refused() {
    let server = counting().await;
    let project = Project::new();
    let proxy = project.proxy("record", &server.url, &[]);
    let name = "a%2F".repeat(2500) + "a";
    let answer = ask(
        &proxy.url,
        &format!("POST /c/{name}/v1/chat/completions"),
        question("x"),
    )
    .await;
    assert_eq!((server.connection_count(), project.tree()), (0, BTreeMap::new()));
    assert_eq!(answer.status, 400);
}

/// The folder of the scope must not be `settings.yaml`: no later session would start.
#[tokio::test]
async fn a_scope_named_like_the_settings_file_does_not_collide_with_it() {
    let server = counting().await;
    let project = Project::new();
    let proxy = project.proxy("record", &server.url, &[]);
    ask(&proxy.url, "GET /v1/models", "").await;
    ask(&proxy.url, "GET /c/settings.yaml/v1/models", "").await;
    stop(proxy).await;
    assert_verified(&project);
}

// Misses.

#[tokio::test]
async fn a_miss_in_strict_shows_the_nearest_recording_and_fails_the_session_even_if_ignored() {
    let server = counting().await;
    let project = Project::new();
    let proxy = project.proxy("record", &server.url, &[]);
    ask(&proxy.url, CHAT, question("What is the capital of France?")).await;
    assert_eq!(stop(proxy).await.code(), 0);

    let untouched = counting().await;
    for upstream in [&untouched.url, CLOSED] {
        let proxy = project.proxy("strict", upstream, &[]);
        let hit = ask(&proxy.url, CHAT, question("What is the capital of France?")).await;
        assert_eq!(hit.status, 200);
        let miss = ask(&proxy.url, CHAT, question("What is the capital of Spain?")).await;
        let message = miss.error(424);
        for part in [
            "not recorded: POST /v1/chat/completions",
            "mode strict",
            "the nearest recording is cassettes/chat-completions/capital-of-france-",
            "\n- What is the capital of France?\n",
            "\n+ What is the capital of Spain?\n",
            "to record it",
        ] {
            assert!(message.contains(part), "{part:?} in {message}");
        }
        let done = stop(proxy).await;
        assert_eq!(done.code(), 1);
        assert!(done.stderr.contains("1 request was not recorded"), "{}", done.stderr);
        assert!(done.stderr.contains("capital of Spain"), "{}", done.stderr);
    }
    assert_eq!(untouched.connection_count(), 0);
}

// Upstreams that fail.

fn http(head: &str, body: impl AsRef<[u8]>) -> Option<Vec<u8>> {
    let head = format!("HTTP/1.1 200 OK\r\nconnection: close\r\n{head}\r\n\r\n");
    Some([head.as_bytes(), body.as_ref()].concat())
}

fn good_answer() -> Option<Vec<u8>> {
    http(
        "content-type: application/json\r\ncontent-length: 13",
        r#"{"good":true}"#,
    )
}

fn cut_gzip() -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(question("compressed").repeat(10).as_slice()).unwrap();
    let mut bytes = gzip.finish().unwrap();
    bytes.truncate(bytes.len() - 12);
    bytes
}

/// The caller gets the error, nothing is recorded, and the next valid response is recorded.
async fn assert_fails(name: &str, bad: Option<Vec<u8>>, status: u16, reason: &str) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = format!("http://{}", listener.local_addr().unwrap());
    let serving = tokio::spawn(below_http(listener, vec![bad, good_answer()]));
    let project = Project::new();
    let proxy = project.proxy("record", &upstream, &["--timeout", "1"]);
    let answer = ask(&proxy.url, CHAT, question(name)).await;
    if status == 200 {
        assert_eq!(answer.status, 200, "{name}");
        assert!(!answer.is_whole, "{name}: the body seems whole: {}", answer.text());
    } else {
        let message = answer.error(status);
        assert!(
            message.contains(&upstream) && message.contains(reason),
            "{name}: {message}"
        );
    }
    assert_eq!(project.tree(), BTreeMap::new(), "{name}");
    assert_later_is_recorded(name, proxy, &project, &[upstream.as_str(), reason]).await;
    serving.abort();
}

async fn assert_later_is_recorded(name: &str, proxy: RunningProxy, project: &Project, reasons: &[&str]) {
    let good = ask(&proxy.url, CHAT, question(name)).await;
    assert_eq!((good.status, good.text().as_str()), (200, r#"{"good":true}"#), "{name}");
    let done = stop(proxy).await;
    assert_eq!(done.code(), 1, "{name}: {done:?}");
    let verdict = &done.stderr;
    assert!(verdict.contains("1 request has failed"), "{name}: {}", done.stderr);
    assert!(
        reasons.iter().all(|reason| verdict.contains(reason)),
        "{name}: {}",
        done.stderr
    );
    let strict = project.proxy("strict", CLOSED, &[]);
    assert_eq!(
        ask(&strict.url, CHAT, question(name)).await.text(),
        r#"{"good":true}"#,
        "{name}"
    );
    assert_eq!(project.tree().len(), 1, "{name}");
}

#[tokio::test]
async fn an_invalid_http_response_is_an_error_and_not_recorded() {
    let no_http = "did not send a valid HTTP response";
    for (name, printed) in [
        ("nothing", ""),
        ("another protocol", "SSH-2.0-OpenSSH_9.6\r\n\r\n"),
        ("half a head", "HTTP/1.1 200 OK\r\ncontent-ty"),
    ] {
        assert_fails(name, Some(printed.into()), 502, no_http).await;
    }
}

#[tokio::test]
async fn a_truncated_body_is_truncated_for_the_caller_and_not_recorded() {
    let json = "content-type: application/json";
    let events = "content-type: text/event-stream";
    let chunked = "transfer-encoding: chunked";
    let gzip = cut_gzip();
    let gzip_head = format!("{json}\r\ncontent-encoding: gzip\r\ncontent-length: {}", gzip.len());
    for (name, bad) in [
        (
            "short of its length",
            http(&format!("{json}\r\ncontent-length: 100"), "{\"a\":1}"),
        ),
        ("not begun", http(&format!("{json}\r\ncontent-length: 100"), "")),
        (
            "between chunks",
            http(&format!("{json}\r\n{chunked}"), "7\r\n{\"a\":1}\r\n"),
        ),
        ("in a chunk", http(&format!("{json}\r\n{chunked}"), "70\r\n{\"a\":1}")),
        (
            "between chunked events",
            http(&format!("{events}\r\n{chunked}"), "9\r\ndata: 1\n\n\r\n"),
        ),
        ("in an event", http(events, "data: 1\n\ndata: {\"a\":")),
        ("in gzip", http(&gzip_head, &gzip)),
    ] {
        assert_fails(name, bad, 200, "sent an incomplete response").await;
    }
}

/// A response that ends quickly must not end before the data that is still to be written.
#[tokio::test]
async fn events_before_the_end_of_a_truncated_stream_reach_the_caller() {
    let head = "content-type: text/event-stream\r\ntransfer-encoding: chunked";
    let bad = http(head, "9\r\ndata: 1\n\n\r\n9\r\ndata: 2\n\n\r\n");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = format!("http://{}", listener.local_addr().unwrap());
    let serving = tokio::spawn(below_http(listener, vec![bad; 20]));
    let project = Project::new();
    let proxy = project.proxy("record", &upstream, &[]);
    let mut seen = BTreeMap::new();
    for number in 0..20 {
        let answer = ask(&proxy.url, CHAT, question(&number.to_string())).await;
        assert!(!answer.is_whole);
        *seen.entry((answer.status, answer.text())).or_insert(0) += 1;
    }
    assert_eq!(seen, BTreeMap::from([((200, "data: 1\n\ndata: 2\n\n".to_owned()), 20)]));
    serving.abort();
}

/// Not every bracket is the end of `data: [DONE]`.
#[tokio::test]
async fn an_event_truncated_after_a_bracket_is_not_recorded() {
    let stream = "data: 1\n\ndata: {\"choices\":[1]";
    let bad = http("content-type: text/event-stream", stream);
    assert_fails(
        "behind a bracket",
        bad,
        200,
        "sent an incomplete response: it ends in the middle of an event",
    )
    .await;
}

#[tokio::test]
async fn an_event_truncated_between_its_lines_is_not_recorded() {
    let stream = "data: 1\n\nevent: conversation.response.error\n";
    let bad = http("content-type: text/event-stream", stream);
    assert_fails(
        "between lines",
        bad,
        200,
        "sent an incomplete response: it ends in the middle of an event",
    )
    .await;
}

#[tokio::test]
async fn an_upstream_timeout_is_an_error_and_not_recorded() {
    assert_fails("no answer", None, 504, "did not respond in time").await;
}

#[tokio::test]
async fn an_unreachable_upstream_is_an_error_and_not_recorded() {
    let location = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let project = Project::new();
    let upstream = format!("http://{location}");
    let proxy = project.proxy("record", &upstream, &[]);
    let message = ask(&proxy.url, CHAT, question("early")).await.error(502);
    assert!(message.contains(&format!("{upstream} cannot be reached")), "{message}");
    assert_eq!(project.tree(), BTreeMap::new());
    let serving = tokio::spawn(below_http(
        TcpListener::bind(location).await.unwrap(),
        vec![good_answer()],
    ));
    assert_later_is_recorded("early", proxy, &project, &[&upstream, "cannot be reached"]).await;
    serving.abort();
}

/// A stream without a length ends normally with its connection: it must be recorded.
#[tokio::test]
async fn a_stream_that_ends_with_its_connection_is_recorded() {
    for (line, end) in [
        (CHAT, "data: [DONE]\n\n"),
        (CHAT, "data: [DONE]\n"),
        (CHAT, "data: [DONE]"),
        ("POST /v1/workflows/stream", "data: {\"a\":[1]}\r\n\r\n"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let upstream = format!("http://{}", listener.local_addr().unwrap());
        let stream = format!("data: 1\n\n{end}");
        let answer = http("content-type: text/event-stream", &stream);
        let serving = tokio::spawn(below_http(listener, vec![answer]));
        let project = Project::new();
        for mode in ["record", "strict"] {
            let proxy = project.proxy(mode, &upstream, &[]);
            let answer = ask(&proxy.url, line, "{}").await;
            assert!(answer.is_whole, "{end:?}");
            assert_eq!(answer.text(), stream, "{mode}");
            assert_eq!(stop(proxy).await.code(), 0, "{end:?}");
        }
        serving.abort();
    }
}

// Size.

/// Uploads and downloads, text and binary data.
#[tokio::test]
async fn bodies_of_25_megabytes_are_recorded_and_replayed_byte_for_byte() {
    if is_left_out() {
        return;
    }
    const MEGABYTES: usize = 1_000_000;
    let text = |size| Bytes::from(format!("{{\"data\":\"{}\"}}", "sixteen letters ".repeat(size / 16)));
    let binary = |size| Bytes::from((0..=255).collect::<Vec<u8>>().repeat(size / 256));
    let exchanges = [
        ("/v1/text", text(25 * MEGABYTES), "audio/wav", binary(25 * MEGABYTES)),
        ("/v1/binary", binary(26 * MEGABYTES), JSON, text(26 * MEGABYTES)),
    ];
    let server = Server::start({
        let exchanges = exchanges.clone();
        move |_, call| {
            let exchange = exchanges.iter().find(|(path, ..)| *path == call.target);
            let (_, upload, kind, answer) = exchange.unwrap();
            assert!(call.body == upload, "{}: the upstream got something else", call.target);
            Reply::new(200, kind, answer.clone())
        }
    })
    .await;
    let project = Project::new();
    for mode in ["record", "strict"] {
        let proxy = project.proxy(mode, &server.url, &[]);
        for (path, upload, kind, answer) in &exchanges {
            let answered = ask(&proxy.url, &format!("POST {path}"), upload).await;
            assert_eq!((answered.status, answered.is_whole), (200, true), "{mode} {path}");
            assert_eq!(answered.header("content-type"), Some(*kind), "{mode} {path}");
            assert!(answered.body() == *answer, "{mode} {path}: the answer is another");
        }
        assert_eq!(stop(proxy).await.code(), 0);
    }
    assert_eq!(server.call_count(), 2);
    let (bodies, cassettes): (Vec<_>, Vec<_>) = project
        .tree()
        .into_iter()
        .partition(|(path, _)| path.starts_with("cassettes/bodies/"));
    assert_eq!(bodies.len(), 4);
    for (_, upload, _, answer) in &exchanges {
        assert!(bodies.iter().any(|(_, body)| body == upload) && bodies.iter().any(|(_, body)| body == answer));
    }
    assert_eq!(cassettes.len(), 2);
    assert!(cassettes.iter().all(|(_, cassette)| cassette.len() < 2000));
}

fn written_by(proxy: &RunningProxy) -> u64 {
    let io = std::fs::read_to_string(format!("/proc/{}/io", proxy.pid())).unwrap_or_default();
    let written = io.lines().find_map(|line| line.strip_prefix("wchar: "));
    written.map_or(0, |bytes| bytes.parse().unwrap())
}

#[tokio::test]
async fn the_500th_recording_writes_as_much_as_the_first_and_touches_no_other_file() {
    let server = Server::start(|_, _| Reply::json(r#"{"answer":"always the same"}"#)).await;
    let project = Project::new();
    let proxy = project.proxy("record", &server.url, &[]);
    let mut wire = Wire::to(&proxy.url).await;
    let state = || -> BTreeMap<String, (SystemTime, Vec<u8>)> {
        let modified = |path: &str| project.path().join(path).metadata().unwrap().modified().unwrap();
        let tree = project.tree().into_iter();
        tree.map(|(path, content)| (path.clone(), (modified(&path), content)))
            .collect()
    };
    let (mut written, mut before) = (Vec::new(), BTreeMap::new());
    for number in 0..500 {
        if number == 499 {
            before = state();
        }
        let so_far = written_by(&proxy);
        wire.send(CHAT, "", &question(&format!("question {number:03}"))).await;
        assert_eq!(wire.answer().await.status, 200);
        written.push(written_by(&proxy) - so_far);
    }
    let mut after = state();
    assert_eq!((before.len(), after.len()), (499, 500));
    let lengths = after.values().map(|(_, content)| content.len());
    let (least, most) = (lengths.clone().min().unwrap(), lengths.max().unwrap());
    assert!(most - least < 16, "{least} to {most} bytes");
    after.retain(|path, _| before.contains_key(path));
    assert_eq!(after, before);
    // The first one opens the connection to the upstream as well.
    assert!(
        written[499] < written[1] + 256,
        "{} and {} bytes",
        written[1],
        written[499]
    );
    assert_eq!(stop(proxy).await.code(), 0);
}

// Invalid directories and files.

#[tokio::test]
async fn a_file_instead_of_the_directory_is_an_error_before_a_request_is_sent() {
    let server = counting().await;
    for mode in ["record", "replay", "strict"] {
        let project = Project::new();
        let proxy = project.proxy(mode, &server.url, &[]);
        project.write("cassettes", "I was here first");
        let message = ask(&proxy.url, CHAT, question("x")).await.error(424);
        assert!(message.contains("cassettes"), "{mode}: {message}");
        assert!(
            message.contains("expected a directory, found a file"),
            "{mode}: {message}"
        );
        assert_eq!(stop(proxy).await.code(), 1);
        // A new session detects this without a request.
        let done = run(project.command(&["proxy", "--mode", mode, "--upstream", &server.url])).await;
        assert_eq!(done.code(), 2, "{mode}: {done:?}");
        assert!(done.stderr.contains("expected a directory, found a file"), "{done:?}");
        assert_eq!(
            project.tree(),
            BTreeMap::from([("cassettes".to_owned(), b"I was here first".to_vec())])
        );
    }
    assert_eq!(server.connection_count(), 0);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_directory_that_is_not_writable_is_an_error_before_a_request_is_sent() {
    let server = counting().await;
    let project = Project::new();
    for folder in ["/proc/self/nope", "/sys/nope/deeper"] {
        for mode in ["record", "replay"] {
            let proxy = project.proxy(mode, &server.url, &["--dir", folder]);
            let message = ask(&proxy.url, CHAT, question("x")).await.error(424);
            assert!(message.contains("cannot write to"), "{mode} {folder}: {message}");
            let done = stop(proxy).await;
            assert_eq!(done.code(), 1);
            assert!(done.stderr.contains("cannot write to"), "{done:?}");
        }
    }
    let arguments = [
        "proxy",
        "--mode",
        "record",
        "--upstream",
        &server.url,
        "--dir",
        "/dev/null/x",
    ];
    let done = run(project.command(&arguments)).await;
    assert_eq!(done.code(), 2, "{done:?}");
    assert!(done.stderr.contains("/dev/null/x"), "{done:?}");
    assert_eq!(server.connection_count(), 0);
    assert_eq!(project.tree(), BTreeMap::new());
}

/// A project with one recording: its path and its content.
async fn one_recording() -> (Project, String, String) {
    let server = Server::start(|_, _| Reply::json(r#"{"id":"1","answer":"The capital of France is Paris."}"#)).await;
    let project = Project::new();
    let proxy = project.proxy("record", &server.url, &[]);
    assert_eq!(ask(&proxy.url, CHAT, question("x")).await.status, 200);
    assert_eq!(stop(proxy).await.code(), 0);
    let (path, content) = project.tree().into_iter().next().unwrap();
    (project, path, String::from_utf8(content).unwrap())
}

#[tokio::test]
async fn a_damaged_cassette_is_an_error_with_file_and_line_and_is_not_changed() {
    let (project, path, good) = one_recording().await;
    let third_line = good.match_indices('\n').nth(1).unwrap().0 + 1;
    let mut bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n      ".to_owned();
    for (from, to) in "abcdefgh".chars().zip("bcdefghi".chars()) {
        let nine = vec![format!("*{from}"); 9].join(", ");
        bomb.push_str(&format!("{to}: &{to} [{nine}]\n      "));
    }
    let mut not_text = good.clone().into_bytes();
    not_text.insert(third_line, 0xff);
    let changed = |from: &str, to: &str| good.replace(from, to).into_bytes();
    let line_of = |part: &str| good.lines().position(|line| line.contains(part)).unwrap() + 1;
    let at = |line: usize| format!("cannot read {path}: line {line}: ");
    let (status, responses, request) = (line_of("status:"), line_of("responses:"), line_of("request:"));
    let damages = [
        ("cut", good.as_bytes()[..third_line + 20].to_vec(), at(4)),
        ("empty", Vec::new(), at(1)),
        ("blank", b"\n\n  \n".to_vec(), at(1)),
        ("not UTF-8", not_text, at(3)),
        ("a list", b"- a\n- b\n".to_vec(), at(1)),
        (
            "a status that is none",
            changed("status: 200", "status: fine"),
            at(status),
        ),
        ("an unknown member", changed("responses:", "answers:"), at(responses)),
        (
            "a merge conflict",
            changed("request:", "<<<<<<< HEAD\nrequest:"),
            at(request),
        ),
        (
            "a bomb",
            changed("answer: ", &(bomb + "answer: ")),
            at(line_of("answer: ") + 1),
        ),
        (
            "a newer version",
            changed("version: 1", "version: 2\nnews: []"),
            format!("cannot read {path}: format version 2 is not supported"),
        ),
    ];
    let server = counting().await;
    for mode in ["replay", "strict", "record"] {
        let proxy = project.proxy(mode, &server.url, &[]);
        for (name, damaged, location) in &damages {
            project.write(&path, damaged);
            let message = ask(&proxy.url, CHAT, question("x")).await.error(424);
            assert!(message.contains(location), "{mode}, {name}: {location} in {message}");
            let expected = BTreeMap::from([(path.clone(), damaged.clone())]);
            assert_eq!(project.tree(), expected, "{mode}, {name}");
        }
        let done = stop(proxy).await;
        assert_eq!(done.code(), 1);
        let verdict = format!("{} requests have failed", damages.len());
        assert!(done.stderr.contains(&verdict), "{done:?}");
    }
    assert_eq!(server.connection_count(), 0);
    project.write(&path, good);
    assert_verified(&project);
}

/// Wherever the responses are truncated, the result is an error or the original response, never a different one.
#[tokio::test]
async fn a_truncated_cassette_never_replays_a_different_response() {
    let (project, path, good) = one_recording().await;
    let proxy = project.proxy("strict", CLOSED, &[]);
    let whole = ask(&proxy.url, CHAT, question("x")).await;
    let mut wrong = Vec::new();
    // In steps, so that the output fits into the pipe of stderr.
    for at in (good.find("responses:").unwrap()..good.len()).step_by(4) {
        project.write(&path, &good[..at]);
        let answer = ask(&proxy.url, CHAT, question("x")).await;
        if answer.status != 424 && answer.essence() != whole.essence() {
            wrong.push(format!(
                "{:?} gives {}",
                good[..at].lines().last().unwrap(),
                answer.text()
            ));
        }
    }
    assert!(wrong.is_empty(), "cut behind {}", wrong.join("\n"));
}

// Addresses.

#[tokio::test]
async fn a_port_in_use_is_an_error_with_exit_status_2() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap().into_std().unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let done = run(Project::new().command(&["proxy", "--listen", &address])).await;
    assert_eq!((done.code(), done.stdout.as_str()), (2, ""), "{done:?}");
    assert!(done.stderr.contains(&format!("cannot listen on {address}")), "{done:?}");
}

#[tokio::test]
async fn a_non_loopback_address_requires_allow_remote() {
    let project = Project::new();
    for address in ["0.0.0.0:0", "[::]:0"] {
        let done = run(project.command(&["proxy", "--listen", address])).await;
        assert_eq!((done.code(), done.stdout.as_str()), (2, ""), "{done:?}");
        assert!(done.stderr.contains("--allow-remote"), "{done:?}");
    }
    let server = counting().await;
    let proxy = project.proxy("live", &server.url, &["--listen", "0.0.0.0:0", "--allow-remote"]);
    let url = proxy.url.replace("0.0.0.0", "127.0.0.1");
    assert_eq!(ask(&url, "GET /v1/models", "").await.status, 200);
}

// Shutdown.

#[tokio::test]
async fn after_a_signal_a_stream_is_recorded_to_its_end() {
    for signal in [Signal::TERM, Signal::INT] {
        let (director, server) = directed().await;
        let project = Project::new();
        let proxy = project.proxy("record", &server.url, &[]);
        let mut wire = Wire::to(&proxy.url).await;
        wire.send(CHAT, "", &question("stream")).await;
        send(&director, "data: 1\n\n");
        let mut answer = wire.head().await;
        answer.pieces.extend(wire.chunk().await.unwrap());
        proxy.signal(signal);
        until_connections_are_refused(&proxy.url).await;
        send(&director, "data: 2\n\n");
        send(&director, "data: [DONE]\n\n");
        drop(director);
        wire.rest(&mut answer).await.unwrap();
        assert_eq!(answer.text(), "data: 1\n\ndata: 2\n\ndata: [DONE]\n\n");
        let done = end(proxy).await;
        assert_eq!(done.code(), 0, "{done:?}");
        assert!(done.stderr.contains("0 replayed, 1 recorded"), "{done:?}");
        assert_verified(&project);
        let strict = project.proxy("strict", CLOSED, &[]);
        assert_eq!(
            ask(&strict.url, CHAT, question("stream")).await.essence().2,
            answer.body()
        );
    }
}

#[tokio::test]
async fn after_a_signal_a_pending_request_is_completed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = format!("http://{}", listener.local_addr().unwrap());
    let project = Project::new();
    let proxy = project.proxy("record", &upstream, &[]);
    let mut wire = Wire::to(&proxy.url).await;
    wire.send(CHAT, "", &question("slow")).await;
    let (mut requested, _) = listener.accept().await.unwrap();
    // A response that arrives before its request is invalid.
    assert!(requested.read(&mut [0; 4096]).await.unwrap() > 0);
    proxy.signal(Signal::TERM);
    until_connections_are_refused(&proxy.url).await;
    requested.write_all(&good_answer().unwrap()).await.unwrap();
    assert_eq!(wire.answer().await.text(), r#"{"good":true}"#);
    assert_eq!(end(proxy).await.code(), 0);
    assert_eq!(cassettes(&project).len(), 1);
}

#[tokio::test]
async fn a_second_signal_ends_the_proxy_at_once_and_no_partial_recording_is_stored() {
    let (director, server) = directed().await;
    let project = Project::new();
    let proxy = project.proxy("record", &server.url, &[]);
    let mut wire = Wire::to(&proxy.url).await;
    wire.send(CHAT, "", &question("stream")).await;
    send(&director, "data: 1\n\n");
    wire.head().await;
    proxy.signal(Signal::TERM);
    until_connections_are_refused(&proxy.url).await;
    let done = stop(proxy).await;
    assert_eq!(done.code(), 2, "{done:?}");
    assert!(
        done.stderr.contains("stopped before all recordings were complete"),
        "{done:?}"
    );
    assert_eq!(project.tree(), BTreeMap::new());
    drop(director);
}

#[tokio::test]
async fn open_connections_do_not_prevent_shutdown() {
    let server = counting().await;
    let project = Project::new();
    let proxy = project.proxy("record", &server.url, &[]);
    let (mut used, _unused) = (Wire::to(&proxy.url).await, Wire::to(&proxy.url).await);
    used.send(CHAT, "", &question("x")).await;
    assert_eq!(used.answer().await.status, 200);
    let since = std::time::Instant::now();
    assert_eq!(stop(proxy).await.code(), 0);
    // The proxy waits three seconds for requests that are not complete, and not for idle connections.
    assert!(since.elapsed() < Duration::from_secs(3), "{:?}", since.elapsed());
}

// Concurrency.

#[tokio::test]
async fn a_process_killed_while_recording_leaves_complete_files() {
    let padding = "It blows. ".repeat(3000);
    let server =
        Server::start(move |number, _| Reply::json(json!({ "id": number, "text": padding }).to_string())).await;
    let project = Project::new();
    let proxy = project.proxy("record", &server.url, &[]);
    let client = client(&proxy.url);
    let asking_on = (0..32).map(|caller| {
        let client = client.clone();
        tokio::spawn(async move {
            for number in 0.. {
                let requested = client.request(asking(&format!("{caller} {number}"))).await;
                if requested.is_err() {
                    return;
                }
            }
        })
    });
    let callers: Vec<_> = asking_on.collect();
    let folder = project.cassettes().join("chat-completions");
    until("many are recorded", async || {
        std::fs::read_dir(&folder).is_ok_and(|entries| entries.count() >= 100)
    })
    .await;
    proxy.signal(Signal::KILL);
    end(proxy).await;
    join_all(callers).await;

    let is_temporary = |path: &str| {
        let name = path.rsplit('/').next().unwrap();
        name.starts_with(".mistral-cassette-") && name.ends_with(".tmp")
    };
    // A process killed while it writes a file leaves such a file.
    project.write(
        "cassettes/chat-completions/.mistral-cassette-AbCdEf.tmp",
        "version: 1\nkey",
    );
    let left = project.tree();
    assert!(
        left.keys().all(|path| path.ends_with(".yaml") || is_temporary(path)),
        "{:?}",
        left.keys()
    );
    assert_verified(&project);
    let whole = cassettes(&project).len();
    let listed = project.run(&["list", "--format", "json"]);
    assert_eq!(listed.code(), 0, "{listed:?}");
    assert!(!listed.stdout.contains(".tmp"), "{}", listed.stdout);

    let proxy = project.proxy("record", &server.url, &[]);
    assert_eq!(ask(&proxy.url, CHAT, question("afterwards")).await.status, 200);
    assert_eq!(ask(&proxy.url, CHAT, question("0 0")).await.status, 200);
    assert_eq!(stop(proxy).await.code(), 0);
    assert_eq!(cassettes(&project).len(), whole + 1);
    assert_verified(&project);
}

#[tokio::test]
async fn four_processes_that_record_the_same_keys_leave_one_complete_file_for_each() {
    let server = Arc::new(counting().await);
    let project = Project::new();
    let proxies: Vec<_> = (0..4).map(|_| project.proxy("record", &server.url, &[])).collect();
    let asks = proxies.iter().flat_map(|proxy| {
        let client = client(&proxy.url);
        (0..30).map(move |number| {
            let client = client.clone();
            async move {
                let answer = client.request(asking(&number.to_string())).await.unwrap();
                assert_eq!(answer.status().as_u16(), 200);
                answer.bytes().await.unwrap();
            }
        })
    });
    join_all(asks).await;
    for proxy in proxies {
        let done = stop(proxy).await;
        assert_eq!(done.code(), 0, "{done:?}");
        assert!(done.stderr.contains("30 recorded"), "{done:?}");
    }
    assert_eq!(server.call_count(), 120);
    assert_eq!((cassettes(&project).len(), project.tree().len()), (30, 30));
    assert_verified(&project);
}

/// An engine that panics, at once or later.
struct Defective {
    at_once: bool,
}

#[async_trait]
impl CacheEngine for Defective {
    async fn get(&self, _: &RequestKey) -> mistral_cassette::Result<Option<Bytes>> {
        if !self.at_once {
            tokio::task::yield_now().await;
        }
        panic!("this engine has a defect")
    }

    async fn set(&self, _: &RequestKey, _: Bytes) -> mistral_cassette::Result<()> {
        Ok(())
    }

    fn extensions(&self) -> &dyn EngineExtensions {
        self
    }
}

#[async_trait]
impl EngineExtensions for Defective {
    fn is_committed(&self) -> bool {
        true
    }
}

#[tokio::test]
async fn an_internal_error_is_a_response_and_fails_the_verdict() {
    for at_once in [true, false] {
        let recorder = Recorder::builder(Defective { at_once })
            .mode(Mode::Strict)
            .build()
            .unwrap();
        let proxy = Proxy::start(
            "127.0.0.1:0",
            recorder,
            Upstream::builder().base_url(CLOSED).build().unwrap(),
        )
        .await
        .unwrap();
        for _ in 0..2 {
            let answer = ask(&proxy.url(), CHAT, question("Hello?")).await;
            assert_eq!(answer.status, 424);
            let reported = "this is a defect: this engine has a defect";
            assert!(answer.text().contains(reported), "{}", answer.text());
        }
        let error = proxy.stop().await.unwrap_err();
        assert!(error.to_string().contains("this is a defect"), "{error}");
    }
}
