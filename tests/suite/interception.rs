//! Interception: clients that know nothing of the proxy but the variables that `run` sets.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mistral_cassette::client::Client;
use mistral_cassette::proxy::{Interception, Proxy, ProxyBuilder};
use mistral_cassette::{DirectoryEngine, Mode, Recorder, Request, Upstream};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::support::project::{Done, Project, done};
use crate::support::server::{Call, Reply, Server, Step};
use crate::support::skip::{is_installed, print, skip};
use crate::support::tls::{self, Authority, connect, handshake, intercepted};
use crate::support::wire::{Wire, ask};
use crate::support::{KEY, api};

const CHAT: &str = "POST /v1/chat/completions";

fn body(question: &str) -> String {
    json!({ "model": "mistral-small-latest", "messages": [{ "role": "user", "content": question }] }).to_string()
}

fn authorization() -> String {
    format!("authorization: Bearer {KEY}\r\n")
}

/// A proxy in this process that records into a directory.
async fn proxy_with(
    directory: &Path,
    mode: Mode,
    upstream: &str,
    interception: Interception,
    with: impl FnOnce(ProxyBuilder) -> ProxyBuilder,
) -> Proxy {
    let recorder = Recorder::builder(DirectoryEngine::new(directory));
    let recorder = recorder.mode(mode).allow_record_in_ci().build().unwrap();
    let upstream = Upstream::builder().base_url(upstream).api_key(KEY).build().unwrap();
    with(Proxy::builder().intercept(interception))
        .start("127.0.0.1:0", recorder, upstream)
        .await
        .unwrap()
}

async fn proxy(directory: &Path, mode: Mode, upstream: &str) -> Proxy {
    proxy_with(directory, mode, upstream, Interception::new(), |builder| builder).await
}

/// A server that answers with the number of the call and the host that the client has named.
async fn echo() -> Server {
    Server::start(|number, call: &Call| {
        Reply::json(
            json!({ "call": number, "host": call.header("host"), "key": call.header("authorization") }).to_string(),
        )
    })
    .await
}

fn files(directory: &Path) -> usize {
    let mut count = 0;
    let mut folders = vec![directory.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.path() {
                path if path.is_dir() => folders.push(path),
                path if path.extension().is_some_and(|extension| extension == "yaml") => count += 1,
                _ => {}
            }
        }
    }
    count
}

// The request path.

#[tokio::test(flavor = "multi_thread")]
async fn the_hosts_of_the_api_share_recordings_with_the_base_url_and_the_typed_client() {
    let directory = tempfile::tempdir().unwrap();
    let server = api::start().await;
    let recording = proxy(directory.path(), Mode::Record, &server.url).await;
    let trusted = recording.certificate().unwrap().to_owned();
    let mut wire = intercepted(&recording.url(), &trusted, "api.mistral.ai", "").await;
    wire.send(CHAT, &authorization(), body("Which winds blow?").as_bytes())
        .await;
    let recorded = wire.answer().await;
    assert_eq!((recorded.status, recorded.is_whole), (200, true));
    drop(wire);
    recording.stop().await.unwrap();
    drop(server);
    assert_eq!(files(directory.path()), 1);

    let replaying = proxy(directory.path(), Mode::Strict, "http://127.0.0.1:9").await;
    let trusted = replaying.certificate().unwrap().to_owned();
    for host in ["api.mistral.ai", "codestral.mistral.ai"] {
        let mut wire = intercepted(&replaying.url(), &trusted, host, "").await;
        wire.send(CHAT, &authorization(), body("Which winds blow?").as_bytes())
            .await;
        assert_eq!(wire.answer().await.body(), recorded.body(), "{host}");
    }
    assert_eq!(
        ask(&replaying.url(), CHAT, body("Which winds blow?")).await.body(),
        recorded.body()
    );
    // A plain request to an intercepted host, in absolute form.
    let absolute = "POST http://api.mistral.ai/v1/chat/completions";
    let mut wire = Wire::on(
        tokio::net::TcpStream::connect(replaying.address()).await.unwrap(),
        "api.mistral.ai",
    );
    wire.send(absolute, "", body("Which winds blow?").as_bytes()).await;
    assert_eq!(wire.answer().await.body(), recorded.body());
    assert_eq!(replaying.stop().await.unwrap().replayed, 4);

    let recorder = Recorder::builder(DirectoryEngine::new(directory.path()))
        .mode(Mode::Strict)
        .build()
        .unwrap();
    let client = Client::builder().recorder(recorder).build().unwrap();
    let request = Request::post("/v1/chat/completions")
        .unwrap()
        .body(body("Which winds blow?"));
    let answer = client.request(request).await.unwrap();
    assert_eq!(answer.bytes().await.unwrap(), recorded.body());
}

