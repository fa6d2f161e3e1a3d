//! Completions: chats with models and agents, and fill-in-the-middle code, with and without streaming.
//!
//! The types follow the published [API reference](https://docs.mistral.ai/api/) and recorded responses, which have
//! members that the reference does not document (`p` in stream chunks, `num_cached_tokens` in `usage`). `extra` holds
//! all members without a field, so that serializing a response loses nothing.

use std::collections::BTreeMap;

use futures_util::StreamExt;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::message::{ChatMessage, Content, ToolCall, Usage, parsed};
use super::request::request;
use super::stream::{End, EventStream};
use super::{Client, Nullable, Tool};
use crate::error::{Error, ErrorKind, Result};

const CHAT: &str = "/v1/chat/completions";
const AGENTS: &str = "/v1/agents/completions";
const FIM: &str = "/v1/fim/completions";

request! {
    /// A request for `POST /v1/chat/completions`. Members that are not set are not sent.
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
    ///
    /// [`Client::chat`] and [`Client::chat_stream`] set `stream`.
    ChatRequest {
        /// The sampling temperature, 0 to 1.5.
        temperature: f64,
        /// The fraction of the probability mass to sample from, 0 to 1.
        top_p: f64,
        /// The maximum number of tokens to generate.
        max_tokens: u32,
        /// The seed, for responses that are as deterministic as the API allows.
        random_seed: i64,
        /// `auto`, `none`, `any`, `required`, or an object that names a function.
        tool_choice: impl Into<Value>,
    }
}

request! {
    /// A request for `POST /v1/agents/completions`: a chat with an agent. Members that are not set are not sent.
    ///
    /// ```
    /// use mistral_cassette::client::AgentChatRequest;
    ///
    /// let request = AgentChatRequest::new("ag_0123").user("What is the capital of France?").max_tokens(50);
    /// ```
    AgentChatRequest {
        /// The maximum number of tokens to generate.
        max_tokens: u32,
        /// The seed, for responses that are as deterministic as the API allows.
        random_seed: i64,
        /// `auto`, `none`, `any`, `required`, or an object that names a function.
        tool_choice: impl Into<Value>,
    }
}

request! {
    /// A request for `POST /v1/fim/completions`: code between a prompt and a suffix. Members that are not set are not
    /// sent.
    ///
    /// ```
    /// use mistral_cassette::client::FimRequest;
    ///
    /// let request = FimRequest::new("codestral-latest", "def add(a, b):\n")
    ///     .suffix("\n\nprint(add(1, 2))")
    ///     .max_tokens(64);
    /// ```
    FimRequest {
        /// The code after the generated code.
        suffix: &str,
        /// The sampling temperature, 0 to 1.5.
        temperature: f64,
        /// The maximum number of tokens to generate.
        max_tokens: u32,
        /// The seed, for responses that are as deterministic as the API allows.
        random_seed: i64,
    }
}

/// Implements the methods that chats with models and chats with agents share.
macro_rules! chat {
    ($request:ident, $addressee:ident) => {
        impl $request {
            /// Creates a request without messages for a model or an agent.
            pub fn new($addressee: impl Into<String>) -> Self {
                Self::none()
                    .set(stringify!($addressee), $addressee.into())
                    .set("messages", Vec::<Value>::new())
            }

            /// Adds a message.
            #[must_use]
            pub fn message(self, message: ChatMessage) -> Self {
                self.add("messages", message.sent())
            }

            /// Adds a system message.
            #[must_use]
            pub fn system(self, content: impl Into<Content>) -> Self {
                self.message(ChatMessage::new("system", content))
            }

            /// Adds a user message: text, or [chunks](super::ContentChunk) of text, images, documents and audio.
            #[must_use]
            pub fn user(self, content: impl Into<Content>) -> Self {
                self.message(ChatMessage::new("user", content))
            }

            /// Adds an assistant message.
            #[must_use]
            pub fn assistant(self, content: impl Into<Content>) -> Self {
                self.message(ChatMessage::new("assistant", content))
            }

            /// Adds the result of the tool call with this id.
            #[must_use]
            pub fn tool(
                self,
                tool_call_id: impl Into<String>,
                name: impl Into<String>,
                content: impl Into<Content>,
            ) -> Self {
                let mut message = ChatMessage::new("tool", content);
                message
                    .extra
                    .insert("tool_call_id".to_owned(), Value::String(tool_call_id.into()));
                message
                    .extra
                    .insert("name".to_owned(), Value::String(name.into()));
                self.message(message)
            }

            /// Adds a tool that the model may call.
            #[must_use]
            pub fn with_tool(self, tool: Tool) -> Self {
                self.add("tools", tool.into())
            }

            /// Requests a response in JSON that fits this type. [`ChatResponse::parse`] reads it.
            #[cfg(feature = "schemars")]
            #[must_use]
            pub fn json_schema<T: schemars::JsonSchema>(self, name: impl Into<String>) -> Self {
                self.set("response_format", super::tools::format_of::<T>(name.into()))
            }

            fn add(mut self, name: &str, value: Value) -> Self {
                match self.members.get_mut(name) {
                    Some(Value::Array(values)) => values.push(value),
                    _ => {
                        self.members.insert(name.to_owned(), Value::Array(vec![value]));
                    }
                }
                self
            }
        }
    };
}

