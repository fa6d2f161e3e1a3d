//! Security: hostile web pages, callers, upstreams and cassettes. The threat model in DESIGN.md names these tests.

use std::io::Write as _;
use std::time::{Duration, Instant};

use crate::support::KEY;
use crate::support::process::peak_memory;
use crate::support::project::{Done, Project, RunningProxy};
use crate::support::server::{Reply, Server};
use crate::support::skip::{is_left_out, print, skip};
use crate::support::upstream::RawUpstream;
use crate::support::wire::{Answer, PATIENCE, Wire, ask};
use mistral_cassette::proxy::Proxy;
use mistral_cassette::{DirectoryEngine, MemoryEngine, Mode, Recorder, Request, Upstream};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

const CHAT: &str = "POST /v1/chat/completions";

fn question(text: &str) -> String {
    json!({ "model": "m", "messages": [{ "role": "user", "content": text }] }).to_string()
}

/// Echoes the request, and allows every page to read the response.
async fn api() -> Server {
    Server::start(|_, call| {
        let requested = json!({ "target": call.target, "body": String::from_utf8_lossy(&call.body) });
        Reply::json(requested.to_string()).header("access-control-allow-origin", "*")
    })
    .await
}

async fn ended(proxy: RunningProxy) -> Done {
    tokio::task::spawn_blocking(|| proxy.stop()).await.unwrap()
}

/// Sends these bytes on a new connection, and reads until it is closed or silent.
async fn exchange(url: &str, bytes: &[u8]) -> String {
    let mut wire = Wire::to(url).await;
    // It may be closed before everything is sent.
    let _ = wire.stream.write_all(bytes).await;
    let mut output = Vec::new();
    let mut buffer = [0; 4096];
    // The first bytes may take long on a busy machine.
    let mut limit = PATIENCE;
    while let Ok(Ok(count @ 1..)) = timeout(limit, wire.stream.read(&mut buffer)).await {
        output.extend_from_slice(&buffer[..count]);
        limit = Duration::from_secs(2);
    }
    String::from_utf8_lossy(&output).into_owned()
}

async fn asking(url: &str, line: &str, headers: &str) -> Answer {
    let body = if line.starts_with("POST") {
        question("a")
    } else {
        String::new()
    };
    let length = body.len();
    let mut wire = Wire::to(url).await;
    wire.say(format!("{line} HTTP/1.1\r\n{headers}content-length: {length}\r\n\r\n{body}").as_bytes())
        .await;
    wire.answer().await
}

/// Each test that the threat model names exists.
#[test]
fn the_threat_model_names_tests_that_exist() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let design = std::fs::read_to_string(root.join("DESIGN.md")).unwrap();
    let (_, model) = design.split_once("## Threat model").unwrap();
    let model = model.split("\n## ").next().unwrap();
    let mut named = 0;
    for name in model.split('`').skip(1).step_by(2) {
        let Some((file, test)) = name.rsplit_once("::") else {
            continue;
        };
        let path = file.replace("::", "/");
        let files =
            ["tests/suite/{}.rs", "src/{}.rs", "src/{}/mod.rs"].map(|form| root.join(form.replace("{}", &path)));
        let text = files
            .iter()
            .find_map(|file| std::fs::read_to_string(file).ok())
            .unwrap_or_default();
        assert!(text.contains(&format!("fn {test}(")), "{name}");
        named += 1;
    }
    assert!(named > 15, "{named}");
}

// A web page on the same machine.

