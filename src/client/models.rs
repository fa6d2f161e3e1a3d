//! Models and their capabilities.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::request::path;
use super::{Client, Deleted, Nullable};
use crate::error::Result;
use crate::http::Request;

const MODELS: &str = "/v1/models";

/// A list of models.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ModelList {
    /// The models.
    pub data: Vec<Model>,
    /// All other members (`object`).
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// A model of the API, or a fine-tuned model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Model {
    /// The id.
    pub id: String,
    /// The capabilities: a boolean for each name.
    #[serde(default, skip_serializing_if = "Nullable::is_absent")]
    pub capabilities: Nullable<Map<String, Value>>,
    /// The aliases of the id.
    #[serde(default, skip_serializing_if = "Nullable::is_absent")]
    pub aliases: Nullable<Vec<String>>,
    /// The maximum number of tokens of a request and its response.
    #[serde(default, skip_serializing_if = "Nullable::is_absent")]
    pub max_context_length: Nullable<i64>,
    /// The time when the API removes the model (RFC 3339).
    #[serde(default, skip_serializing_if = "Nullable::is_absent")]
    pub deprecation: Nullable<String>,
    /// All other members (`object`, `created` in seconds since 1970, `owned_by`, `description`, …).
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Model {
    /// Returns whether the model has a capability, for example `completion_chat`, `function_calling`, `vision` or
    /// `ocr`.
    pub fn can(&self, capability: &str) -> bool {
        let capabilities = self.capabilities.as_ref();
        capabilities.and_then(|all| all.get(capability)) == Some(&Value::Bool(true))
    }
}

impl Client {
    /// `GET /v1/models`.
    ///
    /// # Errors
    /// The errors of [`embeddings`](Self::embeddings).
    pub async fn models(&self) -> Result<ModelList> {
        self.fetch(Request::get(MODELS)?).await
    }

    /// `GET /v1/models/{id}`.
    ///
    /// # Errors
    /// The errors of [`embeddings`](Self::embeddings).
    pub async fn model(&self, id: &str) -> Result<Model> {
        self.fetch(Request::get(&path(MODELS, id, "")?)?).await
    }

    /// `DELETE /v1/models/{id}`: deletes one of your fine-tuned models.
    ///
    /// # Errors
    /// The errors of [`embeddings`](Self::embeddings).
    pub async fn delete_model(&self, id: &str) -> Result<Deleted> {
        self.fetch(Request::delete(&path(MODELS, id, "")?)?).await
    }
}
