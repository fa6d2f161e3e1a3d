//! The messages of a WebSocket session in HAR, as Chromium writes them, and in JSON lines.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::body;
use crate::cassette::{Blob, Close, Content, Message, Peer, RecordedResponse};
use crate::http::{Closing, WebSocketMessage};
use crate::recorder::recorded_session;
use crate::redaction::Redactor;

/// The opcodes of frames ([RFC 6455](https://www.rfc-editor.org/rfc/rfc6455#section-5.2)).
const TEXT: u64 = 1;
const BINARY: u64 = 2;

/// The frames of a session, in order, and its end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Session {
    frames: Vec<Frame>,
    /// `None` if the source does not say it.
    close: Option<(Close, u64)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Frame {
    peer: Peer,
    message: WebSocketMessage,
    at_ms: u64,
}

impl Session {
    /// Returns the frames of a recorded session, whose bodies are inline; `None` for another response.
    pub(super) fn of(response: &RecordedResponse) -> Option<Self> {
        let (mut session, mut run) = (Self::default(), Bytes::new());
        let mut times = response.timing_ms.iter().copied();
        for message in &response.messages {
            let mut push = |peer, message| {
                let at_ms = times.next().unwrap_or_default();
                session.frames.push(Frame { peer, message, at_ms });
            };
            let (peer, content) = match message {
                Message::Sent(content) => (Peer::Client, content),
                Message::Received(content) => (Peer::Server, content),
                Message::Audio(audio) => {
                    if let Some(blob) = &audio.run {
                        run = bytes_of(blob);
                    }
                    for frame in &audio.frames {
                        let audio = BASE64.encode(run.split_to((*frame).min(run.len())));
                        let message = json!({ "type": "input_audio.append", "audio": audio });
                        push(Peer::Client, text(message.to_string().as_bytes()));
                    }
                    continue;
                }
                Message::Closed(close) => {
                    session.close = Some((close.clone(), times.next().unwrap_or_default()));
                    continue;
                }
            };
            push(
                peer,
                match content {
                    Content::Text(blob) => text(&bytes_of(blob)),
                    Content::Binary(blob) => WebSocketMessage::Binary(bytes_of(blob)),
                },
            );
        }
        (!response.messages.is_empty()).then_some(session)
    }

    /// Returns the messages of a cassette and their times.
    ///
    /// # Errors
    /// A recording would not save such a session, for example because it is incomplete.
    pub(super) fn recorded(&self, path: &str, redactor: &Redactor) -> Result<(Vec<Message>, Vec<u64>), String> {
        let frames = self
            .frames
            .iter()
            .map(|frame| (frame.peer, &frame.message, frame.at_ms));
        let last = self.frames.last().map_or(0, |frame| frame.at_ms);
        let (by, closing, at_ms) = match &self.close {
            Some((close, at_ms)) => (
                close.by,
                Closing {
                    code: close.code,
                    reason: close.reason.clone(),
                },
                *at_ms,
            ),
            None => (Peer::Client, Closing::new(1000, ""), last),
        };
        recorded_session(path, frames, (by, closing, at_ms), redactor)
    }

    /// Adds the frames to an entry of a HAR file.
    pub(super) fn add_to_har(&self, entry: &mut serde_json::Map<String, Value>, started: Timestamp) {
        let seconds = |at_ms: u64| started.as_microsecond() as f64 / 1e6 + at_ms as f64 / 1e3;
        let frames = self.frames.iter().map(|frame| {
            let mut value = frame.to_json();
            value["time"] = seconds(frame.at_ms).into();
            value
        });
        entry.insert("_resourceType".to_owned(), "websocket".into());
        entry.insert("_webSocketMessages".to_owned(), frames.collect());
        if let Some((close, at_ms)) = &self.close {
            let mut value = close_to_json(close);
            value["time"] = seconds(*at_ms).into();
            entry.insert("_webSocketClose".to_owned(), value);
        }
    }

    /// Reads the frames of an entry of a HAR file; `None` if it has none.
    ///
    /// # Errors
    /// A frame is invalid.
    pub(super) fn of_har(entry: &Value, started: Option<Timestamp>) -> Result<Option<Self>, String> {
        let Some(messages) = entry["_webSocketMessages"].as_array() else {
            return Ok(None);
        };
        let first = messages.first().and_then(|message| message["time"].as_f64());
        let started = started
            .map(|time| time.as_microsecond() as f64 / 1e6)
            .or(first)
            .unwrap_or_default();
        let at_ms = |value: &Value| {
            let seconds = value["time"].as_f64().unwrap_or(started);
            ((seconds - started).max(0.0) * 1e3).round() as u64
        };
        let frames = messages.iter().map(|message| Frame::of_json(message, at_ms(message)));
        let close = entry.get("_webSocketClose").filter(|close| close.is_object());
        Ok(Some(Self {
            frames: frames.collect::<Result<_, _>>()?,
            close: close
                .map(|close| close_of_json(close).map(|read| (read, at_ms(close))))
                .transpose()?,
        }))
    }

    /// Returns the frames as the member `session` of a response in JSON lines.
    pub(super) fn to_json(&self) -> Value {
        let with_time = |mut value: Value, at_ms: u64| {
            value["time_ms"] = at_ms.into();
            value
        };
        let frames = self.frames.iter().map(|frame| with_time(frame.to_json(), frame.at_ms));
        let close = self.close.iter().map(|(close, at_ms)| {
            let mut value = close_to_json(close);
            value["type"] = "close".into();
            with_time(value, *at_ms)
        });
        frames.chain(close).collect()
    }

