//! The messages of a WebSocket session, as they are recorded.
//!
//! Clients split audio into frames as they like, so consecutive frames of audio are one run: its bytes are stored once, with
//! the first of its frames. What the API sends in between does not end it.

use bytes::Bytes;
use serde_json::Value;

use super::blob::Blob;

/// One entry of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    /// By the client.
    Sent(Content),
    /// Frames of audio, by the client.
    Audio(Audio),
    /// By the API.
    Received(Content),
    /// The end: always the last entry.
    Closed(Close),
}

/// The content of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// A text frame. That of the client is always inline.
    Text(Blob),
    /// A binary frame.
    Binary(Blob),
}

/// Consecutive frames of audio.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Audio {
    /// The audio of the whole run, decoded; `None` if these frames continue a run.
    pub(crate) run: Option<Blob>,
    /// The number of bytes in each frame.
    pub(crate) frames: Vec<usize>,
}

/// The end of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Close {
    pub(crate) by: Peer,
    /// `None` if the close frame has no code.
    pub(crate) code: Option<u16>,
    pub(crate) reason: String,
}

/// One end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    Client,
    Server,
}

impl Message {
    /// The number of frames, each of which has a time in `timing_ms`.
    pub(crate) fn frames(&self) -> usize {
        match self {
            Self::Audio(audio) => audio.frames.len(),
            Self::Sent(_) | Self::Received(_) | Self::Closed(_) => 1,
        }
    }

    /// The bytes that may be stored outside of the document. The key is computed from the text of the client, which stays.
    pub(crate) fn blob_mut(&mut self) -> Option<&mut Blob> {
        match self {
            Self::Sent(Content::Binary(blob)) | Self::Received(Content::Text(blob) | Content::Binary(blob)) => {
                Some(blob)
            }
            Self::Audio(audio) => audio.run.as_mut(),
            Self::Sent(Content::Text(_)) | Self::Closed(_) => None,
        }
    }

    /// The bytes of the message that the document has or refers to.
    pub(crate) fn blob(&self) -> Option<&Blob> {
        match self {
            Self::Sent(Content::Text(blob) | Content::Binary(blob))
            | Self::Received(Content::Text(blob) | Content::Binary(blob)) => Some(blob),
            Self::Audio(audio) => audio.run.as_ref(),
            Self::Closed(_) => None,
        }
    }
}

/// A message of the client as it counts for the key: without the frames into which its audio was split, and without
/// times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SentMessage {
    Text(Bytes),
    /// The SHA-256 of a binary frame.
    Binary(String),
    /// The SHA-256 of a run of audio.
    Audio(String),
}

/// Returns what the client has sent in a session. Audio of no bytes does not count.
pub(crate) fn sent_messages(messages: &[Message]) -> Vec<SentMessage> {
    let sent = messages.iter().filter_map(|message| match message {
        Message::Sent(Content::Text(Blob::Inline(text))) => Some(SentMessage::Text(text.clone())),
        Message::Sent(Content::Text(blob) | Content::Binary(blob)) => Some(SentMessage::Binary(blob.sha256())),
        Message::Audio(Audio { run: Some(blob), .. }) if !blob.is_empty() => Some(SentMessage::Audio(blob.sha256())),
        Message::Audio(_) | Message::Received(_) | Message::Closed(_) => None,
    });
    sent.collect()
}

/// Whether two messages are equal apart from the ids that the API makes for each session.
pub(crate) fn is_alike(one: &Content, other: &Content) -> bool {
    one == other
        || match (one, other) {
            (Content::Text(Blob::Inline(one)), Content::Text(Blob::Inline(other))) => {
                matches!((without_ids(one), without_ids(other)), (Some(one), Some(other)) if one == other)
            }
            _ => false,
        }
}

/// Whether the client gets the same messages in two sessions, apart from ids and from what it has sent before each.
pub(super) fn are_equivalent(old: &[Message], new: &[Message]) -> bool {
    let (old_received, new_received) = (received(old), received(new));
    // The last entry is the close.
    old.last() == new.last()
        && old_received.len() == new_received.len()
        && old_received
            .iter()
            .zip(new_received)
            .all(|(old, new)| is_alike(old, new))
}

fn received(messages: &[Message]) -> Vec<&Content> {
    let received = messages.iter().filter_map(|message| match message {
        Message::Received(content) => Some(content),
        _ => None,
    });
    received.collect()
}

/// A message without the ids that the API makes for each session.
fn without_ids(text: &[u8]) -> Option<Value> {
    fn remove(value: &mut Value) {
        match value {
            Value::Object(members) => {
                members.retain(|name, _| name != "id" && name != "request_id");
                members.values_mut().for_each(remove);
            }
            Value::Array(items) => items.iter_mut().for_each(remove),
            _ => {}
        }
    }

    let mut value = serde_json::from_slice(text).ok()?;
    remove(&mut value);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_received_in_between_does_not_end_a_run_of_audio() {
        let piece = |run: Option<&'static [u8]>, frames: &[usize]| {
            Message::Audio(Audio {
                run: run.map(|bytes| Bytes::from_static(bytes).into()),
                frames: frames.to_vec(),
            })
        };
        let text = |text: &'static str| Content::Text(Bytes::from_static(text.as_bytes()).into());
        let cut = [
            piece(Some(b"abcd"), &[1]),
            Message::Received(text("delta")),
            piece(None, &[2, 1]),
            Message::Sent(text("end")),
            piece(Some(b""), &[0]),
        ];
        let whole = [piece(Some(b"abcd"), &[4]), Message::Sent(text("end"))];
        assert_eq!(sent_messages(&cut), sent_messages(&whole));
        assert_eq!(cut.iter().map(Message::frames).sum::<usize>(), 6);
    }
}
