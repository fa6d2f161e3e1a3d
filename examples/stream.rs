//! A streamed answer, offline and word by word: `cargo run --example stream`.
//!
//! While it is recorded, each event is handed on as it arrives; a replay hands on the same events, one by one.

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
