//! OCR: converts documents and images to Markdown.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::message::ContentChunk;
use super::options::{ConfidenceGranularity, ResponseFormat, TableFormat};
use super::request::request;
use super::{Client, Nullable};
use crate::error::Result;

request! {
    /// A request for `POST /v1/ocr`. The default is that of the official SDKs: `include_blocks: true`.
    ///
    /// ```
    /// use mistral_cassette::client::{ContentChunk, OcrRequest};
    ///
    /// let document = ContentChunk::document("https://arxiv.org/pdf/2201.04234");
    /// let request = OcrRequest::new("mistral-ocr-latest", document).pages([0, 1]).include_image_base64(true);
    /// ```
    OcrRequest {
        /// Whether pages include their images, in base64.
        include_image_base64: bool,
        /// The maximum number of images to return.
        image_limit: u32,
        /// The minimum width and height of an image to return.
        image_min_size: u32,
        /// The format of the annotation of each image.
        bbox_annotation_format => ResponseFormat,
        /// The format of the annotation of the document.
        document_annotation_format => ResponseFormat,
        /// Instructions for the annotation of the document.
        document_annotation_prompt: &str,
        /// The format of tables.
        table_format => TableFormat,
        /// Whether the header of each page is separate from its text.
        extract_header: bool,
        /// Whether the footer of each page is separate from its text.
        extract_footer: bool,
        /// Whether pages include their blocks.
        include_blocks: bool,
        /// The parts of a page that have a confidence score.
        confidence_scores_granularity => ConfidenceGranularity,
    }
}

impl OcrRequest {
    /// Creates a request for a model and a document: [`ContentChunk::document`], [`ContentChunk::image`] or
    /// [`ContentChunk::file`].
    pub fn new(model: impl Into<String>, document: ContentChunk) -> Self {
        Self::none()
            .set("model", model.into())
            .set("document", json!(document))
            .set("include_blocks", true)
    }

    /// Sets the pages to read, counted from 0.
    #[must_use]
    pub fn pages(self, pages: impl IntoIterator<Item = u32>) -> Self {
        self.set("pages", pages.into_iter().collect::<Vec<_>>())
    }

    /// Sets the pages to read as text, for example `0-5,7`.
    #[must_use]
    pub fn page_ranges(self, ranges: &str) -> Self {
        self.set("pages", ranges)
    }
}

/// The response to an [`OcrRequest`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct OcrResponse {
    /// The model that read the document.
    pub model: String,
    /// The pages, in order.
    pub pages: Vec<OcrPage>,
    /// The annotation of the document in `document_annotation_format`: JSON as text.
    #[serde(default, skip_serializing_if = "Nullable::is_absent")]
    pub document_annotation: Nullable<String>,
    /// All other members (`usage_info`).
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl OcrResponse {
    /// Returns the Markdown of all pages, separated by blank lines.
    pub fn markdown(&self) -> String {
        let pages: Vec<&str> = self.pages.iter().map(|page| page.markdown.as_str()).collect();
        pages.join("\n\n")
    }
}

/// A page of the document.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct OcrPage {
    /// The index, from 0.
    pub index: i64,
    /// The content of the page. Images and tables are links.
    pub markdown: String,
    /// The images on the page.
    #[serde(default, skip_serializing_if = "Nullable::is_absent")]
    pub images: Nullable<Vec<OcrImage>>,
    /// The size of the page in pixels, and its resolution.
    #[serde(default, skip_serializing_if = "Nullable::is_absent")]
    pub dimensions: Nullable<OcrDimensions>,
    /// All other members (`tables`, `hyperlinks`, `header`, `footer`, `blocks`, `confidence_scores`).
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// An image on a page.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct OcrImage {
    /// The name of the image in the Markdown.
    pub id: String,
    /// The image as a `data:` URL, if the request asked for images.
    #[serde(default, skip_serializing_if = "Nullable::is_absent")]
    pub image_base64: Nullable<String>,
    /// All other members (`top_left_x` and the other corners in pixels, `image_annotation`).
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// The size of a page.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct OcrDimensions {
    /// Pixels per inch.
    pub dpi: i64,
    /// The height in pixels.
    pub height: i64,
    /// The width in pixels.
    pub width: i64,
    /// All other members.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Client {
    /// `POST /v1/ocr`.
    ///
    /// # Errors
    /// The errors of [`embeddings`](Self::embeddings).
    pub async fn ocr(&self, request: OcrRequest) -> Result<OcrResponse> {
        self.post("/v1/ocr", &request).await
    }
}
