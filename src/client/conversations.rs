//! Conversations: the API stores the entries and runs the tools.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::message::{Content, Role};
use super::options::{CompletionArgs, HandoffExecution, Metadata};
use super::request::{path, request};
use super::stream::{End, EventStream};
use super::usage::Usage;
use super::{Client, ListQuery, Nullable, Tool};
use crate::error::Result;
use crate::http::Request;

const CONVERSATIONS: &str = "/v1/conversations";
const END: End = End::Event(&["conversation.response.done", "conversation.response.error"]);

request! {
    /// A request for `POST /v1/conversations`: the first input for a model or an agent. Members that are not set are
    /// not sent.
    ///
    /// ```
    /// use mistral_cassette::client::{CompletionArgs, ConversationRequest, Tool};
    ///
    /// let request = ConversationRequest::with_model("mistral-medium-latest", "What is new in Paris?")
    ///     .instructions("Answer in one sentence.")
    ///     .tools([Tool::built_in("web_search")])
    ///     .completion_args(CompletionArgs::new().temperature(0.3));
    /// ```
    ConversationRequest {
        /// The instructions for the model.
        instructions: &str,
        /// Whether the API stores the conversation.
        store: bool,
        /// The name of the conversation.
        name: &str,
        /// The description of the conversation.
        description: &str,
        /// The options for the completions.
        completion_args => CompletionArgs,
        /// The guardrails, each an object as in the API reference.
        guardrails * Value,
        /// Metadata of your own.
        metadata => Metadata,
        /// Who runs the handoffs between agents.
        handoff_execution => HandoffExecution,
        /// The version of the agent: its number or its alias.
        agent_version: impl Into<Value>,
    }
}

impl ConversationRequest {
    /// Creates a request for a conversation with a model.
    pub fn with_model(model: impl Into<String>, inputs: impl Into<Inputs>) -> Self {
        Self::none().set("inputs", inputs.into()).set("model", model.into())
    }

    /// Creates a request for a conversation with an agent, given by its id.
    pub fn with_agent(agent_id: impl Into<String>, inputs: impl Into<Inputs>) -> Self {
        Self::none()
            .set("inputs", inputs.into())
            .set("agent_id", agent_id.into())
    }

    /// Sets the tools that the model may call.
    #[must_use]
    pub fn tools(self, tools: impl IntoIterator<Item = Tool>) -> Self {
        self.set("tools", tools.into_iter().collect::<Vec<_>>())
    }
}

request! {
    /// A request for `POST /v1/conversations/{id}`: the next input. The defaults are those of the official SDKs:
    /// `store: true`, `handoff_execution: server`.
    ///
    /// ```
    /// use mistral_cassette::client::{AppendRequest, ConversationEntry};
    ///
    /// let more = AppendRequest::new("And tomorrow?");
    /// let result = AppendRequest::new([ConversationEntry::function_result("call_1", "sunny")]);
    /// ```
    AppendRequest {
        /// Whether the API stores the new entries.
        store: bool,
        /// The options for the completions.
        completion_args => CompletionArgs,
        /// Who runs the handoffs between agents.
        handoff_execution => HandoffExecution,
    }
}

impl AppendRequest {
    /// Creates a request with the next input.
    pub fn new(inputs: impl Into<Inputs>) -> Self {
        Self::none()
            .set("inputs", inputs.into())
            .set("store", true)
            .set("handoff_execution", "server")
    }

    /// Allows or denies tool calls that wait for a confirmation, each by its id.
    #[must_use]
    pub fn tool_confirmations<Id: Into<String>>(self, confirmations: impl IntoIterator<Item = (Id, bool)>) -> Self {
        let confirmations = confirmations.into_iter().map(|(id, allowed)| {
            let confirmation = if allowed { "allow" } else { "deny" };
            json!({ "tool_call_id": id.into(), "confirmation": confirmation })
        });
        self.set("tool_confirmations", confirmations.collect::<Value>())
    }
}

