//! What one replay costs in a process: `cargo bench --bench replay`.
//!
//! Beside it stand the least that any tool with a canonical key has to do: parse, RFC 8785, SHA-256, a hash map, a response
//! that is read; the same behind `reqwest-middleware`; and reading and parsing the file.
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used)]

mod support;

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use http::Extensions;
use mistral_cassette::{CassetteMiddleware, MemoryEngine, Mode, Request, Response};
use reqwest_middleware::{ClientBuilder, ClientWithMiddleware, Middleware, Next};
use support::{Times, answer, ask, canonical, file_of, look_up, question, recorder, recorder_on, row};

const ROUNDS: usize = 3000;

type Map = HashMap<[u8; 32], (Bytes, &'static str)>;

/// The least that a replay in a middleware does.
struct Least(Arc<Map>);

#[async_trait::async_trait]
impl Middleware for Least {
    async fn handle(
        &self,
        request: reqwest::Request,
        _: &mut Extensions,
        _: Next<'_>,
    ) -> reqwest_middleware::Result<reqwest::Response> {
        let (body, kind) = &self.0[&canonical(request.body().unwrap().as_bytes().unwrap())];
        let response = http::Response::builder()
            .header("content-type", *kind)
            .body(body.clone());
        Ok(response.unwrap().into())
    }
}

async fn through(client: &ClientWithMiddleware, request: &Request) -> Bytes {
    let url = format!("https://api.mistral.ai{}", request.target());
    let response = client
        .post(url)
        .body(request.body_bytes().clone())
        .send()
        .await
        .unwrap();
    response.bytes().await.unwrap()
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    rustls::crypto::ring::default_provider().install_default().unwrap();
    let folder = tempfile::tempdir().unwrap();
    for many in [10, 1000, 10_000] {
        of(&folder.path().join(many.to_string()), many).await;
    }
}

async fn of(folder: &std::path::Path, many: usize) {
    println!("\n{many} recordings, medians of {ROUNDS} rounds");
    let recording = recorder(folder, Mode::Record);
    let memory = recorder_on(MemoryEngine::new(), Mode::Replay);
    let mut map = Map::new();
    for number in 0..many {
        let request = question(number);
        map.insert(canonical(request.body_bytes()), answer(request.body_bytes()));
        ask(&recording, request.clone()).await;
        ask(&memory, request).await;
    }
    let map = Arc::new(map);
    let strict = recorder(folder, Mode::Strict);
    let client = |middleware| ClientBuilder::new(reqwest::Client::new()).with_arc(middleware).build();
    let middleware = client(Arc::new(CassetteMiddleware::new(strict.clone())));
    let least_middleware = client(Arc::new(Least(map.clone())));
    // Twenty of them, in turn, as a test suite asks again for what it knows; all kinds are among them.
    let asked: Vec<Request> = (0..20).map(|at| question(at * 7919 % many)).collect();
    let mut files = Vec::new();
    for request in &asked {
        ask(&strict, request.clone()).await;
        files.push(file_of(folder, &strict, request).await);
    }
    let mut sides: [Times; 8] = Default::default();
    let [least, key, warm, in_memory, behind, least_behind, cold, least_cold] = &mut sides;
    for round in 0..ROUNDS {
        let request = &asked[round % asked.len()];
        let expected = least
            .take_async(async {
                let (body, kind) = &map[&canonical(request.body_bytes())];
                let kind = http::HeaderValue::from_static(kind);
                let response =
                    Response::new(http::StatusCode::OK, body.clone()).header(http::header::CONTENT_TYPE, kind);
                response.bytes().await.unwrap()
            })
            .await;
        key.take_async(strict.key_of(request)).await.unwrap();
        assert_eq!(warm.take_async(ask(&strict, request.clone())).await, expected);
        assert_eq!(in_memory.take_async(ask(&memory, request.clone())).await, expected);
        assert_eq!(behind.take_async(through(&middleware, request)).await, expected);
        assert_eq!(
            least_behind.take_async(through(&least_middleware, request)).await,
            expected
        );
        if round % 10 == 0 {
            let fresh = recorder(folder, Mode::Strict);
            assert_eq!(cold.take_async(ask(&fresh, request.clone())).await, expected);
            least_cold.take(|| look_up(request, &files[round % asked.len()]));
        }
    }
    let [least, key, warm, in_memory, behind, least_behind, cold, least_cold] = sides.map(|side| side.median());
    row(
        "the request key",
        key,
        "parse, RFC 8785, SHA-256, map, response",
        least,
        "",
    );
    row(
        "a replay from a directory",
        warm,
        "parse, RFC 8785, SHA-256, map, response",
        least,
        "target 1.5",
    );
    row(
        "a replay from memory",
        in_memory,
        "parse, RFC 8785, SHA-256, map, response",
        least,
        "target 1.5",
    );
    row(
        "a replay by the middleware",
        behind,
        "the same behind reqwest-middleware",
        least_behind,
        "target 1.5",
    );
    row(
        "the first replay of a session",
        cold,
        "its key, reading and parsing its file",
        least_cold,
        "target 1.3",
    );
}
