//! Moderation: categories of harmful content in a text or a chat.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::message::{ChatMessage, sent};
use super::options::Metadata;
use super::request::request;
use super::usage::Usage;
use super::{Client, Input};
use crate::error::Result;

request! {
    /// A request for `POST /v1/moderations`.
    ///
    /// ```
    /// use mistral_cassette::client::ModerationRequest;
    ///
    /// let request = ModerationRequest::new("mistral-moderation-latest", ["a text", "another"]);
    /// ```
    ModerationRequest {
        /// Metadata of your own.
        metadata => Metadata,
    }
}

impl ModerationRequest {
    /// Creates a request for a model and one text or a list of texts.
    pub fn new(model: impl Into<String>, input: impl Into<Input>) -> Self {
        Self::none().set("model", model.into()).set("input", input.into())
    }
}

request! {
    /// A request for `POST /v1/chat/moderations`: moderates the last message. The earlier messages are its context.
    ///
    /// ```
    /// use mistral_cassette::client::{ChatMessage, ChatModerationRequest};
    ///
    /// let request = ChatModerationRequest::new("mistral-moderation-latest", [ChatMessage::user("Hello")]);
    /// ```
    ChatModerationRequest {}
}

impl ChatModerationRequest {
    /// Creates a request for a model and one chat.
    pub fn new(model: impl Into<String>, chat: impl IntoIterator<Item = ChatMessage>) -> Self {
        Self::none().set("model", model.into()).set("input", sent(chat))
    }

    /// Creates a request for a model and a list of chats, each a list of messages.
    pub fn for_chats<Chat>(model: impl Into<String>, chats: impl IntoIterator<Item = Chat>) -> Self
    where
        Chat: IntoIterator<Item = ChatMessage>,
    {
        let chats: Value = chats.into_iter().map(sent).collect();
        Self::none().set("model", model.into()).set("input", chats)
    }
}

/// The response to a [`ModerationRequest`] or a [`ChatModerationRequest`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ModerationResponse {
    /// The id of this response.
    pub id: String,
    /// The model that generated the response.
    pub model: String,
    /// One result for each text or chat, in order.
    pub results: Vec<Moderation>,
    /// The number of tokens used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// All other members.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// The result for one text or chat.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Moderation {
    /// Whether the text belongs to each category (`sexual`, `pii`, …): booleans, in the order of the response.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub categories: Option<Map<String, Value>>,
    /// The score of each category: numbers from 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category_scores: Option<Map<String, Value>>,
    /// All other members.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Moderation {
    /// Returns the categories that the text belongs to.
    pub fn flagged(&self) -> impl Iterator<Item = &str> {
        let categories = self.categories.iter().flatten();
        categories
            .filter(|(_, belongs)| **belongs == Value::Bool(true))
            .map(|(name, _)| name.as_str())
    }

    /// Returns the score of a category, from 0 to 1.
    pub fn score(&self, category: &str) -> Option<f64> {
        self.category_scores.as_ref()?.get(category)?.as_f64()
    }
}

impl Client {
    /// `POST /v1/moderations`.
    ///
    /// # Errors
    /// The errors of [`embeddings`](Self::embeddings).
    pub async fn moderate(&self, request: ModerationRequest) -> Result<ModerationResponse> {
        self.post("/v1/moderations", &request).await
    }

    /// `POST /v1/chat/moderations`.
    ///
    /// # Errors
    /// The errors of [`embeddings`](Self::embeddings).
    pub async fn moderate_chat(&self, request: ChatModerationRequest) -> Result<ModerationResponse> {
        self.post("/v1/chat/moderations", &request).await
    }
}
