//! Compares two texts with a question by their embeddings, offline: `cargo run --example embeddings`.
//!
//! The vectors are in `cassettes/embeddings/`, one line each. They come from the mock API of the tests and have no
//! meaning. Record them again with a key to get real ones.

use mistral_cassette::DirectoryEngine;
use mistral_cassette::client::{Client, EmbeddingsRequest};

/// Returns the cosine of the angle between two vectors. 1 is the same direction.
fn similarity(a: &[f64], b: &[f64]) -> f64 {
    let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    product(a, b) / (product(a, a) * product(b, b)).sqrt()
}

#[tokio::main]
async fn main() -> mistral_cassette::Result<()> {
    let client = Client::from_env()?.cached(DirectoryEngine::new("cassettes"))?;
    let texts = [
        "Is there a cold wind?",
        "The mistral is a cold wind.",
        "Paris is the capital of France.",
    ];

    let response = client
        .embeddings(EmbeddingsRequest::new("mistral-embed", texts))
        .await?;
    let vectors: Vec<&[f64]> = response.vectors().collect();
    for (text, vector) in texts.iter().zip(&vectors).skip(1) {
        println!("{:.3} {text}", similarity(vectors[0], vector));
    }
    Ok(())
}
