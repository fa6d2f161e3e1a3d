//! Decides to which other hosts than the intercepted ones the proxy connects for its clients, and counts these connections.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use http::StatusCode;

use super::host::{Host, HostPattern};
use crate::error::{Error, ErrorKind};
use crate::proxy::response::Refusal;

/// How many hosts are counted by name.
const MAX_NAMES: usize = 1000;

/// How many hosts the summary names.
const MAX_SHOWN: usize = 20;

/// Decides about connections to hosts that are not intercepted, and counts them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Network {
    pub(super) is_blocked: bool,
    pub(super) allowed: Vec<HostPattern>,
    /// Whether other machines can reach the proxy. Then it connects to allowed hosts only, so that it is no way into this
    /// network.
    pub(in crate::proxy) is_remote: bool,
    /// The address that the proxy listens on.
    pub(in crate::proxy) own: Option<SocketAddr>,
    pub(in crate::proxy) connections: Connections,
}

impl Network {
    /// Checks whether the proxy may connect to a host, before its name is looked up, and counts the connection.
    pub(super) fn check(&self, host: &Host) -> Result<(), Refusal> {
        let checked = self.check_name(host);
        self.connections.count(host, checked.is_ok());
        checked
    }

    /// Refuses a request with plain HTTP to a host that is not intercepted, and counts the connection.
    pub(in crate::proxy) fn refuse_plain_http(&self, host: &Host) -> Refusal {
        self.connections.count(host, false);
        match self.check_name(host) {
            Err(refusal) => refusal,
            Ok(()) => refusal(
                host,
                "plain HTTP is not forwarded",
                "unset HTTP_PROXY for the client, or add the host to NO_PROXY",
            ),
        }
    }

    fn check_name(&self, host: &Host) -> Result<(), Refusal> {
        let (reason, hint) = if self.is_allowed(host) {
            return Ok(());
        } else if self.is_blocked {
            ("the network is blocked", "allow the host with --allow-net")
        } else if self.is_remote {
            (
                "other machines can reach this proxy, so it connects to no other host",
                "allow the host with --allow-net",
            )
        } else if host.is_loopback_name() {
            return Err(self.refuse_loopback(host));
        } else {
            return Ok(());
        };
        Err(refusal(host, reason, hint))
    }

    fn is_allowed(&self, host: &Host) -> bool {
        self.allowed.iter().any(|pattern| pattern.matches(host, host.port))
    }

    /// Checks an address of a host: the proxy connects neither to itself nor, unless that is allowed, to this machine.
    pub(super) fn check_address(&self, host: &Host, address: SocketAddr) -> Result<(), Refusal> {
        let ip = address.ip().to_canonical();
        let is_loopback = ip.is_loopback() || ip.is_unspecified();
        let is_own_port = self.own.is_some_and(|own| own.port() == address.port());
        if is_own_port && (is_loopback || self.own.is_some_and(|own| own.ip().to_canonical() == ip)) {
            return Err(self.refuse_itself(host));
        }
        if is_loopback && !self.is_allowed(host) {
            return Err(self.refuse_loopback(host));
        }
        Ok(())
    }

    /// Checks a connection: one to an address of this machine leads to the proxy itself if the port is its own.
    pub(super) fn check_connected(&self, host: &Host, local: IpAddr, peer: SocketAddr) -> Result<(), Refusal> {
        let is_own_port = self.own.is_some_and(|own| own.port() == peer.port());
        if is_own_port && local.to_canonical() == peer.ip().to_canonical() {
            return Err(self.refuse_itself(host));
        }
        Ok(())
    }

    fn refuse_itself(&self, host: &Host) -> Refusal {
        refusal(
            host,
            "it is this proxy",
            "send the request to the URL of the proxy, without a proxy",
        )
    }

    fn refuse_loopback(&self, host: &Host) -> Refusal {
        refusal(
            host,
            "it is this machine, to which clients connect without a proxy",
            "add the host to NO_PROXY, or allow it with --allow-net",
        )
    }
}

/// A refused connection. The first line of the message becomes the reason in the status line.
fn refusal(host: &Host, reason: &str, hint: &str) -> Refusal {
    let message = format!("the proxy does not connect to {host}: {reason}");
    Refusal::new(
        StatusCode::FORBIDDEN,
        Error::new(ErrorKind::Request, message).with_hint(hint),
    )
}

/// The connections to hosts that are not intercepted, by host. A clone shares the counts.
#[derive(Clone, Debug, Default)]
pub struct Connections(Arc<Mutex<BTreeMap<String, Counts>>>);

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    opened: usize,
    refused: usize,
}

