//! The workload of the benchmarks on this crate and on others that record and replay: `field TOOL TASK FOLDER RECORDINGS URL`.
//! `./run` calls it, and puts the figures side by side.
//!
//! - `record` asks a server for the answers and keeps them;
//! - `first` opens what is kept, replays one, and ends: the caller takes the time of the whole process;
//! - `five` opens it and replays five;
//! - `warm` replays the same twenty again and again, and prints the median in microseconds.
//!
//! Each replay has its peak of memory in megabytes printed at the end.

#[path = "../../support/mod.rs"]
mod support;

use std::convert::Infallible;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use http_cache_reqwest::{CACacheManager, Cache, CacheMode, HttpCache, HttpCacheOptions};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use mistral_cassette::{CassetteMiddleware, Mode, Request};
use rvcr::{VCRMiddleware, VCRMode, VCRReplaySearch};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use support::{Times, answer, question};

/// How often a warm replay is taken at most, and for how long.
const ROUNDS: usize = 1000;
const PATIENCE: Duration = Duration::from_secs(10);

/// How many recordings a warm process asks for, in turn.
const ASKED: usize = 20;

/// A tool: a request gives the answer's body.
enum Tool {
    /// A file a request, found by the hash of its canonical body, and nothing else.
    Limit {
        folder: PathBuf,
        is_recording: bool,
        client: reqwest::Client,
    },
    Middleware(reqwest_middleware::ClientWithMiddleware),
    Rvcr(reqwest_middleware_02::ClientWithMiddleware),
}

/// No tool's client reads the certificates of this machine: that has nothing to do with recordings.
fn client() -> reqwest::Client {
    reqwest::Client::builder().tls_certs_only([]).build().unwrap()
}

impl Tool {
    fn open(name: &str, folder: &Path, is_recording: bool) -> Self {
        match name {
            "limit" => Self::Limit {
                folder: folder.to_owned(),
                is_recording,
                client: client(),
            },
            "mistral-cassette" => {
                let mode = if is_recording { Mode::Record } else { Mode::Strict };
                let middleware = CassetteMiddleware::new(support::recorder(folder, mode));
                Self::Middleware(
                    reqwest_middleware::ClientBuilder::new(client())
                        .with(middleware)
                        .build(),
                )
            }
            "http-cache-reqwest" => {
                // It takes no part of the body into its key by itself, and keeps no POST unless the rules are ignored.
                let options = HttpCacheOptions {
                    cache_key: Some(Arc::new(|parts: &http::request::Parts| {
                        format!("{} {}", parts.uri, parts.headers["x-body"].to_str().unwrap())
                    })),
                    ..HttpCacheOptions::default()
                };
                let cache = Cache(HttpCache {
                    mode: CacheMode::IgnoreRules,
                    manager: CACacheManager::new(folder.to_owned(), true),
                    options,
                });
                Self::Middleware(reqwest_middleware::ClientBuilder::new(client()).with(cache).build())
            }
            "rvcr" => {
                fs::create_dir_all(folder).unwrap();
                let mode = if is_recording { VCRMode::Record } else { VCRMode::Replay };
                let middleware = VCRMiddleware::try_from(folder.join("cassette.vcr.json"))
                    .unwrap()
                    .with_mode(mode)
                    .with_search(VCRReplaySearch::SearchAll);
                let client = reqwest_011::Client::builder()
                    .tls_built_in_root_certs(false)
                    .build()
                    .unwrap();
                Self::Rvcr(
                    reqwest_middleware_02::ClientBuilder::new(client)
                        .with(middleware)
                        .build(),
                )
            }
            other => panic!("no tool {other}"),
        }
    }

    async fn ask(&self, url: &str, request: &Request) -> Bytes {
        let (url, body) = (format!("{url}{}", request.target()), request.body_bytes().clone());
        const KIND: (&str, &str) = ("content-type", "application/json");
        match self {
            Self::Limit {
                folder,
                is_recording,
                client,
            } => {
                let file = folder.join(format!("{}.yaml", hex(&support::canonical(&body))));
                if *is_recording {
                    let sent = client
                        .post(url)
                        .header(KIND.0, KIND.1)
                        .body(body.clone())
                        .send()
                        .await
                        .unwrap();
                    let text = sent.text().await.unwrap();
                    let response = serde_json::from_str(&text).unwrap_or_else(|_| Value::from(text.clone()));
                    let request: Value = serde_json::from_slice(&body).unwrap();
                    let document = json!({ "request": request, "response": response });
                    fs::create_dir_all(folder).unwrap();
                    fs::write(folder.join("new"), serde_yaml::to_string(&document).unwrap()).unwrap();
                    fs::rename(folder.join("new"), file).unwrap();
                    return text.into();
                }
                match &support::read_and_parse(&file)["response"] {
                    Value::String(text) => text.clone().into(),
                    value => value.to_string().into(),
                }
            }
            Self::Middleware(client) => {
                let digest = hex(&Sha256::digest(&body));
                let sent = client
                    .post(url)
                    .header(KIND.0, KIND.1)
                    .header("x-body", digest)
                    .body(body);
                sent.send().await.unwrap().bytes().await.unwrap()
            }
            Self::Rvcr(client) => {
                let sent = client.post(url).header(KIND.0, KIND.1).body(body);
                sent.send().await.unwrap().bytes().await.unwrap()
            }
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    rustls::crypto::ring::default_provider().install_default().unwrap();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["serve"] => serve().await,
        ["questions", folder, count] => {
            for number in 0..count.parse().unwrap() {
                let request = question(number);
                let text =
                    json!({ "path": request.target(), "body": std::str::from_utf8(request.body_bytes()).unwrap() });
                fs::write(Path::new(folder).join(format!("{number}.json")), text.to_string()).unwrap();
            }
        }
        [tool, task, folder, count, url] => run(tool, task, Path::new(folder), count.parse().unwrap(), url).await,
        _ => panic!("field TOOL TASK FOLDER RECORDINGS URL"),
    }
}

async fn run(tool: &str, task: &str, folder: &Path, count: usize, url: &str) {
    let tool = Tool::open(tool, folder, task == "record");
    let expect = async |request: &Request| {
        let body = tool.ask(url, request).await;
        assert!(
            body == answer(request.body_bytes()).0,
            "another answer than was recorded"
        );
    };
    match task {
        "record" => {
            for number in 0..count {
                expect(&question(number)).await;
            }
            return;
        }
        "first" => expect(&question(count * 7 / 10)).await,
        "five" => {
            for at in 0..5 {
                expect(&question(count * 7 / 10 + at)).await;
            }
        }
        "warm" => {
            let asked: Vec<Request> = (0..ASKED).map(|at| question(at * 7919 % count)).collect();
            for request in &asked {
                expect(request).await;
            }
            let (mut times, start) = (Times::default(), Instant::now());
            for request in asked.iter().cycle().take(ROUNDS) {
                times.take_async(tool.ask(url, request)).await;
                if start.elapsed() > PATIENCE {
                    break;
                }
            }
            println!("{}", times.median());
        }
        other => panic!("no task {other}"),
    }
    println!("{}", support::peak_megabytes());
}

/// The API: it answers at once.
async fn serve() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("http://{}", listener.local_addr().unwrap());
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let service = hyper::service::service_fn(async |request: http::Request<Incoming>| {
            let body = request.into_body().collect().await.unwrap().to_bytes();
            let (body, kind) = answer(&body);
            let response = http::Response::builder().header("content-type", kind);
            Ok::<_, Infallible>(response.body(Full::new(body)).unwrap())
        });
        tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}