request! {
    /// A request for `POST /v1/conversations/{id}/restart`: continues a conversation from one of its entries. The
    /// defaults are those of the official SDKs: `store: true`, `handoff_execution: server`.
    RestartRequest {
        /// Whether the API stores the new entries.
        store: bool,
        /// The options for the completions.
        completion_args => CompletionArgs,
        /// The guardrails, each an object as in the API reference.
        guardrails * Value,
        /// Metadata of your own.
        metadata => Metadata,
        /// Who runs the handoffs between agents.
        handoff_execution => HandoffExecution,
        /// The version of the agent: its number or its alias.
        agent_version: impl Into<Value>,
    }
}

impl RestartRequest {
    /// Creates a request that starts from the entry with this id.
    pub fn new(from_entry_id: impl Into<String>) -> Self {
        Self::none()
            .set("from_entry_id", from_entry_id.into())
            .set("store", true)
            .set("handoff_execution", "server")
    }

    /// Sets the input.
    #[must_use]
    pub fn inputs(self, inputs: impl Into<Inputs>) -> Self {
        self.set("inputs", inputs.into())
    }
}

/// An input: one text, or a list of entries.
#[derive(Clone, Debug, PartialEq)]
pub struct Inputs(Value);

impl From<&str> for Inputs {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl From<String> for Inputs {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl From<Vec<ConversationEntry>> for Inputs {
    fn from(entries: Vec<ConversationEntry>) -> Self {
        Self(entries.iter().map(ConversationEntry::sent).collect())
    }
}

impl<const N: usize> From<[ConversationEntry; N]> for Inputs {
    fn from(entries: [ConversationEntry; N]) -> Self {
        Vec::from(entries).into()
    }
}

impl From<Inputs> for Value {
    fn from(inputs: Inputs) -> Self {
        inputs.0
    }
}

/// The response to an input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ConversationResponse {
    /// The id of the conversation, for the next request.
    pub conversation_id: String,
    /// The new entries, in order.
    pub outputs: Vec<ConversationEntry>,
    /// The number of tokens used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// All other members (`object`, `guardrails`).
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl ConversationResponse {
    /// Returns the text of all messages in the response.
    pub fn text(&self) -> String {
        self.outputs
            .iter()
            .filter_map(|entry| match entry {
                ConversationEntry::MessageOutput(message) => Some(message.content.text()),
                _ => None,
            })
            .collect()
    }
}

/// An entry of a conversation. An entry of any other kind or format is [`Unknown`](Self::Unknown), which keeps all
/// members.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
#[non_exhaustive]
pub enum ConversationEntry {
    /// A message of a user or an assistant.
    #[serde(rename = "message.input")]
    MessageInput(MessageEntry),
    /// A message of the model.
    #[serde(rename = "message.output")]
    MessageOutput(MessageEntry),
    /// A call of your function.
    #[serde(rename = "function.call")]
    FunctionCall(FunctionCallEntry),
    /// The result of a call of your function.
    #[serde(rename = "function.result")]
    FunctionResult(FunctionResultEntry),
    /// A tool that the API ran.
    #[serde(rename = "tool.execution")]
    ToolExecution(ToolExecutionEntry),
    /// Any other kind, for example `agent.handoff`.
    #[serde(untagged)]
    Unknown(Value),
}

impl ConversationEntry {
    /// Creates a message of `user` or `assistant`.
    pub fn message(role: impl Into<Role>, content: impl Into<Content>) -> Self {
        Self::MessageInput(MessageEntry {
            role: Nullable::Value(role.into()),
            content: content.into(),
            id: None,
            extra: Map::new(),
        })
    }

    /// Creates the result of the function call with this id.
    pub fn function_result(tool_call_id: impl Into<String>, result: impl Into<String>) -> Self {
        Self::FunctionResult(FunctionResultEntry {
            tool_call_id: tool_call_id.into(),
            result: result.into(),
            id: None,
            extra: Map::new(),
        })
    }

