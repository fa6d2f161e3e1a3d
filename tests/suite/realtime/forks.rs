//! Sessions that begin like others: which one is replayed, and what the client gets before that is known.

use std::path::Path;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use mistral_cassette::Mode;
use tempfile::TempDir;
use tokio_tungstenite::tungstenite::Message;

use super::{NOWHERE, cassettes, proxy, replay};
use crate::support::scripted_websocket::Scripted;
use crate::support::websocket::Client;

const TARGET: &str = "/v1/other";

/// Records what a client does.
async fn record(directory: &Path, server: &Scripted, client: impl AsyncFnOnce(String)) {
    let recording = proxy(directory, Mode::Record, &server.url).await;
    client(recording.url()).await;
    recording.stop().await.unwrap();
}

async fn say(client: &mut Client, text: &str) {
    client.send(Message::text(text)).await;
}

/// The next texts.
async fn texts(client: &mut Client, count: usize) -> Vec<String> {
    let mut texts = Vec::new();
    for _ in 0..count {
        texts.push(client.next().await.unwrap().to_text().unwrap().to_owned());
    }
    texts
}

fn is_subsequence(part: &[String], whole: &[String]) -> bool {
    let mut whole = whole.iter();
    part.iter().all(|text| whole.any(|other| other == text))
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_wrong_guess_a_client_gets_all_messages_of_its_own_session() {
    let directory = tempfile::tempdir().unwrap();
    let server = Scripted::start(|session, text| {
        let (letter, count) = [("a", 3), ("b", 1)][session];
        match text {
            "" => Vec::new(),
            "hello" => (0..count).map(|number| format!("{letter} {number}")).collect(),
            _ => vec![format!("{letter} before the end"), format!("{letter} end")],
        }
    })
    .await;
    let mut recorded = Vec::new();
    record(directory.path(), &server, async |url| {
        for (letter, count) in [("a", 3), ("b", 1)] {
            let mut client = Client::open(&url, TARGET).await;
            say(&mut client, "hello").await;
            let mut own = texts(&mut client, count).await;
            say(&mut client, letter).await;
            own.extend(texts(&mut client, 2).await);
            client.close().await;
            recorded.push((letter, own));
        }
    })
    .await;
    drop(server);
    replay(directory.path(), async |url| {
        for (letter, own) in &recorded {
            let mut client = Client::open(&url, TARGET).await;
            say(&mut client, "hello").await;
            // The recordings disagree about it, so it is a guess.
            let mut all = texts(&mut client, 1).await;
            say(&mut client, letter).await;
            while all.last() != own.last() {
                all.extend(texts(&mut client, 1).await);
            }
            client.close().await;
            let is_guessed = all[0] == own[0];
            assert!(
                if is_guessed {
                    all == *own
                } else {
                    is_subsequence(own, &all)
                },
                "{own:?}: {all:?}"
            );
        }
    })
    .await;
}

/// How much audio the API has got before an event differs from one recording to the next.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_comes_at_another_byte_of_the_same_audio_comes_once() {
    let directory = tempfile::tempdir().unwrap();
    let server = Scripted::start(|session, text| {
        let is = |audio: &str| text.contains(&BASE64.encode(audio));
        let heard = is(["first", "second"][session]);
        let last = ["A", "B"].into_iter().find(|last| is(&last.repeat(4)));
        heard
            .then_some("heard")
            .or(last)
            .map(str::to_owned)
            .into_iter()
            .collect()
    })
    .await;
    let session = async |url: &str, last: &str, heard_after: &str| {
        let mut client = Client::open(url, TARGET).await;
        let mut all = Vec::new();
        for piece in ["first", "second", &last.repeat(4)] {
            client.append(piece.as_bytes()).await;
            if piece == heard_after {
                all.extend(texts(&mut client, 1).await);
            }
        }
        all.extend(texts(&mut client, 1).await);
        client.close().await;
        all
    };
    record(directory.path(), &server, async |url| {
        assert_eq!(session(&url, "A", "first").await, ["heard", "A"]);
        assert_eq!(session(&url, "B", "second").await, ["heard", "B"]);
    })
    .await;
    drop(server);
    replay(directory.path(), async |url| {
        for last in ["A", "B"] {
            // It waits for the event that only one of the recordings has here.
            assert_eq!(session(&url, last, "first").await, ["heard", last]);
        }
    })
    .await;
}

