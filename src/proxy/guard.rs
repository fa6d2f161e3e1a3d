//! Who may ask: the names by which the proxy may be called, and the web pages that may call it.
//!
//! A proxy on this machine can be reached by every web page that a browser on this machine shows. A page whose host name
//! is pointed at 127.0.0.1 (DNS rebinding) gives itself away by the `Host` that the browser sends, any other page by `Origin` or
//! `Sec-Fetch-Site`, which no script can set.

use std::net::{IpAddr, SocketAddr};

use http::request::Parts;
use http::uri::Authority;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version, header};

use super::response::{AnswerBody, Refusal};
use crate::error::{Error, ErrorKind, Result};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// How long a browser may remember that it may ask, in seconds.
const REMEMBERED: HeaderValue = HeaderValue::from_static("600");

/// The hosts and origins that may ask, beside those of this machine.
#[derive(Clone, Debug, Default)]
pub(super) struct Guard {
    /// The address with its port, which most callers name.
    address: String,
    hosts: Vec<String>,
    origins: Vec<String>,
    /// Whether it listens on all addresses of this machine, and may be called by any of them.
    any_address: bool,
}

impl Guard {
    /// Lets callers use this name or address, without a port.
    pub(super) fn allow_host(&mut self, name: &str) -> Result<()> {
        let is_name = name
            .parse::<Authority>()
            .is_ok_and(|authority| authority.as_str() == authority.host() && !name.contains('*'));
        if !is_name {
            return Err(
                Error::new(ErrorKind::Settings, format!("{name:?} is no name of a host"))
                    .with_hint("give it without scheme and port, as in host.docker.internal"),
            );
        }
        self.hosts.push(plain(name));
        Ok(())
    }

    /// Lets the pages of this origin ask.
    pub(super) fn allow_origin(&mut self, origin: &str) -> Result<()> {
        let trimmed = origin.trim_end_matches('/').to_ascii_lowercase();
        let is_origin = trimmed
            .split_once("://")
            .is_some_and(|(scheme, host)| !scheme.is_empty() && host.parse::<Authority>().is_ok());
        if !is_origin {
            return Err(
                Error::new(ErrorKind::Settings, format!("{origin:?} is no origin of web pages"))
                    .with_hint("give scheme and host, and the port if it has one, as in https://app.example.com"),
            );
        }
        self.origins.push(trimmed);
        Ok(())
    }

    /// Lets callers use what the proxy was told to listen on.
    pub(super) fn listens_on(&mut self, listen: &str, address: SocketAddr) {
        self.any_address = address.ip().is_unspecified();
        self.address = address.to_string();
        self.hosts.push(address.ip().to_string());
        if let Some((name, _)) = listen.rsplit_once(':') {
            self.hosts.push(plain(name));
        }
    }

    /// Whether a request may be answered; the origin of the page that asks, if one does.
    pub(super) fn admit(&self, head: &Parts) -> Result<Option<HeaderValue>, Refusal> {
        self.check_host(head)?;
        self.check_origin(&head.headers)
    }

    fn check_host(&self, head: &Parts) -> Result<(), Refusal> {
        // It is told what to do instead, and asks nothing.
        if head.method == Method::CONNECT {
            return Ok(());
        }
        let mut hosts = head.headers.get_all(header::HOST).iter();
        let host = hosts.next();
        if hosts.next().is_some() || (host.is_none() && head.version >= Version::HTTP_11) {
            return Err(Refusal::new(
                StatusCode::BAD_REQUEST,
                Error::new(ErrorKind::Request, "a request has one Host header"),
            ));
        }
        let host = host.map(|host| String::from_utf8_lossy(host.as_bytes()));
        // A target with a host counts as well.
        let target = head.uri.authority().map(|authority| authority.as_str().into());
        for called in host.into_iter().chain(target).filter(|called| *called != self.address) {
            let name = called
                .parse::<Authority>()
                .ok()
                .map(|authority| plain(authority.host()));
            let is_ours = name.is_some_and(|name| self.is_ours(&name)) && !called.contains('@');
            if !is_ours {
                let what = format!("this proxy does not answer for the host {called:?}");
                return Err(Refusal::new(
                    StatusCode::MISDIRECTED_REQUEST,
                    Error::new(ErrorKind::Request, what).with_hint(
                        "call it by 127.0.0.1 or localhost, or allow the name: --allow-host, ProxyBuilder::allow_host",
                    ),
                ));
            }
        }
        Ok(())
    }

