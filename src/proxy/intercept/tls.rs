//! Ends the TLS of clients in the proxy.

use std::io;
use std::sync::Arc;

use rustls::server::Acceptor;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use super::host::Host;
use super::{Destination, Interceptor, Scheme};
use crate::error::{Error, ErrorKind};

/// The first byte of a TLS connection: a handshake record.
pub(in crate::proxy) const HANDSHAKE: u8 = 22;

impl Interceptor {
    /// Accepts the TLS connection of a client to an intercepted host. Without a host, which a client that was redirected
    /// to the proxy does not tell it, the host is the one that the client names in the handshake.
    ///
    /// # Errors
    /// `None` if the client has closed the connection before it began, otherwise the reason for the session.
    pub(in crate::proxy) async fn accept<S>(
        &self,
        stream: S,
        destination: Option<Arc<Destination>>,
    ) -> Result<(TlsStream<S>, Arc<Destination>), Option<Error>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let start = match LazyConfigAcceptor::new(Acceptor::default(), stream).await {
            Ok(start) => start,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(None),
            Err(error) => return Err(Some(not_tls(destination.as_deref(), error))),
        };
        let destination = match destination {
            Some(destination) => destination,
            None => self.named_by(start.client_hello().server_name()).map_err(Some)?,
        };
        let config = self.tls(&destination.host).map_err(Some)?;
        match start.into_stream(config).await {
            Ok(stream) => Ok((stream, destination)),
            Err(error) => Err(Some(refused(&destination.host, error))),
        }
    }

    fn named_by(&self, name: Option<&str>) -> Result<Arc<Destination>, Error> {
        let host = name.and_then(|name| Host::parse(name, 443)).ok_or_else(|| {
            Error::new(
                ErrorKind::Request,
                "a client opened a TLS connection to the proxy and named no host",
            )
            .with_hint("set HTTPS_PROXY to the URL of the proxy, which begins with http://")
        })?;
        self.destination(&host, Scheme::Https)?.ok_or_else(|| {
            Error::new(
                ErrorKind::Request,
                format!("a client opened a TLS connection to the proxy for {host}, which is not intercepted"),
            )
            .with_hint(format!("intercept the host with --intercept {host}"))
        })
    }
}

fn not_tls(destination: Option<&Destination>, error: io::Error) -> Error {
    let host = destination.map_or_else(String::new, |destination| format!(" for {}", destination.host));
    Error::new(
        ErrorKind::Request,
        format!("a client opened a connection{host} and did not begin with TLS"),
    )
    .with_source(error)
}

/// A failed handshake. Usually the client does not trust the authority.
fn refused(host: &Host, error: io::Error) -> Error {
    Error::new(ErrorKind::Request, format!("the TLS connection of a client to {host} failed"))
        .with_source(error)
        .with_hint(
            "a client that reads its certificates from elsewhere does not trust the proxy: see docs/interception.md, or set the base URL of the client",
        )
}
