//! Which responses are recorded: complete ones that do not depend on the moment, as the upstream sent them.

use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::KEY;
use crate::support::server::{Reply, Server};
use crate::support::upstream::RawUpstream;
use crate::support::wire::ask;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method};
use mistral_cassette::proxy::Proxy;
use mistral_cassette::recorder::RecorderBuilder;
use mistral_cassette::{DirectoryEngine, Mode, Recorder, Request, Response, Scope, Transport, Upstream};

const STREAM: &str = "text/event-stream";
const CHUNK: &str = "data: {\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Rh\"},\"finish_reason\":null}]}\n\n";

fn builder(directory: &Path, mode: Mode) -> RecorderBuilder {
    Recorder::builder(DirectoryEngine::new(directory))
        .mode(mode)
        .allow_record_in_ci()
}

fn recorder(directory: &Path, mode: Mode) -> Recorder {
    builder(directory, mode).build().unwrap()
}

fn upstream(url: &str) -> Upstream {
    Upstream::builder().base_url(url).api_key(KEY).build().unwrap()
}

fn http(head: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

async fn body(response: Response) -> Bytes {
    response.bytes().await.unwrap()
}

fn recordings(directory: &Path) -> usize {
    let mut found = 0;
    let mut folders = vec![directory.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found += usize::from(path.extension().is_some_and(|extension| extension == "yaml"));
            }
        }
    }
    found
}

#[tokio::test]
async fn incomplete_responses_reach_the_caller_and_fail_the_session() {
    for (path, kind, text) in [
        ("/v1/chat/completions", STREAM, CHUNK),
        ("/v1/chat/completions", STREAM, ""),
        ("/v1/fim/completions", STREAM, ": ping\n\n"),
        ("/v1/conversations", STREAM, "event: message.output.delta\ndata: {}\n\n"),
        ("/v1/audio/speech", STREAM, "event: speech.audio.delta\ndata: {}\n\n"),
        ("/v1/chat/completions", "application/json", ""),
        ("/v1/chat/completions", "application/json", "{\"choices\":["),
        ("/v1/embeddings", "text/plain", ""),
    ] {
        let raw = RawUpstream::saying(http(&format!("200 OK\r\ncontent-type: {kind}"), text.as_bytes())).await;
        let folder = tempfile::tempdir().unwrap();
        let session = recorder(folder.path(), Mode::Record);
        let request = Request::post(path).unwrap().body("{}");
        let response = session.answer(request, upstream(&raw.url)).await.unwrap();
        assert_eq!(body(response).await, text, "{path}");
        assert_eq!(recordings(folder.path()), 0, "{path}: {text}");
        let verdict = session.finish().await.unwrap_err();
        assert!(
            verdict.message().contains(&format!("the response to POST {path} is ")),
            "{verdict}"
        );
    }
}

