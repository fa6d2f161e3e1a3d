//! What a message costs in a replayed WebSocket session: `cargo bench --features cli --bench realtime`.
//!
//! Beside it stands a bare echo server on the same libraries, in the same process. One client sends a message to each and
//! waits for the answer, in turn.
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used)]

mod support;

use std::time::{Duration, Instant};

use futures_util::{SinkExt as _, StreamExt as _};
use mistral_cassette::proxy::Proxy;
use mistral_cassette::{DirectoryEngine, Mode, Recorder, Upstream};
use support::median;
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

/// The messages of a session.
const MESSAGES: usize = 2000;
const ROUNDS: usize = 15;

type Client = WebSocketStream<TcpStream>;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    runtime.unwrap().block_on(measure());
}

async fn measure() {
    let echo = echo_server().await;
    let directory = tempfile::tempdir().unwrap();
    let start = async |mode: Mode| {
        let recorder = Recorder::builder(DirectoryEngine::new(directory.path()))
            .mode(mode)
            .allow_record_in_ci();
        let upstream = Upstream::builder()
            .base_url(&echo)
            .api_key("a-key-0123456789")
            .build()
            .unwrap();
        Proxy::start("127.0.0.1:0", recorder.build().unwrap(), upstream)
            .await
            .unwrap()
    };
    let proxy = start(Mode::Record).await;
    let mut client = connect(&proxy.url()).await;
    session(&mut client).await;
    client.close(None).await.unwrap();
    while client.next().await.is_some() {}
    assert_eq!(proxy.stop().await.unwrap().recorded, 1);
    let proxy = start(Mode::Strict).await;
    let (mut replays, mut echoes) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        for (url, times) in [(&proxy.url(), &mut replays), (&echo, &mut echoes)] {
            let mut client = connect(url).await;
            times.push(session(&mut client).await);
            client.close(None).await.unwrap();
            while client.next().await.is_some() {}
        }
    }
    assert_eq!(proxy.stop().await.unwrap().replayed, ROUNDS);
    let microseconds = |times: Vec<Duration>| median(times.iter().map(|time| time.as_secs_f64() * 1e6).collect());
    let (replay, echo) = (microseconds(replays), microseconds(echoes));
    println!("a message and its answer, median of {ROUNDS} sessions of {MESSAGES}");
    println!("replayed      {replay:8.1} µs");
    println!("echo server   {echo:8.1} µs");
    println!("ratio         {:8.2}", replay / echo);
}

/// Sends all messages, each after the answer to the one before it. Returns the time of one.
async fn session(client: &mut Client) -> Duration {
    let started = Instant::now();
    for number in 0..MESSAGES {
        let text = format!(r#"{{"type":"input_text.append","text":"word {number} of a text that somebody says"}}"#);
        client.send(Message::text(text.clone())).await.unwrap();
        let answer = client.next().await.unwrap().unwrap();
        assert_eq!(answer.into_text().unwrap().as_str(), text);
    }
    started.elapsed() / u32::try_from(MESSAGES).unwrap()
}

async fn connect(url: &str) -> Client {
    let stream = TcpStream::connect(url.strip_prefix("http://").unwrap()).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let url = format!("{}/v1/realtime?model=m", url.replacen("http", "ws", 1));
    let (client, _) = tokio_tungstenite::client_async(url, stream).await.unwrap();
    client
}

/// Returns the URL of a server that sends each message back.
async fn echo_server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            stream.set_nodelay(true).unwrap();
            tokio::spawn(async move {
                let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
                while let Some(Ok(message)) = socket.next().await {
                    if message.is_text() {
                        socket.send(message).await.unwrap();
                    }
                }
            });
        }
    });
    url
}
