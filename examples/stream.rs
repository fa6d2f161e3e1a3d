//! Replays a streamed chat completion, offline: `cargo run --example stream`.
//!
//! While the response is recorded, the program gets each event as it arrives. A replay has the same events, one by one.

use std::io::Write as _;

use futures_util::StreamExt as _;
use mistral_cassette::DirectoryEngine;
use mistral_cassette::client::{ChatRequest, Client};

#[tokio::main]
async fn main() -> mistral_cassette::Result<()> {
    let client = Client::from_env()?.cached(DirectoryEngine::new("cassettes"))?;
    let question = ChatRequest::new("mistral-small-latest").user("Tell me about the mistral.");

    let mut chunks = client.chat_stream(question).await?;
    let mut count = 0;
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk?;
        count += 1;
        print!("{}", chunk.text());
        std::io::stdout().flush().ok();
        if let Some(usage) = chunk.usage {
            println!("\n({count} chunks, {} tokens)", usage.total_tokens);
        }
    }
    Ok(())
}
