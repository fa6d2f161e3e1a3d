//! The typed client for the Mistral API.

mod agents;
mod batch;
mod call;
mod classifications;
mod completion_requests;
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
mod open_enum;
mod options;
mod polling;
#[cfg(feature = "realtime")]
mod realtime;
mod request;
mod retries;
mod speech;
mod stream;
mod tools;
mod transcriptions;
mod usage;

use std::time::Duration;

use http::{HeaderValue, header};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use agents::{Agent, AgentRequest};
pub use batch::{BatchJob, BatchJobList, BatchJobStatus, BatchRequest};
pub use classifications::{ChatClassificationRequest, ClassificationRequest, ClassificationResponse};
pub use completion_requests::{AgentChatRequest, ChatRequest, FimRequest};
pub use completions::{ChatChoice, ChatChunk, ChatChunkChoice, ChatResponse, ChatStream};
pub use conversations::{
    AppendRequest, Conversation, ConversationEntry, ConversationEvent, ConversationHistory, ConversationMessages,
    ConversationRequest, ConversationResponse, ConversationStream, FunctionCallEntry, FunctionResultEntry, Inputs,
    MessageEntry, RestartRequest, ToolExecutionEntry,
};
pub use deleted::Deleted;
pub use embeddings::{Embedding, EmbeddingsRequest, EmbeddingsResponse, Vector};
pub use files::{File, FileList, FilePurpose, FileUpload, FileVisibility, SignedUrl};
pub use input::Input;
pub use message::{ChatMessage, Content, ContentChunk, FinishReason, FunctionCall, Role, ToolCall};
pub use models::{Model, ModelList};
pub use moderations::{ChatModerationRequest, Moderation, ModerationRequest, ModerationResponse};
pub use nullable::Nullable;
pub use ocr::{OcrDimensions, OcrImage, OcrPage, OcrRequest, OcrResponse};
pub use options::{
    AudioFormat, CompletionArgs, ConfidenceGranularity, EmbeddingDtype, EncodingFormat, HandoffExecution, Metadata,
    PromptMode, ReasoningEffort, ResponseFormat, ServiceTier, TableFormat, TimestampGranularity, ToolChoice,
};
pub use polling::Polling;
#[cfg(feature = "realtime")]
pub use realtime::{RealtimeSpeech, RealtimeSpeechRequest, RealtimeTranscription, RealtimeTranscriptionRequest};
pub use request::ListQuery;
pub use retries::Retries;
pub use speech::{SpeechEvent, SpeechRequest, SpeechResponse, SpeechStream};
pub use stream::EventStream;
pub use tools::Tool;
pub use transcriptions::{
    TranscriptionEvent, TranscriptionRequest, TranscriptionResponse, TranscriptionSegment, TranscriptionStream,
};
pub use usage::Usage;

use self::call::{CallOptions, within};
use self::retries::{Limiter, RetryingUpstream};
use self::stream::End;
use crate::engine::CacheEngine;
use crate::error::Result;
#[cfg(feature = "cli")]
use crate::http::Transport;
use crate::http::{Outcome, Request, Response, api_error, content_type, is_event_stream};
use crate::recorder::Recorder;
use crate::upstream::{Upstream, UpstreamBuilder};

/// An async client for the Mistral API. [`cached`](Self::cached) adds recording and replay.
///
/// The client sends the same requests as the official SDKs (Python 3.7.0, TypeScript 2.7.0), so that a cassette of one
/// client replays for the others. [`request`](Self::request) sends any request that has no method of its own.
///
/// A request has only the members that are set. A response keeps members without a field in `extra`, and distinguishes
/// `null` from absent ([`Nullable`]), so that serializing a response loses nothing.
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
    options: CallOptions,
}

/// Builds a [`Client`].
#[derive(Debug, Default)]
pub struct ClientBuilder {
    upstream: UpstreamBuilder,
    recorder: Option<Recorder>,
    retries: Option<Retries>,
    limiter: Option<Limiter>,
    options: CallOptions,
}

impl ClientBuilder {
    /// Sets the API key.
    #[must_use]
    pub fn api_key(mut self, key: impl Into<String>) -> Self {
        self.upstream = self.upstream.api_key(key);
        self
    }

    /// Sets the base URL of the API, without `/v1`. The default is `https://api.mistral.ai`.
    #[must_use]
    pub fn base_url(mut self, url: impl Into<String>) -> Self {
        self.upstream = self.upstream.base_url(url);
        self
    }

