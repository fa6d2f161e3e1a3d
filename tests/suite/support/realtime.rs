//! A stand-in for the realtime API: WebSockets for transcription and speech, as the official Python SDK 3.7.0 speaks to them
//! (`mistralai/extra/realtime`, `client/models/realtime*.py`). What it says depends only on what it gets, apart from ids.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use futures_util::{SinkExt as _, StreamExt as _};
use http::HeaderMap;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

pub const TRANSCRIPTION: &str = "/v1/audio/transcriptions/realtime";
pub const SPEECH: &str = "/v1/audio/speech/realtime";
/// Sends every frame back as it is, and closes after the text `close`.
pub const ECHO: &str = "/v1/echo";

/// The bytes of audio in which the stand-in hears a word: 0.1 s of 16-bit samples at 16 kHz.
pub const BYTES_PER_WORD: usize = 3200;
const WORDS: [&str; 8] = [
    "Bonjour",
    "le",
    "mistral",
    "souffle",
    "fort",
    "ce",
    "matin",
    "à Marseille",
];
const VOICES: [&str; 2] = ["fr_marie_neutral", "en_paul_neutral"];

/// How the stand-in behaves in the sessions that begin from now on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Behaviour {
    #[default]
    Normal,
    /// Closes the TCP connection after the first input, without a close frame.
    Vanishes,
    /// Sends an error event after the first input.
    SendsError,
    /// Sends `session.created` only after the first message of the client, like an API that is far away.
    GreetsLate,
    /// Closes the session after the final event.
    Closes,
    /// Answers the handshake with 401.
    Refuses,
    /// Sends the final event only after [`Realtime::release`].
    WaitsAtEnd,
}

/// A session that the stand-in has served.
#[derive(Clone, Debug)]
pub struct Session {
    /// Path and query.
    pub target: String,
    pub headers: HeaderMap,
    pub received: Vec<Message>,
}

#[derive(Default)]
struct Shared {
    connections: AtomicUsize,
    /// The number of the next session in its id.
    ids: AtomicUsize,
    behaviour: Mutex<Behaviour>,
    released: tokio::sync::Notify,
    sessions: Mutex<Vec<Session>>,
}

/// A stand-in that is running; dropping it ends its sessions and closes its port.
pub struct Realtime {
    pub url: String,
    shared: Arc<Shared>,
    serving: tokio::task::JoinHandle<()>,
}

impl Realtime {
    pub async fn start() -> Self {
        Self::serve("http", |stream| std::future::ready(Ok(stream))).await
    }

    pub async fn start_tls(tls: Arc<rustls::ServerConfig>) -> Self {
        let acceptor = tokio_rustls::TlsAcceptor::from(tls);
        Self::serve("https", move |stream| acceptor.accept(stream)).await
    }

