//! Realtime sessions over WebSockets: the text of audio while it is spoken, and the audio of text while it is written.
//!
//! Source of the messages: the official Python SDK 3.7.0, `mistralai/extra/realtime` and `models/realtime*`.

use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use futures_util::{Sink, SinkExt as _, Stream, StreamExt as _};
use http::{HeaderValue, header};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use tokio::sync::oneshot;

use super::speech::SpeechEvent;
use super::transcriptions::TranscriptionEvent;
use super::{Client, with_user_agent};
use crate::error::{Error, ErrorKind, Result};
use crate::http::{
    Closing, Handshake, Outgoing, Request, SendError, WebSocket, WebSocketMessage, WebSocketTransport as _, api_error,
};
use crate::recorder::Opening;

/// A request for `/v1/audio/transcriptions/realtime`.
///
/// ```
/// use mistral_cassette::client::RealtimeTranscriptionRequest;
///
/// let request = RealtimeTranscriptionRequest::new("voxtral-mini-transcribe-realtime-2602")
///     .audio_format("pcm_s16le", 16_000)
///     .language("en");
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct RealtimeTranscriptionRequest {
    model: String,
    session: Map<String, Value>,
}

impl RealtimeTranscriptionRequest {
    /// Creates a request for a model.
    pub fn new(model: impl Into<String>) -> Self {
        Self {
            model: model.into(),
            session: Map::new(),
        }
    }

    /// Sets the encoding of the audio (`pcm_s16le`, `pcm_s32le`, `pcm_f16le`, `pcm_f32le`, `pcm_mulaw`, `pcm_alaw`) and its
    /// sample rate in hertz.
    #[must_use]
    pub fn audio_format(self, encoding: &str, sample_rate: u32) -> Self {
        self.set(
            "audio_format",
            json!({ "encoding": encoding, "sample_rate": sample_rate }),
        )
    }

    /// Sets the language, for example `en`. By default the API detects it.
    #[must_use]
    pub fn language(self, language: &str) -> Self {
        self.set("language", language)
    }

    /// Sets any other member of the session (`target_streaming_delay_ms`, `diarize`, `context_bias`,
    /// `speaker_references`, `turn_detection`), and replaces an earlier value.
    #[must_use]
    pub fn set(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.session.insert(name.into(), value.into());
        self
    }
}

/// A request for `/v1/audio/speech/realtime`.
#[derive(Clone, Debug, PartialEq)]
pub struct RealtimeSpeechRequest {
    model: String,
    session: Map<String, Value>,
}

impl RealtimeSpeechRequest {
    /// Creates a request for a model.
    pub fn new(model: impl Into<String>) -> Self {
        Self {
            model: model.into(),
            session: Map::new(),
        }
    }

    /// Sets the id of the voice.
    #[must_use]
    pub fn voice(self, id: &str) -> Self {
        self.set("voice", id)
    }

    /// Sets the format of the audio: `pcm`, `wav`, `mp3`, `flac` or `opus`.
    #[must_use]
    pub fn response_format(self, format: &str) -> Self {
        self.set("response_format", format)
    }

    /// Sets any other member of the session (`ref_audio`, `streaming_mode`, `expressiveness`), and replaces an earlier
    /// value.
    #[must_use]
    pub fn set(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.session.insert(name.into(), value.into());
        self
    }
}

/// A realtime transcription: a sink of audio and a stream of [`TranscriptionEvent`]s.
///
/// The events `session.created`, `session.updated` and `turn.…` are [`TranscriptionEvent::Unknown`], which keeps all members.
/// To send and receive at the same time, use `futures_util::StreamExt::split`.
pub struct RealtimeTranscription(Connection<TranscriptionEvent>);

/// Realtime speech: a sink of text and a stream of [`SpeechEvent`]s; see [`RealtimeTranscription`].
pub struct RealtimeSpeech(Connection<SpeechEvent>);

impl RealtimeTranscription {
    /// Sends audio in the format of the session; at most 262,144 bytes at once.
    ///
    /// # Errors
    /// The error with which the session has ended, as of [`next`](Self::next); [`ErrorKind::Upstream`] if it has ended without
    /// one.
    pub async fn send_audio(&mut self, audio: impl Into<Bytes>) -> Result<()> {
        self.0.send(&audio_message(&audio.into())).await
    }

    /// Asks for the text of the audio so far.
    ///
    /// # Errors
    /// The errors of [`send_audio`](Self::send_audio).
    pub async fn flush(&mut self) -> Result<()> {
        self.0.send(&json!({ "type": "input_audio.flush" })).await
    }

    /// Says that there is no more audio. The last event is [`TranscriptionEvent::Done`].
    ///
    /// # Errors
    /// The errors of [`send_audio`](Self::send_audio).
    pub async fn end(&mut self) -> Result<()> {
        self.0.send(&json!({ "type": "input_audio.end" })).await
    }
}

