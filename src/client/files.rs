//! Files: uploads for OCR, batches or fine-tuning, and files that the API creates.

use bytes::Bytes;
use http::{HeaderValue, header};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::form::{Upload, form};
use super::open_enum::open_enum;
use super::request::path;
use super::{Client, Deleted, ListQuery, Nullable};
use crate::error::Result;
use crate::http::Request;

pub(super) const FILES: &str = "/v1/files";

open_enum! {
    /// What a file is for.
    FilePurpose {
        /// Fine-tuning: the default of the API.
        FineTune = "fine-tune",
        /// The requests of a batch job.
        Batch = "batch",
        /// Text recognition.
        Ocr = "ocr",
        /// Audio.
        Audio = "audio",
    }
}

open_enum! {
    /// Who may read a file.
    FileVisibility {
        /// All users of the workspace.
        Workspace = "workspace",
        /// Only the user.
        User = "user",
    }
}

/// A file to upload with `POST /v1/files`. The default is that of the official SDKs: `visibility: workspace`.
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
    /// Creates an upload from the name and the bytes of a file.
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

    /// Sets the purpose. The default of the API is fine-tuning.
    #[must_use]
    pub fn purpose(self, purpose: impl Into<FilePurpose>) -> Self {
        self.set("purpose", purpose.into())
    }

    /// Sets who may read the file.
    #[must_use]
    pub fn visibility(self, visibility: impl Into<FileVisibility>) -> Self {
        self.set("visibility", visibility.into())
    }

    /// Sets the number of hours after which the API deletes the file.
    #[must_use]
    pub fn expiry(self, hours: u32) -> Self {
        self.set("expiry", hours)
    }

    /// Sets any other part of the form, and replaces an earlier value.
    #[must_use]
    pub fn set(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.members.insert(name.into(), value.into());
        self
    }
}

/// A file that the API stores.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct File {
    /// The id.
    pub id: String,
    /// The name.
    #[serde(default, skip_serializing_if = "Nullable::is_absent")]
    pub filename: Nullable<String>,
    /// The size in bytes.
    #[serde(default, skip_serializing_if = "Nullable::is_absent")]
    pub bytes: Nullable<i64>,
    /// The purpose.
    #[serde(default, skip_serializing_if = "Nullable::is_absent")]
    pub purpose: Nullable<FilePurpose>,
    /// The creation time, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Nullable::is_absent")]
    pub created_at: Nullable<i64>,
    /// All other members (`object`, `sample_type`, `source`, `num_lines`, `mimetype`, `signature`, `expires_at`, …).
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// A page of a list of files.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FileList {
    /// The files.
    pub data: Vec<File>,
    /// The total number on all pages.
    #[serde(default, skip_serializing_if = "Nullable::is_absent")]
    pub total: Nullable<i64>,
    /// All other members (`object`).
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// A URL that gives access to a file without a key, for a limited time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SignedUrl {
    /// The URL.
    pub url: String,
    /// All other members.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Client {
    /// `POST /v1/files`.
    ///
    /// # Errors
    /// The errors of [`embeddings`](Self::embeddings).
    pub async fn upload_file(&self, upload: FileUpload) -> Result<File> {
        let request = form(Request::post(FILES)?, &upload.members, Some(&upload.file))?;
        self.fetch(request).await
    }

    /// `GET /v1/files`. The default is that of the official SDKs: page 0 with 100 files and the total number.
    ///
    /// # Errors
    /// The errors of [`embeddings`](Self::embeddings).
    pub async fn files(&self, query: ListQuery) -> Result<FileList> {
        let defaults = [("page", "0"), ("page_size", "100"), ("include_total", "true")];
        self.fetch(Request::get(&query.target(FILES, &defaults))?).await
    }

    /// `GET /v1/files/{id}`.
    ///
    /// # Errors
    /// The errors of [`embeddings`](Self::embeddings).
    pub async fn file(&self, id: &str) -> Result<File> {
        self.fetch(Request::get(&path(FILES, id, "")?)?).await
    }

    /// `GET /v1/files/{id}/content`: returns all bytes.
    ///
    /// # Errors
    /// [`ErrorKind::Api`](crate::ErrorKind::Api) for an error status, and the errors of [`request`](Self::request).
    pub async fn file_content(&self, id: &str) -> Result<Bytes> {
        let request = Request::get(&path(FILES, id, "/content")?)?
            .header(header::ACCEPT, HeaderValue::from_static("application/octet-stream"));
        self.request(request).await?.error_for_status().await?.bytes().await
    }

    /// `GET /v1/files/{id}/url`: returns a URL that expires after a number of hours. The official SDKs request 24.
    ///
    /// # Errors
    /// The errors of [`embeddings`](Self::embeddings).
    pub async fn file_url(&self, id: &str, expiry_hours: u32) -> Result<SignedUrl> {
        self.fetch(Request::get(&path(FILES, id, &format!("/url?expiry={expiry_hours}"))?)?)
            .await
    }

    /// `DELETE /v1/files/{id}`.
    ///
    /// # Errors
    /// The errors of [`embeddings`](Self::embeddings).
    pub async fn delete_file(&self, id: &str) -> Result<Deleted> {
        self.fetch(Request::delete(&path(FILES, id, "")?)?).await
    }
}
