//! Messages and their content: text, or chunks of text, images, documents, audio and thinking.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::Nullable;
use super::open_enum::open_enum;
use super::usage::parsed;
use crate::error::Result;

open_enum! {
    /// The author of a message.
    Role {
        /// Instructions for the model.
        System = "system",
        /// The user.
        User = "user",
        /// The model.
        Assistant = "assistant",
        /// The result of a tool call.
        Tool = "tool",
    }
}

open_enum! {
    /// The reason for the end of a choice.
    FinishReason {
        /// The response is complete.
        Stop = "stop",
        /// The maximum number of tokens of the request.
        Length = "length",
        /// The maximum number of tokens of the model.
        ModelLength = "model_length",
        /// The model calls tools.
        ToolCalls = "tool_calls",
        /// The API failed.
        Error = "error",
    }
}

/// A message of a conversation, sent or received.
///
/// ```
/// use mistral_cassette::client::{ChatMessage, ChatRequest};
///
/// let history = vec![ChatMessage::system("Be brief."), ChatMessage::user("Hello"), ChatMessage::assistant("Hi.")];
/// let request = ChatRequest::new("mistral-small-latest").messages(history).user("What is the capital of France?");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ChatMessage {
    /// The author. Most stream chunks have no role.
    #[serde(default, skip_serializing_if = "Nullable::is_absent")]
    pub role: Nullable<Role>,
    /// The content.
    #[serde(default, skip_serializing_if = "Content::is_absent")]
    pub content: Content,
    /// The tool calls, see [`tool_calls`](Self::tool_calls).
    #[serde(default, skip_serializing_if = "Nullable::is_absent")]
    pub tool_calls: Nullable<Vec<ToolCall>>,
    /// All other members.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl ChatMessage {
    /// Creates a message with a role and text or a list of [chunks](ContentChunk).
    pub fn new(role: impl Into<Role>, content: impl Into<Content>) -> Self {
        Self {
            role: Nullable::Value(role.into()),
            content: content.into(),
            ..Self::default()
        }
    }

    /// Creates a system message.
    pub fn system(content: impl Into<Content>) -> Self {
        Self::new(Role::System, content)
    }

    /// Creates a user message: text, or [chunks](ContentChunk) of text, images, documents and audio.
    pub fn user(content: impl Into<Content>) -> Self {
        Self::new(Role::User, content)
    }

    /// Creates an assistant message.
    pub fn assistant(content: impl Into<Content>) -> Self {
        Self::new(Role::Assistant, content)
    }

    /// Creates the result of the tool call with this id, for the function with this name.
    pub fn tool(tool_call_id: impl Into<String>, name: impl Into<String>, content: impl Into<Content>) -> Self {
        let mut message = Self::new(Role::Tool, content);
        message
            .extra
            .insert("tool_call_id".to_owned(), tool_call_id.into().into());
        message.extra.insert("name".to_owned(), name.into().into());
        message
    }

    /// Sets the tool calls of an assistant message.
    #[must_use]
    pub fn with_tool_calls(mut self, calls: impl IntoIterator<Item = ToolCall>) -> Self {
        self.tool_calls = Nullable::Value(calls.into_iter().collect());
        self
    }

    /// Makes the last message of a request, an assistant message, the beginning of the response.
    #[must_use]
    pub fn with_prefix(mut self) -> Self {
        self.extra.insert("prefix".to_owned(), true.into());
        self
    }

    /// Returns the tool calls. `null` and an absent member are an empty list.
    pub fn tool_calls(&self) -> &[ToolCall] {
        self.tool_calls.as_ref().map_or(&[], Vec::as_slice)
    }

    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Adds the defaults of the official SDKs: `prefix` of an assistant's message, and `id`, `type` and `index` of its
    /// tool calls.
    pub(super) fn sent(&self) -> Value {
        let mut message = json!(self);
        if message["role"] == "assistant"
            && let Some(members) = message.as_object_mut()
        {
            members.entry("prefix").or_insert(json!(false));
            let calls = members.get_mut("tool_calls").and_then(Value::as_array_mut);
            for call in calls.into_iter().flatten().filter_map(Value::as_object_mut) {
                call.entry("id").or_insert(json!("null"));
                call.entry("type").or_insert(json!("function"));
                call.entry("index").or_insert(json!(0));
            }
        }
        message
    }
}

