//! Replays: what the client gets, and misses.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use futures_util::StreamExt as _;
use mistral_cassette::Mode;
use serde_json::{Value, json};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

use super::{NOWHERE, audio, cassettes, proxy, record, replay, text_of, without_ids};
use crate::support::project::Project;
use crate::support::realtime::{BYTES_PER_WORD, Behaviour, Realtime, SPEECH, TRANSCRIPTION};
use crate::support::websocket::{Client, spoken, transcribed};

#[tokio::test(flavor = "multi_thread")]
async fn an_event_never_comes_before_the_message_that_it_answers() {
    let (directory, server) = (tempfile::tempdir().unwrap(), Realtime::start().await);
    let sound = audio(1, 2);
    let (first, second) = sound.split_at(BYTES_PER_WORD);
    let session = async |url: String| {
        let mut client = Client::listener(&url).await;
        let mut events = client.until("session.created").await;
        for (message, answer) in [
            (
                json!({ "type": "session.update", "session": { "language": "fr" } }),
                "session.updated",
            ),
            (
                json!({ "type": "input_audio.append", "audio": BASE64.encode(first) }),
                "transcription.text.delta",
            ),
            (
                json!({ "type": "input_audio.append", "audio": BASE64.encode(second) }),
                "transcription.text.delta",
            ),
            (json!({ "type": "input_audio.end" }), "transcription.done"),
        ] {
            // Nothing arrives before the message: what a replay sends too early would be here within this time.
            let early = timeout(Duration::from_millis(60), client.socket.next()).await;
            assert!(early.is_err(), "{early:?} before {message}");
            client.say(message).await;
            events.extend(client.until(answer).await);
        }
        client.close().await;
        events
    };
    let (recorded, _) = record(directory.path(), &server, session).await;
    drop(server);
    assert_eq!(replay(directory.path(), session).await, recorded);
}

