//! Which of the recordings of one session is replayed, and which recordings are refused.

use mistral_cassette::Mode;
use serde_json::json;
use tokio_tungstenite::tungstenite::{self, Message};

use super::{NOWHERE, cassettes, proxy, record, replay};
use crate::support::project::Project;
use crate::support::realtime::{Behaviour, Realtime, SPEECH};
use crate::support::scripted_websocket::Scripted;
use crate::support::websocket::{Client, spoken};

const TARGET: &str = "/v1/other";

/// A session with one question, up to the answer, which is returned.
async fn asked(client: &mut Client, question: &str) -> String {
    client.send(Message::text(question)).await;
    client.next().await.unwrap().to_text().unwrap().to_owned()
}

async fn opened(url: &str) -> Client {
    let mut client = Client::open(url, TARGET).await;
    client.until("session.created").await;
    client
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_sessions_at_the_same_time_get_the_recorded_ones_in_turn() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("settings.yaml"), "exhausted: fail\n").unwrap();
    let server = Scripted::start(|session, text| match text {
        "" => vec![json!({ "type": "session.created", "session": { "id": session } }).to_string()],
        _ => vec![format!("answer {session}")],
    })
    .await;
    let recording = proxy(directory.path(), Mode::Record, &server.url).await;
    for question in ["one", "one", "one", "two"] {
        let mut client = opened(&recording.url()).await;
        asked(&mut client, question).await;
        client.close().await;
    }
    recording.stop().await.unwrap();
    drop(server);

    let replaying = proxy(directory.path(), Mode::Strict, NOWHERE).await;
    // A fault takes no turn.
    let headers = [("mistral-cassette-inject", "cut")];
    let mut client = Client::open_with(&replaying.url(), TARGET, &headers).await.unwrap();
    client.until("session.created").await;
    client.send(Message::text("one")).await;
    assert_eq!(client.next().await, None);

    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(opened(&replaying.url()).await);
    }
    for (number, client) in clients.iter_mut().enumerate() {
        assert_eq!(asked(client, "one").await, format!("answer {number}"));
    }
    for client in clients {
        client.close().await;
    }
    let mut client = opened(&replaying.url()).await;
    client.send(Message::text("one")).await;
    let (code, reason) = client.closing().await.unwrap();
    let expected = format!("not recorded: GET {TARGET} was requested 4 times and is recorded 3 times");
    assert!(code == 4404 && reason.starts_with(&expected), "{code} {reason}");
    assert!(replaying.stop().await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn strict_refuses_a_session_whose_recording_was_changed() {
    let (directory, server) = (tempfile::tempdir().unwrap(), Realtime::start().await);
    record(directory.path(), &server, async |url| spoken(&url, &["Bonjour"]).await).await;
    drop(server);
    let (name, document) = cassettes(directory.path()).remove(0);
    let changed = document.replace("text: Bonjour", "text: Bonsoir");
    assert_ne!(changed, document);
    std::fs::write(directory.path().join("audio-speech-realtime").join(name), changed).unwrap();
    let replaying = proxy(directory.path(), Mode::Strict, NOWHERE).await;
    let opened = Client::open_with(&replaying.url(), &format!("{SPEECH}?model=voxtral-tts"), &[]).await;
    assert!(matches!(opened, Err(tungstenite::Error::Http(_))));
    let error = replaying.stop().await.unwrap_err().to_string();
    assert!(error.contains("the request was changed"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn strict_refuses_a_session_whose_key_is_another_one_with_the_settings() {
    let (directory, server) = (tempfile::tempdir().unwrap(), Realtime::start().await);
    record(directory.path(), &server, async |url| spoken(&url, &["Bonjour"]).await).await;
    drop(server);
    std::fs::write(directory.path().join("settings.yaml"), "matching:\n  ignore: [/text]\n").unwrap();
    let replaying = proxy(directory.path(), Mode::Strict, NOWHERE).await;
    let opened = Client::open_with(&replaying.url(), &format!("{SPEECH}?model=voxtral-tts"), &[]).await;
    assert!(matches!(opened, Err(tungstenite::Error::Http(_))));
    let error = replaying.stop().await.unwrap_err().to_string();
    assert!(error.contains("rekey"), "{error}");
}

/// Each of two sessions that begin alike is recorded once, so the third client finds none.
#[tokio::test(flavor = "multi_thread")]
async fn a_guess_leaves_the_other_sessions_to_other_clients() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("settings.yaml"), "exhausted: fail\n").unwrap();
    let server = Scripted::start(|session, text| match text {
        "" => Vec::new(),
        _ => vec![format!("answer {session} to {text}")],
    })
    .await;
    let recording = proxy(directory.path(), Mode::Record, &server.url).await;
    for end in ["one", "two"] {
        let mut client = Client::open(&recording.url(), TARGET).await;
        asked(&mut client, "hello").await;
        asked(&mut client, end).await;
        client.close().await;
    }
    recording.stop().await.unwrap();
    drop(server);
    let replaying = proxy(directory.path(), Mode::Strict, NOWHERE).await;
    let (mut answers, mut clients) = (Vec::new(), Vec::new());
    for _ in 0..2 {
        let mut client = Client::open(&replaying.url(), TARGET).await;
        answers.push(asked(&mut client, "hello").await);
        clients.push(client);
    }
    answers.sort();
    assert_eq!(answers, ["answer 0 to hello", "answer 1 to hello"]);
    let mut third = Client::open(&replaying.url(), TARGET).await;
    third.send(Message::text("hello")).await;
    let (code, reason) = third.closing().await.unwrap();
    assert!(
        code == 4404 && reason.contains("and is recorded 1 time"),
        "{code} {reason}"
    );
    drop(clients);
    assert!(replaying.stop().await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_gets_a_recorded_subprotocol_only_if_it_offers_it() {
    const NAME: &str = "sec-websocket-protocol";
    let (project, server) = (Project::new(), Realtime::start().await);
    record(&project.cassettes(), &server, async |url| {
        let mut client = Client::open_with(&url, SPEECH, &[(NAME, "realtime")]).await.unwrap();
        client.speak(&["Bonjour"]).await;
        client.close().await;
    })
    .await;
    drop(server);
    // The client library refuses one that it has not offered, and misses one that it has offered.
    replay(&project.cassettes(), async |url| {
        for headers in [&[][..], &[(NAME, "other, realtime")]] {
            let mut client = Client::open_with(&url, SPEECH, headers).await.unwrap();
            client.speak(&["Bonjour"]).await;
            client.close().await;
        }
        let refused = Client::open_with(&url, SPEECH, &[(NAME, "other")]).await;
        let error = format!("{:?}", refused.map(drop).unwrap_err());
        assert!(error.contains("NoSubProtocol"), "{error}");
    })
    .await;
    // It is in other formats, too.
    let recorded = cassettes(&project.cassettes());
    assert!(
        recorded[0].1.contains("sec-websocket-protocol: realtime"),
        "{}",
        recorded[0].1
    );
    for format in ["jsonl", "har"] {
        for arguments in [
            &["export", "--to", format, "--out", "sessions"],
            &["import", "sessions", "--dir", format][..],
        ] {
            let done = project.run(arguments);
            assert_eq!(done.code(), 0, "{arguments:?}: {}{}", done.stdout, done.stderr);
        }
        let imported = cassettes(&project.path().join(format));
        assert!(imported == recorded, "{format}: {imported:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_reason_why_a_session_is_not_recorded_is_a_warning() {
    let (project, server) = (Project::new(), Realtime::start().await);
    let proxy = project.proxy("record", &server.url, &["--allow-ci"]);
    for (behaviour, event) in [
        (
            Behaviour::SendsError,
            json!({ "type": "input_text.append", "text": "Bonjour" }),
        ),
        (
            Behaviour::Normal,
            json!({ "type": "session.update", "session": { "voice": "nobody" } }),
        ),
    ] {
        server.behave(behaviour);
        let mut client = Client::speaker(&proxy.url).await;
        client.say(event).await;
        match behaviour {
            Behaviour::SendsError => drop(client.until("error").await),
            _ => drop(client.closing().await),
        }
        if behaviour == Behaviour::SendsError {
            client.close().await;
        }
    }
    let stopped = tokio::task::block_in_place(|| proxy.stop());
    for reason in ["the model is overloaded", "Unknown voice: nobody"] {
        let mut lines = stopped.stderr.lines();
        let is_warning = lines.any(|line| line.contains("transient error not recorded") && line.contains(reason));
        assert!(is_warning, "{reason}: {}", stopped.stderr);
    }
}
