//! Transcriptions: the text of audio files.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::form::{Upload, form};
use super::options::TimestampGranularity;
use super::stream::{End, EventStream};
use super::usage::Usage;
use super::{Client, Nullable};
use crate::error::Result;
use crate::http::Request;

/// A request for `POST /v1/audio/transcriptions`. The default is that of the official SDKs: `diarize: false`.
///
/// ```
/// use mistral_cassette::client::TranscriptionRequest;
///
/// let request = TranscriptionRequest::new("voxtral-mini-latest")
///     .file("hello.wav", b"RIFF...".as_slice())
///     .language("en")
///     .timestamp_granularities(["segment"]);
/// ```
#[derive(Clone, Debug)]
pub struct TranscriptionRequest {
    members: Map<String, Value>,
    file: Option<Upload>,
}

impl TranscriptionRequest {
    /// Creates a request for a model, without audio. Add [`file`](Self::file), [`file_url`](Self::file_url) or
    /// [`file_id`](Self::file_id).
    pub fn new(model: impl Into<String>) -> Self {
        Self {
            members: Map::new(),
            file: None,
        }
        .set("model", model.into())
        .set("diarize", false)
    }

    /// Sets the audio file: its name and its bytes.
    #[must_use]
    pub fn file(mut self, name: impl Into<String>, content: impl Into<Bytes>) -> Self {
        self.file = Some(Upload {
            name: name.into(),
            content: content.into(),
        });
        self
    }

    /// Sets the URL of the audio file. The form is multipart, as in the API reference and the TypeScript SDK. The
    /// Python SDK sends this form URL-encoded, which is a different request.
    #[must_use]
    pub fn file_url(self, url: &str) -> Self {
        self.set("file_url", url)
    }

    /// Sets the id of an uploaded audio file. The form is that of [`file_url`](Self::file_url).
    #[must_use]
    pub fn file_id(self, id: &str) -> Self {
        self.set("file_id", id)
    }

    /// Sets the language, for example `en`. By default the API detects it.
    #[must_use]
    pub fn language(self, language: &str) -> Self {
        self.set("language", language)
    }

    /// Sets the sampling temperature.
    #[must_use]
    pub fn temperature(self, temperature: f64) -> Self {
        self.set("temperature", temperature)
    }

    /// Sets whether the API distinguishes the speakers.
    #[must_use]
    pub fn diarize(self, diarize: bool) -> Self {
        self.set("diarize", diarize)
    }

    /// Sets words that are likely to occur, for example names.
    #[must_use]
    pub fn context_bias<Text: Into<String>>(self, words: impl IntoIterator<Item = Text>) -> Self {
        self.set(
            "context_bias",
            words.into_iter().map(Into::into).collect::<Vec<String>>(),
        )
    }

    /// Sets the parts of the transcription that have times.
    #[must_use]
    pub fn timestamp_granularities<Part>(self, parts: impl IntoIterator<Item = Part>) -> Self
    where
        Part: Into<TimestampGranularity>,
    {
        let parts = parts.into_iter().map(|part| Value::from(part.into()));
        self.set("timestamp_granularities", parts.collect::<Value>())
    }

    /// Sets any other part of the form, and replaces an earlier value. Each element of a list becomes one part.
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

/// The response to a [`TranscriptionRequest`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TranscriptionResponse {
    /// The model that generated the response.
    pub model: String,
    /// The text.
    pub text: String,
    /// The language, if it was set or detected.
    #[serde(default, skip_serializing_if = "Nullable::is_absent")]
    pub language: Nullable<String>,
    /// The segments with their times, if the request asked for them.
    #[serde(default, skip_serializing_if = "Nullable::is_absent")]
    pub segments: Nullable<Vec<TranscriptionSegment>>,
    /// The number of tokens and seconds of audio used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// All other members.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// The text between two times.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TranscriptionSegment {
    /// The text.
    pub text: String,
    /// The start, in seconds.
    #[serde(default, skip_serializing_if = "Nullable::is_absent")]
    pub start: Nullable<f64>,
    /// The end, in seconds.
    #[serde(default, skip_serializing_if = "Nullable::is_absent")]
    pub end: Nullable<f64>,
    /// All other members (`type`, `score`, `speaker_id`).
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// An event of a streamed transcription. An event of any other kind or format is [`Unknown`](Self::Unknown), which
/// keeps all members.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
#[non_exhaustive]
pub enum TranscriptionEvent {
    /// The API detected the language.
    #[serde(rename = "transcription.language")]
    Language {
        /// The language, for example `en`.
        audio_language: String,
        /// All other members.
        #[serde(flatten)]
        extra: Map<String, Value>,
    },
    /// More text.
    #[serde(rename = "transcription.text.delta")]
    TextDelta {
        /// The new text.
        text: String,
        /// All other members.
        #[serde(flatten)]
        extra: Map<String, Value>,
    },
    /// A segment is complete.
    #[serde(rename = "transcription.segment")]
    Segment(TranscriptionSegment),
    /// The complete response.
    #[serde(rename = "transcription.done")]
    Done(TranscriptionResponse),
    /// Any other kind.
    #[serde(untagged)]
    Unknown(Value),
}

/// The events of a streamed transcription.
pub type TranscriptionStream = EventStream<TranscriptionEvent>;

impl Client {
    /// `POST /v1/audio/transcriptions`: returns the complete text.
    ///
    /// # Errors
    /// The errors of [`embeddings`](Self::embeddings).
    pub async fn transcribe(&self, request: TranscriptionRequest) -> Result<TranscriptionResponse> {
        self.fetch(request.set("stream", false).to_request()?).await
    }

    /// `POST /v1/audio/transcriptions` with `stream: true`: returns the text as it is generated.
    ///
    /// # Errors
    /// The errors of [`embeddings`](Self::embeddings). Each item of the stream may be an error, too.
    pub async fn transcribe_stream(&self, request: TranscriptionRequest) -> Result<TranscriptionStream> {
        self.stream(
            request.set("stream", true).to_request()?,
            End::Event(&["transcription.done"]),
        )
        .await
    }
}
