//! Connections to hosts that are not intercepted: bytes pass in both directions, and nothing is recorded.

use std::io;
use std::sync::LazyLock;
use std::time::Duration;

use http::{StatusCode, Uri};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tower_service::Service as _;

use super::Network;
use super::host::Host;
use crate::error::{Error, ErrorKind};
use crate::proxy::response::Refusal;

/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// The user's own proxy, from the variables of this process.
static PROXY: LazyLock<Matcher> = LazyLock::new(Matcher::from_env);

impl Network {
    /// Connects to a host that is not intercepted: directly, or through the user's own proxy.
    ///
    /// # Errors
    /// A refusal with status 403 if the connection is not allowed, 502 or 504 if it fails.
    pub(in crate::proxy) async fn connect(&self, host: &Host) -> Result<TcpStream, Refusal> {
        self.check(host)?;
        let connected = tokio::time::timeout(CONNECT_TIMEOUT, async {
            let uri: Uri = format!("https://{host}")
                .parse()
                .map_err(|error| unreachable(host, error))?;
            match PROXY.intercept(&uri) {
                Some(proxy) => through_proxy(host, uri, &proxy).await,
                None => self.connect_directly(host).await,
            }
        });
        connected.await.unwrap_or_else(|_| {
            let message = format!("{host} did not accept a connection in time");
            Err(Refusal::new(
                StatusCode::GATEWAY_TIMEOUT,
                Error::new(ErrorKind::Upstream, message),
            ))
        })
    }

    async fn connect_directly(&self, host: &Host) -> Result<TcpStream, Refusal> {
        let addresses = tokio::net::lookup_host((host.name.as_str(), host.port));
        let addresses = addresses.await.map_err(|error| unreachable(host, error))?;
        let mut failure = None;
        for address in addresses {
            self.check_address(host, address)?;
            match TcpStream::connect(address).await {
                Ok(stream) => {
                    let local = stream.local_addr().map_err(|error| unreachable(host, error))?;
                    self.check_connected(host, local.ip(), address)?;
                    let _ = stream.set_nodelay(true);
                    return Ok(stream);
                }
                Err(error) => failure = Some(error),
            }
        }
        Err(unreachable(
            host,
            failure.unwrap_or_else(|| io::ErrorKind::NotFound.into()),
        ))
    }
}

async fn through_proxy(host: &Host, uri: Uri, proxy: &Intercept) -> Result<TcpStream, Refusal> {
    if proxy.uri().scheme_str() != Some("http") {
        let message = format!(
            "the proxy {} cannot be used: only http:// is supported",
            proxy.uri().host().unwrap_or_default()
        );
        return Err(Refusal::new(
            StatusCode::BAD_GATEWAY,
            Error::new(ErrorKind::Upstream, message).with_hint("set HTTPS_PROXY to a proxy with http://"),
        ));
    }
    let mut tunnel = Tunnel::new(proxy.uri().clone(), HttpConnector::new());
    if let Some(credentials) = proxy.basic_auth() {
        tunnel = tunnel.with_auth(credentials.clone());
    }
    let stream = tunnel.call(uri).await.map_err(|error| unreachable(host, error))?;
    Ok(stream.into_inner())
}

fn unreachable(host: &Host, error: impl std::error::Error + Send + Sync + 'static) -> Refusal {
    Refusal::new(
        StatusCode::BAD_GATEWAY,
        Error::new(ErrorKind::Upstream, format!("{host} cannot be reached")).with_source(error),
    )
}

/// Passes bytes in both directions until both sides have ended.
pub(in crate::proxy) async fn forward(mut client: impl AsyncRead + AsyncWrite + Unpin, mut server: TcpStream) {
    // A side that closes its connection early is not an error of the session.
    if let Err(error) = tokio::io::copy_bidirectional(&mut client, &mut server).await {
        tracing::debug!("a tunnel ended: {error}");
    }
}
