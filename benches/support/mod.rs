//! What the benchmarks share: a workload, and how figures are taken and told.
//!
//! Absolute times are the machine's; the ratios, with both sides taken in turn in one run, are what counts.
#![allow(dead_code)]

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use mistral_cassette::{Request, Response, Result};
use serde_json::{Value, json};

/// A request of 1 to 4 kB: of ten there are seven chats, two streams of 60 events, and one embedding.
pub fn question(number: usize) -> Request {
    let context = format!("Some words of context, as a prompt of a kilobyte has them, number {number}. ");
    let post = |path: &str, body: &Value| Request::post(path).unwrap().json(body).unwrap();
    if number % 10 == 9 {
        let inputs = vec![context.repeat(4); 4];
        return post("/v1/embeddings", &json!({ "model": "mistral-embed", "input": inputs }));
    }
    post(
        "/v1/chat/completions",
        &json!({
            "model": "mistral-small-latest",
            "messages": [
                { "role": "system", "content": context.repeat(13 + number % 39) },
                { "role": "user", "content": format!("Question number {number} of many?") },
            ],
            "temperature": 0.2,
            "stream": number % 5 == 3,
        }),
    )
}

/// What the API would answer, with its content type.
pub fn answer(request: &[u8]) -> (Bytes, &'static str) {
    let value: Value = serde_json::from_slice(request).unwrap();
    let usage = json!({ "prompt_tokens": request.len() / 4, "completion_tokens": 240, "total_tokens": 600 });
    let head = json!({ "id": "6b9018ce9f43448e9a81f2c875097ba4", "object": "chat.completion", "created": 1_795_255_200, "model": "mistral-small-latest" });
    if value["input"].is_array() {
        let vector: Vec<f64> = (0..1024).map(|at| f64::from(at) / 65_536.0 - 0.007).collect();
        let mut body = head;
        body["data"] = json!([{ "object": "embedding", "index": 0, "embedding": vector }]);
        body["usage"] = usage;
        return (body.to_string().into(), "application/json");
    }
    if value["stream"] == true {
        let mut text = String::new();
        for at in 0..60 {
            let mut chunk = head.clone();
            chunk["choices"] =
                json!([{ "index": 0, "delta": { "content": format!("word {at} ") }, "finish_reason": null }]);
            text.push_str(&format!("data: {chunk}\n\n"));
        }
        return ((text + "data: [DONE]\n\n").into(), "text/event-stream");
    }
    let mut body = head;
    let words = "Words of an answer. ".repeat(60);
    body["choices"] =
        json!([{ "index": 0, "finish_reason": "stop", "message": { "role": "assistant", "content": words } }]);
    body["usage"] = usage;
    (body.to_string().into(), "application/json")
}

/// An upstream that answers at once.
pub async fn upstream(request: Request) -> Result<Response> {
    let (body, kind) = answer(request.body_bytes());
    Ok(Response::new(StatusCode::OK, body).header(header::CONTENT_TYPE, HeaderValue::from_static(kind)))
}

/// Times of one side, taken in turn with the others'.
#[derive(Default)]
pub struct Times(Vec<Duration>);

impl Times {
    pub fn take<T>(&mut self, call: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let value = call();
        self.0.push(start.elapsed());
        value
    }

    pub async fn take_async<T>(&mut self, call: impl Future<Output = T>) -> T {
        let start = Instant::now();
        let value = call.await;
        self.0.push(start.elapsed());
        value
    }

    pub fn push(&mut self, time: Duration) {
        self.0.push(time);
    }

    /// In microseconds.
    pub fn median(&self) -> f64 {
        let mut times = self.0.clone();
        times.sort();
        times[times.len() / 2].as_secs_f64() * 1e6
    }
}

/// A line: what it is, what it takes, beside what, and the ratio with its target.
pub fn row(name: &str, here: f64, beside: &str, there: f64, target: &str) {
    println!(
        "{name:52} {here:9.1} µs   {beside:40} {there:9.1} µs   ratio {:5.2}   {target}",
        here / there
    );
}
