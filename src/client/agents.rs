//! Agents: a model with instructions and tools, under a name. Their chats are in `completions` and `conversations`.

use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::request::{path, request};
use super::{Client, ListQuery, Nullable, Tool};
use crate::error::Result;
use crate::http::Request;

const AGENTS: &str = "/v1/agents";

request! {
    /// What an agent is: a request for `POST /v1/agents`, or what shall be different, for `PATCH /v1/agents/{id}`. What
    /// is not set is not sent.
    ///
    /// ```
    /// use mistral_cassette::client::{AgentRequest, Tool};
    ///
    /// let agent = AgentRequest::new("mistral-medium-latest", "weather")
    ///     .instructions("You know the weather.")
    ///     .tools([Tool::built_in("web_search")]);
    /// let change = AgentRequest::change().description("Knows the weather everywhere.");
    /// ```
    AgentRequest {
        /// What it shall do.
        instructions: &str,
        /// What it is, for people.
        description: &str,
    }
}

impl AgentRequest {
    /// An agent of this name, with a model by its name.
    pub fn new(model: impl Into<String>, name: impl Into<String>) -> Self {
        Self::none().set("model", model.into()).set("name", name.into())
    }

    /// A change of nothing yet.
    pub fn change() -> Self {
        Self::none()
    }

    /// The tools that it may call.
    #[must_use]
    pub fn tools(self, tools: impl IntoIterator<Item = Tool>) -> Self {
        self.set("tools", tools.into_iter().collect::<Vec<_>>())
    }
}

/// An agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Agent {
    /// What requests call it.
    pub id: String,
    /// The model that it uses.
    pub model: String,
    /// What it is called.
    #[serde(default, skip_serializing_if = "Nullable::is_absent")]
    pub name: Nullable<String>,
    /// The number of its present version, from 0.
    #[serde(default, skip_serializing_if = "Nullable::is_absent")]
    pub version: Nullable<i64>,
    /// What it shall do.
    #[serde(default, skip_serializing_if = "Nullable::is_absent")]
    pub instructions: Nullable<String>,
    /// Everything else (`object`, `tools`, `completion_args`, `handoffs`, `versions`, `created_at`, …).
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Client {
    /// `POST /v1/agents`.
    ///
    /// # Errors
    /// As [`embeddings`](Self::embeddings).
    pub async fn create_agent(&self, request: AgentRequest) -> Result<Agent> {
        self.post(AGENTS, &request).await
    }

    /// `GET /v1/agents`. PreparedRequest for without being set, as by the official SDKs: page 0 of 20 agents.
    ///
    /// # Errors
    /// As [`embeddings`](Self::embeddings).
    pub async fn agents(&self, query: ListQuery) -> Result<Vec<Agent>> {
        self.ask(Request::get(
            &query.target(AGENTS, &[("page", "0"), ("page_size", "20")]),
        )?)
        .await
    }

    /// `GET /v1/agents/{id}`.
    ///
    /// # Errors
    /// As [`embeddings`](Self::embeddings).
    pub async fn agent(&self, id: &str) -> Result<Agent> {
        self.ask(Request::get(&path(AGENTS, id, "")?)?).await
    }

    /// `PATCH /v1/agents/{id}`: makes a new version, with what the request sets.
    ///
    /// # Errors
    /// As [`embeddings`](Self::embeddings).
    pub async fn update_agent(&self, id: &str, change: AgentRequest) -> Result<Agent> {
        self.ask(Request::new(Method::PATCH, &path(AGENTS, id, "")?)?.json(&change)?)
            .await
    }

    /// `PATCH /v1/agents/{id}/version`: makes another version the present one.
    ///
    /// # Errors
    /// As [`embeddings`](Self::embeddings).
    pub async fn update_agent_version(&self, id: &str, version: u32) -> Result<Agent> {
        let target = path(AGENTS, id, &format!("/version?version={version}"))?;
        self.ask(Request::new(Method::PATCH, &target)?).await
    }

    /// `DELETE /v1/agents/{id}`.
    ///
    /// # Errors
    /// As [`delete_conversation`](Self::delete_conversation).
    pub async fn delete_agent(&self, id: &str) -> Result<()> {
        self.tell(Request::delete(&path(AGENTS, id, "")?)?).await
    }
}
