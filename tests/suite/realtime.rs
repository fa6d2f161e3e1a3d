//! Realtime sessions over WebSockets: recorded from the stand-in and replayed without it, for every client.

mod clients;

use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use futures_util::{SinkExt as _, StreamExt as _};
use mistral_cassette::proxy::Proxy;
use mistral_cassette::recorder::Summary;
use mistral_cassette::{DirectoryEngine, Mode, Recorder, Upstream};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{self, Message};

use crate::support::KEY;
use crate::support::project::Project;
use crate::support::realtime::{BYTES_PER_WORD, Behaviour, ECHO, Realtime, SPEECH, TRANSCRIPTION};
use crate::support::wire::{PATIENCE, Wire, address};

/// An upstream that is gone.
const NOWHERE: &str = "http://127.0.0.1:9";

/// A proxy in this process.
async fn proxy(directory: &Path, mode: Mode, upstream: &str) -> Proxy {
    let recorder = Recorder::builder(DirectoryEngine::new(directory));
    let recorder = recorder.mode(mode).allow_record_in_ci().build().unwrap();
    let upstream = Upstream::builder().base_url(upstream).api_key(KEY).build().unwrap();
    Proxy::builder().start("127.0.0.1:0", recorder, upstream).await.unwrap()
}

/// A WebSocket client.
struct Client {
    socket: WebSocketStream<TcpStream>,
}

impl Client {
    async fn open(url: &str, target: &str) -> Self {
        Self::open_with(url, target, &[]).await.unwrap()
    }

    async fn open_with(url: &str, target: &str, headers: &[(&'static str, &str)]) -> tungstenite::Result<Self> {
        let stream = TcpStream::connect(address(url)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let mut request = format!("ws://{}{target}", address(url)).into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        let opened = timeout(PATIENCE, tokio_tungstenite::client_async(request, stream)).await;
        let (socket, _) = opened.expect("the handshake ends")?;
        Ok(Self { socket })
    }

    /// A session of transcription.
    async fn listener(url: &str) -> Self {
        Self::open(url, &format!("{TRANSCRIPTION}?model=voxtral-mini")).await
    }

    /// A session of speech.
    async fn speaker(url: &str) -> Self {
        Self::open(url, &format!("{SPEECH}?model=voxtral-tts")).await
    }

    /// A server that has closed the session shows that in what it sends.
    async fn send(&mut self, message: Message) {
        let _ = self.socket.send(message).await;
    }

    async fn say(&mut self, event: Value) {
        self.send(Message::text(event.to_string())).await;
    }

    async fn append(&mut self, audio: &[u8]) {
        self.say(json!({ "type": "input_audio.append", "audio": BASE64.encode(audio) }))
            .await;
    }

    /// The next message; `None` at the end.
    async fn next(&mut self) -> Option<Message> {
        let next = timeout(PATIENCE, self.socket.next()).await;
        next.expect("a message arrives").and_then(Result::ok)
    }

    async fn event(&mut self) -> Value {
        let message = self.next().await;
        let message = message.as_ref().map(|message| message.to_text().unwrap());
        serde_json::from_str(message.expect("an event")).unwrap_or_else(|error| panic!("{error}: {message:?}"))
    }

    /// The events up to one of this type.
    async fn until(&mut self, kind: &str) -> Vec<Value> {
        let mut events = vec![self.event().await];
        while events.last().unwrap()["type"] != kind {
            events.push(self.event().await);
        }
        events
    }

    /// Reads to the close frame, and returns its code and reason; `None` if the connection ends without one.
    async fn closing(&mut self) -> Option<(u16, String)> {
        loop {
            if let Message::Close(frame) = self.next().await? {
                while self.next().await.is_some() {}
                return frame.map(|frame| (frame.code.into(), frame.reason.to_string()));
            }
        }
    }

    /// Closes the session, and waits for the reply.
    async fn close(mut self) {
        let frame = CloseFrame {
            code: CloseCode::Normal,
            reason: "".into(),
        };
        self.socket.close(Some(frame)).await.unwrap();
        while self.next().await.is_some() {}
    }

    /// Sends audio in pieces of this size, and reads to the final event.
    async fn transcribe(&mut self, audio: &[u8], size: usize) -> Vec<Value> {
        for piece in audio.chunks(size) {
            self.append(piece).await;
        }
        self.say(json!({ "type": "input_audio.end" })).await;
        self.until("transcription.done").await
    }

    /// Sends texts, and reads to the final event.
    async fn speak(&mut self, texts: &[&str]) -> Vec<Value> {
        for text in texts {
            self.say(json!({ "type": "input_text.append", "text": text })).await;
        }
        self.say(json!({ "type": "input_text.end" })).await;
        self.until("speech.audio.done").await
    }
}

/// A whole session of transcription.
async fn transcribed(url: &str, audio: &[u8], size: usize) -> Vec<Value> {
    let mut client = Client::listener(url).await;
    let events = client.transcribe(audio, size).await;
    client.close().await;
    events
}

/// A whole session of speech.
async fn spoken(url: &str, texts: &[&str]) -> Vec<Value> {
    let mut client = Client::speaker(url).await;
    let events = client.speak(texts).await;
    client.close().await;
    events
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

/// The cassettes in a directory, by name.
fn cassettes(directory: &Path) -> Vec<(String, String)> {
    let mut found: Vec<_> = std::fs::read_dir(directory)
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .map(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, std::fs::read_to_string(path).unwrap())
        })
        .collect();
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

// What is recorded.

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
            tokio::spawn(async move { transcribed(&url, &audio(seed, 2), 1600).await })
        });
        let ended = futures_util::future::join_all(sessions).await;
        ended.into_iter().map(Result::unwrap).collect()
    }
    let (directory, server) = (tempfile::tempdir().unwrap(), Realtime::start().await);
    let (recorded, summary) = record(directory.path(), &server, all).await;
    assert_eq!((summary.recorded, server.sessions().len()), (64, 64));
    drop(server);
    assert_eq!(replay(directory.path(), all).await, recorded);
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
async fn an_equal_session_that_is_recorded_again_changes_no_byte() {
    let (directory, server) = (tempfile::tempdir().unwrap(), Realtime::start().await);
    let session = async |url: String| spoken(&url, &["Bonjour ", "tout le monde"]).await;
    record(directory.path(), &server, session).await;
    let first = cassettes(directory.path());
    record(directory.path(), &server, session).await;
    assert_eq!(cassettes(directory.path()), first);
}

