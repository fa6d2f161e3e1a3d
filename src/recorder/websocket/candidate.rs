//! A recorded session that may be the one that a client repeats.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

use super::position::Position;
use super::transcript::type_of;
use crate::cassette::{Blob, Content, Message, Peer, RecordedResponse, SentMessage, is_alike};
use crate::diff::{Difference, differences};
use crate::error::Result;
use crate::http::{Closing, WebSocketMessage};
use crate::key::{CanonicalMessage, RequestKey};
use crate::recorder::document_cache::Document;
use crate::recorder::store::Store;
use crate::settings::matching::Matching;

/// A recorded session, as what the client sends and what it gets after that.
pub(super) struct Candidate {
    pub(super) key: RequestKey,
    pub(super) document: Arc<Document>,
    /// The index of the session in its cassette.
    pub(super) index: usize,
    inputs: Vec<Input>,
    pub(super) outputs: Vec<Output>,
    /// How many of the outputs the client has got.
    delivered: usize,
    /// The end, if the API has closed the session.
    pub(super) close: Option<Closing>,
}

/// What the client sends.
enum Input {
    /// A run of audio.
    Audio(Blob),
    Message(CanonicalMessage),
}

/// What the client gets.
pub(super) struct Output {
    /// The client gets it as soon as its messages have reached this position.
    after: Position,
    content: Content,
    /// The milliseconds since the frame before it.
    pub(super) delay_ms: u64,
}

/// How a message of the client differs from the recorded one.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Mismatch {
    /// In a few words.
    pub(super) summary: String,
    /// The lines of a diff.
    pub(super) diff: Vec<String>,
}

/// A message of the client, as it is compared.
pub(super) enum Sent {
    Audio(Bytes),
    Message(CanonicalMessage),
}

impl Candidate {
    pub(super) fn new(key: RequestKey, document: Arc<Document>, index: usize, matching: &Matching) -> Self {
        let inputs = inputs_of(&document.responses[index], matching);
        let (outputs, close) = outputs_of(&document.responses[index]);
        Self {
            key,
            index,
            inputs,
            outputs,
            delivered: 0,
            close,
            document,
        }
    }

    /// Switches to another session of the same cassette, in which the client sends the same messages. Those that it has got
    /// count as delivered as far as both sessions have the same ones.
    pub(super) fn set_index(&mut self, index: usize) {
        if index == self.index {
            return;
        }
        let (outputs, close) = outputs_of(&self.document.responses[index]);
        let delivered = self.outputs[..self.delivered].iter().zip(&outputs);
        self.delivered = delivered.take_while(|(old, new)| old.is_like(new)).count();
        (self.index, self.outputs, self.close) = (index, outputs, close);
    }

    /// The message that the client gets next, if it has sent what comes before it.
    pub(super) fn due(&self, position: Position) -> Option<&Output> {
        self.outputs
            .get(self.delivered)
            .filter(|output| output.after <= position)
    }

    /// Notes that the client has got the next message.
    pub(super) fn deliver(&mut self) {
        self.delivered += 1;
    }

    /// Notes that the client has got a message of another session. If it is like the next one of this session, the client does not
    /// get it again, although it may have sent less than in this recording: how much the API gets before it answers differs
    /// from one recording to the next.
    pub(super) fn follow(&mut self, other: &Output) {
        let is_next = self.outputs.get(self.delivered).is_some_and(|own| own.is_like(other));
        self.delivered += usize::from(is_next);
    }

    /// Whether the client has got half of the messages: then faults are injected.
    pub(super) fn is_half_delivered(&self) -> bool {
        self.delivered >= self.outputs.len() / 2
    }

    /// Whether the client has got everything.
    pub(super) fn is_delivered(&self) -> bool {
        self.delivered >= self.outputs.len()
    }

    /// Whether the client has sent everything when it is at this position.
    pub(super) fn is_complete(&self, position: Position) -> bool {
        position.at_message().messages >= self.inputs.len() && self.is_audio_complete(position)
    }

    /// Whether a message is the next one of the session, after what the client has sent.
    ///
    /// # Errors
    /// The audio of the session cannot be read.
    pub(super) async fn accepts(&mut self, sent: &Sent, position: Position, store: &Store) -> Result<bool> {
        self.load_audio(position, store).await?;
        Ok(match sent {
            // Empty audio does not count in the key either.
            Sent::Audio(audio) if audio.is_empty() => true,
            Sent::Audio(audio) => self
                .audio_at(position)
                .is_some_and(|expected| expected.starts_with(audio)),
            Sent::Message(message) => {
                self.is_audio_complete(position)
                    && matches!(self.inputs.get(position.at_message().messages), Some(Input::Message(next)) if next == message)
            }
        })
    }

    /// Loads the audio of the run at this position, if it is external.
    async fn load_audio(&mut self, position: Position, store: &Store) -> Result<()> {
        if let Some(Input::Audio(blob @ Blob::External { .. })) = self.inputs.get_mut(position.messages) {
            *blob = store.load_body(blob, &self.key).await?.into();
        }
        Ok(())
    }

    /// The rest of the audio that the client sends at this position.
    fn audio_at(&self, position: Position) -> Option<&[u8]> {
        match self.inputs.get(position.messages) {
            Some(Input::Audio(Blob::Inline(audio))) => audio.get(position.bytes..),
            _ => None,
        }
    }

    /// Whether no audio is missing at this position.
    fn is_audio_complete(&self, position: Position) -> bool {
        position.bytes == 0 || self.audio_at(position).is_some_and(<[u8]>::is_empty)
    }