    async fn serve<C, F>(scheme: &str, accept: impl Fn(TcpStream) -> F + Send + 'static) -> Self
    where
        C: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        F: Future<Output = std::io::Result<C>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("{scheme}://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared::default());
        let serving = tokio::spawn({
            let shared = shared.clone();
            async move {
                // Sessions end with the server.
                let mut tasks = tokio::task::JoinSet::new();
                while let Ok((stream, _)) = listener.accept().await {
                    shared.connections.fetch_add(1, Ordering::SeqCst);
                    stream.set_nodelay(true).unwrap();
                    let (accepted, shared) = (accept(stream), shared.clone());
                    tasks.spawn(async move {
                        if let Ok(stream) = accepted.await {
                            open(stream, &shared).await;
                        }
                    });
                }
            }
        });
        Self { url, shared, serving }
    }

    pub fn behave(&self, behaviour: Behaviour) {
        *self.shared.behaviour.lock().unwrap() = behaviour;
    }

    /// Lets a session that [waits](Behaviour::WaitsAtEnd) send its final event.
    pub fn release(&self) {
        self.shared.released.notify_one();
    }

    /// The number of connections so far.
    pub fn connection_count(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// The sessions so far, in the order of their handshakes.
    pub fn sessions(&self) -> Vec<Session> {
        self.shared.sessions.lock().unwrap().clone()
    }
}

impl Drop for Realtime {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Accepts a handshake, and serves its session.
async fn open(stream: impl AsyncRead + AsyncWrite + Unpin, shared: &Shared) {
    let behaviour = *shared.behaviour.lock().unwrap();
    let mut request = None;
    #[expect(clippy::result_large_err, reason = "the signature is that of the library")]
    let accept = |head: &Request, mut response: Response| -> Result<Response, ErrorResponse> {
        request = Some((head.uri().clone(), head.headers().clone()));
        let refused = |status: u16, body: &str| {
            let response = http::Response::builder()
                .status(status)
                .header("content-type", "application/json");
            Err(response.body(Some(body.to_owned())).unwrap())
        };
        if behaviour == Behaviour::Refuses {
            return refused(401, r#"{"detail":"Unauthorized"}"#);
        }
        if ![TRANSCRIPTION, SPEECH, ECHO].contains(&head.uri().path()) {
            return refused(404, r#"{"detail":"Not Found"}"#);
        }
        if let Some(protocols) = head.headers().get("sec-websocket-protocol") {
            response
                .headers_mut()
                .insert("sec-websocket-protocol", protocols.clone());
        }
        Ok(response)
    };
    let Ok(socket) = tokio_tungstenite::accept_hdr_async(stream, accept).await else {
        return;
    };
    let (uri, headers) = request.unwrap();
    let number = {
        let mut sessions = shared.sessions.lock().unwrap();
        sessions.push(Session {
            target: uri.path_and_query().unwrap().to_string(),
            headers,
            received: Vec::new(),
        });
        sessions.len() - 1
    };
    let query = uri.query().unwrap_or_default();
    let model = query.split('&').find_map(|pair| pair.strip_prefix("model="));
    let mut session = Served {
        socket,
        shared,
        number,
        behaviour,
        model: model.unwrap_or_default().to_owned(),
    };
    // A client that leaves is not an error.
    let _ = match uri.path() {
        TRANSCRIPTION => session.transcribe().await,
        SPEECH => session.speak().await,
        _ => session.echo().await,
    };
}

/// A session that is being served.
struct Served<'a, S> {
    socket: WebSocketStream<S>,
    shared: &'a Shared,
    number: usize,
    behaviour: Behaviour,
    model: String,
}

/// The end of a session, from whichever side.
struct Over;

impl<S: AsyncRead + AsyncWrite + Unpin> Served<'_, S> {
    /// The next message of the client, which is kept.
    async fn next(&mut self) -> Result<Message, Over> {
        let message = self.socket.next().await.and_then(Result::ok).ok_or(Over)?;
        self.shared.sessions.lock().unwrap()[self.number]
            .received
            .push(message.clone());
        if message.is_close() {
            // Sends the reply.
            while self.socket.next().await.is_some() {}
            return Err(Over);
        }
        Ok(message)
    }

    /// The next event of the client; `Null` for what is not JSON.
    async fn event(&mut self) -> Result<Value, Over> {
        Ok(match self.next().await? {
            Message::Text(text) => serde_json::from_str(&text).unwrap_or_default(),
            _ => Value::Null,
        })
    }

    async fn send(&mut self, event: Value) -> Result<(), Over> {
        self.socket
            .send(Message::text(event.to_string()))
            .await
            .map_err(|_| Over)
    }

    async fn send_error(&mut self, message: &str) -> Result<(), Over> {
        let error = json!({ "message": message, "code": 3000 });
        self.send(json!({ "type": "error", "error": error })).await
    }

    /// Sends `session.created`. Returns the first event of the client, if it has come before.
    async fn greet(&mut self, session: &Value) -> Result<Option<Value>, Over> {
        let first = match self.behaviour {
            Behaviour::GreetsLate => Some(self.event().await?),
            _ => None,
        };
        self.send_session("session.created", session).await?;
        Ok(first)
    }

    async fn send_session(&mut self, kind: &str, session: &Value) -> Result<(), Over> {
        self.send(json!({ "type": kind, "session": session })).await
    }

    fn request_id(&self) -> String {
        // The ids of two stand-ins differ too.
        let number = self.shared.ids.fetch_add(1, Ordering::SeqCst);
        format!("{:p}-{number}", self.shared)
    }

    /// Does what a test has asked for instead of the answer to the first input.
    async fn misbehave(&mut self) -> Result<(), Over> {
        match self.behaviour {
            Behaviour::Vanishes => Err(Over),
            Behaviour::SendsError => {
                self.send_error("the model is overloaded").await?;
                loop {
                    self.next().await?;
                }
            }
            _ => Ok(()),
        }
    }

    /// Waits until the test releases the final event, if it has asked for that. The client may close the session meanwhile.
    async fn wait_at_end(&mut self) -> Result<(), Over> {
        if self.behaviour != Behaviour::WaitsAtEnd {
            return Ok(());
        }
        let shared = self.shared;
        tokio::select! {
            () = shared.released.notified() => Ok(()),
            message = self.next() => message.map(drop),
        }
    }

    async fn send_final(&mut self, event: Value) -> Result<(), Over> {
        self.send(event).await?;
        if self.behaviour == Behaviour::Closes {
            let (code, reason) = (CloseCode::Normal, "done".into());
            // The loop ends with the reply.
            let _ = self.socket.close(Some(CloseFrame { code, reason })).await;
        }
        Ok(())
    }

    async fn transcribe(&mut self) -> Result<(), Over> {
        let mut session = json!({
            "request_id": self.request_id(),
            "model": self.model,
            "audio_format": { "encoding": "pcm_s16le", "sample_rate": 16_000 },
        });
        let mut first = self.greet(&session).await?;
        let (mut heard, mut seconds, mut text) = (Vec::new(), 0.0, String::new());
        loop {
            let event = match first.take() {
                Some(first) => first,
                None => self.event().await?,
            };
            match event["type"].as_str() {
                Some("session.update") => {
                    if seconds > 0.0 {
                        self.send_error("the session cannot be updated after audio").await?;
                        continue;
                    }
                    update(&mut session, &event);
                    self.send_session("session.updated", &session).await?;
                }
                Some("input_audio.append") => {
                    self.misbehave().await?;
                    let Ok(audio) = BASE64.decode(event["audio"].as_str().unwrap_or_default()) else {
                        self.send_error("the audio is not base64").await?;
                        continue;
                    };
                    seconds += audio.len() as f64 / 32_000.0;
                    heard.extend(audio);
                    while heard.len() >= BYTES_PER_WORD {
                        let rest = heard.split_off(BYTES_PER_WORD);
                        self.hear(&heard, &mut text).await?;
                        heard = rest;
                    }
                }
                Some("input_audio.flush") => {
                    if !heard.is_empty() {
                        self.hear(&std::mem::take(&mut heard), &mut text).await?;
                    }
                }
                Some("input_audio.end") => {
                    self.wait_at_end().await?;
                    if !heard.is_empty() {
                        self.hear(&std::mem::take(&mut heard), &mut text).await?;
                    }
                    let tokens = text.split_whitespace().count();
                    let usage = json!({
                        "prompt_tokens": 4, "completion_tokens": tokens, "total_tokens": tokens + 4,
                        "prompt_audio_seconds": seconds.ceil() as u64,
                    });
                    let done = json!({
                        "type": "transcription.done", "model": self.model, "text": text, "language": session["language"],
                        "segments": [], "usage": usage,
                    });
                    self.send_final(done).await?;
                }
                _ => self.send_error("an unknown event").await?,
            }
        }
    }

    /// Sends the word that a piece of audio stands for.
    async fn hear(&mut self, audio: &[u8], text: &mut String) -> Result<(), Over> {
        if text.is_empty() {
            self.send(json!({ "type": "transcription.language", "audio_language": "fr" }))
                .await?;
        }
        let word = WORDS[checksum(audio) as usize % WORDS.len()];
        let delta = if text.is_empty() {
            word.to_owned()
        } else {
            format!(" {word}")
        };
        text.push_str(&delta);
        self.send(json!({ "type": "transcription.text.delta", "text": delta }))
            .await
    }

    async fn speak(&mut self) -> Result<(), Over> {
        let mut session = json!({
            "request_id": self.request_id(),
            "model": self.model,
            "is_ref_audio": false,
            "streaming_mode": "responsive",
            "response_format": "pcm",
            "expressiveness": 1.0,
            "voice": null,
        });
        let mut first = self.greet(&session).await?;
        let (mut text, mut count) = (String::new(), 0);
        loop {
            let event = match first.take() {
                Some(first) => first,
                None => self.event().await?,
            };
            let added = event["text"].as_str().unwrap_or_default();
            match event["type"].as_str() {
                Some("session.update") => {
                    update(&mut session, &event);
                    if let Some(voice) = session["voice"].as_str().filter(|voice| !VOICES.contains(voice)) {
                        let reason = format!("Unknown voice: {voice}").into();
                        let code = CloseCode::Policy;
                        // The loop ends with the reply.
                        let _ = self.socket.close(Some(CloseFrame { code, reason })).await;
                        continue;
                    }
                    self.send_session("session.updated", &session).await?;
                }
                Some("input_text.append") => {
                    self.misbehave().await?;
                    text.push_str(added);
                    count += added.chars().count();
                    while let Some(end) = text.find(' ') {
                        let word: String = text.drain(..=end).collect();
                        self.say(&word).await?;
                    }
                }
                Some("input_text.flush") => {
                    text.push_str(added);
                    count += added.chars().count();
                    self.say(&std::mem::take(&mut text)).await?;
                }
                Some("input_text.end") => {
                    self.wait_at_end().await?;
                    self.say(&std::mem::take(&mut text)).await?;
                    let usage = json!({ "prompt_tokens": count, "completion_tokens": 0, "total_tokens": count });
                    self.send_final(json!({ "type": "speech.audio.done", "usage": usage }))
                        .await?;
                }
                _ => self.send_error("an unknown event").await?,
            }
        }
    }

    /// Sends the audio of a text: 8 samples for each of its characters.
    async fn say(&mut self, text: &str) -> Result<(), Over> {
        if text.is_empty() {
            return Ok(());
        }
        let samples = text
            .chars()
            .flat_map(|letter| (0..8).map(move |at| f32::from(at as u8) / (letter as u32 as f32)));
        let audio: Vec<u8> = samples.flat_map(f32::to_le_bytes).collect();
        self.send(json!({ "type": "speech.audio.delta", "audio_data": BASE64.encode(audio) }))
            .await
    }

    async fn echo(&mut self) -> Result<(), Over> {
        loop {
            let message = self.next().await?;
            if message == Message::text("close") {
                let (code, reason) = (CloseCode::Library(3001), "as asked".into());
                // The loop ends with the reply.
                let _ = self.socket.close(Some(CloseFrame { code, reason })).await;
            } else if message.is_text() || message.is_binary() {
                self.socket.send(message).await.map_err(|_| Over)?;
            }
        }
    }
}

/// Changes a session as an event asks for.
fn update(session: &mut Value, event: &Value) {
    for (name, value) in event["session"].as_object().into_iter().flatten() {
        match name.as_str() {
            "ref_audio" => session["is_ref_audio"] = true.into(),
            name => session[name] = value.clone(),
        }
    }
}

fn checksum(bytes: &[u8]) -> u32 {
    bytes
        .iter()
        .fold(17, |sum: u32, byte| sum.wrapping_mul(31).wrapping_add((*byte).into()))
}
