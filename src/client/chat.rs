//! Chat completions, plain and streaming.
//!
//! Shapes: the published [API reference](https://docs.mistral.ai/api/#tag/chat) and recorded answers, which hold
//! members that the reference does not name (`p` in stream chunks, `num_cached_tokens` in `usage`). Whatever is not
//! named here is kept in `extra`, so that an answer can be written again without losing anything.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use http::{HeaderValue, header};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Client;
use crate::error::{Error, ErrorKind, Result};
use crate::message::{Event, Request, Splitter};

const PATH: &str = "/v1/chat/completions";

/// A request for `POST /v1/chat/completions`. What is not set is not sent.
///
/// ```
/// use mistral_cassette::client::ChatRequest;
///
/// let request = ChatRequest::new("mistral-small-latest")
///     .system("You answer in one sentence.")
///     .user("What is the capital of France?")
///     .temperature(0.2)
///     .set("safe_prompt", true);
/// ```
#[derive(Clone, Debug, Serialize)]
pub struct ChatRequest {
    messages: Vec<ChatMessage>,
    #[serde(flatten)]
    members: Map<String, Value>,
}

impl ChatRequest {
    /// A request with no messages yet, for a model by its name.
    pub fn new(model: impl Into<String>) -> Self {
        Self {
            messages: Vec::new(),
            members: Map::new(),
        }
        .set("model", model.into())
    }

    /// Adds a message.
    #[must_use]
    pub fn message(mut self, message: ChatMessage) -> Self {
        self.messages.push(message);
        self
    }

    /// Adds a system message.
    #[must_use]
    pub fn system(self, text: impl Into<String>) -> Self {
        self.message(ChatMessage::new("system", text))
    }

    /// Adds a user message.
    #[must_use]
    pub fn user(self, text: impl Into<String>) -> Self {
        self.message(ChatMessage::new("user", text))
    }

    /// Adds an assistant message.
    #[must_use]
    pub fn assistant(self, text: impl Into<String>) -> Self {
        self.message(ChatMessage::new("assistant", text))
    }

    /// Adds what a tool returned for the call of this id.
    #[must_use]
    pub fn tool(self, tool_call_id: impl Into<String>, name: impl Into<String>, content: impl Into<String>) -> Self {
        let mut message = ChatMessage::new("tool", content);
        message
            .extra
            .insert("tool_call_id".to_owned(), Value::String(tool_call_id.into()));
        message.extra.insert("name".to_owned(), Value::String(name.into()));
        self.message(message)
    }

    /// The sampling temperature, 0 to 1.5.
    #[must_use]
    pub fn temperature(self, temperature: f64) -> Self {
        self.set("temperature", temperature)
    }

    /// The most tokens to generate.
    #[must_use]
    pub fn max_tokens(self, tokens: u32) -> Self {
        self.set("max_tokens", tokens)
    }

    /// The seed, for answers that are the same each time as far as the API can.
    #[must_use]
    pub fn random_seed(self, seed: i64) -> Self {
        self.set("random_seed", seed)
    }

    /// Sets any other member of the request, such as `tools`, `response_format` or `safe_prompt`.
    ///
    /// Messages are added by their own methods, and `stream` is set by the call: [`Client::chat`] or
    /// [`Client::chat_stream`].
    #[must_use]
    pub fn set(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        let name = name.into();
        if name != "messages" {
            self.members.insert(name, value.into());
        }
        self
    }
}

/// A message of a conversation, sent or received.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ChatMessage {
    /// `system`, `user`, `assistant` or `tool`; absent in most stream chunks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// What it says.
    #[serde(default, skip_serializing_if = "Content::is_absent")]
    pub content: Content,
    /// The tools that the model wants called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_calls: Option<Vec<ToolCall>>,
    /// Everything else.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl ChatMessage {
    /// A message of this role with this text.
    pub fn new(role: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            role: Some(role.into()),
            content: Content::Text(text.into()),
            ..Self::default()
        }
    }
}

/// The content of a message: text, or chunks of text, images, thinking and more.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum Content {
    /// Plain text.
    Text(String),
    /// Chunks, each an object with a `type`.
    Chunks(Vec<Value>),
    /// `null`.
    Null(()),
    /// Not there.
    #[default]
    #[serde(skip)]
    Absent,
}

impl Content {
    fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }

    /// The text: of the chunks, those of type `text` joined.
    pub fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Chunks(chunks) => chunks
                .iter()
                .filter(|chunk| chunk["type"] == "text")
                .filter_map(|chunk| chunk["text"].as_str())
                .collect(),
            Self::Null(()) | Self::Absent => String::new(),
        }
    }
}

