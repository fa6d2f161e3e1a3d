//! Batches: many requests in one job, answered within hours.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::request::{path, request};
use super::{Client, ListQuery, Nullable};
use crate::error::Result;
use crate::http::Request;

const JOBS: &str = "/v1/batch/jobs";

request! {
    /// A request for `POST /v1/batch/jobs`. Sent without being set, as by the official SDKs: `timeout_hours: 24`.
    ///
    /// ```
    /// use mistral_cassette::client::BatchRequest;
    /// use serde_json::json;
    ///
    /// let from_file = BatchRequest::new("/v1/chat/completions").model("mistral-small-latest").input_files(["id"]);
    /// let inline = BatchRequest::new("/v1/embeddings")
    ///     .model("mistral-embed")
    ///     .request("first", json!({ "input": "a text" }));
    /// ```
    BatchRequest {
        /// The model that answers all of them.
        model: &str,
        /// The agent that answers all of them.
        agent_id: &str,
        /// After how many hours what is not done is given up.
        timeout_hours: u32,
    }
}

impl BatchRequest {
    /// Requests for one endpoint, by its path.
    pub fn new(endpoint: impl Into<String>) -> Self {
        Self::none().set("endpoint", endpoint.into()).set("timeout_hours", 24)
    }

    /// The uploaded files with the requests, one a line, by their ids.
    #[must_use]
    pub fn input_files<Id: Into<String>>(self, ids: impl IntoIterator<Item = Id>) -> Self {
        self.set("input_files", ids.into_iter().map(Into::into).collect::<Vec<String>>())
    }

    /// Adds a request, with the id that its answer will have.
    #[must_use]
    pub fn request(mut self, custom_id: impl Into<String>, body: Value) -> Self {
        let request = json!({ "custom_id": custom_id.into(), "body": body });
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
    /// What requests call it.
    pub id: String,
    /// `QUEUED`, `RUNNING`, `SUCCESS`, `FAILED`, `TIMEOUT_EXCEEDED`, `CANCELLATION_REQUESTED`, `CANCELLED` and what may
    /// come.
    pub status: String,
    /// How many requests it has.
    #[serde(default, skip_serializing_if = "Nullable::is_absent")]
    pub total_requests: Nullable<i64>,
    /// How many of them are done, well or not.
    #[serde(default, skip_serializing_if = "Nullable::is_absent")]
    pub completed_requests: Nullable<i64>,
    /// The file with the answers, one a line.
    #[serde(default, skip_serializing_if = "Nullable::is_absent")]
    pub output_file: Nullable<String>,
    /// The file with what failed, one a line.
    #[serde(default, skip_serializing_if = "Nullable::is_absent")]
    pub error_file: Nullable<String>,
    /// The answers themselves, when they were asked for.
    #[serde(default, skip_serializing_if = "Nullable::is_absent")]
    pub outputs: Nullable<Vec<Value>>,
    /// Everything else (`object`, `endpoint`, `model`, `input_files`, `errors`, `created_at` in seconds since 1970, …).
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// A page of a list of batch jobs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct BatchJobList {
    /// The jobs; absent from an empty page.
    #[serde(default, skip_serializing_if = "Nullable::is_absent")]
    pub data: Nullable<Vec<BatchJob>>,
    /// How many there are on all pages.
    #[serde(default, skip_serializing_if = "Nullable::is_absent")]
    pub total: Nullable<i64>,
    /// Everything else (`object`).
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Client {
    /// `POST /v1/batch/jobs`.
    ///
    /// # Errors
    /// As [`embeddings`](Self::embeddings).
    pub async fn create_batch_job(&self, request: BatchRequest) -> Result<BatchJob> {
        self.post(JOBS, &request).await
    }

    /// `GET /v1/batch/jobs`. PreparedRequest for without being set, as by the official SDKs: page 0 of 100 jobs, whoever made
    /// them, the newest first.
    ///
    /// # Errors
    /// As [`embeddings`](Self::embeddings).
    pub async fn batch_jobs(&self, query: ListQuery) -> Result<BatchJobList> {
        let defaults = [
            ("page", "0"),
            ("page_size", "100"),
            ("created_by_me", "false"),
            ("order_by", "-created"),
        ];
        self.ask(Request::get(&query.target(JOBS, &defaults))?).await
    }

    /// `GET /v1/batch/jobs/{id}`.
    ///
    /// # Errors
    /// As [`embeddings`](Self::embeddings).
    pub async fn batch_job(&self, id: &str) -> Result<BatchJob> {
        self.ask(Request::get(&path(JOBS, id, "")?)?).await
    }

    /// `GET /v1/batch/jobs/{id}?inline=true`: with the answers in [`BatchJob::outputs`].
    ///
    /// # Errors
    /// As [`embeddings`](Self::embeddings).
    pub async fn batch_job_with_outputs(&self, id: &str) -> Result<BatchJob> {
        self.ask(Request::get(&path(JOBS, id, "?inline=true")?)?).await
    }

    /// `POST /v1/batch/jobs/{id}/cancel`.
    ///
    /// # Errors
    /// As [`embeddings`](Self::embeddings).
    pub async fn cancel_batch_job(&self, id: &str) -> Result<BatchJob> {
        self.ask(Request::post(&path(JOBS, id, "/cancel")?)?).await
    }
}
