//! Which requests the page answers: those of its own page, at an address that only this process and the user know.
//!
//! Every page in a browser on this machine can send requests to the port, but no other page knows the token. A page whose own
//! name resolves to this machine (DNS rebinding) sends that name as `Host`. No script can set `Host`, `Origin` or
//! `Sec-Fetch-Site`.

use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::request::Parts;
use http::{Method, StatusCode, header};

use crate::error::{Error, ErrorKind, Result};
use crate::hash::sha256;

/// A path that nobody can guess: 128 random bits.
#[derive(Clone, Debug)]
pub(super) struct Token(String);

impl Token {
    pub(super) fn new() -> Result<Self> {
        let mut bytes = [0; 16];
        let random = rustls::crypto::ring::default_provider().secure_random;
        random.fill(&mut bytes).map_err(|_| {
            Error::new(
                ErrorKind::Internal,
                "the system has no random numbers for the address of the page",
            )
        })?;
        Ok(Self(URL_SAFE_NO_PAD.encode(bytes)))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// Compares hashes, so that the time says nothing about the token.
    fn is(&self, other: &str) -> bool {
        sha256(self.0.as_bytes()) == sha256(other.as_bytes())
    }
}

/// A request that is not answered: the status and the reason.
pub(super) type Refused = (StatusCode, &'static str);

/// What the page of this address and token checks.
#[derive(Clone, Debug)]
pub(super) struct Guard {
    hosts: [String; 2],
    token: Token,
}

impl Guard {
    pub(super) fn new(address: SocketAddr, token: Token) -> Self {
        let port = address.port();
        Self {
            hosts: [format!("127.0.0.1:{port}"), format!("localhost:{port}")],
            token,
        }
    }

    /// Returns the path behind the token.
    pub(super) fn check<'a>(&self, head: &'a Parts) -> Result<&'a str, Refused> {
        let all = |name| {
            head.headers
                .get_all(name)
                .iter()
                .map(|value| value.as_bytes())
                .collect::<Vec<_>>()
        };
        let [host] = *all(header::HOST) else {
            return Err((StatusCode::BAD_REQUEST, "a request must have exactly one Host header"));
        };
        if !self.hosts.iter().any(|own| own.as_bytes() == host) || head.uri.authority().is_some() {
            return Err((StatusCode::MISDIRECTED_REQUEST, "this page has another address"));
        }
        let own_origin = [b"http://", host].concat();
        if all(header::ORIGIN).iter().any(|origin| *origin != own_origin) {
            return Err((StatusCode::FORBIDDEN, "another site may not read this page"));
        }
        // `none`: the user has entered the address.
        let site = |site: &&[u8]| !matches!(*site, b"same-origin" | b"none");
        if all(header::HeaderName::from_static("sec-fetch-site")).iter().any(site) {
            let message = "a link on another site leads here: copy the address into the address bar of the browser";
            return Err((StatusCode::FORBIDDEN, message));
        }
        if head.method != Method::GET {
            return Err((StatusCode::METHOD_NOT_ALLOWED, "this page can only be read"));
        }
        let path = head.uri.path().strip_prefix('/').and_then(|path| path.split_once('/'));
        match path {
            Some((token, path)) if self.token.is(token) => Ok(path),
            _ => Err((
                StatusCode::NOT_FOUND,
                "there is no such page: the address is that of another session",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: (&str, &str) = ("host", "127.0.0.1:8080");

    fn status(method: &str, target: &str, headers: &[(&str, &str)]) -> u16 {
        let token = Token("secret".to_owned());
        let guard = Guard::new("127.0.0.1:8080".parse().unwrap(), token);
        let mut request = http::Request::builder().method(method).uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        guard.check(&head).map_or_else(|(status, _)| status.as_u16(), |_| 200)
    }

    #[test]
    fn only_the_own_address_and_token_are_answered() {
        for host in ["127.0.0.1:8080", "localhost:8080"] {
            assert_eq!(status("GET", "/secret/", &[("host", host)]), 200, "{host}");
        }
        for host in [
            "127.0.0.1",
            "127.0.0.1:80",
            "127.0.0.2:8080",
            "[::1]:8080",
            "evil.test:8080",
            "LOCALHOST:8080",
            "",
        ] {
            assert_eq!(status("GET", "/secret/", &[("host", host)]), 421, "{host}");
        }
        assert_eq!(status("GET", "/secret/", &[]), 400);
        assert_eq!(status("GET", "/secret/", &[HOST, HOST]), 400);
        assert_eq!(status("GET", "http://127.0.0.1:8080/secret/", &[HOST]), 421);
        for path in [
            "/",
            "/secret",
            "/secre/",
            "/secrets/",
            "//secret/",
            "/SECRET/",
            "/events",
        ] {
            assert_eq!(status("GET", path, &[HOST]), 404, "{path}");
        }
        for method in ["POST", "PUT", "DELETE", "OPTIONS", "HEAD", "CONNECT"] {
            assert_ne!(status(method, "/secret/", &[HOST]), 200, "{method}");
        }
    }

    #[test]
    fn other_sites_are_refused() {
        for origin in [
            "null",
            "https://127.0.0.1:8080",
            "http://127.0.0.1:8081",
            "http://localhost:8080",
            "http://evil.test",
            "",
        ] {
            assert_eq!(
                status("GET", "/secret/events", &[HOST, ("origin", origin)]),
                403,
                "{origin}"
            );
        }
        assert_eq!(
            status("GET", "/secret/events", &[HOST, ("origin", "http://127.0.0.1:8080")]),
            200
        );
        for (site, expected) in [
            ("same-origin", 200),
            ("none", 200),
            ("same-site", 403),
            ("cross-site", 403),
            ("", 403),
        ] {
            assert_eq!(
                status("GET", "/secret/", &[HOST, ("sec-fetch-site", site)]),
                expected,
                "{site}"
            );
        }
    }

    #[test]
    fn a_token_has_128_bits_and_is_new_each_time() {
        let [first, second] = [(); 2].map(|()| Token::new().unwrap());
        assert_eq!(first.as_str().len(), 22);
        assert!(!first.is(second.as_str()) && first.is(&first.0));
    }
}
