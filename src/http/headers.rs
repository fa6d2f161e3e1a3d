//! Headers that are not passed on: those of one connection, and those for mistral-cassette itself.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, HeaderValue, header};

/// Headers of one connection (RFC 9110, section 7.6.1) or of one browser.
const CONNECTION_HEADERS: [&str; 11] = [
    "connection",
    "content-length",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Request headers with this prefix control mistral-cassette. The request key ignores them, and the upstream never
/// receives them.
const CONTROL_PREFIX: &str = "mistral-cassette-";

/// Whether a header, by its name in lower case, belongs to one connection or one browser.
pub(crate) fn is_connection_header(name: &str) -> bool {
    CONNECTION_HEADERS.contains(&name)
}

/// Removes hop-by-hop headers, those that `Connection` names, and `Set-Cookie`.
pub(crate) fn strip_connection_headers(headers: &mut HeaderMap) {
    let named: Vec<String> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(',').map(|name| name.trim().to_ascii_lowercase()))
        .collect();
    let is_removed = |name: &str| is_connection_header(name) || named.iter().any(|named| named == name);
    let removed: Vec<HeaderName> = headers
        .keys()
        .filter(|name| is_removed(name.as_str()))
        .cloned()
        .collect();
    for name in removed {
        headers.remove(name);
    }
}

/// Removes the headers of a response that are not passed on. `content-length` is removed, because a body ends when its
/// recording is saved and not with its last byte; it stays in the response to `HEAD`, which has no body.
pub(crate) fn strip_response_headers(headers: &mut HeaderMap, method: &str) {
    let length = headers
        .get(header::CONTENT_LENGTH)
        .filter(|_| method == "HEAD")
        .cloned();
    strip_connection_headers(headers);
    if let Some(length) = length {
        headers.insert(header::CONTENT_LENGTH, length);
    }
}

/// A byte from 0x80 on of a header value that is not UTF-8 is represented by the private-use character U+F700 plus the
/// byte.
const BYTE_BASE: u32 = 0xf700;

/// A header value as text, without loss: UTF-8 as it is. In a value that is not UTF-8, which is usually Latin-1, each byte
/// from 0x80 on becomes the private-use character U+F700 plus the byte.
pub(crate) fn header_text(value: &HeaderValue) -> Cow<'_, str> {
    let is_byte = |character: char| (BYTE_BASE + 0x80..=BYTE_BASE + 0xff).contains(&u32::from(character));
    match std::str::from_utf8(value.as_bytes()) {
        Ok(text) if !text.contains(is_byte) => Cow::Borrowed(text),
        _ => Cow::Owned(value.as_bytes().iter().map(|byte| text_of(*byte)).collect()),
    }
}

fn text_of(byte: u8) -> char {
    let code = if byte.is_ascii() { 0 } else { BYTE_BASE };
    char::from_u32(code + u32::from(byte)).unwrap_or(char::REPLACEMENT_CHARACTER)
}

/// The header value of a text that [`header_text`] has returned, or `None` if it is not valid in a header.
pub(crate) fn header_value(text: &str) -> Option<HeaderValue> {
    let mut bytes = Vec::with_capacity(text.len());
    for character in text.chars() {
        match u32::from(character).checked_sub(BYTE_BASE) {
            Some(byte @ 0x80..=0xff) => bytes.push(u8::try_from(byte).ok()?),
            _ => bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    HeaderValue::from_bytes(&bytes).ok()
}

/// The content type, when it is visible ASCII.
pub(crate) fn content_type(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::CONTENT_TYPE)?.to_str().ok()
}

/// The media type in a content type, without its parameters.
pub(crate) fn media_type(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or_default().trim()
}

/// Whether a content type is JSON: `application/json`, or a type whose name ends with `+json`.
pub(crate) fn is_json(content_type: Option<&str>) -> bool {
    let media_type = media_type(content_type.unwrap_or_default()).to_ascii_lowercase();
    media_type == "application/json" || media_type.ends_with("+json")
}

/// The names of the headers that control mistral-cassette.
pub(crate) fn control_headers(headers: &HeaderMap) -> Vec<HeaderName> {
    let is_control = |name: &&HeaderName| name.as_str().starts_with(CONTROL_PREFIX);
    headers.keys().filter(is_control).cloned().collect()
}

/// Removes the headers that control mistral-cassette.
pub(crate) fn strip_control_headers(headers: &mut HeaderMap) {
    for name in control_headers(headers) {
        headers.remove(name);
    }
}

/// Whether a request asks for a WebSocket.
pub(crate) fn is_websocket(headers: &HeaderMap) -> bool {
    let upgrade = headers.get(header::UPGRADE).and_then(|value| value.to_str().ok());
    upgrade.is_some_and(|upgrade| {
        let mut protocols = upgrade.split(',');
        protocols.any(|protocol| protocol.trim().eq_ignore_ascii_case("websocket"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_values_are_texts_without_loss() {
        for (bytes, text) in [
            (&b"a \"b\""[..], "a \"b\""),
            ("r\u{e9}sum\u{e9}".as_bytes(), "r\u{e9}sum\u{e9}"),
            (b"r\xe9sum\xe9 \xff\x80", "r\u{f7e9}sum\u{f7e9} \u{f7ff}\u{f780}"),
            ("\u{f7e9}".as_bytes(), "\u{f7ef}\u{f79f}\u{f7a9}"),
            ("\u{1f600}\t\u{f700}".as_bytes(), "\u{1f600}\t\u{f700}"),
        ] {
            let value = HeaderValue::from_bytes(bytes).unwrap();
            assert_eq!(header_text(&value), text);
            assert_eq!(header_value(text), Some(value));
        }
        assert_eq!(header_value("a\nb"), None);
    }

    #[test]
    fn only_a_response_to_head_keeps_its_length() {
        let length = |method| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("1"));
            headers.insert(header::SET_COOKIE, HeaderValue::from_static("a=b"));
            strip_response_headers(&mut headers, method);
            headers.len()
        };
        assert_eq!((length("HEAD"), length("GET")), (1, 0));
    }

    #[test]
    fn hop_by_hop_headers_and_cookies_are_stripped() {
        let mut headers = HeaderMap::new();
        headers.insert("connection", HeaderValue::from_static("keep-alive, X-Private"));
        headers.insert("x-private", HeaderValue::from_static("1"));
        headers.insert("set-cookie", HeaderValue::from_static("a=b"));
        headers.insert("x-trace", HeaderValue::from_static("1"));
        strip_connection_headers(&mut headers);
        assert_eq!(
            headers.keys().map(|name| name.as_str()).collect::<Vec<_>>(),
            ["x-trace"]
        );
    }

    #[test]
    fn control_headers_are_stripped() {
        let mut headers = HeaderMap::new();
        headers.insert("mistral-cassette-pace", HeaderValue::from_static("2x"));
        headers.insert("x-trace", HeaderValue::from_static("1"));
        strip_control_headers(&mut headers);
        assert_eq!(
            headers.keys().map(|name| name.as_str()).collect::<Vec<_>>(),
            ["x-trace"]
        );
    }
}
