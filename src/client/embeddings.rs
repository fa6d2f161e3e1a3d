//! Embeddings: vectors for texts.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::options::{EmbeddingDtype, EncodingFormat, Metadata};
use super::request::request;
use super::usage::Usage;
use super::{Client, Input};
use crate::error::Result;

request! {
    /// A request for `POST /v1/embeddings`. Members that are not set are not sent.
    ///
    /// ```
    /// use mistral_cassette::client::EmbeddingsRequest;
    ///
    /// let request = EmbeddingsRequest::new("mistral-embed", ["Mistral is a wind", "Rust is a language"]);
    /// let small = EmbeddingsRequest::new("codestral-embed", "fn main() {}").output_dimension(256);
    /// ```
    EmbeddingsRequest {
        /// The number of dimensions of each vector. The allowed values depend on the model.
        output_dimension: u32,
        /// The type of the numbers.
        output_dtype => EmbeddingDtype,
        /// How the numbers are sent.
        encoding_format => EncodingFormat,
        /// Metadata of your own.
        metadata => Metadata,
    }
}

impl EmbeddingsRequest {
    /// Creates a request for a model and one text or a list of texts.
    pub fn new(model: impl Into<String>, input: impl Into<Input>) -> Self {
        Self::none().set("model", model.into()).set("input", input.into())
    }
}

/// The response to an [`EmbeddingsRequest`]: one vector for each text, in order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct EmbeddingsResponse {
    /// The id of this response.
    pub id: String,
    /// The model that generated the response.
    pub model: String,
    /// The vectors.
    pub data: Vec<Embedding>,
    /// The number of tokens used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// All other members (`object`).
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl EmbeddingsResponse {
    /// Returns the vectors in the order of the texts, without those in base64.
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
    /// The index of the text, from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<i64>,
    /// All other members (`object`).
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// A vector, in the `encoding_format` of the request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum Vector {
    /// Numbers: by default 1024 floats, or integers, depending on `output_dtype`.
    Numbers(Vec<f64>),
    /// The bytes of the numbers in base64.
    Base64(String),
}

impl Client {
    /// `POST /v1/embeddings`.
    ///
    /// # Errors
    /// [`ErrorKind::Api`](crate::ErrorKind::Api) for an error status, [`ErrorKind::Parse`](crate::ErrorKind::Parse) for a
    /// response of another format, and the errors of [`request`](Self::request).
    pub async fn embeddings(&self, request: EmbeddingsRequest) -> Result<EmbeddingsResponse> {
        self.post("/v1/embeddings", &request).await
    }
}
