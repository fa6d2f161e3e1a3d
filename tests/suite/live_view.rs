//! `proxy --ui`: the page in a real browser, and who may read it.

use serde_json::{Value, json};
use tokio::net::TcpSocket;
use tokio::task::block_in_place;

use crate::support::browser::{browse, can_browse};
use crate::support::project::{Project, RunningProxy};
use crate::support::realtime::Realtime;
use crate::support::websocket::{Client, spoken};
use crate::support::wire::{Answer, Wire, address, ask};
use crate::support::{KEY, api};

/// A proxy with a live view that records only requests with a key.
fn start(project: &Project, upstream: &str, more: &[&str]) -> RunningProxy {
    let arguments = ["proxy", "--ui", "--mode", "replay", "--upstream", upstream];
    let mut command = project.command(&[&arguments, more].concat());
    RunningProxy::start(command.env_remove("MISTRAL_API_KEY"))
}

/// Goes through a case of `tests/report/live.mjs` while the proxy runs.
async fn browse_live(project: &Project, case: &str) -> RunningProxy {
    let api = api::start().await;
    let proxy = start(project, &api.url, &[]);
    let given = json!({
        "case": case, "address": proxy.live_view, "proxy": proxy.url, "pid": proxy.pid(), "key": KEY,
    });
    block_in_place(|| browse(&given));
    proxy
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_appear_in_the_page_as_they_are_answered() {
    if !can_browse() {
        return;
    }
    let project = Project::new();
    let done = browse_live(&project, "requests").await.wait();
    assert_eq!(done.code(), 1, "{}", done.stderr);
    assert!(
        done.stderr.contains("1 replayed, 1 recorded, 1 missed"),
        "{}",
        done.stderr
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn scripts_in_requests_and_their_recordings_do_not_run() {
    if !can_browse() {
        return;
    }
    browse_live(&Project::new(), "hostile_requests").await;
}

/// The origin and the path of a live view.
fn parts(page: &str) -> (&str, &str) {
    page.split_at(
        page.rfind(':')
            .and_then(|port| page[port..].find('/').map(|path| port + path))
            .unwrap(),
    )
}

async fn get(page: &str, path: &str, host: &str, headers: &str) -> Answer {
    let mut wire = Wire::to(parts(page).0).await;
    wire.say(format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n{headers}\r\n").as_bytes())
        .await;
    wire.answer().await
}

#[tokio::test]
async fn only_the_page_itself_may_read_the_live_view() {
    let project = Project::new();
    project.write("cassettes/settings.yaml", "{}");
    project.write("secret.yaml", "a: secret");
    let proxy = start(
        &project,
        "http://127.0.0.1:9",
        &["--listen", "0.0.0.0:0", "--allow-remote"],
    );
    let page = &proxy.live_view;
    let (origin, path) = parts(page);
    let host = address(origin);
    assert!(host.starts_with("127.0.0.1:") && path.len() == 24, "{page}");
    assert_ne!(origin, proxy.url);
    let own = get(page, path, host, "").await;
    assert_eq!(own.status, 200);
    let policy = own.header("content-security-policy").unwrap();
    for part in [
        "default-src 'none'",
        "connect-src 'self'",
        "frame-ancestors 'none'",
        "script-src 'sha256-",
    ] {
        assert!(policy.contains(part), "{policy}");
    }
    for (name, value) in [
        ("cache-control", "no-store"),
        ("referrer-policy", "no-referrer"),
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("cross-origin-resource-policy", "same-origin"),
    ] {
        assert_eq!(own.header(name), Some(value));
    }
    assert!(own.header("access-control-allow-origin").is_none());
    let events = format!("{path}events");
    for (status, path, host, headers) in [
        (421, path, "evil.test", ""),
        (421, path, "127.0.0.1", ""),
        (403, &*events, host, "origin: http://evil.test\r\n"),
        (403, &*events, host, "origin: null\r\n"),
        (403, path, host, "sec-fetch-site: cross-site\r\n"),
        (403, path, host, "sec-fetch-site: same-site\r\n"),
        (404, "/", host, ""),
        (404, "/events", host, ""),
        (404, "/AAAAAAAAAAAAAAAAAAAAAA/", host, ""),
        (404, "/AAAAAAAAAAAAAAAAAAAAAA/events", host, ""),
        (404, &*format!("{path}recording/settings.yaml"), host, ""),
        (404, &*format!("{path}recording/..%2Fsecret.yaml"), host, ""),
        (404, &*format!("{path}recording/%2E%2E/secret.yaml"), host, ""),
    ] {
        let answer = get(page, path, host, headers).await;
        assert_eq!(answer.status, status, "{path} {host} {headers}");
        assert!(!answer.text().contains("secret"), "{}", answer.text());
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    }
    for method in ["POST", "DELETE", "OPTIONS"] {
        let mut wire = Wire::to(origin).await;
        wire.send(&format!("{method} {path}"), "connection: close\r\n", b"")
            .await;
        assert_eq!(wire.answer().await.status, 405, "{method}");
    }
    // The port of the proxy, which other machines may reach, does not have the page.
    let answer = ask(&proxy.url, &format!("GET {path}"), "").await;
    assert_eq!(answer.status, 424);
    proxy.stop();
}

/// Reads events up to the one with this name; returns all lines.
async fn read_to(wire: &mut Wire, name: &str) -> String {
    let mut lines = String::new();
    loop {
        let chunk = wire.chunk().await.unwrap().expect("another event");
        lines.push_str(&String::from_utf8(chunk).unwrap());
        if lines.contains(&format!("event: {name}\n")) {
            return lines;
        }
    }
}

async fn follow(page: &str, headers: &str) -> Wire {
    let (origin, path) = parts(page);
    let mut wire = Wire::to(origin).await;
    wire.send(&format!("GET {path}events"), headers, b"").await;
    let head = wire.head().await;
    assert_eq!(head.header("content-type"), Some("text/event-stream"));
    wire
}

#[tokio::test]
async fn a_browser_that_does_not_read_delays_nobody_and_gets_what_it_missed() {
    let project = Project::new();
    let proxy = start(&project, "http://127.0.0.1:9", &[]);
    let page = &proxy.live_view;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let (origin, path) = parts(page);
    let stream = socket.connect(address(origin).parse().unwrap()).await.unwrap();
    let mut slow = Wire::on(stream, address(origin));
    slow.send(&format!("GET {path}events"), "", b"").await;
    assert_eq!(slow.head().await.status, 200);
    // Each fails early, with a long line.
    let number = 1050;
    let mut wire = Wire::to(&proxy.url).await;
    for request in 1..=number {
        wire.send(&format!("GET /c/a/b/v1/models/{request}?{}", "x".repeat(400)), "", b"")
            .await;
        assert_eq!(wire.answer().await.status, 400);
    }
    // The last 1,000 are there, also for a browser that comes back.
    let mut late = follow(page, "last-event-id: 7\r\n").await;
    let first = read_to(&mut late, "request").await;
    assert!(
        first.contains("event: missing\ndata: 43\n\nid: 51\nevent: request\n"),
        "{first}"
    );
    let mut back = follow(page, &format!("last-event-id: {}\r\n", number - 1)).await;
    let last = read_to(&mut back, "request").await;
    assert!(
        last.contains(&format!("id: {number}\n")) && !last.contains("missing"),
        "{last}"
    );
    // The first browser gets all, or the number of those that are missing.
    let (mut read, last) = (String::new(), format!("id: {number}\n"));
    let mut chunk = String::new();
    while !chunk.contains(&last) {
        chunk = String::from_utf8(slow.chunk().await.unwrap().unwrap()).unwrap();
        read.push_str(&chunk);
    }
    let missing = read.lines().skip_while(|line| *line != "event: missing").nth(1);
    let missing: usize = missing.map_or(0, |line| line.trim_start_matches("data: ").parse().unwrap());
    assert_eq!(read.matches("event: request\n").count() + missing, number);
    let signalled = proxy.stop();
    assert!(signalled.stderr.contains("1050 failed"), "{}", signalled.stderr);
    let ended = read_to(&mut back, "ended").await;
    assert!(ended.contains("data: 0 replayed, 0 recorded, 1050 failed\n"), "{ended}");
}

/// The next request that a browser gets.
async fn next_request(events: &mut Wire) -> Value {
    let text = read_to(events, "request").await;
    let mut lines = text.lines().skip_while(|line| *line != "event: request");
    serde_json::from_str(lines.nth(1).unwrap().trim_start_matches("data: ")).unwrap()
}

/// A recording as the page loads it.
async fn recording(page: &str, name: &Value) -> Value {
    let (origin, path) = parts(page);
    let name = name.as_str().unwrap().replace('/', "%2F");
    let answer = get(page, &format!("{path}recording/{name}"), address(origin), "").await;
    serde_json::from_slice(&answer.body()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn realtime_sessions_are_shown_with_their_recordings() {
    let (project, server) = (Project::new(), Realtime::start().await);
    let proxy = project.proxy("replay", &server.url, &["--ui"]);
    let mut events = follow(&proxy.live_view, "").await;
    for (outcome, detail) in [("recorded", ""), ("replayed", "1 of 1")] {
        spoken(&proxy.url, &["Hello ", "world"]).await;
        let request = next_request(&mut events).await;
        assert_eq!(
            (&request["outcome"], &request["detail"], &request["title"]),
            (&json!(outcome), &json!(detail), &json!("Hello world"))
        );
        let recording = recording(&proxy.live_view, &request["cassette"]).await;
        let text = recording["details"]["responses"][0]["body"]["text"].as_str().unwrap();
        assert!(text.contains("sent     input_text.append"), "{text}");
        assert_eq!(recording["summary"]["statuses"], json!([101]));
    }
    proxy.stop();
    let proxy = project.proxy("strict", "http://127.0.0.1:9", &["--ui"]);
    let mut events = follow(&proxy.live_view, "").await;
    let mut client = Client::speaker(&proxy.url).await;
    client
        .say(json!({ "type": "input_text.append", "text": "Goodbye" }))
        .await;
    assert_eq!(client.closing().await.unwrap().0, 4404);
    let request = next_request(&mut events).await;
    assert_eq!(request["outcome"], "missed");
    let error = request["error"].as_str().unwrap();
    assert!(
        error.contains("the nearest recording is") && error.contains("Goodbye"),
        "{error}"
    );
    proxy.stop();
}

#[tokio::test]
async fn a_recording_in_a_cache_is_loaded_through_a_request_that_used_it() {
    let api = api::start().await;
    let project = Project::new();
    let proxy = project.proxy("replay", &api.url, &["--ui", "--dir", "memory:"]);
    let body = json!({ "model": "m", "messages": [{ "role": "user", "content": "Hello" }] });
    let answer = ask(&proxy.url, "POST /v1/chat/completions", body.to_string()).await;
    assert_eq!(answer.status, 200);
    let mut events = follow(&proxy.live_view, "").await;
    let request = next_request(&mut events).await;
    assert_eq!(
        (&request["outcome"], &request["title"]),
        (&json!("recorded"), &json!("Hello"))
    );
    let (origin, path) = parts(&proxy.live_view);
    let page = get(&proxy.live_view, path, address(origin), "").await;
    assert!(page.text().contains("the recordings of a cache are not listed"));
    let recording = recording(&proxy.live_view, &request["cassette"]).await;
    assert_eq!(recording["summary"]["title"], "Hello");
    assert_eq!(recording["details"]["responses"][0]["status"], 200);
    proxy.stop();
}

#[test]
fn run_has_a_live_view_until_its_command_ends() {
    let project = Project::new();
    let done = project.run(&["run", "--ui", "--mode", "strict", "--allow-no-requests", "--", "true"]);
    assert_eq!(done.code(), 0, "{}", done.stderr);
    assert!(
        done.stderr.contains("live view on http://127.0.0.1:"),
        "{}",
        done.stderr
    );
    let done = project.run(&["run", "--ui", "--repeat", "2", "--", "true"]);
    assert_eq!(done.code(), 2);
    let done = project.run(&["proxy", "--ui-port", "8080"]);
    assert!(done.code() == 2 && done.stderr.contains("--ui"), "{}", done.stderr);
}
