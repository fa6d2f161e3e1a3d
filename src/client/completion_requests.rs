//! The requests for completions: chats with models and agents, and fill-in-the-middle code.

use serde_json::Value;

use super::message::{ChatMessage, Content};
use super::options::{Metadata, PromptMode, ReasoningEffort, ResponseFormat, ServiceTier, ToolChoice};
use super::request::request;
use super::{Input, Tool};

request! {
    /// A request for `POST /v1/chat/completions`. Members that are not set are not sent.
    ///
    /// ```
    /// use mistral_cassette::client::ChatRequest;
    ///
    /// let request = ChatRequest::new("mistral-small-latest")
    ///     .system("You answer in one sentence.")
    ///     .user("What is the capital of France?")
    ///     .temperature(0.2)
    ///     .stop(["\n\n"])
    ///     .safe_prompt(true);
    /// ```
    ///
    /// [`Client::chat`](super::Client::chat) and [`Client::chat_stream`](super::Client::chat_stream) set `stream`.
    ChatRequest {
        /// The sampling temperature, 0 to 1.5.
        temperature: f64,
        /// The fraction of the probability mass to sample from, 0 to 1.
        top_p: f64,
        /// The maximum number of tokens to generate.
        max_tokens: u32,
        /// The texts at which the model stops: one, or a list.
        stop => Input,
        /// The seed, for responses that are as deterministic as the API allows.
        random_seed: i64,
        /// Metadata of your own.
        metadata => Metadata,
        /// The format of the response.
        response_format => ResponseFormat,
        /// Which tools the model may or must call.
        tool_choice => ToolChoice,
        /// Whether the model may call several tools at once. The default of the API is `true`.
        parallel_tool_calls: bool,
        /// The penalty for tokens that have occurred, -2 to 2.
        presence_penalty: f64,
        /// The penalty for tokens by how often they have occurred, -2 to 2.
        frequency_penalty: f64,
        /// The number of choices to generate.
        n: u32,
        /// How long the model reasons.
        reasoning_effort => ReasoningEffort,
        /// The system prompt that the API adds.
        prompt_mode => PromptMode,
        /// The guardrails, each an object as in the API reference.
        guardrails * Value,
        /// The key under which the API caches the prompt.
        prompt_cache_key: &str,
        /// The capacity that serves the request.
        service_tier => ServiceTier,
        /// Whether the API adds a safety prompt.
        safe_prompt: bool,
    }
}

request! {
    /// A request for `POST /v1/agents/completions`: a chat with an agent. Members that are not set are not sent.
    ///
    /// ```
    /// use mistral_cassette::client::AgentChatRequest;
    ///
    /// let request = AgentChatRequest::new("ag_0123").user("What is the capital of France?").max_tokens(50);
    /// ```
    AgentChatRequest {
        /// The maximum number of tokens to generate.
        max_tokens: u32,
        /// The texts at which the model stops: one, or a list.
        stop => Input,
        /// The seed, for responses that are as deterministic as the API allows.
        random_seed: i64,
        /// Metadata of your own.
        metadata => Metadata,
        /// The format of the response.
        response_format => ResponseFormat,
        /// Which tools the model may or must call.
        tool_choice => ToolChoice,
        /// Whether the model may call several tools at once. The default of the API is `true`.
        parallel_tool_calls: bool,
        /// The penalty for tokens that have occurred, -2 to 2.
        presence_penalty: f64,
        /// The penalty for tokens by how often they have occurred, -2 to 2.
        frequency_penalty: f64,
        /// The number of choices to generate.
        n: u32,
        /// How long the model reasons.
        reasoning_effort => ReasoningEffort,
        /// The system prompt that the API adds.
        prompt_mode => PromptMode,
        /// The guardrails, each an object as in the API reference.
        guardrails * Value,
        /// The key under which the API caches the prompt.
        prompt_cache_key: &str,
        /// The capacity that serves the request.
        service_tier => ServiceTier,
    }
}

