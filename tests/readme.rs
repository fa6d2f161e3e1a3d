//! The test in the README: recorded once, and offline from then on.
#![allow(missing_docs, clippy::unwrap_used)]

use mistral_cassette::client::ChatRequest;

#[tokio::test]
async fn asks_for_the_capital() {
    let session = mistral_cassette::cassette!();

    let question = ChatRequest::new("mistral-small-latest").user("What is the capital of France?");
    let answer = session.client().chat(question).await.unwrap();

    assert!(answer.text().contains("Paris"));
}
