//! The messages of a WebSocket session in the document of a cassette.

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde::{Deserialize, Serialize as SerializeDerive};
use serde_json::Value;
use serde_yaml::FlowSeq;

use super::body_in::{BodyFields, FloatsIn, SpacingIn, decoded, one_blob};
use super::body_out::{BASE64_MEMBER, BlobOut, FILE_MEMBER, Text, base64};
use crate::cassette::body::Blob;
use crate::cassette::{Audio, Close, Content, Message, Peer};

/// One entry, written as a map with one member: `send`, `receive` or `close`.
pub(super) struct MessageOut<'a>(pub(super) &'a Message);

impl Serialize for MessageOut<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        match self.0 {
            Message::Sent(content) => map.serialize_entry("send", &ContentOut(content))?,
            Message::Audio(audio) => map.serialize_entry("send", &SentAudioOut { audio: AudioOut(audio) })?,
            Message::Received(content) => map.serialize_entry("receive", &ContentOut(content))?,
            Message::Closed(close) => map.serialize_entry("close", &CloseOut::new(close))?,
        }
        map.end()
    }
}

/// A text frame has the members of a body.
struct ContentOut<'a>(&'a Content);

impl Serialize for ContentOut<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = match self.0 {
            Content::Text(blob) if !blob.is_empty() => return BlobOut::of(blob).serialize(serializer),
            Content::Text(_) | Content::Binary(_) => serializer.serialize_map(Some(1))?,
        };
        match self.0 {
            Content::Text(_) => map.serialize_entry("text", "")?,
            Content::Binary(blob) => map.serialize_entry("binary", &BinaryOut(blob))?,
        }
        map.end()
    }
}

#[derive(SerializeDerive)]
struct SentAudioOut<'a> {
    audio: AudioOut<'a>,
}

struct BinaryOut<'a>(&'a Blob);

impl Serialize for BinaryOut<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        serialize_bytes(self.0, &mut map)?;
        map.end()
    }
}

struct AudioOut<'a>(&'a Audio);

impl Serialize for AudioOut<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if let Some(run) = &self.0.run {
            serialize_bytes(run, &mut map)?;
        }
        map.serialize_entry("frames", &FlowSeq(&self.0.frames))?;
        map.end()
    }
}

fn serialize_bytes<M: SerializeMap>(blob: &Blob, map: &mut M) -> Result<(), M::Error> {
    match blob {
        Blob::Inline(bytes) => map.serialize_entry(BASE64_MEMBER, &Text(&base64(bytes))),
        Blob::External { sha256 } => map.serialize_entry(FILE_MEMBER, &Text(sha256)),
    }
}

#[derive(SerializeDerive)]
struct CloseOut<'a> {
    by: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Text<'a>>,
}

impl<'a> CloseOut<'a> {
    fn new(close: &'a Close) -> Self {
        Self {
            by: match close.by {
                Peer::Client => "client",
                Peer::Server => "server",
            },
            code: close.code,
            reason: Some(&*close.reason).filter(|reason| !reason.is_empty()).map(Text),
        }
    }
}

#[derive(Deserialize)]
#[serde(try_from = "MessageFields")]
pub(super) struct MessageIn(pub(super) Message);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MessageFields {
    send: Option<ContentIn>,
    receive: Option<ContentIn>,
    close: Option<CloseFields>,
}

impl TryFrom<MessageFields> for MessageIn {
    type Error = &'static str;

