//! WebSocket sessions for people: a transcript, a value to compare, and the audio.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde_json::{Value, json};

use crate::cassette::{Blob, Close, Content, Message, Peer, RecordedResponse, SentMessage};
use crate::diff::cut;
use crate::http::parse_json;

/// The length limit of the members of an event, in characters.
const LONGEST: usize = 120;

/// The members of an event that have text or audio, which consecutive events of one type continue.
const TEXT: [&str; 2] = ["text", "delta"];
const AUDIO: [&str; 2] = ["audio_data", "audio"];

/// The format of PCM audio, as far as the session says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct PcmFormat {
    /// The `wFormatTag` of a WAV file.
    tag: u16,
    bits: u16,
    sample_rate: u32,
}

/// The audio of one peer.
pub(crate) struct SessionAudio {
    /// `sent` or `received`.
    pub(crate) name: &'static str,
    /// A file that a browser can play, or the bytes themselves if their format is unknown.
    pub(crate) file: Bytes,
}

/// One line of a transcript, which several messages may have made.
struct Entry {
    at_ms: u64,
    label: String,
    /// How many frames.
    frames: usize,
    text: String,
    audio: usize,
}

impl Entry {
    fn line(&self, format: Option<PcmFormat>) -> String {
        let mut line = format!("{:>9.3} s  {}", self.at_ms as f64 / 1000.0, self.label);
        if self.frames > 1 {
            line.push_str(&format!(" ({} frames)", self.frames));
        }
        if self.audio > 0 {
            line.push_str(&format!(": {} bytes of audio", self.audio));
            if let Some(format) = format {
                line.push_str(&format!(", {:.1} s", format.seconds(self.audio)));
            }
        }
        if !self.text.is_empty() {
            line.push_str(": ");
            line.push_str(&self.text);
        }
        line
    }
}

/// Returns the transcript of a session, whose bodies are inline: one line for each message, and for consecutive messages of
/// one kind.
pub(crate) fn transcript(response: &RecordedResponse) -> Vec<String> {
    let format = format_of(response);
    let mut entries: Vec<Entry> = Vec::new();
    let mut frame = 0;
    for message in &response.messages {
        let at_ms = response.timing_ms.get(frame).copied().unwrap_or_default();
        frame += message.frames();
        let entry = entry_of(message, at_ms);
        match entries.last_mut() {
            Some(last) if last.label == entry.label && is_continued(message) => {
                last.frames += entry.frames;
                last.audio += entry.audio;
                last.text.push_str(&entry.text);
            }
            _ => entries.push(entry),
        }
    }
    entries.iter().map(|entry| entry.line(format)).collect()
}

/// Whether a message may continue the one before it.
fn is_continued(message: &Message) -> bool {
    match message {
        Message::Audio(_) => true,
        Message::Sent(Content::Text(blob)) | Message::Received(Content::Text(blob)) => {
            let event = event_of(blob);
            TEXT.iter().chain(&AUDIO).any(|name| event[*name].is_string())
                && !event["type"].is_null()
                && !is_last(&event)
        }
        _ => false,
    }
}

fn is_last(event: &Value) -> bool {
    event["type"].as_str().is_some_and(|kind| kind.ends_with(".done"))
}

fn entry_of(message: &Message, at_ms: u64) -> Entry {
    let (peer, content) = match message {
        Message::Audio(audio) => {
            return Entry {
                at_ms,
                label: "sent     audio".to_owned(),
                frames: message.frames(),
                text: String::new(),
                audio: audio.frames.iter().sum(),
            };
        }
        Message::Sent(content) => ("sent", content),
        Message::Received(content) => ("received", content),
        Message::Closed(close) => {
            return Entry {
                at_ms,
                label: closed(close),
                frames: 1,
                text: close.reason.clone(),
                audio: 0,
            };
        }
    };
    let (mut text, mut audio) = (String::new(), 0);
    let label = match content {
        Content::Binary(blob) => format!("{} bytes of binary data", blob.len()),
        Content::Text(blob) => {
            let mut event = event_of(blob);
            let kind = event["type"].as_str().unwrap_or("text").to_owned();
            if let Some(data) = member(&event, &AUDIO) {
                audio = BASE64.decode(data).map_or(0, |bytes| bytes.len());
            } else if let Some(said) = member(&event, &TEXT) {
                text = said.to_owned();
            } else if let Some(members) = event.as_object_mut() {
                members.shift_remove("type");
                if !members.is_empty() {
                    text = cut(&event.to_string(), LONGEST);
                }
            } else {
                text = cut(&text_of(blob), LONGEST);
            }
            kind
        }
    };
    Entry {
        at_ms,
        label: format!("{peer:<8} {label}"),
        frames: message.frames(),
        text,
        audio,
    }
}

