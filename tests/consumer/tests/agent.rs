//! The sessions of this project's tests. Those that are ignored must fail; tests/suite/consumer.rs of the crate checks how.

use std::env;
use std::time::Duration;

use consumer::Agent;
use mistral_cassette::client::{ChatRequest, Client, Retries};
use mistral_cassette::testing::{Save, TestOptions, TestSession, insta_settings};
use mistral_cassette::{ErrorKind, Mode, cassette};
use rstest::{fixture, rstest};
use serde_json::json;

const CAPITAL: &str = "What is the capital of France?";

/// A session that several tests use.
fn session_of_helper() -> TestSession {
    cassette!()
}

#[tokio::test]
async fn calls_a_tool() {
    let session = cassette!();
    let answer = Agent::new(&session.client()).weather("Paris").await.unwrap();
    assert_eq!(answer, "The tool says: 21 degrees, and a strong wind");
}

#[tokio::test]
async fn reads_a_stream_to_its_end() {
    let session = cassette!();
    let text = Agent::new(&session.client())
        .first_words("Tell me about the mistral.", usize::MAX)
        .await;
    assert!(text.unwrap().ends_with("Marseille."));
}

#[tokio::test]
async fn leaves_a_stream_early() {
    let session = cassette!();
    let text = Agent::new(&session.client())
        .first_words("Tell me about the mistral.", 3)
        .await;
    assert_eq!(text.unwrap().trim_end(), "The mistral");
}

#[tokio::test]
async fn compares_embeddings() {
    let session = cassette!();
    let texts = ["a cold wind", "a capital"];
    let found = Agent::new(&session.client())
        .most_similar("a cold wind", &texts)
        .await
        .unwrap();
    assert_eq!(found, Some("a cold wind"));
}

#[tokio::test]
async fn uploads_and_reads_a_document() {
    let session = cassette!();
    let text = Agent::new(&session.client())
        .read_document("letter.pdf", b"%PDF-1.7 a letter")
        .await;
    assert!(text.unwrap().starts_with("# Page 0"));
}

#[tokio::test]
async fn waits_for_a_batch_job() {
    let session = cassette!();
    let job = Agent::new(&session.client()).ask_all(&["one", "two"]).await.unwrap();
    assert_eq!(job.status, "SUCCESS");
}

#[tokio::test]
async fn retries_when_the_api_is_busy() {
    let session = cassette!();
    let mut client = Client::builder().retries(Retries::new(2).first_wait(Duration::from_millis(1)));
    if let (Ok(url), Ok(key)) = (env::var("MISTRAL_SERVER_URL"), env::var("MISTRAL_API_KEY")) {
        client = client.base_url(url).api_key(key);
    }
    let client = client.recorder(session.recorder()).build().unwrap();
    assert!(Agent::new(&client).ask("Are you busy?").await.unwrap().contains("busy"));
}

#[tokio::test]
async fn starts_its_session_in_a_helper() {
    let session = session_of_helper();
    assert!(Agent::new(&session.client()).ask(CAPITAL).await.is_ok());
}

#[rstest]
#[case("Paris")]
#[case::of_a_long_name_that_no_file_system_would_take_as_it_is_because_it_has_more_characters_than_a_folder_may_have_with_all_of_its_words_and_numbers_and_then_some_more_words_that_make_it_longer_still_until_it_really_has_more_than_two_hundred_and_fifty_five("Lyon")]
#[tokio::test]
async fn asks_for_each_case(#[case] city: &str) {
    let session = session_of_helper();
    let answer = Agent::new(&session.client()).weather(city).await.unwrap();
    assert!(answer.contains("21 degrees"));
}

#[fixture]
fn session() -> TestSession {
    cassette!()
}

#[rstest]
#[tokio::test]
async fn gets_its_session_from_a_fixture(session: TestSession) {
    assert!(Agent::new(&session.client()).ask(CAPITAL).await.is_ok());
}