/// Converts messages to the JSON that is sent.
pub(super) fn sent(messages: impl IntoIterator<Item = ChatMessage>) -> Value {
    messages.into_iter().map(|message| message.sent()).collect()
}

/// The content of a message: text, or chunks of text, images, thinking and more.
///
/// Text and lists of chunks convert to this type:
///
/// ```
/// use mistral_cassette::client::{ChatRequest, ContentChunk};
///
/// let request = ChatRequest::new("mistral-small-latest")
///     .system("Be brief.")
///     .user([ContentChunk::text("What is this?"), ContentChunk::image("https://example.org/cat.png")]);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum Content {
    /// Plain text.
    Text(String),
    /// Chunks, each an object with a `type`.
    Chunks(Vec<ContentChunk>),
    /// `null`.
    Null(()),
    /// One chunk without a list, as in the events of conversations.
    Chunk(Box<ContentChunk>),
    /// An absent member.
    #[default]
    #[serde(skip)]
    Absent,
}

impl Content {
    pub(super) fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }

    /// Returns the chunks, if the content consists of chunks.
    pub fn chunks(&self) -> &[ContentChunk] {
        match self {
            Self::Chunks(chunks) => chunks,
            Self::Chunk(chunk) => std::slice::from_ref(chunk),
            Self::Text(_) | Self::Null(()) | Self::Absent => &[],
        }
    }

    /// Returns the text. The text of chunks is the joined text of those of type `text`.
    pub fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            _ => text_of(self.chunks()),
        }
    }

    /// Returns the thinking of the model, or an empty string if the model does not show it.
    pub fn thinking(&self) -> String {
        self.chunks()
            .iter()
            .filter_map(|chunk| match chunk {
                ContentChunk::Thinking { thinking, .. } => Some(text_of(thinking)),
                _ => None,
            })
            .collect()
    }

    /// Appends the next piece of a stream: text to text, and chunks to chunks. A chunk that continues the last one is
    /// joined to it.
    pub(super) fn append(&mut self, next: Content) {
        match (&mut *self, next) {
            (_, Self::Absent) => {}
            (Self::Text(text), Self::Text(more)) => text.push_str(&more),
            (Self::Absent | Self::Null(()), next) => *self = next,
            (_, Self::Null(())) => {}
            (_, next) => {
                let mut chunks = std::mem::take(self).into_chunks();
                for chunk in next.into_chunks() {
                    append_chunk(&mut chunks, chunk);
                }
                *self = Self::Chunks(chunks);
            }
        }
    }

    fn into_chunks(self) -> Vec<ContentChunk> {
        match self {
            // The first chunk of most streams has empty content.
            Self::Text(text) if text.is_empty() => Vec::new(),
            Self::Text(text) => vec![ContentChunk::text(text)],
            Self::Chunks(chunks) => chunks,
            Self::Chunk(chunk) => vec![*chunk],
            Self::Null(()) | Self::Absent => Vec::new(),
        }
    }
}

fn text_of(chunks: &[ContentChunk]) -> String {
    chunks
        .iter()
        .filter_map(|chunk| match chunk {
            ContentChunk::Text { text, .. } => Some(text.as_str()),
            _ => None,
        })
        .collect()
}

fn append_chunk(chunks: &mut Vec<ContentChunk>, next: ContentChunk) {
    match (chunks.last_mut(), next) {
        (
            Some(ContentChunk::Text { text, extra }),
            ContentChunk::Text {
                text: more,
                extra: more_extra,
            },
        ) => {
            text.push_str(&more);
            extra.extend(more_extra);
        }
        (
            Some(ContentChunk::Thinking { thinking, extra }),
            ContentChunk::Thinking {
                thinking: more,
                extra: more_extra,
            },
        ) => {
            for chunk in more {
                append_chunk(thinking, chunk);
            }
            extra.extend(more_extra);
        }
        (_, next) => chunks.push(next),
    }
}

