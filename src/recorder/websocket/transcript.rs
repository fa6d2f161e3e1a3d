//! Collects the messages of a session while it is recorded.

use std::time::Instant;

use bytes::Bytes;
use serde::Deserialize;

use crate::cassette::{Audio, Blob, Close, Content, Message, Peer};
use crate::http::{Closing, WebSocketMessage, audio_of};
use crate::redaction::Redactor;

/// The messages of a session and their times.
pub(super) struct Transcript {
    started: Instant,
    messages: Vec<Message>,
    timing_ms: Vec<u64>,
    /// The run of audio that the client is sending: the index of its first message, and its bytes so far.
    run: Option<(usize, Vec<u8>)>,
    bytes: usize,
    limit: usize,
    events: Events,
}

/// What the events of a session say about its state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Events {
    /// The client has said that it sends nothing more.
    pub(super) has_input_ended: bool,
    /// The API has sent the last event.
    pub(super) has_final: bool,
    /// The text of an error event.
    pub(super) error: Option<String>,
}

impl Transcript {
    /// `limit` is the number of bytes above which a session is not recorded.
    pub(super) fn new(started: Instant, limit: usize) -> Self {
        Self {
            started,
            messages: Vec::new(),
            timing_ms: Vec::new(),
            run: None,
            bytes: 0,
            limit,
            events: Events::default(),
        }
    }

    pub(super) fn events(&self) -> &Events {
        &self.events
    }

    fn is_too_large(&self) -> bool {
        self.bytes > self.limit
    }

    /// Counts the bytes of a message. Returns whether the session is still within the limit.
    fn admit(&mut self, bytes: usize) -> bool {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.is_too_large() {
            self.messages = Vec::new();
            self.run = None;
        }
        !self.is_too_large()
    }

    /// The milliseconds since the session began.
    pub(super) fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn push(&mut self, message: Message, at_ms: u64) {
        self.timing_ms.push(at_ms);
        self.messages.push(message);
    }

    /// Adds a message of the client.
    pub(super) fn sent(&mut self, message: &WebSocketMessage, at_ms: u64) {
        match message {
            WebSocketMessage::Text(text) => {
                if let Some(audio) = audio_of(text.as_bytes()) {
                    self.sent_audio(&audio, at_ms);
                    return;
                }
                self.events.has_input_ended |= type_of(text.as_bytes()).is_some_and(|kind| ends_input(&kind));
                if self.admit(text.len()) {
                    self.end_run();
                    self.push(Message::Sent(Content::Text(copied(text.as_bytes()).into())), at_ms);
                }
            }
            WebSocketMessage::Binary(bytes) => {
                if self.admit(bytes.len()) {
                    self.end_run();
                    self.push(Message::Sent(Content::Binary(copied(bytes).into())), at_ms);
                }
            }
            WebSocketMessage::Close(_) => {}
        }
    }

    fn sent_audio(&mut self, audio: &[u8], at_ms: u64) {
        // A frame takes memory even if it is empty.
        if !self.admit(audio.len() + size_of::<u64>()) {
            return;
        }
        let frame = audio.len();
        match (&mut self.run, self.messages.last_mut()) {
            (Some((_, run)), Some(Message::Audio(last))) => {
                run.extend_from_slice(audio);
                last.frames.push(frame);
                self.timing_ms.push(at_ms);
                return;
            }
            // Empty audio does not begin a run that later frames could continue.
            (Some((_, run)), _) if !run.is_empty() => run.extend_from_slice(audio),
            _ => self.run = Some((self.messages.len(), audio.to_vec())),
        }
        let frames = vec![frame];
        self.push(Message::Audio(Audio { run: None, frames }), at_ms);
    }

    /// Moves the bytes of the run of audio to its first message.
    fn end_run(&mut self) {
        if let Some((first, bytes)) = self.run.take()
            && let Some(Message::Audio(audio)) = self.messages.get_mut(first)
        {
            audio.run = Some(Bytes::from(bytes).into());
        }
    }

    /// Adds a message of the API.
    pub(super) fn received(&mut self, message: &WebSocketMessage, at_ms: u64) {
        let content: Content = match message {
            WebSocketMessage::Text(text) => {
                match type_of(text.as_bytes()).as_deref() {
                    Some("error") => self.events.error = Some(error_of(text.as_bytes())),
                    Some("transcription.done" | "speech.audio.done") => self.events.has_final = true,
                    _ => {}
                }
                Content::Text(copied(text.as_bytes()).into())
            }
            WebSocketMessage::Binary(bytes) => Content::Binary(copied(bytes).into()),
            WebSocketMessage::Close(_) => return,
        };
        let (Content::Text(blob) | Content::Binary(blob)) = &content;
        if self.admit(blob.len()) {
            self.push(Message::Received(content), at_ms);
        }
    }

