//! Messages and what they say: text, or chunks of text, images, documents, audio and thinking.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::Nullable;
use crate::error::{Error, ErrorKind, Result};

/// A message of a conversation, sent or received.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ChatMessage {
    /// `system`, `user`, `assistant` or `tool`; absent in most stream chunks.
    #[serde(default, skip_serializing_if = "Nullable::is_absent")]
    pub role: Nullable<String>,
    /// What it says.
    #[serde(default, skip_serializing_if = "Content::is_absent")]
    pub content: Content,
    /// The tools that the model wants called; see [`tool_calls`](Self::tool_calls).
    #[serde(default, skip_serializing_if = "Nullable::is_absent")]
    pub tool_calls: Nullable<Vec<ToolCall>>,
    /// Everything else.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl ChatMessage {
    /// A message of this role: text, or a list of [chunks](ContentChunk).
    pub fn new(role: impl Into<String>, content: impl Into<Content>) -> Self {
        Self {
            role: Nullable::Value(role.into()),
            content: content.into(),
            ..Self::default()
        }
    }

    /// The tools that the model wants called; none is an empty list.
    pub fn tool_calls(&self) -> &[ToolCall] {
        self.tool_calls.as_ref().map_or(&[], Vec::as_slice)
    }

    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// As the official SDKs send it: they fill in `prefix` of an assistant's message, and `id`, `type` and `index` of
    /// its tool calls.
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

/// Messages as they are sent.
pub(super) fn sent(messages: impl IntoIterator<Item = ChatMessage>) -> Value {
    messages.into_iter().map(|message| message.sent()).collect()
}

/// The content of a message: text, or chunks of text, images, thinking and more.
///
/// Text and lists of chunks turn into it:
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
    /// One chunk alone, as in the events of conversations.
    Chunk(Box<ContentChunk>),
    /// Not there.
    #[default]
    #[serde(skip)]
    Absent,
}

impl Content {
    pub(super) fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }

    /// The chunks, when it is made of some.
    pub fn chunks(&self) -> &[ContentChunk] {
        match self {
            Self::Chunks(chunks) => chunks,
            Self::Chunk(chunk) => std::slice::from_ref(chunk),
            Self::Text(_) | Self::Null(()) | Self::Absent => &[],
        }
    }

    /// The text: of the chunks, those of type `text` joined.
    pub fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            _ => text_of(self.chunks()),
        }
    }

    /// What the model thought before it answered; empty unless it is one that shows it.
    pub fn thinking(&self) -> String {
        self.chunks()
            .iter()
            .filter_map(|chunk| match chunk {
                ContentChunk::Thinking { thinking, .. } => Some(text_of(thinking)),
                _ => None,
            })
            .collect()
    }

    /// Adds what a stream brings next: text to text, chunks to chunks, one that goes on to the one before.
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
            // The first chunk of most streams says nothing.
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

/// A piece of content. A kind that is not known here, or not in this shape, is [`Unknown`](Self::Unknown) and loses
/// nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum ContentChunk {
    /// Text.
    Text {
        /// The text.
        text: String,
        /// Everything else.
        #[serde(flatten)]
        extra: Map<String, Value>,
    },
    /// An image.
    ImageUrl {
        /// A URL, `https:` or `data:`, or an object with a `url` and a `detail`.
        image_url: Value,
        /// Everything else.
        #[serde(flatten)]
        extra: Map<String, Value>,
    },
    /// A document.
    DocumentUrl {
        /// A URL, `https:` or `data:`.
        document_url: String,
        /// Everything else (`document_name`).
        #[serde(flatten)]
        extra: Map<String, Value>,
    },
    /// Sound.
    InputAudio {
        /// A URL, or the bytes of an audio file in base64.
        input_audio: String,
        /// Everything else.
        #[serde(flatten)]
        extra: Map<String, Value>,
    },
    /// What a model thought before it answered.
    Thinking {
        /// Mostly text.
        thinking: Vec<ContentChunk>,
        /// Everything else (`closed`, `signature`).
        #[serde(flatten)]
        extra: Map<String, Value>,
    },
    /// Which of the sources the text before it rests on.
    Reference {
        /// The ids of the sources.
        reference_ids: Vec<Value>,
        /// Everything else.
        #[serde(flatten)]
        extra: Map<String, Value>,
    },
    /// An uploaded file.
    File {
        /// Its id.
        file_id: String,
        /// Everything else.
        #[serde(flatten)]
        extra: Map<String, Value>,
    },
    /// Anything else.
    #[serde(untagged)]
    Unknown(Value),
}

impl ContentChunk {
    /// Text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text {
            text: text.into(),
            extra: Map::new(),
        }
    }

    /// An image by its URL, `https:` or `data:image/png;base64,…`.
    pub fn image(url: impl Into<String>) -> Self {
        Self::ImageUrl {
            image_url: Value::String(url.into()),
            extra: Map::new(),
        }
    }

    /// A document by its URL, `https:` or `data:application/pdf;base64,…`.
    pub fn document(url: impl Into<String>) -> Self {
        Self::DocumentUrl {
            document_url: url.into(),
            extra: Map::new(),
        }
    }

    /// Sound: a URL, or the bytes of an audio file in base64.
    pub fn audio(url_or_base64: impl Into<String>) -> Self {
        Self::InputAudio {
            input_audio: url_or_base64.into(),
            extra: Map::new(),
        }
    }

    /// What a model thought before it answered, to give it back.
    pub fn thinking(text: impl Into<String>) -> Self {
        Self::Thinking {
            thinking: vec![Self::text(text)],
            extra: Map::new(),
        }
    }

    /// An uploaded file by its id.
    pub fn file(id: impl Into<String>) -> Self {
        Self::File {
            file_id: id.into(),
            extra: Map::new(),
        }
    }
}

/// A call of a tool that the model asks for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ToolCall {
    /// What the answer to it is addressed to.
    #[serde(default, skip_serializing_if = "Nullable::is_absent")]
    pub id: Nullable<String>,
    /// What to call.
    pub function: FunctionCall,
    /// Everything else (`type`, `index`).
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// A function and its arguments.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FunctionCall {
    /// The name of the function.
    pub name: String,
    /// A string of JSON in all answers seen so far; the API reference allows an object as well.
    pub arguments: Value,
    /// Everything else.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl FunctionCall {
    /// Reads the arguments.
    ///
    /// # Errors
    /// [`ErrorKind::Api`] when they are not JSON of that shape; [`Error::body`] is what the model wrote.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T> {
        let text = match &self.arguments {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        parsed(&text, &format!("the arguments of {}", self.name))
    }
}

/// Reads what a model wrote as JSON.
pub(super) fn parsed<T: DeserializeOwned>(text: &str, what: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| {
        Error::new(
            ErrorKind::Api,
            format!("{what} do not fit the type that was asked for: {error}"),
        )
        .with_response(200, text.as_bytes())
        .with_source(error)
    })
}

/// How many tokens a call took, and seconds of audio where there was some.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Usage {
    /// Tokens of the request.
    #[serde(default)]
    pub prompt_tokens: i64,
    /// Tokens of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_tokens: Option<i64>,
    /// Both.
    #[serde(default)]
    pub total_tokens: i64,
    /// Everything else (`num_cached_tokens`, `prompt_tokens_details`, `prompt_audio_seconds`, `service_tier`).
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}