request! {
    /// A request for `POST /v1/fim/completions`: code between a prompt and a suffix. Members that are not set are not
    /// sent.
    ///
    /// ```
    /// use mistral_cassette::client::FimRequest;
    ///
    /// let request = FimRequest::new("codestral-latest", "def add(a, b):\n")
    ///     .suffix("\n\nprint(add(1, 2))")
    ///     .max_tokens(64);
    /// ```
    FimRequest {
        /// The code after the generated code.
        suffix: &str,
        /// The sampling temperature, 0 to 1.5.
        temperature: f64,
        /// The fraction of the probability mass to sample from, 0 to 1.
        top_p: f64,
        /// The minimum number of tokens to generate.
        min_tokens: u32,
        /// The maximum number of tokens to generate.
        max_tokens: u32,
        /// The texts at which the model stops: one, or a list.
        stop => Input,
        /// The seed, for responses that are as deterministic as the API allows.
        random_seed: i64,
        /// Metadata of your own.
        metadata => Metadata,
        /// The key under which the API caches the prompt.
        prompt_cache_key: &str,
    }
}

/// Implements the methods that chats with models and chats with agents share.
macro_rules! chat {
    ($request:ident, $addressee:ident) => {
        impl $request {
            /// Creates a request without messages for a model or an agent.
            pub fn new($addressee: impl Into<String>) -> Self {
                Self::none()
                    .set(stringify!($addressee), $addressee.into())
                    .set("messages", Vec::<Value>::new())
            }

            /// Adds a message.
            #[must_use]
            pub fn message(self, message: ChatMessage) -> Self {
                self.add("messages", message.sent())
            }

            /// Adds messages, for example the history of a chat.
            #[must_use]
            pub fn messages(self, messages: impl IntoIterator<Item = ChatMessage>) -> Self {
                messages.into_iter().fold(self, Self::message)
            }

            /// Adds a system message.
            #[must_use]
            pub fn system(self, content: impl Into<Content>) -> Self {
                self.message(ChatMessage::system(content))
            }

            /// Adds a user message: text, or [chunks](super::ContentChunk) of text, images, documents and audio.
            #[must_use]
            pub fn user(self, content: impl Into<Content>) -> Self {
                self.message(ChatMessage::user(content))
            }

            /// Adds an assistant message.
            #[must_use]
            pub fn assistant(self, content: impl Into<Content>) -> Self {
                self.message(ChatMessage::assistant(content))
            }

            /// Adds the result of the tool call with this id.
            #[must_use]
            pub fn tool(
                self,
                tool_call_id: impl Into<String>,
                name: impl Into<String>,
                content: impl Into<Content>,
            ) -> Self {
                self.message(ChatMessage::tool(tool_call_id, name, content))
            }

            /// Adds a tool that the model may call.
            #[must_use]
            pub fn with_tool(self, tool: Tool) -> Self {
                self.add("tools", tool.into())
            }

            /// Adds tools that the model may call.
            #[must_use]
            pub fn tools(self, tools: impl IntoIterator<Item = Tool>) -> Self {
                tools.into_iter().fold(self, Self::with_tool)
            }

            /// Sets the text that the model is expected to generate, which makes the response faster.
            #[must_use]
            pub fn prediction(self, content: impl Into<String>) -> Self {
                self.set("prediction", super::options::prediction(content.into()))
            }

            /// Requests a response in JSON that fits this type. [`ChatResponse::parse`](super::ChatResponse::parse) reads
            /// it.
            #[cfg(feature = "schemars")]
            #[must_use]
            pub fn json_schema<T: schemars::JsonSchema>(self, name: impl Into<String>) -> Self {
                self.response_format(ResponseFormat::json_schema_of::<T>(name))
            }

            fn add(mut self, name: &str, value: Value) -> Self {
                match self.members.get_mut(name) {
                    Some(Value::Array(values)) => values.push(value),
                    _ => {
                        self.members.insert(name.to_owned(), Value::Array(vec![value]));
                    }
                }
                self
            }
        }
    };
}

chat!(ChatRequest, model);
chat!(AgentChatRequest, agent_id);

impl FimRequest {
    /// Creates a request for a model, with the code before the generated code.
    pub fn new(model: impl Into<String>, prompt: impl Into<String>) -> Self {
        Self::none().set("model", model.into()).set("prompt", prompt.into())
    }
}