/// Records a session, and a longer one that begins with it, in this order of their names. Returns the second message of the
/// longer one.
async fn record_beginning(is_first: bool, settings: &str) -> (TempDir, &'static str) {
    let server = Scripted::start(|_, text| {
        let numbers = match text {
            "" => 0..0,
            "question" => 1..2,
            _ => 2..7,
        };
        numbers.map(|number| format!("answer {number}")).collect()
    })
    .await;
    // The names have the words of the client, and then a hash in hexadecimal.
    for second in [" why", " 00"] {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("settings.yaml"), settings).unwrap();
        record(directory.path(), &server, async |url| {
            for is_long in [false, true] {
                let mut client = Client::open(&url, TARGET).await;
                say(&mut client, "question").await;
                texts(&mut client, 1).await;
                if is_long {
                    say(&mut client, second).await;
                    texts(&mut client, 5).await;
                }
                client.close().await;
            }
        })
        .await;
        let first = &cassettes(directory.path())[0].1;
        if first.contains("answer 6") != is_first {
            return (directory, second);
        }
    }
    panic!("one of the messages leads to the order")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_counted_for_the_recording_that_it_completes() {
    let (directory, second) = record_beginning(false, "exhausted: fail\n").await;
    let replaying = proxy(directory.path(), Mode::Strict, NOWHERE).await;
    for is_long in [false, true] {
        let mut client = Client::open(&replaying.url(), TARGET).await;
        say(&mut client, "question").await;
        assert_eq!(texts(&mut client, 1).await, ["answer 1"]);
        if is_long {
            say(&mut client, second).await;
            assert_eq!(texts(&mut client, 5).await.last().unwrap(), "answer 6");
        }
        client.close().await;
    }
    assert_eq!(replaying.stop().await.unwrap().replayed, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_comes_after_half_of_the_session_that_is_replayed() {
    let (directory, second) = record_beginning(true, "").await;
    let answers = |numbers: std::ops::Range<usize>| numbers.map(|number| format!("answer {number}"));
    let whole = |end: usize| answers(1..end).collect::<Vec<_>>();
    let damaged: Vec<_> = answers(1..4).chain(["answ".to_owned()]).chain(answers(5..7)).collect();
    for (fault, expected) in [("cut", whole(4)), ("close:1011", whole(4)), ("malformed", damaged)] {
        let replaying = proxy(directory.path(), Mode::Strict, NOWHERE).await;
        let headers = [("mistral-cassette-inject", fault)];
        let mut client = Client::open_with(&replaying.url(), TARGET, &headers).await.unwrap();
        say(&mut client, "question").await;
        let mut all = texts(&mut client, 1).await;
        say(&mut client, second).await;
        while all.len() < 6
            && let Some(Message::Text(text)) = client.next().await
        {
            all.push(text.to_string());
        }
        assert_eq!(all, expected, "{fault}");
        drop(client);
        assert_eq!(replaying.stop().await.unwrap().injected, 1, "{fault}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_that_did_not_happen_is_not_counted() {
    let directory = tempfile::tempdir().unwrap();
    let server = Scripted::start(|_, text| match text {
        "" => Vec::new(),
        _ => vec![String::new()],
    })
    .await;
    let session = async |url: String, headers: &[(&'static str, &str)], is_early: bool| {
        let mut client = Client::open_with(&url, TARGET, headers).await.unwrap();
        if !is_early {
            say(&mut client, "question").await;
            assert_eq!(texts(&mut client, 1).await, [""]);
        }
        client.close().await;
    };
    record(directory.path(), &server, async |url| session(url, &[], false).await).await;
    drop(server);
    for (fault, is_early) in [("malformed", false), ("malformed", true), ("cut", true)] {
        let replaying = proxy(directory.path(), Mode::Strict, NOWHERE).await;
        session(replaying.url(), &[("mistral-cassette-inject", fault)], is_early).await;
        let summary = replaying.stop().await.unwrap();
        assert_eq!((summary.injected, summary.replayed), (0, 1), "{fault}, {is_early}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_waits_also_gets_what_contradicts_the_guess() {
    let directory = tempfile::tempdir().unwrap();
    let server = Scripted::start(|session, text| match text {
        "" => Vec::new(),
        _ => vec![format!("answer {session} to {text}")],
    })
    .await;
    record(directory.path(), &server, async |url| {
        for end in ["one", "two"] {
            let mut client = Client::open(&url, TARGET).await;
            for text in ["hello", end] {
                say(&mut client, text).await;
                texts(&mut client, 1).await;
            }
            client.close().await;
        }
    })
    .await;
    drop(server);
    replay(directory.path(), async |url| {
        let mut client = Client::open(&url, TARGET).await;
        say(&mut client, "hello").await;
        let mut answers = texts(&mut client, 1).await;
        let guessed = Instant::now();
        answers.extend(texts(&mut client, 1).await);
        assert!(
            guessed.elapsed() > Duration::from_millis(500),
            "the guess is given up at once"
        );
        answers.sort();
        assert_eq!(answers, ["answer 0 to hello", "answer 1 to hello"]);
        client.close().await;
    })
    .await;
}