#[tokio::test]
async fn other_host_names_are_refused_before_any_other_check() {
    let (project, server) = (Project::new(), api().await);
    let proxy = project.proxy("replay", &server.url, &["--allow-host", "docker.test"]);
    for host in ["evil.test", "evil.test:80", "127.0.0.1.evil.test"] {
        let answer = asking(&proxy.url, CHAT, &format!("host: {host}\r\n")).await;
        assert!(answer.error(421).contains("hint: "), "{answer:?}");
        // Even if the request is invalid in other ways.
        let answer = asking(
            &proxy.url,
            "POST /c/../v1/x",
            &format!("host: {host}\r\nupgrade: websocket\r\n"),
        )
        .await;
        answer.error(421);
    }
    asking(&proxy.url, CHAT, "").await.error(400);
    asking(&proxy.url, CHAT, "host: localhost\r\nhost: evil.test\r\n")
        .await
        .error(400);
    assert_eq!(server.connection_count(), 0);
    for host in ["localhost:1", "[::1]:1", "docker.test:1"] {
        let answer = asking(&proxy.url, CHAT, &format!("host: {host}\r\n")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    // A web page cannot fail a session.
    let done = ended(proxy).await;
    assert_eq!(done.code(), 0);
    assert!(done.stderr.contains("2 replayed, 1 recorded, 8 refused"), "{done:?}");
    assert_eq!(
        done.stderr
            .matches("refused a request, and will refuse others like it")
            .count(),
        1,
        "{done:?}"
    );
}

#[tokio::test]
async fn other_sites_are_refused_and_pages_of_this_machine_may_read_responses() {
    let (project, server) = (Project::new(), api().await);
    let proxy = project.proxy("replay", &server.url, &["--allow-origin", "https://app.test"]);
    let host = "host: localhost\r\n";
    for hostile in [
        "origin: https://evil.test\r\n",
        "origin: null\r\n",
        "origin: http://localhost.evil.test\r\n",
        "origin: http://localhost\r\norigin: https://evil.test\r\n",
        "sec-fetch-site: cross-site\r\n",
        "origin: https://evil.test\r\naccess-control-request-method: POST\r\n",
    ] {
        for line in [CHAT, "GET /v1/models", "OPTIONS /v1/models"] {
            let answer = asking(&proxy.url, line, &format!("{host}{hostile}")).await;
            answer.error(403);
            let reported: Vec<_> = answer
                .headers
                .iter()
                .filter(|(name, _)| name.starts_with("access-control"))
                .collect();
            assert!(reported.is_empty(), "{reported:?}");
        }
    }
    assert_eq!(server.connection_count(), 0);
    for origin in ["http://localhost:5173", "http://127.0.0.1:3000", "https://app.test"] {
        let page = format!("{host}origin: {origin}\r\nsec-fetch-site: cross-site\r\n");
        let wanted =
            "access-control-request-method: POST\r\naccess-control-request-headers: authorization,content-type\r\n";
        let preflight = asking(&proxy.url, "OPTIONS /v1/chat/completions", &format!("{page}{wanted}")).await;
        assert_eq!(preflight.status, 204);
        assert_eq!(preflight.header("access-control-allow-methods"), Some("POST"));
        assert_eq!(
            preflight.header("access-control-allow-headers"),
            Some("authorization,content-type")
        );
        let answer = asking(&proxy.url, CHAT, &page).await;
        let miss = asking(&proxy.url, "POST /v1/v1/../x", &page).await;
        assert_eq!((answer.status, miss.status), (200, 400));
        for answer in [preflight, answer, miss] {
            assert_eq!(answer.all("access-control-allow-origin"), [origin]);
            assert_eq!(answer.all("access-control-allow-credentials"), [""; 0]);
            assert!(answer.all("vary").contains(&"origin"));
        }
    }
    // Without an `Origin` there is no CORS header, whatever the upstream sends.
    let answer = ask(&proxy.url, "GET /v1/models", "").await;
    assert_eq!(answer.all("access-control-allow-origin"), [""; 0]);
    assert_eq!(server.call_count(), 2, "no preflight and no refused request reaches it");
}

// A caller.

/// Whatever the framing of the request: the upstream receives the request of the key and nothing else.
#[tokio::test]
async fn request_smuggling_cannot_bypass_the_key() {
    let hidden = "GET /v1/hidden HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    let (length, chunked) = ("content-length: 2\r\n", "transfer-encoding: chunked\r\n");
    let post =
        |headers: &str, body: &str| format!("POST /v1/x HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n{body}{hidden}");
    let get = |target: &str| format!("GET {target} HTTP/1.1\r\nhost: localhost\r\n\r\n{hidden}");
    let (nobody, both) = (&[][..], &[("/v1/x", "{}"), ("/v1/hidden", "")][..]);
    // Chunked encoding overrides the length (RFC 9112, 6.3), and the connection is closed afterwards.
    let empty = &[("/v1/x", "")][..];
    for (what, bytes, requested) in [
        ("one behind the other", post(length, "{}"), both),
        ("chunks", post(chunked, "2\r\n{}\r\n0\r\n\r\n"), both),
        (
            "a length and chunks",
            post(&format!("{length}{chunked}"), "0\r\n\r\n"),
            empty,
        ),
        (
            "chunks and a length",
            post(&format!("{chunked}{length}"), "0\r\n\r\n"),
            empty,
        ),
        (
            "two lengths",
            post(&format!("{length}content-length: 40\r\n"), "{}"),
            nobody,
        ),
        ("two lengths in one", post("content-length: 2, 40\r\n", "{}"), nobody),
        ("a length with a sign", post("content-length: +2\r\n", "{}"), nobody),
        ("a negative length", post("content-length: -1\r\n", ""), nobody),
        (
            "a length that wraps around",
            post("content-length: 18446744073709551618\r\n", "{}"),
            nobody,
        ),
        ("another coding", post("transfer-encoding: gzip\r\n", ""), nobody),
        (
            "a coding behind chunked",
            post("transfer-encoding: chunked, identity\r\n", "0\r\n\r\n"),
            nobody,
        ),
        (
            "a coding that is almost chunked",
            post("transfer-encoding: xchunked\r\n", "0\r\n\r\n"),
            nobody,
        ),
        ("a folded header", post("a: b\r\n content-length: 2\r\n", ""), nobody),
        ("a space before the colon", post("content-length : 2\r\n", "{}"), nobody),
        ("no chunk size", post(chunked, "x\r\n{}\r\n0\r\n\r\n"), nobody),
        ("a negative chunk", post(chunked, "-1\r\n{}\r\n0\r\n\r\n"), nobody),
        (
            "a chunk above all numbers",
            post(chunked, "10000000000000002\r\n{}\r\n0\r\n\r\n"),
            nobody,
        ),
        (
            "a chunk longer than it says",
            post(chunked, "1\r\n{}\r\n0\r\n\r\n"),
            nobody,
        ),
        ("a null in the target", get("/v1/x\0y"), nobody),
        ("a space in the target", get("/v1/x y"), nobody),
        ("a null in a header", post("a: b\0c\r\n", ""), nobody),
        (
            "a carriage return in a header",
            post("a: b\rcontent-length: 2\r\n", ""),
            nobody,
        ),
    ] {
        let (project, server) = (Project::new(), api().await);
        let proxy = project.proxy("replay", &server.url, &[]);
        let output = exchange(&proxy.url, bytes.as_bytes()).await;
        let status = if requested.is_empty() {
            "HTTP/1.1 400 "
        } else {
            "HTTP/1.1 200 "
        };
        assert!(output.starts_with(status), "{what}: {output}");
        let calls = server.calls();
        let calls: Vec<_> = calls
            .iter()
            .map(|call| (call.target.as_str(), std::str::from_utf8(&call.body).unwrap()))
            .collect();
        assert_eq!(calls, requested, "{what}");
        assert_eq!(project.tree().len(), requested.len(), "{what}");
        let is_verified = requested.is_empty() || project.run(&["verify"]).code() == 0;
        assert!(is_verified, "{what}: each has the key of what was asked");
    }
}

/// Lines without a carriage return are accepted; they are forwarded with one, and match the key.
#[tokio::test]
async fn lenient_http_is_forwarded_in_canonical_form() {
    let (project, server) = (Project::new(), api().await);
    let proxy = project.proxy("replay", &server.url, &[]);
    let output = exchange(
        &proxy.url,
        b"POST /v1/x HTTP/1.1\nhost: localhost\ncontent-length: 2\nconnection: close\n\n{}",
    )
    .await;
    assert!(output.starts_with("HTTP/1.1 200"), "{output}");
    let trailers = "POST /v1/y HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ntransfer-encoding: chunked\r\ntrailer: authorization\r\n\r\n2;x=y\r\n{}\r\n0\r\nauthorization: Bearer other\r\n\r\n";
    let output = exchange(&proxy.url, trailers.as_bytes()).await;
    assert!(output.starts_with("HTTP/1.1 200"), "{output}");
    let calls = server.calls();
    assert_eq!(calls.len(), 2);
    for (call, target) in calls.iter().zip(["/v1/x", "/v1/y"]) {
        assert_eq!((call.target.as_str(), &call.body[..]), (target, &b"{}"[..]));
        assert_eq!(call.header("content-length"), Some("2"));
        assert_eq!(call.header("transfer-encoding"), None);
        assert_eq!(call.header("authorization"), Some(format!("Bearer {KEY}").as_str()));
    }
    assert_eq!(project.run(&["verify"]).code(), 0);
}

#[tokio::test]
async fn path_traversal_and_other_hosts_send_no_request() {
    let (project, server) = (Project::new(), api().await);
    let proxy = project.proxy("replay", &server.url, &[]);
    for (target, status) in [
        ("/v1/../admin", 400),
        ("/v1/%2e%2e/admin", 400),
        ("/v1/.%2E/admin", 400),
        ("/v1/x/%2e", 400),
        ("/..", 400),
        ("/v1/..\\admin", 400),
        ("/v1\\..\\admin", 400),
        ("/c/s/v1/../admin", 400),
        ("/c/..%2f..%2fetc/v1/x", 400),
        ("*", 400),
        ("v1/x", 400),
        ("http://localhost?x", 400),
        ("http://evil.test/v1/x", 421),
        ("https://api.mistral.ai/v1/x", 421),
        ("http://localhost@evil.test/v1/x", 421),
    ] {
        let answer = ask(&proxy.url, &format!("GET {target}"), "").await;
        assert_eq!(answer.status, status, "{target}: {answer:?}");
    }
    assert_eq!(server.connection_count(), 0);
    // These paths stay unchanged.
    for target in [
        "//evil.test/v1/x",
        "/v1/%2fx",
        "/v1/x?a=/../b",
        "/v1/@evil.test",
        "/v1/%00",
    ] {
        assert_eq!(ask(&proxy.url, &format!("GET {target}"), "").await.status, 200);
        assert_eq!(server.calls().last().unwrap().target, target);
    }
}

#[tokio::test]
async fn an_oversized_request_head_is_refused() {
    let (project, server) = (Project::new(), api().await);
    let proxy = project.proxy("replay", &server.url, &[]);
    let many: String = (0..1000).map(|number| format!("x-{number}: y\r\n")).collect();
    let long = format!("x: {}\r\n", "y".repeat(1 << 20));
    for headers in [&many, &long] {
        let output = exchange(
            &proxy.url,
            format!("GET /v1/x HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n").as_bytes(),
        )
        .await;
        assert!(output.starts_with("HTTP/1.1 431 ") || output.is_empty(), "{output}");
    }
    let target = "y".repeat(1 << 17);
    let output = exchange(
        &proxy.url,
        format!("GET /v1/{target} HTTP/1.1\r\nhost: localhost\r\n\r\n").as_bytes(),
    )
    .await;
    assert!(output.starts_with("HTTP/1.1 414 "), "{output}");
    assert_eq!(server.connection_count(), 0);
    assert_eq!(ask(&proxy.url, "GET /v1/x", "").await.status, 200);
}

#[tokio::test]
async fn a_body_above_the_limit_is_refused() {
    let (project, server) = (Project::new(), api().await);
    let proxy = project.proxy("replay", &server.url, &["--max-body", "10B"]);
    let output = exchange(
        &proxy.url,
        b"POST /v1/x HTTP/1.1\r\nhost: localhost\r\ncontent-length: 11\r\n\r\n",
    )
    .await;
    assert!(
        output.starts_with("HTTP/1.1 413 ") && output.contains("--max-body"),
        "{output}"
    );
    let chunks =
        "POST /v1/x HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n6\r\n123456\r\n6\r\n123456\r\n";
    assert!(
        exchange(&proxy.url, chunks.as_bytes())
            .await
            .starts_with("HTTP/1.1 413 ")
    );
    assert_eq!(server.connection_count(), 0);
    assert_eq!(ask(&proxy.url, "POST /v1/x", "1234567890").await.status, 200);
}

/// Sends a body of this size, chunked or with a length, until the connection is closed; returns the response.
async fn pour(url: &str, bytes: u64, in_chunks: bool) -> Answer {
    const PIECE: usize = 1 << 20;
    let mut wire = Wire::to(url).await;
    let framing = if in_chunks {
        "transfer-encoding: chunked".to_owned()
    } else {
        format!("content-length: {bytes}")
    };
    wire.say(format!("POST /v1/x HTTP/1.1\r\nhost: localhost\r\n{framing}\r\n\r\n").as_bytes())
        .await;
    let (piece, mut left) = ([b'x'; PIECE].to_vec(), bytes);
    while left > 0 {
        let now = PIECE.min(usize::try_from(left).unwrap());
        left -= now as u64;
        let (before, behind) = match (in_chunks, left) {
            (false, _) => (String::new(), ""),
            (true, 0) => (format!("{now:x}\r\n"), "\r\n0\r\n\r\n"),
            (true, _) => (format!("{now:x}\r\n"), "\r\n"),
        };
        let output = async {
            wire.stream.write_all(before.as_bytes()).await?;
            wire.stream.write_all(&piece[..now]).await?;
            wire.stream.write_all(behind.as_bytes()).await
        };
        // The connection is closed after a refusal.
        if output.await.is_err() {
            break;
        }
    }
    wire.answer().await
}

/// The bounds in docs/memory.md: 32 MiB in addition to buffered bodies.
const BESIDE: u64 = 32 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn a_request_of_a_gigabyte_is_refused_before_it_is_buffered() {
    const GIGABYTE: u64 = 1 << 30;
    const SMALLER: u64 = 16 << 20;
    let (project, server) = (Project::new(), api().await);
    let smaller = ["--max-body", &SMALLER.to_string()];
    for (flags, bytes, in_chunks, held) in [
        (&smaller[..], GIGABYTE, false, 0),
        (&smaller[..], GIGABYTE, true, SMALLER),
        (&[], GIGABYTE + 1, false, 0),
        (&[], GIGABYTE + 1, true, GIGABYTE),
    ] {
        let proxy = project.proxy("replay", &server.url, flags);
        let before = peak_memory(proxy.pid());
        let message = pour(&proxy.url, bytes, in_chunks).await.error(413);
        let most = if flags.is_empty() { GIGABYTE } else { SMALLER };
        assert!(
            message.contains(&format!("larger than {most} bytes")) && message.contains("--max-body"),
            "{message}"
        );
        if let (Some(before), Some(peak)) = (before, peak_memory(proxy.pid())) {
            let grown = peak - before;
            print(&format!(
                "a body of {} MiB, {most} allowed, in chunks: {in_chunks}: refused with {} MiB more\n",
                bytes >> 20,
                grown >> 20
            ));
            assert!(
                grown < held + BESIDE,
                "{flags:?}, in chunks: {in_chunks}: {grown} bytes"
            );
        }
        assert_eq!(ended(proxy).await.code(), 1);
    }
    assert_eq!(server.connection_count(), 0);
    assert_eq!(project.tree().len(), 0);
}

/// An accepted body is read, searched for secrets, sent and stored: four times in memory if it is text.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_body_is_in_memory_at_most_four_times() {
    if is_left_out() {
        return;
    }
    const LARGE: u64 = 64 << 20;
    let (project, server) = (Project::new(), Server::start(|_, _| Reply::json("{}")).await);
    for in_chunks in [false, true] {
        let proxy = project.proxy("record", &server.url, &[]);
        let before = peak_memory(proxy.pid());
        assert_eq!(pour(&proxy.url, LARGE, in_chunks).await.status, 200);
        if let (Some(before), Some(peak)) = (before, peak_memory(proxy.pid())) {
            let grown = peak - before;
            print(&format!(
                "a body of {} MiB, in chunks: {in_chunks}: recorded with {} MiB more\n",
                LARGE >> 20,
                grown >> 20
            ));
            assert!(grown < 4 * LARGE + BESIDE, "in chunks: {in_chunks}: {grown} bytes");
        }
        assert_eq!(ended(proxy).await.code(), 0);
    }
    assert_eq!(server.calls()[0].body.len() as u64, LARGE);
}

/// A proxy in this process with this idle timeout.
async fn idling(server: &Server, limit: Duration) -> Proxy {
    let recorder = Recorder::builder(MemoryEngine::new())
        .mode(Mode::Replay)
        .build()
        .unwrap();
    let upstream = Upstream::builder().base_url(&server.url).api_key(KEY).build().unwrap();
    Proxy::builder()
        .idle_timeout(limit)
        .start("127.0.0.1:0", recorder, upstream)
        .await
        .unwrap()
}

#[tokio::test]
async fn a_request_head_that_never_ends_times_out_and_blocks_no_other_client() {
    let server = api().await;
    // On a loaded machine, a short timeout may be over before the second byte.
    let mut time_limit = Duration::from_millis(300);
    while bytes_before_the_timeout(&server, time_limit).await < 2 {
        time_limit *= 4;
        assert!(time_limit < PATIENCE, "the connection is closed at once");
    }
}

/// Sends a request head that never ends, byte by byte. Returns after how many bytes the proxy has closed the connection.
async fn bytes_before_the_timeout(server: &Server, time_limit: Duration) -> usize {
    let proxy = idling(server, time_limit).await;
    let mut slow = Wire::to(&proxy.url()).await;
    slow.say(b"GET /v1/x HTTP/1.1\r\nhost: localhost\r\nx: ").await;
    let mut idle = Wire::to(&proxy.url()).await;
    assert_eq!(ask(&proxy.url(), "GET /v1/x", "").await.status, 200);
    let began = Instant::now();
    let (mut bytes, mut listener) = (0, [0; 1]);
    // Single bytes do not extend the timeout.
    loop {
        bytes += usize::from(slow.stream.write_all(b"y").await.is_ok());
        match timeout(Duration::from_millis(50), slow.stream.read(&mut listener)).await {
            Ok(read) => {
                assert_eq!(read.unwrap_or(0), 0);
                break;
            }
            Err(_) => assert!(began.elapsed() < PATIENCE, "the connection is never closed"),
        }
    }
    let read = timeout(PATIENCE, idle.stream.read(&mut listener)).await.unwrap();
    assert_eq!(read.unwrap_or(0), 0, "a connection on which nothing is sent");
    proxy.stop().await.unwrap();
    bytes
}

#[tokio::test]
async fn idle_timeouts_of_any_length_are_accepted() {
    let server = api().await;
    let patient = idling(&server, Duration::MAX).await;
    assert_eq!(ask(&patient.url(), "GET /v1/x", "").await.status, 200);
    patient.stop().await.unwrap();
    let impatient = idling(&server, Duration::ZERO).await;
    // It continues to close idle connections.
    for _ in 0..3 {
        let mut idle = Wire::to(&impatient.url()).await;
        let read = timeout(PATIENCE, idle.stream.read(&mut [0])).await.unwrap();
        assert_eq!(read.unwrap_or(0), 0);
    }
    impatient.stop().await.unwrap();
}

#[tokio::test]
async fn ten_thousand_idle_connections_block_no_other_client() {
    if is_left_out() {
        return;
    }
    const IDLE: usize = 10_000;
    let needed = IDLE as u64 + 300;
    let limit = getrlimit(Resource::Nofile);
    if limit.maximum.is_some_and(|most| most < needed) {
        skip(
            &format!("{IDLE} connections need {needed} open files, and the limit is {limit:?}"),
            "raise it with `ulimit -n`",
        );
        return;
    }
    // The proxy inherits the limit.
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum.or(Some(needed)),
            ..limit
        },
    )
    .unwrap();
    let (project, server) = (Project::new(), api().await);
    let proxy = project.proxy("replay", &server.url, &[]);
    let address = crate::support::wire::address(&proxy.url).to_owned();
    let mut idle = Vec::with_capacity(IDLE);
    for number in 0..IDLE {
        let mut stream = timeout(PATIENCE, TcpStream::connect(&address)).await.unwrap().unwrap();
        if number % 2 == 0 {
            stream.write_all(b"GET /v1/x HTTP/1.1\r\n").await.unwrap();
        }
        idle.push(stream);
    }
    let began = Instant::now();
    assert_eq!(ask(&proxy.url, CHAT, question("a")).await.status, 200);
    // Idle connections are closed after two minutes: the request did not wait for that.
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
    drop(idle);
    assert_eq!(ended(proxy).await.code(), 0);
}