#[tokio::test]
async fn transient_errors_are_recorded_only_where_they_are_requested() {
    let error = "{\"object\":\"error\",\"message\":\"capacity\"}";
    for (head, text, statuses) in [
        ("402 Payment Required\r\ncontent-type: application/json", "{}", "402"),
        ("425 Too Early", "", "425"),
        ("499 Client Closed Request", "", "499"),
        ("200 OK\r\ncontent-type: application/json", error, "200"),
        (
            "200 OK\r\ncontent-type: text/event-stream",
            &format!("{CHUNK}data: {error}\n\n"),
            "200",
        ),
        ("206 Partial Content\r\ncontent-range: bytes 0-0/2", "a", "206"),
    ] {
        let raw = RawUpstream::saying(http(head, text.as_bytes())).await;
        for (header, is_recorded) in [
            (None, false),
            (Some("true"), true),
            (Some(statuses), true),
            (Some("500"), false),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let session = recorder(folder.path(), Mode::Record);
            let mut request = Request::post("/v1/chat/completions").unwrap().body("{}");
            if let Some(value) = header {
                let name = HeaderName::from_static("mistral-cassette-save-errors");
                request = request.header(name, HeaderValue::from_str(value).unwrap());
            }
            let response = session.answer(request, upstream(&raw.url)).await.unwrap();
            assert_eq!(body(response).await, text);
            assert_eq!(
                recordings(folder.path()),
                usize::from(is_recorded),
                "{head}, {header:?}"
            );
            session.finish().await.unwrap();
        }
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(
            folder.path().join("settings.yaml"),
            format!("save_errors: [{statuses}]\n"),
        )
        .unwrap();
        let session = recorder(folder.path(), Mode::Record);
        let request = Request::post("/v1/chat/completions").unwrap().body("{}");
        body(session.answer(request, upstream(&raw.url)).await.unwrap()).await;
        assert_eq!(recordings(&folder.path().join("chat-completions")), 1, "{head}");
    }
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn all_members_of_a_compressed_body_are_received_in_every_mode() {
    let members = [gzip("{\"custom_id\":\"0\"}\n"), gzip("{\"custom_id\":\"1\"}\n")].concat();
    for coding in ["gzip", "X-GZip", "GZIP"] {
        let head = format!("200 OK\r\ncontent-type: application/x-ndjson\r\ncontent-encoding: {coding}");
        let raw = RawUpstream::saying(http(&head, &members)).await;
        let followed = RawUpstream::saying(http(&head, &[&members[..], b"more"].concat())).await;
        let folder = tempfile::tempdir().unwrap();
        for mode in [Mode::Live, Mode::Record, Mode::Strict] {
            let session = recorder(folder.path(), mode);
            let request = Request::get("/v1/files/f/content").unwrap();
            let response = session.answer(request, upstream(&raw.url)).await.unwrap();
            assert_eq!(
                body(response).await,
                "{\"custom_id\":\"0\"}\n{\"custom_id\":\"1\"}\n",
                "{mode}"
            );
            session.finish().await.unwrap();
        }
        let session = recorder(folder.path(), Mode::Live);
        let request = Request::get("/v1/files/f/content").unwrap();
        let response = session.answer(request, upstream(&followed.url)).await.unwrap();
        let error = response.bytes().await.unwrap_err();
        assert!(error.report().contains("it cannot be decoded"), "{error:?}");
    }
}

#[tokio::test]
async fn locations_at_the_api_lead_back_to_the_proxy_and_its_scope() {
    let signed = "https://storage.test/f?signature=1";
    let server = Server::start(move |_, call| {
        let host = call.header("host").unwrap();
        Reply::new(307, "text/plain", "")
            .header("location", &format!("http://{host}/v1/libraries"))
            .header(
                "content-location",
                if call.target == "/v1/signed" {
                    signed
                } else {
                    "/v1/libraries"
                },
            )
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    for mode in [Mode::Record, Mode::Strict] {
        let proxy = Proxy::start("127.0.0.1:0", recorder(folder.path(), mode), upstream(&server.url))
            .await
            .unwrap();
        for prefix in ["", "/c/suite%2Ftest"] {
            let answer = ask(&proxy.url(), &format!("GET {prefix}/v1/libraries/"), "").await;
            let expected = format!("{prefix}/v1/libraries");
            assert_eq!(answer.header("location"), Some(expected.as_str()), "{mode}");
            assert_eq!(answer.header("content-location"), Some(expected.as_str()), "{mode}");
            let answer = ask(&proxy.url(), &format!("GET {prefix}/v1/signed"), "").await;
            assert_eq!(answer.header("content-location"), Some(signed), "{mode}");
        }
        proxy.stop().await.unwrap();
    }
}

#[tokio::test]
async fn headers_about_a_body_are_recorded_with_all_their_bytes() {
    let head = b"HTTP/1.1 200 OK\r\ncontent-type: application/pdf\r\ncontent-length: 1338\r\naccept-ranges: bytes\r\n\
        etag: \"1\"\r\nlast-modified: Fri, 27 Nov 2026 00:00:00 GMT\r\n\
        content-disposition: attachment; filename=\"r\xe9sum\xe9 \xff.pdf\"\r\nconnection: close\r\n\r\n";
    let raw = RawUpstream::saying(head.to_vec()).await;
    let folder = tempfile::tempdir().unwrap();
    for mode in [Mode::Record, Mode::Strict] {
        let session = recorder(folder.path(), mode);
        let request = Request::new(Method::HEAD, "/v1/files/f/content").unwrap();
        let response = session.answer(request, upstream(&raw.url)).await.unwrap();
        for (name, value) in [
            ("content-length", &b"1338"[..]),
            ("accept-ranges", b"bytes"),
            ("etag", b"\"1\""),
            ("last-modified", b"Fri, 27 Nov 2026 00:00:00 GMT"),
            ("content-disposition", b"attachment; filename=\"r\xe9sum\xe9 \xff.pdf\""),
        ] {
            assert_eq!(response.header_map()[name].as_bytes(), value, "{mode}: {name}");
        }
        assert_eq!(body(response).await, "");
        session.finish().await.unwrap();
    }
    let proxy = Proxy::start("127.0.0.1:0", recorder(folder.path(), Mode::Strict), upstream(&raw.url))
        .await
        .unwrap();
    let request = Request::new(Method::HEAD, "/v1/files/f/content").unwrap();
    let response = upstream(&proxy.url()).send(request).await.unwrap();
    assert_eq!(response.header_map()["content-length"], "1338");
    proxy.stop().await.unwrap();
}

/// A batch job that is queued twice, then running twice, then done.
async fn job() -> Server {
    Server::start(|number, call| {
        let status = ["QUEUED", "QUEUED", "RUNNING", "RUNNING", "SUCCESS"];
        let status = if call.method == "POST" {
            "QUEUED"
        } else {
            status[number.min(4)]
        };
        Reply::json(format!("{{\"id\":\"job\",\"status\":\"{status}\"}}"))
    })
    .await
}

async fn poll(session: &Recorder, server: &Server) -> Vec<String> {
    let mut states = Vec::new();
    for _ in 0..10 {
        let request = Request::get("/v1/batch/jobs/job").unwrap();
        let response = session.answer(request, upstream(&server.url)).await.unwrap();
        let job: serde_json::Value = serde_json::from_slice(&body(response).await).unwrap();
        states.push(job["status"].as_str().unwrap().to_owned());
        if job["status"] == "SUCCESS" {
            break;
        }
    }
    states
}

#[tokio::test]
async fn a_job_is_polled_until_its_end_and_each_state_is_stored_once() {
    let (server, folder) = (job().await, tempfile::tempdir().unwrap());
    let states = poll(&recorder(folder.path(), Mode::Replay), &server).await;
    assert_eq!(states, ["QUEUED", "QUEUED", "RUNNING", "RUNNING", "SUCCESS"]);
    for mode in [Mode::Replay, Mode::Strict] {
        let states = poll(&recorder(folder.path(), mode), &server).await;
        assert_eq!(states, ["QUEUED", "RUNNING", "SUCCESS"], "{mode}");
    }
    assert_eq!(server.call_count(), 5);
}

#[tokio::test]
async fn requests_that_change_something_are_not_sent_twice_and_polling_has_a_setting() {
    let (server, folder) = (job().await, tempfile::tempdir().unwrap());
    let session = recorder(folder.path(), Mode::Replay);
    for _ in 0..3 {
        let request = Request::post("/v1/batch/jobs").unwrap().body("{}");
        body(session.answer(request, upstream(&server.url)).await.unwrap()).await;
    }
    assert_eq!(server.call_count(), 1);

    for (settings, expected) in [("polling: []\n", 1), ("polling: [get]\nexhausted: fail\n", 5)] {
        let (server, folder) = (job().await, tempfile::tempdir().unwrap());
        std::fs::write(folder.path().join("settings.yaml"), settings).unwrap();
        let scope = Scope::new("suite").unwrap();
        let session = builder(folder.path(), Mode::Replay).scope(scope).build().unwrap();
        let states = poll(&session, &server).await;
        assert_eq!(server.call_count(), expected, "{settings}");
        if expected == 5 {
            // Each request has a response of its own.
            let session = builder(folder.path(), Mode::Strict);
            let session = session.scope(Scope::new("suite").unwrap()).build().unwrap();
            assert_eq!(poll(&session, &server).await, states);
        }
    }
}

/// A list does not change by itself: the program changes it. In a replay it changes after the same requests.
#[tokio::test]
async fn a_state_that_the_program_changes_is_replayed_in_the_same_places() {
    let files = AtomicUsize::new(0);
    let server = Server::start(move |_, call| {
        match &*call.method {
            "POST" => files.fetch_add(1, Ordering::Relaxed),
            "DELETE" => files.fetch_sub(1, Ordering::Relaxed),
            _ => return Reply::json(format!("{{\"total\":{}}}", files.load(Ordering::Relaxed))),
        };
        Reply::json("{\"id\":\"f\"}")
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let run = async |mode| {
        let session = recorder(folder.path(), mode);
        let mut totals = Vec::new();
        for method in "GET GET GET POST GET GET DELETE GET GET".split(' ') {
            let request = match method {
                "POST" => Request::post("/v1/files").unwrap().body("{}"),
                "DELETE" => Request::delete("/v1/files/f").unwrap(),
                _ => Request::get("/v1/files").unwrap(),
            };
            let response = session.answer(request, upstream(&server.url)).await.unwrap();
            let read: serde_json::Value = serde_json::from_slice(&body(response).await).unwrap();
            totals.extend(read["total"].as_u64());
        }
        totals
    };
    for mode in [Mode::Replay, Mode::Replay, Mode::Strict] {
        assert_eq!(run(mode).await, [0, 0, 0, 1, 1, 0, 0], "{mode}");
    }
    assert_eq!(server.call_count(), 9);
}
