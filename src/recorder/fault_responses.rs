//! The responses and the errors that injected faults produce.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde_json::json;

use crate::error::{Error, ErrorKind};
use crate::http::{Response, StreamFormat, is_done};
use crate::settings::faults::Fault;

/// The response header that names the injected fault.
const INJECTED: HeaderName = HeaderName::from_static("mistral-cassette-injected");

/// An error response in the API's format.
pub(crate) fn error_response(status: StatusCode) -> Response {
    let (message, kind, code) = match status.as_u16() {
        401 | 403 => ("Unauthorized", "unauthorized", None),
        429 => ("Rate limit exceeded", "rate_limited", Some("1300")),
        500.. => ("Service unavailable.", "internal_server_error", Some("1000")),
        _ => ("Invalid request", "invalid_request_error", None),
    };
    let body = json!({
        "object": "error",
        "message": format!("{message} (injected by mistral-cassette)"),
        "type": kind,
        "param": null,
        "code": code,
        "raw_status_code": status.as_u16(),
    });
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    name_fault(&mut headers, Fault::Status(status));
    Response::new(status, body.to_string().into_bytes()).headers(headers)
}

/// Adds the header that names the injected fault.
pub(crate) fn name_fault(headers: &mut HeaderMap, fault: Fault) {
    if let Ok(value) = HeaderValue::from_str(&fault.to_string()) {
        headers.insert(INJECTED, value);
    }
}

/// The error of a connection that closes in the middle of the body ([`Fault::Cut`]) or before the response.
pub(crate) fn connection_error(fault: Fault) -> Error {
    let message = match fault {
        Fault::Cut => "the connection was closed in the middle of the response (injected by mistral-cassette)",
        _ => "the connection was closed before the response (injected by mistral-cassette)",
    };
    Error::new(ErrorKind::Upstream, message).with_injected()
}

/// A body that cannot be parsed: the first half of the JSON, or a stream whose middle event is cut to its first half.
pub(crate) fn malformed(body: &Bytes, format: Option<StreamFormat>) -> Bytes {
    let Some(format) = format else {
        return first_half(body);
    };
    let mut splitter = format.splitter();
    let mut events = splitter.push(body);
    events.extend(splitter.rest());
    let content_events = events.iter().filter(|event| !is_done(event)).count();
    if let Some(event) = events.get_mut(content_events / 2) {
        *event = match format {
            StreamFormat::Events => [&first_half(event)[..], b"\n\n"].concat().into(),
            StreamFormat::Frames => event.slice(..event.len() / 2),
        };
    }
    events.concat().into()
}

/// The first half, shortened to a character boundary.
pub(crate) fn first_half(bytes: &Bytes) -> Bytes {
    let mut end = bytes.len() / 2;
    while end > 0 && bytes[end] & 0xc0 == 0x80 {
        end -= 1;
    }
    bytes.slice(..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_malformed_body_ends_at_a_character_boundary() {
        let json = Bytes::from("{\"a\":\"éé\"}");
        assert_eq!(malformed(&json, None), "{\"a\":\"");
        let stream = Bytes::from("data: {\"n\":1}\n\ndata: {\"n\":2}\n\ndata: {\"n\":3}\n\ndata: [DONE]\n\n");
        assert_eq!(
            malformed(&stream, Some(StreamFormat::Events)),
            "data: {\"n\":1}\n\ndata: {\n\ndata: {\"n\":3}\n\ndata: [DONE]\n\n"
        );
        assert_eq!(
            malformed(&Bytes::from("data: [DONE]\n\n"), Some(StreamFormat::Events)),
            "data: [\n\n"
        );
    }
}
