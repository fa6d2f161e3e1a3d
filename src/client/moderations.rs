//! Moderation: what is wrong with a text or a chat.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::message::{ChatMessage, Usage, sent};
use super::request::request;
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
    ModerationRequest {}
}

impl ModerationRequest {
    /// A request for a model by its name: one text, or a list of them.
    pub fn new(model: impl Into<String>, input: impl Into<Input>) -> Self {
        Self::none().set("model", model.into()).set("input", input.into())
    }
}

request! {
    /// A request for `POST /v1/chat/moderations`: the last message is judged, in the light of those before.
    ///
    /// ```
    /// use mistral_cassette::client::{ChatMessage, ChatModerationRequest};
    ///
    /// let request = ChatModerationRequest::new("mistral-moderation-latest", [ChatMessage::new("user", "Hello")]);
    /// ```
    ChatModerationRequest {}
}

impl ChatModerationRequest {
    /// A request for a model by its name, and one chat. For many, set `input` to a list of lists.
    pub fn new(model: impl Into<String>, chat: impl IntoIterator<Item = ChatMessage>) -> Self {
        Self::none().set("model", model.into()).set("input", sent(chat))
    }
}

/// The answer to a [`ModerationRequest`] or a [`ChatModerationRequest`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ModerationResponse {
    /// The id of this answer.
    pub id: String,
    /// The model that answered.
    pub model: String,
    /// One for each text or chat, in their order.
    pub results: Vec<Moderation>,
    /// How many tokens it took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// Everything else.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// What one text or chat was found to be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Moderation {
    /// Whether it is of each category (`sexual`, `pii`, …): booleans, in the order in which they came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub categories: Option<Map<String, Value>>,
    /// How much it is of each category: numbers from 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category_scores: Option<Map<String, Value>>,
    /// Everything else.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Moderation {
    /// The categories that it is of.
    pub fn flagged(&self) -> impl Iterator<Item = &str> {
        let categories = self.categories.iter().flatten();
        categories
            .filter(|(_, is_of_it)| **is_of_it == Value::Bool(true))
            .map(|(name, _)| name.as_str())
    }

    /// How much it is of a category, 0 to 1.
    pub fn score(&self, category: &str) -> Option<f64> {
        self.category_scores.as_ref()?.get(category)?.as_f64()
    }
}

impl Client {
    /// `POST /v1/moderations`.
    ///
    /// # Errors
    /// As [`embeddings`](Self::embeddings).
    pub async fn moderate(&self, request: ModerationRequest) -> Result<ModerationResponse> {
        self.post("/v1/moderations", &request).await
    }

    /// `POST /v1/chat/moderations`.
    ///
    /// # Errors
    /// As [`embeddings`](Self::embeddings).
    pub async fn moderate_chat(&self, request: ChatModerationRequest) -> Result<ModerationResponse> {
        self.post("/v1/chat/moderations", &request).await
    }
}
