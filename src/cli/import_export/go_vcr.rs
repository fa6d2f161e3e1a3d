//! Reads cassettes of go-vcr, versions 1 to 4: `body` is text or `!!binary`; `code`, `status` and `duration` are
//! optional.

use bytes::Bytes;
use serde_json::Value;

use super::body;
use super::fields::{check_body_member, headers, interactions, required_text, status};
use super::interaction::{Interaction, SourceEntry, Timing};

const COMMON: [&str; 6] = [
    "proto",
    "proto_major",
    "proto_minor",
    "transfer_encoding",
    "trailer",
    "content_length",
];
const REQUEST: [&str; 7] = ["method", "url", "headers", "form", "host", "remote_addr", "request_uri"];
const RESPONSE: [&str; 5] = ["status", "code", "headers", "duration", "uncompressed"];

pub(super) fn read(document: &Value) -> Vec<SourceEntry> {
    interactions(document, "interactions", "url", read_interaction)
}

fn read_interaction(interaction: &Value) -> Result<Interaction, String> {
    let (request, response) = (&interaction["request"], &interaction["response"]);
    check_body_member(request, &["body"], &[&COMMON[..], &REQUEST].concat(), "request")?;
    check_body_member(response, &["body"], &[&COMMON[..], &RESPONSE].concat(), "response")?;
    let code = if response["code"].as_u64().unwrap_or_default() > 0 {
        &response["code"]
    } else {
        &response["status"]
    };
    let request_body: Bytes = body::bytes(&request["body"], "request")?;
    let has_form = request["form"].as_object().is_some_and(|form| !form.is_empty());
    if request_body.is_empty() && has_form {
        return Err("the request body is recorded only as form fields".to_owned());
    }
    Ok(Interaction {
        method: required_text(&request["method"], "method")?,
        url: required_text(&request["url"], "URL")?,
        request_headers: headers(&request["headers"])?,
        request_body,
        status: status(code)?,
        response_headers: headers(&response["headers"])?,
        response_body: body::bytes(&response["body"], "response")?,
        timing: timing(&response["duration"]),
        ..Interaction::default()
    })
}

/// Reads a duration: text in the form of Go (`1m2.5s`, `412.3ms`), or a number of nanoseconds.
fn timing(value: &Value) -> Timing {
    let milliseconds = match value {
        Value::Number(nanoseconds) => nanoseconds.as_f64().map(|nanoseconds| nanoseconds / 1e6),
        Value::String(text) => parse_go_duration(text),
        _ => None,
    };
    match milliseconds {
        Some(milliseconds) if milliseconds > 0.0 => Timing::Total(milliseconds.round() as u64),
        _ => Timing::Unknown,
    }
}

/// Parses a duration in the form of Go; the result is in milliseconds.
fn parse_go_duration(text: &str) -> Option<f64> {
    let (mut milliseconds, mut rest) = (0.0, text);
    while !rest.is_empty() {
        let (number, after) =
            rest.split_at(rest.find(|character: char| character != '.' && !character.is_ascii_digit())?);
        let (unit, after) = after.split_at(
            after
                .find(|character: char| character == '.' || character.is_ascii_digit())
                .unwrap_or(after.len()),
        );
        let factor = match unit {
            "h" => 3_600_000.0,
            "m" => 60_000.0,
            "s" => 1000.0,
            "ms" => 1.0,
            "us" | "µs" | "μs" => 1e-3,
            "ns" => 1e-6,
            _ => return None,
        };
        milliseconds += number.parse::<f64>().ok()? * factor;
        rest = after;
    }
    Some(milliseconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_durations_are_parsed() {
        for (text, milliseconds) in [("412.4ms", 412), ("1m2.5s", 62_500), ("2h0m0.001s", 7_200_001)] {
            assert_eq!(timing(&text.into()), Timing::Total(milliseconds));
        }
        assert_eq!(timing(&412_000_000.into()), Timing::Total(412));
        for unknown in ["", "0s", "long", "3 ms", "ms"] {
            assert_eq!(timing(&unknown.into()), Timing::Unknown);
        }
    }
}
