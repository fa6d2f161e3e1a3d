//! A WebSocket client that speaks the protocol of the realtime API.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{self, Message};

use super::realtime::{SPEECH, TRANSCRIPTION};
use super::wire::{PATIENCE, address};

/// A WebSocket client.
pub struct Client {
    pub socket: WebSocketStream<TcpStream>,
}

impl Client {
    pub async fn open(url: &str, target: &str) -> Self {
        Self::open_with(url, target, &[]).await.unwrap()
    }

    pub async fn open_with(url: &str, target: &str, headers: &[(&'static str, &str)]) -> tungstenite::Result<Self> {
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
    pub async fn listener(url: &str) -> Self {
        Self::open(url, &format!("{TRANSCRIPTION}?model=voxtral-mini")).await
    }

    /// A session of speech.
    pub async fn speaker(url: &str) -> Self {
        Self::open(url, &format!("{SPEECH}?model=voxtral-tts")).await
    }

    /// A server that has closed the session shows that in what it sends.
    pub async fn send(&mut self, message: Message) {
        let _ = self.socket.send(message).await;
    }

    pub async fn say(&mut self, event: Value) {
        self.send(Message::text(event.to_string())).await;
    }

    pub async fn append(&mut self, audio: &[u8]) {
        self.say(json!({ "type": "input_audio.append", "audio": BASE64.encode(audio) }))
            .await;
    }

    /// The next message; `None` at the end.
    pub async fn next(&mut self) -> Option<Message> {
        let next = timeout(PATIENCE, self.socket.next()).await;
        next.expect("a message arrives").and_then(Result::ok)
    }

    pub async fn event(&mut self) -> Value {
        let message = self.next().await;
        let message = message.as_ref().map(|message| message.to_text().unwrap());
        serde_json::from_str(message.expect("an event")).unwrap_or_else(|error| panic!("{error}: {message:?}"))
    }

    /// The events up to one of this type.
    pub async fn until(&mut self, kind: &str) -> Vec<Value> {
        let mut events = vec![self.event().await];
        while events.last().unwrap()["type"] != kind {
            events.push(self.event().await);
        }
        events
    }

    /// Reads to the close frame, and returns its code and reason; `None` if the connection ends without one.
    pub async fn closing(&mut self) -> Option<(u16, String)> {
        loop {
            if let Message::Close(frame) = self.next().await? {
                while self.next().await.is_some() {}
                return frame.map(|frame| (frame.code.into(), frame.reason.to_string()));
            }
        }
    }

    /// Sends a close frame.
    pub async fn leave(&mut self) {
        let frame = CloseFrame {
            code: CloseCode::Normal,
            reason: "".into(),
        };
        self.socket.close(Some(frame)).await.unwrap();
    }

    /// Closes the session, and waits for the end of the connection.
    pub async fn close(mut self) {
        self.leave().await;
        while self.next().await.is_some() {}
    }

    /// Sends audio in pieces of this size, and reads to the final event.
    pub async fn transcribe(&mut self, audio: &[u8], size: usize) -> Vec<Value> {
        for piece in audio.chunks(size) {
            self.append(piece).await;
        }
        self.say(json!({ "type": "input_audio.end" })).await;
        self.until("transcription.done").await
    }

    /// Sends texts, and reads to the final event.
    pub async fn speak(&mut self, texts: &[&str]) -> Vec<Value> {
        for text in texts {
            self.say(json!({ "type": "input_text.append", "text": text })).await;
        }
        self.say(json!({ "type": "input_text.end" })).await;
        self.until("speech.audio.done").await
    }
}

/// A whole session of transcription.
pub async fn transcribed(url: &str, audio: &[u8], size: usize) -> Vec<Value> {
    let mut client = Client::listener(url).await;
    let events = client.transcribe(audio, size).await;
    client.close().await;
    events
}

/// A whole session of speech.
pub async fn spoken(url: &str, texts: &[&str]) -> Vec<Value> {
    let mut client = Client::speaker(url).await;
    let events = client.speak(texts).await;
    client.close().await;
    events
}
