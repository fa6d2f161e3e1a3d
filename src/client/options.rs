//! The values of request members with a fixed set of choices, and the formats of responses.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::Input;
use super::open_enum::open_enum;
use super::request::request;

open_enum! {
    /// How long a model reasons before it answers.
    ReasoningEffort {
        /// Not at all.
        None = "none",
        /// As briefly as possible.
        Minimal = "minimal",
        /// Briefly.
        Low = "low",
        /// Neither briefly nor long.
        Medium = "medium",
        /// Long.
        High = "high",
        /// As long as possible.
        ExtraHigh = "xhigh",
    }
}

open_enum! {
    /// The system prompt that the API adds.
    PromptMode {
        /// The prompt for reasoning.
        Reasoning = "reasoning",
    }
}

open_enum! {
    /// The capacity that serves a request.
    ServiceTier {
        /// The best capacity that the account has.
        Auto = "auto",
        /// Only the standard capacity.
        StandardOnly = "standard_only",
    }
}

open_enum! {
    /// The type of the numbers in an embedding.
    EmbeddingDtype {
        /// Floating-point numbers.
        Float = "float",
        /// Signed bytes.
        Int8 = "int8",
        /// Unsigned bytes.
        Uint8 = "uint8",
        /// Bits, packed in signed bytes.
        Binary = "binary",
        /// Bits, packed in unsigned bytes.
        Ubinary = "ubinary",
    }
}

open_enum! {
    /// How the numbers of an embedding are sent.
    EncodingFormat {
        /// As a list of numbers.
        Float = "float",
        /// As bytes in base64.
        Base64 = "base64",
    }
}

open_enum! {
    /// The format of an audio file.
    AudioFormat {
        /// Raw samples.
        Pcm = "pcm",
        /// WAV.
        Wav = "wav",
        /// MP3.
        Mp3 = "mp3",
        /// FLAC.
        Flac = "flac",
        /// Opus.
        Opus = "opus",
    }
}

open_enum! {
    /// The parts of a transcription that have times.
    TimestampGranularity {
        /// Segments.
        Segment = "segment",
        /// Words.
        Word = "word",
    }
}

open_enum! {
    /// The format of tables in the result of OCR.
    TableFormat {
        /// Markdown.
        Markdown = "markdown",
        /// HTML.
        Html = "html",
    }
}

open_enum! {
    /// The parts of a page that have a confidence score.
    ConfidenceGranularity {
        /// Words.
        Word = "word",
        /// Blocks.
        Block = "block",
        /// Pages.
        Page = "page",
    }
}

open_enum! {
    /// Who runs the handoffs between agents.
    HandoffExecution {
        /// Your program.
        Client = "client",
        /// The API.
        Server = "server",
    }
}

/// Which tools a model may or must call: `auto`, `none`, `any` or `required`, or one function.
///
/// ```
/// use mistral_cassette::client::{ChatRequest, ToolChoice};
///
/// let request = ChatRequest::new("mistral-small-latest").tool_choice(ToolChoice::function("get_weather"));
/// let other = ChatRequest::new("mistral-small-latest").tool_choice("any");
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ToolChoice(Value);

impl ToolChoice {
    /// The model decides. This is the default of the API.
    pub fn auto() -> Self {
        Self::from("auto")
    }

    /// The model calls no tool.
    pub fn none() -> Self {
        Self::from("none")
    }

    /// The model calls at least one tool.
    pub fn any() -> Self {
        Self::from("any")
    }

    /// The model calls at least one tool; another name of [`any`](Self::any), which is a different request.
    pub fn required() -> Self {
        Self::from("required")
    }

    /// The model calls the function with this name.
    pub fn function(name: impl Into<String>) -> Self {
        Self(json!({ "type": "function", "function": { "name": name.into() } }))
    }
}

impl From<&str> for ToolChoice {
    fn from(choice: &str) -> Self {
        Self(choice.into())
    }
}

impl From<String> for ToolChoice {
    fn from(choice: String) -> Self {
        Self(choice.into())
    }
}

impl From<Value> for ToolChoice {
    fn from(choice: Value) -> Self {
        Self(choice)
    }
}

impl From<ToolChoice> for Value {
    fn from(choice: ToolChoice) -> Self {
        choice.0
    }
}

