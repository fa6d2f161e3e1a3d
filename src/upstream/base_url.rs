//! Checks the base URL of the API.

use std::net::IpAddr;

use reqwest::Url;

use crate::error::{Error, ErrorKind, Result};

/// Parses a base URL and removes a `/v1` at its end, since request paths include the version.
///
/// # Errors
/// [`ErrorKind::Settings`] if the text is not a URL, is not HTTP, or has a query or a fragment.
pub(super) fn parse_base_url(base_url: &str) -> Result<Url> {
    let invalid = |reason: &str| {
        // Credentials precede an @ and must not appear in a message.
        let shown = base_url
            .rsplit_once('@')
            .map_or(base_url.to_owned(), |(_, host)| format!("…@{host}"));
        Error::new(
            ErrorKind::Settings,
            format!("invalid base URL of the API: {reason}: {shown:?}"),
        )
        .with_hint("give the scheme and the host, for example https://api.mistral.ai")
    };
    let mut url: Url = base_url
        .parse()
        .map_err(|error| invalid("it is not a URL").with_source(error))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(invalid("it must start with http:// or https://"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(invalid("it must not have a query or a fragment"));
    }
    let path = url.path().trim_end_matches('/');
    let path = path.strip_suffix("/v1").unwrap_or(path).to_owned();
    url.set_path(&path);
    Ok(url)
}

/// Returns the URL without credentials and without a slash at its end.
pub(super) fn origin_of(url: &Url) -> String {
    let mut shown = url.clone();
    // These calls fail only for a URL that cannot have credentials.
    let _ = shown.set_username("");
    let _ = shown.set_password(None);
    shown.as_str().trim_end_matches('/').to_owned()
}

/// Whether an origin is the public API, in any of its regions.
pub(super) fn is_public_api(origin: &str) -> bool {
    let url = origin.parse::<Url>().ok();
    url.as_ref()
        .and_then(Url::host_str)
        .is_some_and(|host| host == "mistral.ai" || host.ends_with(".mistral.ai"))
}

/// Whether the host is this machine.
pub(super) fn is_local(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    address.map_or(host == "localhost", |address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_hosts_are_local() {
        for (url, expected) in [
            ("http://127.0.0.1:1", true),
            ("http://[::1]:1", true),
            ("http://localhost", true),
            ("https://api.mistral.ai", false),
            ("http://localhost.example.com", false),
            ("http://192.168.0.1", false),
        ] {
            assert_eq!(is_local(&url.parse().unwrap()), expected, "{url}");
        }
    }

    #[test]
    fn the_version_and_trailing_slashes_are_removed() {
        for (given, expected) in [
            ("https://api.mistral.ai", "https://api.mistral.ai/"),
            ("https://api.mistral.ai/v1", "https://api.mistral.ai/"),
            ("https://api.mistral.ai/v1/", "https://api.mistral.ai/"),
            ("http://gateway.test/mistral/v1", "http://gateway.test/mistral"),
        ] {
            assert_eq!(parse_base_url(given).unwrap().as_str(), expected, "{given}");
        }
    }

    #[test]
    fn invalid_base_urls_are_refused_without_showing_credentials() {
        for (given, reason) in [
            ("api.mistral.ai", "it is not a URL"),
            ("ftp://a.test", "it must start with http:// or https://"),
            ("https://a.test/?a=1", "it must not have a query or a fragment"),
            ("https://a.test/#a", "it must not have a query or a fragment"),
        ] {
            let error = parse_base_url(given).unwrap_err();
            assert!(error.message().contains(reason), "{given}: {error}");
        }
        let error = parse_base_url("ftp://user:secret@a.test").unwrap_err();
        assert!(!error.report().contains("secret"), "{error}");
    }

    #[test]
    fn the_public_api_is_known_by_its_host() {
        for (origin, is_public) in [
            ("https://api.mistral.ai", true),
            ("https://api.eu.mistral.ai/x", true),
            ("https://API.MISTRAL.AI", true),
            ("https://notmistral.ai", false),
            ("http://127.0.0.1:1/api.mistral.ai", false),
        ] {
            assert_eq!(is_public_api(origin), is_public, "{origin}");
        }
    }

    #[test]
    fn the_origin_has_no_credentials() {
        let url = parse_base_url("https://user:secret@gateway.test/mistral/").unwrap();
        assert_eq!(origin_of(&url), "https://gateway.test/mistral");
    }
}
