//! The localhost proxy: an HTTP server that records and replays for programs in any language.

mod connection;
mod guard;
mod intercept;
mod read;
mod response;
mod service;
mod sessions;
mod websocket;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use self::connection::Server;
use self::guard::Guard;
use self::intercept::Interceptor;
#[cfg(feature = "cli")]
pub(crate) use self::intercept::certificate_pem;
pub use self::intercept::{Connections, Interception};
use self::service::Service;
pub(crate) use self::sessions::OpenSessions;
use self::sessions::Sessions;
use crate::error::{Error, ErrorKind, Result};
use crate::recorder::{Recorder, Summary};
use crate::upstream::Upstream;

/// The time that clients have at shutdown to read the rest of their responses, after all recordings are complete.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(3);

/// The default limit for the arrival of a request head, and for an idle connection. Clients close their idle
/// connections earlier, so that the proxy does not close a connection while a request arrives.
const IDLE_TIMEOUT: Duration = Duration::from_secs(120);

/// The default limit for the body of a request, in bytes: twice the largest file that the API accepts.
const MAX_BODY_BYTES: u64 = 1 << 30;

/// An HTTP server on this machine that responds like the Mistral API. Set it as the base URL of any client.
///
/// - The proxy accepts any method, path and body, and streams responses to the client as they arrive.
/// - `/c/<scope>/v1/…` records and replays in a [`Scope`](crate::Scope), so that one proxy serves many tests.
/// - Errors have the format of the API's errors. Their status is one that no SDK retries (424), unless the upstream
///   failed (502, 504).
///
/// ```no_run
/// use mistral_cassette::proxy::Proxy;
/// use mistral_cassette::{DirectoryEngine, Recorder, Upstream};
///
/// # async fn example() -> mistral_cassette::Result<()> {
/// let recorder = Recorder::builder(DirectoryEngine::new("cassettes")).build()?;
/// let proxy = Proxy::start("127.0.0.1:0", recorder, Upstream::from_env()?).await?;
/// println!("listening on {}", proxy.url());
/// // … run a program that uses the URL …
/// let summary = proxy.stop().await?;
/// # Ok(()) }
/// ```
///
/// Dropping the proxy stops it at once, without waiting for requests or recordings.
#[derive(Debug)]
#[must_use = "dropping the proxy stops it"]
pub struct Proxy {
    address: SocketAddr,
    stop: Arc<Notify>,
    serving: JoinHandle<()>,
    recorder: Recorder,
    certificate: Option<String>,
    connections: Connections,
    #[cfg_attr(
        not(feature = "cli"),
        expect(dead_code, reason = "only the command accepts from another listener")
    )]
    server: Arc<Server>,
}

/// Builds a [`Proxy`]: which clients it accepts, and its limits.
#[derive(Clone, Debug)]
#[must_use = "call `start` to start the proxy"]
pub struct ProxyBuilder {
    guard: Guard,
    allows_remote: bool,
    idle_timeout: Duration,
    max_body_bytes: u64,
    interception: Option<Interception>,
    sessions: Option<OpenSessions>,
}

impl ProxyBuilder {
    /// Allows listening on an address that other machines can reach. Every machine that reaches the proxy can use your
    /// API key and read your recordings.
    pub fn allow_remote(mut self) -> Self {
        self.allows_remote = true;
        self
    }

    /// Allows a host name, without a port, in the `Host` header, in addition to `localhost`, loopback addresses and the
    /// listen address. Requests for any other host are refused (421), which protects against DNS rebinding.
    ///
    /// # Errors
    /// [`ErrorKind::Settings`] if the host name is invalid.
    pub fn allow_host(mut self, name: &str) -> Result<Self> {
        self.guard.allow_host(name)?;
        Ok(self)
    }

    /// Allows requests from web pages of an origin, for example `https://app.example.com`, in addition to those of
    /// `localhost` and loopback addresses. Requests from pages of any other origin are refused (403).
    ///
    /// # Errors
    /// [`ErrorKind::Settings`] if the origin is invalid.
    pub fn allow_origin(mut self, origin: &str) -> Result<Self> {
        self.guard.allow_origin(origin)?;
        Ok(self)
    }