// An upstream.

fn recorder(folder: &std::path::Path, mode: Mode) -> Recorder {
    let builder = Recorder::builder(DirectoryEngine::new(folder)).mode(mode);
    builder.allow_record_in_ci().build().unwrap()
}

async fn answered(recorder: &Recorder, url: &str) -> mistral_cassette::Result<Vec<u8>> {
    let upstream = Upstream::builder().base_url(url).api_key(KEY).build().unwrap();
    let request = Request::post("/v1/chat/completions").unwrap().body(question("a"));
    let answer = recorder.answer(request, upstream).await?;
    Ok(answer.bytes().await?.to_vec())
}

#[tokio::test]
async fn an_endless_response_is_aborted_and_not_recorded() {
    if is_left_out() {
        return;
    }
    const READ: usize = 200 << 20;
    // The same for a stream whose first event does not end.
    for kind in ["application/json", "text/event-stream"] {
        let project = Project::new();
        project.write("cassettes/settings.yaml", "limits: { entry_bytes: 1000000 }\n");
        let head = format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\n\r\n");
        let (endless, output) = RawUpstream::going_on(head, u64::MAX).await;
        let proxy = project.proxy("replay", &endless.url, &[]);
        let mut wire = Wire::to(&proxy.url).await;
        wire.send("GET /v1/models", "", b"").await;
        assert_eq!(wire.head().await.status, 200);
        let mut read = 0;
        while read < READ {
            read += wire.chunk().await.unwrap().unwrap().len();
        }
        if let Some(most) = peak_memory(proxy.pid()) {
            assert!(most < READ as u64 / 2, "{kind}: {most} bytes");
        }
        drop(wire);
        timeout(PATIENCE, output.end.notified())
            .await
            .expect("it is hung up on");
        let done = ended(proxy).await;
        assert!(
            done.stderr.contains("0 replayed, 0 recorded, 1 not recorded"),
            "{kind}: {done:?}"
        );
        assert_eq!(project.tree().len(), 1);
    }
}

