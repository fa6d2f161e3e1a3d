//! The session of a test: its scope and its verdict.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Duration;

use futures_util::StreamExt as _;
use mistral_cassette::client::ChatRequest;
#[cfg(feature = "proxy")]
use mistral_cassette::proxy::Proxy;
use mistral_cassette::testing::{Save, TestOptions, TestSession};
use mistral_cassette::{ErrorKind, Mode, Request, Transport as _, Upstream, cassette};

use crate::support::KEY;
use crate::support::server::{Reply, Server, Step};

/// The panic of a test whose session has an ignored miss.
async fn panic_of(test: impl FnOnce(TestSession)) -> String {
    let session = cassette!(Mode::Strict);
    let _ = session
        .client()
        .chat(ChatRequest::new("m").user("never recorded"))
        .await;
    let panic = catch_unwind(AssertUnwindSafe(|| test(session))).unwrap_err();
    panic
        .downcast_ref::<String>()
        .cloned()
        .unwrap_or_else(|| (*panic.downcast_ref::<&str>().unwrap()).to_owned())
}

#[tokio::test]
async fn an_ignored_miss_fails_the_test() {
    let output = panic_of(drop).await;
    assert!(output.contains("1 request was not recorded"), "{output}");
    assert!(
        output.contains("/an_ignored_miss_fails_the_test/chat-completions/never-recorded-"),
        "{output}"
    );
}

#[tokio::test]
async fn the_panic_of_the_test_itself_is_not_hidden() {
    let output = panic_of(|_session| panic!("the test's own")).await;
    assert_eq!(output, "the test's own");
}

#[tokio::test]
async fn a_session_without_failures_passes() {
    let session = cassette!(Mode::Strict);
    assert_eq!(session.recorder().mode(), Mode::Strict);
}

fn session_of_a_helper() -> TestSession {
    cassette!(Mode::Strict)
}

#[test]
fn a_session_is_named_after_the_test_that_calls_a_helper() {
    let session = format!("{:?}", session_of_a_helper().recorder());
    let scope = "suite/testing/a_session_is_named_after_the_test_that_calls_a_helper";
    assert!(session.contains(scope), "{session}");
}

/// An API on a thread of its own: the end of a session may block the runtime of the test.
struct Api {
    url: String,
    /// The API ends when this is dropped.
    _end: tokio::sync::oneshot::Sender<()>,
}

impl Api {
    /// It answers with a stream that takes 150 milliseconds.
    fn start() -> Self {
        let (send_url, url) = std::sync::mpsc::channel();
        let (end, ended) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let server = Server::start(|_, _| slow_stream()).await;
                send_url.send(server.url.clone()).unwrap();
                let _ = ended.await;
            });
        });
        Self {
            url: url.recv().unwrap(),
            _end: end,
        }
    }

    fn upstream(&self) -> Upstream {
        Upstream::builder().base_url(&self.url).api_key(KEY).build().unwrap()
    }
}