    /// Also intercepts requests to the real hosts of the API, from clients that use the proxy as their HTTP proxy.
    pub fn intercept(mut self, interception: Interception) -> Self {
        self.interception = Some(interception);
        self
    }

    /// Answers requests in these sessions, which their owner opens and closes. The recorder of the proxy answers only requests
    /// that belong to none of them.
    #[cfg(feature = "cli")]
    pub(crate) fn sessions(mut self, sessions: OpenSessions) -> Self {
        self.sessions = Some(sessions);
        self
    }

    /// Sets the limit for an idle connection and for the arrival of a request head. The default is 120 seconds, the
    /// minimum is two milliseconds, the maximum is one year.
    pub fn idle_timeout(mut self, limit: Duration) -> Self {
        const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
        self.idle_timeout = limit.clamp(Duration::from_millis(2), YEAR);
        self
    }

    /// Sets the limit for the body of a request, which the proxy holds in memory. The default is 1 GiB. A larger body
    /// is refused (413).
    pub fn max_body_bytes(mut self, bytes: u64) -> Self {
        self.max_body_bytes = bytes;
        self
    }

    /// Listens on an address and starts to serve. Port 0 selects a free port.
    ///
    /// # Errors
    /// [`ErrorKind::Settings`] if the address is invalid or in use, or if it is not a loopback address and
    /// [`allow_remote`](Self::allow_remote) was not called.
    pub async fn start(mut self, listen: &str, recorder: Recorder, upstream: Upstream) -> Result<Proxy> {
        let address = resolve(listen).await?;
        if !self.allows_remote && !address.ip().is_loopback() {
            return Err(Error::new(
                ErrorKind::Settings,
                format!(
                    "refusing to listen on {address}: other machines could use your API key and read your recordings"
                ),
            )
            .with_hint(
                "listen on 127.0.0.1, or allow other machines with --allow-remote, ProxyBuilder::allow_remote",
            ));
        }
        let cannot_listen = |error| {
            Error::new(ErrorKind::Settings, format!("cannot listen on {address}"))
                .with_hint("use another port, or port 0 for any free port")
                .with_source(error)
        };
        let listener = TcpListener::bind(address).await.map_err(cannot_listen)?;
        let address = listener.local_addr().map_err(cannot_listen)?;
        self.guard.set_address(listen, address);
        let stop = Arc::new(Notify::new());
        let interceptor = match self.interception {
            Some(interception) => Some(interception.start(&upstream, address, self.allows_remote)?),
            None => None,
        };
        let certificate = interceptor.as_ref().map(Interceptor::certificate);
        let connections = interceptor
            .as_ref()
            .map(|interceptor| interceptor.network.connections.clone());
        let service = Service::new(
            Sessions::new(recorder.clone(), self.sessions),
            upstream,
            self.guard,
            self.max_body_bytes,
        );
        let server = Arc::new(Server::new(service, interceptor, self.idle_timeout));
        let serving = tokio::spawn(accept(listener, server.clone(), self.idle_timeout, stop.clone()));
        Ok(Proxy {
            address,
            stop,
            serving,
            recorder,
            certificate,
            connections: connections.unwrap_or_default(),
            server,
        })
    }
}

impl Proxy {
    /// Listens on a loopback address and starts to serve. Port 0 selects a free port.
    ///
    /// # Errors
    /// The errors of [`ProxyBuilder::start`].
    pub async fn start(listen: &str, recorder: Recorder, upstream: Upstream) -> Result<Self> {
        Self::builder().start(listen, recorder, upstream).await
    }

    /// Returns a builder, to accept more clients or to change the limits.
    pub fn builder() -> ProxyBuilder {
        ProxyBuilder {
            guard: Guard::default(),
            allows_remote: false,
            idle_timeout: IDLE_TIMEOUT,
            max_body_bytes: MAX_BODY_BYTES,
            interception: None,
            sessions: None,
        }
    }