// What is not recorded.

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
        let opened = Client::open_with(&recording.url(), SPEECH, &[]).await;
        let Err(tungstenite::Error::Http(response)) = opened.map(|_| ()) else {
            panic!("it is refused")
        };
        assert_eq!(response.status(), 401);
        let mut wire = Wire::to(&recording.url()).await;
        let handshake = "connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n";
        wire.send(&format!("GET {SPEECH}"), handshake, b"").await;
        assert_eq!(wire.answer().await.text(), r#"{"detail":"Unauthorized"}"#);
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
            client.close().await;
        } else {
            drop(client);
        }
        server.release();
        assert_eq!(recording.stop().await.unwrap().recorded, 1, "{closes}");
        let events = replay(directory.path(), async |url| transcribed(&url, &audio(1, 2), 999).await).await;
        assert_eq!(text_of(&events).split(' ').count(), 2);
    }
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

// Replays.

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
    let kept = |all: &[Vec<Value>]| -> Vec<Vec<Value>> { all.iter().map(|events| without_ids(events)).collect() };
    assert_eq!(kept(&replayed), kept(&recorded));
}

/// Without the ids of sessions: which of several equal ones a client gets does not matter.
fn without_ids(events: &[Value]) -> Vec<Value> {
    let mut events = events.to_vec();
    for event in &mut events {
        if let Some(session) = event["session"].as_object_mut() {
            session.remove("request_id");
        }
    }
    events
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
    assert_eq!(without_ids(&first), without_ids(&recorded));
    assert_eq!(without_ids(&second), without_ids(&continued));
    assert_eq!(cassettes(directory.path()).len(), 2);
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

// Who may connect.

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
