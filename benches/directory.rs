//! What a directory of many cassettes costs: `cargo bench --bench directory`.
//!
//! Absolute times are the machine's; the ratios, all from one run and with the two sides taken in turn, are what counts.
#![allow(missing_docs, clippy::unwrap_used)]

use std::path::Path;
use std::time::{Duration, Instant};

use mistral_cassette::{DirectoryEngine, MemoryEngine, Mode, Recorder, Request, Response};

const MANY: usize = 10_000;
const FEW: usize = 10;
const ROUNDS: usize = 60;

fn question(number: usize) -> Request {
    let context = format!("Some words of context, as a prompt of a kilobyte has them, number {number}. ").repeat(20);
    Request::post("/v1/chat/completions")
        .unwrap()
        .json(&serde_json::json!({
            "model": "mistral-small-latest",
            "messages": [
                { "role": "system", "content": context },
                { "role": "user", "content": format!("Question number {number} of many?") },
            ],
            "temperature": 0.2,
            "stream": false,
        }))
        .unwrap()
}

async fn upstream(request: Request) -> mistral_cassette::Result<Response> {
    let answer = serde_json::json!({
        "id": "6b9018ce9f43448e9a81f2c875097ba4",
        "object": "chat.completion",
        "created": 1_795_255_200,
        "model": "mistral-small-latest",
        "choices": [{ "index": 0, "finish_reason": "stop", "message": { "role": "assistant", "content": "Words of an answer. ".repeat(60) } }],
        "usage": { "prompt_tokens": request.body_bytes().len() / 4, "completion_tokens": 240, "total_tokens": 600 },
    });
    let kind = http::HeaderValue::from_static("application/json");
    Ok(Response::new(http::StatusCode::OK, answer.to_string().into_bytes()).header(http::header::CONTENT_TYPE, kind))
}

fn recorder(folder: &Path, mode: Mode) -> Recorder {
    Recorder::builder(DirectoryEngine::new(folder))
        .mode(mode)
        .allow_record_in_ci()
        .build()
        .unwrap()
}

async fn ask(recorder: &Recorder, number: usize) -> Duration {
    let request = question(number);
    let start = Instant::now();
    let body = recorder.answer(request, upstream).await.unwrap().bytes().await.unwrap();
    assert!(body.len() > 1000);
    start.elapsed()
}

/// Opens a session and gets one answer.
async fn first_answer(folder: &Path, number: usize) -> Duration {
    let start = Instant::now();
    ask(&recorder(folder, Mode::Strict), number).await;
    start.elapsed()
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64() * 1e6
}

fn row(name: &str, here: f64, beside: &str, there: f64) {
    println!(
        "{name:54} {here:9.1} µs   {beside:34} {there:9.1} µs   ratio {:.2}",
        here / there
    );
}

#[tokio::main]
async fn main() {
    let folder = tempfile::tempdir().unwrap();
    let (few, many) = (folder.path().join("few"), folder.path().join("many"));
    let mut saved = Vec::with_capacity(MANY);
    let recording = recorder(&many, Mode::Record);
    for number in 0..MANY {
        saved.push(ask(&recording, number).await);
    }
    let recording = recorder(&few, Mode::Record);
    for number in 0..FEW {
        ask(&recording, number).await;
    }
    row(
        "recording: the last 500 of 10,000",
        median(saved[MANY - 500..].to_vec()),
        "the first 500",
        median(saved[..500].to_vec()),
    );

    let (mut of_many, mut of_few, mut limit, mut misses) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let file = std::fs::read_dir(few.join("chat-completions"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    for round in 0..ROUNDS {
        of_many.push(first_answer(&many, round * 101).await);
        of_few.push(first_answer(&few, round % FEW).await);
        let start = Instant::now();
        let text = std::fs::read_to_string(&file).unwrap();
        let parsed: serde_json::Value = serde_yaml::from_str(&text).unwrap();
        assert!(parsed.is_object());
        limit.push(start.elapsed());
    }
    let of_few = median(of_few);
    row("first answer of a session on 10,000", median(of_many), "on 10", of_few);
    row(
        "first answer of a session on 10",
        of_few,
        "reading and parsing that file",
        median(limit),
    );

    let strict = recorder(&many, Mode::Strict);
    ask(&strict, 7).await;
    let memory = Recorder::builder(MemoryEngine::new())
        .mode(Mode::Replay)
        .build()
        .unwrap();
    ask(&memory, 7).await;
    let (mut warm, mut in_memory, mut key) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..20 * ROUNDS {
        warm.push(ask(&strict, 7).await);
        in_memory.push(ask(&memory, 7).await);
        let body = question(7).body_bytes().clone();
        let start = Instant::now();
        let value: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let canonical = serde_json_canonicalizer::to_string(&value).unwrap();
        std::hint::black_box(<sha2::Sha256 as sha2::Digest>::digest(canonical.as_bytes()));
        key.push(start.elapsed());
    }
    let key = median(key);
    row(
        "one more replay from a directory",
        median(warm),
        "RFC 8785 and SHA-256 of the body",
        key,
    );
    row(
        "one more replay from memory",
        median(in_memory),
        "RFC 8785 and SHA-256 of the body",
        key,
    );

    for round in 0..10 {
        let start = Instant::now();
        recorder(&many, Mode::Strict)
            .answer(question(MANY + round), upstream)
            .await
            .unwrap_err();
        misses.push(start.elapsed());
    }
    println!(
        "{:54} {:9.1} µs",
        "a miss on 10,000, with the nearest and the diff",
        median(misses)
    );
}
