//! Checks which hosts a client may name and which web pages may send requests.
//!
//! Every web page in a browser on this machine can send requests to a proxy on this machine. The `Host` header reveals
//! a page whose host name resolves to 127.0.0.1 (DNS rebinding). `Origin` or `Sec-Fetch-Site` reveals any other page.
//! No script can set these headers.

use std::net::SocketAddr;

use http::request::Parts;
use http::uri::Authority;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version, header};

use super::intercept::{Destination, Host, Route, ip_address, normalized};
use super::response::{Refusal, ResponseBody};
use crate::error::{Error, ErrorKind, Result};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// How long a browser may cache the result of a preflight request, in seconds.
const PREFLIGHT_MAX_AGE: HeaderValue = HeaderValue::from_static("600");

/// The allowed hosts and origins, in addition to those of this machine.
#[derive(Clone, Debug, Default)]
pub(super) struct Guard {
    /// The listen address with its port, which most clients send as `Host`.
    address: String,
    hosts: Vec<String>,
    origins: Vec<String>,
    /// Whether the proxy listens on all addresses of this machine, so that `Host` may be any IP address.
    any_address: bool,
}

impl Guard {
    /// Allows a host name or an address, without a port.
    pub(super) fn allow_host(&mut self, name: &str) -> Result<()> {
        let is_name = name
            .parse::<Authority>()
            .is_ok_and(|authority| authority.as_str() == authority.host() && !name.contains('*'));
        if !is_name {
            return Err(Error::new(ErrorKind::Settings, format!("invalid host name: {name:?}"))
                .with_hint("give the name without scheme and port, for example host.docker.internal"));
        }
        self.hosts.push(normalized(name));
        Ok(())
    }

    /// Allows web pages of an origin.
    pub(super) fn allow_origin(&mut self, origin: &str) -> Result<()> {
        let trimmed = origin.trim_end_matches('/').to_ascii_lowercase();
        let is_origin = trimmed
            .split_once("://")
            .is_some_and(|(scheme, host)| !scheme.is_empty() && host.parse::<Authority>().is_ok());
        if !is_origin {
            return Err(
                Error::new(ErrorKind::Settings, format!("invalid web origin: {origin:?}")).with_hint(
                    "give the scheme, the host, and the port if there is one, for example https://app.example.com",
                ),
            );
        }
        self.origins.push(trimmed);
        Ok(())
    }

    /// Allows the address that the proxy listens on, as an address and as the name in `listen`.
    pub(super) fn set_address(&mut self, listen: &str, address: SocketAddr) {
        self.any_address = address.ip().is_unspecified();
        self.address = address.to_string();
        self.hosts.push(address.ip().to_string());
        if let Some((name, _)) = listen.rsplit_once(':') {
            self.hosts.push(normalized(name));
        }
    }

    /// Checks a request, and returns the origin of the web page that sent it, if there is one.
    pub(super) fn check(&self, head: &Parts, route: &Route) -> Result<Option<HeaderValue>, Refusal> {
        match route {
            Route::Direct => self.check_host(head)?,
            Route::Intercepted(destination, _) => check_intercepted(head, destination)?,
        }
        self.check_origin(&head.headers)
    }

    fn check_host(&self, head: &Parts) -> Result<(), Refusal> {
        // The target of CONNECT is another host. A later check refuses the request, with a hint.
        if head.method == Method::CONNECT {
            return Ok(());
        }
        let host = host_header(head)?.map(|host| String::from_utf8_lossy(host.as_bytes()));
        // The target may be in absolute form and name a host, too.
        let target = head.uri.authority().map(|authority| authority.as_str().into());
        for named in host.into_iter().chain(target).filter(|named| *named != self.address) {
            if !self.is_named_by(&named) {
                let message = format!("the proxy does not accept requests for the host {named:?}");
                return Err(Refusal::new(
                    StatusCode::MISDIRECTED_REQUEST,
                    Error::new(ErrorKind::Request, message).with_hint(
                        "use 127.0.0.1 or localhost, or allow the host with --allow-host, ProxyBuilder::allow_host",
                    ),
                ));
            }
        }
        Ok(())
    }

    /// Whether an authority, as in a URL, means this proxy.
    pub(super) fn is_named_by(&self, authority: &str) -> bool {
        let host = authority
            .parse::<Authority>()
            .ok()
            .map(|parsed| normalized(parsed.host()));
        host.is_some_and(|host| self.is_host_allowed(&host)) && !authority.contains('@')
    }

    fn is_host_allowed(&self, name: &str) -> bool {
        is_loopback(name)
            || self.hosts.iter().any(|host| host == name)
            || (self.any_address && ip_address(name).is_some())
    }