fn slow_stream() -> Reply {
    let (steps, reply) = Reply::directed("text/event-stream");
    tokio::spawn(async move {
        for data in ["{}", "{}", "{}", "{}", "{}", "[DONE]"] {
            let _ = steps.send(Step::Send(format!("data: {data}\n\n").into()));
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    });
    reply
}

fn options(directory: &Path) -> TestOptions {
    TestOptions::new().directory(directory).mode(Mode::Replay).name("test")
}

fn stream_request() -> Request {
    Request::post("/v1/chat/completions")
        .unwrap()
        .body(r#"{"stream":true}"#)
}

/// Reads the first chunk of a stream, and leaves.
async fn read_first(session: &TestSession, api: &Api) {
    let response = session
        .recorder()
        .answer(stream_request(), api.upstream())
        .await
        .unwrap();
    let first = response.into_body().into_stream().next().await.unwrap().unwrap();
    assert!(!first.is_empty());
}

/// The recorded stream has its end.
async fn is_recorded(directory: &Path) {
    let session = cassette!(options(directory).mode(Mode::Strict));
    let nobody = async |_: Request| unreachable!();
    let response = session.recorder().answer(stream_request(), nobody).await.unwrap();
    assert!(response.text().await.unwrap().ends_with("data: [DONE]\n\n"));
}

#[tokio::test]
async fn a_stream_that_the_test_leaves_early_is_recorded() {
    let (folder, api) = (tempfile::tempdir().unwrap(), Api::start());
    let session = cassette!(options(folder.path()));
    read_first(&session, &api).await;
    drop(session);
    is_recorded(folder.path()).await;
}

#[tokio::test]
async fn finish_waits_for_recordings_and_returns_the_summary() {
    let (folder, api) = (tempfile::tempdir().unwrap(), Api::start());
    let session = cassette!(options(folder.path()).save(Save::OnSuccess));
    read_first(&session, &api).await;
    let summary = session.finish().await.unwrap();
    assert_eq!((summary.recorded, summary.failed), (1, 0));
    is_recorded(folder.path()).await;
}

#[tokio::test]
async fn a_request_in_a_task_that_the_test_does_not_wait_for_is_recorded() {
    let (folder, api) = (tempfile::tempdir().unwrap(), Api::start());
    let session = cassette!(options(folder.path()));
    let (recorder, transport) = (session.recorder(), api.upstream());
    tokio::spawn(async move { recorder.answer(stream_request(), transport).await });
    while !format!("{:?}", session.recorder().session()).contains("POST /v1/chat/completions") {
        tokio::task::yield_now().await;
    }
    drop(session);
    is_recorded(folder.path()).await;
}

#[tokio::test]
async fn a_request_that_cannot_continue_without_its_task_fails_the_verdict() {
    let folder = tempfile::tempdir().unwrap();
    let session = cassette!(options(folder.path()));
    let recorder = session.recorder();
    // A closure may borrow from the test, so it cannot run elsewhere.
    tokio::spawn(async move {
        let never = async |_: Request| std::future::pending().await;
        recorder.answer(stream_request(), never).await
    });
    while !format!("{:?}", session.recorder().session()).contains("POST /v1/chat/completions") {
        tokio::task::yield_now().await;
    }
    let recorder = session.recorder();
    let panic = catch_unwind(AssertUnwindSafe(|| drop(session))).unwrap_err();
    let text = panic.downcast_ref::<String>().unwrap();
    assert!(
        text.contains("POST /v1/chat/completions: still in progress when the session of the test ended")
            && text.contains("session.finish().await"),
        "{text}"
    );
    // A later request is refused.
    let nobody = async |_: Request| unreachable!();
    let error = recorder.answer(stream_request(), nobody).await.unwrap_err();
    assert!(error.message().contains("the session of the test has ended"), "{error}");
}

#[tokio::test]
async fn an_expected_miss_is_returned_or_allowed() {
    let folder = tempfile::tempdir().unwrap();
    let miss = async |session: &TestSession| {
        let nobody = async |_: Request| unreachable!();
        session.recorder().answer(stream_request(), nobody).await.unwrap_err()
    };
    let session = cassette!(options(folder.path()).mode(Mode::Strict));
    let error = miss(&session).await;
    let verdict = session.finish().await.unwrap_err();
    assert_eq!((error.kind(), verdict.kind()), (ErrorKind::Miss, ErrorKind::Miss));

    let session = cassette!(options(folder.path()).mode(Mode::Strict)).allow_failures();
    miss(&session).await;
    drop(session);

    let session = cassette!(options(folder.path()).mode(Mode::Strict).allow_failures());
    miss(&session).await;
    assert_eq!(session.finish().await.unwrap().missed, 1);
}

#[cfg(feature = "proxy")]
#[tokio::test]
async fn a_proxy_with_the_recorder_of_a_session_stays_in_its_scope() {
    let (folder, api) = (tempfile::tempdir().unwrap(), Api::start());
    let session = cassette!(options(folder.path()));
    let proxy = Proxy::start("127.0.0.1:0", session.recorder(), api.upstream())
        .await
        .unwrap();
    for (prefix, scope) in [("", "test"), ("/c/inner", "test/inner")] {
        let client = Upstream::builder()
            .base_url(format!("{}{prefix}", proxy.url()))
            .build()
            .unwrap();
        let response = client.send(stream_request()).await.unwrap();
        assert!(response.text().await.unwrap().ends_with("[DONE]\n\n"));
        assert!(folder.path().join(scope).join("chat-completions").is_dir(), "{scope}");
    }
    proxy.stop().await.unwrap();
}

#[cfg(feature = "insta")]
#[test]
fn snapshots_replace_values_that_change_with_each_response() {
    let chunk = |number: u32| {
        let text = format!(
            r#"{{"id":"{number}","created":{number},"model":"m","choices":[],"p":"{}"}}"#,
            "x".repeat(number as usize)
        );
        serde_json::from_str::<mistral_cassette::client::ChatChunk>(&text).unwrap()
    };
    mistral_cassette::testing::insta_settings().bind(|| {
        for number in [1, 2] {
            let json = serde_json::to_string_pretty(&chunk(number)).unwrap();
            insta::assert_snapshot!("chunk_as_json", json);
            insta::assert_debug_snapshot!("chunk_as_debug", chunk(number));
        }
    });
}
