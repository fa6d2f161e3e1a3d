//! Turns recordings into the JSON data of the page. Bodies stay text: the scripts of the page parse JSON and events.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::recording::{Change, Recording};
use super::summary::usage_value;
use crate::cassette::{Blob, Cassette, RecordedBody, RecordedResponse};
use crate::cli::messages;
use crate::cli::prices::{Usage, usages};
use crate::diff::{ChangeTag, Difference, cut, pieces};
use crate::error::Error;
use crate::http::{StreamFormat, frames_as_text};

/// The page omits a longer run of base64, in bytes: an image, a sound, a file.
const MAX_MEDIA: usize = 256 * 1024;

/// How much of omitted base64 stays, to detect its media type: a multiple of four.
const MEDIA_PREFIX: usize = 64;

/// The page omits a larger text body, in bytes without its media.
const MAX_TEXT: usize = 4 * 1024 * 1024;

/// How many differences of a recording the page shows.
const MAX_DIFFERENCES: usize = 100;

/// The page truncates a longer value in a difference, in characters of its JSON.
const MAX_VALUE: usize = 20_000;

/// Returns everything that the page shows of a recording.
pub(crate) fn details(recording: &Recording, with_media: bool) -> Value {
    let mut details = match &recording.cassette {
        Ok(cassette) => cassette_value(cassette, &recording.facts().usages, with_media),
        Err(error) => json!({ "error": Error::report(error) }),
    };
    if let Some(Change { differences, old, .. }) = &recording.change {
        details["differences"] = differences.iter().take(MAX_DIFFERENCES).map(difference_value).collect();
        details["more_differences"] = json!(differences.len().saturating_sub(MAX_DIFFERENCES));
        let old = old.as_ref();
        details["old"] = old.map_or(Value::Null, |old| cassette_value(old, &usages(old), with_media));
    }
    details
}

fn cassette_value(cassette: &Cassette, usages: &[Option<Usage>], with_media: bool) -> Value {
    let response_value = |(response, usage): (&RecordedResponse, &Option<Usage>)| {
        let mut value = json!({
            "status": response.status.as_u16(),
            "reason": response.status.canonical_reason(),
            "headers": response.headers,
            "timing_ms": response.timing_ms,
            "usage": usage.as_ref().map(usage_value),
            "body": response_body_value(response, with_media),
        });
        if let Some(events) = frames_as_events(response) {
            value["events"] = events.into();
        }
        value
    };
    let body = match &cassette.request.body {
        RecordedBody::Blob(blob) => body_value(bytes(blob), with_media),
        RecordedBody::Multipart(parts) => {
            let parts = parts.iter().map(|part| {
                json!({
                    "name": part.name,
                    "filename": part.filename,
                    "content_type": part.content_type,
                    "bytes": bytes(&part.content).len(),
                    "body": body_value(bytes(&part.content), with_media),
                })
            });
            json!({ "parts": parts.collect::<Vec<_>>() })
        }
        RecordedBody::Messages(_) => session_value(cassette, with_media),
    };
    json!({
        "key": cassette.key,
        "at": cassette.recorded.second(),
        "by": cassette.recorded.by,
        "from": cassette.recorded.from,
        "test": cassette.recorded.test,
        "line": cassette.request.line(),
        "body": body,
        "responses": cassette.responses.iter().zip(usages).map(response_value).collect::<Vec<_>>(),
    })
}

/// The audio of WebSocket sessions, as the parts of a form.
fn session_value(cassette: &Cassette, with_media: bool) -> Value {
    let audio = cassette.responses.iter().flat_map(messages::audio).map(|audio| {
        json!({
            "name": format!("audio {}", audio.name),
            "bytes": audio.file.len(),
            "body": body_value(&audio.file, with_media),
        })
    });
    json!({ "parts": audio.collect::<Vec<_>>() })
}

/// Returns the body of a response; of a stream of frames, the content of each frame as text.
fn response_body_value(response: &RecordedResponse, with_media: bool) -> Value {
    if !response.messages.is_empty() {
        return json!({ "text": messages::transcript(response).join("\n") });
    }
    let bytes = bytes(&response.body);
    match frames_as_text(bytes) {
        Some(text) => body_value(text.as_bytes(), with_media),
        None => body_value(bytes, with_media),
    }
}

/// Returns the events of a stream of frames, in the form of the API's own. The scripts of the page read other streams by
/// themselves.
fn frames_as_events(response: &RecordedResponse) -> Option<Vec<Value>> {
    let format = response
        .stream_format()
        .filter(|format| *format == StreamFormat::Frames)?;
    let events = format.parse(bytes(&response.body)).into_iter();
    Some(
        events
            .map(|event| json!({ "name": event.name, "data": event.data }))
            .collect(),
    )
}

