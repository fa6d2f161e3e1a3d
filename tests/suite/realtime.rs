//! Realtime sessions over WebSockets: recorded from the stand-in and replayed without it, for every client.

mod clients;
mod commands;
mod endings;
mod forks;
mod incomplete;
mod protocol;
mod replays;
mod turns;
mod typed;

use std::path::Path;

use mistral_cassette::proxy::Proxy;
use mistral_cassette::recorder::Summary;
use mistral_cassette::{DirectoryEngine, Mode, Recorder, Upstream};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{self, Message};

use crate::support::KEY;
use crate::support::realtime::{BYTES_PER_WORD, ECHO, Realtime, SPEECH};
use crate::support::websocket::{Client, transcribed};

/// An upstream that is gone.
const NOWHERE: &str = "http://127.0.0.1:9";

/// A proxy in this process.
async fn proxy(directory: &Path, mode: Mode, upstream: &str) -> Proxy {
    let recorder = Recorder::builder(DirectoryEngine::new(directory));
    let recorder = recorder.mode(mode).allow_record_in_ci().build().unwrap();
    let upstream = Upstream::builder().base_url(upstream).api_key(KEY).build().unwrap();
    Proxy::builder().start("127.0.0.1:0", recorder, upstream).await.unwrap()
}

/// Audio of this many words, different for each seed.
fn audio(seed: u32, words: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    let noise = std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[0]
    });
    noise.take(words * BYTES_PER_WORD).collect()
}

fn text_of(events: &[Value]) -> String {
    let deltas = events
        .iter()
        .filter(|event| event["type"] == "transcription.text.delta");
    let text = deltas.map(|event| event["text"].as_str().unwrap()).collect();
    assert_eq!(events.last().unwrap()["text"], text, "{events:?}");
    text
}

/// Without the ids of sessions: what sessions have in common is replayed before it is known which one the client repeats.
fn without_ids(mut sessions: Vec<Vec<Value>>) -> Vec<Vec<Value>> {
    for event in sessions.iter_mut().flatten() {
        if let Some(session) = event["session"].as_object_mut() {
            session.remove("request_id");
        }
    }
    sessions
}

/// The cassettes below a directory, by name.
fn cassettes(directory: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![directory.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten() {
            match entry.unwrap().path() {
                path if path.is_dir() => folders.push(path),
                path if path.extension().is_some_and(|extension| extension == "yaml") => {
                    let name = path.file_name().unwrap().to_string_lossy().into_owned();
                    found.push((name, std::fs::read_to_string(path).unwrap()));
                }
                _ => {}
            }
        }
    }
    found.sort();
    found
}

/// Records what a client does.
async fn record<T>(directory: &Path, server: &Realtime, client: impl AsyncFnOnce(String) -> T) -> (T, Summary) {
    let recording = proxy(directory, Mode::Record, &server.url).await;
    let answer = client(recording.url()).await;
    (answer, recording.stop().await.unwrap())
}