    /// Returns the base URL, without `/v1`, for example `http://127.0.0.1:49152`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The base URL in a scope.
    #[cfg(feature = "cli")]
    pub(crate) fn url_in(&self, scope: &crate::key::Scope) -> String {
        if scope.is_root() {
            return self.url();
        }
        format!("http://{}{}", self.address, read::with_scope(scope, ""))
    }

    /// The URL of the proxy as an HTTP proxy in a scope, which is its user. Some clients send no user without a password.
    #[cfg(feature = "cli")]
    pub(crate) fn proxy_url_in(&self, scope: &crate::key::Scope) -> String {
        if scope.is_root() {
            return self.url();
        }
        format!("http://{}:x@{}", read::scope_name(scope), self.address)
    }

    /// Returns the recorder, which has the session.
    pub fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    /// Returns the address that the proxy listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the certificate, as PEM, that clients must trust for [intercepted](ProxyBuilder::intercept) hosts; `None`
    /// without interception. It is valid for a day and for these hosts only, and its key exists only in this process.
    pub fn certificate(&self) -> Option<&str> {
        self.certificate.as_deref()
    }

    /// Returns the connections to hosts that are not intercepted.
    pub fn connections(&self) -> Connections {
        self.connections.clone()
    }

    /// Also accepts connections from this listener, until the proxy stops.
    #[cfg(feature = "cli")]
    pub(crate) async fn accept_from(&self, listener: TcpListener) {
        while let Some(accepted) = self.server.unless_stopped(listener.accept()).await {
            match accepted {
                Ok((stream, _)) => self.server.accept(stream),
                Err(error) => wait_for_descriptors(&error).await,
            }
        }
    }

    /// Stops accepting connections, waits for requests and recordings in progress, and returns the verdict.
    ///
    /// # Errors
    /// The errors of [`Session::verdict`](crate::Session::verdict).
    pub async fn stop(mut self) -> Result<Summary> {
        self.stop.notify_one();
        if let Err(error) = (&mut self.serving).await
            && error.is_panic()
        {
            std::panic::resume_unwind(error.into_panic());
        }
        self.recorder.finish().await
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop.notify_one();
    }
}

async fn resolve(listen: &str) -> Result<SocketAddr> {
    let found = tokio::net::lookup_host(listen)
        .await
        .ok()
        .and_then(|mut addresses| addresses.next());
    found.ok_or_else(|| {
        Error::new(ErrorKind::Settings, format!("invalid address to listen on: {listen:?}"))
            .with_hint("give a host and a port, for example 127.0.0.1:0")
    })
}

/// Waits after an error of `accept`: usually the process has no free file descriptor, until a connection closes.
async fn wait_for_descriptors(error: &std::io::Error) {
    tracing::warn!("cannot accept a connection: {error}");
    tokio::time::sleep(Duration::from_millis(20)).await;
}

/// Accepts connections until `stop` is notified, then waits for the requests in progress.
async fn accept(listener: TcpListener, server: Arc<Server>, idle_timeout: Duration, stop: Arc<Notify>) {
    // This timer is due before those of the connections. So when a connection sets its timer, tokio need not wake a thread.
    let mut heartbeat = tokio::time::interval(idle_timeout / 2);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.notified() => break,
            _ = heartbeat.tick() => continue,
        };
        match accepted {
            Ok((stream, _)) => server.accept(stream),
            Err(error) => wait_for_descriptors(&error).await,
        }
    }
    drop(listener);
    let service = server.service();
    service.sessions().skip_delays();
    let drained = server.stop();
    service.sessions().finish().await;
    if tokio::time::timeout(SHUTDOWN_GRACE, drained).await.is_err() {
        tracing::warn!("some clients did not read their responses to the end");
    }
}

/// Serves one connection that is already open.
#[cfg(all(fuzzing, feature = "cli"))]
pub(crate) async fn serve_one(
    stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    recorder: Recorder,
    upstream: Upstream,
) {
    let service = Service::new(
        Sessions::new(recorder, None),
        upstream,
        Guard::default(),
        MAX_BODY_BYTES,
    );
    Arc::new(Server::new(service, None, IDLE_TIMEOUT)).serve(stream).await;
}
