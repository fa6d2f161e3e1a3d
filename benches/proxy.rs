//! What the proxy costs in its own process, warm: `cargo bench --features cli --bench proxy`.
//!
//! Beside it stands a bare server on the same libraries, in a process of its own too, that reads each request to its end and
//! answers fixed bytes. One client asks both, in turn.
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used)]

mod support;

use std::convert::Infallible;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use mistral_cassette::{Mode, Request};
use support::{Times, answer, ask, median, question, recorder, row};
use tokio::net::{TcpListener, TcpStream};

const RECORDINGS: usize = 1000;
const ROUNDS: usize = 15;

/// How many requests a round sends to each server, over all of its connections.
const REQUESTS: usize = 6000;

fn main() {
    if support::task().is_some() {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        return runtime.unwrap().block_on(serve_fixed_bytes());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.unwrap().block_on(measure());
}

/// A plain chat of the workload.
fn chats() -> impl Iterator<Item = Request> {
    (0..RECORDINGS).filter(|number| number % 10 == 0).map(question)
}

/// The bare server.
async fn serve_fixed_bytes() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("listening on http://{}", listener.local_addr().unwrap());
    let (body, kind) = answer(question(0).body_bytes());
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let body = body.clone();
        let service = hyper::service::service_fn(move |request: http::Request<Incoming>| {
            let body = body.clone();
            async move {
                request.into_body().collect().await.unwrap();
                let response = http::Response::builder().header(http::header::CONTENT_TYPE, kind);
                Ok::<_, Infallible>(response.body(Full::new(body)).unwrap())
            }
        });
        tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

/// A server in a process of its own; it is killed when dropped.
struct Server {
    process: Child,
    address: String,
}

impl Server {
    /// Starts it, and waits for the line that tells its address.
    fn start(command: &mut Command) -> Self {
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let address = line.trim().strip_prefix("listening on http://").unwrap().to_owned();
        Self { process, address }
    }

    /// What it has spent of the processors.
    fn seconds(&self) -> f64 {
        if cfg!(target_os = "linux") {
            support::seconds_of(self.process.id())
        } else {
            0.0
        }
    }

    /// Sends requests over as many connections, one after the other on each. How many were answered in a second.
    async fn load(&self, connections: usize, requests: &Arc<Vec<Request>>, times: &mut Times) -> f64 {
        let start = Instant::now();
        let each = REQUESTS / connections;
        let mut tasks = Vec::new();
        for connection in 0..connections {
            let (address, requests) = (self.address.clone(), requests.clone());
            tasks.push(tokio::spawn(async move {
                let stream = TcpStream::connect(&address).await.unwrap();
                stream.set_nodelay(true).unwrap();
                let (mut sender, driver) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
                    .await
                    .unwrap();
                tokio::spawn(driver);
                let mut times = Vec::with_capacity(each);
                for at in 0..each {
                    let request = &requests[(connection + at) % requests.len()];
                    let start = Instant::now();
                    let sent = http::Request::post(request.target())
                        .header(http::header::HOST, &address)
                        .header(http::header::CONTENT_TYPE, "application/json")
                        .body(Full::<Bytes>::new(request.body_bytes().clone()))
                        .unwrap();
                    let response = sender.send_request(sent).await.unwrap();
                    assert_eq!(response.status(), 200);
                    let body = response.into_body().collect().await.unwrap();
                    assert!(body.to_bytes().len() > 1000);
                    times.push(start.elapsed());
                }
                times
            }));
        }
        for task in tasks {
            for time in task.await.unwrap() {
                times.push(time);
            }
        }
        (each * connections) as f64 / start.elapsed().as_secs_f64()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn measure() {
    let folder = tempfile::tempdir().unwrap();
    let recording = recorder(folder.path(), Mode::Record);
    for number in 0..RECORDINGS {
        ask(&recording, question(number)).await;
    }
    let requests = Arc::new(chats().collect());
    let proxy = Server::start(
        Command::new(env!("CARGO_BIN_EXE_mistral-cassette"))
            .args(["proxy", "--mode", "strict", "--dir"])
            .arg(folder.path()),
    );
    let bare = Server::start(&mut support::child(&["bare"]));
    for connections in [1, 16, 64] {
        let mut times: [Times; 2] = Default::default();
        let mut rates: [Vec<f64>; 2] = Default::default();
        let mut spent = [0.0; 2];
        for round in 0..=ROUNDS {
            for (at, server) in [&proxy, &bare].into_iter().enumerate() {
                // The first round warms both up.
                let mut cold = Times::default();
                let times = if round == 0 { &mut cold } else { &mut times[at] };
                let before = server.seconds();
                let rate = server.load(connections, &requests, times).await;
                if round > 0 {
                    rates[at].push(rate);
                    spent[at] += server.seconds() - before;
                }
            }
        }
        let [proxy_p99, bare_p99] = times.map(|times| times.percentile(99));
        let [proxy_rate, bare_rate] = rates.map(median);
        println!(
            "{connections:2} connections: proxy {proxy_rate:7.0} /s, p99 {proxy_p99:7.0} µs   bare server {bare_rate:7.0} /s, p99 {bare_p99:7.0} µs   \
             ratio {:.2}   target 0.8",
            proxy_rate / bare_rate
        );
        if cfg!(target_os = "linux") {
            let [proxy, bare] = spent.map(|seconds| seconds * 1e6 / (ROUNDS * REQUESTS) as f64);
            row(
                "processor time of a request in the proxy",
                proxy,
                "in the bare server",
                bare,
                "",
            );
        }
    }
}