/// A call of a tool that the model asks for.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ToolCall {
    /// What the answer to it is addressed to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// What to call.
    pub function: FunctionCall,
    /// Everything else (`type`, `index`).
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// A function and its arguments.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FunctionCall {
    /// The name of the function.
    pub name: String,
    /// A string of JSON in all answers seen so far; the API reference allows an object as well.
    pub arguments: Value,
    /// Everything else.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// How many tokens a call took.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Usage {
    /// Tokens of the request.
    #[serde(default)]
    pub prompt_tokens: i64,
    /// Tokens of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_tokens: Option<i64>,
    /// Both.
    #[serde(default)]
    pub total_tokens: i64,
    /// Everything else.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// The answer to a [`ChatRequest`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ChatResponse {
    /// The id of this completion.
    pub id: String,
    /// The model that answered.
    pub model: String,
    /// One answer, or as many as were asked for.
    pub choices: Vec<ChatChoice>,
    /// How many tokens it took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// Everything else (`object`, `created`).
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl ChatResponse {
    /// The text of the first choice; empty when it has none.
    pub fn text(&self) -> String {
        self.choices
            .first()
            .map(|choice| choice.message.content.text())
            .unwrap_or_default()
    }
}

/// One of the answers of a [`ChatResponse`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ChatChoice {
    /// Its number, from 0.
    pub index: i64,
    /// The message.
    pub message: ChatMessage,
    /// Why it ended: `stop`, `length`, `tool_calls`, `error` and what may come.
    pub finish_reason: Option<String>,
    /// Everything else.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// A piece of a streamed answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ChatChunk {
    /// The id of this completion, the same in all of its chunks.
    pub id: String,
    /// The model that answers.
    pub model: String,
    /// What is new in each choice.
    pub choices: Vec<ChatChunkChoice>,
    /// How many tokens it took: in the last chunk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// Everything else (`object`, `created`, the padding `p`).
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl ChatChunk {
    /// The new text of the first choice; empty when it has none.
    pub fn text(&self) -> String {
        self.choices
            .first()
            .map(|choice| choice.delta.content.text())
            .unwrap_or_default()
    }
}

/// What is new in one choice.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ChatChunkChoice {
    /// Its number, from 0.
    pub index: i64,
    /// What is to be added to the message.
    pub delta: ChatMessage,
    /// Why it ended, in its last chunk.
    pub finish_reason: Option<String>,
    /// Everything else.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Client {
    /// `POST /v1/chat/completions`: the whole answer at once.
    ///
    /// # Errors
    /// [`ErrorKind::Api`] for an error status or an answer of another shape; any other kind from the road.
    pub async fn chat(&self, request: ChatRequest) -> Result<ChatResponse> {
        let request = Request::post(PATH)?
            .json(&request.set("stream", false))?
            .header(header::ACCEPT, HeaderValue::from_static("application/json"));
        self.request(request).await?.error_for_status().await?.json().await
    }

    /// `POST /v1/chat/completions` with `stream: true`: the answer as it is generated.
    ///
    /// # Errors
    /// As [`chat`](Self::chat); each item of the stream may be an error too.
    pub async fn chat_stream(&self, request: ChatRequest) -> Result<ChatStream> {
        let request = Request::post(PATH)?
            .json(&request.set("stream", true))?
            .header(header::ACCEPT, HeaderValue::from_static("text/event-stream"));
        let response = self.request(request).await?.error_for_status().await?;
        Ok(ChatStream {
            pieces: response.into_body().into_stream(),
            splitter: Splitter::default(),
            ready: Vec::new().into_iter(),
            state: State::Open,
        })
    }
}

/// The chunks of a streamed answer, in order; it ends with the API's `[DONE]`.
pub struct ChatStream {
    pieces: Pin<Box<dyn Stream<Item = Result<Bytes>> + Send>>,
    splitter: Splitter,
    ready: std::vec::IntoIter<Bytes>,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// `[DONE]` has come; the rest of the body is read so that a recording is kept when the stream ends.
    Done,
    Ended,
}

impl Stream for ChatStream {
    type Item = Result<ChatChunk>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if self.state == State::Ended {
                return Poll::Ready(None);
            }
            while let Some(block) = self.ready.next() {
                match Event::parse(&String::from_utf8_lossy(&block)) {
                    Some(event) if event.data == "[DONE]" => self.state = State::Done,
                    Some(event) if self.state == State::Open => return Poll::Ready(Some(chunk_of(&event))),
                    _ => {}
                }
            }
            let piece = std::task::ready!(self.pieces.poll_next_unpin(context));
            match piece {
                Some(Ok(piece)) => self.ready = self.splitter.push(&piece).into_iter(),
                Some(Err(error)) => {
                    self.state = State::Ended;
                    return Poll::Ready(Some(Err(error)));
                }
                None => match self.splitter.rest() {
                    Some(rest) => self.ready = vec![rest].into_iter(),
                    None => {
                        let was = std::mem::replace(&mut self.state, State::Ended);
                        let cut = || {
                            Error::new(
                                ErrorKind::Api,
                                "the stream ended early: its last event, [DONE], did not come",
                            )
                        };
                        return Poll::Ready((was == State::Open).then(|| Err(cut())));
                    }
                },
            }
        }
    }
}

fn chunk_of(event: &Event) -> Result<ChatChunk> {
    serde_json::from_str(&event.data).map_err(|error| {
        Error::new(
            ErrorKind::Api,
            format!("an event of the stream is not the JSON that was expected: {error}"),
        )
        .with_answer(200, event.data.as_bytes())
        .with_source(error)
    })
}

impl std::fmt::Debug for ChatStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChatStream")
            .field("ended", &(self.state == State::Ended))
            .finish_non_exhaustive()
    }
}
