//! Readable names for requests: the folder name of the endpoint and a short description of the request.

use std::borrow::Cow;

use serde_json::Value;

use super::canonical::{CanonicalBody, CanonicalMessage, CanonicalRequest, is_version};
use super::names::is_reserved;

/// The maximum length of a slug, in bytes. With the endpoint and the key, a file name stays far below the limits of
/// common file systems.
const LONGEST_SLUG: usize = 48;

/// The maximum length of one word in an endpoint name, in bytes.
const LONGEST_WORD: usize = 30;

/// The maximum number of words in an endpoint name.
const MOST_WORDS: usize = 3;

/// How many characters of a text are considered for a slug.
const CONSIDERED: usize = 400;

/// Words that a slug omits at the beginning.
const STOP_WORDS: [&str; 13] = [
    "what", "whats", "who", "is", "are", "the", "a", "an", "please", "can", "could", "you", "me",
];

/// Returns the folder name of an endpoint and the path segments that are ids: `/v1/files/0b6c…/content` gives
/// `files-content` and `0b6c…`.
pub(super) fn endpoint_of(path: &str) -> (String, Vec<String>) {
    let is_word = |segment: &str| {
        (1..=LONGEST_WORD).contains(&segment.len())
            && segment.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
    };
    let (mut words, mut ids) = (Vec::new(), Vec::new());
    for segment in path
        .split('/')
        .filter(|segment| !segment.is_empty() && !is_version(segment))
    {
        let word = if words.is_empty() {
            slugify(segment, LONGEST_WORD)
        } else {
            segment.to_owned()
        };
        if words.len() < MOST_WORDS && is_word(&word) || words.is_empty() && !word.is_empty() {
            words.push(word);
        } else {
            ids.push(segment.to_owned());
        }
    }
    if words.is_empty() {
        words.push("root".to_owned());
    }
    let name = words.join("-");
    let name = if is_reserved(&name) { name + "-endpoint" } else { name };
    (name, ids)
}

/// Returns a few words that describe the request; `ids` are those of its path.
pub(super) fn slug_of(request: &CanonicalRequest, ids: &[String]) -> String {
    let description = match &request.body {
        Some(CanonicalBody::Multipart(parts)) => parts.iter().find_map(|part| part.filename.clone()),
        Some(CanonicalBody::Json(value)) => description_of(value),
        Some(CanonicalBody::Messages(messages)) => Some(description_of_messages(messages)),
        _ => None,
    };
    let mut words = match request.method.as_str() {
        "GET" | "POST" => String::new(),
        other => format!("{other} "),
    };
    match description {
        Some(text) => words.push_str(&text),
        None => words.push_str(&ids.join(" ")),
    }
    let slug = slugify(&words, LONGEST_SLUG);
    if slug.is_empty() {
        slugify(&request.method, LONGEST_SLUG)
    } else {
        slug
    }
}

/// Returns the text of a JSON body that describes the request best, such as the last user message.
pub(crate) fn description_of(body: &Value) -> Option<String> {
    let last_user_message = |messages: &Value| {
        let messages = messages.as_array()?;
        let is_user = |message: &&Value| message["role"] == "user";
        let message = messages.iter().rev().find(is_user).or(messages.last())?;
        text_of(message.get("content")?)
    };
    let document = |value: &Value| {
        ["document_name", "document_url", "image_url", "file_id"]
            .iter()
            .find_map(|name| text_of(value.get(*name)?))
            .map(|url| url.rsplit('/').next().unwrap_or_default().to_owned())
            .filter(|name| name.len() <= 200)
    };
    None.or_else(|| last_user_message(body.get("messages")?))
        .or_else(|| text_of(body.get("prompt")?))
        .or_else(|| last_user_message(body.get("inputs")?))
        .or_else(|| last_user_message(body.get("input")?))
        .or_else(|| text_of(body.get("inputs")?))
        .or_else(|| text_of(body.get("input")?))
        .or_else(|| document(body.get("document")?))
        .or_else(|| text_of(body.get("name")?))
        .or_else(|| text_of(body.get("model")?))
        .filter(|text| !text.trim().is_empty())
}

/// The texts that the client sends in a session; if there are none, what else it sends.
fn description_of_messages(messages: &[CanonicalMessage]) -> String {
    let text = |message: &CanonicalMessage| match message {
        CanonicalMessage::Json(value) => Some(value.get("text")?.as_str()?.to_owned()),
        CanonicalMessage::Text(text) => Some(text.clone()),
        CanonicalMessage::Sha256(_) | CanonicalMessage::Audio(_) => None,
    };
    let texts: String = messages.iter().filter_map(text).collect();
    let is_audio = |message: &CanonicalMessage| matches!(message, CanonicalMessage::Audio(_));
    match texts.is_empty() {
        false => texts,
        true if messages.iter().any(is_audio) => "audio".to_owned(),
        true => "session".to_owned(),
    }
}

