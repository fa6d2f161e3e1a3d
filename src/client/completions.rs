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

use super::completion_requests::{AgentChatRequest, ChatRequest, FimRequest};
use super::message::{ChatMessage, FinishReason, ToolCall};
use super::stream::{End, EventStream};
use super::usage::{Usage, parsed};
use super::{Client, Nullable};
use crate::error::{Error, ErrorKind, Result};

const CHAT: &str = "/v1/chat/completions";
const AGENTS: &str = "/v1/agents/completions";
const FIM: &str = "/v1/fim/completions";

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

    /// Returns the message of the first choice, to send it back in the next request.
    pub fn message(&self) -> Option<&ChatMessage> {
        self.choices.first().map(|choice| &choice.message)
    }

    /// Returns the reason for the end of the first choice.
    pub fn finish_reason(&self) -> Option<&FinishReason> {
        self.choices.first()?.finish_reason.as_ref()
    }

    /// Returns the tool calls of the first choice.
    pub fn tool_calls(&self) -> &[ToolCall] {
        self.choices.first().map_or(&[], |choice| choice.message.tool_calls())
    }

    /// Parses the text of the first choice as JSON.
    ///
    /// # Errors
    /// [`ErrorKind::Parse`] if the text is not JSON that fits the type. [`Error::body`] returns the text.
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
    /// The reason for the end.
    #[serde(default, skip_serializing_if = "Nullable::is_absent")]
    pub finish_reason: Nullable<FinishReason>,
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
    pub finish_reason: Nullable<FinishReason>,
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
    let continued = calls.iter_mut().rfind(|call| {
        call.extra.get("index") == piece.extra.get("index") && (id(&piece).is_none() || id(&piece) == id(call))
    });
    match continued {
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
    /// [`ErrorKind::Api`] for an error status, [`ErrorKind::Parse`] for a response of another format, and the errors of
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