    fn is_ours(&self, name: &str) -> bool {
        is_loopback(name) || self.hosts.iter().any(|host| host == name) || (self.any_address && address(name).is_some())
    }

    fn check_origin(&self, headers: &HeaderMap) -> Result<Option<HeaderValue>, Refusal> {
        let mut origins = headers.get_all(header::ORIGIN).iter();
        let refused = |what: String| {
            Refusal::new(
                StatusCode::FORBIDDEN,
                Error::new(ErrorKind::Request, what).with_hint(
                    "pages of http://localhost and http://127.0.0.1 may ask; others must be allowed: --allow-origin, ProxyBuilder::allow_origin",
                ),
            )
        };
        match (origins.next(), origins.next()) {
            (Some(origin), None) if self.is_allowed(origin) => Ok(Some(origin.clone())),
            (Some(origin), _) => {
                let shown = String::from_utf8_lossy(origin.as_bytes());
                Err(refused(format!("this proxy does not answer web pages of {shown}")))
            }
            // A browser says no origin when it loads an image, a script or a page.
            (None, _) if headers.get(SEC_FETCH_SITE).is_some_and(|site| site == "cross-site") => Err(refused(
                "this proxy does not answer web pages of other sites".to_owned(),
            )),
            (None, _) => Ok(None),
        }
    }

    fn is_allowed(&self, origin: &HeaderValue) -> bool {
        let Ok(origin) = origin.to_str().map(str::to_ascii_lowercase) else {
            return false;
        };
        let is_of_this_machine = origin.parse::<Uri>().is_ok_and(|uri| {
            matches!(uri.scheme_str(), Some("http" | "https"))
                && uri
                    .authority()
                    .is_some_and(|authority| !authority.as_str().contains('@'))
                && uri.host().is_some_and(|host| is_loopback(&plain(host)))
        });
        is_of_this_machine || self.origins.contains(&origin)
    }
}

/// A host in one form: lower case, no brackets, no dot at its end.
fn plain(host: &str) -> String {
    host.trim_start_matches('[')
        .trim_end_matches(']')
        .trim_end_matches('.')
        .to_ascii_lowercase()
}

fn address(host: &str) -> Option<IpAddr> {
    host.parse().ok().map(|address: IpAddr| address.to_canonical())
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || address(host).is_some_and(|address| address.is_loopback())
}

/// The answer to a browser that asks whether a page of this origin may ask; `None` when it asks something else.
pub(super) fn preflight(head: &Parts, origin: &HeaderValue) -> Option<http::Response<AnswerBody>> {
    let method = head.headers.get(header::ACCESS_CONTROL_REQUEST_METHOD)?;
    if head.method != Method::OPTIONS {
        return None;
    }
    let mut answer = http::Response::new(AnswerBody::Whole(None));
    *answer.status_mut() = StatusCode::NO_CONTENT;
    let headers = answer.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, method.clone());
    if let Some(wanted) = head.headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
    }
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, REMEMBERED);
    admit_page(headers, Some(origin));
    Some(answer)
}