    /// Adds the defaults of the official SDKs: `object`, and `prefix` of a message.
    fn sent(&self) -> Value {
        let mut entry = json!(self);
        let is_input = entry["type"] == "message.input";
        if let Some(members) = entry.as_object_mut() {
            members.entry("object").or_insert(json!("entry"));
            if is_input {
                members.entry("prefix").or_insert(json!(false));
            }
        }
        entry
    }
}

/// A message in a conversation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct MessageEntry {
    /// The author: a user or an assistant.
    #[serde(default, skip_serializing_if = "Nullable::is_absent")]
    pub role: Nullable<Role>,
    /// The content.
    #[serde(default, skip_serializing_if = "Content::is_absent")]
    pub content: Content,
    /// The id, for a restart from this entry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// All other members (`object`, `created_at`, `completed_at`, `model`, `agent_id`).
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// A call of your function.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FunctionCallEntry {
    /// The id of the call, for its result.
    pub tool_call_id: String,
    /// The name of the function.
    pub name: String,
    /// The arguments: a string of JSON, or an object.
    pub arguments: Value,
    /// All other members.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// The result of your function.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FunctionResultEntry {
    /// The id of the call.
    pub tool_call_id: String,
    /// The result.
    pub result: String,
    /// The id of the entry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// All other members.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// A tool that the API ran.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ToolExecutionEntry {
    /// The tool, for example `web_search`.
    pub name: String,
    /// The arguments: a string of JSON.
    pub arguments: Value,
    /// All other members (`info`, `id`, `created_at`).
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// An event of a streamed response. An event of any other kind or format is [`Unknown`](Self::Unknown), which keeps all
/// members.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
#[non_exhaustive]
pub enum ConversationEvent {
    /// The response starts.
    #[serde(rename = "conversation.response.started")]
    Started {
        /// The id of the conversation, for the next request.
        conversation_id: String,
        /// All other members.
        #[serde(flatten)]
        extra: Map<String, Value>,
    },
    /// A piece of a message.
    #[serde(rename = "message.output.delta")]
    MessageDelta {
        /// The new text.
        content: Content,
        /// All other members (`id`, `output_index`, `content_index`, `model`, `role`).
        #[serde(flatten)]
        extra: Map<String, Value>,
    },
    /// A piece of a function call. Pieces with the same `tool_call_id` belong together.
    #[serde(rename = "function.call.delta")]
    FunctionCallDelta {
        /// The id of the call, for its result.
        tool_call_id: String,
        /// The name of the function.
        name: String,
        /// The new part of the arguments, a string of JSON.
        arguments: String,
        /// All other members.
        #[serde(flatten)]
        extra: Map<String, Value>,
    },
    /// The response is complete.
    #[serde(rename = "conversation.response.done")]
    Done {
        /// The number of tokens used.
        usage: Usage,
        /// All other members.
        #[serde(flatten)]
        extra: Map<String, Value>,
    },
    /// The response failed.
    #[serde(rename = "conversation.response.error")]
    Error {
        /// The reason.
        message: String,
        /// The error code: a number, or text.
        code: Value,
        /// All other members.
        #[serde(flatten)]
        extra: Map<String, Value>,
    },
    /// Any other kind, for example `tool.execution.started` or `agent.handoff.done`.
    #[serde(untagged)]
    Unknown(Value),
}

impl ConversationEvent {
    /// Returns the new text of a piece of a message, otherwise an empty string.
    pub fn text(&self) -> String {
        match self {
            Self::MessageDelta { content, .. } => content.text(),
            _ => String::new(),
        }
    }
}

/// The events of a streamed response.
pub type ConversationStream = EventStream<ConversationEvent>;

/// A conversation that the API stores.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Conversation {
    /// The id.
    pub id: String,
    /// The model, if the conversation is with a model.
    #[serde(default, skip_serializing_if = "Nullable::is_absent")]
    pub model: Nullable<String>,
    /// The agent, if the conversation is with an agent.
    #[serde(default, skip_serializing_if = "Nullable::is_absent")]
    pub agent_id: Nullable<String>,
    /// All other members (`object`, `name`, `description`, `created_at`, `updated_at`, `tools`, …).
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// All entries of a conversation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ConversationHistory {
    /// The id of the conversation.
    pub conversation_id: String,
    /// The entries, in order.
    pub entries: Vec<ConversationEntry>,
    /// All other members (`object`).
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// The messages of a conversation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ConversationMessages {
    /// The id of the conversation.
    pub conversation_id: String,
    /// The messages, in order.
    pub messages: Vec<ConversationEntry>,
    /// All other members (`object`).
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Client {
    /// `POST /v1/conversations`: returns the complete response.
    ///
    /// # Errors
    /// The errors of [`embeddings`](Self::embeddings).
    pub async fn start_conversation(&self, request: ConversationRequest) -> Result<ConversationResponse> {
        self.post(CONVERSATIONS, &request.set("stream", false)).await
    }

    /// `POST /v1/conversations` with `stream: true`: returns the response as it is generated.
    ///
    /// # Errors
    /// The errors of [`embeddings`](Self::embeddings). Each item of the stream may be an error, too.
    pub async fn start_conversation_stream(&self, request: ConversationRequest) -> Result<ConversationStream> {
        self.post_stream(CONVERSATIONS, &request.set("stream", true), END).await
    }

    /// `POST /v1/conversations/{id}`: returns the complete response.
    ///
    /// # Errors
    /// The errors of [`embeddings`](Self::embeddings).
    pub async fn append_to_conversation(&self, id: &str, request: AppendRequest) -> Result<ConversationResponse> {
        self.post(&path(CONVERSATIONS, id, "")?, &request.set("stream", false))
            .await
    }

    /// `POST /v1/conversations/{id}` with `stream: true`: returns the response as it is generated.
    ///
    /// # Errors
    /// The errors of [`start_conversation_stream`](Self::start_conversation_stream).
    pub async fn append_to_conversation_stream(&self, id: &str, request: AppendRequest) -> Result<ConversationStream> {
        self.post_stream(&path(CONVERSATIONS, id, "")?, &request.set("stream", true), END)
            .await
    }

    /// `POST /v1/conversations/{id}/restart`: returns the complete response.
    ///
    /// # Errors
    /// The errors of [`embeddings`](Self::embeddings).
    pub async fn restart_conversation(&self, id: &str, request: RestartRequest) -> Result<ConversationResponse> {
        self.post(&path(CONVERSATIONS, id, "/restart")?, &request.set("stream", false))
            .await
    }

    /// `POST /v1/conversations/{id}/restart` with `stream: true`: returns the response as it is generated.
    ///
    /// # Errors
    /// The errors of [`start_conversation_stream`](Self::start_conversation_stream).
    pub async fn restart_conversation_stream(&self, id: &str, request: RestartRequest) -> Result<ConversationStream> {
        let path = path(CONVERSATIONS, id, "/restart")?;
        self.post_stream(&path, &request.set("stream", true), END).await
    }

    /// `GET /v1/conversations/{id}`.
    ///
    /// # Errors
    /// The errors of [`embeddings`](Self::embeddings).
    pub async fn conversation(&self, id: &str) -> Result<Conversation> {
        self.fetch(Request::get(&path(CONVERSATIONS, id, "")?)?).await
    }

    /// `GET /v1/conversations`. The default is that of the official SDKs: page 0 with 100 conversations.
    ///
    /// # Errors
    /// The errors of [`embeddings`](Self::embeddings).
    pub async fn conversations(&self, query: ListQuery) -> Result<Vec<Conversation>> {
        let defaults = [("page", "0"), ("page_size", "100")];
        self.fetch(Request::get(&query.target(CONVERSATIONS, &defaults))?).await
    }

    /// `GET /v1/conversations/{id}/history`: returns all entries.
    ///
    /// # Errors
    /// The errors of [`embeddings`](Self::embeddings).
    pub async fn conversation_history(&self, id: &str) -> Result<ConversationHistory> {
        self.fetch(Request::get(&path(CONVERSATIONS, id, "/history")?)?).await
    }

    /// `GET /v1/conversations/{id}/messages`: returns the messages.
    ///
    /// # Errors
    /// The errors of [`embeddings`](Self::embeddings).
    pub async fn conversation_messages(&self, id: &str) -> Result<ConversationMessages> {
        self.fetch(Request::get(&path(CONVERSATIONS, id, "/messages")?)?).await
    }

    /// `DELETE /v1/conversations/{id}`.
    ///
    /// # Errors
    /// [`ErrorKind::Api`](crate::ErrorKind::Api) for an error status, and the errors of [`request`](Self::request).
    pub async fn delete_conversation(&self, id: &str) -> Result<()> {
        self.send(Request::delete(&path(CONVERSATIONS, id, "")?)?).await
    }
}
