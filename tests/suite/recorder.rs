//! The recorder: modes, turns, coalesced requests, streams, redaction, with a real server.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::support::KEY;
use crate::support::server::{Reply, Server, Step};
use crate::support::upstream::RawUpstream;
use bytes::Bytes;
use futures_util::StreamExt;
use http::{HeaderValue, StatusCode};
use mistral_cassette::engine::EngineExtensions;
use mistral_cassette::{
    CacheEngine, DirectoryEngine, ErrorKind, MemoryEngine, Mode, Recorder, Request, Response, Upstream,
};

fn upstream(server: &Server) -> Upstream {
    Upstream::builder().base_url(&server.url).api_key(KEY).build().unwrap()
}

fn question(text: &str) -> Request {
    Request::post("/v1/chat/completions")
        .unwrap()
        .json(&serde_json::json!({ "model": "m", "messages": [{ "role": "user", "content": text }] }))
        .unwrap()
}

fn recorder(mode: Mode, engine: impl CacheEngine + 'static) -> Recorder {
    Recorder::builder(engine)
        .mode(mode)
        .allow_record_in_ci()
        .build()
        .unwrap()
}

/// A server whose responses contain the number of the call.
async fn counting() -> Server {
    Server::start(|number, _| Reply::json(format!(r#"{{"id":"{number}","answer":{number}}}"#))).await
}

async fn ask(recorder: &Recorder, server: &Server, text: &str) -> String {
    recorder
        .answer(question(text), upstream(server))
        .await
        .unwrap()
        .text()
        .await
        .unwrap()
}

/// Mode × recordings: the response, and the number of requests to the upstream.
#[tokio::test]
async fn each_mode_behaves_as_in_the_table_of_modes() {
    let mut table = String::new();
    for mode in [Mode::Record, Mode::Replay, Mode::Strict, Mode::Live] {
        for state in ["hit", "miss", "no directory", "damaged file"] {
            let server = counting().await;
            let folder = tempfile::tempdir().unwrap();
            let root = folder.path().join("cassettes");
            if state != "no directory" {
                ask(&recorder(Mode::Replay, DirectoryEngine::new(&root)), &server, "hello").await;
            }
            let file = root.join("chat-completions");
            let file = std::fs::read_dir(&file)
                .ok()
                .map(|mut entries| entries.next().unwrap().unwrap().path());
            match state {
                "miss" => std::fs::remove_file(file.as_ref().unwrap()).unwrap(),
                "damaged file" => std::fs::write(file.as_ref().unwrap(), "version: 1\nkey: [").unwrap(),
                _ => {}
            }
            let calls = server.call_count();
            let session = recorder(mode, DirectoryEngine::new(&root));
            let answer = match session.answer(question("hello"), upstream(&server)).await {
                Ok(response) => response.text().await.unwrap(),
                Err(error) => format!("{} error", error.kind()),
            };
            let on_file = match file.or_else(|| {
                Some(
                    std::fs::read_dir(root.join("chat-completions"))
                        .ok()?
                        .next()?
                        .ok()?
                        .path(),
                )
            }) {
                Some(path) if path.exists() => {
                    let text = std::fs::read_to_string(path).unwrap();
                    text.lines()
                        .find_map(|line| line.trim().strip_prefix("answer: "))
                        .map_or("damaged".to_owned(), |n| format!("answer {n}"))
                }
                _ => "nothing".to_owned(),
            };
            let sent_requests = server.call_count() - calls;
            let verdict = if session.finish().await.is_ok() {
                "well"
            } else {
                "fails"
            };
            table.push_str(&format!(
                "{:8} {state:13} {answer:25} asked {sent_requests}, on file: {on_file:9} verdict: {verdict}\n",
                mode.name()
            ));
        }
    }
    insta::assert_snapshot!(table);
}

#[tokio::test]
async fn replay_without_an_api_key_fails_like_strict() {
    let server = counting().await;
    let keyless = Upstream::builder().base_url(&server.url).build().unwrap();
    let recorder = recorder(Mode::Replay, MemoryEngine::new());
    let error = recorder.answer(question("hello"), keyless).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Miss);
    assert!(error.message().contains("no API key"), "{error}");
    assert_eq!(server.connection_count(), 0);
}

#[tokio::test]
async fn the_nth_request_gets_the_nth_response_and_the_last_one_repeats() {
    let server = counting().await;
    let folder = tempfile::tempdir().unwrap();
    let recording = recorder(Mode::Record, DirectoryEngine::new(folder.path()));
    for _ in 0..3 {
        ask(&recording, &server, "poll").await;
    }
    let replaying = recorder(Mode::Strict, DirectoryEngine::new(folder.path()));
    let mut answers = Vec::new();
    for _ in 0..5 {
        answers.push(ask(&replaying, &server, "poll").await);
    }
    assert_eq!(
        answers
            .iter()
            .map(|answer| answer[7..8].parse::<u8>().unwrap())
            .collect::<Vec<_>>(),
        [0, 1, 2, 2, 2]
    );
    // A new session starts again with the first response, and recording again replaces all of them.
    assert_eq!(
        ask(
            &recorder(Mode::Strict, DirectoryEngine::new(folder.path())),
            &server,
            "poll"
        )
        .await,
        answers[0]
    );
    ask(
        &recorder(Mode::Record, DirectoryEngine::new(folder.path())),
        &server,
        "poll",
    )
    .await;
    let after = recorder(Mode::Strict, DirectoryEngine::new(folder.path()));
    assert_eq!(ask(&after, &server, "poll").await, ask(&after, &server, "poll").await);
    assert_eq!(server.call_count(), 4);
}

#[tokio::test]
async fn the_behaviour_after_the_last_response_is_a_setting() {
    let server = counting().await;
    let folder = tempfile::tempdir().unwrap();
    let recording = recorder(Mode::Record, DirectoryEngine::new(folder.path()));
    for _ in 0..2 {
        ask(&recording, &server, "poll").await;
    }
    for (setting, third) in [("cycle", Some("\"0\"")), ("repeat", Some("\"1\"")), ("fail", None)] {
        std::fs::write(folder.path().join("settings.yaml"), format!("exhausted: {setting}\n")).unwrap();
        let session = recorder(Mode::Strict, DirectoryEngine::new(folder.path()));
        ask(&session, &server, "poll").await;
        ask(&session, &server, "poll").await;
        match (session.answer(question("poll"), upstream(&server)).await, third) {
            (Ok(answer), Some(expected)) => assert!(answer.text().await.unwrap().contains(expected), "{setting}"),
            (Err(error), None) => assert_eq!(error.kind(), ErrorKind::Miss),
            other => panic!("{setting}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn concurrent_identical_misses_make_one_call() {
    let server = counting().await;
    let recorder = recorder(Mode::Replay, MemoryEngine::new());
    let answers = futures_util::future::join_all((0..24).map(|_| ask(&recorder, &server, "same"))).await;
    assert_eq!(server.call_count(), 1);
    assert!(answers.iter().all(|answer| *answer == answers[0]));
    let summary = recorder.finish().await.unwrap();
    assert_eq!((summary.recorded, summary.replayed), (1, 23));
}

#[tokio::test]
async fn requests_that_shared_a_call_count_as_turns() {
    let server = counting().await;
    let folder = tempfile::tempdir().unwrap();
    let recording = recorder(Mode::Record, DirectoryEngine::new(folder.path()));
    let (first, second) = tokio::join!(ask(&recording, &server, "same"), ask(&recording, &server, "same"));
    assert_eq!(first, second);
    let third = ask(&recording, &server, "same").await;
    assert_ne!(third, first);
    let replaying = recorder(Mode::Strict, DirectoryEngine::new(folder.path()));
    for expected in [&first, &second, &third, &third] {
        assert_eq!(ask(&replaying, &server, "same").await, *expected);
    }
}

#[tokio::test]
async fn the_first_event_is_passed_through_before_the_second_is_sent() {
    let (director, reply) = Reply::directed("text/event-stream");
    let reply = std::sync::Mutex::new(Some(reply));
    let server = Server::start(move |_, _| reply.lock().unwrap().take().unwrap()).await;
    let folder = tempfile::tempdir().unwrap();
    let recorder = recorder(Mode::Record, DirectoryEngine::new(folder.path()));
    let sent_requests = tokio::spawn({
        let (recorder, upstream) = (recorder.clone(), upstream(&server));
        async move { recorder.answer(question("stream"), upstream).await.unwrap() }
    });
    director
        .send(Step::Send(Bytes::from_static(b"data: 1\n\n")))
        .ok()
        .unwrap();
    let mut events = sent_requests.await.unwrap().into_body().into_stream();
    assert_eq!(events.next().await.unwrap().unwrap(), "data: 1\n\n");
    // The upstream continues only after the caller has received the first event.
    director
        .send(Step::Send(Bytes::from_static(b"data: [DONE]\n\n")))
        .ok()
        .unwrap();
    drop(director);
    assert_eq!(events.next().await.unwrap().unwrap(), "data: [DONE]\n\n");
    assert!(events.next().await.is_none());
    // A caller that has read the end can rely on the file.
    assert_eq!(
        std::fs::read_dir(folder.path().join("chat-completions"))
            .unwrap()
            .count(),
        1
    );
}

#[tokio::test]
async fn a_caller_that_disconnects_early_does_not_damage_the_recording() {
    let (director, reply) = Reply::directed("text/event-stream");
    let reply = std::sync::Mutex::new(Some(reply));
    let server = Server::start(move |_, _| reply.lock().unwrap().take().unwrap()).await;
    let recorder = recorder(Mode::Replay, MemoryEngine::new());
    director
        .send(Step::Send(Bytes::from_static(b"data: 1\n\n")))
        .ok()
        .unwrap();
    drop(recorder.answer(question("stream"), upstream(&server)).await.unwrap());
    director
        .send(Step::Send(Bytes::from_static(b"data: [DONE]\n\n")))
        .ok()
        .unwrap();
    drop(director);
    assert_eq!(recorder.finish().await.unwrap().recorded, 1);
    assert_eq!(ask(&recorder, &server, "stream").await, "data: 1\n\ndata: [DONE]\n\n");
}

#[tokio::test]
async fn a_truncated_stream_is_passed_through_and_not_recorded() {
    let (director, reply) = Reply::directed("text/event-stream");
    let reply = std::sync::Mutex::new(Some(reply));
    let server = Server::start(move |_, _| reply.lock().unwrap().take().unwrap()).await;
    let folder = tempfile::tempdir().unwrap();
    let recorder = recorder(Mode::Record, DirectoryEngine::new(folder.path()));
    director
        .send(Step::Send(Bytes::from_static(b"data: 1\n\n")))
        .ok()
        .unwrap();
    let response = recorder.answer(question("stream"), upstream(&server)).await.unwrap();
    let mut events = response.into_body().into_stream();
    assert_eq!(events.next().await.unwrap().unwrap(), "data: 1\n\n");
    director.send(Step::Cut).ok().unwrap();
    let error = events.next().await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Upstream);
    assert_eq!(recorder.finish().await.unwrap_err().kind(), ErrorKind::Upstream);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn transient_errors_are_passed_through_and_not_recorded_by_default() {
    for status in [401, 403, 408, 429, 500, 503] {
        let server = Server::start(move |number, _| match number {
            0 => Reply::new(status, "application/json", r#"{"detail":"not today"}"#).header("retry-after", "2"),
            _ => Reply::json("{}"),
        })
        .await;
        let recorder = recorder(Mode::Replay, MemoryEngine::new());
        let first = recorder.answer(question("x"), upstream(&server)).await.unwrap();
        assert_eq!(
            (
                first.status().as_u16(),
                first.header_map()["retry-after"].to_str().unwrap()
            ),
            (status, "2")
        );
        assert_eq!(first.text().await.unwrap(), r#"{"detail":"not today"}"#);
        assert_eq!(ask(&recorder, &server, "x").await, "{}");
        assert_eq!(ask(&recorder, &server, "x").await, "{}");
        assert_eq!(server.call_count(), 2, "{status}");
    }
}

#[tokio::test]
async fn request_errors_are_recorded_and_transient_errors_only_if_configured() {
    let server = Server::start(|number, _| {
        Reply::new(
            if number == 0 { 429 } else { 422 },
            "application/json",
            r#"{"detail":[]}"#,
        )
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let recording = Recorder::builder(DirectoryEngine::new(folder.path()))
        .mode(Mode::Record)
        .allow_record_in_ci()
        .save_errors()
        .build()
        .unwrap();
    for _ in 0..2 {
        ask(&recording, &server, "x").await;
    }
    let strict = recorder(Mode::Strict, DirectoryEngine::new(folder.path()));
    for status in [429, 422, 422] {
        assert_eq!(
            strict
                .answer(question("x"), upstream(&server))
                .await
                .unwrap()
                .status()
                .as_u16(),
            status
        );
    }
}

#[tokio::test]
async fn strict_opens_no_socket_and_an_ignored_miss_fails_the_session() {
    let server = counting().await;
    let recorder = recorder(Mode::Strict, MemoryEngine::new());
    let _ = recorder.answer(question("never recorded"), upstream(&server)).await;
    assert_eq!(server.connection_count(), 0);
    let error = recorder.session().verdict().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Miss);
    assert!(error.message().starts_with("1 request was not recorded"), "{error}");
}

#[tokio::test]
async fn the_api_key_is_not_on_disk_and_the_live_call_is_unchanged() {
    let server = Server::start(|_, call| {
        let echo = call.header("authorization").unwrap().to_owned();
        Reply::json(format!(r#"{{"you said":"{echo}"}}"#))
            .header("x-ratelimit-of", KEY)
            .header("set-cookie", "a=cookie-value")
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let recorder = recorder(Mode::Record, DirectoryEngine::new(folder.path()));
    let text = format!("my key is {KEY}");
    let request = Request::post(&format!("/v1/files?token={KEY}"))
        .unwrap()
        .json(&serde_json::json!({ "input": text, "max_tokens": 5 }))
        .unwrap();
    let request = request.header(http::header::AUTHORIZATION, format!("Bearer {KEY}").parse().unwrap());
    let live = recorder.answer(request, upstream(&server)).await.unwrap();
    assert!(!live.header_map().contains_key("set-cookie"));
    assert!(live.text().await.unwrap().contains(KEY));
    let call = &server.calls()[0];
    assert!(call.target.contains(KEY) && call.json()["input"] == text);
    let mut files = 0;
    for entry in std::fs::read_dir(folder.path().join("files")).unwrap() {
        let path = entry.unwrap().path();
        let content = std::fs::read_to_string(&path).unwrap();
        assert!(
            !path.to_str().unwrap().contains("secret") && !content.contains(KEY) && !content.contains("cookie"),
            "{content}"
        );
        assert!(content.contains("max_tokens: 5"), "{content}");
        files += 1;
    }
    assert_eq!(files, 1);
}

#[tokio::test]
async fn recording_an_equivalent_response_changes_no_byte() {
    let server = Server::start(|number, call| match call.json()["stream"].as_bool() {
        Some(true) => Reply::events(format!(
            "data: {{\"id\":\"{number}\",\"choices\":[],\"p\":\"{}\"}}\n\ndata: [DONE]\n\n",
            "x".repeat(number)
        )),
        _ => Reply::json(format!(
            r#"{{"id":"{number}","created":{number},"choices":[{{"message":{{"content":"same"}}}}]}}"#
        )),
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let stream = || {
        Request::post("/v1/chat/completions")
            .unwrap()
            .json(&serde_json::json!({ "stream": true }))
            .unwrap()
    };
    let mut seen = Vec::new();
    for _ in 0..3 {
        let recorder = recorder(Mode::Record, DirectoryEngine::new(folder.path()));
        ask(&recorder, &server, "twice").await;
        ask(&recorder, &server, "twice").await;
        recorder
            .answer(stream(), upstream(&server))
            .await
            .unwrap()
            .bytes()
            .await
            .unwrap();
        let mut files: Vec<_> = std::fs::read_dir(folder.path().join("chat-completions"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        files.sort();
        seen.push(
            files
                .iter()
                .map(|path| std::fs::read_to_string(path).unwrap())
                .collect::<Vec<_>>(),
        );
    }
    assert_eq!(seen[0].len(), 2);
    assert_eq!(seen[0], seen[1]);
    assert_eq!(seen[0], seen[2]);
}

#[tokio::test]
async fn each_large_body_is_stored_once_beside_the_cassettes() {
    let large = format!(r#"{{"data":"{}"}}"#, "x".repeat(100_000));
    let server = Server::start({
        let large = large.clone();
        move |_, _| Reply::json(large.clone())
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let recording = recorder(Mode::Record, DirectoryEngine::new(folder.path()));
    for text in ["one", "two"] {
        assert_eq!(ask(&recording, &server, text).await, large);
    }
    let bodies: Vec<_> = std::fs::read_dir(folder.path().join("bodies"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert_eq!(bodies.len(), 1);
    let strict = || recorder(Mode::Strict, DirectoryEngine::new(folder.path()));
    assert_eq!(ask(&strict(), &server, "two").await, large);
    std::fs::write(&bodies[0], "changed").unwrap();
    let error = strict().answer(question("one"), upstream(&server)).await.unwrap_err();
    assert!(error.message().contains("is damaged"), "{error}");
    std::fs::remove_file(&bodies[0]).unwrap();
    let error = strict().answer(question("one"), upstream(&server)).await.unwrap_err();
    assert!(error.message().contains("is missing"), "{error}");
}

#[tokio::test]
async fn a_renamed_file_is_found_and_replaced_in_place() {
    let server = counting().await;
    let folder = tempfile::tempdir().unwrap();
    let answer = ask(
        &recorder(Mode::Record, DirectoryEngine::new(folder.path())),
        &server,
        "hello",
    )
    .await;
    let endpoint = folder.path().join("chat-completions");
    let name = std::fs::read_dir(&endpoint)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .file_name()
        .into_string()
        .unwrap();
    let renamed = endpoint.join(name.replace("hello", "greeting of my own"));
    std::fs::rename(endpoint.join(&name), &renamed).unwrap();
    assert_eq!(
        ask(
            &recorder(Mode::Strict, DirectoryEngine::new(folder.path())),
            &server,
            "hello"
        )
        .await,
        answer
    );
    ask(
        &recorder(Mode::Record, DirectoryEngine::new(folder.path())),
        &server,
        "hello",
    )
    .await;
    assert_eq!(std::fs::read_dir(&endpoint).unwrap().count(), 1);
    assert!(std::fs::read_to_string(renamed).unwrap().contains("answer: 1"));
}

#[tokio::test]
async fn compressed_answers_are_decoded_and_recorded_as_text() {
    let server = Server::start(|_, call| {
        assert!(call.header("accept-encoding").unwrap().contains("gzip"));
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        std::io::Write::write_all(&mut gzip, br#"{"a":"compressed"}"#).unwrap();
        Reply::json(gzip.finish().unwrap()).header("content-encoding", "gzip")
    })
    .await;
    let recorder = recorder(Mode::Replay, MemoryEngine::new());
    for _ in 0..2 {
        let response = recorder.answer(question("x"), upstream(&server)).await.unwrap();
        assert!(!response.header_map().contains_key("content-encoding"));
        assert_eq!(response.text().await.unwrap(), r#"{"a":"compressed"}"#);
    }
    assert_eq!(server.call_count(), 1);
}

/// A gateway may use an encoding that was not requested. Such a body cannot be redacted or searched for secrets.
#[tokio::test]
async fn an_unsupported_content_encoding_is_passed_through_and_not_recorded_unless_allowed() {
    const CODED: &[u8] = b"\x1f\x9d\x90coded";
    let head =
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-encoding: compress\r\nconnection: close\r\n";
    // With a length, and ended by closing the connection.
    for length in [format!("content-length: {}\r\n", CODED.len()), String::new()] {
        let server = RawUpstream::saying([head.as_bytes(), length.as_bytes(), b"\r\n", CODED].concat()).await;
        let upstream = || Upstream::builder().base_url(&server.url).api_key(KEY).build().unwrap();
        let refusing = recorder(Mode::Replay, MemoryEngine::new());
        let allowing = Recorder::builder(MemoryEngine::new()).mode(Mode::Replay);
        let allowing = allowing.allow_record_in_ci().allow_secrets().build().unwrap();
        for recorder in [&refusing, &allowing] {
            for _ in 0..2 {
                let response = recorder.answer(question("x"), upstream()).await.unwrap();
                assert_eq!(response.header_map()["content-encoding"], "compress");
                assert_eq!(response.bytes().await.unwrap(), CODED);
            }
        }
        let summary = |recorder: &Recorder| {
            (
                recorder.session().summary().recorded,
                recorder.session().summary().replayed,
            )
        };
        assert_eq!((summary(&refusing), summary(&allowing)), ((0, 0), (1, 1)));
        let reported = refusing.finish().await.unwrap_err().to_string();
        assert!(
            reported.contains(
                "POST chat-completions: it cannot be searched for secrets: its body has the content encoding compress"
            ),
            "{reported}"
        );
        allowing.finish().await.unwrap();
    }
}

#[tokio::test]
async fn redirects_are_not_followed_with_the_api_key() {
    let elsewhere = counting().await;
    let location = elsewhere.url.clone();
    let server = Server::start(move |_, _| Reply::new(307, "text/plain", "").header("location", &location)).await;
    let recorder = recorder(Mode::Live, MemoryEngine::new());
    let response = recorder.answer(question("x"), upstream(&server)).await.unwrap();
    assert_eq!(response.status().as_u16(), 307);
    assert_eq!(elsewhere.connection_count(), 0);
}

#[tokio::test]
async fn the_api_key_is_added_only_to_requests_without_one() {
    let server = counting().await;
    let recorder = recorder(Mode::Live, MemoryEngine::new());
    let upstream = upstream(&server);
    let own = question("x").header(http::header::AUTHORIZATION, "Bearer mine".parse().unwrap());
    for request in [own, question("x")] {
        recorder
            .answer(request, upstream.clone())
            .await
            .unwrap()
            .bytes()
            .await
            .unwrap();
    }
    let sent: Vec<String> = server
        .calls()
        .iter()
        .map(|call| call.header("authorization").unwrap().to_owned())
        .collect();
    assert_eq!(sent, ["Bearer mine".to_owned(), format!("Bearer {KEY}")]);
    assert_eq!(server.connection_count(), 1, "the connection is reused");
}

fn files_in(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
}

#[tokio::test]
async fn one_key_has_one_file_whatever_the_settings_ignore() {
    let server = counting().await;
    let folder = tempfile::tempdir().unwrap();
    let settings = "matching:\n  ignore: [/model]\n  replace:\n  - pattern: 'run-\\d+'\n    with: <run>\n";
    std::fs::write(folder.path().join("settings.yaml"), settings).unwrap();
    let recorder = recorder(Mode::Replay, DirectoryEngine::new(folder.path()));
    for number in 0..3 {
        ask(&recorder, &server, &format!("run-{number} says hello")).await;
    }
    assert_eq!(server.call_count(), 1);
    assert_eq!(files_in(&folder.path().join("chat-completions")).len(), 1);
}

#[tokio::test]
async fn a_key_given_in_code_is_redacted_and_never_printed() {
    let server = counting().await;
    let folder = tempfile::tempdir().unwrap();
    let recorder = recorder(Mode::Record, DirectoryEngine::new(folder.path()));
    let builder = Upstream::builder()
        .base_url(&server.url)
        .api_key("sk-of-the-program-42\n");
    assert!(!format!("{builder:?}").contains("sk-of"));
    let upstream = builder.build().unwrap();
    assert!(!format!("{upstream:?}").contains("sk-of"));
    let request = question("my key is sk-of-the-program-42")
        .header(http::header::USER_AGENT, "sk-of-the-program-42".parse().unwrap());
    assert!(!format!("{request:?}").contains("sk-of"));
    recorder.answer(request, upstream).await.unwrap().bytes().await.unwrap();
    assert_eq!(
        server.calls()[0].header("authorization"),
        Some("Bearer sk-of-the-program-42")
    );
    let file = &files_in(&folder.path().join("chat-completions"))[0];
    assert!(std::fs::read_to_string(file).unwrap().contains("my key is [REDACTED]"));
}

#[tokio::test]
async fn credentials_in_a_base_url_are_not_printed_and_not_recorded() {
    let error = Upstream::builder()
        .base_url("https://user:hunter2@h/v1?x=1")
        .build()
        .unwrap_err();
    assert!(!error.report().contains("hunter2"), "{error}");
    let upstream = Upstream::builder()
        .base_url("https://user:hunter2@gateway/mistral/v1/")
        .build()
        .unwrap();
    assert_eq!(upstream.origin(), "https://gateway/mistral");
}

#[tokio::test]
async fn recording_again_repairs_a_damaged_large_body() {
    let large = format!(r#"{{"data":"{}"}}"#, "x".repeat(100_000));
    let server = Server::start({
        let large = large.clone();
        move |_, _| Reply::json(large.clone())
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    ask(
        &recorder(Mode::Record, DirectoryEngine::new(folder.path())),
        &server,
        "x",
    )
    .await;
    let body = &files_in(&folder.path().join("bodies"))[0];
    std::fs::write(body, "version https://git-lfs.github.com/spec/v1\n").unwrap();
    ask(
        &recorder(Mode::Record, DirectoryEngine::new(folder.path())),
        &server,
        "x",
    )
    .await;
    let strict = recorder(Mode::Strict, DirectoryEngine::new(folder.path()));
    assert_eq!(ask(&strict, &server, "x").await, large);
}

#[tokio::test]
async fn an_equivalent_response_leaves_the_file_unchanged() {
    let server = Server::start(|_, _| Reply::json(r#"{"answer":"same"}"#)).await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("settings.yaml"), "matching:\n  ignore: [/run]\n").unwrap();
    let sent_requests = |run: u32| {
        Request::post("/v1/x")
            .unwrap()
            .json(&serde_json::json!({ "run": run }))
            .unwrap()
    };
    let mut seen = Vec::new();
    for run in 0..2 {
        let recorder = recorder(Mode::Record, DirectoryEngine::new(folder.path()));
        recorder
            .answer(sent_requests(run), upstream(&server))
            .await
            .unwrap()
            .bytes()
            .await
            .unwrap();
        let file = files_in(&folder.path().join("x")).remove(0);
        let text = std::fs::read_to_string(&file).unwrap();
        if run == 0 {
            std::fs::write(&file, format!("# a word of a person\n{text}")).unwrap();
        }
        seen.push(text);
    }
    assert_eq!(server.call_count(), 2);
    assert_eq!(seen[1], format!("# a word of a person\n{}", seen[0]));
}

#[tokio::test]
async fn json_of_any_depth_replays() {
    for depth in [47, 48, 49, 120] {
        let body = format!("{}1{}", r#"{"a":["#.repeat(depth / 2), "]}".repeat(depth / 2));
        let server = Server::start({
            let body = body.clone();
            move |_, _| Reply::json(body.clone())
        })
        .await;
        let folder = tempfile::tempdir().unwrap();
        for mode in [Mode::Record, Mode::Strict] {
            let recorder = recorder(mode, DirectoryEngine::new(folder.path()));
            let request = Request::post("/v1/deep").unwrap().body(body.clone());
            let answer = recorder.answer(request, upstream(&server)).await.unwrap();
            assert_eq!(answer.text().await.unwrap(), body, "{mode} {depth}");
        }
    }
}

#[tokio::test]
async fn requests_that_shared_a_call_replay_if_exhausted_is_an_error() {
    let server = counting().await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("settings.yaml"), "exhausted: fail\n").unwrap();
    let recording = recorder(Mode::Record, DirectoryEngine::new(folder.path()));
    tokio::join!(ask(&recording, &server, "same"), ask(&recording, &server, "same"));
    assert_eq!(server.call_count(), 1);
    let strict = recorder(Mode::Strict, DirectoryEngine::new(folder.path()));
    for _ in 0..2 {
        ask(&strict, &server, "same").await;
    }
    let error = strict.answer(question("same"), upstream(&server)).await.unwrap_err();
    assert!(
        error.message().contains("requested 3 times and is recorded 2 times"),
        "{error}"
    );
}

/// An engine that stores nothing and calls this function on each write, at once or after the caller was released.
struct Keeps<F> {
    does: F,
    at_once: bool,
}

#[mistral_cassette::async_trait]
impl<F: Fn() + Send + Sync> CacheEngine for Keeps<F> {
    async fn get(&self, _: &mistral_cassette::RequestKey) -> mistral_cassette::Result<Option<Bytes>> {
        Ok(None)
    }

    async fn set(&self, _: &mistral_cassette::RequestKey, _: Bytes) -> mistral_cassette::Result<()> {
        if !self.at_once {
            tokio::task::yield_now().await;
        }
        (self.does)();
        Ok(())
    }

    fn extensions(&self) -> &dyn EngineExtensions {
        self
    }
}

#[mistral_cassette::async_trait]
impl<F: Fn() + Send + Sync> EngineExtensions for Keeps<F> {
    fn is_committed(&self) -> bool {
        true
    }
}

/// An upstream whose response is available at once.
async fn at_once(kind: &'static str, body: &'static str) -> mistral_cassette::Result<Response> {
    Ok(Response::new(StatusCode::OK, body).header(http::header::CONTENT_TYPE, HeaderValue::from_static(kind)))
}

#[tokio::test]
async fn an_engine_that_panics_fails_the_caller_and_the_verdict() {
    for is_at_once in [true, false] {
        let does = || panic!("an engine that panics on purpose");
        let recorder = recorder(
            Mode::Record,
            Keeps {
                does,
                at_once: is_at_once,
            },
        );
        let upstream = |_| at_once("application/json", "{}");
        let answer = recorder.answer(question("x"), upstream).await.unwrap();
        assert!(answer.bytes().await.is_err(), "at once: {is_at_once}");
        assert!(
            recorder
                .finish()
                .await
                .unwrap_err()
                .message()
                .contains("was stopped before the response was complete")
        );
    }
}

/// A stream is passed through before it is stored, even if it is complete; other responses are stored first.
#[tokio::test]
async fn a_stream_that_arrives_at_once_is_passed_through_before_it_is_stored() {
    for (kind, is_kept_first) in [("text/event-stream", false), ("application/json", true)] {
        let was_stored = Arc::new(AtomicBool::new(false));
        let does = {
            let was_stored = was_stored.clone();
            move || was_stored.store(true, Ordering::SeqCst)
        };
        let recorder = recorder(Mode::Record, Keeps { does, at_once: true });
        let upstream = |_| at_once(kind, "data: [DONE]\n\n");
        let answer = recorder.answer(question("x"), upstream).await.unwrap();
        assert_eq!(was_stored.load(Ordering::SeqCst), is_kept_first, "{kind}");
        answer.bytes().await.unwrap();
        assert!(was_stored.load(Ordering::SeqCst));
    }
}

/// The first caller disconnects before the response: one of the waiting callers sends the request, and all get its
/// response.
#[tokio::test]
async fn a_request_that_waits_for_a_cancelled_request_gets_a_response() {
    for mode in [Mode::Record, Mode::Replay] {
        let recorder = recorder(mode, MemoryEngine::new());
        let never = |_| std::future::pending::<mistral_cassette::Result<Response>>();
        let mut leaves = Box::pin(recorder.answer(question("x"), never));
        assert!(futures_util::poll!(&mut leaves).is_pending());
        let calls = AtomicUsize::new(0);
        let upstream = async |_| {
            calls.fetch_add(1, Ordering::SeqCst);
            tokio::task::yield_now().await;
            at_once("application/json", "{}").await
        };
        let mut waiting: Vec<_> = (0..5)
            .map(|_| Box::pin(recorder.answer(question("x"), upstream)))
            .collect();
        for waits in &mut waiting {
            assert!(futures_util::poll!(waits).is_pending(), "{mode}");
        }
        assert_eq!(calls.load(Ordering::SeqCst), 0, "{mode}");
        drop(leaves);
        for answer in futures_util::future::join_all(waiting).await {
            assert_eq!(answer.unwrap().text().await.unwrap(), "{}");
        }
        assert_eq!(calls.load(Ordering::SeqCst), 1, "{mode}");
        let summary = recorder.finish().await.unwrap();
        assert_eq!((summary.recorded, summary.replayed), (1, 4), "{mode}");
    }
}

#[tokio::test]
async fn an_empty_bearer_token_is_not_a_key() {
    let server = counting().await;
    let recorder = recorder(Mode::Live, MemoryEngine::new());
    let request = question("x").header(http::header::AUTHORIZATION, "Bearer".parse().unwrap());
    recorder.answer(request, upstream(&server)).await.unwrap();
    assert_eq!(
        server.calls()[0].header("authorization"),
        Some(format!("Bearer {KEY}").as_str())
    );
}

#[tokio::test]
async fn a_miss_of_a_large_request_shows_the_difference() {
    let server = counting().await;
    let folder = tempfile::tempdir().unwrap();
    let large = |temperature: f64| {
        let history = "a long history, ".repeat(6000);
        let body = serde_json::json!({ "input": history, "temperature": temperature });
        Request::post("/v1/conversations").unwrap().json(&body).unwrap()
    };
    let recording = recorder(Mode::Record, DirectoryEngine::new(folder.path()));
    recording
        .answer(large(0.2), upstream(&server))
        .await
        .unwrap()
        .bytes()
        .await
        .unwrap();
    assert_eq!(files_in(&folder.path().join("bodies")).len(), 1);
    let strict = recorder(Mode::Strict, DirectoryEngine::new(folder.path()));
    let error = strict.answer(large(0.7), upstream(&server)).await.unwrap_err();
    for words in ["(99 % alike)", "@ /temperature\n- 0.2\n+ 0.7"] {
        assert!(error.message().contains(words), "{error}");
    }
    assert!(error.message().len() < 2000, "{error}");
}

#[tokio::test]
async fn json_that_ends_with_its_connection_is_recorded_only_if_complete() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let serving = tokio::spawn(async move {
        for body in [r#"{"answer":"cut in the mid"#, r#"{"answer":"whole"}"#] {
            let (mut stream, _) = listener.accept().await.unwrap();
            assert!(stream.read(&mut [0; 4096]).await.unwrap() > 0);
            let answer = format!("HTTP/1.0 200 OK\r\ncontent-type: application/json\r\n\r\n{body}");
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    let recorder = recorder(Mode::Replay, MemoryEngine::new());
    let upstream = Upstream::builder().base_url(url).api_key(KEY).build().unwrap();
    let cut = recorder
        .answer(question("x"), upstream.clone())
        .await
        .unwrap()
        .bytes()
        .await
        .unwrap_err();
    assert!(
        cut.message()
            .ends_with("sent an incomplete response: it ends in the middle of its JSON"),
        "{cut}"
    );
    for _ in 0..2 {
        let whole = recorder.answer(question("x"), upstream.clone()).await.unwrap();
        assert_eq!(whole.text().await.unwrap(), r#"{"answer":"whole"}"#);
    }
    serving.await.unwrap();
    assert_eq!(recorder.session().summary().recorded, 1);
}

#[tokio::test]
async fn a_scope_named_after_a_key_is_refused() {
    let server = counting().await;
    let folder = tempfile::tempdir().unwrap();
    let recorder = recorder(Mode::Record, DirectoryEngine::new(folder.path()));
    let scoped = recorder.scoped(mistral_cassette::Scope::new(KEY).unwrap());
    let error = scoped.answer(question("x"), upstream(&server)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Request);
    assert!(!error.report().contains(KEY));
    assert_eq!(
        (server.call_count(), std::fs::read_dir(folder.path()).unwrap().count()),
        (0, 0)
    );
}