/// The text of a string, of the first string in a list, or of the first text chunk.
fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Array(items) => items.iter().find_map(text_of),
        Value::Object(chunk) => ["text", "content", "url"]
            .iter()
            .find_map(|name| text_of(chunk.get(*name)?)),
        _ => None,
    }
}

/// Returns lower-case ASCII words joined by dashes, at most `longest` bytes, without leading [`STOP_WORDS`].
fn slugify(text: &str, longest: usize) -> String {
    let start = text
        .char_indices()
        .nth(CONSIDERED)
        .map_or(text, |(end, _)| &text[..end]);
    let ascii = if start.is_ascii() {
        Cow::Borrowed(start)
    } else {
        Cow::Owned(deunicode::deunicode(start))
    };
    let ascii = ascii.replace('\'', "");
    let words = || {
        ascii
            .split(|character: char| !character.is_ascii_alphanumeric())
            .filter(|word| !word.is_empty())
    };
    let is_stop_word = |word: &&str| STOP_WORDS.iter().any(|other| word.eq_ignore_ascii_case(other));
    let leading = words().take_while(is_stop_word).count();
    let has_others = words().nth(leading).is_some();
    let mut slug = String::new();
    for word in words().skip(if has_others { leading } else { 0 }) {
        if !slug.is_empty() && slug.len() + 1 + word.len() > longest {
            break;
        }
        if !slug.is_empty() {
            slug.push('-');
        }
        slug.push_str(word);
    }
    slug.make_ascii_lowercase();
    slug.truncate(longest);
    slug
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cassette::RecordedRequest;
    use crate::settings::matching::Matching;

    fn name(method: &str, path: &str, body: &str) -> String {
        let request = RecordedRequest::new(method, path, body.to_owned());
        let canonical = CanonicalRequest::of(&request, &Matching::default());
        let (endpoint, ids) = endpoint_of(&canonical.path);
        format!("{endpoint}/{}", slug_of(&canonical, &ids))
    }

    #[test]
    fn names_describe_the_request() {
        let chat = |text: &str| {
            name(
                "POST",
                "/v1/chat/completions",
                &json!({"messages": [{"role": "user", "content": text}, {"role": "assistant", "content": "hm"}]})
                    .to_string(),
            )
        };
        assert_eq!(
            chat("What is the capital of France?"),
            "chat-completions/capital-of-france"
        );
        assert_eq!(
            chat("What's the weather like in Zürich today, and what should I wear for a long walk?"),
            "chat-completions/weather-like-in-zurich-today-and-what-should-i"
        );
        assert_eq!(chat("日本の首都は?"), "chat-completions/ri-ben-noshou-du-ha");
        assert_eq!(chat("../../etc/passwd\0 CON:|<>"), "chat-completions/etc-passwd-con");
        assert_eq!(chat("???"), "chat-completions/post");
        assert_eq!(chat(&"x".repeat(500)), format!("chat-completions/{}", "x".repeat(48)));
        assert_eq!(
            name("POST", "/v1/embeddings", r#"{"input":["Mistral is a wind","b"]}"#),
            "embeddings/mistral-is-a-wind"
        );
        assert_eq!(
            name("POST", "/v1/fim/completions", r#"{"prompt":"def add(a, b):"}"#),
            "fim-completions/def-add-a-b"
        );
        assert_eq!(
            name(
                "POST",
                "/v1/ocr",
                r#"{"document":{"type":"document_url","document_url":"https://arxiv.org/pdf/2201.04234"}}"#
            ),
            "ocr/2201-04234"
        );
        assert_eq!(name("GET", "/v1/models", ""), "models/get");
        assert_eq!(
            name("GET", "/v1/models/mistral-small-latest", ""),
            "models/mistral-small-latest"
        );
        assert_eq!(name("DELETE", "/v1/files/0b6c", ""), "files/delete-0b6c");
        assert_eq!(name("GET", "/v1/files/0b6c/content", ""), "files-content/0b6c");
        assert_eq!(name("GET", "/", ""), "root/get");
        assert_eq!(name("GET", "/v1/bodies", ""), "bodies-endpoint/get");
        assert_eq!(name("GET", "/v1/con", ""), "con-endpoint/get");
        assert_eq!(name("GET", "/LPT9", ""), "lpt9-endpoint/get");
    }
}
