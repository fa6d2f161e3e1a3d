//! Files: uploaded for OCR, batches or fine-tuning, or made by the API.

use bytes::Bytes;
use http::{HeaderValue, header};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::form::{Upload, form};
use super::request::path;
use super::{Client, Deleted, ListQuery, Nullable};
use crate::error::Result;
use crate::http::Request;

const FILES: &str = "/v1/files";

/// A file to upload with `POST /v1/files`. Sent without being set, as by the official SDKs: `visibility: workspace`.
///
/// ```
/// use mistral_cassette::client::FileUpload;
///
/// let upload = FileUpload::new("requests.jsonl", "{}\n").purpose("batch");
/// ```
#[derive(Clone, Debug)]
pub struct FileUpload {
    file: Upload,
    members: Map<String, Value>,
}

impl FileUpload {
    /// A file by its name, with its bytes.
    pub fn new(name: impl Into<String>, content: impl Into<Bytes>) -> Self {
        Self {
            file: Upload {
                name: name.into(),
                content: content.into(),
            },
            members: Map::new(),
        }
        .set("visibility", "workspace")
    }

    /// What it is for: `fine-tune` (the API's default), `batch` or `ocr`.
    #[must_use]
    pub fn purpose(self, purpose: &str) -> Self {
        self.set("purpose", purpose)
    }

    /// Sets any other part of the form, in place of what it was.
    #[must_use]
    pub fn set(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.members.insert(name.into(), value.into());
        self
    }
}

/// A file as the API knows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct File {
    /// What requests call it.
    pub id: String,
    /// The name it was uploaded with.
    #[serde(default, skip_serializing_if = "Nullable::is_absent")]
    pub filename: Nullable<String>,
    /// Its size in bytes.
    #[serde(default, skip_serializing_if = "Nullable::is_absent")]
    pub bytes: Nullable<i64>,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Nullable::is_absent")]
    pub purpose: Nullable<String>,
    /// When it was made, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Nullable::is_absent")]
    pub created_at: Nullable<i64>,
    /// Everything else (`object`, `sample_type`, `source`, `num_lines`, `mimetype`, `signature`, `expires_at`, …).
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// A page of a list of files.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FileList {
    /// The files.
    pub data: Vec<File>,
    /// How many there are on all pages.
    #[serde(default, skip_serializing_if = "Nullable::is_absent")]
    pub total: Nullable<i64>,
    /// Everything else (`object`).
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// Where a file can be had without a key for some time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SignedUrl {
    /// The address.
    pub url: String,
    /// Everything else.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Client {
    /// `POST /v1/files`.
    ///
    /// # Errors
    /// As [`embeddings`](Self::embeddings).
    pub async fn upload_file(&self, upload: FileUpload) -> Result<File> {
        let request = form(Request::post(FILES)?, &upload.members, Some(&upload.file))?;
        self.ask(request).await
    }

    /// `GET /v1/files`. PreparedRequest for without being set, as by the official SDKs: page 0 of 100 files, with the total.
    ///
    /// # Errors
    /// As [`embeddings`](Self::embeddings).
    pub async fn files(&self, query: ListQuery) -> Result<FileList> {
        let defaults = [("page", "0"), ("page_size", "100"), ("include_total", "true")];
        self.ask(Request::get(&query.target(FILES, &defaults))?).await
    }

    /// `GET /v1/files/{id}`.
    ///
    /// # Errors
    /// As [`embeddings`](Self::embeddings).
    pub async fn file(&self, id: &str) -> Result<File> {
        self.ask(Request::get(&path(FILES, id, "")?)?).await
    }

    /// `GET /v1/files/{id}/content`: the bytes, whole.
    ///
    /// # Errors
    /// [`ErrorKind::Api`](crate::ErrorKind::Api) for an error status; any other kind from the road.
    pub async fn file_content(&self, id: &str) -> Result<Bytes> {
        let request = Request::get(&path(FILES, id, "/content")?)?
            .header(header::ACCEPT, HeaderValue::from_static("application/octet-stream"));
        self.request(request).await?.error_for_status().await?.bytes().await
    }

    /// `GET /v1/files/{id}/url`: an address that is good for so many hours; the official SDKs ask for 24.
    ///
    /// # Errors
    /// As [`embeddings`](Self::embeddings).
    pub async fn file_url(&self, id: &str, expiry_hours: u32) -> Result<SignedUrl> {
        self.ask(Request::get(&path(FILES, id, &format!("/url?expiry={expiry_hours}"))?)?)
            .await
    }

    /// `DELETE /v1/files/{id}`.
    ///
    /// # Errors
    /// As [`embeddings`](Self::embeddings).
    pub async fn delete_file(&self, id: &str) -> Result<Deleted> {
        self.ask(Request::delete(&path(FILES, id, "")?)?).await
    }
}
