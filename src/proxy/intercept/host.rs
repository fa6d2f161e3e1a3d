//! Hosts with their ports, and the patterns that select them.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use http::uri::Authority;

use crate::error::{Error, ErrorKind, Result};

/// A host and a port, as in the target of `CONNECT`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Host {
    /// In lower case, without brackets and without a dot at its end.
    pub(super) name: String,
    pub(super) port: u16,
}

impl Host {
    /// Parses a host with an optional port. User information is not accepted.
    pub(crate) fn parse(text: &str, default_port: u16) -> Option<Self> {
        let authority: Authority = text.parse().ok().filter(|_| !text.contains('@'))?;
        // `port` returns `None` for an invalid port, too.
        let port = match text.strip_prefix(authority.host())?.strip_prefix(':') {
            Some(port) => port.parse().ok().filter(|port| *port > 0)?,
            None => default_port,
        };
        let name = normalized(authority.host());
        (!name.is_empty()).then_some(Self { name, port })
    }

    pub(super) fn address(&self) -> Option<IpAddr> {
        ip_address(&self.name)
    }

    /// Whether the name is that of this machine, without a look-up.
    pub(super) fn is_loopback_name(&self) -> bool {
        self.name == "localhost"
            || self.name.ends_with(".localhost")
            || self
                .address()
                .is_some_and(|address| address.is_loopback() || address.is_unspecified())
    }
}

/// As in a URL with the scheme `https`: an IPv6 address in brackets, and the port unless it is 443.
impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_name(f, &self.name)?;
        match self.port {
            443 => Ok(()),
            port => write!(f, ":{port}"),
        }
    }
}

fn write_name(f: &mut fmt::Formatter<'_>, name: &str) -> fmt::Result {
    if name.contains(':') {
        write!(f, "[{name}]")
    } else {
        f.write_str(name)
    }
}

/// The host in lower case, without brackets and without a dot at its end.
pub(crate) fn normalized(host: &str) -> String {
    host.trim_start_matches('[')
        .trim_end_matches(']')
        .trim_end_matches('.')
        .to_ascii_lowercase()
}

pub(crate) fn ip_address(host: &str) -> Option<IpAddr> {
    host.parse().ok().map(|address: IpAddr| address.to_canonical())
}

/// Selects hosts: `api.example.com`, `api.example.com:8443`, `*.example.com` (every subdomain), `192.0.2.1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HostPattern {
    name: String,
    /// Whether the pattern selects the subdomains of the name, and not the name itself.
    is_wildcard: bool,
    /// Without a port, the pattern selects the default port of the scheme.
    port: Option<u16>,
}

impl HostPattern {
    /// Whether a host is selected, given the default port of its scheme.
    pub(super) fn matches(&self, host: &Host, default_port: u16) -> bool {
        let is_name = match host.name.strip_suffix(&self.name) {
            Some(rest) if self.is_wildcard => rest.ends_with('.') && rest.len() > 1,
            Some(rest) => rest.is_empty(),
            None => false,
        };
        is_name && host.port == self.port.unwrap_or(default_port)
    }

    /// Whether a name is selected on some port.
    #[cfg(feature = "cli")]
    pub(super) fn matches_name(&self, host: &Host) -> bool {
        self.matches(host, host.port)
            || self
                .port
                .is_some_and(|port| self.matches(&Host { port, ..host.clone() }, port))
    }

    #[cfg(feature = "cli")]
    pub(super) fn is_wildcard(&self) -> bool {
        self.is_wildcard
    }

    /// The name without `*.`.
    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

impl FromStr for HostPattern {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let invalid = || {
            Error::new(ErrorKind::Settings, format!("invalid host: {text:?}")).with_hint(
                "give a name without a scheme, for example api.example.com, api.example.com:8443 or *.example.com",
            )
        };
        let (rest, is_wildcard) = match text.strip_prefix("*.") {
            Some(rest) => (rest, true),
            None => (text, false),
        };
        // An IPv6 address may lack its brackets.
        let rest = match rest.parse::<std::net::Ipv6Addr>() {
            Ok(address) => format!("[{address}]"),
            Err(_) => rest.to_owned(),
        };
        let host = Host::parse(&rest, 0).ok_or_else(invalid)?;
        let is_valid = host.address().is_some() && !is_wildcard
            || host.name.split('.').all(|label| {
                !label.is_empty()
                    && label
                        .bytes()
                        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
            });
        if !is_valid {
            return Err(invalid());
        }
        Ok(Self {
            name: host.name,
            is_wildcard,
            port: (host.port > 0).then_some(host.port),
        })
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_wildcard {
            f.write_str("*.")?;
        }
        write_name(f, &self.name)?;
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_read_with_its_port() {
        for (text, shown) in [
            ("api.mistral.ai:443", "api.mistral.ai"),
            ("API.Mistral.AI.", "api.mistral.ai"),
            ("api.mistral.ai:8443", "api.mistral.ai:8443"),
            ("[::1]:443", "[::1]"),
            ("[::1]:80", "[::1]:80"),
            ("192.0.2.1:443", "192.0.2.1"),
        ] {
            assert_eq!(Host::parse(text, 443).unwrap().to_string(), shown, "{text}");
        }
        for text in ["", ":443", "a@b", "a:0", "a:65536", "a:x", "a b", "/", "."] {
            assert_eq!(Host::parse(text, 443), None, "{text}");
        }
    }

    #[test]
    fn a_pattern_selects_hosts() {
        for (pattern, host, is_selected) in [
            ("a.test", "a.test:443", true),
            ("A.test.", "a.test:443", true),
            ("a.test", "a.test:8443", false),
            ("a.test:8443", "a.test:8443", true),
            ("a.test:8443", "a.test:443", false),
            ("a.test", "b.a.test:443", false),
            ("*.a.test", "b.a.test:443", true),
            ("*.a.test", "c.b.a.test:443", true),
            ("*.a.test", "a.test:443", false),
            ("*.a.test", "ba.test:443", false),
            ("*.a.test", ".a.test:443", false),
            ("::1", "[::1]:443", true),
            ("[::1]", "[::1]:443", true),
            ("192.0.2.1", "192.0.2.1:443", true),
        ] {
            let host = Host::parse(host, 443).unwrap();
            let pattern: HostPattern = pattern.parse().unwrap();
            assert_eq!(pattern.matches(&host, 443), is_selected, "{pattern} {host}");
        }
        for wrong in [
            "",
            "*",
            "*.",
            "a.*.test",
            "https://a.test",
            "a.test/v1",
            "a..test",
            "a@b",
            "a:0",
            "*.[::1]",
        ] {
            assert!(wrong.parse::<HostPattern>().is_err(), "{wrong}");
        }
    }
}
