//! What is not recorded, and what becomes of a client that leaves.

use mistral_cassette::Mode;
use serde_json::json;

use super::{NOWHERE, audio, cassettes, proxy, record, replay, text_of};
use crate::support::project::Project;
use crate::support::realtime::{Behaviour, Realtime, SPEECH};
use crate::support::websocket::{Client, transcribed};
use crate::support::wire::Wire;

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_the_api_does_not_complete_is_not_recorded_and_fails_the_verdict() {
    let (directory, server) = (tempfile::tempdir().unwrap(), Realtime::start().await);
    server.behave(Behaviour::Vanishes);
    for kind in ["listener", "speaker"] {
        let recording = proxy(directory.path(), Mode::Record, &server.url).await;
        let mut client = if kind == "listener" {
            let mut client = Client::listener(&recording.url()).await;
            client.append(&audio(1, 1)).await;
            client
        } else {
            let mut client = Client::speaker(&recording.url()).await;
            client
                .say(json!({ "type": "input_text.append", "text": "Bonjour" }))
                .await;
            client
        };
        client.until("session.created").await;
        let closing = client.closing().await;
        assert!(closing.as_ref().is_none_or(|(code, _)| *code == 1011), "{closing:?}");
        let error = recording.stop().await.unwrap_err().to_string();
        assert!(error.contains("1 "), "{error}");
    }
    assert_eq!(cassettes(directory.path()), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_event_and_an_unknown_voice_reach_the_client_and_are_not_recorded() {
    let (directory, server) = (tempfile::tempdir().unwrap(), Realtime::start().await);
    server.behave(Behaviour::SendsError);
    let (error, summary) = record(directory.path(), &server, async |url| {
        let mut client = Client::listener(&url).await;
        client.append(&audio(1, 1)).await;
        let error = client.until("error").await.pop();
        client.close().await;
        error.unwrap()
    })
    .await;
    assert_eq!(error["error"]["message"], "the model is overloaded");
    assert_eq!((summary.passed_on, summary.recorded), (1, 0));

    server.behave(Behaviour::Normal);
    let unknown = async |url: String| {
        let mut client = Client::speaker(&url).await;
        client
            .say(json!({ "type": "session.update", "session": { "voice": "nobody" } }))
            .await;
        client.closing().await
    };
    let (closing, summary) = record(directory.path(), &server, unknown).await;
    assert_eq!(closing, Some((1008, "Unknown voice: nobody".to_owned())));
    assert_eq!((summary.passed_on, summary.recorded), (1, 0));
    assert_eq!(cassettes(directory.path()), []);
}

#[test]
fn a_closing_by_the_api_is_recorded_with_save_errors_and_replays_with_its_code_and_reason() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let project = Project::new();
    let unknown = async |url: &str| {
        let mut client = Client::speaker(url).await;
        client
            .say(json!({ "type": "session.update", "session": { "voice": "nobody" } }))
            .await;
        client.closing().await
    };
    let server = runtime.block_on(Realtime::start());
    let recording = project.proxy("record", &server.url, &["--allow-ci", "--save-errors"]);
    let recorded = runtime.block_on(unknown(&recording.url));
    let stopped = recording.stop();
    assert_eq!(stopped.code(), 0, "{}", stopped.stderr);
    drop(server);
    let replaying = project.proxy("strict", NOWHERE, &[]);
    let replayed = runtime.block_on(unknown(&replaying.url));
    assert_eq!((replayed, replaying.stop().code()), (recorded.clone(), 0));
    assert_eq!(recorded, Some((1008, "Unknown voice: nobody".to_owned())));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_handshake_is_the_response_of_the_client_and_is_not_recorded() {
    let (directory, server) = (tempfile::tempdir().unwrap(), Realtime::start().await);
    server.behave(Behaviour::Refuses);
    for mode in [Mode::Record, Mode::Live] {
        let recording = proxy(directory.path(), mode, &server.url).await;
        let mut wire = Wire::to(&recording.url()).await;
        let handshake = "connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n";
        wire.send(&format!("GET {SPEECH}"), handshake, b"").await;
        let refused = wire.answer().await;
        assert_eq!(
            (refused.status, &*refused.text()),
            (401, r#"{"detail":"Unauthorized"}"#)
        );
        // Mode `record` fails the session of a refused key.
        let _ = recording.stop().await;
    }
    assert_eq!(cassettes(directory.path()), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_after_the_end_of_its_input_is_recorded() {
    let server = Realtime::start().await;
    server.behave(Behaviour::WaitsAtEnd);
    for closes in [true, false] {
        let directory = tempfile::tempdir().unwrap();
        let recording = proxy(directory.path(), Mode::Record, &server.url).await;
        let mut client = Client::listener(&recording.url()).await;
        client.append(&audio(1, 2)).await;
        client.say(json!({ "type": "input_audio.end" })).await;
        if closes {
            client.leave().await;
            // The reply.
            while !client.next().await.unwrap().is_close() {}
        }
        drop(client);
        server.release();
        assert_eq!(recording.stop().await.unwrap().recorded, 1, "{closes}");
        let events = replay(directory.path(), async |url| transcribed(&url, &audio(1, 2), 999).await).await;
        assert_eq!(text_of(&events).split(' ').count(), 2);
    }
}

/// It has got what it was waiting for.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_closes_before_the_end_of_its_input_is_recorded_as_far_as_it_came() {
    let (directory, server) = (tempfile::tempdir().unwrap(), Realtime::start().await);
    let session = async |url: String| {
        let mut client = Client::listener(&url).await;
        client.append(&audio(1, 1)).await;
        let events = client.until("transcription.text.delta").await;
        client.close().await;
        events
    };
    let (recorded, summary) = record(directory.path(), &server, session).await;
    assert_eq!(summary.recorded, 1);
    drop(server);
    assert_eq!(replay(directory.path(), session).await, recorded);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_vanishes_before_the_end_of_its_input_is_not_recorded() {
    let (directory, server) = (tempfile::tempdir().unwrap(), Realtime::start().await);
    let recording = proxy(directory.path(), Mode::Record, &server.url).await;
    let mut client = Client::listener(&recording.url()).await;
    client.append(&audio(1, 1)).await;
    client.until("transcription.text.delta").await;
    drop(client);
    // Whether that fails the verdict is not the subject of this test.
    let _ = recording.stop().await;
    assert_eq!(cassettes(directory.path()), []);
}
