//! Speech: converts text to audio.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Client;
use super::options::{AudioFormat, Metadata};
use super::request::request;
use super::stream::{End, EventStream};
use super::usage::Usage;
use crate::error::{Error, Result};

const SPEECH: &str = "/v1/audio/speech";

request! {
    /// A request for `POST /v1/audio/speech`. Members that are not set are not sent.
    ///
    /// ```
    /// use mistral_cassette::client::SpeechRequest;
    ///
    /// let request = SpeechRequest::new("Hello.")
    ///     .model("voxtral-mini-tts-latest")
    ///     .voice_id("gb_jane_neutral")
    ///     .response_format("mp3");
    /// ```
    SpeechRequest {
        /// The model.
        model: &str,
        /// The id of the voice.
        voice_id: &str,
        /// The recording of a voice to imitate, in base64.
        ref_audio: &str,
        /// The format of the audio file.
        response_format => AudioFormat,
        /// Metadata of your own.
        metadata => Metadata,
        /// The key under which the API caches the prompt.
        prompt_cache_key: &str,
    }
}

impl SpeechRequest {
    /// Creates a request for a text.
    pub fn new(input: impl Into<String>) -> Self {
        Self::none().set("input", input.into())
    }
}

/// The response to a [`SpeechRequest`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SpeechResponse {
    /// The audio file in base64, see [`audio`](Self::audio).
    pub audio_data: String,
    /// All other members.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl SpeechResponse {
    /// Returns the bytes of the audio file.
    ///
    /// # Errors
    /// [`ErrorKind::Parse`](crate::ErrorKind::Parse) if the data is not base64.
    pub fn audio(&self) -> Result<Bytes> {
        decoded(&self.audio_data)
    }
}

/// An event of a streamed [`SpeechRequest`]. An event of any other kind or format is [`Unknown`](Self::Unknown), which
/// keeps all members.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
#[non_exhaustive]
pub enum SpeechEvent {
    /// More audio.
    #[serde(rename = "speech.audio.delta")]
    AudioDelta {
        /// The new bytes in base64, see [`audio`](SpeechEvent::audio).
        audio_data: String,
        /// All other members.
        #[serde(flatten)]
        extra: Map<String, Value>,
    },
    /// The response is complete.
    #[serde(rename = "speech.audio.done")]
    Done {
        /// The number of tokens used.
        usage: Usage,
        /// All other members.
        #[serde(flatten)]
        extra: Map<String, Value>,
    },
    /// Any other kind.
    #[serde(untagged)]
    Unknown(Value),
}

impl SpeechEvent {
    /// Returns the new bytes of the audio file. Other events have none.
    ///
    /// # Errors
    /// [`ErrorKind::Parse`](crate::ErrorKind::Parse) if the data is not base64.
    pub fn audio(&self) -> Result<Bytes> {
        match self {
            Self::AudioDelta { audio_data, .. } => decoded(audio_data),
            _ => Ok(Bytes::new()),
        }
    }
}

fn decoded(base64: &str) -> Result<Bytes> {
    STANDARD.decode(base64).map(Bytes::from).map_err(|error| {
        Error::parse(format!("the audio data is not base64: {error}"), base64.as_bytes()).with_source(error)
    })
}

/// The events of a streamed [`SpeechRequest`].
pub type SpeechStream = EventStream<SpeechEvent>;

impl Client {
    /// `POST /v1/audio/speech`: returns the complete audio file.
    ///
    /// # Errors
    /// The errors of [`embeddings`](Self::embeddings).
    pub async fn speech(&self, request: SpeechRequest) -> Result<SpeechResponse> {
        self.post(SPEECH, &request.set("stream", false)).await
    }

    /// `POST /v1/audio/speech` with `stream: true`: returns the audio file as it is generated.
    ///
    /// # Errors
    /// The errors of [`embeddings`](Self::embeddings). Each item of the stream may be an error, too.
    pub async fn speech_stream(&self, request: SpeechRequest) -> Result<SpeechStream> {
        self.post_stream(SPEECH, &request.set("stream", true), End::Event(&["speech.audio.done"]))
            .await
    }
}