#[tokio::test]
async fn a_decompression_bomb_is_not_buffered_and_not_recorded() {
    if is_left_out() {
        return;
    }
    const MEGABYTES: usize = 300;
    let project = Project::new();
    project.write("cassettes/settings.yaml", "limits: { entry_bytes: 1000000 }\n");
    let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    for _ in 0..MEGABYTES {
        bomb.write_all(&vec![b' '; 1 << 20]).unwrap();
    }
    let bomb = bomb.finish().unwrap();
    assert!(bomb.len() < MEGABYTES << 14, "{}", bomb.len());
    let server = Server::start(move |_, _| Reply::json(bomb.clone()).header("content-encoding", "gzip")).await;
    let proxy = project.proxy("replay", &server.url, &[]);
    let mut wire = Wire::to(&proxy.url).await;
    wire.send("GET /v1/models", "", b"").await;
    assert_eq!(wire.head().await.status, 200);
    let mut read = 0;
    while let Some(chunk) = wire.chunk().await.unwrap() {
        read += chunk.len();
    }
    assert_eq!(read, MEGABYTES << 20);
    if let Some(most) = peak_memory(proxy.pid()) {
        assert!(most < (MEGABYTES as u64) << 19, "{most} bytes");
    }
    let done = ended(proxy).await;
    assert!(
        done.stderr.contains("0 replayed, 0 recorded, 1 not recorded"),
        "{done:?}"
    );
    assert_eq!(project.tree().len(), 1);
}

