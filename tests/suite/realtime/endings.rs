//! What a session must do when the client, the API or the user behaves otherwise than in the simple case.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::timeout;

use super::{audio, cassettes, proxy, record, replay};
use crate::support::realtime::{Behaviour, Realtime};
use crate::support::websocket::{Client, spoken};
use mistral_cassette::Mode;

/// Far less than a session may be idle, and more than a quick step takes on a slow machine.
const SOON: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn an_equal_session_that_is_recorded_again_changes_no_byte() {
    let (directory, server) = (tempfile::tempdir().unwrap(), Realtime::start().await);
    let session = async |url: String| spoken(&url, &["Bonjour ", "tout le monde"]).await;
    record(directory.path(), &server, session).await;
    let first = cassettes(directory.path());
    record(directory.path(), &server, session).await;
    assert_eq!(cassettes(directory.path()), first);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_replays_as_soon_as_the_client_that_recorded_it_has_closed_it() {
    let (directory, server) = (tempfile::tempdir().unwrap(), Realtime::start().await);
    let proxy = proxy(directory.path(), Mode::Replay, &server.url).await;
    for number in 0..10 {
        let recorded = spoken(&proxy.url(), &["Number ", &number.to_string()]).await;
        assert_eq!(spoken(&proxy.url(), &["Number ", &number.to_string()]).await, recorded);
    }
    assert_eq!(server.connection_count(), 10);
    let summary = proxy.stop().await.unwrap();
    assert_eq!((summary.recorded, summary.replayed), (10, 10));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_need_not_wait_for_the_final_event() {
    let (directory, server) = (tempfile::tempdir().unwrap(), Realtime::start().await);
    server.behave(Behaviour::WaitsAtEnd);
    let recording = proxy(directory.path(), Mode::Record, &server.url).await;
    let mut client = Client::listener(&recording.url()).await;
    client.append(&audio(1, 1)).await;
    client.say(json!({ "type": "input_audio.end" })).await;
    let closed = timeout(SOON, client.close()).await;
    server.release();
    assert_eq!(recording.stop().await.unwrap().recorded, 1);
    assert!(closed.is_ok(), "the connection is still open after {SOON:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_stops_does_not_wait_for_a_final_event_that_never_comes() {
    let (directory, server) = (tempfile::tempdir().unwrap(), Realtime::start().await);
    server.behave(Behaviour::WaitsAtEnd);
    let recording = proxy(directory.path(), Mode::Record, &server.url).await;
    let mut client = Client::speaker(&recording.url()).await;
    client.say(json!({ "type": "input_text.end" })).await;
    client.until("session.created").await;
    drop(client);
    let stopped = timeout(SOON, recording.stop()).await;
    let stopped = stopped.expect("the proxy stops");
    assert!(stopped.is_err(), "{stopped:?}");
    assert_eq!(cassettes(directory.path()), []);
}

/// The API greets after the first message of a client that does not wait for the greeting. Another one waits for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_of_an_eager_client_replays_for_one_that_waits_for_the_greeting() {
    let (directory, server) = (tempfile::tempdir().unwrap(), Realtime::start().await);
    server.behave(Behaviour::GreetsLate);
    let (recorded, _): (Vec<Value>, _) =
        record(directory.path(), &server, async |url| spoken(&url, &["Bonjour"]).await).await;
    drop(server);
    let replayed = replay(directory.path(), async |url| {
        let mut client = Client::speaker(&url).await;
        let greeting = timeout(SOON, client.event()).await;
        let mut events = vec![greeting.expect("the greeting arrives")];
        events.extend(client.speak(&["Bonjour"]).await);
        client.close().await;
        events
    })
    .await;
    assert_eq!(replayed, recorded);
}

/// A microphone may give nothing. It does not count in the key, wherever it is.
#[tokio::test(flavor = "multi_thread")]
async fn audio_of_no_bytes_does_not_count() {
    let (directory, server) = (tempfile::tempdir().unwrap(), Realtime::start().await);
    let session = async |url: String, empty: bool| {
        let mut client = Client::listener(&url).await;
        for (audio, event) in [(audio(1, 1), "input_audio.flush"), (Vec::new(), "input_audio.end")] {
            if empty || !audio.is_empty() {
                client.append(&audio).await;
            }
            client.say(json!({ "type": event })).await;
        }
        let events = client.until("transcription.done").await;
        client.close().await;
        events
    };
    let (recorded, _) = record(directory.path(), &server, async |url| session(url, true).await).await;
    drop(server);
    for empty in [false, true] {
        assert_eq!(
            replay(directory.path(), async |url| session(url, empty).await).await,
            recorded
        );
    }
}