impl RealtimeSpeech {
    /// Sends text.
    ///
    /// # Errors
    /// The error with which the session has ended, as of [`next`](Self::next); [`ErrorKind::Upstream`] if it has ended without
    /// one.
    pub async fn send_text(&mut self, text: &str) -> Result<()> {
        self.0.send(&text_message(text)).await
    }

    /// Asks for the audio of the text so far.
    ///
    /// # Errors
    /// The errors of [`send_text`](Self::send_text).
    pub async fn flush(&mut self) -> Result<()> {
        self.0.send(&json!({ "type": "input_text.flush" })).await
    }

    /// Says that there is no more text. The last event is [`SpeechEvent::Done`].
    ///
    /// # Errors
    /// The errors of [`send_text`](Self::send_text).
    pub async fn end(&mut self) -> Result<()> {
        self.0.send(&json!({ "type": "input_text.end" })).await
    }
}

/// What both kinds of session have.
macro_rules! session {
    ($session:ident, $event:ident, $item:ty, $message:expr) => {
        impl $session {
            /// The next event; `None` after the end of the session.
            ///
            /// # Errors
            /// [`ErrorKind::Miss`](crate::ErrorKind::Miss) if a message that was sent is not recorded,
            /// [`ErrorKind::Api`](crate::ErrorKind::Api) for an error event and if the API closes the session with an error,
            /// [`ErrorKind::Upstream`](crate::ErrorKind::Upstream) if the connection is lost.
            pub async fn next(&mut self) -> Result<Option<$event>> {
                self.0.events.next().await.transpose()
            }

            /// Closes the session, and waits until it is recorded. A session that is dropped is closed, too.
            ///
            /// # Errors
            /// As [`next`](Self::next); events that were not read are discarded.
            pub async fn close(self) -> Result<()> {
                self.0.close().await
            }
        }

        impl Stream for $session {
            type Item = Result<$event>;

            fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
                self.0.events.poll_next_unpin(context)
            }
        }

        impl Sink<$item> for $session {
            type Error = Error;

            fn poll_ready(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
                self.0
                    .outgoing
                    .poll_ready_unpin(context)
                    .map_err(|SendError(error)| error)
            }

            fn start_send(mut self: Pin<&mut Self>, item: $item) -> Result<()> {
                let message: Value = $message(&item);
                let sent = self.0.outgoing.start_send_unpin(text_frame(&message));
                sent.map_err(|SendError(error)| error)
            }

            fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
                self.0
                    .outgoing
                    .poll_flush_unpin(context)
                    .map_err(|SendError(error)| error)
            }

            fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
                self.0
                    .outgoing
                    .poll_close_unpin(context)
                    .map_err(|SendError(error)| error)
            }
        }

        impl fmt::Debug for $session {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($session)).finish_non_exhaustive()
            }
        }
    };
}

session!(RealtimeTranscription, TranscriptionEvent, Bytes, audio_message);
session!(RealtimeSpeech, SpeechEvent, String, text_message);

