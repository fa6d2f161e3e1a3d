//! What a program gets in its environment, so that it uses the proxy.

use super::trust::Trust;
use super::variables::{Variable, base_urls, interception_variables, with_loopback};
use crate::error::Result;
use crate::http::{API_KEY_VARIABLE, DUMMY_KEY};
use crate::mode::Mode;
use crate::proxy::{Interception, Proxy};

/// Environment variables, and the files to which they refer.
pub(crate) struct Environment {
    pub(crate) variables: Vec<Variable>,
    /// Removed at the end of the run.
    trust: Option<Trust>,
}

/// A dummy API key, for clients that cannot be created without one. Offline, it also replaces a real key, so that a client
/// that bypasses the proxy cannot use that key.
fn dummy_key(mode: Mode) -> Option<Variable> {
    let has_key = std::env::var(API_KEY_VARIABLE).is_ok_and(|key| !key.is_empty());
    (mode.is_offline() || !has_key).then(|| (API_KEY_VARIABLE, DUMMY_KEY.into()))
}

impl Environment {
    /// The variables for a program that uses this proxy, with a base URL for clients that read one.
    pub(crate) fn new(
        proxy: &Proxy,
        base: &str,
        interception: Option<&Interception>,
        takes_plain_http: bool,
    ) -> Result<Self> {
        let mut variables = base_urls(base, interception);
        variables.extend(dummy_key(proxy.recorder().mode()));
        let (Some(interception), Some(certificate)) = (interception, proxy.certificate()) else {
            variables.extend(with_loopback());
            return Ok(Self { variables, trust: None });
        };
        let trust = Trust::new(certificate, interception, proxy.address())?;
        variables.extend(interception_variables(
            proxy.address(),
            interception,
            &trust,
            takes_plain_http,
        ));
        Ok(Self {
            variables,
            trust: Some(trust),
        })
    }

    /// The file with the certificate of the proxy; empty without interception.
    pub(crate) fn certificate(&self) -> String {
        let file = self.trust.as_ref().map(|trust| trust.for_node().display().to_string());
        file.unwrap_or_default()
    }
}
