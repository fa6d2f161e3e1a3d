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

/// Reads headers: an object of values or of lists of values, or a list of objects with `name` and `value`, which can be
/// a list too.
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
                let name = pair["name"].as_str().unwrap_or_default();
                match &pair["value"] {
                    Value::Array(values) => values.iter().try_for_each(|value| add(name, value))?,
                    value => add(name, value)?,
                }
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

/// Whether a response with this status to a request with this method can have a body.
pub(super) fn can_have_body(status: u16, method: &str) -> bool {
    !matches!(status, 101 | 204 | 205 | 304) && !method.eq_ignore_ascii_case("HEAD")
}

/// Reads a member that must be non-empty text; `name` names it in the error.
pub(super) fn required_text(value: &Value, name: &str) -> Result<String, String> {
    let text = value.as_str().filter(|text| !text.is_empty());
    text.map(str::to_owned)
        .ok_or_else(|| format!("the {name} of the request is missing"))
}

/// The first member of an object that is not in `known`. Members without a value, and those of an extension, whose names
/// begin with an underscore, are ignored.
pub(super) fn unknown_member<'a>(object: &'a Value, known: &[&str]) -> Option<&'a str> {
    let has_value = |value: &Value| !value.is_null() && value.as_array().is_none_or(|items| !items.is_empty());
    let mut members = object.as_object().into_iter().flatten();
    let unknown =
        members.find(|(name, value)| has_value(value) && !name.starts_with('_') && !known.contains(&name.as_str()));
    unknown.map(|(name, _)| name.as_str())
}

/// Fails when an object has a member that is not in `known`; `what` names the object in the error.
pub(super) fn check_members(object: &Value, known: &[&str], what: &str) -> Result<(), String> {
    match unknown_member(object, known) {
        Some(name) => Err(format!("{what} has an unknown member: {name}")),
        None => Ok(()),
    }
}

/// Fails when a pattern for requests has a member that does not name one value.
pub(super) fn check_no_pattern(request: &Value, known: &[&str]) -> Result<(), String> {
    match unknown_member(request, known) {
        Some(name) => Err(format!(
            "requests are matched by {name}, so the file has no complete request"
        )),
        None => Ok(()),
    }
}

/// Fails when a message has none of the members `body` and a member that is in neither list: that member may be the
/// body. `side` is `request` or `response`.
pub(super) fn check_body_member(message: &Value, body: &[&str], other: &[&str], side: &str) -> Result<(), String> {
    if body.iter().any(|name| !message[*name].is_null()) {
        return Ok(());
    }
    check_members(message, other, &format!("the {side} has no body, and it"))
}

/// Parses a time in RFC 3339, in a form of YAML or in that of an HTTP header; a time without a zone is UTC.
pub(super) fn timestamp(text: &str) -> Option<Timestamp> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let text = &*words.join(" ");
    let from_header = || jiff::fmt::rfc2822::parse(text).ok().map(|zoned| zoned.timestamp());
    text.parse()
        .ok()
        .or_else(from_header)
        .or_else(|| spaced_timestamp(text))
}

/// Parses a time with a blank before its zone: `2026-11-21 10:00:00.000000000 +02:00`, `2026-11-21 10:00:00 UTC`.
fn spaced_timestamp(text: &str) -> Option<Timestamp> {
    // The last word is the zone if the time is before it.
    let (time, zone) = match text.rsplit_once(' ') {
        Some((time, zone)) if time.contains(':') => (time, zone),
        _ => (text, "UTC"),
    };
    let time: jiff::civil::DateTime = time.parse().ok()?;
    let offset = match zone {
        "Z" | "z" | "UTC" | "GMT" => jiff::tz::Offset::UTC,
        zone => offset(zone)?,
    };
    offset.to_timestamp(time).ok()
}

/// Parses an offset from UTC: `+02:00`, `-0700`, `+2`.
fn offset(text: &str) -> Option<jiff::tz::Offset> {
    let digits = text.strip_prefix(['+', '-'])?;
    let (hours, minutes) = match digits.split_once(':') {
        Some(parts) => parts,
        None if digits.len() == 4 => digits.split_at_checked(2)?,
        None => (digits, "0"),
    };
    let seconds = hours.parse::<u16>().ok()? as i32 * 3600 + minutes.parse::<u16>().ok()? as i32 * 60;
    jiff::tz::Offset::from_seconds(if text.starts_with('-') { -seconds } else { seconds }).ok()
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
            "2026-11-21 12:00:00.000000000 +02:00",
            "2026-11-21 12:00:00 +0200",
            "2026-11-21 08:30:00.5 -1:30",
            "2026-11-21 05:00:00 -5",
            "2026-11-21  10:00:00 Z",
            "2026-11-21 10:00:00.000000000 Z",
            "2026-11-21 10:00:00 UTC",
            "2026-11-21T12:00:00 +02:00",
        ] {
            let seconds = timestamp(text).map(|time| time.as_second());
            assert_eq!(seconds, Some(1_795_255_200), "{text}");
        }
        for text in [
            "yesterday",
            "2026-11-21 10:00:00 +2x",
            "2026-11-21 10:00:00 noon",
            "10:00:00 Z",
        ] {
            assert_eq!(timestamp(text), None, "{text}");
        }
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
            json!([{ "name": "a", "value": ["1", "2"] }, { "name": "b", "value": ["3"] }]),
        ] {
            assert_eq!(headers(&value).unwrap(), expected, "{value}");
        }
        assert_eq!(headers(&Value::Null).unwrap(), []);
        assert!(headers(&json!("a: 1")).is_err());
        assert!(headers(&json!({ "a": { "b": 1 } })).is_err());
    }

    #[test]
    fn an_unknown_member_is_an_error_where_it_can_be_the_body() {
        let check = |message: Value| check_body_member(&message, &["body"], &["method"], "response");
        assert_eq!(check(json!({ "method": "GET", "_note": 1, "text": null })), Ok(()));
        assert_eq!(check(json!({ "body": "", "text": "x" })), Ok(()));
        let unknown = Err("the response has no body, and it has an unknown member: text".to_owned());
        assert_eq!(check(json!({ "body": null, "text": "x" })), unknown);
        let problem = check_members(&json!({ "bdy": "x" }), &["body"], "the request");
        assert_eq!(problem, Err("the request has an unknown member: bdy".to_owned()));
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
