//! The session of a test: its scope and its verdict.

use std::panic::{AssertUnwindSafe, catch_unwind};

use mistral_cassette::client::ChatRequest;
use mistral_cassette::testing::TestSession;
use mistral_cassette::{Mode, cassette};

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
        output.contains("cassettes/suite/testing/panic_of/chat-completions/never-recorded-"),
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
