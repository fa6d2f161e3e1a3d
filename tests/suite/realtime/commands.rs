//! What the commands do with recorded sessions.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use mistral_cassette::proxy::Proxy;
use mistral_cassette::{CacheEngine, Error, Mode, Recorder, RequestKey, Result, Upstream};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use super::{NOWHERE, audio, cassettes, proxy, record, replay};
use crate::support::KEY;
use crate::support::project::Project;
use crate::support::realtime::Realtime;
use crate::support::websocket::{Client, spoken, transcribed};

/// Runs a command that must succeed.
fn printed(project: &Project, arguments: &[&str]) -> String {
    let done = project.run(arguments);
    assert_eq!(done.code(), 0, "{arguments:?}: {}{}", done.stdout, done.stderr);
    done.stdout
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_know_sessions() {
    let (project, server) = (Project::new(), Realtime::start().await);
    let sound = audio(21, 2);
    let format = json!({ "encoding": "pcm_s16le", "sample_rate": 16000 });
    let heard = async |url: String| {
        let mut client = Client::listener(&url).await;
        let update = json!({ "type": "session.update", "session": { "audio_format": format } });
        client.say(update).await;
        let events = client.transcribe(&sound, 1000).await;
        client.close().await;
        events
    };
    let (events, _) = record(&project.cassettes(), &server, heard).await;
    record(&project.cassettes(), &server, async |url| {
        spoken(&url, &["Bonjour ", "monde"]).await
    })
    .await;
    drop(server);
    let said = events.last().unwrap()["text"].as_str().unwrap();

    assert!(printed(&project, &["verify"]).contains("2 cassettes"));
    let shown = printed(&project, &["show", "audio-transcriptions-realtime"]);
    for part in [
        "received session.created",
        "bytes of audio, ",
        said,
        "closed by the client with 1000",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let listed = printed(&project, &["list"]);
    assert!(listed.contains("Bonjour monde") && listed.contains(said), "{listed}");
    let stats: Value = serde_json::from_str(&printed(&project, &["stats", "--format", "json"])).unwrap();
    assert!(stats.to_string().contains("voxtral-mini"), "{stats}");
    let refresh = project.run(&["refresh", "--dry-run", "--upstream", NOWHERE]);
    let refresh = refresh.stdout + &refresh.stderr;
    assert!(refresh.contains("WebSocket session"), "{refresh}");

    for format in ["jsonl", "har"] {
        printed(&project, &["export", "--to", format, "--out", "sessions"]);
        printed(&project, &["import", "sessions", "--dir", format]);
        printed(&project, &["verify", "--dir", format]);
        printed(&project, &["diff", "cassettes", format]);
        let replayed = replay(&project.path().join(format), heard).await;
        assert_eq!(replayed, events, "{format}");
    }
    // A session that differs in what the client gets, not in its times, differs.
    let (name, document) = cassettes(&project.cassettes())
        .into_iter()
        .find(|(_, document)| document.contains(said))
        .unwrap();
    let changed = document.replace(said, "another text");
    project.write(&format!("har/audio-transcriptions-realtime/{name}"), changed);
    let differs = project.run(&["diff", "cassettes", "har"]);
    assert_eq!(differs.code(), 1, "{}{}", differs.stdout, differs.stderr);
    assert!(
        differs.stdout.contains("1 cassette changed, 1 unchanged"),
        "{}",
        differs.stdout
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_replays_at_its_recorded_pace() {
    let (directory, server) = (tempfile::tempdir().unwrap(), Realtime::start().await);
    record(directory.path(), &server, async |url| {
        let mut client = Client::open(&url, super::ECHO).await;
        client.send(Message::text("one")).await;
        client.next().await;
        client.close().await;
    })
    .await;
    drop(server);
    // The answer came 300 ms after the message.
    let [(name, document)] = &cassettes(directory.path())[..] else {
        panic!("one cassette")
    };
    let start = document.find("timing_ms: [").unwrap();
    let path = walk(directory.path(), name);
    std::fs::write(path, format!("{}timing_ms: [0, 300, 301]\n", &document[..start])).unwrap();
    for (pace, at_least) in [("recorded", 300), ("3x", 100)] {
        let replaying = proxy(directory.path(), Mode::Strict, NOWHERE).await;
        let headers = [("mistral-cassette-pace", pace)];
        let mut client = Client::open_with(&replaying.url(), super::ECHO, &headers)
            .await
            .unwrap();
        let start = Instant::now();
        client.send(Message::text("one")).await;
        assert_eq!(client.next().await, Some(Message::text("one")));
        let took = start.elapsed();
        client.close().await;
        assert!(took >= Duration::from_millis(at_least), "{pace}: {took:?}");
    }
}

/// The path of a cassette below a directory.
fn walk(directory: &std::path::Path, name: &str) -> std::path::PathBuf {
    let mut folders = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    folders.find(|folder| folder.join(name).is_file()).unwrap().join(name)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_with_a_secret_is_not_recorded() {
    let (directory, server) = (tempfile::tempdir().unwrap(), Realtime::start().await);
    let secret = "ghp_16C7e42F292c6912E7710c838347Ae178B4a";
    let recording = proxy(directory.path(), Mode::Record, &server.url).await;
    let mut client = Client::open(&recording.url(), super::ECHO).await;
    client.send(Message::text(format!("the token is {secret}"))).await;
    // The client gets everything.
    assert!(client.next().await.unwrap().to_text().unwrap().contains(secret));
    client.close().await;
    let error = recording.stop().await.unwrap_err();
    assert!(error.to_string().contains("of the session"), "{error}");
    assert_eq!(cassettes(directory.path()), []);
}

/// A cache that cannot be reached.
struct Unreachable;

#[async_trait]
impl CacheEngine for Unreachable {
    async fn get(&self, _: &RequestKey) -> Result<Option<Bytes>> {
        Err(Error::engine("the cache is gone"))
    }

    async fn set(&self, _: &RequestKey, _: Bytes) -> Result<()> {
        Err(Error::engine("the cache is gone"))
    }

    async fn keys(&self) -> Result<Vec<RequestKey>> {
        Err(Error::engine("the cache is gone"))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_cache_a_session_is_passed_on() {
    let server = Realtime::start().await;
    let recorder = Recorder::builder(Unreachable).mode(Mode::Replay).build().unwrap();
    let upstream = Upstream::builder().base_url(&server.url).api_key(KEY).build().unwrap();
    let caching = Proxy::start("127.0.0.1:0", recorder, upstream).await.unwrap();
    let events = transcribed(&caching.url(), &audio(22, 1), 1000).await;
    assert_eq!(events.last().unwrap()["type"], "transcription.done");
    assert_eq!(caching.stop().await.unwrap().passed_on, 1);
}
