//! The options for interception.

use std::path::PathBuf;

use clap::Args;

use crate::error::Result;
use crate::key::Scope;
use crate::proxy::Interception;

/// The help heading of these options.
pub(crate) const INTERCEPTION: &str = "Interception of unmodified programs (docs/interception.md)";

/// The options of `proxy`, `run` and `serve` for interception.
#[derive(Args, Clone)]
pub(crate) struct InterceptArguments {
    /// Intercept HTTPS connections to the hosts of the API, and to HOST: a name with an optional port, or *.DOMAIN;
    /// repeatable. URL is the upstream of the host, by default the host itself. `run` and `serve` always intercept the API.
    #[arg(long, value_name = "HOST[=URL]", num_args = 0..=1, default_missing_value = "", help_heading = INTERCEPTION)]
    intercept: Vec<String>,
    /// Write the certificate that clients must trust to this file.
    #[arg(long, value_name = "FILE", help_heading = INTERCEPTION)]
    pub(crate) ca_file: Option<PathBuf>,
    /// Refuse connections through the proxy to hosts that are not intercepted.
    #[arg(long, help_heading = INTERCEPTION)]
    block_network: bool,
    /// Allow connections through the proxy to HOST, although the network is blocked or the host is this machine;
    /// repeatable.
    #[arg(long, value_name = "HOST", help_heading = INTERCEPTION)]
    allow_net: Vec<String>,
}

impl InterceptArguments {
    /// Whether an option asks for interception.
    pub(crate) fn is_wanted(&self) -> bool {
        !self.intercept.is_empty() || self.ca_file.is_some() || self.is_network_limited()
    }

    fn is_network_limited(&self) -> bool {
        self.block_network || !self.allow_net.is_empty()
    }

    /// Whether clients must send plain HTTP to the proxy, too, because it has to refuse it.
    pub(crate) fn takes_plain_http(&self) -> bool {
        self.block_network
    }

    /// The interception of these options, with the scope of requests that name none.
    pub(crate) fn interception(&self, scope: Scope) -> Result<Interception> {
        let mut interception = Interception::new().scope(scope);
        for host in self.intercept.iter().filter(|host| !host.is_empty()) {
            interception = interception.host(host)?;
        }
        if self.block_network {
            interception = interception.block_network();
        }
        for host in &self.allow_net {
            interception = interception.allow_net(host)?;
        }
        Ok(interception)
    }
}