    /// Sets the timeout for a connection and between two pieces of a response. The default is 300 seconds.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.upstream = self.upstream.timeout(timeout);
        self
    }

    /// Sets the maximum time for each call, from its start to the last byte of its response, with all retries. By default
    /// there is none. A call that takes longer ends with an error ([`Error::is_timeout`](crate::Error::is_timeout)), also
    /// within a stream and during a replay with delays. [`Client::with_total_timeout`] sets it for one call.
    #[must_use]
    pub fn total_timeout(mut self, timeout: Duration) -> Self {
        self.options.total_timeout = Some(timeout);
        self
    }

    /// Sets the HTTP client.
    #[must_use]
    pub fn http_client(mut self, client: reqwest::Client) -> Self {
        self.upstream = self.upstream.client(client);
        self
    }

    fn upstream(mut self, upstream: UpstreamBuilder) -> Self {
        self.upstream = upstream;
        self
    }

    /// Sets the recorder. Without one, every call goes to the API.
    #[must_use]
    pub fn recorder(mut self, recorder: Recorder) -> Self {
        self.recorder = Some(recorder);
        self
    }

    /// Sets the retries after transient errors. By default there are none.
    #[must_use]
    pub fn retries(mut self, retries: Retries) -> Self {
        self.retries = Some(retries);
        self
    }

    /// Sets a rate limiter. Its future is awaited before each request to the API, including retries, but not before a
    /// replay.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use mistral_cassette::client::Client;
    /// use tokio::sync::Semaphore;
    ///
    /// // Another task adds permits over time.
    /// let permits = Arc::new(Semaphore::new(5));
    /// let client = Client::builder().rate_limiter(move |_request| {
    ///     let permits = permits.clone();
    ///     async move { permits.acquire().await.expect("never closed").forget() }
    /// });
    /// ```
    #[must_use]
    pub fn rate_limiter<Fut>(mut self, permit: impl Fn(&Request) -> Fut + Send + Sync + 'static) -> Self
    where
        Fut: Future<Output = ()> + Send + 'static,
    {
        self.limiter = Some(Limiter::new(permit));
        self
    }

    /// Builds the client. The first request opens the first connection.
    ///
    /// # Errors
    /// The errors of [`UpstreamBuilder::build`].
    pub fn build(self) -> Result<Client> {
        Ok(Client {
            upstream: self.upstream.build()?,
            recorder: self.recorder,
            retries: self.retries,
            limiter: self.limiter,
            options: self.options,
        })
    }
}

impl Client {
    /// Returns a builder.
    pub fn builder() -> ClientBuilder {
        ClientBuilder::default()
    }

    /// Creates a client without a recorder, with the key in `MISTRAL_API_KEY` and the base URL in `MISTRAL_SERVER_URL`. The
    /// default is the public API. A client without a key can still replay; a request that would be sent to the public API
    /// without a key is an error ([`ErrorKind::Settings`](crate::ErrorKind::Settings)).
    ///
    /// # Errors
    /// The errors of [`UpstreamBuilder::build`].
    pub fn from_env() -> Result<Self> {
        Self::builder().upstream(UpstreamBuilder::from_env()).build()
    }

    /// Returns this client with a header for each of its calls, which replaces a header of the client with the same name.
    /// It is not part of the request key. For one call, call it just before:
    ///
    /// ```no_run
    /// # use mistral_cassette::client::{ChatRequest, Client};
    /// # async fn example(client: Client, question: ChatRequest) -> mistral_cassette::Result<()> {
    /// let answer = client.with_header("x-affinity", "a")?.chat(question).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Request`](crate::ErrorKind::Request) if the name or the value is not valid.
    pub fn with_header(&self, name: &str, value: &str) -> Result<Self> {
        let mut client = self.clone();
        client.options.set_header(name, value)?;
        Ok(client)
    }

    /// Returns this client with another [total timeout](ClientBuilder::total_timeout) for each of its calls.
    #[must_use]
    pub fn with_total_timeout(&self, timeout: Duration) -> Self {
        let mut client = self.clone();
        client.options.total_timeout = Some(timeout);
        client
    }

    /// Records and replays this client with an engine, in the mode of the environment (see [`Mode`](crate::Mode)). For
    /// other options, build a [`Recorder`] and pass it to [`ClientBuilder::recorder`].
    ///
    /// # Errors
    /// The errors of [`RecorderBuilder::build`](crate::recorder::RecorderBuilder::build).
    pub fn cached(self, engine: impl CacheEngine + 'static) -> Result<Self> {
        let recorder = Recorder::builder(engine).build()?;
        Ok(Self {
            recorder: Some(recorder),
            ..self
        })
    }

    /// Returns this client with a recorder.
    pub(crate) fn recorded_by(self, recorder: Recorder) -> Self {
        Self {
            recorder: Some(recorder),
            ..self
        }
    }