/// The sessions have the same beginning: what the client sends next decides which one is replayed.
#[tokio::test(flavor = "multi_thread")]
async fn sessions_with_a_common_beginning_replay_each_with_its_own_events() {
    let (directory, server) = (tempfile::tempdir().unwrap(), Realtime::start().await);
    let common = audio(1, 1);
    let sound = |seed: u32| [common.clone(), audio(seed, 1)].concat();
    let (recorded, _): (Vec<_>, _) = record(directory.path(), &server, async |url| {
        let mut all = Vec::new();
        for seed in 2..6 {
            all.push(transcribed(&url, &sound(seed), BYTES_PER_WORD).await);
        }
        // The beginning is also a session of its own.
        all.push(transcribed(&url, &common, BYTES_PER_WORD).await);
        all
    })
    .await;
    drop(server);
    let replayed = replay(directory.path(), async |url| {
        let mut all = Vec::new();
        for seed in 2..6 {
            all.push(transcribed(&url, &sound(seed), 1000).await);
        }
        all.push(transcribed(&url, &common, 1000).await);
        all
    })
    .await;
    assert_eq!(without_ids(replayed), without_ids(recorded));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_changed_byte_of_audio_is_a_miss_that_names_its_position() {
    let (project, server) = (Project::new(), Realtime::start().await);
    let sound = audio(1, 2);
    record(&project.cassettes(), &server, async |url| {
        transcribed(&url, &sound, 1000).await
    })
    .await;
    let [(name, _)] = &cassettes(&project.cassettes())[..] else {
        panic!("one cassette")
    };
    let connections = server.connection_count();
    let proxy = project.proxy("strict", &server.url, &[]);
    let mut changed = sound.clone();
    changed[4321] ^= 1;
    let mut client = Client::listener(&proxy.url).await;
    for piece in changed.chunks(640) {
        client.append(piece).await;
    }
    let (code, reason) = client.closing().await.unwrap();
    assert_eq!(code, 4404);
    let what = "not recorded: message 1 is audio, which differs at byte 4321";
    assert!(reason.starts_with(what), "{reason}");
    let stopped = tokio::task::block_in_place(|| proxy.stop());
    assert_eq!(stopped.code(), 1, "{}", stopped.stderr);
    for part in [what, name, "1 request was not recorded"] {
        assert!(stopped.stderr.contains(part), "{part}: {}", stopped.stderr);
    }
    assert_eq!(server.connection_count(), connections);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_text_is_a_miss_with_a_diff() {
    let (project, server) = (Project::new(), Realtime::start().await);
    record(&project.cassettes(), &server, async |url| {
        spoken(&url, &["Bonjour ", "le monde"]).await;
        spoken(&url, &["Goodbye ", "the world"]).await;
    })
    .await;
    let proxy = project.proxy("strict", &server.url, &[]);
    let mut client = Client::speaker(&proxy.url).await;
    for text in ["Bonjour ", "la lune"] {
        client.say(json!({ "type": "input_text.append", "text": text })).await;
    }
    let (code, reason) = client.closing().await.unwrap();
    assert_eq!(code, 4404);
    let what = "not recorded: message 2, input_text.append, differs";
    assert!(reason.starts_with(what), "{reason}");
    let stopped = tokio::task::block_in_place(|| proxy.stop());
    assert_eq!(stopped.code(), 1, "{}", stopped.stderr);
    let name = &cassettes(&project.cassettes())[0].0;
    assert!(name.contains("bonjour"), "{name}");
    for part in [what, name, "- ", "le monde", "+ ", "la lune"] {
        assert!(stopped.stderr.contains(part), "{part}: {}", stopped.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_recorded_nowhere_is_a_miss_in_a_close_frame() {
    let (directory, server) = (tempfile::tempdir().unwrap(), Realtime::start().await);
    record(directory.path(), &server, async |url| spoken(&url, &["Bonjour"]).await).await;
    let connections = server.connection_count();
    for target in [
        TRANSCRIPTION.to_owned(),
        format!("{SPEECH}?model=another"),
        format!("/c/elsewhere{SPEECH}?model=voxtral-tts"),
    ] {
        let replaying = proxy(directory.path(), Mode::Strict, &server.url).await;
        let mut client = Client::open(&replaying.url(), &target).await;
        let (code, reason) = client.closing().await.unwrap();
        assert_eq!(code, 4404, "{target}: {reason}");
        assert!(reason.starts_with("not recorded: "), "{target}: {reason}");
        let error = replaying.stop().await.unwrap_err().to_string();
        assert!(error.contains("1 request was not recorded"), "{target}: {error}");
    }
    assert_eq!(server.connection_count(), connections);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_sends_more_or_something_else_than_recorded_misses() {
    let (directory, server) = (tempfile::tempdir().unwrap(), Realtime::start().await);
    let sound = audio(1, 1);
    record(directory.path(), &server, async |url| {
        transcribed(&url, &sound, 1000).await
    })
    .await;
    drop(server);
    let append = |audio: &[u8]| {
        Message::text(json!({ "type": "input_audio.append", "audio": BASE64.encode(audio) }).to_string())
    };
    let event = |kind: &str| Message::text(json!({ "type": kind }).to_string());
    for (messages, expected) in [
        (
            vec![append(&sound), append(b"x")],
            "message 1 is audio, of which the client sends more than the recorded 3200 bytes",
        ),
        (
            vec![append(&sound[..100]), event("input_audio.end")],
            "after 100 bytes of audio the client sends input_audio.end, and 3100 more bytes",
        ),
        (
            vec![append(&sound), event("input_audio.flush")],
            "message 2, input_audio.flush, differs",
        ),
        (
            vec![event("input_audio.end")],
            "message 1 is input_audio.end, and the recorded one is audio",
        ),
        (
            vec![append(&sound), event("input_audio.end"), event("input_audio.end")],
            "the recording ends here, after 2 messages of the client",
        ),
        (
            vec![Message::binary(sound.clone())],
            "message 1 is a binary frame, and the recorded one is audio",
        ),
    ] {
        let replaying = proxy(directory.path(), Mode::Strict, NOWHERE).await;
        let mut client = Client::listener(&replaying.url()).await;
        for message in messages {
            client.send(message).await;
        }
        let (code, reason) = client.closing().await.unwrap();
        let is_expected = code == 4404 && reason.starts_with(&format!("not recorded: {expected}"));
        assert!(is_expected, "{expected}: {code} {reason}");
        assert!(replaying.stop().await.is_err(), "{expected}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_differs_is_continued_by_the_api_and_recorded_in_mode_replay() {
    let (directory, server) = (tempfile::tempdir().unwrap(), Realtime::start().await);
    let common = audio(1, 1);
    let known = [common.clone(), audio(2, 1)].concat();
    let new = [common, audio(3, 2)].concat();
    let (recorded, _): (Vec<_>, _) = record(directory.path(), &server, async |url| {
        transcribed(&url, &known, 640).await
    })
    .await;

    let replaying = proxy(directory.path(), Mode::Replay, &server.url).await;
    assert_eq!(transcribed(&replaying.url(), &known, 640).await, recorded);
    assert_eq!(server.connection_count(), 1);
    let mut client = Client::listener(&replaying.url()).await;
    let continued = client.transcribe(&new, 640).await;
    client.close().await;
    assert_eq!(server.connection_count(), 2);
    let count = |kind: &str| continued.iter().filter(|event| event["type"] == kind).count();
    assert_eq!((count("session.created"), count("transcription.text.delta")), (1, 3));
    assert_eq!(text_of(&continued).split(' ').count(), 3);
    let sent: Vec<u8> = server.sessions()[1].received.iter().flat_map(audio_in).collect();
    assert!(sent == new, "the API got {} bytes", sent.len());
    let summary = replaying.stop().await.unwrap();
    assert_eq!((summary.replayed, summary.recorded), (1, 1));
    drop(server);

    let (first, second) = replay(directory.path(), async |url| {
        (transcribed(&url, &known, 640).await, transcribed(&url, &new, 640).await)
    })
    .await;
    assert_eq!(without_ids(vec![first, second]), without_ids(vec![recorded, continued]));
    assert_eq!(cassettes(directory.path()).len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_the_api_cannot_continue_is_closed_with_the_reason() {
    let (directory, server) = (tempfile::tempdir().unwrap(), Realtime::start().await);
    record(directory.path(), &server, async |url| spoken(&url, &["Bonjour"]).await).await;
    server.behave(Behaviour::Refuses);
    let refusing = server.url.clone();
    for (upstream, expected) in [(refusing.as_str(), "401"), (NOWHERE, "cannot be reached")] {
        let replaying = proxy(directory.path(), Mode::Replay, upstream).await;
        let mut client = Client::speaker(&replaying.url()).await;
        client
            .say(json!({ "type": "input_text.append", "text": "Bonsoir" }))
            .await;
        let (code, reason) = client.closing().await.unwrap();
        assert!(code == 1011 && reason.contains(expected), "{code} {reason}");
        assert!(replaying.stop().await.is_err() || expected == "401");
    }
    assert_eq!(cassettes(directory.path()).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn mode_live_passes_a_session_on_and_records_nothing() {
    let (directory, server) = (tempfile::tempdir().unwrap(), Realtime::start().await);
    record(directory.path(), &server, async |url| spoken(&url, &["Bonjour"]).await).await;
    let before = cassettes(directory.path());
    let live = proxy(directory.path(), Mode::Live, &server.url).await;
    for text in ["Bonjour", "Bonsoir"] {
        assert_eq!(spoken(&live.url(), &[text]).await.len(), 3);
    }
    assert_eq!(live.stop().await.unwrap().passed_on, 2);
    assert_eq!(server.connection_count(), 3);
    assert_eq!(cassettes(directory.path()), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_the_api_closes_after_its_final_event_is_closed_again() {
    let (directory, server) = (tempfile::tempdir().unwrap(), Realtime::start().await);
    server.behave(Behaviour::Closes);
    let session = async |url: String| {
        let mut client = Client::speaker(&url).await;
        let events = client.speak(&["Bonjour"]).await;
        (events, client.closing().await)
    };
    let (recorded, _) = record(directory.path(), &server, session).await;
    drop(server);
    assert_eq!(recorded.1, Some((1000, "done".to_owned())));
    assert_eq!(replay(directory.path(), session).await, recorded);
}

/// The audio in a message of a client.
fn audio_in(message: &Message) -> Vec<u8> {
    let event: Value = message
        .to_text()
        .ok()
        .and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default();
    BASE64.decode(event["audio"].as_str().unwrap_or_default()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn injected_faults_end_or_damage_a_replayed_session() {
    let (directory, server) = (tempfile::tempdir().unwrap(), Realtime::start().await);
    record(directory.path(), &server, async |url| {
        let mut client = Client::open(&url, SPEECH).await;
        client.speak(&["one two three"]).await;
        client.close().await;
    })
    .await;
    drop(server);
    for (fault, expected) in [
        ("close:1011", Some(1011)),
        ("drop", None),
        ("cut", None),
        ("malformed", Some(1000)),
    ] {
        let replaying = proxy(directory.path(), Mode::Strict, NOWHERE).await;
        let headers = [("mistral-cassette-inject", fault)];
        let mut client = Client::open_with(&replaying.url(), SPEECH, &headers).await.unwrap();
        for event in [
            json!({ "type": "input_text.append", "text": "one two three" }),
            json!({ "type": "input_text.end" }),
        ] {
            client.say(event).await;
        }
        let (mut whole, mut damaged, mut code) = (0, 0, None);
        while let Some(message) = client.next().await {
            match &message {
                Message::Close(frame) => code = frame.as_ref().map(|frame| frame.code.into()),
                message if serde_json::from_slice::<Value>(&message.clone().into_data()).is_ok() => whole += 1,
                _ => damaged += 1,
            }
            if whole + damaged == 5 && !message.is_close() {
                client.leave().await;
            }
        }
        assert_eq!(code, expected, "{fault}");
        assert_eq!(
            (whole, damaged),
            if fault == "malformed" { (4, 1) } else { (2, 0) },
            "{fault}"
        );
        assert_eq!(replaying.stop().await.unwrap().injected, 1, "{fault}");
    }
}