fn closed(close: &Close) -> String {
    let by = match close.by {
        Peer::Client => "client",
        Peer::Server => "API",
    };
    match close.code {
        Some(code) => format!("closed by the {by} with {code}"),
        None => format!("closed by the {by}"),
    }
}

fn member<'a>(event: &'a Value, names: &[&str]) -> Option<&'a str> {
    names.iter().find_map(|name| event[*name].as_str())
}

fn text_of(blob: &Blob) -> String {
    match blob {
        Blob::Inline(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Blob::External { .. } => String::new(),
    }
}

fn event_of(blob: &Blob) -> Value {
    match blob {
        Blob::Inline(bytes) => parse_json(bytes).unwrap_or_default(),
        Blob::External { .. } => Value::Null,
    }
}

/// Returns the messages that the client gets as a JSON value, to compare two recordings of one request.
pub(crate) fn received(response: &RecordedResponse) -> Value {
    let received = response.messages.iter().filter_map(|message| match message {
        Message::Received(Content::Text(blob)) => {
            let mut event = event_of(blob);
            if event.is_null() {
                return Some(text_of(blob).into());
            }
            if let Some(session) = event["session"].as_object_mut() {
                session.shift_remove("request_id");
            }
            Some(event)
        }
        Message::Received(Content::Binary(blob)) => Some(json!({ "sha256": blob.sha256() })),
        Message::Closed(close) => Some(json!({ "close": closed(close), "reason": close.reason })),
        _ => None,
    });
    received.collect()
}

/// Returns the text that a client sends.
pub(crate) fn text_of_client(messages: &[SentMessage]) -> String {
    let texts = messages.iter().filter_map(|message| match message {
        SentMessage::Text(text) => member(&parse_json(text)?, &TEXT).map(str::to_owned),
        SentMessage::Binary(_) | SentMessage::Audio(_) => None,
    });
    texts.collect()
}

/// Returns the text that a client gets.
pub(crate) fn text_of_api(response: &RecordedResponse) -> String {
    let texts = response.messages.iter().filter_map(|message| match message {
        Message::Received(Content::Text(blob)) => {
            let event = event_of(blob);
            (!is_last(&event)).then(|| member(&event, &TEXT).map(str::to_owned))?
        }
        _ => None,
    });
    texts.collect()
}

/// Returns the last event with token counts.
pub(crate) fn event_with_usage(response: &RecordedResponse) -> Option<Value> {
    let mut events = response.messages.iter().rev().filter_map(|message| match message {
        Message::Received(Content::Text(blob)) => Some(event_of(blob)),
        _ => None,
    });
    events.find(|event| event["usage"].is_object())
}

/// Returns the audio that the client sends and that it gets.
pub(crate) fn audio(response: &RecordedResponse) -> Vec<SessionAudio> {
    let format = format_of(response);
    let (mut sent, mut got) = (Vec::new(), Vec::new());
    for message in &response.messages {
        match message {
            Message::Audio(audio) => {
                if let Some(Blob::Inline(bytes)) = &audio.run {
                    sent.extend_from_slice(bytes);
                }
            }
            Message::Received(Content::Text(blob)) => {
                let event = event_of(blob);
                let data = member(&event, &AUDIO).and_then(|data| BASE64.decode(data).ok());
                got.extend(data.unwrap_or_default());
            }
            _ => {}
        }
    }
    let file = |name: &'static str, bytes: Vec<u8>, format: Option<PcmFormat>| SessionAudio {
        name,
        file: format.map_or(bytes.clone().into(), |format| format.wav(&bytes)),
    };
    let mut all = Vec::new();
    if !sent.is_empty() {
        all.push(file("sent", sent, format));
    }
    if !got.is_empty() {
        // The format of speech says itself what it is, unless it is raw.
        all.push(file("received", got, None));
    }
    all
}

/// The format of the audio that the client sends, from the last event that names it.
fn format_of(response: &RecordedResponse) -> Option<PcmFormat> {
    let events = response.messages.iter().filter_map(|message| match message {
        Message::Sent(Content::Text(blob)) | Message::Received(Content::Text(blob)) => Some(event_of(blob)),
        _ => None,
    });
    let formats = events.filter_map(|event| PcmFormat::of(&event["session"]["audio_format"]));
    formats.last()
}

impl PcmFormat {
    fn of(format: &Value) -> Option<Self> {
        let (tag, bits) = match format["encoding"].as_str()? {
            "pcm_s16le" => (1, 16),
            "pcm_s32le" => (1, 32),
            "pcm_f32le" => (3, 32),
            "pcm_alaw" => (6, 8),
            "pcm_mulaw" => (7, 8),
            _ => return None,
        };
        let sample_rate = u32::try_from(format["sample_rate"].as_u64()?)
            .ok()
            .filter(|rate| *rate > 0)?;
        Some(Self { tag, bits, sample_rate })
    }

