//! Agents: a model with instructions and tools. Chats with agents are in `completions` and `conversations`.

use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::options::{CompletionArgs, Metadata};
use super::request::{path, request};
use super::{Client, ListQuery, Nullable, Tool};
use crate::error::Result;
use crate::http::Request;

const AGENTS: &str = "/v1/agents";

request! {
    /// A request for `POST /v1/agents`, or a change for `PATCH /v1/agents/{id}`. Members that are not set are not sent.
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
        /// The instructions for the model.
        instructions: &str,
        /// A description for users.
        description: &str,
        /// The model, for a change.
        model: &str,
        /// The name, for a change.
        name: &str,
        /// The options for the completions.
        completion_args => CompletionArgs,
        /// The ids of the agents to which this one may hand over.
        handoffs * String,
        /// The guardrails, each an object as in the API reference.
        guardrails * Value,
        /// Metadata of your own.
        metadata => Metadata,
        /// A description of the new version.
        version_message: &str,
        /// Whether the agent is available in the chat application.
        deployment_chat: bool,
    }
}

impl AgentRequest {
    /// Creates a request for an agent with this model and name.
    pub fn new(model: impl Into<String>, name: impl Into<String>) -> Self {
        Self::none().set("model", model.into()).set("name", name.into())
    }

    /// Creates an empty change.
    pub fn change() -> Self {
        Self::none()
    }

    /// Sets the tools that the agent may call.
    #[must_use]
    pub fn tools(self, tools: impl IntoIterator<Item = Tool>) -> Self {
        self.set("tools", tools.into_iter().collect::<Vec<_>>())
    }
}

/// An agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Agent {
    /// The id.
    pub id: String,
    /// The model.
    pub model: String,
    /// The name.
    #[serde(default, skip_serializing_if = "Nullable::is_absent")]
    pub name: Nullable<String>,
    /// The current version, from 0.
    #[serde(default, skip_serializing_if = "Nullable::is_absent")]
    pub version: Nullable<i64>,
    /// The instructions for the model.
    #[serde(default, skip_serializing_if = "Nullable::is_absent")]
    pub instructions: Nullable<String>,
    /// All other members (`object`, `tools`, `completion_args`, `handoffs`, `versions`, `created_at`, …).
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Client {
    /// `POST /v1/agents`.
    ///
    /// # Errors
    /// The errors of [`embeddings`](Self::embeddings).
    pub async fn create_agent(&self, request: AgentRequest) -> Result<Agent> {
        self.post(AGENTS, &request).await
    }

    /// `GET /v1/agents`. The default is that of the official SDKs: page 0 with 20 agents.
    ///
    /// # Errors
    /// The errors of [`embeddings`](Self::embeddings).
    pub async fn agents(&self, query: ListQuery) -> Result<Vec<Agent>> {
        self.fetch(Request::get(
            &query.target(AGENTS, &[("page", "0"), ("page_size", "20")]),
        )?)
        .await
    }

    /// `GET /v1/agents/{id}`.
    ///
    /// # Errors
    /// The errors of [`embeddings`](Self::embeddings).
    pub async fn agent(&self, id: &str) -> Result<Agent> {
        self.fetch(Request::get(&path(AGENTS, id, "")?)?).await
    }

    /// `PATCH /v1/agents/{id}`: creates a new version with the members that the request sets.
    ///
    /// # Errors
    /// The errors of [`embeddings`](Self::embeddings).
    pub async fn update_agent(&self, id: &str, change: AgentRequest) -> Result<Agent> {
        self.fetch(Request::new(Method::PATCH, &path(AGENTS, id, "")?)?.json(&change)?)
            .await
    }

    /// `PATCH /v1/agents/{id}/version`: changes the current version.
    ///
    /// # Errors
    /// The errors of [`embeddings`](Self::embeddings).
    pub async fn update_agent_version(&self, id: &str, version: u32) -> Result<Agent> {
        let target = path(AGENTS, id, &format!("/version?version={version}"))?;
        self.fetch(Request::new(Method::PATCH, &target)?).await
    }

    /// `DELETE /v1/agents/{id}`.
    ///
    /// # Errors
    /// The errors of [`delete_conversation`](Self::delete_conversation).
    pub async fn delete_agent(&self, id: &str) -> Result<()> {
        self.send(Request::delete(&path(AGENTS, id, "")?)?).await
    }
}
