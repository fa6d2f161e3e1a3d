//! Headers that are not passed on: those of one connection, and those for mistral-cassette itself.

use http::{HeaderMap, HeaderName, header};

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

/// The content type, when it is visible ASCII.
pub(crate) fn content_type(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::CONTENT_TYPE)?.to_str().ok()
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

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

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