impl Client {
    /// Opens `/v1/audio/transcriptions/realtime`, and sends the options of the session.
    ///
    /// ```no_run
    /// use mistral_cassette::client::{Client, RealtimeTranscriptionRequest, TranscriptionEvent};
    ///
    /// # async fn example(client: Client, audio: Vec<u8>) -> mistral_cassette::Result<()> {
    /// let request = RealtimeTranscriptionRequest::new("voxtral-mini-transcribe-realtime-2602").audio_format("pcm_s16le", 16_000);
    /// let mut session = client.realtime_transcription(request).await?;
    /// session.send_audio(audio).await?;
    /// session.end().await?;
    /// while let Some(event) = session.next().await? {
    ///     if let TranscriptionEvent::Done(response) = event {
    ///         println!("{}", response.text);
    ///         break;
    ///     }
    /// }
    /// session.close().await
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Api`] if the API refuses the session, else those of
    /// [`request`](Self::request).
    pub async fn realtime_transcription(&self, request: RealtimeTranscriptionRequest) -> Result<RealtimeTranscription> {
        let connection = self.connect("/v1/audio/transcriptions/realtime", &request.model, &request.session);
        connection.await.map(RealtimeTranscription)
    }

    /// Opens `/v1/audio/speech/realtime`, and sends the options of the session.
    ///
    /// # Errors
    /// Those of [`realtime_transcription`](Self::realtime_transcription).
    pub async fn realtime_speech(&self, request: RealtimeSpeechRequest) -> Result<RealtimeSpeech> {
        let connection = self.connect("/v1/audio/speech/realtime", &request.model, &request.session);
        connection.await.map(RealtimeSpeech)
    }

    async fn connect<E: DeserializeOwned + Send + 'static>(
        &self,
        path: &str,
        model: &str,
        session: &Map<String, Value>,
    ) -> Result<Connection<E>> {
        let query = form_urlencoded::Serializer::new(String::new())
            .append_pair("model", model)
            .finish();
        let request = self.options.apply(with_user_agent(
            Request::get(&format!("{path}?{query}"))?.header(header::UPGRADE, HeaderValue::from_static("websocket")),
        ));
        let mut connection = match &self.recorder {
            None => {
                self.upstream.check_key(&request)?;
                match self.upstream.connect(request).await? {
                    Handshake::Accepted(socket) => Connection::new(socket, None),
                    Handshake::Refused(response) => return Err(refused(response).await),
                }
            }
            Some(recorder) => match recorder.open_websocket(request, self.upstream.clone()).await? {
                Opening::Refused(response) => return Err(refused(response).await),
                Opening::Accepted(session) => {
                    let (client, server) = WebSocket::pair();
                    let (sender, receiver) = oneshot::channel();
                    recorder.spawn(async move {
                        let served = session.serve(server).await;
                        let _ = sender.send(served);
                    });
                    Connection::new(client, Some(receiver))
                }
            },
        };
        if !session.is_empty() {
            connection
                .send(&json!({ "session": session, "type": "session.update" }))
                .await?;
        }
        Ok(connection)
    }
}

async fn refused(response: crate::http::Response) -> Error {
    let status = response.status().as_u16();
    match response.bytes().await {
        Ok(body) => api_error(status, &body),
        Err(error) => error,
    }
}

/// A session with the API, or with its recorder.
struct Connection<E> {
    outgoing: Outgoing,
    events: Pin<Box<dyn Stream<Item = Result<E>> + Send>>,
    event: PhantomData<fn() -> E>,
}

/// The result of the recorder, when it has ended the session.
type Served = oneshot::Receiver<Result<()>>;

impl<E: DeserializeOwned + Send + 'static> Connection<E> {
    fn new(socket: WebSocket, served: Option<Served>) -> Self {
        let state = Some((socket.incoming, served));
        let events = futures_util::stream::unfold(state, async |state| {
            let (mut incoming, mut served) = state?;
            match incoming.next().await {
                Some(Ok(WebSocketMessage::Close(closing))) => {
                    // So that the recorder gets its reply.
                    drop(incoming);
                    end_of(&closing, served.take()).await.map(|error| (Err(error), None))
                }
                Some(Ok(message)) => {
                    let event = parsed(&message);
                    let state = event.is_ok().then_some((incoming, served));
                    Some((event, state))
                }
                Some(Err(error)) => Some((Err(error), None)),
                None => end_of(&Closing::default(), served.take())
                    .await
                    .map(|error| (Err(error), None)),
            }
        });
        Self {
            outgoing: socket.outgoing,
            events: Box::pin(events),
            event: PhantomData,
        }
    }

    /// Sends a message. If the session has ended, the error is the one that its events end with.
    async fn send(&mut self, message: &Value) -> Result<()> {
        let Err(SendError(error)) = self.outgoing.send(text_frame(message)).await else {
            return Ok(());
        };
        while let Some(event) = self.events.next().await {
            event?;
        }
        Err(error)
    }

    async fn close(mut self) -> Result<()> {
        let closing = WebSocketMessage::Close(Closing::new(1000, ""));
        // If the session has ended already, its events say how.
        let _ = self.outgoing.send(closing).await;
        let _ = self.outgoing.close().await;
        while let Some(event) = self.events.next().await {
            event?;
        }
        Ok(())
    }
}

/// The error with which a session ends, if it does.
async fn end_of(closing: &Closing, served: Option<Served>) -> Option<Error> {
    if let Some(served) = served
        && let Ok(Err(error)) = served.await
    {
        return Some(error);
    }
    let code = closing.code.filter(|code| *code != 1000)?;
    let message = format!("the session was closed with {code}: {}", closing.reason);
    Some(Error::new(ErrorKind::Api, message))
}

fn parsed<E: DeserializeOwned>(message: &WebSocketMessage) -> Result<E> {
    let bytes: &[u8] = match message {
        WebSocketMessage::Text(text) => text.as_bytes(),
        WebSocketMessage::Binary(bytes) => bytes,
        WebSocketMessage::Close(_) => b"",
    };
    let unreadable = |error: serde_json::Error| {
        Error::parse(
            format!("an event of the session is not the expected JSON: {error}"),
            bytes,
        )
        .with_source(error)
    };
    let value: Value = serde_json::from_slice(bytes).map_err(unreadable)?;
    if value["type"] == "error" {
        let detail = &value["error"];
        let text = [&detail["message"]["detail"], &detail["message"]]
            .iter()
            .find_map(|text| text.as_str().map(str::to_owned));
        let message = format!(
            "the API sent an error event: {}",
            text.unwrap_or_else(|| detail.to_string())
        );
        return Err(Error::new(ErrorKind::Api, message));
    }
    serde_json::from_value(value).map_err(unreadable)
}

fn text_frame(message: &Value) -> WebSocketMessage {
    WebSocketMessage::Text(message.to_string().into())
}

fn audio_message(audio: &Bytes) -> Value {
    json!({ "audio": BASE64.encode(audio), "type": "input_audio.append" })
}

fn text_message(text: impl AsRef<str>) -> Value {
    json!({ "text": text.as_ref(), "type": "input_text.append" })
}