chat!(ChatRequest, model);
chat!(AgentChatRequest, agent_id);

impl FimRequest {
    /// Creates a request for a model, with the code before the generated code.
    pub fn new(model: impl Into<String>, prompt: impl Into<String>) -> Self {
        Self::none().set("model", model.into()).set("prompt", prompt.into())
    }
}

/// The response to a completion request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ChatResponse {
    /// The id of this completion.
    pub id: String,
    /// The model that generated the response.
    pub model: String,
    /// The choices: one, or the number that the request set.
    pub choices: Vec<ChatChoice>,
    /// The number of tokens used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// All other members (`object`, `created`).
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl ChatResponse {
    /// Returns the text of the first choice, or an empty string.
    pub fn text(&self) -> String {
        self.choices
            .first()
            .map(|choice| choice.message.content.text())
            .unwrap_or_default()
    }

    /// Returns the tool calls of the first choice.
    pub fn tool_calls(&self) -> &[ToolCall] {
        self.choices.first().map_or(&[], |choice| choice.message.tool_calls())
    }

    /// Parses the text of the first choice as JSON.
    ///
    /// # Errors
    /// [`ErrorKind::Api`] if the text is not JSON that fits the type. [`Error::body`] returns the text.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T> {
        parsed(&self.text(), "the text of the response")
    }
}

/// One choice of a [`ChatResponse`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ChatChoice {
    /// The index, from 0.
    pub index: i64,
    /// The message.
    #[serde(default, skip_serializing_if = "ChatMessage::is_empty")]
    pub message: ChatMessage,
    /// The reason for the end: `stop`, `length`, `tool_calls`, `error`, or a reason that the API adds later.
    #[serde(default, skip_serializing_if = "Nullable::is_absent")]
    pub finish_reason: Nullable<String>,
    /// All other members.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// A chunk of a streamed response.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ChatChunk {
    /// The id of this completion, the same in all of its chunks.
    pub id: String,
    /// The model that generates the response.
    pub model: String,
    /// The new part of each choice.
    pub choices: Vec<ChatChunkChoice>,
    /// The number of tokens used. Only the last chunk has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// All other members (`object`, `created`, the padding `p`).
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl ChatChunk {
    /// Returns the new text of the choice with `index` 0, or an empty string.
    pub fn text(&self) -> String {
        self.choices
            .iter()
            .find(|choice| choice.index == 0)
            .map(|choice| choice.delta.content.text())
            .unwrap_or_default()
    }
}

/// The new part of one choice.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ChatChunkChoice {
    /// The index, from 0.
    pub index: i64,
    /// The new part of the message.
    pub delta: ChatMessage,
    /// The reason for the end in the last chunk, otherwise `null`.
    #[serde(default, skip_serializing_if = "Nullable::is_absent")]
    pub finish_reason: Nullable<String>,
    /// All other members.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// The chunks of a streamed completion.
pub type ChatStream = EventStream<ChatChunk>;

impl ChatStream {
    /// Reads the stream to its end and returns the response that a request without streaming would get: texts are
    /// joined, pieces of tool calls are joined by their `index`, and the padding `p` is removed.
    ///
    /// ```
    /// # use mistral_cassette::{DirectoryEngine, client::{ChatRequest, Client}};
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// let client = Client::from_env()?.cached(DirectoryEngine::new("cassettes"))?;
    /// let question = ChatRequest::new("mistral-small-latest").user("Tell me about the mistral.");
    /// let answer = client.chat_stream(question).await?.collect_answer().await?;
    /// assert!(answer.text().starts_with("The mistral is a strong, cold wind."));
    /// # Ok::<(), mistral_cassette::Error>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    /// The first error of the stream, or [`ErrorKind::Api`] if the stream has no chunk.
    pub async fn collect_answer(mut self) -> Result<ChatResponse> {
        let mut answer = None::<ChatResponse>;
        let mut choices = BTreeMap::<i64, ChatChoice>::new();
        while let Some(chunk) = self.next().await.transpose()? {
            for choice in chunk.choices {
                let joined = choices.entry(choice.index).or_insert_with(|| ChatChoice {
                    index: choice.index,
                    ..ChatChoice::default()
                });
                joined.append(choice);
            }
            let answer = answer.get_or_insert_with(|| ChatResponse {
                id: chunk.id,
                model: chunk.model,
                choices: Vec::new(),
                usage: None,
                extra: Map::new(),
            });
            answer.usage = chunk.usage.or(answer.usage.take());
            answer.extra.extend(chunk.extra);
        }
        let mut answer = answer.ok_or_else(|| Error::new(ErrorKind::Api, "the stream ended without a chunk"))?;
        answer.choices = choices.into_values().collect();
        answer.extra.remove("p");
        if let Some(object) = answer.extra.get_mut("object") {
            *object = json!("chat.completion");
        }
        Ok(answer)
    }
}

