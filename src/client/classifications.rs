//! Classification with a fine-tuned model.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::message::{ChatMessage, sent};
use super::options::Metadata;
use super::request::request;
use super::usage::Usage;
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
    ClassificationRequest {
        /// Metadata of your own.
        metadata => Metadata,
    }
}

impl ClassificationRequest {
    /// Creates a request for a model and one text or a list of texts.
    pub fn new(model: impl Into<String>, input: impl Into<Input>) -> Self {
        Self::none().set("model", model.into()).set("input", input.into())
    }
}

request! {
    /// A request for `POST /v1/chat/classifications`.
    ChatClassificationRequest {}
}

impl ChatClassificationRequest {
    /// Creates a request for a model and a list of chats, each a list of messages.
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

/// The response to a [`ClassificationRequest`] or a [`ChatClassificationRequest`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ClassificationResponse {
    /// The id of this response.
    pub id: String,
    /// The model that generated the response.
    pub model: String,
    /// One result for each text or chat, in order. It has an object for each target of the model, with `scores`: a
    /// number from 0 to 1 for each label.
    pub results: Vec<Map<String, Value>>,
    /// The number of tokens used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// All other members.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Client {
    /// `POST /v1/classifications`.
    ///
    /// # Errors
    /// The errors of [`embeddings`](Self::embeddings).
    pub async fn classify(&self, request: ClassificationRequest) -> Result<ClassificationResponse> {
        self.post("/v1/classifications", &request).await
    }

    /// `POST /v1/chat/classifications`.
    ///
    /// # Errors
    /// The errors of [`embeddings`](Self::embeddings).
    pub async fn classify_chat(&self, request: ChatClassificationRequest) -> Result<ClassificationResponse> {
        self.post("/v1/chat/classifications", &request).await
    }
}