    fn check_origin(&self, headers: &HeaderMap) -> Result<Option<HeaderValue>, Refusal> {
        let mut origins = headers.get_all(header::ORIGIN).iter();
        let refused = |message: String| {
            Refusal::new(
                StatusCode::FORBIDDEN,
                Error::new(ErrorKind::Request, message).with_hint(
                    "pages of http://localhost are allowed; allow another origin with --allow-origin, ProxyBuilder::allow_origin",
                ),
            )
        };
        match (origins.next(), origins.next()) {
            (Some(origin), None) if self.is_origin_allowed(origin) => Ok(Some(origin.clone())),
            (Some(origin), _) => {
                let shown = String::from_utf8_lossy(origin.as_bytes());
                Err(refused(format!(
                    "the proxy does not accept requests from web pages of {shown}"
                )))
            }
            // A browser sends no `Origin` header to load an image, a script or a page.
            (None, _) if headers.get(SEC_FETCH_SITE).is_some_and(|site| site == "cross-site") => Err(refused(
                "the proxy does not accept requests from web pages of other sites".to_owned(),
            )),
            (None, _) => Ok(None),
        }
    }

    fn is_origin_allowed(&self, origin: &HeaderValue) -> bool {
        let Ok(origin) = origin.to_str().map(str::to_ascii_lowercase) else {
            return false;
        };
        let is_of_this_machine = origin.parse::<Uri>().is_ok_and(|uri| {
            matches!(uri.scheme_str(), Some("http" | "https"))
                && uri
                    .authority()
                    .is_some_and(|authority| !authority.as_str().contains('@'))
                && uri.host().is_some_and(|host| is_loopback(&normalized(host)))
        });
        is_of_this_machine || self.origins.contains(&origin)
    }
}

/// The Host header. HTTP/2 has another field for it.
fn host_header(head: &Parts) -> Result<Option<&HeaderValue>, Refusal> {
    let mut hosts = head.headers.get_all(header::HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() || (host.is_none() && head.version == Version::HTTP_11) {
        return Err(Refusal::new(
            StatusCode::BAD_REQUEST,
            Error::new(ErrorKind::Request, "a request must have exactly one Host header"),
        ));
    }
    Ok(host)
}

/// Checks that a request to an intercepted host names only that host.
fn check_intercepted(head: &Parts, destination: &Destination) -> Result<(), Refusal> {
    let host = host_header(head)?.map(|host| String::from_utf8_lossy(host.as_bytes()));
    let target = head.uri.authority().map(|authority| authority.as_str().into());
    for named in host.into_iter().chain(target) {
        if Host::parse(&named, destination.scheme.default_port()).as_ref() != Some(&destination.host) {
            let message = format!("a request for {named:?} on a connection to {}", destination.host);
            return Err(Refusal::new(
                StatusCode::MISDIRECTED_REQUEST,
                Error::new(ErrorKind::Request, message).with_hint("send the request on a connection to its host"),
            ));
        }
    }
    Ok(())
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || ip_address(host).is_some_and(|address| address.is_loopback())
}

/// Returns the response to a preflight request of a browser, or `None` for any other request.
pub(super) fn preflight(head: &Parts, origin: &HeaderValue) -> Option<http::Response<ResponseBody>> {
    let method = head.headers.get(header::ACCESS_CONTROL_REQUEST_METHOD)?;
    if head.method != Method::OPTIONS {
        return None;
    }
    let mut response = http::Response::new(ResponseBody::Complete(None));
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, method.clone());
    if let Some(wanted) = head.headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
    }
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_MAX_AGE);
    set_cors_headers(headers, Some(origin));
    Some(response)
}

/// Allows the web page that sent the request to read the response, and removes the permissions of the upstream.
pub(super) fn set_cors_headers(headers: &mut HeaderMap, origin: Option<&HeaderValue>) {
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
        guard.set_address("proxy.test:8080", "192.168.1.5:8080".parse().unwrap());
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
            .check(&head, &Route::Direct)
            .map_or_else(|refusal| refusal.status.as_u16(), |_| 200)
    }

    #[test]
    fn only_hosts_of_this_machine_and_allowed_hosts_are_accepted() {
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
    fn a_proxy_on_all_addresses_accepts_any_address_and_no_other_name() {
        let mut guard = Guard::default();
        guard.set_address("0.0.0.0:8080", "0.0.0.0:8080".parse().unwrap());
        for (host, expected) in [("10.1.2.3:8080", 200), ("[fe80::1]", 200), ("evil.test", 421)] {
            assert_eq!(status(&guard, "/v1", &[("host", host)]), expected, "{host}");
        }
    }

    #[test]
    fn only_pages_of_this_machine_and_allowed_origins_are_accepted() {
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
    fn invalid_hosts_and_origins_cannot_be_allowed() {
        for wrong in ["", "*", "http://a.test", "a.test:80", "a@b.test", "a b"] {
            assert!(Guard::default().allow_host(wrong).is_err(), "{wrong}");
        }
        for wrong in ["", "*", "null", "a.test", "https://", "https://a.test/path"] {
            assert!(Guard::default().allow_origin(wrong).is_err(), "{wrong}");
        }
    }
}