impl From<&str> for Content {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Content {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&String> for Content {
    fn from(text: &String) -> Self {
        Self::Text(text.clone())
    }
}

impl From<Vec<ContentChunk>> for Content {
    fn from(chunks: Vec<ContentChunk>) -> Self {
        Self::Chunks(chunks)
    }
}

impl<const N: usize> From<[ContentChunk; N]> for Content {
    fn from(chunks: [ContentChunk; N]) -> Self {
        Self::Chunks(chunks.into())
    }
}

/// A piece of content. A chunk of any other kind or format is [`Unknown`](Self::Unknown), which keeps all members.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum ContentChunk {
    /// Text.
    Text {
        /// The text.
        text: String,
        /// All other members.
        #[serde(flatten)]
        extra: Map<String, Value>,
    },
    /// An image.
    ImageUrl {
        /// A URL, `https:` or `data:`, or an object with a `url` and a `detail`.
        image_url: Value,
        /// All other members.
        #[serde(flatten)]
        extra: Map<String, Value>,
    },
    /// A document.
    DocumentUrl {
        /// A URL, `https:` or `data:`.
        document_url: String,
        /// All other members (`document_name`).
        #[serde(flatten)]
        extra: Map<String, Value>,
    },
    /// Audio.
    InputAudio {
        /// A URL, or the bytes of an audio file in base64.
        input_audio: String,
        /// All other members.
        #[serde(flatten)]
        extra: Map<String, Value>,
    },
    /// The thinking of a model.
    Thinking {
        /// The content, usually text.
        thinking: Vec<ContentChunk>,
        /// All other members (`closed`, `signature`).
        #[serde(flatten)]
        extra: Map<String, Value>,
    },
    /// A reference from the preceding text to its sources.
    Reference {
        /// The ids of the sources.
        reference_ids: Vec<Value>,
        /// All other members.
        #[serde(flatten)]
        extra: Map<String, Value>,
    },
    /// An uploaded file.
    File {
        /// The id.
        file_id: String,
        /// All other members.
        #[serde(flatten)]
        extra: Map<String, Value>,
    },
    /// Any other kind.
    #[serde(untagged)]
    Unknown(Value),
}

impl ContentChunk {
    /// Creates a chunk of text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text {
            text: text.into(),
            extra: Map::new(),
        }
    }

    /// Creates an image from its URL, `https:` or `data:image/png;base64,…`.
    pub fn image(url: impl Into<String>) -> Self {
        Self::ImageUrl {
            image_url: Value::String(url.into()),
            extra: Map::new(),
        }
    }

    /// Creates a document from its URL, `https:` or `data:application/pdf;base64,…`.
    pub fn document(url: impl Into<String>) -> Self {
        Self::DocumentUrl {
            document_url: url.into(),
            extra: Map::new(),
        }
    }

    /// Creates audio from a URL, or from the bytes of an audio file in base64.
    pub fn audio(url_or_base64: impl Into<String>) -> Self {
        Self::InputAudio {
            input_audio: url_or_base64.into(),
            extra: Map::new(),
        }
    }

    /// Creates thinking, to send the thinking of an earlier response back.
    pub fn thinking(text: impl Into<String>) -> Self {
        Self::Thinking {
            thinking: vec![Self::text(text)],
            extra: Map::new(),
        }
    }

    /// Creates a reference to an uploaded file by its id.
    pub fn file(id: impl Into<String>) -> Self {
        Self::File {
            file_id: id.into(),
            extra: Map::new(),
        }
    }
}

/// A tool call of the model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ToolCall {
    /// The id of the call, for its result.
    #[serde(default, skip_serializing_if = "Nullable::is_absent")]
    pub id: Nullable<String>,
    /// The function and its arguments.
    pub function: FunctionCall,
    /// All other members (`type`, `index`).
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl ToolCall {
    /// Creates a tool call, for a history that the API has not generated. `arguments` is JSON as text.
    pub fn new(id: impl Into<String>, name: impl Into<String>, arguments: impl Into<String>) -> Self {
        Self {
            id: Nullable::Value(id.into()),
            function: FunctionCall {
                name: name.into(),
                arguments: Value::String(arguments.into()),
                extra: Map::new(),
            },
            extra: Map::new(),
        }
    }
}

/// A function and its arguments.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FunctionCall {
    /// The name of the function.
    pub name: String,
    /// The arguments: a string of JSON in all responses seen so far. The API reference also allows an object.
    pub arguments: Value,
    /// All other members.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl FunctionCall {
    /// Parses the arguments.
    ///
    /// # Errors
    /// [`ErrorKind::Parse`](crate::ErrorKind::Parse) if the arguments are not JSON that fits the type.
    /// [`Error::body`](crate::Error::body) returns them.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T> {
        let text = match &self.arguments {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        parsed(&text, &format!("the arguments of {}", self.name))
    }
}
