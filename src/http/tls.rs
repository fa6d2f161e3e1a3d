//! The TLS configuration of all connections: ring, and the system's root certificates.

use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};

/// Creates a client configuration that offers these ALPN protocols, the preferred one first.
///
/// # Errors
/// [`ErrorKind::Io`] when the system's root certificates cannot be read.
pub(crate) fn config(protocols: &[&str]) -> Result<rustls::ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = rustls_platform_verifier::Verifier::new(provider.clone())
        .map_err(|error| setup_error(ErrorKind::Io, "cannot read the system's root certificates").with_source(error))?;
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| {
            setup_error(ErrorKind::Internal, "the provider supports no protocol version").with_source(error)
        })?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    tls.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    Ok(tls)
}

/// An error of the TLS setup.
pub(crate) fn setup_error(kind: ErrorKind, reason: &str) -> Error {
    Error::new(kind, format!("cannot set up TLS: {reason}"))
}
