//! The middleware: a program that uses `reqwest`, recorded and then replayed without the upstream.

use crate::support::server::{Reply, Server, Step};
use crate::support::{KEY, api};
use bytes::Bytes;
use futures_util::StreamExt;
use mistral_cassette::{CassetteMiddleware, DirectoryEngine, Error, ErrorKind, MemoryEngine, Mode, Recorder};
use reqwest_middleware::{ClientBuilder, ClientWithMiddleware};
use serde_json::json;

fn client(recorder: &Recorder) -> ClientWithMiddleware {
    rustls::crypto::ring::default_provider().install_default().ok();
    ClientBuilder::new(reqwest::Client::new())
        .with(CassetteMiddleware::new(recorder.clone()))
        .build()
}

fn recorder(mode: Mode, folder: &std::path::Path) -> Recorder {
    Recorder::builder(DirectoryEngine::new(folder))
        .mode(mode)
        .allow_record_in_ci()
        .build()
        .unwrap()
}

/// The results of four calls: plain, streamed, uploaded, refused.
async fn program(client: &ClientWithMiddleware, base: &str) -> Vec<(u16, String, Bytes)> {
    let chat = |stream: bool| {
        let body = json!({ "model": "m", "messages": [{ "role": "user", "content": "Hello" }], "stream": stream });
        client
            .post(format!("{base}/v1/chat/completions"))
            .header("content-type", "application/json")
            .body(body.to_string())
    };
    let file = reqwest::multipart::Part::bytes(&b"RIFF\x00\xff"[..]).file_name("a.wav");
    let form = reqwest::multipart::Form::new()
        .text("purpose", "ocr")
        .part("file", file);
    // The client of reqwest-middleware accepts forms only with a feature, so this uses a request of reqwest.
    let upload = reqwest::Client::new()
        .post(format!("{base}/v1/files"))
        .multipart(form)
        .bearer_auth(KEY)
        .build()
        .unwrap();
    let mut seen = Vec::new();
    for request in [
        chat(false).bearer_auth(KEY).build().unwrap(),
        chat(true).bearer_auth(KEY).build().unwrap(),
        upload,
        client
            .get(format!("{base}/v1/nothing?page=1"))
            .bearer_auth(KEY)
            .build()
            .unwrap(),
    ] {
        let url = request.url().clone();
        let response = client.execute(request).await.unwrap();
        assert_eq!(response.url(), &url);
        let kind = response.headers()["content-type"].to_str().unwrap().to_owned();
        seen.push((response.status().as_u16(), kind, response.bytes().await.unwrap()));
    }
    seen
}

#[tokio::test]
async fn a_program_gets_the_same_responses_without_the_upstream() {
    let folder = tempfile::tempdir().unwrap();
    let server = api::start().await;
    let base = server.url.clone();
    let recording = recorder(Mode::Record, folder.path());
    let live = program(&client(&recording), &base).await;
    assert_eq!(recording.finish().await.unwrap().recorded, 4);
    assert_eq!(
        live.iter().map(|(status, ..)| *status).collect::<Vec<_>>(),
        [200, 200, 200, 404]
    );
    drop(server);
    let strict = recorder(Mode::Strict, folder.path());
    assert_eq!(program(&client(&strict), &base).await, live);
    let file = std::fs::read_dir(folder.path().join("files"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    let text = std::fs::read_to_string(file.path()).unwrap();
    assert!(
        text.contains("filename: a.wav") && text.contains(&format!("from: {base}")),
        "{text}"
    );
}

#[tokio::test]
async fn the_original_request_of_the_caller_is_forwarded() {
    let server = Server::start(|_, call| {
        Reply::json(call.body.clone())
            .header("x-ratelimit-a", "1")
            .header("x-ratelimit-a", "2")
            .header("set-cookie", "a=b")
    })
    .await;
    let recorder = Recorder::builder(MemoryEngine::new())
        .mode(Mode::Replay)
        .build()
        .unwrap();
    for _ in 0..2 {
        let response = client(&recorder)
            .post(format!("{}/v1/x?a=%20b", server.url))
            .bearer_auth(KEY)
            .header("x-own", "kept")
            .body(format!("{{\"k\":\"{KEY}\"}}"))
            .send()
            .await
            .unwrap();
        let limits: Vec<_> = response.headers().get_all("x-ratelimit-a").iter().collect();
        assert_eq!(limits, ["1", "2"]);
        assert!(!response.headers().contains_key("set-cookie"));
    }
    let calls = server.calls();
    assert_eq!(calls.len(), 1);
    assert_eq!(
        (calls[0].header("x-own"), calls[0].target.as_str()),
        (Some("kept"), "/v1/x?a=%20b")
    );
    assert!(calls[0].json()["k"] == KEY);
}

#[tokio::test]
async fn events_are_passed_through_as_they_arrive() {
    let (director, reply) = Reply::directed("text/event-stream");
    let reply = std::sync::Mutex::new(Some(reply));
    let server = Server::start(move |_, _| reply.lock().unwrap().take().unwrap()).await;
    let recorder = Recorder::builder(MemoryEngine::new())
        .mode(Mode::Replay)
        .build()
        .unwrap();
    director
        .send(Step::Send(Bytes::from_static(b"data: 1\n\n")))
        .ok()
        .unwrap();
    let url = format!("{}/v1/stream", server.url);
    let response = client(&recorder).get(&url).bearer_auth(KEY).send().await.unwrap();
    let mut events = response.bytes_stream();
    assert_eq!(events.next().await.unwrap().unwrap(), "data: 1\n\n");
    director
        .send(Step::Send(Bytes::from_static(b"data: 2\n\n")))
        .ok()
        .unwrap();
    drop(director);
    assert_eq!(events.next().await.unwrap().unwrap(), "data: 2\n\n");
    assert!(events.next().await.is_none());
    let replayed = client(&recorder).get(&url).bearer_auth(KEY).send().await.unwrap();
    assert_eq!(replayed.bytes_stream().count().await, 2);
}

#[tokio::test]
async fn errors_of_the_client_are_returned_unchanged_and_differ_from_a_miss() {
    let recorder = Recorder::builder(MemoryEngine::new())
        .mode(Mode::Replay)
        .build()
        .unwrap();
    // A port on which nothing listens.
    let refused = client(&recorder)
        .get("http://127.0.0.1:9/v1/models")
        .bearer_auth(KEY)
        .send()
        .await
        .unwrap_err();
    assert!(
        matches!(&refused, reqwest_middleware::Error::Reqwest(error) if error.is_connect()),
        "{refused:?}"
    );

    for bearer in [None, Some("")] {
        let mut request = client(&recorder).get("http://127.0.0.1:9/v1/models");
        if let Some(bearer) = bearer {
            request = request.bearer_auth(bearer);
        }
        let missed = request.send().await.unwrap_err();
        let reqwest_middleware::Error::Middleware(missed) = missed else {
            panic!("{missed:?}")
        };
        let missed = missed.downcast_ref::<Error>().unwrap();
        assert_eq!(missed.kind(), ErrorKind::Miss);
        assert!(missed.message().contains("no API key"), "{missed}");
    }
    assert_eq!(recorder.session().summary().missed, 2);
}