impl Connections {
    fn count(&self, host: &Host, is_opened: bool) {
        let mut connections = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut name = host.to_string();
        if connections.len() >= MAX_NAMES && !connections.contains_key(&name) {
            "others".clone_into(&mut name);
        }
        let counts = connections.entry(name).or_default();
        if is_opened {
            counts.opened += 1;
        } else {
            counts.refused += 1;
        }
    }

    /// Each host with the number of connections that were opened, and of those that were refused.
    pub fn by_host(&self) -> Vec<(String, usize, usize)> {
        let connections = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        connections
            .iter()
            .map(|(host, counts)| (host.clone(), counts.opened, counts.refused))
            .collect()
    }
}

/// The hosts with their numbers of connections, at most 20; nothing if there was no connection.
impl fmt::Display for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hosts = self.by_host();
        let list = |count: fn(&(String, usize, usize)) -> usize| {
            let counted: Vec<String> = hosts
                .iter()
                .filter(|host| count(host) > 0)
                .map(|host| format!("{} ({})", host.0, count(host)))
                .collect();
            let more = counted.len().saturating_sub(MAX_SHOWN);
            let mut text = counted[..counted.len() - more].join(", ");
            if more > 0 {
                text.push_str(&format!(" and {more} more"));
            }
            text
        };
        let (opened, refused) = (list(|host| host.1), list(|host| host.2));
        if !opened.is_empty() {
            write!(f, "connections to other hosts: {opened}")?;
        }
        if !refused.is_empty() {
            let separator = if opened.is_empty() { "" } else { "; " };
            write!(f, "{separator}refused connections: {refused}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> Host {
        Host::parse(text, 443).unwrap()
    }

    fn network() -> Network {
        Network {
            own: Some("127.0.0.1:4000".parse().unwrap()),
            allowed: vec!["localhost:5432".parse().unwrap()],
            ..Network::default()
        }
    }

    #[test]
    fn the_proxy_connects_neither_to_itself_nor_to_this_machine_unless_allowed() {
        let network = network();
        for name in [
            "localhost",
            "a.localhost",
            "127.0.0.1:80",
            "[::1]",
            "0.0.0.0",
            "[::ffff:127.0.0.1]",
        ] {
            assert!(network.check(&host(name)).is_err(), "{name}");
        }
        for name in ["example.com", "192.0.2.1", "localhost:5432"] {
            assert!(network.check(&host(name)).is_ok(), "{name}");
        }
        let address = |name: &str, address: &str| network.check_address(&host(name), address.parse().unwrap());
        assert!(address("example.com", "192.0.2.1:443").is_ok());
        assert!(address("localhost:5432", "127.0.0.1:5432").is_ok());
        assert!(address("example.com", "127.0.0.1:443").is_err());
        assert!(address("example.com", "[::ffff:127.0.0.1]:443").is_err());
        let mut open = network.clone();
        open.allowed.push("example.com:4000".parse().unwrap());
        let own = open.check_address(&host("example.com:4000"), "127.0.0.1:4000".parse().unwrap());
        assert!(own.unwrap_err().error.message().contains("it is this proxy"));
        let local = "192.0.2.9".parse().unwrap();
        assert!(
            open.check_connected(&host("example.com:4000"), local, "192.0.2.9:4000".parse().unwrap())
                .is_err()
        );
        assert!(
            open.check_connected(&host("example.com:4000"), local, "192.0.2.8:4000".parse().unwrap())
                .is_ok()
        );
    }

    #[test]
    fn a_blocked_network_has_only_the_allowed_hosts_and_names_the_others() {
        let mut network = network();
        network.is_blocked = true;
        network.allowed.push("*.example.com".parse().unwrap());
        assert!(network.check(&host("a.example.com")).is_ok());
        for _ in 0..2 {
            assert!(network.check(&host("example.com")).is_err());
        }
        assert!(network.check(&host("pypi.org:8443")).is_err());
        let shown =
            "connections to other hosts: a.example.com (1); refused connections: example.com (2), pypi.org:8443 (1)";
        assert_eq!(network.connections.to_string(), shown);
        assert_eq!(Connections::default().to_string(), "");
    }

    #[test]
    fn a_proxy_that_other_machines_can_reach_connects_to_allowed_hosts_only() {
        let network = Network {
            is_remote: true,
            ..network()
        };
        assert!(network.check(&host("example.com")).is_err());
        assert!(network.check(&host("localhost:5432")).is_ok());
    }
}
