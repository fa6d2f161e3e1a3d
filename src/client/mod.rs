//! The typed client: a door for Rust programs.

mod agents;
mod batch;
mod classifications;
mod completions;
mod conversations;
mod deleted;
mod embeddings;
mod files;
mod form;
mod input;
mod message;
mod models;
mod moderations;
mod nullable;
mod ocr;
mod request;
mod retries;
mod speech;
mod stream;
mod tools;
mod transcriptions;

use std::env;
use std::time::Duration;

use http::{HeaderValue, header};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use agents::{Agent, AgentRequest};
pub use batch::{BatchJob, BatchJobList, BatchRequest};
pub use classifications::{ChatClassificationRequest, ClassificationRequest, ClassificationResponse};
pub use completions::{
    AgentChatRequest, ChatChoice, ChatChunk, ChatChunkChoice, ChatRequest, ChatResponse, ChatStream, FimRequest,
};
pub use conversations::{
    AppendRequest, Conversation, ConversationEntry, ConversationEvent, ConversationHistory, ConversationMessages,
    ConversationRequest, ConversationResponse, ConversationStream, FunctionCallEntry, FunctionResultEntry, Inputs,
    MessageEntry, RestartRequest, ToolExecutionEntry,
};
pub use deleted::Deleted;
pub use embeddings::{Embedding, EmbeddingsRequest, EmbeddingsResponse, Vector};
pub use files::{File, FileList, FileUpload, SignedUrl};
pub use input::Input;
pub use message::{ChatMessage, Content, ContentChunk, FunctionCall, ToolCall, Usage};
pub use models::{Model, ModelList};
pub use moderations::{ChatModerationRequest, Moderation, ModerationRequest, ModerationResponse};
pub use nullable::Nullable;
pub use ocr::{OcrDimensions, OcrImage, OcrPage, OcrRequest, OcrResponse};
pub use request::ListQuery;
pub use retries::Retries;
pub use speech::{SpeechEvent, SpeechRequest, SpeechResponse, SpeechStream};
pub use stream::EventStream;
pub use tools::Tool;
pub use transcriptions::{
    TranscriptionEvent, TranscriptionRequest, TranscriptionResponse, TranscriptionSegment, TranscriptionStream,
};

use self::retries::{Limiter, Live};
use self::stream::End;
use crate::engine::CacheEngine;
use crate::error::Result;
#[cfg(feature = "cli")]
use crate::http::Transport;
use crate::http::{Request, Response};
use crate::recorder::Recorder;
use crate::upstream::{Upstream, UpstreamBuilder};

/// The environment variable with the base URL, without `/v1`; `mistral-cassette run` sets it.
const BASE_URL_VARIABLE: &str = "MISTRAL_SERVER_URL";

/// An async client for the Mistral API; [`cached`](Self::cached) makes it record and replay.
///
/// It sends what the official SDKs (Python 3.7.0, TypeScript 2.7.0) send for the same call, so that a cassette recorded
/// by one replays for the others. What has no method of its own goes through [`request`](Self::request).
///
/// Requests are built from what is set; answers keep what they do not name (`extra`), and members that the API knows to
/// be `null` keep that apart from absent ([`Nullable`]): encoding an answer again loses nothing.
///
/// ```
/// use mistral_cassette::client::{ChatRequest, Client};
/// use mistral_cassette::DirectoryEngine;
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let client = Client::from_env()?.cached(DirectoryEngine::new("cassettes"))?;
/// let question = ChatRequest::new("mistral-small-latest").user("What is the capital of France?");
/// let answer = client.chat(question).await?;
/// assert!(answer.text().contains("Paris"));
/// # Ok::<(), mistral_cassette::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct Client {
    upstream: Upstream,
    recorder: Option<Recorder>,
    retries: Option<Retries>,
    limiter: Option<Limiter>,
}

/// How a [`Client`] is made.
#[derive(Debug, Default)]
pub struct ClientBuilder {
    upstream: UpstreamBuilder,
    recorder: Option<Recorder>,
    retries: Option<Retries>,
    limiter: Option<Limiter>,
}

impl ClientBuilder {
    /// The API key.
    #[must_use]
    pub fn api_key(mut self, key: impl Into<String>) -> Self {
        self.upstream = self.upstream.api_key(key);
        self
    }

    /// Where the API is, without `/v1`: `https://api.mistral.ai` by default.
    #[must_use]
    pub fn base_url(mut self, url: impl Into<String>) -> Self {
        self.upstream = self.upstream.base_url(url);
        self
    }

    /// How long to wait for a connection, and between two pieces of an answer: 300 seconds by default.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.upstream = self.upstream.timeout(timeout);
        self
    }

    /// An HTTP client of your own.
    #[must_use]
    pub fn http_client(mut self, client: reqwest::Client) -> Self {
        self.upstream = self.upstream.client(client);
        self
    }

    /// What records and replays; without one every call is live.
    #[must_use]
    pub fn recorder(mut self, recorder: Recorder) -> Self {
        self.recorder = Some(recorder);
        self
    }

    /// Sends requests again that were refused for the moment; by default each is sent once.
    #[must_use]
    pub fn retries(mut self, retries: Retries) -> Self {
        self.retries = Some(retries);
        self
    }

    /// What to wait for before each request that is really sent, retries included and replayed answers not: a rate
    /// limiter of your own.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use mistral_cassette::client::Client;
    /// use tokio::sync::Semaphore;
    ///
    /// // Something else adds permits as time goes by.
    /// let turns = Arc::new(Semaphore::new(5));
    /// let client = Client::builder().rate_limiter(move |_request| {
    ///     let turns = turns.clone();
    ///     async move { turns.acquire().await.expect("it is never closed").forget() }
    /// });
    /// ```
    #[must_use]
    pub fn rate_limiter<Fut>(mut self, turn: impl Fn(&Request) -> Fut + Send + Sync + 'static) -> Self
    where
        Fut: Future<Output = ()> + Send + 'static,
    {
        self.limiter = Some(Limiter::new(turn));
        self
    }

    /// Makes it; nothing is connected before the first request.
    ///
    /// # Errors
    /// As [`UpstreamBuilder::build`].
    pub fn build(self) -> Result<Client> {
        Ok(Client {
            upstream: self.upstream.build()?,
            recorder: self.recorder,
            retries: self.retries,
            limiter: self.limiter,
        })
    }
}

