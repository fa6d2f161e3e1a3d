//! Serves the connections of clients: at the URL of the proxy, and to intercepted hosts.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::intercept::{
    Destination, HANDSHAKE, Host, Interceptor, PREFACE, Route, Scheme, forward, read_preface, to_proxy_itself,
};
use super::read::scope_of_user;
use super::response::{self, Refusal, ResponseBody};
use super::service::Service;
use crate::error::{Error, ErrorKind, Result};
use crate::key::Scope;

/// The limit for the head of an HTTP/2 request, in bytes.
const MAX_HEAD_BYTES: u32 = 64 * 1024;

/// What reports name in place of a request line if a connection has none.
const TLS: &str = "TLS handshake";

/// What all connections of a proxy share.
pub(super) struct Server {
    service: Arc<Service>,
    interceptor: Option<Interceptor>,
    idle_timeout: Duration,
    /// Cancelled when the proxy stops.
    stopping: CancellationToken,
    /// The connections, and the tunnels that they have become.
    connections: TaskTracker,
}

impl Server {
    pub(super) fn new(service: Service, interceptor: Option<Interceptor>, idle_timeout: Duration) -> Self {
        Self {
            service: Arc::new(service),
            interceptor,
            idle_timeout,
            stopping: CancellationToken::new(),
            connections: TaskTracker::new(),
        }
    }

    pub(super) fn service(&self) -> &Service {
        &self.service
    }

    /// Serves a connection in a task of its own.
    pub(super) fn accept(self: &Arc<Self>, stream: TcpStream) {
        // The events of a stream are small, and each must be sent at once.
        let _ = stream.set_nodelay(true);
        let server = self.clone();
        if self.interceptor.is_none() {
            self.connections.spawn(async move { server.serve(stream).await });
            return;
        }
        self.connections.spawn(async move {
            let mut first = [0];
            let peeked = server.in_time(stream.peek(&mut first)).await;
            match (peeked, first) {
                // It may be a web page, so it does not fail the session.
                (Some(Ok(1)), [HANDSHAKE]) => server.service.recorder().report_refusal(TLS, &to_proxy_itself()),
                (Some(Ok(1)), [PREFACE]) => server.serve_preloaded(stream).await,
                (Some(Ok(1)), _) => server.serve(stream).await,
                _ => {}
            }
        });
    }

