//! Records and replays a program on plain `reqwest` with the middleware, offline: `cargo run --example middleware`.
//!
//! The program is the function `ask`, which has no code for cassettes. Its request is equivalent to that of the typed
//! client in `custom_engine.rs`, so both use the same cassette.

use mistral_cassette::{CassetteMiddleware, DirectoryEngine, Recorder};
use reqwest_middleware::{ClientBuilder, ClientWithMiddleware};
use serde_json::{Value, json};

async fn ask(client: &ClientWithMiddleware, question: &str) -> Result<String, Box<dyn std::error::Error>> {
    let server = std::env::var("MISTRAL_SERVER_URL").unwrap_or("https://api.mistral.ai".to_owned());
    let key = std::env::var("MISTRAL_API_KEY").unwrap_or_default();
    let messages = json!([{ "role": "user", "content": question }]);
    let body = json!({ "model": "mistral-small-latest", "messages": messages, "stream": false });
    let request = client
        .post(format!("{server}/v1/chat/completions"))
        .bearer_auth(key)
        .header("content-type", "application/json")
        .body(body.to_string());
    let response: Value = serde_json::from_slice(&request.send().await?.error_for_status()?.bytes().await?)?;
    Ok(response["choices"][0]["message"]["content"]
        .as_str()
        .unwrap_or_default()
        .to_owned())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // This build of reqwest has no TLS provider. With reqwest's default features, omit this line.
    rustls::crypto::ring::default_provider().install_default().ok();

    let recorder = Recorder::builder(DirectoryEngine::new("cassettes")).build()?;
    let client = ClientBuilder::new(reqwest::Client::new())
        .with(CassetteMiddleware::new(recorder.clone()))
        .build();

    println!("{}", ask(&client, "What is the capital of France?").await?);

    println!("({})", recorder.finish().await?);
    Ok(())
}
