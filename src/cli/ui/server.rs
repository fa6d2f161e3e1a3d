//! The server of the page: one listener on a loopback address, for few connections.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::guard::{Guard, Token};
use super::log::RequestLog;
use super::recordings::Recordings;
use super::routes::Routes;
use crate::cli::arguments::PriceTable;
use crate::cli::proxy_session::ProxyArguments;
use crate::engine::CacheEngine;
use crate::error::{Error, ErrorKind, Result};
use crate::proxy::Proxy;
use crate::recorder::{Recorder, RequestListener};

/// How many connections are open at a time. A browser opens six at most.
const MAX_CONNECTIONS: usize = 64;

/// The limit for a request head, and for an idle connection.
const IDLE: Duration = Duration::from_secs(30);

/// How long the end of the process waits for browsers to read that the session has ended.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// The page of a session.
pub(super) struct LiveView {
    listener: Option<TcpListener>,
    address: SocketAddr,
    token: Token,
    log: Arc<RequestLog>,
    stopping: CancellationToken,
    connections: TaskTracker,
}

impl LiveView {
    /// Listens on this port of 127.0.0.1. Connections wait until the page is [served](Self::serve).
    ///
    /// # Errors
    /// [`ErrorKind::Settings`]: the port is in use.
    pub(super) async fn open(port: u16) -> Result<Self> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let cannot_listen = |error| {
            Error::new(
                ErrorKind::Settings,
                format!("cannot listen on {address} for the live view"),
            )
            .with_hint("use another --ui-port, or none for any free port")
            .with_source(error)
        };
        let listener = TcpListener::bind(address).await.map_err(cannot_listen)?;
        Ok(Self {
            address: listener.local_addr().map_err(cannot_listen)?,
            listener: Some(listener),
            token: Token::new()?,
            log: Arc::new(RequestLog::new()),
            stopping: CancellationToken::new(),
            connections: TaskTracker::new(),
        })
    }

    /// The address of the page.
    pub(super) fn url(&self) -> String {
        format!("http://{}/{}/", self.address, self.token.as_str())
    }

    /// What the sessions report their requests to.
    pub(super) fn listener(&self) -> Arc<dyn RequestListener> {
        self.log.clone()
    }

    /// Serves the page of a proxy that records in this engine.
    ///
    /// # Errors
    /// The store or the price table cannot be opened.
    pub(super) fn serve(
        &mut self,
        proxy: &Proxy,
        arguments: &ProxyArguments,
        engine: Arc<dyn CacheEngine>,
    ) -> Result<()> {
        let Some(listener) = self.listener.take() else {
            return Ok(());
        };
        let recorder = proxy.recorder().clone();
        let routes = Routes {
            guard: Guard::new(self.address, self.token.clone()),
            log: self.log.clone(),
            proxy: format!("{}, mode {}", proxy.url(), recorder.mode()),
            recorder,
            recordings: Recordings {
                store: arguments.directory.open()?,
                engine,
                prices: PriceTable::from_environment().read()?,
            },
            reading: Mutex::default(),
        };
        let (stopping, connections) = (self.stopping.clone(), self.connections.clone());
        tokio::spawn(accept(listener, Arc::new(routes), stopping, connections));
        Ok(())
    }

    /// Says to all browsers that the session has ended, and stops.
    pub(super) async fn end(self, recorder: &Recorder) {
        self.log.end(recorder.session().summary().to_string());
        self.stopping.cancel();
        self.connections.close();
        // A browser that does not read in time misses the last events.
        let _ = tokio::time::timeout(LAST_WAIT, self.connections.wait()).await;
    }
}

async fn accept(listener: TcpListener, routes: Arc<Routes>, stopping: CancellationToken, connections: TaskTracker) {
    let free = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    while let Some(accepted) = stopping.run_until_cancelled(listener.accept()).await {
        let Ok((stream, _)) = accepted else {
            // Usually the process has no free file descriptor.
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        // The connection is closed if there are too many.
        if let Ok(permit) = free.clone().try_acquire_owned() {
            let (routes, stopping) = (routes.clone(), stopping.clone());
            connections.spawn(async move {
                serve_connection(stream, routes, stopping).await;
                drop(permit);
            });
        }
    }
}

/// Serves a connection to its end, or to that of the session: then the response in progress is the last one.
async fn serve_connection(stream: TcpStream, routes: Arc<Routes>, stopping: CancellationToken) {
    // Events are small, and each must be sent at once.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let routes = routes.clone();
        async move {
            let (head, _) = request.into_parts();
            Ok::<_, Infallible>(routes.answer(&head).await)
        }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(IDLE);
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stopping.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!("a connection of the live view ended: {error}");
    }
}