#[tokio::test(flavor = "multi_thread")]
async fn another_host_has_its_own_key_its_own_upstream_and_no_api_key() {
    let directory = tempfile::tempdir().unwrap();
    let (first, second) = (echo().await, echo().await);
    let interception = || {
        let own = Interception::new().host(&format!("*.example.com={}", second.url));
        own.unwrap().host(&format!("llm.test:8443={}", second.url)).unwrap()
    };
    let recording = proxy_with(directory.path(), Mode::Replay, &first.url, interception(), |builder| {
        builder
    })
    .await;
    let trusted = recording.certificate().unwrap().to_owned();
    let mut answers = Vec::new();
    for host in ["api.mistral.ai", "a.example.com", "b.example.com"] {
        let mut wire = intercepted(&recording.url(), &trusted, host, "").await;
        wire.send(CHAT, "", body("x").as_bytes()).await;
        let answer: Value = serde_json::from_slice(&wire.answer().await.body()).unwrap();
        answers.push((answer["call"].clone(), answer["key"].clone()));
    }
    let key = json!(format!("Bearer {KEY}"));
    assert_eq!(
        answers,
        [(json!(0), key), (json!(0), Value::Null), (json!(1), Value::Null)]
    );
    recording.stop().await.unwrap();
    let files: Vec<String> = glob(directory.path());
    assert_eq!(files.len(), 3);
    for (host, from) in [("a.example.com", &second.url), ("b.example.com", &second.url)] {
        let file = files
            .iter()
            .find(|file| file.contains(&format!("  host: {host}\n")))
            .unwrap();
        assert!(file.contains(&format!("  from: {from}\n")), "{file}");
    }
    assert!(
        files
            .iter()
            .any(|file| !file.contains("\n  host: ") && file.contains(&first.url))
    );

    let replaying = proxy_with(directory.path(), Mode::Strict, &first.url, interception(), |builder| {
        builder
    })
    .await;
    let trusted = replaying.certificate().unwrap().to_owned();
    for (host, status) in [("a.example.com", 200), ("c.example.com", 424)] {
        let mut wire = intercepted(&replaying.url(), &trusted, host, "").await;
        wire.send(CHAT, "", body("x").as_bytes()).await;
        let answer = wire.answer().await;
        assert_eq!(answer.status, status, "{}", answer.text());
        if status == 424 {
            let message = answer.error(424);
            assert!(
                message.contains("not recorded: POST https://c.example.com/v1/chat/completions"),
                "{message}"
            );
            assert!(message.contains("/host") || message.contains("host"), "{message}");
        }
    }
    drop(replaying.stop().await);
    let verified = Project::new().run(&["verify", "--dir", directory.path().to_str().unwrap()]);
    assert_eq!(verified.code(), 0, "{}", verified.stderr);
}

