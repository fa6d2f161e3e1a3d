//! go-vcr, in the forms of its versions 1 to 4: `body` is text or `!!binary`, `code` beside `status`, and a `duration`.

use bytes::Bytes;
use serde_json::Value;

use super::{Exchange, Found, Timing, body, headers, interactions, status, wanted};

pub(super) fn read(document: &Value) -> Vec<Found> {
    interactions(document, "interactions", "url", one)
}

fn one(interaction: &Value) -> Result<Exchange, String> {
    let (request, response) = (&interaction["request"], &interaction["response"]);
    let code = if response["code"].as_u64().unwrap_or_default() > 0 {
        &response["code"]
    } else {
        &response["status"]
    };
    let request_body: Bytes = body::bytes(&request["body"], "request")?;
    let has_form = request["form"].as_object().is_some_and(|form| !form.is_empty());
    if request_body.is_empty() && has_form {
        return Err("the body of its request was kept as form fields only".to_owned());
    }
    Ok(Exchange {
        method: wanted(&request["method"], "method")?,
        url: wanted(&request["url"], "URL")?,
        request_headers: headers(&request["headers"])?,
        request_body,
        status: status(code)?,
        response_headers: headers(&response["headers"])?,
        response_body: body::bytes(&response["body"], "response")?,
        timing: duration(&response["duration"]),
        ..Exchange::default()
    })
}

/// A duration as Go writes it (`1m2.5s`, `412.3ms`), or in nanoseconds.
fn duration(value: &Value) -> Timing {
    let milliseconds = match value {
        Value::Number(nanoseconds) => nanoseconds.as_f64().map(|nanoseconds| nanoseconds / 1e6),
        Value::String(text) => in_words(text),
        _ => None,
    };
    match milliseconds {
        Some(milliseconds) if milliseconds > 0.0 => Timing::Total(milliseconds.round() as u64),
        _ => Timing::Unknown,
    }
}

fn in_words(text: &str) -> Option<f64> {
    let (mut milliseconds, mut rest) = (0.0, text);
    while !rest.is_empty() {
        let (number, behind) =
            rest.split_at(rest.find(|character: char| character != '.' && !character.is_ascii_digit())?);
        let (unit, behind) = behind.split_at(
            behind
                .find(|character: char| character == '.' || character.is_ascii_digit())
                .unwrap_or(behind.len()),
        );
        let worth = match unit {
            "h" => 3_600_000.0,
            "m" => 60_000.0,
            "s" => 1000.0,
            "ms" => 1.0,
            "us" | "µs" | "μs" => 1e-3,
            "ns" => 1e-6,
            _ => return None,
        };
        milliseconds += number.parse::<f64>().ok()? * worth;
        rest = behind;
    }
    Some(milliseconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_read_as_go_writes_it() {
        for (text, milliseconds) in [("412.4ms", 412), ("1m2.5s", 62_500), ("2h0m0.001s", 7_200_001)] {
            assert_eq!(duration(&text.into()), Timing::Total(milliseconds));
        }
        assert_eq!(duration(&412_000_000.into()), Timing::Total(412));
        for unknown in ["", "0s", "long", "3 ms", "ms"] {
            assert_eq!(duration(&unknown.into()), Timing::Unknown);
        }
    }
}