/// The format of a response: text, JSON, or JSON that fits a schema.
///
/// ```
/// use mistral_cassette::client::{ChatRequest, ResponseFormat};
/// use serde_json::json;
///
/// let any_json = ChatRequest::new("mistral-small-latest").response_format(ResponseFormat::json_object());
/// let schema = json!({ "type": "object", "properties": { "city": { "type": "string" } } });
/// let city = ChatRequest::new("mistral-small-latest").response_format(ResponseFormat::json_schema("city", schema));
/// ```
///
/// With feature `schemars`, the schema comes from a type: `ResponseFormat::json_schema_of::<City>("city")`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ResponseFormat(Value);

impl ResponseFormat {
    /// Text: the default of the API.
    pub fn text() -> Self {
        Self(json!({ "type": "text" }))
    }

    /// Any JSON object. The prompt has to ask for JSON as well.
    pub fn json_object() -> Self {
        Self(json!({ "type": "json_object" }))
    }

    /// JSON that fits a schema. [`strict`](Self::strict) and [`description`](Self::description) add to it.
    pub fn json_schema(name: impl Into<String>, schema: impl Into<Value>) -> Self {
        Self(json!({ "type": "json_schema", "json_schema": { "name": name.into(), "schema": schema.into() } }))
    }

    /// JSON that fits a type, strictly: objects have only the members of the type, as in the official SDKs.
    #[cfg(feature = "schemars")]
    pub fn json_schema_of<T: schemars::JsonSchema>(name: impl Into<String>) -> Self {
        Self(super::tools::format_of::<T>(name.into()))
    }

    /// Sets whether the response has to fit the schema in every detail. It has no effect on a format without a schema.
    #[must_use]
    pub fn strict(self, strict: bool) -> Self {
        self.set_in_schema("strict", strict.into())
    }

    /// Describes the format to the model. It has no effect on a format without a schema.
    #[must_use]
    pub fn description(self, description: impl Into<String>) -> Self {
        self.set_in_schema("description", description.into().into())
    }

    fn set_in_schema(mut self, name: &str, value: Value) -> Self {
        if let Some(schema) = self.0.get_mut("json_schema").and_then(Value::as_object_mut) {
            schema.insert(name.to_owned(), value);
        }
        self
    }
}

impl From<Value> for ResponseFormat {
    fn from(format: Value) -> Self {
        Self(format)
    }
}

impl From<ResponseFormat> for Value {
    fn from(format: ResponseFormat) -> Self {
        format.0
    }
}

/// Metadata of a request: an object with members of your own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Metadata(Map<String, Value>);

impl<Name: Into<String>, Member: Into<Value>, const N: usize> From<[(Name, Member); N]> for Metadata {
    fn from(members: [(Name, Member); N]) -> Self {
        Self(
            members
                .into_iter()
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
        )
    }
}

impl From<Map<String, Value>> for Metadata {
    fn from(members: Map<String, Value>) -> Self {
        Self(members)
    }
}

impl From<Metadata> for Value {
    fn from(metadata: Metadata) -> Self {
        Self::Object(metadata.0)
    }
}

request! {
    /// The options for the completions of an agent or a conversation. Members that are not set are not sent.
    ///
    /// ```
    /// use mistral_cassette::client::{AgentRequest, CompletionArgs};
    ///
    /// let agent = AgentRequest::new("mistral-medium-latest", "poet")
    ///     .completion_args(CompletionArgs::new().temperature(0.9).stop(["\n\n"]));
    /// ```
    CompletionArgs {
        /// The texts at which the model stops: one, or a list.
        stop => Input,
        /// The penalty for tokens that have occurred, -2 to 2.
        presence_penalty: f64,
        /// The penalty for tokens by how often they have occurred, -2 to 2.
        frequency_penalty: f64,
        /// The sampling temperature, 0 to 1.
        temperature: f64,
        /// The fraction of the probability mass to sample from, 0 to 1.
        top_p: f64,
        /// The maximum number of tokens to generate.
        max_tokens: u32,
        /// The seed, for responses that are as deterministic as the API allows.
        random_seed: i64,
        /// The format of the response.
        response_format => ResponseFormat,
        /// Which tools the model may or must call.
        tool_choice => ToolChoice,
        /// How long the model reasons.
        reasoning_effort => ReasoningEffort,
    }
}

impl CompletionArgs {
    /// Creates options without a member.
    pub fn new() -> Self {
        Self::none()
    }

    /// Sets the text that the model is expected to generate, which makes the response faster.
    #[must_use]
    pub fn prediction(self, content: impl Into<String>) -> Self {
        self.set("prediction", prediction(content.into()))
    }
}

impl Default for CompletionArgs {
    fn default() -> Self {
        Self::new()
    }
}

pub(super) fn prediction(content: String) -> Value {
    json!({ "type": "content", "content": content })
}