/// The contents of the cassettes.
fn glob(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory.join("chat-completions")).unwrap();
    entries
        .map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn http_2_is_chosen_by_alpn_and_streams_arrive_live() {
    let directory = tempfile::tempdir().unwrap();
    let (sender, reply) = Reply::directed("text/event-stream");
    let reply = std::sync::Mutex::new(Some(reply));
    let server = Server::start(move |_, _| reply.lock().unwrap().take().unwrap()).await;
    let proxy = proxy(directory.path(), Mode::Record, &server.url).await;
    let client = tls::reqwest(&proxy.url(), proxy.certificate().unwrap());
    let url = "https://api.mistral.ai/v1/chat/completions";
    let sent = client.post(url).bearer_auth(KEY).body(r#"{"stream":true}"#).send();
    let first = Bytes::from_static(b"data: {\"choices\":[]}\n\n");
    sender.send(Step::Send(first.clone())).unwrap();
    let mut response = sent.await.unwrap();
    assert_eq!(
        (response.status().as_u16(), response.version()),
        (200, http::Version::HTTP_2)
    );
    assert_eq!(response.chunk().await.unwrap(), Some(first));
    sender
        .send(Step::Send(Bytes::from_static(b"data: [DONE]\n\n")))
        .unwrap();
    drop(sender);
    assert_eq!(response.text().await.unwrap(), "data: [DONE]\n\n");
    assert_eq!(proxy.stop().await.unwrap().recorded, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_names_its_scope_as_the_user_of_the_proxy_or_in_a_header() {
    let directory = tempfile::tempdir().unwrap();
    let server = echo().await;
    let interception = Interception::new().scope(mistral_cassette::Scope::new("suite").unwrap());
    let proxy = proxy_with(directory.path(), Mode::Record, &server.url, interception, |builder| {
        builder
    })
    .await;
    let trusted = proxy.certificate().unwrap().to_owned();
    let user = "proxy-authorization: Basic bXlfdGVzdC9hOg==\r\n";
    let header = "x-mistral-cassette-scope: by_header\r\n";
    for (of_proxy, of_request) in [("", ""), (user, ""), (user, header)] {
        let mut wire = intercepted(&proxy.url(), &trusted, "api.mistral.ai", of_proxy).await;
        wire.send(CHAT, of_request, body("x").as_bytes()).await;
        assert_eq!(wire.answer().await.status, 200);
    }
    let mut wire = Wire::to(&proxy.url()).await;
    wire.send(CHAT, "x-mistral-cassette-scope: direct\r\n", body("x").as_bytes())
        .await;
    assert_eq!(wire.answer().await.status, 200);
    for scope in ["suite", "my_test/a", "by_header", "direct"] {
        assert_eq!(
            files(&directory.path().join(scope).join("chat-completions")),
            1,
            "{scope}"
        );
    }
    assert!(
        server
            .calls()
            .iter()
            .all(|call| call.header("x-mistral-cassette-scope").is_none())
    );
    let refused = "proxy-authorization: Basic Li4vYTo=\r\n";
    let (_, answer) = connect(&proxy.url(), "api.mistral.ai:443", refused).await;
    assert!(answer.error(400).contains("is not a scope"), "{}", answer.text());
    // The client got no response, so the verdict says it.
    let error = proxy.stop().await.unwrap_err();
    assert!(
        error.message().contains("the user name of the proxy is not a scope"),
        "{error}"
    );
}

// Refusals and faults.

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_to_an_intercepted_host_accepts_no_request_for_another_host() {
    let directory = tempfile::tempdir().unwrap();
    let proxy = proxy(directory.path(), Mode::Strict, "http://127.0.0.1:9").await;
    let trusted = proxy.certificate().unwrap().to_owned();
    for request in [
        "GET /v1/models HTTP/1.1\r\nhost: codestral.mistral.ai\r\n\r\n",
        "GET /v1/models HTTP/1.1\r\nhost: api.mistral.ai:8443\r\n\r\n",
        "GET /v1/models HTTP/1.1\r\nhost: localhost\r\n\r\n",
        "GET https://example.com/v1/models HTTP/1.1\r\nhost: api.mistral.ai\r\n\r\n",
        "CONNECT example.com:443 HTTP/1.1\r\nhost: api.mistral.ai\r\n\r\n",
    ] {
        let mut wire = intercepted(&proxy.url(), &trusted, "api.mistral.ai", "").await;
        wire.say(request.as_bytes()).await;
        assert_eq!(wire.answer().await.status, 421, "{request}");
    }
    let mut wire = intercepted(&proxy.url(), &trusted, "api.mistral.ai", "").await;
    wire.say(b"GET /v1/models HTTP/1.1\r\nhost: api.mistral.ai\r\norigin: https://evil.test\r\n\r\n")
        .await;
    assert_eq!(wire.answer().await.status, 403);
    let summary = proxy.stop().await.unwrap();
    assert_eq!((summary.refused, summary.failed), (6, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_to_the_proxy_itself_and_to_this_machine_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let other = listener.local_addr().unwrap().port();
    let interception = Interception::new().allow_net(&format!("127.0.0.1:{other}")).unwrap();
    let upstream = "http://127.0.0.1:9";
    let proxy = proxy_with(directory.path(), Mode::Strict, upstream, interception, |builder| {
        builder
    })
    .await;
    let own = proxy.address().port();
    for target in [
        format!("127.0.0.1:{own}"),
        format!("localhost:{own}"),
        format!("[::ffff:127.0.0.1]:{own}"),
        format!("0.0.0.0:{own}"),
        format!("localhost:{other}"),
        "127.0.0.2:80".to_owned(),
    ] {
        let (_, answer) = connect(&proxy.url(), &target, "").await;
        assert!(
            answer.error(403).contains("does not connect to"),
            "{target}: {}",
            answer.text()
        );
    }
    // An allowed one is a tunnel: bytes pass in both directions.
    let (mut wire, answer) = connect(&proxy.url(), &format!("127.0.0.1:{other}"), "").await;
    assert_eq!(answer.status, 200);
    wire.say(b"ping").await;
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut received = [0; 4];
    stream.read_exact(&mut received).await.unwrap();
    stream.write_all(b"pong").await.unwrap();
    assert_eq!(
        (&received, wire.bytes(4).await.unwrap().as_slice()),
        (b"ping", b"pong".as_slice())
    );
    // One that fails is closed without a response to the handshake.
    drop(listener);
    let (mut failed, answer) = connect(&proxy.url(), &format!("127.0.0.1:{other}"), "").await;
    let mut rest = Vec::new();
    failed.stream.read_to_end(&mut rest).await.unwrap();
    assert_eq!((answer.status, rest.len()), (200, 0));
    let shown = proxy.connections().to_string();
    assert!(
        shown.starts_with(&format!("connections to other hosts: 127.0.0.1:{other} (2); refused")),
        "{shown}"
    );
    // The open tunnel does not delay the end.
    let stopped = tokio::time::timeout(Duration::from_secs(2), proxy.stop())
        .await
        .unwrap();
    assert_eq!(stopped.unwrap(), mistral_cassette::recorder::Summary::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_tls_in_a_tunnel_ends_the_connection_and_is_reported() {
    let directory = tempfile::tempdir().unwrap();
    let proxy = proxy(directory.path(), Mode::Strict, "http://127.0.0.1:9").await;
    let (url, trusted) = (proxy.url(), proxy.certificate().unwrap().to_owned());
    let target = "api.mistral.ai:443";
    let session = proxy.recorder().session();
    // A client that leaves before the handshake is not an error.
    drop(connect(&url, target, "").await);
    // Plain HTTP.
    let (mut wire, _) = connect(&url, target, "").await;
    wire.say(b"GET /v1/models HTTP/1.1\r\nhost: api.mistral.ai\r\n\r\n")
        .await;
    let mut rest = Vec::new();
    // The proxy may reset the connection.
    let _ = wire.stream.read_to_end(&mut rest).await;
    assert!(!rest.starts_with(b"HTTP"), "{rest:?}");
    // A client that does not trust the proxy, and one that names another host.
    for (trusted, name) in [
        (Authority::new().pem(), "api.mistral.ai"),
        (trusted.clone(), "codestral.mistral.ai"),
    ] {
        let (wire, _) = connect(&url, target, "").await;
        handshake(wire, tls::client(&trusted, &["h2"]), name).await.unwrap_err();
    }
    let is_reported = async || {
        while session.summary().failed < 3 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), is_reported())
        .await
        .unwrap();
    // No name in the handshake, and TLS 1.2 only.
    let (wire, _) = connect(&url, target, "").await;
    let mut config = tls::client_of(&[&rustls::version::TLS12], &trusted, &["http/1.1"]);
    config.enable_sni = false;
    let mut wire = Wire::on(
        handshake(wire, config, "api.mistral.ai").await.unwrap(),
        "api.mistral.ai",
    );
    wire.send("GET /v1/models", "", b"").await;
    assert_eq!(wire.answer().await.status, 424);

    let verdict = proxy.stop().await.unwrap_err().to_string();
    for part in [
        "a client opened a connection for api.mistral.ai and did not begin with TLS",
        "the TLS connection of a client to api.mistral.ai failed\n  caused by: received fatal alert: UnknownCA",
        "does not trust the proxy: see docs/interception.md",
        "1 request was not recorded, and 3 failed",
    ] {
        assert!(verdict.contains(part), "{part}: {verdict}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_to_the_proxy_itself_is_refused_and_does_not_fail_the_session() {
    let directory = tempfile::tempdir().unwrap();
    let proxy = proxy(directory.path(), Mode::Strict, "http://127.0.0.1:9").await;
    let trusted = proxy.certificate().unwrap().to_owned();
    let wire = Wire::to(&proxy.url()).await;
    handshake(wire, tls::client(&trusted, &["http/1.1"]), "api.mistral.ai")
        .await
        .unwrap_err();
    let summary = proxy.stop().await.unwrap();
    assert_eq!((summary.refused, summary.failed), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_cannot_wait_for_a_response_names_its_destination_in_a_line() {
    let directory = tempfile::tempdir().unwrap();
    let server = echo().await;
    let proxy = proxy(directory.path(), Mode::Record, &server.url).await;
    let trusted = proxy.certificate().unwrap().to_owned();
    let preface = async |line: &str| {
        let mut wire = Wire::to(&proxy.url()).await;
        wire.say(line.as_bytes()).await;
        handshake(wire, tls::client(&trusted, &["http/1.1"]), "api.mistral.ai").await
    };
    let stream = preface("mistral-cassette api.mistral.ai:443 bXlfdGVzdDp4\r\n").await;
    let mut wire = Wire::on(stream.unwrap(), "api.mistral.ai");
    wire.send(CHAT, "", body("x").as_bytes()).await;
    assert_eq!(wire.answer().await.status, 200);
    assert_eq!(files(&directory.path().join("my_test/chat-completions")), 1);
    for wrong in [
        "mistral-cassette example.com:443\r\n",
        "mistral-cassette api.mistral.ai:443 !\r\n",
        "mistral\r\n",
    ] {
        assert!(preface(wrong).await.is_err(), "{wrong}");
    }
    let verdict = proxy.stop().await.unwrap_err().to_string();
    assert!(
        verdict.starts_with("3 requests have failed") && verdict.contains("example.com is not intercepted"),
        "{verdict}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_tunnels_at_once_are_served() {
    let directory = tempfile::tempdir().unwrap();
    let proxy = proxy(directory.path(), Mode::Strict, "http://127.0.0.1:9").await;
    let url: Arc<str> = proxy.url().into();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..1000 {
        let url = url.clone();
        tasks.spawn(async move { connect(&url, "api.mistral.ai:443", "").await });
    }
    let tunnels = tasks.join_all().await;
    assert!(tunnels.iter().all(|(_, answer)| answer.status == 200));
    // Another client is served meanwhile.
    let trusted = proxy.certificate().unwrap().to_owned();
    let mut wire = intercepted(&url, &trusted, "api.mistral.ai", "").await;
    wire.send("GET /v1/models", "", b"").await;
    assert_eq!(wire.answer().await.status, 424);
    // Open tunnels do not delay the end.
    let verdict = tokio::time::timeout(Duration::from_secs(5), proxy.stop())
        .await
        .unwrap();
    assert!(verdict.unwrap_err().to_string().contains("1 request was not recorded"));
}

/// HTTP/2 rapid reset (CVE-2023-44487).
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_resets_its_requests_at_once_is_disconnected() {
    const REQUESTS: usize = 10_000;
    const GO_AWAY: u8 = 7;
    const ENHANCE_YOUR_CALM: u8 = 11;
    let directory = tempfile::tempdir().unwrap();
    let proxy = proxy(directory.path(), Mode::Strict, "http://127.0.0.1:9").await;
    let (url, trusted) = (proxy.url(), proxy.certificate().unwrap().to_owned());
    let (wire, _) = connect(&url, "api.mistral.ai:443", "").await;
    let stream = handshake(wire, tls::client(&trusted, &["h2"]), "api.mistral.ai").await;
    let (mut read, mut write) = tokio::io::split(stream.unwrap());
    // The preface, and empty SETTINGS.
    let mut frames = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
    // Method GET, scheme https, path and authority, by their indexes in the static table of HPACK.
    let head = b"\x82\x87\x04\x0a/v1/models\x01\x0eapi.mistral.ai";
    for id in (1..).step_by(2).take(REQUESTS).map(u32::to_be_bytes) {
        // HEADERS with the end of the request, and RST_STREAM with CANCEL.
        frames.extend([0, 0, head.len() as u8, 1, 5]);
        frames.extend(id.iter().chain(head));
        frames.extend([0, 0, 4, 3, 0]);
        frames.extend(id.iter().chain(&8_u32.to_be_bytes()));
    }
    let sending = tokio::spawn(async move {
        let _ = write.write_all(&frames).await;
        write
    });
    let mut answer = Vec::new();
    let reading = tokio::time::timeout(Duration::from_secs(20), read.read_to_end(&mut answer));
    // The proxy may reset the connection.
    let _ = reading.await.expect("the connection is closed");
    drop(sending.await.unwrap());
    let mut rest = &answer[..];
    let mut reasons = Vec::new();
    while let [a, b, c, kind, _, _, _, _, _, after @ ..] = rest {
        let (frame, next) = after.split_at(u32::from_be_bytes([0, *a, *b, *c]) as usize);
        if *kind == GO_AWAY {
            reasons.push(frame[7]);
        }
        rest = next;
    }
    assert_eq!(reasons, [ENHANCE_YOUR_CALM]);
    // Few of them were answered, and another client is served.
    assert!(proxy.recorder().session().summary().failed < REQUESTS / 10);
    let mut wire = intercepted(&url, &trusted, "api.mistral.ai", "").await;
    wire.send("GET /v1/models", "", b"").await;
    assert_eq!(wire.answer().await.status, 424);
    proxy.stop().await.unwrap_err();
}

// The command.

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

const PYTHON: &str = r#"
import asyncio, os, sys, urllib.request, json
import aiohttp, requests
from mistralai.client import Mistral

def ask(question):
    return {"model": "mistral-small-latest", "messages": [{"role": "user", "content": question}]}

mistral = Mistral(api_key=os.environ["MISTRAL_API_KEY"])
print(mistral.chat.complete(**ask("What is the capital of France?")).choices[0].message.content)
print("".join(chunk.data.choices[0].delta.content or "" for chunk in mistral.chat.stream(**ask("In winter?"))))

URL = "https://api.mistral.ai/v1/chat/completions"
HEADERS = {"Authorization": "Bearer " + os.environ["MISTRAL_API_KEY"], "Content-Type": "application/json"}
print(requests.post(URL, json=ask("From requests?"), headers=HEADERS).json()["choices"][0]["message"]["content"])

async def by_aiohttp():
    async with aiohttp.ClientSession(trust_env=True) as session:
        async with session.post(URL, json=ask("From aiohttp?"), headers=HEADERS) as response:
            print((await response.json())["choices"][0]["message"]["content"])

asyncio.run(by_aiohttp())
request = urllib.request.Request(URL, json.dumps(ask("From urllib?")).encode(), HEADERS)
print(json.load(urllib.request.urlopen(request))["choices"][0]["message"]["content"])
os.environ["HTTPS_PROXY"] = os.environ["https_proxy"] = os.environ["HTTPS_PROXY"].replace("//", "//by_python:x@")
print(requests.post(URL, json=ask("From a scope?"), headers=HEADERS).json()["choices"][0]["message"]["content"])
"#;

const NODE: &str = r#"
const https = require("node:https");
const http2 = require("node:http2");
const ask = (question) => JSON.stringify({ model: "mistral-small-latest", messages: [{ role: "user", content: question }] });
const headers = { authorization: `Bearer ${process.env.MISTRAL_API_KEY}`, "content-type": "application/json" };
const url = "https://api.mistral.ai/v1/chat/completions";
const shown = (answer) => console.log(JSON.parse(answer).choices[0].message.content);
fetch(url, { method: "POST", headers, body: ask("From fetch?") })
  .then((response) => response.text())
  .then(shown)
  .then(() => new Promise((resolve) => {
    const request = https.request(url, { method: "POST", headers }, async (response) => {
      resolve(Buffer.concat(await Array.fromAsync?.(response) ?? await response.toArray()).toString());
    });
    request.end(ask("From https?"));
  }))
  .then(shown)
  .then(() => new Promise((resolve) => {
    const session = http2.connect("https://codestral.mistral.ai");
    const stream = session.request({ ":method": "POST", ":path": "/v1/chat/completions", ...headers });
    let text = "";
    stream.on("data", (piece) => (text += piece));
    stream.on("end", () => { session.close(); resolve(text); });
    stream.end(ask("From http2?"));
  }))
  .then(shown)
  .then(() => fetch("https://192.0.2.7:9443/v1/chat/completions", { method: "POST", headers, body: ask("From a port?") }))
  .then((response) => response.text())
  .then(shown)
  .then(() => {
    process.env.HTTPS_PROXY = process.env.HTTPS_PROXY.replace("//", "//by_node:x@");
    // A connection of its own.
    return new Promise((resolve) => {
      const request = https.request(url, { method: "POST", headers, agent: false }, async (response) => {
        resolve(Buffer.concat(await response.toArray()).toString());
      });
      request.end(ask("From a scope?"));
    });
  })
  .then(shown);
"#;

const JAVA: &str = r#"
import java.net.URI;
import java.net.http.*;

public class Ask {
    public static void main(String[] arguments) throws Exception {
        String body = "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"From Java?\"}]}";
        HttpRequest request = HttpRequest.newBuilder(URI.create("https://api.mistral.ai/v1/chat/completions"))
            .header("authorization", "Bearer " + System.getenv("MISTRAL_API_KEY"))
            .POST(HttpRequest.BodyPublishers.ofString(body))
            .build();
        HttpResponse<String> response = HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofString());
        System.out.println(response.version() + " " + response.body());
    }
}
"#;

/// The commands, each for one client, that are installed.
fn clients(project: &Project) -> String {
    project.write("ask.py", PYTHON);
    project.write("ask.cjs", NODE);
    let python = root(".venv/bin/python");
    let mut script = String::from("set -e\n");
    if is_installed(python.exists(), &python.display().to_string()) {
        script.push_str(&format!("{} ask.py\n", python.display()));
    }
    if is_installed(root("tests/sdks/node_modules").exists(), "node") {
        script.push_str("node ask.cjs\n");
    }
    // CI has no Java.
    if Command::new("javac").arg("-version").output().is_ok() {
        project.write("Ask.java", JAVA);
        script.push_str("java -XX:TieredStopAtLevel=1 Ask.java\n");
    }
    for (question, flags) in [("From curl?", "--http2"), ("From curl 1.1?", "--http1.1")] {
        script.push_str(&format!(
            "curl -sS {flags} https://api.mistral.ai/v1/chat/completions -H \"authorization: Bearer $MISTRAL_API_KEY\" -d '{}' | grep -o '{question}'\n",
            body(question)
        ));
    }
    script
}

/// Python, Node.js and curl, all of them unmodified, against an HTTPS upstream with a certificate for `api.mistral.ai`.
#[tokio::test(flavor = "multi_thread")]
async fn unmodified_programs_are_recorded_and_replay_with_the_upstream_gone_and_the_network_blocked() {
    let authority = Authority::new();
    let server = api::start_tls(authority.server(&["api.mistral.ai", "127.0.0.1"])).await;
    let project = Project::new();
    project.write("authority.pem", authority.pem());
    let script = clients(&project);
    let intercept = ["api.mistral.ai", "codestral.mistral.ai", "192.0.2.7:9443"];
    let intercept = intercept.map(|host| format!("--intercept={host}={}", server.url));
    let run = |mode: &str, more: &[&str]| {
        let mut command = project.command(&["run", "--mode", mode, "--allow-ci"]);
        command.args(&intercept);
        command.args(more).args(["--", "sh", "-c", &script]);
        command.env("SSL_CERT_FILE", project.path().join("authority.pem"));
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        let done = done(&mut command);
        assert_eq!(done.code(), 0, "{}\n{}", done.stderr, done.stdout);
        done
    };
    let recorded = run("record", &[]);
    let count = server.call_count();
    assert!(
        server
            .calls()
            .iter()
            .all(|call| call.header("authorization") == Some(&format!("Bearer {KEY}")))
    );
    drop(server);
    for (scope, client) in [
        ("by_python", ".venv/bin/python"),
        ("by_node", "tests/sdks/node_modules"),
    ] {
        assert_eq!(
            project.cassettes().join(scope).is_dir(),
            root(client).exists(),
            "{scope}"
        );
    }
    let replayed = run("strict", &["--block-network"]);
    assert_eq!(recorded.stdout, replayed.stdout);
    assert!(
        replayed.stderr.contains(&format!("{count} replayed, 0 recorded\n")),
        "{}",
        replayed.stderr
    );
    print(&format!("{count} of {count} requests, 0 changed lines\n"));
}

/// In the network namespace of `--sandbox`, only the proxy is reachable: not even a server of this machine.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn in_the_sandbox_the_proxy_is_the_only_way_out() {
    let allowed = Command::new("unshare").args(["--user", "--net", "true"]).output();
    if !allowed.is_ok_and(|output| output.status.success()) {
        skip("namespaces of Linux", "this user cannot create them");
        return;
    }
    let (project, server) = (Project::new(), echo().await);
    let curl = "curl -sS -m 5 https://api.mistral.ai/v1/models";
    let script = format!(
        "set -e; {curl}; for url in https://api.mistral.ai/v1/models {}; do if curl -s -m 5 --noproxy '*' $url; then exit 9; fi; done; exit 3",
        server.url
    );
    let flags = ["run", "--sandbox", "--upstream", &server.url, "--", "sh", "-c", &script];
    let done = tokio::task::block_in_place(|| project.run(&flags));
    assert_eq!((done.code(), server.call_count()), (3, 1), "{done:?}");
    assert!(done.stderr.ends_with("0 replayed, 1 recorded\n"), "{done:?}");
    let done = run(&project, &["--sandbox"], curl);
    assert!(done.code() == 0 && done.stdout.contains("\"call\":0"), "{done:?}");
    let done = project.run(&["run", "--sandbox", "--mode", "strict", "--", "no-such-program"]);
    assert!(
        done.code() == 2 && done.stderr.contains("cannot run no-such-program"),
        "{done:?}"
    );
}

fn run(project: &Project, flags: &[&str], script: &str) -> Done {
    let mut arguments = vec!["run", "--mode", "strict"];
    arguments.extend(flags);
    arguments.extend(["--", "sh", "-c", script]);
    project.run(&arguments)
}

#[test]
fn run_sets_the_variables_that_clients_read_and_removes_their_files_at_the_end() {
    let project = Project::new()
        .with("NO_PROXY", "intranet.test .mistral.ai,* https://api.mistral.ai")
        .with("PYTHONPATH", "/own/python")
        .with("NODE_EXTRA_CA_CERTS", "")
        .with("NODE_OPTIONS", "--no-warnings");
    let script = r#"env | grep -E '^(HTTPS?_PROXY|https?_proxy|NO_PROXY|[A-Z_]*CA_BUNDLE|SSL_CERT_FILE|GIT_SSL_CAINFO|NODE_[A-Z_]*|DENO_CERT|PYTHONPATH)=' | sort
stat -c %a "$(dirname "$SSL_CERT_FILE")"
grep -c BEGIN "$NODE_EXTRA_CA_CERTS"
grep -rl 'PRIVATE KEY' "$(dirname "$SSL_CERT_FILE")" || echo no key"#;
    let done = run(&project, &["--allow-no-requests"], script);
    assert_eq!(done.code(), 0, "{}", done.stderr);
    let line = |name: &str| {
        let found = done
            .stdout
            .lines()
            .find_map(|line| line.strip_prefix(&format!("{name}=")));
        found.unwrap_or_else(|| panic!("{name}: {}", done.stdout)).to_owned()
    };
    let bundle = line("SSL_CERT_FILE");
    let folder = Path::new(&bundle).parent().unwrap().display().to_string();
    assert!(!Path::new(&folder).exists(), "{folder}");
    let shown = done.stdout.replace(&folder, "[folder]");
    let port = regex::Regex::new(r"127\.0\.0\.1:\d+").unwrap();
    insta::assert_snapshot!(port.replace_all(&shown, "127.0.0.1:[port]"), @r#"
    AWS_CA_BUNDLE=[folder]/ca-bundle.pem
    CURL_CA_BUNDLE=[folder]/ca-bundle.pem
    DENO_CERT=[folder]/ca-deno.pem
    GIT_SSL_CAINFO=[folder]/ca-bundle.pem
    HTTPS_PROXY=http://127.0.0.1:[port]
    NODE_EXTRA_CA_CERTS=[folder]/ca.pem
    NODE_OPTIONS=--no-warnings --require "[folder]/preload.cjs"
    NODE_USE_ENV_PROXY=1
    NO_PROXY=intranet.test,127.0.0.1,localhost,::1
    PYTHONPATH=[folder]/python:/own/python
    REQUESTS_CA_BUNDLE=[folder]/ca-bundle.pem
    SSL_CERT_FILE=[folder]/ca-bundle.pem
    https_proxy=http://127.0.0.1:[port]
    700
    1
    no key
    "#);

    let off = run(
        &project,
        &["--no-intercept", "--allow-no-requests"],
        "echo $HTTPS_PROXY",
    );
    assert_eq!(off.stdout, "\n", "{}", off.stderr);
}

#[test]
fn the_sitecustomize_of_the_user_is_loaded_too() {
    let project = Project::new().with("PYTHONPATH", "own");
    project.write("own/sitecustomize.py", "print('own')");
    let done = run(&project, &["--allow-no-requests"], "python3 -c 'print(1)'");
    assert_eq!(done.stdout, "own\n1\n", "{}", done.stderr);
}

#[test]
fn a_run_without_a_request_fails_unless_it_is_allowed() {
    let project = Project::new();
    let done = run(&project, &[], "true");
    assert_eq!(done.code(), 1);
    assert!(
        done.stderr.contains("the proxy received no request from the command"),
        "{}",
        done.stderr
    );
    assert_eq!(run(&project, &["--allow-no-requests"], "true").code(), 0);
}

#[test]
fn other_hosts_are_named_in_the_summary_and_refused_if_the_network_is_blocked() {
    let project = Project::new();
    let script = "curl -sS https://localhost.test:1/ ; curl -sS http://other.test/";
    let done = run(
        &project,
        &["--allow-no-requests", "--block-network"],
        &format!("{script} ; true"),
    );
    assert_eq!(done.code(), 0, "{}", done.stderr);
    let refused = "mistral-cassette: refused connections: localhost.test:1 (1), other.test:80 (1)";
    assert!(done.stderr.contains(refused), "{}", done.stderr);
    assert!(done.stdout.contains("the network is blocked"), "{}", done.stdout);
}

#[test]
fn proxy_with_interception_writes_the_certificate_for_containers() {
    let project = Project::new();
    let proxy = project.proxy("strict", "http://127.0.0.1:9", &["--intercept", "--ca-file", "ca.pem"]);
    let mut curl = Command::new("curl");
    curl.args([
        "-sS",
        "--cacert",
        "ca.pem",
        "--proxy",
        &proxy.url,
        "https://api.mistral.ai/v1/models",
    ]);
    curl.stdin(Stdio::null()).current_dir(project.path());
    let done = done(&mut curl);
    assert!(
        done.stdout.contains("not recorded: GET /v1/models"),
        "{}{}",
        done.stdout,
        done.stderr
    );
    let stopped = proxy.stop();
    assert!(
        stopped
            .stderr
            .contains("intercepts api.mistral.ai, codestral.mistral.ai; for a client set HTTPS_PROXY=")
    );
}

/// The user's own `HTTPS_PROXY` is the way out of the proxy, and the command gets the proxy of `run`.
#[tokio::test(flavor = "multi_thread")]
async fn the_proxy_of_the_user_is_the_way_to_the_upstream_and_to_other_hosts() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let own = format!("http://user:pass@{}", listener.local_addr().unwrap());
    let project = Project::new();
    let mut command = project.command(&["run", "--mode", "live", "--allow-no-requests", "--", "sh", "-c"]);
    command.arg("curl -sS https://api.mistral.ai/v1/models; curl -sS https://example.test/; true");
    command.env("HTTPS_PROXY", &own);
    let running = tokio::task::spawn_blocking(move || done(&mut command));
    let mut targets = Vec::new();
    for _ in 0..2 {
        let mut wire = Wire::on(listener.accept().await.unwrap().0, "");
        let line = wire.line().await;
        targets.push(line);
        let mut has_credentials = false;
        loop {
            let header = wire.line().await.to_ascii_lowercase();
            has_credentials |= header == "proxy-authorization: basic dxnlcjpwyxnz";
            if header.is_empty() {
                break;
            }
        }
        assert!(has_credentials);
        wire.say(b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            .await;
    }
    assert_eq!(
        targets,
        [
            "CONNECT api.mistral.ai:443 HTTP/1.1",
            "CONNECT example.test:443 HTTP/1.1"
        ]
    );
    running.await.unwrap();
}