    /// How a message that this session does not have differs from the one that it has there.
    pub(super) fn mismatch(&self, sent: &Sent, position: Position) -> Mismatch {
        let expected = self.inputs.get(position.at_message().messages);
        let diff = match (sent, expected) {
            (Sent::Message(message), Some(Input::Message(expected))) if self.is_audio_complete(position) => {
                let lines = differences(&compared_value(expected), &compared_value(message));
                lines.iter().flat_map(Difference::lines).collect()
            }
            _ => Vec::new(),
        };
        Mismatch {
            summary: self.summary(sent, position),
            diff,
        }
    }

    fn summary(&self, sent: &Sent, position: Position) -> String {
        let number = |at: Position| at.messages + 1;
        let next = self.inputs.get(position.at_message().messages);
        match sent {
            Sent::Audio(audio) => match self.audio_at(position) {
                Some([]) => format!(
                    "message {} is audio, of which the client sends more than the recorded {} bytes",
                    number(position),
                    position.bytes
                ),
                Some(expected) => {
                    let common = expected.iter().zip(audio).take_while(|(old, new)| old == new).count();
                    let at = position.bytes + common;
                    format!("message {} is audio, which differs at byte {at}", number(position))
                }
                None => match next {
                    Some(Input::Message(expected)) => format!(
                        "message {} is audio, and the recorded one is {}",
                        number(position.at_message()),
                        in_words(expected)
                    ),
                    _ => end_of_recording(position),
                },
            },
            Sent::Message(message) if !self.is_audio_complete(position) => {
                let rest = self.audio_at(position).map_or(0, <[u8]>::len);
                format!(
                    "after {} bytes of audio the client sends {}, and {rest} more bytes of audio are recorded",
                    position.bytes,
                    in_words(message)
                )
            }
            Sent::Message(message) => match next {
                None => end_of_recording(position.at_message()),
                Some(Input::Audio(_)) => format!(
                    "message {} is {}, and the recorded one is audio",
                    number(position.at_message()),
                    in_words(message)
                ),
                Some(Input::Message(_)) => {
                    format!(
                        "message {}, {}, differs",
                        number(position.at_message()),
                        in_words(message)
                    )
                }
            },
        }
    }
}

/// What the client sends in a session.
fn inputs_of(response: &RecordedResponse, matching: &Matching) -> Vec<Input> {
    let inputs = response.messages.iter().filter_map(|message| match message {
        Message::Audio(audio) => audio.run.clone().filter(|run| !run.is_empty()).map(Input::Audio),
        Message::Sent(content) => Some(Input::Message(canonical(content, matching))),
        Message::Received(_) | Message::Closed(_) => None,
    });
    inputs.collect()
}

/// What the client gets in a session, and its end if the API has closed it.
fn outputs_of(response: &RecordedResponse) -> (Vec<Output>, Option<Closing>) {
    let (mut outputs, mut close) = (Vec::new(), None);
    let (mut position, mut frame) = (Position::default(), 0);
    let time = |frame: usize| response.timing_ms.get(frame).copied().unwrap_or_default();
    for message in &response.messages {
        match message {
            Message::Audio(audio) => position = position.after_audio(audio.frames.iter().sum()),
            Message::Sent(_) => position = position.after_message(),
            Message::Received(content) => outputs.push(Output {
                after: if outputs.is_empty() && is_greeting(content) {
                    Position::default()
                } else {
                    position
                },
                content: content.clone(),
                delay_ms: time(frame).saturating_sub(time(frame.saturating_sub(1))),
            }),
            Message::Closed(end) => {
                close = (end.by == Peer::Server).then(|| Closing {
                    code: end.code,
                    reason: end.reason.clone(),
                });
            }
        }
        frame += message.frames();
    }
    (outputs, close)
}

fn end_of_recording(position: Position) -> String {
    format!(
        "the recording ends here, after {} messages of the client",
        position.messages
    )
}

impl Output {
    /// Whether two messages are equal apart from ids.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        is_alike(&self.content, &other.content)
    }

    /// The message with all its bytes.
    ///
    /// # Errors
    /// They cannot be read.
    pub(super) async fn message(&self, key: &RequestKey, store: &Store) -> Result<WebSocketMessage> {
        let (Content::Text(blob) | Content::Binary(blob)) = &self.content;
        let bytes = store.load_body(blob, key).await?;
        let is_text = matches!(self.content, Content::Text(_));
        Ok(match bytes.clone().try_into() {
            Ok(text) if is_text => WebSocketMessage::Text(text),
            _ => WebSocketMessage::Binary(bytes),
        })
    }
}

/// Whether the API sends this message before the client has sent anything. In a recording it may come later, because the client
/// did not wait for it.
fn is_greeting(content: &Content) -> bool {
    matches!(content, Content::Text(Blob::Inline(text)) if type_of(text).as_deref() == Some("session.created"))
}

fn canonical(content: &Content, matching: &Matching) -> CanonicalMessage {
    let message = match content {
        Content::Text(Blob::Inline(text)) => SentMessage::Text(text.clone()),
        Content::Text(blob) | Content::Binary(blob) => SentMessage::Binary(blob.sha256()),
    };
    CanonicalMessage::of(&message, matching)
}

fn compared_value(message: &CanonicalMessage) -> Value {
    match message {
        CanonicalMessage::Json(value) => value.clone(),
        other => other.to_value(),
    }
}

fn in_words(message: &CanonicalMessage) -> String {
    match message {
        CanonicalMessage::Json(value) => match value["type"].as_str() {
            Some(kind) => kind.to_owned(),
            None => "JSON".to_owned(),
        },
        CanonicalMessage::Text(_) => "a text".to_owned(),
        CanonicalMessage::Sha256(_) => "a binary frame".to_owned(),
        CanonicalMessage::Audio(_) => "audio".to_owned(),
    }
}
