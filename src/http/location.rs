//! Locations in responses: those that point at the API itself become relative, so that a client stays behind its proxy.

use http::{HeaderMap, HeaderName, HeaderValue, header};
use reqwest::Url;

/// The headers that contain a location.
pub(crate) const LOCATION_HEADERS: [HeaderName; 2] = [header::LOCATION, header::CONTENT_LOCATION];

/// Makes locations that point at the API relative: `https://api.mistral.ai/v1/libraries` becomes `/v1/libraries`. `base_url`
/// is the base URL of the API, and `target` the path and query of the request. Locations elsewhere, such as signed storage
/// URLs, stay. The scheme does not matter: behind a load balancer many servers name `http`.
pub(crate) fn make_locations_relative(headers: &mut HeaderMap, base_url: &str, target: &str) {
    for name in LOCATION_HEADERS {
        let Some(location) = headers.get(&name).and_then(|value| value.to_str().ok()) else {
            continue;
        };
        if let Some(relative) = relative(location, base_url, target)
            && let Ok(value) = HeaderValue::from_str(&relative)
        {
            headers.insert(name, value);
        }
    }
}

fn relative(location: &str, base_url: &str, target: &str) -> Option<String> {
    let base: Url = base_url.parse().ok()?;
    let base_path = base.path().trim_end_matches('/');
    let requested: Url = format!("{}{target}", base_url.trim_end_matches('/')).parse().ok()?;
    let resolved = requested.join(location).ok()?;
    if resolved.host() != base.host() || resolved.port() != base.port() {
        return None;
    }
    let path = resolved
        .path()
        .strip_prefix(base_path)
        .filter(|path| path.starts_with('/'))?;
    let mut relative = path.to_owned();
    if let Some(query) = resolved.query() {
        relative.push('?');
        relative.push_str(query);
    }
    if let Some(fragment) = resolved.fragment() {
        relative.push('#');
        relative.push_str(fragment);
    }
    // Two slashes would name another host.
    (!relative.starts_with("//")).then_some(relative)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_locations_at_the_api_become_relative() {
        const API: &str = "https://api.mistral.ai";
        const GATEWAY: &str = "http://gateway.test:8080/mistral/";
        for (location, base, expected) in [
            ("https://api.mistral.ai/v1/libraries", API, "/v1/libraries"),
            (
                "http://api.mistral.ai/v1/libraries?a=b%2F#c",
                API,
                "/v1/libraries?a=b%2F#c",
            ),
            ("HTTPS://API.Mistral.AI:443/v1/x", API, "/v1/x"),
            ("/v1/x", API, "/v1/x"),
            ("x?page=2", API, "/v1/a/x?page=2"),
            ("../x", API, "/v1/x"),
            (
                "https://api.mistral.ai:8443/v1/x",
                API,
                "https://api.mistral.ai:8443/v1/x",
            ),
            (
                "https://storage.test/f?signature=1",
                API,
                "https://storage.test/f?signature=1",
            ),
            ("//storage.test/f", API, "//storage.test/f"),
            (
                "https://api.mistral.ai//evil.test/f",
                API,
                "https://api.mistral.ai//evil.test/f",
            ),
            ("http://gateway.test:8080/mistral/v1/x", GATEWAY, "/v1/x"),
            (
                "http://gateway.test:8080/other/v1/x",
                GATEWAY,
                "http://gateway.test:8080/other/v1/x",
            ),
            ("http://[", API, "http://["),
        ] {
            let mut headers = HeaderMap::new();
            for name in LOCATION_HEADERS {
                headers.insert(name, HeaderValue::from_str(location).unwrap());
            }
            make_locations_relative(&mut headers, base, "/v1/a/b?c");
            for name in LOCATION_HEADERS {
                assert_eq!(headers[name], expected, "{location}");
            }
        }
    }
}
