//! HTTPS interception: requests to the real host names of an API, from clients that use the proxy as an HTTP proxy.
//!
//! `host` selects the intercepted hosts, `authority` certifies them, `network` decides about all other hosts, and `tunnel`
//! connects to those. `preface` reads what the preload of Node.js sends. This module says where the requests to a host go.

mod authority;
mod host;
mod network;
mod preface;
mod tls;
mod tunnel;

use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use lru::LruCache;
use rustls::ServerConfig;

use self::authority::Authority;
#[cfg(feature = "cli")]
pub(crate) use self::authority::pem as certificate_pem;
use self::host::HostPattern;
pub(super) use self::host::{Host, ip_address, normalized};
pub use self::network::Connections;
pub(super) use self::network::Network;
pub(super) use self::preface::{FIRST as PREFACE, read as read_preface};
pub(super) use self::tls::{HANDSHAKE, to_proxy_itself};
pub(super) use self::tunnel::forward;
use crate::error::Result;
use crate::key::Scope;
use crate::upstream::Upstream;

/// The hosts of the Mistral API. Requests to them share recordings.
const API_HOSTS: [&str; 2] = ["api.mistral.ai", "codestral.mistral.ai"];

/// How many destinations are cached. A pattern with `*` selects any number of hosts.
const CAPACITY: NonZeroUsize = NonZeroUsize::new(256).unwrap();

/// Which hosts a [`Proxy`](super::Proxy) intercepts, and what it does with connections to others.
///
/// The hosts of the Mistral API are always intercepted. Clients use the proxy as their HTTP proxy (`HTTPS_PROXY`) and trust
/// the [certificate](super::Proxy::certificate) of its authority.
#[derive(Clone, Debug, Default)]
#[must_use = "pass it to `ProxyBuilder::intercept`"]
pub struct Interception {
    hosts: Vec<(HostPattern, Option<String>)>,
    network: Network,
    scope: Scope,
}

impl Interception {
    /// Intercepts `api.mistral.ai` and `codestral.mistral.ai`, and lets connections to all other hosts through.
    pub fn new() -> Self {
        Self::default()
    }

    /// Intercepts one more host: `HOST`, `HOST:PORT`, or `*.DOMAIN`, and the URL of its upstream after `=`, by default the
    /// host itself.
    ///
    /// # Errors
    /// [`ErrorKind::Settings`](crate::ErrorKind::Settings) if the host or the URL is invalid.
    pub fn host(mut self, text: &str) -> Result<Self> {
        let (host, upstream) = match text.split_once('=') {
            Some((host, upstream)) => (host, Some(upstream)),
            None => (text, None),
        };
        if let Some(url) = upstream {
            Upstream::builder().base_url(url).build()?;
        }
        self.hosts.push((host.parse()?, upstream.map(str::to_owned)));
        Ok(self)
    }

    /// Refuses connections to hosts that are not intercepted.
    pub fn block_network(mut self) -> Self {
        self.network.is_blocked = true;
        self
    }

    /// Allows connections to a host, `HOST`, `HOST:PORT` or `*.DOMAIN`, in spite of [`block_network`](Self::block_network),
    /// and to a server on this machine.
    ///
    /// # Errors
    /// [`ErrorKind::Settings`](crate::ErrorKind::Settings) if the host is invalid.
    pub fn allow_net(mut self, host: &str) -> Result<Self> {
        self.network.allowed.push(host.parse()?);
        Ok(self)
    }

    /// Sets the scope of intercepted requests that name none.
    pub fn scope(mut self, scope: Scope) -> Self {
        self.scope = scope;
        self
    }

    /// Whether an entry of `NO_PROXY` would make clients bypass the proxy for an intercepted host.
    #[cfg(feature = "cli")]
    pub(crate) fn is_bypassed_by(&self, entry: &str) -> bool {
        if entry.trim() == "*" {
            return true;
        }
        let entry = entry.split_once("://").map_or(entry, |(_, rest)| rest).trim();
        let entry = entry.trim_start_matches('*').trim_start_matches('.');
        let name = match (ip_address(entry), Host::parse(entry, 443)) {
            (Some(_), _) => normalized(entry),
            (None, Some(host)) => host.name,
            (None, None) => return false,
        };
        self.patterns().any(|host| {
            let is_below = |name: &str, parent: &str| {
                name.strip_suffix(parent)
                    .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
            };
            is_below(host.name(), &name) || (host.is_wildcard() && is_below(&name, host.name()))
        })
    }

    /// Whether a host other than those of the API is intercepted, as in a URL.
    #[cfg(feature = "cli")]
    pub(crate) fn has_own(&self, url: &str) -> bool {
        let host = url
            .parse::<http::Uri>()
            .ok()
            .and_then(|uri| Host::parse(uri.authority()?.as_str(), 443));
        host.is_some_and(|host| !is_api(&host) && self.hosts.iter().any(|(pattern, _)| pattern.matches_name(&host)))
    }

    /// The intercepted hosts.
    #[cfg(feature = "cli")]
    pub(crate) fn shown_hosts(&self) -> String {
        let names: Vec<String> = self.patterns().map(|pattern| pattern.to_string()).collect();
        names.join(", ")
    }

