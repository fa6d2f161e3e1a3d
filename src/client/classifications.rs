//! Classification with a model of one's own.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::message::{ChatMessage, Usage, sent};
use super::request::request;
use super::{Client, Input};
use crate::error::Result;

request! {
    /// A request for `POST /v1/classifications`.
    ///
    /// ```
    /// use mistral_cassette::client::ClassificationRequest;
    ///
    /// let request = ClassificationRequest::new("ft:classifier:mine", "a text");
    /// ```
    ClassificationRequest {}
}

impl ClassificationRequest {
    /// A request for a model by its name: one text, or a list of them.
    pub fn new(model: impl Into<String>, input: impl Into<Input>) -> Self {
        Self::none().set("model", model.into()).set("input", input.into())
    }
}

request! {
    /// A request for `POST /v1/chat/classifications`.
    ChatClassificationRequest {}
}

impl ChatClassificationRequest {
    /// A request for a model by its name, and chats, each a list of messages.
    pub fn new<Chat>(model: impl Into<String>, chats: impl IntoIterator<Item = Chat>) -> Self
    where
        Chat: IntoIterator<Item = ChatMessage>,
    {
        let chats: Value = chats
            .into_iter()
            .map(|chat| json!({ "messages": sent(chat) }))
            .collect();
        Self::none().set("model", model.into()).set("input", chats)
    }
}

/// The answer to a [`ClassificationRequest`] or a [`ChatClassificationRequest`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ClassificationResponse {
    /// The id of this answer.
    pub id: String,
    /// The model that answered.
    pub model: String,
    /// One for each text or chat, in their order: for each target of the model an object with `scores`, a number from
    /// 0 to 1 for each label.
    pub results: Vec<Map<String, Value>>,
    /// How many tokens it took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// Everything else.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Client {
    /// `POST /v1/classifications`.
    ///
    /// # Errors
    /// As [`embeddings`](Self::embeddings).
    pub async fn classify(&self, request: ClassificationRequest) -> Result<ClassificationResponse> {
        self.post("/v1/classifications", &request).await
    }

    /// `POST /v1/chat/classifications`.
    ///
    /// # Errors
    /// As [`embeddings`](Self::embeddings).
    pub async fn classify_chat(&self, request: ChatClassificationRequest) -> Result<ClassificationResponse> {
        self.post("/v1/chat/classifications", &request).await
    }
}