    /// Reads the member `session` of a response in JSON lines; `None` if there is none.
    ///
    /// # Errors
    /// A frame is invalid.
    pub(super) fn of_json(value: &Value) -> Result<Option<Self>, String> {
        let Some(items) = value.as_array() else {
            return Ok(None);
        };
        let mut session = Self::default();
        for item in items {
            let at_ms = item["time_ms"].as_u64().unwrap_or_default();
            if item["type"] == "close" {
                session.close = Some((close_of_json(item)?, at_ms));
            } else {
                session.frames.push(Frame::of_json(item, at_ms)?);
            }
        }
        Ok(Some(session))
    }
}

impl Frame {
    fn to_json(&self) -> Value {
        let kind = match self.peer {
            Peer::Client => "send",
            Peer::Server => "receive",
        };
        let (opcode, data) = match &self.message {
            WebSocketMessage::Text(text) => (TEXT, text.as_str().to_owned()),
            WebSocketMessage::Binary(bytes) => (BINARY, body::to_base64(bytes)),
            WebSocketMessage::Close(_) => (BINARY, String::new()),
        };
        json!({ "type": kind, "opcode": opcode, "data": data })
    }

    fn of_json(value: &Value, at_ms: u64) -> Result<Self, String> {
        let peer = match value["type"].as_str() {
            Some("send" | "request") => Peer::Client,
            Some("receive" | "response") => Peer::Server,
            _ => return Err("a message of the session has neither the type send nor receive".to_owned()),
        };
        let data = value["data"].as_str().ok_or("a message of the session has no data")?;
        let message = match value["opcode"].as_u64() {
            Some(TEXT) => text(data.as_bytes()),
            Some(BINARY) => WebSocketMessage::Binary(body::from_base64(data)?),
            _ => return Err("a message of the session has neither the opcode 1 nor 2".to_owned()),
        };
        Ok(Self { peer, message, at_ms })
    }
}

fn close_to_json(close: &Close) -> Value {
    let by = match close.by {
        Peer::Client => "client",
        Peer::Server => "server",
    };
    json!({ "by": by, "code": close.code, "reason": close.reason })
}

fn close_of_json(value: &Value) -> Result<Close, String> {
    Ok(Close {
        by: match value["by"].as_str() {
            Some("client") => Peer::Client,
            Some("server") => Peer::Server,
            _ => return Err("the close of the session is neither by the client nor by the server".to_owned()),
        },
        code: value["code"].as_u64().and_then(|code| u16::try_from(code).ok()),
        reason: value["reason"].as_str().unwrap_or_default().to_owned(),
    })
}

fn text(bytes: &[u8]) -> WebSocketMessage {
    WebSocketMessage::Text(String::from_utf8_lossy(bytes).into_owned().into())
}

fn bytes_of(blob: &Blob) -> Bytes {
    match blob {
        Blob::Inline(bytes) => bytes.clone(),
        Blob::External { .. } => Bytes::new(),
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;
    use crate::cassette::Audio;

    fn recorded() -> RecordedResponse {
        let text = |text: &'static str| Content::Text(Bytes::from_static(text.as_bytes()).into());
        RecordedResponse {
            status: StatusCode::SWITCHING_PROTOCOLS,
            headers: Vec::new(),
            body: Blob::Inline(Bytes::new()),
            timing_ms: vec![1, 2, 4, 8, 16, 32, 64],
            messages: vec![
                Message::Audio(Audio {
                    run: Some(Bytes::from_static(b"abcd").into()),
                    frames: vec![1, 2],
                }),
                Message::Received(text("a delta")),
                Message::Audio(Audio {
                    run: None,
                    frames: vec![1],
                }),
                Message::Sent(text(r#"{"type": "input_audio.end"}"#)),
                Message::Received(Content::Binary(Bytes::from_static(b"\xff").into())),
                Message::Closed(Close {
                    by: Peer::Server,
                    code: Some(1000),
                    reason: "bye".to_owned(),
                }),
            ],
        }
    }

    #[test]
    fn a_session_survives_an_export() {
        let response = recorded();
        let session = Session::of(&response).unwrap();
        let started: Timestamp = "2026-11-28T10:00:00.123456Z".parse().unwrap();
        let mut entry = serde_json::Map::new();
        session.add_to_har(&mut entry, started);
        let har = Session::of_har(&entry.into(), Some(started)).unwrap().unwrap();
        let lines = Session::of_json(&session.to_json()).unwrap().unwrap();
        assert_eq!((&har, &lines), (&session, &session));
        let (messages, times) = lines.recorded("/v1/other", &Redactor::new([], &[], &[])).unwrap();
        assert_eq!((messages, times), (response.messages, response.timing_ms));
    }

    #[test]
    fn what_a_browser_writes_is_read_and_an_incomplete_session_is_refused() {
        let message =
            |kind: &str, time: f64, data: &str| json!({ "type": kind, "time": time, "opcode": 1, "data": data });
        let mut messages = vec![
            message("receive", 10.5, r#"{"type":"session.created"}"#),
            message("send", 11.0, r#"{"type":"input_audio.end"}"#),
        ];
        let read = |messages: &[Value]| {
            let entry = json!({ "_resourceType": "websocket", "_webSocketMessages": messages });
            let session = Session::of_har(&entry, None).unwrap().unwrap();
            session.recorded("/v1/audio/transcriptions/realtime", &Redactor::new([], &[], &[]))
        };
        assert!(read(&messages).unwrap_err().contains("without its last event"));
        messages.push(message("receive", 12.25, r#"{"type":"transcription.done"}"#));
        assert_eq!(read(&messages).unwrap().1, [0, 500, 1750, 1750]);
        let other = json!({ "_webSocketMessages": [{ "type": "send", "opcode": 9, "data": "" }] });
        assert!(Session::of_har(&other, None).unwrap_err().contains("opcode"));
    }
}