/// Lets the page that was admitted read an answer, and no other one, whatever the upstream says.
pub(super) fn admit_page(headers: &mut HeaderMap, origin: Option<&HeaderValue>) {
    headers.remove(header::ACCESS_CONTROL_ALLOW_ORIGIN);
    headers.remove(header::ACCESS_CONTROL_ALLOW_CREDENTIALS);
    if let Some(origin) = origin {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("*"));
        headers.append(header::VARY, HeaderValue::from_static("origin"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard() -> Guard {
        let mut guard = Guard::default();
        guard.listens_on("proxy.test:8080", "192.168.1.5:8080".parse().unwrap());
        guard.allow_host("host.docker.internal").unwrap();
        guard.allow_origin("https://App.example.com/").unwrap();
        guard
    }

    fn status(guard: &Guard, target: &str, headers: &[(&str, &str)]) -> u16 {
        let mut request = http::Request::get(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        guard
            .admit(&head)
            .map_or_else(|refusal| refusal.status.as_u16(), |_| 200)
    }

    #[test]
    fn a_host_is_this_machine_or_was_allowed() {
        for host in [
            "localhost",
            "localhost:1",
            "LOCALHOST.",
            "127.0.0.1:80",
            "127.9.9.9",
            "[::1]:80",
            "[::ffff:127.0.0.1]",
            "192.168.1.5:99",
            "proxy.test",
            "host.docker.internal:8080",
        ] {
            assert_eq!(status(&guard(), "/v1", &[("host", host)]), 200, "{host}");
        }
        for host in [
            "evil.test",
            "evil.test:80",
            "localhost.evil.test",
            "127.0.0.1.evil.test",
            "evil@localhost",
            "localhost@evil.test",
            "192.168.1.6",
            "0.0.0.0",
            "[::]",
            "127.1",
            "2130706433",
            "0x7f.0.0.1",
            "",
            ":80",
            "localhost evil",
            "sub.localhost",
        ] {
            assert_eq!(status(&guard(), "/v1", &[("host", host)]), 421, "{host}");
        }
        let both = [("host", "localhost"), ("host", "localhost")];
        assert_eq!(status(&guard(), "/v1", &both), 400);
        assert_eq!(status(&guard(), "/v1", &[]), 400);
        for (target, expected) in [("http://evil.test/v1", 421), ("http://127.0.0.1:1/v1", 200)] {
            assert_eq!(status(&guard(), target, &[("host", "localhost")]), expected, "{target}");
        }
    }

    #[test]
    fn who_listens_everywhere_is_called_by_any_address_and_by_no_name() {
        let mut guard = Guard::default();
        guard.listens_on("0.0.0.0:8080", "0.0.0.0:8080".parse().unwrap());
        for (host, expected) in [("10.1.2.3:8080", 200), ("[fe80::1]", 200), ("evil.test", 421)] {
            assert_eq!(status(&guard, "/v1", &[("host", host)]), expected, "{host}");
        }
    }

    #[test]
    fn a_page_is_of_this_machine_or_was_allowed() {
        let host = ("host", "localhost");
        for origin in [
            "http://localhost:5173",
            "https://127.0.0.1",
            "http://[::1]:3000",
            "https://app.example.com",
        ] {
            let headers = [host, ("origin", origin), ("sec-fetch-site", "cross-site")];
            assert_eq!(status(&guard(), "/v1", &headers), 200, "{origin}");
        }
        for origin in [
            "null",
            "",
            "https://evil.test",
            "http://localhost.evil.test",
            "https://app.example.com:444",
            "http://app.example.com",
            "http://evil@localhost",
            "file://",
            "localhost:5173",
            "http://192.168.1.5",
            "ftp://localhost",
        ] {
            assert_eq!(status(&guard(), "/v1", &[host, ("origin", origin)]), 403, "{origin}");
        }
        let both = [host, ("origin", "http://localhost"), ("origin", "https://evil.test")];
        assert_eq!(status(&guard(), "/v1", &both), 403);
        for (site, expected) in [
            ("cross-site", 403),
            ("same-site", 200),
            ("same-origin", 200),
            ("none", 200),
        ] {
            assert_eq!(
                status(&guard(), "/v1", &[host, ("sec-fetch-site", site)]),
                expected,
                "{site}"
            );
        }
    }

    #[test]
    fn what_is_no_host_and_no_origin_cannot_be_allowed() {
        for wrong in ["", "*", "http://a.test", "a.test:80", "a@b.test", "a b"] {
            assert!(Guard::default().allow_host(wrong).is_err(), "{wrong}");
        }
        for wrong in ["", "*", "null", "a.test", "https://", "https://a.test/path"] {
            assert!(Guard::default().allow_origin(wrong).is_err(), "{wrong}");
        }
    }
}
