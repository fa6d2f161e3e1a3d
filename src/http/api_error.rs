//! Errors of the API: the message in an error body.

use http::StatusCode;

use crate::diff::cut;
use crate::error::{Error, ErrorKind};

/// The error of a response or an event with an error body.
pub(crate) fn api_error(status: u16, body: &[u8]) -> Error {
    let shown = StatusCode::from_u16(status).map_or_else(|_| status.to_string(), |status| status.to_string());
    Error::new(
        ErrorKind::Api,
        format!("the API responded with {shown}: {}", message_in(body)),
    )
    .with_response(status, body)
}

/// The message in an error body: the member `message` or `detail`, of any type, also in `error`, or else the text of the
/// body.
pub(crate) fn message_in(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let value: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    let members = [
        "/message",
        "/error/message",
        "/response/error/message",
        "/error",
        "/detail",
    ];
    let found = members.iter().find_map(|member| match value.pointer(member)? {
        serde_json::Value::Null => None,
        serde_json::Value::String(message) => Some(message.clone()),
        other => Some(other.to_string()),
    });
    let message = found.unwrap_or_else(|| text.trim().to_owned());
    if message.is_empty() {
        return "(no body)".to_owned();
    }
    cut(&message, 500)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_of_an_error_is_its_message_or_detail_or_its_text() {
        assert_eq!(message_in(br#"{"message":"no","detail":"x"}"#), "no");
        assert_eq!(
            message_in(br#"{"message":null,"detail":[{"msg":"y"}]}"#),
            r#"[{"msg":"y"}]"#
        );
        assert_eq!(message_in(b" upstream connect error \n"), "upstream connect error");
        assert_eq!(message_in(b""), "(no body)");
    }
}