    /// Ends all connections after the requests in progress. Returns a future that waits for the end.
    pub(super) fn stop(&self) -> impl Future<Output = ()> + Send + 'static {
        self.stopping.cancel();
        self.connections.close();
        let connections = self.connections.clone();
        async move { connections.wait().await }
    }

    /// The result of a future, unless the proxy stops.
    #[cfg(feature = "cli")]
    pub(super) async fn unless_stopped<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        self.stopping.run_until_cancelled(future).await
    }

    /// The result of a future, unless it takes too long or the proxy stops.
    async fn in_time<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            result = tokio::time::timeout(self.idle_timeout, future) => result.ok(),
            () = self.stopping.cancelled() => None,
        }
    }

    /// Serves a connection to the URL of the proxy.
    pub(super) async fn serve<S>(self: &Arc<Self>, stream: S)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let server = self.clone();
        let service = service_fn(move |request| server.clone().call(request));
        let connection = self.http1().serve_connection(TokioIo::new(stream), service);
        self.drive(
            connection.with_upgrades(),
            http1::UpgradeableConnection::graceful_shutdown,
        )
        .await;
    }

    fn http1(&self) -> http1::Builder {
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(self.idle_timeout);
        builder
    }

    /// Polls a connection to its end. When the proxy stops, the connection is shut down: it accepts no more requests.
    async fn drive<C>(&self, connection: C, shut_down: impl FnOnce(Pin<&mut C>))
    where
        C: Future<Output = hyper::Result<()>>,
    {
        let mut connection = std::pin::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = self.stopping.cancelled() => {
                shut_down(connection.as_mut());
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!("a connection ended: {error}");
        }
    }

    /// Responds to a request at the URL of the proxy, or to a client that uses it as an HTTP proxy.
    async fn call(self: Arc<Self>, request: Request<Incoming>) -> Result<Response<ResponseBody>> {
        let service = self.service.clone();
        let Some(interceptor) = &self.interceptor else {
            return service.call(request, Route::Direct).await;
        };
        let is_connect = request.method() == Method::CONNECT;
        if !is_connect && request.uri().authority().is_none() {
            return service.call(request, Route::Direct).await;
        }
        let line = format!("{} {}", request.method(), request.uri());
        let routed = if is_connect {
            Box::pin(self.connect(interceptor, request)).await
        } else {
            match self.route_of(interceptor, &request) {
                Ok(route) => return service.call(request, route).await,
                Err(refusal) => Err(refusal),
            }
        };
        Ok(routed.unwrap_or_else(|refusal| {
            match refusal.is_failure {
                true => service.recorder().report_failure(&line, &refusal.error),
                false => tracing::info!("{}", refusal.error.in_one_line()),
            }
            refusal.response_with_reason()
        }))
    }

    /// The route of a request whose target has a host (absolute form).
    fn route_of(&self, interceptor: &Interceptor, request: &Request<Incoming>) -> Result<Route, Refusal> {
        let scheme = match request.uri().scheme_str() {
            Some("https") => Scheme::Https,
            _ => Scheme::Http,
        };
        let authority = request.uri().authority().map_or("", |authority| authority.as_str());
        let host = Host::parse(authority, scheme.default_port());
        let host = host.ok_or_else(|| bad_request(format!("invalid host: {authority:?}")))?;
        if let Some(destination) = interceptor.destination(&host, scheme).map_err(unusable)? {
            let scope = scope_of_user(request.headers()).map_err(unusable)?;
            return Ok(Route::Intercepted(destination, scope));
        }
        if self.service.guard().is_named_by(authority) {
            return Ok(Route::Direct);
        }
        Err(interceptor.network.refuse_plain_http(&host))
    }

    /// Responds to `CONNECT`: the connection becomes one to an intercepted host, or a tunnel.
    async fn connect(
        self: &Arc<Self>,
        interceptor: &Interceptor,
        request: Request<Incoming>,
    ) -> Result<Response<ResponseBody>, Refusal> {
        let authority = request.uri().authority().map_or("", |authority| authority.as_str());
        let host = Host::parse(authority, Scheme::Https.default_port());
        let host = host.ok_or_else(|| bad_request(format!("invalid host: {authority:?}")))?;
        let scope = scope_of_user(request.headers()).map_err(unusable)?;
        let server = self.clone();
        if let Some(destination) = interceptor.destination(&host, Scheme::Https).map_err(unusable)? {
            self.connections.spawn(async move {
                if let Some(stream) = server.upgraded(request).await {
                    server.serve_tls(stream, destination, scope).await;
                }
            });
        } else {
            let upstream = match interceptor.network.connect(&host).await {
                // Programs handle a failed connection, but seldom an error response of a proxy. So the tunnel is accepted and
                // closed, and fails in the TLS handshake.
                Err(refusal) if refusal.error.kind() == ErrorKind::Upstream => {
                    tracing::info!("{}", refusal.error.in_one_line());
                    None
                }
                connected => Some(connected?),
            };
            self.connections.spawn(async move {
                let stream = server.upgraded(request).await;
                if let (Some(stream), Some(upstream)) = (stream, upstream) {
                    tokio::select! {
                        () = forward(stream, upstream) => {}
                        () = server.stopping.cancelled() => {}
                    }
                }
            });
        }
        Ok(Response::new(ResponseBody::Complete(None)))
    }

    /// The connection after the response to `CONNECT`.
    async fn upgraded(
        &self,
        request: Request<Incoming>,
    ) -> Option<impl AsyncRead + AsyncWrite + Unpin + Send + 'static> {
        let upgraded = self.in_time(hyper::upgrade::on(request)).await?;
        upgraded.ok().map(TokioIo::new)
    }

    /// Serves a TLS connection of the preload for Node.js, which names the host in a line before it.
    async fn serve_preloaded(&self, mut stream: TcpStream) {
        let Some(interceptor) = &self.interceptor else { return };
        let Some(preface) = self.in_time(read_preface(&mut stream)).await else {
            return;
        };
        let destination = preface.and_then(|(host, headers)| {
            let scope = scope_of_user(&headers)?;
            let destination = interceptor.destination(&host, Scheme::Https)?;
            let message = || Error::new(ErrorKind::Request, format!("{host} is not intercepted"));
            Ok((destination.ok_or_else(message)?, scope))
        });
        match destination {
            Ok((destination, scope)) => self.serve_tls(stream, destination, scope).await,
            Err(error) => {
                self.service.recorder().report_failure(TLS, &error);
            }
        }
    }

    /// Serves a TLS connection to an intercepted host.
    async fn serve_tls<S>(&self, stream: S, destination: Arc<Destination>, scope: Option<Scope>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Some(interceptor) = &self.interceptor else { return };
        let stream = match self.in_time(interceptor.accept(stream, &destination)).await {
            Some(Ok(stream)) => stream,
            Some(Err(Some(error))) => {
                self.service.recorder().report_failure(TLS, &error);
                return;
            }
            // The client has closed the connection, or sends nothing.
            Some(Err(None)) | None => return,
        };
        let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        let route = Route::Intercepted(destination, scope);
        let service = self.service.clone();
        let service = service_fn(move |request| service.clone().call(request, route.clone()));
        let stream = TokioIo::new(stream);
        if is_http2 {
            let mut builder = http2::Builder::new(TokioExecutor::new());
            builder
                .timer(TokioTimer::new())
                .max_header_list_size(MAX_HEAD_BYTES)
                .keep_alive_interval(self.idle_timeout / 2)
                .keep_alive_timeout(self.idle_timeout / 2);
            let connection = builder.serve_connection(stream, service);
            self.drive(connection, http2::Connection::graceful_shutdown).await;
        } else {
            let connection = self.http1().serve_connection(stream, service).with_upgrades();
            self.drive(connection, http1::UpgradeableConnection::graceful_shutdown)
                .await;
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("connections", &self.connections.len())
            .finish_non_exhaustive()
    }
}

/// The refusal of a request that cannot be read.
fn bad_request(message: String) -> Refusal {
    unusable(Error::new(ErrorKind::Request, message))
}

/// The refusal of a request that names no usable scope or host.
fn unusable(error: Error) -> Refusal {
    Refusal::new(response::status_of(&error), error).failing()
}
