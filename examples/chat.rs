//! Replays a chat completion from a cassette, offline: `cargo run --example chat`.
//!
//! The cassette is in `cassettes/chat-completions/`. If you change the question, the example fails and prints the
//! nearest recording and the difference. With a key in `MISTRAL_API_KEY` it sends the request to the API and writes a
//! new cassette.

use mistral_cassette::DirectoryEngine;
use mistral_cassette::client::{ChatRequest, Client};

#[tokio::main]
async fn main() -> mistral_cassette::Result<()> {
    let client = Client::from_env()?.cached(DirectoryEngine::new("cassettes"))?;

    let response = client
        .chat(
            ChatRequest::new("mistral-small-latest")
                .system("You answer in one sentence.")
                .user("What is the capital of France?")
                .temperature(0.2),
        )
        .await?;
    println!("{}", response.text());

    if let Some(recorder) = client.recorder() {
        println!("({})", recorder.session().summary());
    }
    Ok(())
}
