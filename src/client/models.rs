//! Models: which there are, and what they can do.

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
    /// Everything else (`object`).
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// A model, of the API or fine-tuned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Model {
    /// What requests call it.
    pub id: String,
    /// What it can do: booleans by name.
    #[serde(default, skip_serializing_if = "Nullable::is_absent")]
    pub capabilities: Nullable<Map<String, Value>>,
    /// Other names for it.
    #[serde(default, skip_serializing_if = "Nullable::is_absent")]
    pub aliases: Nullable<Vec<String>>,
    /// The most tokens of a request and its answer.
    #[serde(default, skip_serializing_if = "Nullable::is_absent")]
    pub max_context_length: Nullable<i64>,
    /// When it stops to answer (RFC 3339).
    #[serde(default, skip_serializing_if = "Nullable::is_absent")]
    pub deprecation: Nullable<String>,
    /// Everything else (`object`, `created` in seconds since 1970, `owned_by`, `description`, …).
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Model {
    /// Whether it has a capability, such as `completion_chat`, `function_calling`, `vision` or `ocr`.
    pub fn can(&self, capability: &str) -> bool {
        let capabilities = self.capabilities.as_ref();
        capabilities.and_then(|all| all.get(capability)) == Some(&Value::Bool(true))
    }
}

impl Client {
    /// `GET /v1/models`.
    ///
    /// # Errors
    /// As [`embeddings`](Self::embeddings).
    pub async fn models(&self) -> Result<ModelList> {
        self.ask(Request::get(MODELS)?).await
    }

    /// `GET /v1/models/{id}`.
    ///
    /// # Errors
    /// As [`embeddings`](Self::embeddings).
    pub async fn model(&self, id: &str) -> Result<Model> {
        self.ask(Request::get(&path(MODELS, id, "")?)?).await
    }

    /// `DELETE /v1/models/{id}`: a fine-tuned model of yours.
    ///
    /// # Errors
    /// As [`embeddings`](Self::embeddings).
    pub async fn delete_model(&self, id: &str) -> Result<Deleted> {
        self.ask(Request::delete(&path(MODELS, id, "")?)?).await
    }
}
