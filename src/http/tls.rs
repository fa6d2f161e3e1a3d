//! TLS as every connection of this crate has it: ring, and the system's root certificates.

use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};

/// A configuration that offers these protocols, the preferred one first.
///
/// # Errors
/// [`ErrorKind::Io`] when the system's root certificates cannot be read.
pub(crate) fn config(protocols: &[&str]) -> Result<rustls::ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = rustls_platform_verifier::Verifier::new(provider.clone())
        .map_err(|error| failed(ErrorKind::Io, "the system's root certificates cannot be read").with_source(error))?;
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(ErrorKind::Internal, "no protocol version fits").with_source(error))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    tls.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    Ok(tls)
}

pub(crate) fn failed(kind: ErrorKind, what: &str) -> Error {
    Error::new(kind, format!("TLS cannot be set up: {what}"))
}
