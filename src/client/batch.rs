//! Batches: many requests in one job, which the API processes within hours.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::open_enum::open_enum;
use super::options::Metadata;
use super::request::{path, request};
use super::{Client, ListQuery, Nullable};
use crate::error::Result;
use crate::http::Request;

pub(super) const JOBS: &str = "/v1/batch/jobs";

open_enum! {
    /// The state of a batch job.
    BatchJobStatus {
        /// The job waits.
        Queued = "QUEUED",
        /// The job runs.
        Running = "RUNNING",
        /// The job is complete. Single requests may have failed.
        Success = "SUCCESS",
        /// The job failed.
        Failed = "FAILED",
        /// The job took longer than `timeout_hours`.
        TimeoutExceeded = "TIMEOUT_EXCEEDED",
        /// The job is being cancelled.
        CancellationRequested = "CANCELLATION_REQUESTED",
        /// The job is cancelled.
        Cancelled = "CANCELLED",
    }
}

impl BatchJobStatus {
    /// Whether the state is final. An unknown state is not.
    pub fn is_done(&self) -> bool {
        matches!(
            self,
            Self::Success | Self::Failed | Self::TimeoutExceeded | Self::Cancelled
        )
    }
}

request! {
    /// A request for `POST /v1/batch/jobs`. The default is that of the official SDKs: `timeout_hours: 24`.
    ///
    /// ```
    /// use mistral_cassette::client::{BatchRequest, ChatRequest};
    /// use serde_json::json;
    ///
    /// let from_file = BatchRequest::new("/v1/chat/completions").model("mistral-small-latest").input_files(["id"]);
    /// let inline = BatchRequest::new("/v1/embeddings")
    ///     .model("mistral-embed")
    ///     .request("first", json!({ "input": "a text" }));
    /// let chats = BatchRequest::new("/v1/chat/completions")
    ///     .request("first", ChatRequest::new("mistral-small-latest").user("Hello"));
    /// ```
    BatchRequest {
        /// The model for all requests.
        model: &str,
        /// The agent for all requests.
        agent_id: &str,
        /// The number of hours after which the API cancels unfinished requests.
        timeout_hours: u32,
        /// Metadata of your own.
        metadata => Metadata,
    }
}

impl BatchRequest {
    /// Creates a job for requests to one endpoint, given by its path.
    pub fn new(endpoint: impl Into<String>) -> Self {
        Self::none().set("endpoint", endpoint.into()).set("timeout_hours", 24)
    }

    /// Sets the ids of the uploaded files that contain the requests, one per line.
    #[must_use]
    pub fn input_files<Id: Into<String>>(self, ids: impl IntoIterator<Item = Id>) -> Self {
        self.set("input_files", ids.into_iter().map(Into::into).collect::<Vec<String>>())
    }

    /// Adds a request: a request of this client, or JSON. Its response has the same id.
    #[must_use]
    pub fn request(mut self, custom_id: impl Into<String>, body: impl Into<Value>) -> Self {
        let request = json!({ "custom_id": custom_id.into(), "body": body.into() });
        match self.members.get_mut("requests") {
            Some(Value::Array(requests)) => {
                requests.push(request);
                self
            }
            _ => self.set("requests", vec![request]),
        }
    }
}

/// A batch job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct BatchJob {
    /// The id.
    pub id: String,
    /// The state.
    pub status: BatchJobStatus,
    /// The number of requests.
    #[serde(default, skip_serializing_if = "Nullable::is_absent")]
    pub total_requests: Nullable<i64>,
    /// The number of completed requests, both successful and failed.
    #[serde(default, skip_serializing_if = "Nullable::is_absent")]
    pub completed_requests: Nullable<i64>,
    /// The id of the file with the responses, one per line.
    #[serde(default, skip_serializing_if = "Nullable::is_absent")]
    pub output_file: Nullable<String>,
    /// The id of the file with the errors, one per line.
    #[serde(default, skip_serializing_if = "Nullable::is_absent")]
    pub error_file: Nullable<String>,
    /// The responses, if the request asked for them.
    #[serde(default, skip_serializing_if = "Nullable::is_absent")]
    pub outputs: Nullable<Vec<Value>>,
    /// All other members (`object`, `endpoint`, `model`, `input_files`, `errors`, `created_at` in seconds since
    /// 1970, …).
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// A page of a list of batch jobs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct BatchJobList {
    /// The jobs. The member is absent from an empty page.
    #[serde(default, skip_serializing_if = "Nullable::is_absent")]
    pub data: Nullable<Vec<BatchJob>>,
    /// The total number on all pages.
    #[serde(default, skip_serializing_if = "Nullable::is_absent")]
    pub total: Nullable<i64>,
    /// All other members (`object`).
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Client {
    /// `POST /v1/batch/jobs`.
    ///
    /// # Errors
    /// The errors of [`embeddings`](Self::embeddings).
    pub async fn create_batch_job(&self, request: BatchRequest) -> Result<BatchJob> {
        self.post(JOBS, &request).await
    }

    /// `GET /v1/batch/jobs`. The default is that of the official SDKs: page 0 with 100 jobs of all users, the newest
    /// first.
    ///
    /// # Errors
    /// The errors of [`embeddings`](Self::embeddings).
    pub async fn batch_jobs(&self, query: ListQuery) -> Result<BatchJobList> {
        let defaults = [
            ("page", "0"),
            ("page_size", "100"),
            ("created_by_me", "false"),
            ("order_by", "-created"),
        ];
        self.fetch(Request::get(&query.target(JOBS, &defaults))?).await
    }

    /// `GET /v1/batch/jobs/{id}`.
    ///
    /// # Errors
    /// The errors of [`embeddings`](Self::embeddings).
    pub async fn batch_job(&self, id: &str) -> Result<BatchJob> {
        self.fetch(Request::get(&path(JOBS, id, "")?)?).await
    }

    /// `GET /v1/batch/jobs/{id}?inline=true`: includes the responses in [`BatchJob::outputs`].
    ///
    /// # Errors
    /// The errors of [`embeddings`](Self::embeddings).
    pub async fn batch_job_with_outputs(&self, id: &str) -> Result<BatchJob> {
        self.fetch(Request::get(&path(JOBS, id, "?inline=true")?)?).await
    }

    /// `POST /v1/batch/jobs/{id}/cancel`.
    ///
    /// # Errors
    /// The errors of [`embeddings`](Self::embeddings).
    pub async fn cancel_batch_job(&self, id: &str) -> Result<BatchJob> {
        self.fetch(Request::post(&path(JOBS, id, "/cancel")?)?).await
    }
}
