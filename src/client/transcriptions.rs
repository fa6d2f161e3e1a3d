//! Transcriptions: what is said in an audio file.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::form::{Upload, form};
use super::message::Usage;
use super::stream::{End, EventStream};
use super::{Client, Nullable};
use crate::error::Result;
use crate::http::Request;

/// A request for `POST /v1/audio/transcriptions`. Sent without being set, as by the official SDKs: `diarize: false`.
///
/// ```
/// use mistral_cassette::client::TranscriptionRequest;
///
/// let request = TranscriptionRequest::new("voxtral-mini-latest")
///     .file("hello.wav", b"RIFF...".as_slice())
///     .language("en")
///     .set("timestamp_granularities", vec!["segment"]);
/// ```
#[derive(Clone, Debug)]
pub struct TranscriptionRequest {
    members: Map<String, Value>,
    file: Option<Upload>,
}

impl TranscriptionRequest {
    /// A request for a model by its name, with no audio yet: add [`file`](Self::file), [`file_url`](Self::file_url) or
    /// [`file_id`](Self::file_id).
    pub fn new(model: impl Into<String>) -> Self {
        Self {
            members: Map::new(),
            file: None,
        }
        .set("model", model.into())
        .set("diarize", false)
    }

    /// An audio file by its name, with its bytes.
    #[must_use]
    pub fn file(mut self, name: impl Into<String>, content: impl Into<Bytes>) -> Self {
        self.file = Some(Upload {
            name: name.into(),
            content: content.into(),
        });
        self
    }

    /// An audio file by its address. It goes as multipart, as the API reference has it and the TypeScript SDK sends it;
    /// the Python SDK sends such a form URL-encoded, which is another request.
    #[must_use]
    pub fn file_url(self, url: &str) -> Self {
        self.set("file_url", url)
    }

    /// An uploaded file by its id; see [`file_url`](Self::file_url).
    #[must_use]
    pub fn file_id(self, id: &str) -> Self {
        self.set("file_id", id)
    }

    /// The language, as in `en`; it is found out without.
    #[must_use]
    pub fn language(self, language: &str) -> Self {
        self.set("language", language)
    }

    /// Sets any other part of the form, in place of what it was; each element of a list is a part of its own.
    #[must_use]
    pub fn set(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.members.insert(name.into(), value.into());
        self
    }

    fn to_request(&self) -> Result<Request> {
        form(
            Request::post("/v1/audio/transcriptions")?,
            &self.members,
            self.file.as_ref(),
        )
    }
}

/// The answer to a [`TranscriptionRequest`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TranscriptionResponse {
    /// The model that answered.
    pub model: String,
    /// What is said.
    pub text: String,
    /// The language, when it was asked for or found out.
    #[serde(default, skip_serializing_if = "Nullable::is_absent")]
    pub language: Nullable<String>,
    /// What is said when, if it was asked for.
    #[serde(default, skip_serializing_if = "Nullable::is_absent")]
    pub segments: Nullable<Vec<TranscriptionSegment>>,
    /// How many tokens and seconds it took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// Everything else.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// What is said from one time to another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TranscriptionSegment {
    /// What is said.
    pub text: String,
    /// Where it begins, in seconds.
    #[serde(default, skip_serializing_if = "Nullable::is_absent")]
    pub start: Nullable<f64>,
    /// Where it ends, in seconds.
    #[serde(default, skip_serializing_if = "Nullable::is_absent")]
    pub end: Nullable<f64>,
    /// Everything else (`type`, `score`, `speaker_id`).
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// An event of a streamed transcription. A kind that is not known here, or not in this shape, is
/// [`Unknown`](Self::Unknown) and loses nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
#[non_exhaustive]
pub enum TranscriptionEvent {
    /// The language was found out.
    #[serde(rename = "transcription.language")]
    Language {
        /// The language, as in `en`.
        audio_language: String,
        /// Everything else.
        #[serde(flatten)]
        extra: Map<String, Value>,
    },
    /// More text.
    #[serde(rename = "transcription.text.delta")]
    TextDelta {
        /// What is new.
        text: String,
        /// Everything else.
        #[serde(flatten)]
        extra: Map<String, Value>,
    },
    /// A segment is whole.
    #[serde(rename = "transcription.segment")]
    Segment(TranscriptionSegment),
    /// All of it, once more.
    #[serde(rename = "transcription.done")]
    Done(TranscriptionResponse),
    /// Anything else.
    #[serde(untagged)]
    Unknown(Value),
}

/// The events of a streamed transcription.
pub type TranscriptionStream = EventStream<TranscriptionEvent>;

impl Client {
    /// `POST /v1/audio/transcriptions`: the whole text at once.
    ///
    /// # Errors
    /// As [`embeddings`](Self::embeddings).
    pub async fn transcribe(&self, request: TranscriptionRequest) -> Result<TranscriptionResponse> {
        self.ask(request.set("stream", false).to_request()?).await
    }

    /// `POST /v1/audio/transcriptions` with `stream: true`: the text as it is found.
    ///
    /// # Errors
    /// As [`embeddings`](Self::embeddings); each item of the stream may be an error too.
    pub async fn transcribe_stream(&self, request: TranscriptionRequest) -> Result<TranscriptionStream> {
        self.stream(
            request.set("stream", true).to_request()?,
            End::Event(&["transcription.done"]),
        )
        .await
    }
}
