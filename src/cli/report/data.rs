//! A recording as the data that the page reads: bodies as the text that was sent, and little else, since the page can
//! read JSON and events by itself.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{Change, Recording};
use crate::cassette::{Blob, Cassette, RecordedBody, RecordedResponse};
use crate::cli::prices::{Prices, Spent, Usage};
use crate::diff::{ChangeTag, Difference, cut, pieces};
use crate::error::Error;
use crate::key::scope_and_endpoint;

/// More base64 in one piece than this is left out of the page, in bytes: a picture, a recording of sound, a file.
const MOST_MEDIA: usize = 256 * 1024;

/// How much of what is left out is kept, so that its kind can be told: a multiple of four.
const KEPT: usize = 64;

/// A text body that is larger than this without its media is left out, in bytes.
const MOST_TEXT: usize = 4 * 1024 * 1024;

/// How many differences of a recording are shown: two vectors differ in every number.
const MOST_DIFFERENCES: usize = 100;

/// A value in a difference is shown up to here, in characters of its JSON.
const MOST_VALUE: usize = 20_000;

/// What the list shows of a recording, and what it is chosen by.
pub(super) fn summary(recording: &Recording, prices: &Prices) -> Value {
    let (scope, endpoint) = scope_and_endpoint(&recording.name);
    let mut summary = json!({ "name": recording.name, "scope": scope.unwrap_or_default(), "endpoint": endpoint });
    if let Some(change) = &recording.change {
        summary["change"] = json!(change.what);
    }
    match &recording.cassette {
        Ok(cassette) => {
            let statuses = cassette.responses.iter().map(|response| response.status.as_u16());
            summary["line"] = json!(cassette.request.line());
            summary["test"] = json!(cassette.recorded.test);
            summary["statuses"] = statuses.collect();
            let Spent { model, usage, cost } = prices.spent(cassette);
            summary["model"] = json!(model);
            // In US dollars; null where a price is not known.
            summary["cost"] = json!(cost);
            summary["usage"] = of_usage(&usage);
        }
        Err(_) => summary["is_damaged"] = json!(true),
    }
    summary
}

fn of_usage(usage: &Usage) -> Value {
    json!({
        "input": usage.input_tokens,
        "output": usage.output_tokens,
        "pages": usage.pages + usage.annotated_pages,
        "seconds": usage.audio_seconds,
        "characters": usage.characters,
    })
}

/// Everything that the page shows of a recording.
pub(super) fn whole(recording: &Recording, with_media: bool) -> Value {
    let mut whole = match &recording.cassette {
        Ok(cassette) => of_cassette(cassette, with_media),
        Err(error) => json!({ "error": Error::report(error) }),
    };
    if let Some(Change { differences, old, .. }) = &recording.change {
        whole["differences"] = differences.iter().take(MOST_DIFFERENCES).map(of_difference).collect();
        whole["more_differences"] = json!(differences.len().saturating_sub(MOST_DIFFERENCES));
        whole["old"] = old.as_ref().map_or(Value::Null, |old| of_cassette(old, with_media));
    }
    whole
}

fn of_cassette(cassette: &Cassette, with_media: bool) -> Value {
    let of_response = |response: &RecordedResponse| {
        json!({
            "status": response.status.as_u16(),
            "reason": response.status.canonical_reason(),
            "headers": response.headers,
            "timing_ms": response.timing_ms,
            "usage": Usage::of(&cassette.request, response).as_ref().map(of_usage),
            "body": of_body(bytes(&response.body), with_media),
        })
    };
    let body = match &cassette.request.body {
        RecordedBody::Blob(blob) => of_body(bytes(blob), with_media),
        RecordedBody::Multipart(parts) => {
            let parts = parts.iter().map(|part| {
                json!({
                    "name": part.name,
                    "filename": part.filename,
                    "content_type": part.content_type,
                    "bytes": bytes(&part.content).len(),
                    "body": of_body(bytes(&part.content), with_media),
                })
            });
            json!({ "parts": parts.collect::<Vec<_>>() })
        }
    };
    json!({
        "key": cassette.key,
        "at": cassette.recorded.at,
        "by": cassette.recorded.by,
        "from": cassette.recorded.from,
        "test": cassette.recorded.test,
        "line": cassette.request.line(),
        "body": body,
        "responses": cassette.responses.iter().map(of_response).collect::<Vec<_>>(),
    })
}

/// Bodies in files have been brought back before.
fn bytes(blob: &Blob) -> &[u8] {
    match blob {
        Blob::Inline(bytes) => bytes,
        Blob::External { .. } => &[],
    }
}

/// A body: `null` for none, its text, or its bytes in base64; of what is large its size, and how it begins.
fn of_body(bytes: &[u8], with_media: bool) -> Value {
    if bytes.is_empty() {
        return Value::Null;
    }
    let Ok(text) = std::str::from_utf8(bytes) else {
        let base64 = STANDARD.encode(bytes);
        return match with_media || base64.len() <= MOST_MEDIA {
            true => json!({ "base64": base64 }),
            false => json!({ "left_out": bytes.len(), "base64": &base64[..KEPT] }),
        };
    };
    if with_media {
        return json!({ "text": text });
    }
    let text = without_media(text);
    match text.len() <= MOST_TEXT {
        true => json!({ "text": text }),
        false => json!({ "left_out": bytes.len() }),
    }
}

/// The text with a note in the place of each long run of base64.
fn without_media(text: &str) -> String {
    let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_' | b'=');
    let mut shorter = String::new();
    let mut copied = 0;
    let mut at = 0;
    // Every byte of base64 is a character of its own, so a run begins and ends at characters.
    while at < text.len() {
        let run = text.as_bytes()[at..].iter().take_while(|byte| is_base64(byte)).count();
        if run > MOST_MEDIA {
            shorter.push_str(&text[copied..at + KEPT]);
            shorter.push_str(&format!("[left out: {run} characters of base64]"));
            copied = at + run;
        }
        at += run.max(1);
    }
    shorter.push_str(&text[copied..]);
    shorter
}

fn of_difference(difference: &Difference) -> Value {
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
    for (side, text) in [("old", &difference.old), ("new", &difference.new)] {
        if let Some(text) = text {
            value[side] = json!(cut(&without_media(&text.to_string()), MOST_VALUE));
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_base64_is_left_out_and_nothing_else() {
        let long = "QUJD".repeat(MOST_MEDIA / 4 + 1);
        let text = format!(
            "{{\"é\":\"data:image/png;base64,{long}\",\"b\":\"{}\"}}",
            &long[..MOST_MEDIA]
        );
        let shorter = without_media(&text);
        assert_eq!(
            shorter,
            format!(
                "{{\"é\":\"data:image/png;base64,{}[left out: {} characters of base64]\",\"b\":\"{}\"}}",
                &long[..KEPT],
                long.len(),
                &long[..MOST_MEDIA]
            )
        );
        assert_eq!(without_media("ü"), "ü");
        assert_eq!(of_body(text.as_bytes(), true)["text"], json!(text));
    }

    #[test]
    fn large_bytes_are_a_note() {
        let body = of_body(&vec![0xff; MOST_MEDIA], false);
        assert_eq!(
            (&body["left_out"], body["base64"].as_str().map(str::len)),
            (&json!(MOST_MEDIA), Some(KEPT))
        );
        assert!(of_body(&vec![0xff; MOST_MEDIA], true)["left_out"].is_null());
        assert_eq!(
            of_body("word ".repeat(MOST_TEXT).as_bytes(), false)["left_out"],
            json!(5 * MOST_TEXT)
        );
        assert_eq!(of_body(b"", false), Value::Null);
    }
}