impl ChatChoice {
    fn append(&mut self, next: ChatChunkChoice) {
        let ChatMessage {
            role,
            content,
            tool_calls,
            extra,
        } = next.delta;
        if role.as_ref().is_some() {
            self.message.role = role;
        }
        self.message.content.append(content);
        self.message.extra.extend(extra);
        if let Some(pieces) = tool_calls.into_option() {
            let mut calls = std::mem::take(&mut self.message.tool_calls)
                .into_option()
                .unwrap_or_default();
            for piece in pieces {
                join(&mut calls, piece);
            }
            self.message.tool_calls = Nullable::Value(calls);
        }
        if !next.finish_reason.is_absent() {
            self.finish_reason = next.finish_reason;
        }
        self.extra.extend(next.extra);
    }
}

/// Appends a piece of a tool call to the last call with the same index. A piece with an id starts a new call.
fn join(calls: &mut Vec<ToolCall>, piece: ToolCall) {
    fn id(call: &ToolCall) -> Option<&str> {
        // The SDKs treat "null" as absent.
        call.id.as_deref().filter(|id| !id.is_empty() && *id != "null")
    }
    let goes_on_with = calls.iter_mut().rfind(|call| {
        call.extra.get("index") == piece.extra.get("index") && (id(&piece).is_none() || id(&piece) == id(call))
    });
    match goes_on_with {
        Some(call) => {
            call.function.name.push_str(&piece.function.name);
            match (&mut call.function.arguments, piece.function.arguments) {
                (Value::String(text), Value::String(more)) => text.push_str(&more),
                (_, Value::Null) => {}
                (arguments, more) => *arguments = more,
            }
            call.function.extra.extend(piece.function.extra);
            call.extra.extend(piece.extra);
        }
        None => calls.push(piece),
    }
}

impl Client {
    /// `POST /v1/chat/completions`: returns the complete response.
    ///
    /// # Errors
    /// [`ErrorKind::Api`] for an error status or a response of another format, and the errors of
    /// [`request`](Self::request).
    pub async fn chat(&self, request: ChatRequest) -> Result<ChatResponse> {
        self.post(CHAT, &request.set("stream", false)).await
    }

    /// `POST /v1/chat/completions` with `stream: true`: returns the response as it is generated.
    ///
    /// # Errors
    /// The errors of [`chat`](Self::chat). Each item of the stream may be an error, too.
    pub async fn chat_stream(&self, request: ChatRequest) -> Result<ChatStream> {
        self.post_stream(CHAT, &request.set("stream", true), End::Done).await
    }

    /// `POST /v1/agents/completions`: returns the complete response.
    ///
    /// # Errors
    /// The errors of [`chat`](Self::chat).
    pub async fn agent_chat(&self, request: AgentChatRequest) -> Result<ChatResponse> {
        self.post(AGENTS, &request.set("stream", false)).await
    }

    /// `POST /v1/agents/completions` with `stream: true`: returns the response as it is generated.
    ///
    /// # Errors
    /// The errors of [`chat_stream`](Self::chat_stream).
    pub async fn agent_chat_stream(&self, request: AgentChatRequest) -> Result<ChatStream> {
        self.post_stream(AGENTS, &request.set("stream", true), End::Done).await
    }

    /// `POST /v1/fim/completions`: returns the complete response.
    ///
    /// # Errors
    /// The errors of [`chat`](Self::chat).
    pub async fn fim(&self, request: FimRequest) -> Result<ChatResponse> {
        self.post(FIM, &request.set("stream", false)).await
    }

    /// `POST /v1/fim/completions` with `stream: true`: returns the response as it is generated.
    ///
    /// # Errors
    /// The errors of [`chat_stream`](Self::chat_stream).
    pub async fn fim_stream(&self, request: FimRequest) -> Result<ChatStream> {
        self.post_stream(FIM, &request.set("stream", true), End::Done).await
    }
}
