//! Conversations: what was said is kept by the API, and tools run there.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::message::{Content, Usage};
use super::request::{path, request};
use super::stream::{End, EventStream};
use super::{Client, ListQuery, Nullable, Tool};
use crate::error::Result;
use crate::http::Request;

const CONVERSATIONS: &str = "/v1/conversations";
const END: End = End::Event(&["conversation.response.done", "conversation.response.error"]);

request! {
    /// A request for `POST /v1/conversations`: a first input, for a model or an agent. What is not set is not sent.
    ///
    /// ```
    /// use mistral_cassette::client::{ConversationRequest, Tool};
    /// use serde_json::json;
    ///
    /// let request = ConversationRequest::with_model("mistral-medium-latest", "What is new in Paris?")
    ///     .instructions("Answer in one sentence.")
    ///     .tools([Tool::built_in("web_search")])
    ///     .set("completion_args", json!({ "temperature": 0.3 }));
    /// ```
    ConversationRequest {
        /// What the model shall do.
        instructions: &str,
        /// Whether the API keeps the conversation.
        store: bool,
        /// A name for it.
        name: &str,
        /// A description of it.
        description: &str,
    }
}

impl ConversationRequest {
    /// A conversation with a model by its name.
    pub fn with_model(model: impl Into<String>, inputs: impl Into<Inputs>) -> Self {
        Self::none().set("inputs", inputs.into()).set("model", model.into())
    }

    /// A conversation with an agent by its id.
    pub fn with_agent(agent_id: impl Into<String>, inputs: impl Into<Inputs>) -> Self {
        Self::none()
            .set("inputs", inputs.into())
            .set("agent_id", agent_id.into())
    }

    /// The tools that may be called.
    #[must_use]
    pub fn tools(self, tools: impl IntoIterator<Item = Tool>) -> Self {
        self.set("tools", tools.into_iter().collect::<Vec<_>>())
    }
}

request! {
    /// A request for `POST /v1/conversations/{id}`: what is said next. Sent without being set, as by the official SDKs:
    /// `store: true`, `handoff_execution: server`.
    ///
    /// ```
    /// use mistral_cassette::client::{AppendRequest, ConversationEntry};
    ///
    /// let more = AppendRequest::new("And tomorrow?");
    /// let result = AppendRequest::new([ConversationEntry::function_result("call_1", "sunny")]);
    /// ```
    AppendRequest {
        /// Whether the API keeps what is said.
        store: bool,
    }
}

impl AppendRequest {
    /// What is said next.
    pub fn new(inputs: impl Into<Inputs>) -> Self {
        Self::none()
            .set("inputs", inputs.into())
            .set("store", true)
            .set("handoff_execution", "server")
    }
}

request! {
    /// A request for `POST /v1/conversations/{id}/restart`: another way on from one of its entries. Sent without being
    /// set, as by the official SDKs: `store: true`, `handoff_execution: server`.
    RestartRequest {
        /// Whether the API keeps what is said.
        store: bool,
    }
}

impl RestartRequest {
    /// From the entry of this id.
    pub fn new(from_entry_id: impl Into<String>) -> Self {
        Self::none()
            .set("from_entry_id", from_entry_id.into())
            .set("store", true)
            .set("handoff_execution", "server")
    }

    /// What is said there.
    #[must_use]
    pub fn inputs(self, inputs: impl Into<Inputs>) -> Self {
        self.set("inputs", inputs.into())
    }
}

/// What is said: one text, or a list of entries.
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

