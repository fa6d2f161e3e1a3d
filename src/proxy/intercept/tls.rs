//! Terminates the TLS connections of clients.

use std::io;

use rustls::server::Acceptor;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use super::host::Host;
use super::{Destination, Interceptor};
use crate::error::{Error, ErrorKind};

/// The first byte of a TLS connection: a handshake record.
pub(in crate::proxy) const HANDSHAKE: u8 = 22;

impl Interceptor {
    /// Accepts the TLS connection of a client to an intercepted host.
    ///
    /// # Errors
    /// `None` if the client has closed the connection before it began, otherwise the reason for the session.
    pub(in crate::proxy) async fn accept<S>(
        &self,
        stream: S,
        destination: &Destination,
    ) -> Result<TlsStream<S>, Option<Error>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let start = match LazyConfigAcceptor::new(Acceptor::default(), stream).await {
            Ok(start) => start,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(None),
            Err(error) => return Err(Some(not_tls(&destination.host, error))),
        };
        let config = self.tls(&destination.host).map_err(Some)?;
        let accepted = start.into_stream(config).await;
        accepted.map_err(|error| Some(refused(&destination.host, error)))
    }
}

/// The reason for which a TLS connection to the proxy itself is refused.
pub(in crate::proxy) fn to_proxy_itself() -> Error {
    Error::new(
        ErrorKind::Request,
        "a client opened a TLS connection to the proxy itself",
    )
    .with_hint("set HTTPS_PROXY to the URL of the proxy, which begins with http://")
}

fn not_tls(host: &Host, error: io::Error) -> Error {
    let message = format!("a client opened a connection for {host} and did not begin with TLS");
    Error::new(ErrorKind::Request, message).with_source(error)
}

/// A failed handshake. Usually the client does not trust the authority.
fn refused(host: &Host, error: io::Error) -> Error {
    Error::new(ErrorKind::Request, format!("the TLS connection of a client to {host} failed"))
        .with_source(error)
        .with_hint(
            "a client that reads its certificates from elsewhere does not trust the proxy: see docs/interception.md, or set the base URL of the client",
        )
}