fn json_head(headers: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n{headers}\r\n")
}

#[tokio::test]
async fn a_response_with_a_wrong_content_length_is_not_recorded() {
    let many: String = (0..5000).map(|number| format!("x-{number}: y\r\n")).collect();
    for (what, answer) in [
        (
            "a gigantic head",
            json_head(&format!("x: {}\r\ncontent-length: 2\r\n", "y".repeat(1 << 21))) + "{}",
        ),
        (
            "too many headers",
            json_head(&format!("{many}content-length: 2\r\n")) + "{}",
        ),
        (
            "too many headers of one name",
            json_head(&format!("{}content-length: 2\r\n", "x: y\r\n".repeat(20_000))) + "{}",
        ),
        ("a length that is too long", json_head("content-length: 100\r\n") + "{}"),
        (
            "two lengths",
            json_head("content-length: 2\r\ncontent-length: 3\r\n") + "{}\n",
        ),
        ("a length that is none", json_head("content-length: two\r\n") + "{}"),
        (
            "chunks that are none",
            json_head("transfer-encoding: chunked\r\n") + "zz\r\n{}\r\n0\r\n\r\n",
        ),
        ("a folded header", json_head("a: b\r\n c: d\r\n") + "{}"),
        (
            "gzip that is none",
            json_head("content-encoding: gzip\r\ncontent-length: 2\r\n") + "{}",
        ),
    ] {
        let upstream = RawUpstream::saying(answer).await;
        for mode in [Mode::Record, Mode::Replay] {
            let folder = tempfile::tempdir().unwrap();
            let recorder = recorder(folder.path(), mode);
            let error = timeout(PATIENCE, answered(&recorder, &upstream.url)).await.unwrap();
            assert!(error.is_err(), "{what}, {mode}: {error:?}");
            assert!(recorder.finish().await.is_err(), "{what}, {mode}");
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "{what}, {mode}");
        }
    }
}

