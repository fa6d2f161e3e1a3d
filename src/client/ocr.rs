//! OCR: documents and images as Markdown.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::message::ContentChunk;
use super::request::request;
use super::{Client, Nullable};
use crate::error::Result;

request! {
    /// A request for `POST /v1/ocr`. Sent without being set, as by the official SDKs: `include_blocks: true`.
    ///
    /// ```
    /// use mistral_cassette::client::{ContentChunk, OcrRequest};
    ///
    /// let document = ContentChunk::document("https://arxiv.org/pdf/2201.04234");
    /// let request = OcrRequest::new("mistral-ocr-latest", document).pages([0, 1]).include_image_base64(true);
    /// ```
    OcrRequest {
        /// Whether the images of a page come with it, in base64.
        include_image_base64: bool,
        /// The most images to return.
        image_limit: u32,
        /// `markdown` or `html`.
        table_format: &str,
    }
}

impl OcrRequest {
    /// A request for a model by its name and a document: [`ContentChunk::document`], [`ContentChunk::image`] or
    /// [`ContentChunk::file`].
    pub fn new(model: impl Into<String>, document: ContentChunk) -> Self {
        Self::none()
            .set("model", model.into())
            .set("document", json!(document))
            .set("include_blocks", true)
    }

    /// Which pages to read, from 0.
    #[must_use]
    pub fn pages(self, pages: impl IntoIterator<Item = u32>) -> Self {
        self.set("pages", pages.into_iter().collect::<Vec<_>>())
    }
}

/// The answer to an [`OcrRequest`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct OcrResponse {
    /// The model that answered.
    pub model: String,
    /// The pages, in their order.
    pub pages: Vec<OcrPage>,
    /// The document annotated as `document_annotation_format` says: JSON as text.
    #[serde(default, skip_serializing_if = "Nullable::is_absent")]
    pub document_annotation: Nullable<String>,
    /// Everything else (`usage_info`).
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl OcrResponse {
    /// The Markdown of all pages, with a blank line between two.
    pub fn markdown(&self) -> String {
        let pages: Vec<&str> = self.pages.iter().map(|page| page.markdown.as_str()).collect();
        pages.join("\n\n")
    }
}

/// A page that was read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct OcrPage {
    /// Its number, from 0.
    pub index: i64,
    /// What stands on it; images and tables are links to those below.
    pub markdown: String,
    /// The images on it.
    #[serde(default, skip_serializing_if = "Nullable::is_absent")]
    pub images: Nullable<Vec<OcrImage>>,
    /// Its size in pixels at a resolution.
    #[serde(default, skip_serializing_if = "Nullable::is_absent")]
    pub dimensions: Nullable<OcrDimensions>,
    /// Everything else (`tables`, `hyperlinks`, `header`, `footer`, `blocks`, `confidence_scores`).
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// An image on a page.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct OcrImage {
    /// What the Markdown calls it.
    pub id: String,
    /// The image as a `data:` URL, when it was asked for.
    #[serde(default, skip_serializing_if = "Nullable::is_absent")]
    pub image_base64: Nullable<String>,
    /// Everything else (`top_left_x` and the other corners in pixels, `image_annotation`).
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// The size of a page.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct OcrDimensions {
    /// Pixels an inch.
    pub dpi: i64,
    /// Pixels from top to bottom.
    pub height: i64,
    /// Pixels from left to right.
    pub width: i64,
    /// Everything else.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Client {
    /// `POST /v1/ocr`.
    ///
    /// # Errors
    /// As [`embeddings`](Self::embeddings).
    pub async fn ocr(&self, request: OcrRequest) -> Result<OcrResponse> {
        self.post("/v1/ocr", &request).await
    }
}