impl Client {
    /// A client with settings of its own.
    pub fn builder() -> ClientBuilder {
        ClientBuilder::default()
    }

    /// A live client with the key of `MISTRAL_API_KEY`, for the API at `MISTRAL_SERVER_URL` or at its public address.
    /// Without a key it can still replay.
    ///
    /// # Errors
    /// As [`UpstreamBuilder::build`].
    pub fn from_env() -> Result<Self> {
        let mut builder = Self::builder();
        if let Ok(key) = env::var(crate::http::API_KEY_VARIABLE) {
            builder = builder.api_key(key);
        }
        if let Some(url) = env::var(BASE_URL_VARIABLE).ok().filter(|url| !url.is_empty()) {
            builder = builder.base_url(url);
        }
        builder.build()
    }

    /// This client with recordings in an engine, in the mode of the environment (see [`Mode`](crate::Mode)). For more
    /// to choose, make a [`Recorder`] and give it to [`ClientBuilder::recorder`].
    ///
    /// # Errors
    /// As [`RecorderBuilder::build`](crate::recorder::RecorderBuilder::build).
    pub fn cached(self, engine: impl CacheEngine + 'static) -> Result<Self> {
        let recorder = Recorder::builder(engine).build()?;
        Ok(Self {
            recorder: Some(recorder),
            ..self
        })
    }

    /// This client with a recorder that is already there.
    pub(crate) fn recorded_by(self, recorder: Recorder) -> Self {
        Self {
            recorder: Some(recorder),
            ..self
        }
    }

    /// This client, live, for a recorder that is to hear of the last answer only: of no retry, if there are any.
    #[cfg(feature = "cli")]
    pub(crate) fn settled(&self, with_retries: bool) -> Settled {
        Settled(Self {
            recorder: None,
            retries: self.retries.clone().filter(|_| with_retries),
            ..self.clone()
        })
    }

    /// The recorder, for its session and verdict; `None` when every call is live.
    pub fn recorder(&self) -> Option<&Recorder> {
        self.recorder.as_ref()
    }

    /// Sends any request, on the same road as the typed calls; an error status is a response, not an error.
    ///
    /// ```no_run
    /// use mistral_cassette::{Request, client::Client};
    ///
    /// # async fn example() -> mistral_cassette::Result<()> {
    /// let client = Client::from_env()?;
    /// let models: serde_json::Value = client.request(Request::get("/v1/models")?).await?.json().await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Any kind but [`ErrorKind::Api`](crate::ErrorKind::Api).
    pub async fn request(&self, mut request: Request) -> Result<Response> {
        if !request.header_map().contains_key(header::USER_AGENT) {
            const USER_AGENT: HeaderValue =
                HeaderValue::from_static(concat!("mistral-cassette/", env!("CARGO_PKG_VERSION")));
            request = request.header(header::USER_AGENT, USER_AGENT);
        }
        let retries = self.retries.clone().unwrap_or(Retries::new(0));
        Live::new(self.upstream.clone(), self.limiter.clone(), retries)
            .answer(self.recorder.as_ref(), request)
            .await
    }

    /// Sends this as JSON, and reads the answer.
    async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T> {
        self.ask(Request::post(path)?.json(body)?).await
    }

    /// Sends this as JSON, and reads the events of the answer.
    async fn post_stream<T>(&self, path: &str, body: &impl Serialize, end: End) -> Result<EventStream<T>> {
        self.stream(Request::post(path)?.json(body)?, end).await
    }

    async fn ask<T: DeserializeOwned>(&self, request: Request) -> Result<T> {
        self.accepting("application/json", request).await?.json().await
    }

    async fn stream<T>(&self, request: Request, end: End) -> Result<EventStream<T>> {
        let response = self.accepting("text/event-stream", request).await?;
        Ok(EventStream::new(response.into_body(), end))
    }

    /// Sends a request whose answer is empty, and reads it to its end all the same: then it is recorded.
    async fn tell(&self, request: Request) -> Result<()> {
        self.accepting("application/json", request).await?.bytes().await?;
        Ok(())
    }

    async fn accepting(&self, kind: &'static str, request: Request) -> Result<Response> {
        let request = request.header(header::ACCEPT, HeaderValue::from_static(kind));
        self.request(request).await?.error_for_status().await
    }
}

/// As [`Client::settled`].
#[cfg(feature = "cli")]
pub(crate) struct Settled(Client);

#[cfg(feature = "cli")]
impl Transport for Settled {
    fn has_key(&self, request: &Request) -> bool {
        self.0.upstream.has_key(request)
    }

    fn secret(&self) -> Option<&str> {
        self.0.upstream.secret()
    }

    async fn send(self, request: Request) -> Result<Response> {
        self.0.request(request).await
    }
}