    fn bytes_per_second(self) -> u32 {
        self.sample_rate.saturating_mul(u32::from(self.bits / 8))
    }

    fn seconds(self, bytes: usize) -> f64 {
        bytes as f64 / f64::from(self.bytes_per_second())
    }

    /// A WAV file with one channel.
    fn wav(self, audio: &[u8]) -> Bytes {
        let length = u32::try_from(audio.len()).unwrap_or(u32::MAX);
        let mut file = Vec::with_capacity(44 + audio.len());
        file.extend_from_slice(b"RIFF");
        file.extend_from_slice(&length.saturating_add(36).to_le_bytes());
        file.extend_from_slice(b"WAVEfmt ");
        file.extend_from_slice(&16_u32.to_le_bytes());
        file.extend_from_slice(&self.tag.to_le_bytes());
        file.extend_from_slice(&1_u16.to_le_bytes());
        file.extend_from_slice(&self.sample_rate.to_le_bytes());
        file.extend_from_slice(&self.bytes_per_second().to_le_bytes());
        file.extend_from_slice(&(self.bits / 8).to_le_bytes());
        file.extend_from_slice(&self.bits.to_le_bytes());
        file.extend_from_slice(b"data");
        file.extend_from_slice(&length.to_le_bytes());
        file.extend_from_slice(audio);
        file.into()
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;
    use crate::cassette::Audio;

    fn text(event: &Value) -> Content {
        Content::Text(Bytes::from(event.to_string()).into())
    }

    fn session() -> RecordedResponse {
        let format = json!({ "encoding": "pcm_s16le", "sample_rate": 16000 });
        let messages = vec![
            Message::Received(text(
                &json!({ "type": "session.created", "session": { "request_id": "a" } }),
            )),
            Message::Sent(text(
                &json!({ "type": "session.update", "session": { "audio_format": format } }),
            )),
            Message::Audio(Audio {
                run: Some(Bytes::from(vec![1; 32_000]).into()),
                frames: vec![16_000],
            }),
            Message::Received(text(&json!({ "type": "transcription.text.delta", "text": "Bon" }))),
            Message::Received(text(&json!({ "type": "transcription.text.delta", "text": "jour" }))),
            Message::Audio(Audio {
                run: None,
                frames: vec![8_000, 8_000],
            }),
            Message::Sent(text(&json!({ "type": "input_audio.end" }))),
            Message::Received(text(
                &json!({ "type": "transcription.done", "text": "Bonjour", "usage": { "total_tokens": 3 } }),
            )),
            Message::Closed(Close {
                by: Peer::Client,
                code: Some(1000),
                reason: String::new(),
            }),
        ];
        RecordedResponse {
            status: StatusCode::SWITCHING_PROTOCOLS,
            headers: Vec::new(),
            body: Blob::Inline(Bytes::new()),
            timing_ms: (0..10).map(|number| number * 100).collect(),
            messages,
        }
    }

    #[test]
    fn a_transcript_has_a_line_for_each_message_and_joins_deltas() {
        insta::assert_snapshot!(transcript(&session()).join("\n"), @r#"
        0.000 s  received session.created: {"session":{"request_id":"a"}}
        0.100 s  sent     session.update: {"session":{"audio_format":{"encoding":"pcm_s16le","sample_rate":16000}}}
        0.200 s  sent     audio: 16000 bytes of audio, 0.5 s
        0.300 s  received transcription.text.delta (2 frames): Bonjour
        0.500 s  sent     audio (2 frames): 16000 bytes of audio, 0.5 s
        0.700 s  sent     input_audio.end
        0.800 s  received transcription.done: Bonjour
        0.900 s  closed by the client with 1000
        "#);
    }

    #[test]
    fn the_audio_of_a_client_becomes_a_wav_file() {
        let [audio] = &audio(&session())[..] else {
            panic!("one peer has audio")
        };
        assert_eq!(audio.name, "sent");
        assert_eq!((&audio.file[..4], audio.file.len()), (&b"RIFF"[..], 44 + 32_000));
        assert_eq!(audio.file[28..32], 32_000_u32.to_le_bytes());
    }

    #[test]
    fn two_recordings_are_compared_without_ids_and_times() {
        let (one, mut other) = (session(), session());
        other.messages[0] = Message::Received(text(
            &json!({ "type": "session.created", "session": { "request_id": "b" } }),
        ));
        other.timing_ms = vec![0; 10];
        assert_eq!(received(&one), received(&other));
        assert_eq!(event_with_usage(&one).unwrap()["usage"]["total_tokens"], 3);
    }
}