/// The answer to what was said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ConversationResponse {
    /// What the next request calls it.
    pub conversation_id: String,
    /// What came of it, in order.
    pub outputs: Vec<ConversationEntry>,
    /// How many tokens it took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// Everything else (`object`, `guardrails`).
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl ConversationResponse {
    /// The text of all messages in it.
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

/// An entry of a conversation. A kind that is not known here, or not in this shape, is [`Unknown`](Self::Unknown) and
/// loses nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
#[non_exhaustive]
pub enum ConversationEntry {
    /// What a user or an assistant said.
    #[serde(rename = "message.input")]
    MessageInput(MessageEntry),
    /// What the model said.
    #[serde(rename = "message.output")]
    MessageOutput(MessageEntry),
    /// A function of yours that the model wants called.
    #[serde(rename = "function.call")]
    FunctionCall(FunctionCallEntry),
    /// What it returned.
    #[serde(rename = "function.result")]
    FunctionResult(FunctionResultEntry),
    /// A tool that the API has run.
    #[serde(rename = "tool.execution")]
    ToolExecution(ToolExecutionEntry),
    /// Anything else, such as `agent.handoff`.
    #[serde(untagged)]
    Unknown(Value),
}

impl ConversationEntry {
    /// A message of `user` or `assistant`.
    pub fn message(role: impl Into<String>, content: impl Into<Content>) -> Self {
        Self::MessageInput(MessageEntry {
            role: Nullable::Value(role.into()),
            content: content.into(),
            id: None,
            extra: Map::new(),
        })
    }

    /// What a function of yours returned for the call of this id.
    pub fn function_result(tool_call_id: impl Into<String>, result: impl Into<String>) -> Self {
        Self::FunctionResult(FunctionResultEntry {
            tool_call_id: tool_call_id.into(),
            result: result.into(),
            id: None,
            extra: Map::new(),
        })
    }

    /// As the official SDKs send it: they fill in `object`, and `prefix` of a message.
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
    /// `user` or `assistant`.
    #[serde(default, skip_serializing_if = "Nullable::is_absent")]
    pub role: Nullable<String>,
    /// What it says.
    #[serde(default, skip_serializing_if = "Content::is_absent")]
    pub content: Content,
    /// Its id: a restart begins there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Everything else (`object`, `created_at`, `completed_at`, `model`, `agent_id`).
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// A function of yours that the model wants called.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FunctionCallEntry {
    /// What the result is addressed to.
    pub tool_call_id: String,
    /// The name of the function.
    pub name: String,
    /// A string of JSON, or an object.
    pub arguments: Value,
    /// Everything else.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// What a function of yours returned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FunctionResultEntry {
    /// The call that it answers.
    pub tool_call_id: String,
    /// What it returned.
    pub result: String,
    /// Its id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Everything else.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// A tool that the API has run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ToolExecutionEntry {
    /// The tool, such as `web_search`.
    pub name: String,
    /// What it was run with: a string of JSON.
    pub arguments: Value,
    /// Everything else (`info`, `id`, `created_at`).
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// An event of a streamed answer. A kind that is not known here, or not in this shape, is [`Unknown`](Self::Unknown)
/// and loses nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
#[non_exhaustive]
pub enum ConversationEvent {
    /// It begins.
    #[serde(rename = "conversation.response.started")]
    Started {
        /// What the next request calls the conversation.
        conversation_id: String,
        /// Everything else.
        #[serde(flatten)]
        extra: Map<String, Value>,
    },
    /// A piece of a message.
    #[serde(rename = "message.output.delta")]
    MessageDelta {
        /// What is new.
        content: Content,
        /// Everything else (`id`, `output_index`, `content_index`, `model`, `role`).
        #[serde(flatten)]
        extra: Map<String, Value>,
    },
    /// A piece of a function call: those of one `tool_call_id` belong together.
    #[serde(rename = "function.call.delta")]
    FunctionCallDelta {
        /// What the result is addressed to.
        tool_call_id: String,
        /// The name of the function.
        name: String,
        /// What is new of its arguments, a string of JSON.
        arguments: String,
        /// Everything else.
        #[serde(flatten)]
        extra: Map<String, Value>,
    },
    /// It is whole.
    #[serde(rename = "conversation.response.done")]
    Done {
        /// How many tokens it took.
        usage: Usage,
        /// Everything else.
        #[serde(flatten)]
        extra: Map<String, Value>,
    },
    /// It failed.
    #[serde(rename = "conversation.response.error")]
    Error {
        /// Why.
        message: String,
        /// The code of the error: a number, or text.
        code: Value,
        /// Everything else.
        #[serde(flatten)]
        extra: Map<String, Value>,
    },
    /// Anything else, such as `tool.execution.started` or `agent.handoff.done`.
    #[serde(untagged)]
    Unknown(Value),
}

impl ConversationEvent {
    /// The new text; empty unless it is a piece of a message.
    pub fn text(&self) -> String {
        match self {
            Self::MessageDelta { content, .. } => content.text(),
            _ => String::new(),
        }
    }
}

/// The events of a streamed answer.
pub type ConversationStream = EventStream<ConversationEvent>;

/// A conversation that the API keeps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Conversation {
    /// What requests call it.
    pub id: String,
    /// The model, when it is with one.
    #[serde(default, skip_serializing_if = "Nullable::is_absent")]
    pub model: Nullable<String>,
    /// The agent, when it is with one.
    #[serde(default, skip_serializing_if = "Nullable::is_absent")]
    pub agent_id: Nullable<String>,
    /// Everything else (`object`, `name`, `description`, `created_at`, `updated_at`, `tools`, …).
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// All entries of a conversation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ConversationHistory {
    /// The conversation.
    pub conversation_id: String,
    /// Its entries, in order.
    pub entries: Vec<ConversationEntry>,
    /// Everything else (`object`).
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// The messages of a conversation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ConversationMessages {
    /// The conversation.
    pub conversation_id: String,
    /// Its messages, in order.
    pub messages: Vec<ConversationEntry>,
    /// Everything else (`object`).
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Client {
    /// `POST /v1/conversations`: the whole answer at once.
    ///
    /// # Errors
    /// As [`embeddings`](Self::embeddings).
    pub async fn start_conversation(&self, request: ConversationRequest) -> Result<ConversationResponse> {
        self.post(CONVERSATIONS, &request.set("stream", false)).await
    }

    /// `POST /v1/conversations` with `stream: true`: the answer as it is generated.
    ///
    /// # Errors
    /// As [`embeddings`](Self::embeddings); each item of the stream may be an error too.
    pub async fn start_conversation_stream(&self, request: ConversationRequest) -> Result<ConversationStream> {
        self.post_stream(CONVERSATIONS, &request.set("stream", true), END).await
    }

    /// `POST /v1/conversations/{id}`: the whole answer at once.
    ///
    /// # Errors
    /// As [`embeddings`](Self::embeddings).
    pub async fn append_to_conversation(&self, id: &str, request: AppendRequest) -> Result<ConversationResponse> {
        self.post(&path(CONVERSATIONS, id, "")?, &request.set("stream", false))
            .await
    }

    /// `POST /v1/conversations/{id}` with `stream: true`: the answer as it is generated.
    ///
    /// # Errors
    /// As [`start_conversation_stream`](Self::start_conversation_stream).
    pub async fn append_to_conversation_stream(&self, id: &str, request: AppendRequest) -> Result<ConversationStream> {
        self.post_stream(&path(CONVERSATIONS, id, "")?, &request.set("stream", true), END)
            .await
    }

    /// `POST /v1/conversations/{id}/restart`: the whole answer at once.
    ///
    /// # Errors
    /// As [`embeddings`](Self::embeddings).
    pub async fn restart_conversation(&self, id: &str, request: RestartRequest) -> Result<ConversationResponse> {
        self.post(&path(CONVERSATIONS, id, "/restart")?, &request.set("stream", false))
            .await
    }

    /// `POST /v1/conversations/{id}/restart` with `stream: true`: the answer as it is generated.
    ///
    /// # Errors
    /// As [`start_conversation_stream`](Self::start_conversation_stream).
    pub async fn restart_conversation_stream(&self, id: &str, request: RestartRequest) -> Result<ConversationStream> {
        let path = path(CONVERSATIONS, id, "/restart")?;
        self.post_stream(&path, &request.set("stream", true), END).await
    }

    /// `GET /v1/conversations/{id}`.
    ///
    /// # Errors
    /// As [`embeddings`](Self::embeddings).
    pub async fn conversation(&self, id: &str) -> Result<Conversation> {
        self.ask(Request::get(&path(CONVERSATIONS, id, "")?)?).await
    }

    /// `GET /v1/conversations`. PreparedRequest for without being set, as by the official SDKs: page 0 of 100 conversations.
    ///
    /// # Errors
    /// As [`embeddings`](Self::embeddings).
    pub async fn conversations(&self, query: ListQuery) -> Result<Vec<Conversation>> {
        let defaults = [("page", "0"), ("page_size", "100")];
        self.ask(Request::get(&query.target(CONVERSATIONS, &defaults))?).await
    }

    /// `GET /v1/conversations/{id}/history`: all entries.
    ///
    /// # Errors
    /// As [`embeddings`](Self::embeddings).
    pub async fn conversation_history(&self, id: &str) -> Result<ConversationHistory> {
        self.ask(Request::get(&path(CONVERSATIONS, id, "/history")?)?).await
    }

    /// `GET /v1/conversations/{id}/messages`: what was said.
    ///
    /// # Errors
    /// As [`embeddings`](Self::embeddings).
    pub async fn conversation_messages(&self, id: &str) -> Result<ConversationMessages> {
        self.ask(Request::get(&path(CONVERSATIONS, id, "/messages")?)?).await
    }

    /// `DELETE /v1/conversations/{id}`.
    ///
    /// # Errors
    /// [`ErrorKind::Api`](crate::ErrorKind::Api) for an error status; any other kind from the road.
    pub async fn delete_conversation(&self, id: &str) -> Result<()> {
        self.tell(Request::delete(&path(CONVERSATIONS, id, "")?)?).await
    }
}