    /// Returns this client without its recorder, as a transport for a recorder that records only the last response of
    /// all retries.
    #[cfg(feature = "cli")]
    pub(crate) fn transport(&self, with_retries: bool) -> ClientTransport {
        ClientTransport(Self {
            recorder: None,
            retries: self.retries.clone().filter(|_| with_retries),
            ..self.clone()
        })
    }

    /// The base URL of the API, without credentials.
    #[cfg(feature = "cli")]
    pub(crate) fn origin(&self) -> &str {
        self.upstream.origin()
    }

    /// Returns the recorder, which has the session and its verdict.
    pub fn recorder(&self) -> Option<&Recorder> {
        self.recorder.as_ref()
    }

    /// Sends any request, with recording, replay and retries like the typed methods. An error status is a response, not
    /// an error.
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
    pub async fn request(&self, request: Request) -> Result<Response> {
        self.request_and_tell(request).await.0
    }

    /// Sends any request, and tells whether the response came from the upstream, not from a recording.
    async fn request_and_tell(&self, request: Request) -> (Result<Response>, bool) {
        let request = self.options.apply(with_user_agent(request));
        let retries = self.retries.clone().unwrap_or(Retries::new(0));
        let deadline = self.options.deadline();
        let upstream =
            RetryingUpstream::new(self.upstream.clone(), self.limiter.clone(), retries).with_deadline(deadline);
        let response = within(deadline, upstream.answer(self.recorder.as_ref(), request)).await;
        let response = response.map(|response| match deadline {
            Some(deadline) => deadline.limit_body(response),
            None => response,
        });
        (response, upstream.was_sent())
    }

    /// Sends a JSON body, and parses the response.
    async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T> {
        self.fetch(Request::post(path)?.json(body)?).await
    }

    /// Sends a JSON body, and parses the events of the response.
    async fn post_stream<T>(&self, path: &str, body: &impl Serialize, end: End) -> Result<EventStream<T>> {
        self.stream(Request::post(path)?.json(body)?, end).await
    }

    async fn fetch<T: DeserializeOwned>(&self, request: Request) -> Result<T> {
        self.fetch_and_tell(request).await.0
    }

    /// Sends a request, parses the response, and tells whether it came from the upstream, not from a recording.
    async fn fetch_and_tell<T: DeserializeOwned>(&self, request: Request) -> (Result<T>, bool) {
        let (response, was_sent) = self.request_and_tell(accepting("application/json", request)).await;
        let parsed = async { without_error(response?.error_for_status().await?).await?.json().await };
        (parsed.await, was_sent)
    }

    async fn stream<T>(&self, request: Request, end: End) -> Result<EventStream<T>> {
        let response = self.send_accepting("text/event-stream", request).await?;
        let response = if is_event_stream(content_type(response.header_map())) {
            response
        } else {
            without_error(response).await?
        };
        Ok(EventStream::new(response.into_body(), end))
    }

    /// Sends a request with an empty response, and reads the response to its end so that it is recorded.
    async fn send(&self, request: Request) -> Result<()> {
        self.send_accepting("application/json", request).await?.bytes().await?;
        Ok(())
    }

    async fn send_accepting(&self, kind: &'static str, request: Request) -> Result<Response> {
        self.request(accepting(kind, request)).await?.error_for_status().await
    }
}

fn with_user_agent(request: Request) -> Request {
    if request.header_map().contains_key(header::USER_AGENT) {
        return request;
    }
    const USER_AGENT: HeaderValue = HeaderValue::from_static(concat!("mistral-cassette/", env!("CARGO_PKG_VERSION")));
    request.header(header::USER_AGENT, USER_AGENT)
}

fn accepting(kind: &'static str, request: Request) -> Request {
    request.header(header::ACCEPT, HeaderValue::from_static(kind))
}

/// Receives a response. An error in the API's form is an error, whatever the status.
async fn without_error(response: Response) -> Result<Response> {
    let status = response.status();
    let body = response.bytes().await?;
    if Outcome::of(&body).is_envelope(&body) {
        return Err(api_error(status.as_u16(), &body));
    }
    Ok(Response::new(status, body))
}

/// The client as a transport, see [`Client::transport`].
#[cfg(feature = "cli")]
pub(crate) struct ClientTransport(Client);

#[cfg(feature = "cli")]
impl Transport for ClientTransport {
    fn has_key(&self, request: &Request) -> bool {
        self.0.upstream.has_key(request)
    }

    fn needs_key(&self) -> bool {
        self.0.upstream.needs_key()
    }

    fn secret(&self) -> Option<&str> {
        self.0.upstream.secret()
    }

    async fn send(self, request: Request) -> Result<Response> {
        self.0.request(request).await
    }
}