#[tokio::test]
#[should_panic(expected = "no wind")]
async fn panics_as_expected() {
    let session = cassette!();
    Agent::new(&session.client()).ask(CAPITAL).await.unwrap();
    panic!("no wind");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_on_several_threads() {
    let session = cassette!();
    let agent = Agent::new(&session.client());
    let tasks = ["one", "two", "three"].map(|question| {
        let agent = agent.clone();
        tokio::spawn(async move { agent.ask(question).await })
    });
    for task in tasks {
        task.await.unwrap().unwrap();
    }
}

#[test]
fn starts_its_session_on_a_thread_of_its_own() {
    let thread = std::thread::Builder::new().name("a thread of its own".into());
    let test = || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let session = cassette!();
        runtime.block_on(Agent::new(&session.client()).ask(CAPITAL)).unwrap();
    };
    thread.spawn(test).unwrap().join().unwrap();
}

#[tokio::test]
async fn does_not_wait_for_a_task() {
    let session = cassette!();
    let agent = Agent::new(&session.client());
    tokio::spawn(async move { agent.ask("Take your time.").await });
    tokio::task::yield_now().await;
}

#[tokio::test]
async fn saves_at_the_end() {
    let session = cassette!(TestOptions::new().save(Save::OnSuccess));
    assert!(Agent::new(&session.client()).ask(CAPITAL).await.is_ok());
}

#[tokio::test]
async fn allows_failures() {
    let session = cassette!(Mode::Strict).allow_failures();
    let error = Agent::new(&session.client()).ask("never recorded").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Miss);
}

#[tokio::test]
async fn expects_a_miss() {
    let session = cassette!(Mode::Strict);
    let _ = Agent::new(&session.client()).ask("never recorded").await;
    assert_eq!(session.finish().await.unwrap_err().kind(), ErrorKind::Miss);
}

#[tokio::test]
async fn stops_waiting() {
    let session = cassette!();
    let client = session.client();
    let agent = Agent::new(&client);
    let limit = Duration::from_millis(20);
    // A replay is quicker.
    let _ = tokio::time::timeout(limit, agent.ask("Take your time.")).await;
}

#[tokio::test]
async fn matches_a_snapshot() {
    let session = cassette!();
    let question = ChatRequest::new("mistral-small-latest").user(CAPITAL);
    let answer = session.client().chat(question).await.unwrap();
    let _settings = insta_settings().bind_to_scope();
    insta::assert_json_snapshot!(json!({ "id": answer.id, "text": answer.text() }), @r#"
    {
      "id": "[id]",
      "text": "The capital of France is **Paris**."
    }
    "#);
}

#[tokio::test]
async fn fragt_nach_köln() {
    let session = cassette!();
    assert!(Agent::new(&session.client()).weather("Köln").await.is_ok());
}

#[tokio::test]
#[ignore = "must fail: tests/suite/consumer.rs runs it and checks how it fails"]
async fn has_a_changed_prompt() {
    let session = cassette!();
    let town = env::var("TOWN").unwrap_or("Paris".into());
    Agent::new(&session.client())
        .ask(&format!("Where is {town}?"))
        .await
        .unwrap();
}

#[tokio::test]
#[ignore = "must fail: tests/suite/consumer.rs runs it and checks how it fails"]
async fn asks_what_is_not_recorded() {
    let session = cassette!(Mode::Strict);
    Agent::new(&session.client()).ask("never recorded").await.unwrap();
}

#[tokio::test]
#[ignore = "must fail: tests/suite/consumer.rs runs it and checks how it fails"]
async fn ignores_a_miss() {
    let session = cassette!(Mode::Strict);
    let _ = Agent::new(&session.client()).ask("never recorded").await;
}

#[tokio::test]
#[ignore = "must fail: tests/suite/consumer.rs runs it and checks how it fails"]
async fn expects_an_error_that_does_not_come() {
    let session = cassette!(Mode::Strict);
    let error = Agent::new(&session.client()).ask("never recorded").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Api);
}