/// Valid responses that look invalid: they are passed through, recorded and replayed.
#[tokio::test]
async fn responses_of_http_1_0_and_with_extra_bytes_are_recorded_up_to_their_length() {
    let old = |headers: &str| format!("HTTP/1.0 200 OK\r\ncontent-type: application/json\r\n{headers}\r\n{{}}");
    for (what, answer) in [
        // Bytes after the length belong neither to the response nor to the next one.
        (
            "more than its length",
            json_head("content-length: 2\r\n") + "{}HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil",
        ),
        ("HTTP/1.0, ended by the close", old("")),
        ("HTTP/1.0 with a length", old("content-length: 2\r\n")),
        (
            "HTTP/1.1, ended by the close",
            json_head("connection: close\r\n") + "{}",
        ),
    ] {
        let upstream = RawUpstream::saying(answer).await;
        for mode in [Mode::Record, Mode::Replay] {
            let folder = tempfile::tempdir().unwrap();
            let recording = recorder(folder.path(), mode);
            for ask in ["first", "second"] {
                let answer = answered(&recording, &upstream.url).await.unwrap();
                assert_eq!(answer, b"{}", "{what}, {mode}, {ask}");
            }
            assert!(recording.finish().await.unwrap().recorded > 0, "{what}, {mode}");
            let strict = recorder(folder.path(), Mode::Strict);
            let replayed = answered(&strict, "http://127.0.0.1:9").await.unwrap();
            assert_eq!(replayed, b"{}", "{what}, {mode}");
        }
    }
}