    /// All intercepted hosts, each once.
    fn patterns(&self) -> impl Iterator<Item = HostPattern> {
        let mut patterns: Vec<HostPattern> = API_HOSTS.iter().filter_map(|host| host.parse().ok()).collect();
        for (pattern, _) in &self.hosts {
            if !patterns.contains(pattern) {
                patterns.push(pattern.clone());
            }
        }
        patterns.into_iter()
    }

    /// The interception of a proxy at this address whose requests to the API go to this upstream.
    pub(super) fn start(mut self, upstream: &Upstream, address: SocketAddr, is_remote: bool) -> Result<Interceptor> {
        self.network.own = Some(address);
        self.network.is_remote = is_remote;
        let patterns: Vec<HostPattern> = self.patterns().collect();
        Ok(Interceptor {
            authority: Authority::new(patterns.iter())?,
            patterns,
            hosts: self.hosts,
            network: self.network,
            scope: self.scope,
            upstream: upstream.clone(),
            destinations: Mutex::new(LruCache::new(CAPACITY)),
        })
    }
}

fn is_api(host: &Host) -> bool {
    API_HOSTS.contains(&host.name.as_str())
}

/// Whether a connection is encrypted, and so the default port of its hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Scheme {
    Http,
    Https,
}

impl Scheme {
    pub(super) fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// An intercepted host, and where the requests to it go.
#[derive(Clone, Debug)]
pub(super) struct Destination {
    pub(super) host: Host,
    pub(super) scheme: Scheme,
    pub(super) upstream: Upstream,
    /// The host in the key: none for the hosts of the API.
    pub(super) key_host: Option<String>,
    /// The scope of requests that name none.
    pub(super) scope: Scope,
}

/// How a request has reached the proxy.
#[derive(Clone, Debug)]
pub(super) enum Route {
    /// At the URL of the proxy.
    Direct,
    /// At an intercepted host, with the scope that the client has named to the proxy.
    Intercepted(Arc<Destination>, Option<Scope>),
}

/// The interception of a running proxy.
pub(super) struct Interceptor {
    authority: Authority,
    patterns: Vec<HostPattern>,
    hosts: Vec<(HostPattern, Option<String>)>,
    pub(super) network: Network,
    scope: Scope,
    /// Of the API.
    upstream: Upstream,
    destinations: Mutex<LruCache<(Host, Scheme), Arc<Destination>>>,
}

impl Interceptor {
    /// Where the requests to a host go; `None` if it is not intercepted.
    ///
    /// # Errors
    /// [`ErrorKind::Settings`] if there is no URL for the host.
    pub(super) fn destination(&self, host: &Host, scheme: Scheme) -> Result<Option<Arc<Destination>>> {
        let is_selected = |pattern: &HostPattern| pattern.matches(host, scheme.default_port());
        if !self.patterns.iter().any(is_selected) {
            return Ok(None);
        }
        let entry = (host.clone(), scheme);
        let mut destinations = self.destinations.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(destination) = destinations.get(&entry) {
            return Ok(Some(destination.clone()));
        }
        let destination = Arc::new(self.new_destination(host, scheme)?);
        destinations.put(entry, destination.clone());
        Ok(Some(destination))
    }

    fn new_destination(&self, host: &Host, scheme: Scheme) -> Result<Destination> {
        let own = self.hosts.iter().rev().find_map(|(pattern, upstream)| {
            let is_selected = pattern.matches(host, scheme.default_port());
            is_selected.then_some(upstream.as_deref()).flatten()
        });
        let upstream = match own {
            Some(url) => self.upstream.at(url, is_api(host))?,
            // `--upstream` applies to all hosts of the API.
            None if is_api(host) && !self.upstream.is_default() => self.upstream.clone(),
            None => self.upstream.at(&url_of(host, scheme), is_api(host))?,
        };
        Ok(Destination {
            host: host.clone(),
            scheme,
            upstream,
            key_host: (!is_api(host)).then(|| name_in_key(host, scheme)),
            scope: self.scope.clone(),
        })
    }

    /// The configuration of the TLS server for an intercepted host.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] if the host cannot be in a certificate.
    pub(super) fn tls(&self, host: &Host) -> Result<Arc<ServerConfig>> {
        self.authority.config(&host.name)
    }

    /// The certificate of the authority, as PEM.
    pub(super) fn certificate(&self) -> String {
        authority::pem(self.authority.certificate())
    }
}

/// The URL of a host: the API is only reached with TLS.
fn url_of(host: &Host, scheme: Scheme) -> String {
    match scheme {
        Scheme::Http if !is_api(host) => format!("http://{}", name_in_key(host, scheme)),
        Scheme::Http => format!("https://{}", host.name),
        Scheme::Https => format!("https://{host}"),
    }
}

/// The host with its port, unless that is the default port of the scheme.
fn name_in_key(host: &Host, scheme: Scheme) -> String {
    if host.port == scheme.default_port() {
        Host {
            port: 443,
            ..host.clone()
        }
        .to_string()
    } else if host.port == 443 {
        format!("{host}:443")
    } else {
        host.to_string()
    }
}

impl fmt::Debug for Interceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Interceptor")
            .field("patterns", &self.patterns)
            .finish_non_exhaustive()
    }
}
