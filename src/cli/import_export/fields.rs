//! Reads the members that most formats have in common: method, URL, status, headers, times, lists of interactions.

use jiff::Timestamp;
use serde_json::Value;

use super::body;
use super::interaction::{Headers, Interaction, SourceEntry};

/// Reads each item of the list `list` with `read`; `url` is the name of the member that holds the URL of a request.
pub(super) fn interactions(
    document: &Value,
    list: &str,
    url: &str,
    read: impl Fn(&Value) -> Result<Interaction, String>,
) -> Vec<SourceEntry> {
    let entry = |(at, interaction): (usize, &Value)| {
        let request = &interaction["request"];
        let named = [&request["method"], &request[url]];
        SourceEntry::new("interaction", at + 1, named, read(interaction))
    };
    let interactions = document[list].as_array().into_iter().flatten();
    interactions.enumerate().map(entry).collect()
}

/// Reads headers: an object of values or of lists of values, or a list of objects with `name` and `value`.
pub(super) fn headers(value: &Value) -> Result<Headers, String> {
    let mut headers = Headers::new();
    let mut add = |name: &str, value: &Value| {
        let text = match value {
            Value::Null => String::new(),
            value => body::text_of_scalar(value).ok_or_else(|| format!("the value of header {name} is not text"))?,
        };
        // Browsers save a repeated header as one value with several lines.
        headers.extend(text.split('\n').map(|line| (name.to_owned(), line.to_owned())));
        Ok::<_, String>(())
    };
    match value {
        Value::Null => {}
        Value::Object(members) => {
            for (name, value) in members {
                match value {
                    Value::Array(values) => values.iter().try_for_each(|value| add(name, value))?,
                    value => add(name, value)?,
                }
            }
        }
        Value::Array(pairs) => {
            for pair in pairs {
                add(pair["name"].as_str().unwrap_or_default(), &pair["value"])?;
            }
        }
        _ => return Err("the headers are neither an object nor a list".to_owned()),
    }
    // HTTP/2 pseudo-headers such as `:authority` are not headers.
    headers.retain(|(name, _)| !name.starts_with(':'));
    Ok(headers)
}

/// Reads the status of a response: a number, or text that begins with one. 0 means that there is no response.
pub(super) fn status(value: &Value) -> Result<u16, String> {
    let status = match value {
        Value::String(text) => text.split(' ').next().and_then(|code| code.parse().ok()),
        value => value.as_u64(),
    };
    match status {
        None | Some(0) => Err("the response has no status".to_owned()),
        Some(status) => u16::try_from(status).map_err(|_| format!("the HTTP status is invalid: {status}")),
    }
}

/// Reads a member that must be non-empty text; `name` names it in the error.
pub(super) fn required_text(value: &Value, name: &str) -> Result<String, String> {
    let text = value.as_str().filter(|text| !text.is_empty());
    text.map(str::to_owned)
        .ok_or_else(|| format!("the {name} of the request is missing"))
}

/// Parses a time in RFC 3339 or in the form of an HTTP header; a time without a zone is UTC.
pub(super) fn timestamp(text: &str) -> Option<Timestamp> {
    let from_header = || jiff::fmt::rfc2822::parse(text).ok().map(|zoned| zoned.timestamp());
    let without_zone = || {
        let time: jiff::civil::DateTime = text.trim_end_matches(" GMT").parse().ok()?;
        Some(time.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
    };
    text.parse().ok().or_else(from_header).or_else(without_zone)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_form_of_a_timestamp_is_read() {
        for text in [
            "2026-11-21T10:00:00Z",
            "2026-11-21T11:00:00.000+01:00",
            "Sat, 21 Nov 2026 10:00:00 GMT",
            "Sat, 21 Nov 2026 10:00:00 +0000",
            "2026-11-21T10:00:00",
            "2026-11-21 10:00:00 GMT",
        ] {
            assert_eq!(timestamp(text).unwrap().to_string(), "2026-11-21T10:00:00Z", "{text}");
        }
        assert_eq!(timestamp("yesterday"), None);
    }

    #[test]
    fn every_form_of_headers_is_read() {
        let expected = vec![
            ("a".to_owned(), "1".to_owned()),
            ("a".to_owned(), "2".to_owned()),
            ("b".to_owned(), "3".to_owned()),
        ];
        for value in [
            json!({ "a": ["1", "2"], "b": "3", ":authority": "x" }),
            json!({ "a": "1\n2", "b": 3 }),
            json!([{ "name": "a", "value": "1" }, { "name": "a", "value": "2" }, { "name": "b", "value": 3 }]),
        ] {
            assert_eq!(headers(&value).unwrap(), expected, "{value}");
        }
        assert_eq!(headers(&Value::Null).unwrap(), []);
        assert!(headers(&json!("a: 1")).is_err());
        assert!(headers(&json!({ "a": { "b": 1 } })).is_err());
    }

    #[test]
    fn a_status_is_a_number_or_text_that_begins_with_one() {
        assert_eq!(status(&json!(200)), Ok(200));
        assert_eq!(status(&json!("404 Not Found")), Ok(404));
        for invalid in [json!(0), json!(null), json!("OK"), json!(70_000)] {
            assert!(status(&invalid).is_err(), "{invalid}");
        }
    }
}