// A cassette.

/// A project with one recording: its path and its content.
async fn recorded() -> (Project, String, String) {
    let (project, server) = (Project::new(), api().await);
    let proxy = project.proxy("replay", &server.url, &[]);
    assert_eq!(ask(&proxy.url, CHAT, question("a")).await.status, 200);
    assert_eq!(ended(proxy).await.code(), 0);
    let (name, text) = project.tree().pop_first().unwrap();
    (project, name, String::from_utf8(text).unwrap())
}

/// The replayed response of the recording.
async fn replayed(project: &Project) -> Answer {
    let proxy = project.proxy("strict", "http://127.0.0.1:9", &[]);
    ask(&proxy.url, CHAT, question("a")).await
}

/// The recording with a different response body.
fn with_body(text: &str, body: &str) -> String {
    let (before, rest) = text.split_once("responses:").unwrap();
    let (head, _) = rest.split_once("  body:").unwrap();
    format!("{before}responses:{head}  body:\n{body}\n  timing_ms: [1]\n")
}

#[tokio::test]
async fn a_cassette_cannot_read_files_outside_of_its_directory() {
    const PRIVATE: &str = "a-private-key-of-somebody";
    let (project, name, text) = recorded().await;
    project.write("private", PRIVATE);
    let never_told = |answer: &Answer| {
        let message = answer.error(424);
        assert!(!message.contains(PRIVATE), "{message}");
        message
    };
    for path in ["../../private", "/etc/passwd", "..%2fprivate", "bodies/../../private"] {
        project.write(&name, with_body(&text, &format!("    file: {path}")));
        let message = never_told(&replayed(&project).await);
        assert!(message.contains("expected a SHA-256"), "{message}");
        assert_eq!(project.run(&["verify"]).code(), 1);
    }
    // A link instead of a body: its target does not have the hash.
    let hash = "0".repeat(64);
    project.write(&name, with_body(&text, &format!("    file: {hash}")));
    project.write("cassettes/bodies/.keep", "");
    std::os::unix::fs::symlink(
        project.path().join("private"),
        project.cassettes().join("bodies").join(hash),
    )
    .unwrap();
    never_told(&replayed(&project).await);

    // A link instead of a cassette, to a file and to an endless device.
    for target in [project.path().join("private"), "/dev/zero".into()] {
        std::fs::remove_file(project.path().join(&name)).unwrap();
        std::os::unix::fs::symlink(&target, project.path().join(&name)).unwrap();
        never_told(&replayed(&project).await);
        for command in ["list", "verify", "show"] {
            let done = project.run(&[command]);
            assert!(
                !done.stdout.contains(PRIVATE) && !done.stderr.contains(PRIVATE),
                "{done:?}"
            );
        }
    }
    // A recording replaces the link and does not follow it.
    std::fs::remove_file(project.path().join(&name)).unwrap();
    project.write("elsewhere.yaml", &text);
    std::os::unix::fs::symlink(project.path().join("elsewhere.yaml"), project.path().join(&name)).unwrap();
    let server = Server::start(|_, _| Reply::json(r#"{"new":1}"#)).await;
    let proxy = project.proxy("record", &server.url, &[]);
    assert_eq!(ask(&proxy.url, CHAT, question("a")).await.status, 200);
    assert_eq!(ended(proxy).await.code(), 0);
    assert_eq!(
        std::fs::read_to_string(project.path().join("elsewhere.yaml")).unwrap(),
        text
    );
    assert!(
        !std::fs::symlink_metadata(project.path().join(&name))
            .unwrap()
            .is_symlink()
    );

    // Folders that form a cycle.
    std::os::unix::fs::symlink(project.cassettes(), project.cassettes().join("again")).unwrap();
    assert_eq!(project.run(&["list"]).code(), 0);
}

#[tokio::test]
async fn a_yaml_bomb_is_an_error_within_seconds() {
    let (project, name, text) = recorded().await;
    let mut aliases = "a: &a [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for (from, to) in ["a", "b", "c", "d", "e", "f", "g", "h"]
        .iter()
        .zip(["b", "c", "d", "e", "f", "g", "h", "i"])
    {
        let nine = vec![format!("*{from}"); 9].join(", ");
        aliases.push_str(&format!("{to}: &{to} [{nine}]\n"));
    }
    for (what, bomb) in [
        ("aliases", format!("{text}{aliases}")),
        (
            "depth",
            with_body(
                &text,
                &format!("    json: {}{}", "[".repeat(1_000_000), "]".repeat(1_000_000)),
            ),
        ),
        ("depth that never ends", format!("{text}x: {}", "[".repeat(1_000_000))),
        ("a document of 64 MB", format!("{text}x: {}", "y ".repeat(32 << 20))),
        ("documents without end", "---\n".repeat(1_000_000)),
    ] {
        project.write(&name, bomb);
        let began = Instant::now();
        let message = replayed(&project).await.error(424);
        assert!(message.contains("cannot read"), "{what}: {message}");
        assert!(
            began.elapsed() < Duration::from_secs(60),
            "{what}: {:?}",
            began.elapsed()
        );
    }
}

/// The server sets the framing headers, whatever the cassette contains.
#[tokio::test]
async fn a_cassette_cannot_set_framing_headers() {
    let (project, name, text) = recorded().await;
    let headers = "  headers:\n    content-length: '3'\n    transfer-encoding: chunked\n    connection: close\n    set-cookie: a=b\n";
    project.write(&name, text.replacen("  headers:\n", headers, 1));
    let answer = replayed(&project).await;
    assert_eq!((answer.status, answer.is_whole), (200, true), "{answer:?}");
    assert!(serde_json::from_slice::<Value>(&answer.body()).is_ok());
    for name in [
        "transfer-encoding",
        "connection",
        "set-cookie",
        "access-control-allow-origin",
    ] {
        assert_eq!(answer.header(name), None, "{answer:?}");
    }
}

/// Clears the screen, sets the title, changes colours, rings the bell, returns to the start of the line, and reverses
/// the text.
const ESCAPES: &str = "\u{1b}[2J\u{1b}]0;owned\u{7}\u{9b}31m\r\u{202e}";

#[tokio::test]
async fn recordings_cannot_send_control_sequences_to_a_terminal() {
    let project = Project::new();
    let server = Server::start(|number, _| {
        Reply::json(json!({ "choices": [{ "index": 0, "message": { "role": "assistant", "content": format!("{ESCAPES}{number}") } }] }).to_string())
    })
    .await;
    let nasty = question(&format!("{ESCAPES} what is this?"));
    for directory in ["cassettes", "other"] {
        let proxy = project.proxy("record", &server.url, &["--dir", directory]);
        for body in [&nasty, &question("plain")] {
            assert_eq!(ask(&proxy.url, CHAT, body).await.status, 200);
        }
        let target = "GET /v1/models?name=%1b%5b2J";
        assert_eq!(ask(&proxy.url, target, "").await.status, 200);
        assert_eq!(ended(proxy).await.code(), 0);
    }
    // Unescaped, as a person could write them into the file.
    let (name, text) = project
        .tree()
        .into_iter()
        .find(|(name, _)| name.contains("chat"))
        .unwrap();
    let text = String::from_utf8(text).unwrap();
    project.write(
        &name,
        text.replacen("by: ", &format!("test: \"{}\"\n  by: ", "\\e[2J\\a"), 1),
    );
    project.write(
        &format!("cassettes/chat-completions/{ESCAPES}.yaml"),
        format!("\u{9b}31m{text}"),
    );

    let mut output = Vec::new();
    for arguments in [
        &["list"][..],
        &["list", "--format", "json"],
        &["show"],
        &["diff", "cassettes", "other", "--show"],
        &["diff", "cassettes", "other", "--show", "--format", "json"],
        &["verify"],
        &["verify", "--format", "json"],
        &["stats"],
        &["export", "--to", "jsonl", "--out", "-"],
    ] {
        let done = project.run(arguments);
        if arguments.contains(&"json") {
            serde_json::from_str::<Value>(&done.stdout).unwrap();
        }
        output.push((format!("{arguments:?}"), done.stdout));
        output.push((format!("{arguments:?}"), done.stderr));
    }
    let proxy = project.proxy("strict", &server.url, &["--verbose"]);
    let miss = ask(&proxy.url, CHAT, question(&format!("{ESCAPES} what is that?"))).await;
    output.push(("miss".to_owned(), miss.error(424)));
    output.push(("verdict".to_owned(), ended(proxy).await.stderr));

    let shown = output.iter().filter(|(_, text)| text.contains("\\u001b[2J")).count();
    assert!(shown >= 6, "{output:#?}");
    for (what, text) in output {
        let steering = text
            .chars()
            .find(|letter| (letter.is_control() && !matches!(letter, '\n' | '\t')) || *letter == '\u{202e}');
        assert_eq!(steering, None, "{what}: {text:?}");
    }
}