/// Replays what a client does, without an upstream.
async fn replay<T>(directory: &Path, client: impl AsyncFnOnce(String) -> T) -> T {
    let replaying = proxy(directory, Mode::Strict, NOWHERE).await;
    let answer = client(replaying.url()).await;
    replaying.stop().await.unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn two_cuts_of_one_audio_have_one_key() {
    let (directory, server) = (tempfile::tempdir().unwrap(), Realtime::start().await);
    let sound = audio(1, 3);
    let (events, _): (Vec<_>, _) = record(directory.path(), &server, async |url| {
        transcribed(&url, &sound, 1000).await
    })
    .await;
    drop(server);
    let [(name, recorded)] = &cassettes(directory.path())[..] else {
        panic!("one cassette")
    };
    assert!(
        recorded.contains("status: 101") && recorded.contains("frames:"),
        "{name}: {recorded}"
    );
    for size in [1, 777, 3200, 9600] {
        let replayed = replay(directory.path(), async |url| transcribed(&url, &sound, size).await).await;
        assert_eq!(replayed, events, "{size}");
    }
    assert_eq!(text_of(&events).split(' ').count(), 3);

    let other = tempfile::tempdir().unwrap();
    let server = Realtime::start().await;
    let ((), summary) = record(other.path(), &server, async |url| {
        transcribed(&url, &sound, 9600).await;
        transcribed(&url, &sound, 500).await;
    })
    .await;
    assert_eq!(summary.recorded, 2);
    let files = cassettes(other.path());
    assert_eq!(files.iter().map(|(name, _)| name).collect::<Vec<_>>(), [name]);
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_sessions_at_once_are_recorded_and_replayed_each_with_its_own_events() {
    const SESSIONS: u32 = 64;
    async fn all(url: String) -> Vec<Vec<Value>> {
        let sessions = (0..SESSIONS).map(|seed| {
            let url = url.clone();
            tokio::spawn(async move { transcribed(&url, &audio(seed, 1), 1600).await })
        });
        let ended = futures_util::future::join_all(sessions).await;
        ended.into_iter().map(Result::unwrap).collect()
    }
    let (directory, server) = (tempfile::tempdir().unwrap(), Realtime::start().await);
    let (recorded, summary) = record(directory.path(), &server, all).await;
    assert_eq!((summary.recorded, server.sessions().len()), (64, 64));
    drop(server);
    let replayed = replay(directory.path(), all).await;
    assert_eq!(without_ids(replayed), without_ids(recorded));
}

/// Strange layouts of JSON, text that is not JSON, and bytes.
fn frames() -> Vec<Message> {
    let mut frames: Vec<Message> = [
        r#"{"type":"a","n":1}"#,
        r#"{"type": "a", "n": 1}"#,
        "{ \"type\" : \"a\",\n\t\"n\":1.0e+2 }\r\n",
        r#"{"text":"\u00e9\u4f60\/\ud83d\ude00"}"#,
        r#"{"text":"é你/😀","b":1,"a":-0.0,"c":12345678901234567890123}"#,
        r#"{"a":1,"a":2}"#,
        r#"[1, 2,3 ]"#,
        "null",
        " 42 ",
        "\"a string\"",
        "not JSON: {",
        "no\nyes: off\r\n# comment\u{0085}\u{2028}\u{feff}",
        "",
        " ",
    ]
    .map(Message::text)
    .into();
    frames.extend([vec![], vec![0, 255, 10, 13], b"{\"type\":\"a\"}".to_vec(), audio(7, 8)].map(Message::binary));
    frames
}

#[tokio::test(flavor = "multi_thread")]
async fn text_and_binary_frames_keep_every_byte() {
    async fn exchange(url: String) -> Vec<Message> {
        let mut client = Client::open(&url, ECHO).await;
        let mut answers = Vec::new();
        for frame in frames() {
            client.send(frame).await;
            answers.push(client.next().await.unwrap());
        }
        client.close().await;
        answers
    }
    let (directory, server) = (tempfile::tempdir().unwrap(), Realtime::start().await);
    let (recorded, _) = record(directory.path(), &server, exchange).await;
    assert_eq!(recorded, frames());
    let received = server.sessions().remove(0).received;
    assert_eq!(received[..frames().len()], frames());
    drop(server);
    assert_eq!(replay(directory.path(), exchange).await, frames());
}

#[tokio::test(flavor = "multi_thread")]
async fn long_audio_is_in_files_of_its_own_and_replays() {
    let (directory, server) = (tempfile::tempdir().unwrap(), Realtime::start().await);
    let sound = audio(1, 120);
    let session = async |url: String, size: usize| {
        let mut client = Client::listener(&url).await;
        for piece in sound[..200_000].chunks(size) {
            client.append(piece).await;
        }
        client.say(json!({ "type": "input_audio.flush" })).await;
        let events = client.transcribe(&sound[200_000..], size).await;
        client.close().await;
        events
    };
    let (recorded, _) = record(directory.path(), &server, async |url| session(url, 32_000).await).await;
    drop(server);
    let file = cassettes(directory.path()).remove(0).1;
    assert_eq!(file.matches("file: ").count(), 2, "{file}");
    assert!(file.len() < 50_000, "{} bytes", file.len());
    for size in [32_000, 100_000] {
        assert_eq!(
            replay(directory.path(), async |url| session(url, size).await).await,
            recorded
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pings_are_answered_in_a_recording_and_in_a_replay() {
    let (directory, server) = (tempfile::tempdir().unwrap(), Realtime::start().await);
    let session = async |url: String| {
        let mut client = Client::open(&url, SPEECH).await;
        client.until("session.created").await;
        client.send(Message::Ping("is it there?".into())).await;
        assert_eq!(client.next().await, Some(Message::Pong("is it there?".into())));
        let events = client.speak(&["Bonjour"]).await;
        client.close().await;
        events
    };
    let (recorded, _) = record(directory.path(), &server, session).await;
    drop(server);
    assert_eq!(replay(directory.path(), session).await, recorded);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subprotocol_is_agreed_on_again_and_the_key_stays_out_of_the_file() {
    let (directory, server) = (tempfile::tempdir().unwrap(), Realtime::start().await);
    let authorization = format!("Bearer {KEY}");
    let session = async |url: String| {
        let headers = [
            ("sec-websocket-protocol", "realtime"),
            ("authorization", &*authorization),
        ];
        let mut client = Client::open_with(&url, SPEECH, &headers).await.unwrap();
        let events = client.speak(&["My key is ", KEY, ", keep it."]).await;
        client.close().await;
        events
    };
    let (recorded, _) = record(directory.path(), &server, session).await;
    let seen = server.sessions().remove(0);
    assert_eq!(seen.headers["authorization"], authorization);
    assert!(
        seen.received
            .iter()
            .any(|message| message.to_text().unwrap().contains(KEY))
    );
    drop(server);
    let file = cassettes(directory.path()).remove(0).1;
    assert!(!file.contains(KEY) && file.contains("sec-websocket-protocol"), "{file}");
    assert_eq!(replay(directory.path(), session).await, recorded);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_web_page_of_another_site_cannot_open_a_session() {
    let (directory, server) = (tempfile::tempdir().unwrap(), Realtime::start().await);
    let recording = proxy(directory.path(), Mode::Replay, &server.url).await;
    for (name, value, is_allowed) in [
        ("origin", "https://evil.test", false),
        ("origin", "null", false),
        ("sec-fetch-site", "cross-site", false),
        ("host", "evil.test", false),
        ("origin", "http://localhost:5173", true),
    ] {
        match Client::open_with(&recording.url(), SPEECH, &[(name, value)]).await {
            Ok(client) => {
                assert!(is_allowed, "{name}: {value}");
                client.close().await;
            }
            Err(tungstenite::Error::Http(response)) => {
                assert!(
                    !is_allowed && matches!(response.status().as_u16(), 403 | 421),
                    "{name}: {value}: {response:?}"
                );
            }
            Err(error) => panic!("{name}: {value}: {error}"),
        }
    }
    assert_eq!(server.connection_count(), 1);
}