    fn try_from(fields: MessageFields) -> Result<Self, Self::Error> {
        Ok(Self(match (fields.send, fields.receive, fields.close) {
            (Some(ContentIn::Content(Content::Text(Blob::External { .. }))), None, None) => {
                return Err("a text that the client sends cannot be in a file");
            }
            (Some(ContentIn::Content(content)), None, None) => Message::Sent(content),
            (Some(ContentIn::Audio(audio)), None, None) => Message::Audio(audio),
            (None, Some(ContentIn::Audio(_)), None) => {
                return Err("a message that is received has no audio: it is binary, or JSON");
            }
            (None, Some(ContentIn::Content(content)), None) => Message::Received(content),
            (None, None, Some(close)) => Message::Closed(Close {
                by: match close.by {
                    PeerIn::Client => Peer::Client,
                    PeerIn::Server => Peer::Server,
                },
                code: close.code,
                reason: close.reason,
            }),
            _ => return Err("a message of a session has one of send, receive and close"),
        }))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CloseFields {
    by: PeerIn,
    code: Option<u16>,
    #[serde(default)]
    reason: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum PeerIn {
    Client,
    Server,
}

#[derive(Deserialize)]
#[serde(try_from = "ContentFields")]
enum ContentIn {
    Content(Content),
    Audio(Audio),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ContentFields {
    #[serde(default)]
    spacing: SpacingIn,
    #[serde(default)]
    ascii: bool,
    #[serde(default)]
    floats: FloatsIn,
    #[serde(default)]
    final_newline: bool,
    json: Option<Value>,
    text: Option<String>,
    file: Option<String>,
    binary: Option<BinaryFields>,
    audio: Option<AudioFields>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BinaryFields {
    base64: Option<String>,
    file: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AudioFields {
    base64: Option<String>,
    file: Option<String>,
    frames: Vec<usize>,
}

impl TryFrom<ContentFields> for ContentIn {
    type Error = String;

    fn try_from(fields: ContentFields) -> Result<Self, String> {
        let is_text = fields.json.is_some() || fields.text.is_some() || fields.file.is_some();
        match (fields.binary, fields.audio, is_text) {
            (Some(binary), None, false) => Ok(Self::Content(Content::Binary(bytes_of(binary.base64, binary.file)?))),
            (None, Some(audio), false) => Ok(Self::Audio(Audio {
                run: (audio.base64.is_some() || audio.file.is_some())
                    .then(|| bytes_of(audio.base64, audio.file))
                    .transpose()?,
                frames: audio.frames,
            })),
            (None, None, true) => {
                let body = BodyFields {
                    spacing: fields.spacing,
                    ascii: fields.ascii,
                    floats: fields.floats,
                    final_newline: fields.final_newline,
                    json: fields.json,
                    text: fields.text,
                    file: fields.file,
                    ..BodyFields::default()
                };
                body.into_blob().map(|blob| Self::Content(Content::Text(blob)))
            }
            _ => Err("a message has one of json, text, file, binary and audio".to_owned()),
        }
    }
}

fn bytes_of(base64: Option<String>, file: Option<String>) -> Result<Blob, String> {
    one_blob(decoded(base64)?.into_iter().collect(), file)
}

/// Checks the messages of a session and the number of their times.
pub(super) fn check(messages: &[Message], times: usize) -> Result<(), &'static str> {
    let mut rest = 0;
    for (at, message) in messages.iter().enumerate() {
        match message {
            Message::Closed(_) if at + 1 < messages.len() => return Err("a message after the close of the session"),
            Message::Audio(audio) => {
                if let Some(run) = &audio.run {
                    if rest > 0 {
                        return Err("a run of audio begins before the one before it has ended");
                    }
                    rest = match run {
                        Blob::Inline(bytes) => bytes.len(),
                        // The number of bytes is not known here.
                        Blob::External { .. } => usize::MAX,
                    };
                }
                let frames: usize = audio.frames.iter().fold(0, |sum, frame| sum.saturating_add(*frame));
                if frames > rest {
                    return Err("the frames of the audio are longer than its bytes");
                }
                rest = if rest == usize::MAX { rest } else { rest - frames };
            }
            Message::Sent(_) if rest == usize::MAX => rest = 0,
            Message::Sent(_) if rest > 0 => return Err("the frames of the audio are shorter than its bytes"),
            _ => {}
        }
    }
    if !matches!(messages.last(), Some(Message::Closed(_))) {
        return Err("the session has no close at its end");
    }
    if rest > 0 && rest < usize::MAX {
        return Err("the frames of the audio are shorter than its bytes");
    }
    if messages.iter().map(Message::frames).sum::<usize>() != times {
        return Err("timing_ms of a session has one number for each frame");
    }
    Ok(())
}
