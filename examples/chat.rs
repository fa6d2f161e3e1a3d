//! One question and its answer, offline: `cargo run --example chat`.
//!
//! The answer is in `cassettes/chat-completions/`. Change the question, and this fails with the nearest recording and
//! the difference; with a key in `MISTRAL_API_KEY` it asks the API once and writes a new cassette.

use mistral_cassette::DirectoryEngine;
use mistral_cassette::client::{ChatRequest, Client};

#[tokio::main]
async fn main() -> mistral_cassette::Result<()> {
    let client = Client::from_env()?.cached(DirectoryEngine::new("cassettes"))?;

    let answer = client
        .chat(
            ChatRequest::new("mistral-small-latest")
                .system("You answer in one sentence.")
                .user("What is the capital of France?")
                .temperature(0.2),
        )
        .await?;
    println!("{}", answer.text());

    if let Some(recorder) = client.recorder() {
        println!("({})", recorder.session().summary());
    }
    Ok(())
}