    /// Returns the messages without secrets, and their times; `None` if they are larger than the limit.
    pub(super) fn finish(
        mut self,
        by: Peer,
        closing: &Closing,
        at_ms: u64,
        redactor: &Redactor,
    ) -> Option<(Vec<Message>, Vec<u64>)> {
        if self.is_too_large() {
            return None;
        }
        self.end_run();
        let reason = redactor.redact_text(&closing.reason).into_owned();
        let code = closing.code;
        self.push(Message::Closed(Close { by, code, reason }), at_ms);
        for message in &mut self.messages {
            if let Message::Sent(Content::Text(blob) | Content::Binary(blob))
            | Message::Received(Content::Text(blob) | Content::Binary(blob)) = message
                && let Blob::Inline(bytes) = blob
            {
                *bytes = redactor.redact_body(bytes);
            }
        }
        Some((self.messages, self.timing_ms))
    }
}

/// A copy. The original may share a large buffer with its connection.
fn copied(bytes: &[u8]) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

/// Returns the `type` of a message that is a JSON object.
pub(super) fn type_of(text: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Typed {
        #[serde(rename = "type")]
        kind: String,
    }

    serde_json::from_slice::<Typed>(text).ok().map(|typed| typed.kind)
}

/// Returns the type of the event in a message.
pub(super) fn kind_of(message: &WebSocketMessage) -> Option<String> {
    match message {
        WebSocketMessage::Text(text) => type_of(text.as_bytes()),
        WebSocketMessage::Binary(_) | WebSocketMessage::Close(_) => None,
    }
}

/// Whether an event of this type is the last one of the client.
fn ends_input(kind: &str) -> bool {
    matches!(kind, "input_audio.end" | "input_text.end")
}

/// Returns the message of an error event.
fn error_of(text: &[u8]) -> String {
    let event: serde_json::Value = serde_json::from_slice(text).unwrap_or_default();
    let error = &event["error"];
    let message = [&error["message"], &error["message"]["detail"], error];
    let message = message.iter().find_map(|value| value.as_str());
    match message {
        Some(message) => format!("an error event: {message}"),
        None => "an error event".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cassette::{SentMessage, sent_messages};
    use crate::hash::sha256_hex;

    fn text(text: &str) -> WebSocketMessage {
        WebSocketMessage::Text(text.into())
    }

    fn append(audio: &str) -> WebSocketMessage {
        use base64::Engine as _;
        let audio = base64::engine::general_purpose::STANDARD.encode(audio);
        text(&format!(r#"{{"type":"input_audio.append","audio":"{audio}"}}"#))
    }

    fn finished(transcript: Transcript) -> Option<(Vec<Message>, Vec<u64>)> {
        transcript.finish(Peer::Client, &Closing::new(1000, ""), 9, &Redactor::new([], &[], &[]))
    }

    #[test]
    fn audio_is_one_run_however_it_is_cut() {
        let mut transcript = Transcript::new(Instant::now(), 1000);
        transcript.sent(&append("ab"), 0);
        transcript.sent(&append("c"), 0);
        transcript.received(&text(r#"{"type":"transcription.text.delta"}"#), 0);
        transcript.sent(&append("d"), 0);
        transcript.sent(&text(r#"{"type":"input_audio.end"}"#), 0);
        transcript.sent(&append(""), 0);
        transcript.received(&text(r#"{"type":"transcription.done"}"#), 0);
        let expected = Events {
            has_input_ended: true,
            has_final: true,
            error: None,
        };
        assert_eq!(transcript.events(), &expected);
        let (messages, timing) = finished(transcript).unwrap();
        assert_eq!(messages.iter().map(Message::frames).sum::<usize>(), timing.len());
        let end = Bytes::from_static(br#"{"type":"input_audio.end"}"#);
        assert_eq!(
            sent_messages(&messages),
            [SentMessage::Audio(sha256_hex(b"abcd")), SentMessage::Text(end)]
        );
        assert!(matches!(&messages[2], Message::Audio(audio) if audio.frames == [1] && audio.run.is_none()));
    }

    #[test]
    fn a_session_above_the_limit_is_not_kept() {
        let mut transcript = Transcript::new(Instant::now(), 20);
        transcript.received(&text(r#"{"type":"error","error":{"message":"no voice"}}"#), 0);
        assert_eq!(transcript.events().error.as_deref(), Some("an error event: no voice"));
        assert!(transcript.messages.is_empty());
        assert_eq!(finished(transcript), None);
    }
}
