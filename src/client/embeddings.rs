//! Embeddings: texts as vectors.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::message::Usage;
use super::request::request;
use super::{Client, Input};
use crate::error::Result;

request! {
    /// A request for `POST /v1/embeddings`. What is not set is not sent.
    ///
    /// ```
    /// use mistral_cassette::client::EmbeddingsRequest;
    ///
    /// let request = EmbeddingsRequest::new("mistral-embed", ["Mistral is a wind", "Rust is a language"]);
    /// let small = EmbeddingsRequest::new("codestral-embed", "fn main() {}").output_dimension(256);
    /// ```
    EmbeddingsRequest {
        /// How many numbers a vector shall have; models differ in what they take.
        output_dimension: u32,
        /// `float`, `int8`, `uint8`, `binary` or `ubinary`.
        output_dtype: &str,
        /// `float` or `base64`.
        encoding_format: &str,
    }
}

impl EmbeddingsRequest {
    /// A request for a model by its name: one text, or a list of them.
    pub fn new(model: impl Into<String>, input: impl Into<Input>) -> Self {
        Self::none().set("model", model.into()).set("input", input.into())
    }
}

/// The answer to an [`EmbeddingsRequest`]: one vector a text, in their order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct EmbeddingsResponse {
    /// The id of this answer.
    pub id: String,
    /// The model that answered.
    pub model: String,
    /// The vectors.
    pub data: Vec<Embedding>,
    /// How many tokens it took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// Everything else (`object`).
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl EmbeddingsResponse {
    /// The vectors alone, in the order of the texts; those in base64 are left out.
    pub fn vectors(&self) -> impl Iterator<Item = &[f64]> {
        self.data.iter().filter_map(|embedding| match &embedding.embedding {
            Vector::Numbers(numbers) => Some(numbers.as_slice()),
            Vector::Base64(_) => None,
        })
    }
}

/// The vector of one text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Embedding {
    /// The vector.
    pub embedding: Vector,
    /// Which text it belongs to, from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<i64>,
    /// Everything else (`object`).
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// A vector, in the `encoding_format` that was asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum Vector {
    /// Numbers, by default 1024 floats; whole numbers where `output_dtype` says so.
    Numbers(Vec<f64>),
    /// Their bytes in base64.
    Base64(String),
}

impl Client {
    /// `POST /v1/embeddings`.
    ///
    /// # Errors
    /// [`ErrorKind::Api`](crate::ErrorKind::Api) for an error status or an answer of another shape; any other kind from
    /// the road.
    pub async fn embeddings(&self, request: EmbeddingsRequest) -> Result<EmbeddingsResponse> {
        self.post("/v1/embeddings", &request).await
    }
}