/// Returns the bytes of a body. External bodies were loaded before.
fn bytes(blob: &Blob) -> &[u8] {
    match blob {
        Blob::Inline(bytes) => bytes,
        Blob::External { .. } => &[],
    }
}

/// Returns a body: null, its text, or base64. A large body becomes its size and, for media, its first bytes.
fn body_value(bytes: &[u8], with_media: bool) -> Value {
    if bytes.is_empty() {
        return Value::Null;
    }
    let Ok(text) = std::str::from_utf8(bytes) else {
        let base64 = STANDARD.encode(bytes);
        return match with_media || base64.len() <= MAX_MEDIA {
            true => object("base64", base64.into()),
            false => json!({ "omitted": bytes.len(), "base64": &base64[..MEDIA_PREFIX] }),
        };
    };
    let text = match with_media {
        true => text.to_owned(),
        false => without_media(text),
    };
    match with_media || text.len() <= MAX_TEXT {
        true => object("text", text.into()),
        false => json!({ "omitted": bytes.len() }),
    }
}

/// An object with one member, which is not copied.
fn object(name: &str, value: Value) -> Value {
    Value::Object([(name.to_owned(), value)].into_iter().collect())
}

/// Replaces each long run of base64 with a note.
fn without_media(text: &str) -> String {
    if text.len() <= MAX_MEDIA {
        return text.to_owned();
    }
    let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_' | b'=');
    let mut shorter = String::new();
    let mut copied = 0;
    let mut at = 0;
    // Base64 is ASCII, so a run begins and ends at a character boundary.
    while at < text.len() {
        let run = text.as_bytes()[at..].iter().take_while(|byte| is_base64(byte)).count();
        if run > MAX_MEDIA {
            shorter.push_str(&text[copied..at + MEDIA_PREFIX]);
            shorter.push_str(&format!("[omitted: {run} characters of base64]"));
            copied = at + run;
        }
        at += run.max(1);
    }
    shorter.push_str(&text[copied..]);
    shorter
}

fn difference_value(difference: &Difference) -> Value {
    let mut value = json!({ "pointer": difference.pointer });
    if let (Some(Value::String(old)), Some(Value::String(new))) = (&difference.old, &difference.new) {
        let pieces = pieces(&without_media(old), &without_media(new));
        let sign = |tag| match tag {
            ChangeTag::Equal => 0,
            ChangeTag::Delete => -1,
            ChangeTag::Insert => 1,
        };
        value["pieces"] = pieces.into_iter().map(|(tag, text)| json!([sign(tag), text])).collect();
        return value;
    }
    if let Some(numbers) = difference.numbers() {
        value["numbers"] = json!(numbers);
        return value;
    }
    for (side, text) in [("old", &difference.old), ("new", &difference.new)] {
        if let Some(text) = text {
            value[side] = json!(cut(&without_media(&text.to_string()), MAX_VALUE));
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_long_base64_is_omitted() {
        let long = "QUJD".repeat(MAX_MEDIA / 4 + 1);
        let text = format!(
            "{{\"é\":\"data:image/png;base64,{long}\",\"b\":\"{}\"}}",
            &long[..MAX_MEDIA]
        );
        let shorter = without_media(&text);
        assert_eq!(
            shorter,
            format!(
                "{{\"é\":\"data:image/png;base64,{}[omitted: {} characters of base64]\",\"b\":\"{}\"}}",
                &long[..MEDIA_PREFIX],
                long.len(),
                &long[..MAX_MEDIA]
            )
        );
        assert_eq!(without_media("ü"), "ü");
        assert_eq!(body_value(text.as_bytes(), true)["text"], json!(text));
    }

    #[test]
    fn a_large_body_is_omitted() {
        let body = body_value(&vec![0xff; MAX_MEDIA], false);
        assert_eq!(
            (&body["omitted"], body["base64"].as_str().map(str::len)),
            (&json!(MAX_MEDIA), Some(MEDIA_PREFIX))
        );
        assert!(body_value(&vec![0xff; MAX_MEDIA], true)["omitted"].is_null());
        assert_eq!(
            body_value("word ".repeat(MAX_TEXT).as_bytes(), false)["omitted"],
            json!(5 * MAX_TEXT)
        );
        assert_eq!(body_value(b"", false), Value::Null);
    }
}
