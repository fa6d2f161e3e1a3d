//! The localhost proxy: a door for programs in any language.

mod guard;
mod response;

use std::any::Any;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::poll_immediate;
use http::StatusCode;
use http::request::Parts;
use http::uri::PathAndQuery;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulConnection, GracefulShutdown};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

use self::guard::Guard;
use self::response::{AnswerBody, Refusal};
use crate::error::{Error, ErrorKind, Result};
use crate::http::Request;
use crate::key::Scope;
use crate::recorder::Recorder;
use crate::recorder::Summary;
use crate::upstream::Upstream;

/// What precedes a scope in a path: `/c/<scope>/v1/…`.
const SCOPE_PREFIX: &str = "/c/";

/// How long callers may take, after everything is recorded, to read the rest of their answers.
const GRACE: Duration = Duration::from_secs(3);

/// How long a caller may take to say what it asks, and to ask again on the same connection. Clients give their idle
/// connections up sooner, so that none is closed under a request.
const IDLE: Duration = Duration::from_secs(120);

/// The most bytes of a request's body: twice the largest file that the API takes.
const BODY_BYTES: u64 = 1 << 30;

/// An HTTP server on this machine that answers as the Mistral API would: point any client's base URL at it.
///
/// Any method and path is taken, with bodies of any kind; streams are handed on as they arrive. `/c/<scope>/v1/…`
/// records and replays in a [`Scope`], so that one proxy serves many tests. A request that cannot be answered gets an
/// error in the API's own shape, with a status that no SDK retries (424) unless the upstream itself failed (502, 504).
///
/// ```no_run
/// use mistral_cassette::proxy::Proxy;
/// use mistral_cassette::{DirectoryEngine, Recorder, Upstream};
///
/// # async fn example() -> mistral_cassette::Result<()> {
/// let recorder = Recorder::builder(DirectoryEngine::new("cassettes")).build()?;
/// let proxy = Proxy::start("127.0.0.1:0", recorder, Upstream::from_env()?).await?;
/// println!("listening on {}", proxy.url());
/// // … run what uses it …
/// let summary = proxy.stop().await?;
/// # Ok(()) }
/// ```
///
/// Dropping it stops it too, without waiting for anything.
#[derive(Debug)]
#[must_use = "a proxy that is dropped stops"]
pub struct Proxy {
    address: SocketAddr,
    stop: Arc<Notify>,
    serving: JoinHandle<()>,
    recorder: Recorder,
}

/// How a [`Proxy`] is started: who may ask, and how much.
#[derive(Clone, Debug)]
#[must_use = "it starts nothing by itself"]
pub struct ProxyBuilder {
    guard: Guard,
    may_be_remote: bool,
    idle: Duration,
    body_bytes: u64,
}

impl ProxyBuilder {
    /// Allows addresses that other machines reach: whoever reaches it can use your API key and read your recordings.
    pub fn allow_remote(mut self) -> Self {
        self.may_be_remote = true;
        self
    }

    /// Lets callers name this host, without a port, beside `localhost`, loopback addresses and what it listens on. Callers
    /// that name another one are refused (421): a web page whose host name leads here is nobody's business.
    ///
    /// # Errors
    /// [`ErrorKind::Settings`] when it is no name of a host.
    pub fn allow_host(mut self, name: &str) -> Result<Self> {
        self.guard.allow_host(name)?;
        Ok(self)
    }

    /// Lets web pages of this origin ask, such as `https://app.example.com`, beside those of `localhost` and loopback addresses.
    /// Pages of other sites are refused (403).
    ///
    /// # Errors
    /// [`ErrorKind::Settings`] when it is no origin.
    pub fn allow_origin(mut self, origin: &str) -> Result<Self> {
        self.guard.allow_origin(origin)?;
        Ok(self)
    }

    /// How long a connection may be idle, and the head of a request take to arrive: 120 seconds by default, two milliseconds at
    /// least and a year at most.
    pub fn idle_timeout(mut self, limit: Duration) -> Self {
        const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
        self.idle = limit.clamp(Duration::from_millis(2), YEAR);
        self
    }

    /// The most bytes of a request's body, which is held in memory: 1 GiB by default. A larger one is refused (413).
    pub fn max_body_bytes(mut self, bytes: u64) -> Self {
        self.body_bytes = bytes;
        self
    }

    /// Listens on an address (port 0 takes a free one) and starts to serve.
    ///
    /// # Errors
    /// [`ErrorKind::Settings`]: no address, not a loopback address unless that is [allowed](Self::allow_remote), or a port
    /// that is taken.
    pub async fn start(mut self, listen: &str, recorder: Recorder, upstream: Upstream) -> Result<Proxy> {
        let address = resolve(listen).await?;
        if !self.may_be_remote && !address.ip().is_loopback() {
            return Err(Error::new(
                ErrorKind::Settings,
                format!(
                    "refusing to listen on {address}: others could use your API key and read your recordings through it"
                ),
            )
            .with_hint("listen on 127.0.0.1, or allow it by name: --allow-remote, ProxyBuilder::allow_remote"));
        }
        let cannot = |error| {
            Error::new(ErrorKind::Settings, format!("cannot listen on {address}"))
                .with_hint("take another port, or port 0 for any that is free")
                .with_source(error)
        };
        let listener = TcpListener::bind(address).await.map_err(cannot)?;
        let address = listener.local_addr().map_err(cannot)?;
        self.guard.listens_on(listen, address);
        let stop = Arc::new(Notify::new());
        let door = Door {
            recorder: recorder.clone(),
            upstream,
            requests: TaskTracker::new(),
            terms: self,
        };
        let serving = tokio::spawn(accept(listener, Arc::new(door), stop.clone()));
        Ok(Proxy {
            address,
            stop,
            serving,
            recorder,
        })
    }
}

impl Proxy {
    /// Listens on a loopback address (port 0 takes a free one) and starts to serve.
    ///
    /// # Errors
    /// As [`ProxyBuilder::start`].
    pub async fn start(listen: &str, recorder: Recorder, upstream: Upstream) -> Result<Self> {
        Self::builder().start(listen, recorder, upstream).await
    }

    /// A proxy that others may ask, too.
    pub fn builder() -> ProxyBuilder {
        ProxyBuilder {
            guard: Guard::default(),
            may_be_remote: false,
            idle: IDLE,
            body_bytes: BODY_BYTES,
        }
    }

    /// The base URL, without `/v1`, such as `http://127.0.0.1:49152`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The recorder, for its session.
    pub fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops taking requests, finishes those under way and their recordings, and gives the verdict.
    ///
    /// # Errors
    /// As [`Session::verdict`](crate::Session::verdict).
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
        Error::new(ErrorKind::Settings, format!("{listen:?} is no address to listen on"))
            .with_hint("give host and port, as in 127.0.0.1:0")
    })
}

async fn accept(listener: TcpListener, door: Arc<Door>, stop: Arc<Notify>) {
    let connections = GracefulShutdown::new();
    // A timer that is due before that of any connection, which then wakes no thread when it is set.
    let mut heartbeat = tokio::time::interval(door.terms.idle / 2);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.notified() => break,
            _ = heartbeat.tick() => continue,
        };
        match accepted {
            Ok((stream, _)) => {
                // A stream's events are small, and each must leave at once.
                let _ = stream.set_nodelay(true);
                let connection = connection(stream, door.clone());
                tokio::spawn(connections.watch(connection));
            }
            Err(error) => {
                // Out of file descriptors, mostly: one that closes makes room.
                tracing::warn!("a connection could not be accepted: {error}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
    drop(listener);
    door.recorder.skip_delays();
    let drained = tokio::spawn(connections.shutdown());
    door.requests.close();
    door.requests.wait().await;
    let _ = door.recorder.finish().await;
    if tokio::time::timeout(GRACE, drained).await.is_err() {
        tracing::warn!("some callers had not read their answers to the end");
    }
}

fn connection<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    door: Arc<Door>,
) -> impl GracefulConnection<Error = hyper::Error> + Send {
    let idle = door.terms.idle;
    let service = service_fn(move |request| door.clone().admit(request));
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(idle)
        .serve_connection(TokioIo::new(stream), service)
}

/// Serves one connection that is there already, to its end.
#[cfg(all(fuzzing, feature = "cli"))]
pub(crate) async fn serve_one(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    recorder: Recorder,
    upstream: Upstream,
) -> hyper::Result<()> {
    let door = Door {
        recorder,
        upstream,
        requests: TaskTracker::new(),
        terms: Proxy::builder(),
    };
    connection(stream, Arc::new(door)).await
}

struct Door {
    recorder: Recorder,
    upstream: Upstream,
    requests: TaskTracker,
    terms: ProxyBuilder,
}

impl Door {
    /// The answer to who may ask; an error closes the connection without one.
    async fn admit(self: Arc<Self>, request: http::Request<Incoming>) -> Result<http::Response<AnswerBody>> {
        let (head, body) = request.into_parts();
        let page = match self.terms.guard.admit(&head) {
            Ok(page) => page,
            Err(refusal) => {
                self.recorder.session().refused(&refusal.error);
                return Ok(refusal.answer());
            }
        };
        if let Some(answer) = page.as_ref().and_then(|page| guard::preflight(&head, page)) {
            return Ok(answer);
        }
        let mut answer = self.answer(head, body).await?;
        guard::admit_page(answer.headers_mut(), page.as_ref());
        Ok(answer)
    }

    async fn answer(self: &Arc<Self>, head: Parts, body: Incoming) -> Result<http::Response<AnswerBody>> {
        let (scope, request) = match read(head, body, self.terms.body_bytes).await {
            Ok(read) => read,
            Err(Refusal { status, error }) => {
                self.recorder.session().failed(&error);
                return Ok(response::of_error_as(&error, status));
            }
        };
        let door = self.clone();
        // Boxed before anything else, so that it is not copied at each step.
        let answering = Box::pin(async move {
            let recorder = door.recorder.scoped(scope);
            recorder.answer(request, door.upstream.clone()).await
        });
        let answered = at_once_or_apart(self.requests.track_future(answering)).await;
        Ok(match answered {
            Ok(Ok(response)) => response::of(response),
            Ok(Err(error)) if error.is_injected() => return Err(error),
            Ok(Err(error)) => response::of_error(&error),
            Err(panic) => {
                let what = format!(
                    "the proxy failed on this request; this is a defect: {}",
                    words_of(&*panic)
                );
                let error = Error::new(ErrorKind::Internal, what);
                self.recorder.session().failed(&error);
                response::of_error(&error)
            }
        })
    }
}

/// Does what is ready at once, as a replay is, and the rest in a task of its own: a caller who leaves early does not take the
/// recording along.
async fn at_once_or_apart<T, F>(work: F) -> std::thread::Result<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + Unpin + 'static,
{
    let mut work = AssertUnwindSafe(work).catch_unwind();
    match poll_immediate(&mut work).await {
        Some(done) => done,
        None => tokio::spawn(work).await.unwrap_or_else(|error| Err(Box::new(error))),
    }
}

/// What a panic has said.
fn words_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no words")
}

async fn read(head: Parts, body: Incoming, most: u64) -> Result<(Scope, Request), Refusal> {
    let bad = |error| Refusal::new(StatusCode::BAD_REQUEST, error);
    let (scope, request) = asked(head).map_err(bad)?;
    let too_large = || {
        let what = format!("the body of the request is larger than {most} bytes");
        let error = Error::new(ErrorKind::Request, what).with_hint("raise --max-body, ProxyBuilder::max_body_bytes");
        Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, error)
    };
    if hyper::body::Body::size_hint(&body).lower() > most {
        return Err(too_large());
    }
    let limit = usize::try_from(most).unwrap_or(usize::MAX);
    match Limited::new(body, limit).collect().await {
        Ok(body) => Ok((scope, request.body(body.to_bytes()))),
        Err(error) if error.is::<LengthLimitError>() => Err(too_large()),
        Err(error) => Err(bad(Error::new(
            ErrorKind::Request,
            format!("the request broke off before its body was whole: {error}"),
        ))),
    }
}

/// What is asked for, without its body.
fn asked(head: Parts) -> Result<(Scope, Request)> {
    if head.method == http::Method::CONNECT {
        return Err(
            Error::new(ErrorKind::Request, "this is no forward proxy: it takes no CONNECT")
                .with_hint("do not set it as HTTPS_PROXY; set it as the base URL of the Mistral client"),
        );
    }
    // Any other upgrade (h2c) is an offer that a server may leave.
    let wanted = head
        .headers
        .get(http::header::UPGRADE)
        .and_then(|value| value.to_str().ok());
    if wanted.is_some_and(|wanted| wanted.to_ascii_lowercase().contains("websocket")) {
        return Err(Error::new(ErrorKind::Request, "a WebSocket cannot be recorded"));
    }
    let target = head.uri.into_parts().path_and_query;
    let target = target.unwrap_or_else(|| PathAndQuery::from_static("/"));
    let (scope, request) = match target.as_str().strip_prefix(SCOPE_PREFIX) {
        None => (Scope::root(), Request::from_target(head.method, target)?),
        Some(rest) => {
            let (scope, target) = scoped(rest)?;
            (scope, Request::new(head.method, target)?)
        }
    };
    Ok((scope, request.headers(head.headers)))
}

/// The scope that a target names behind its prefix, and the target inside it.
fn scoped(rest: &str) -> Result<(Scope, &str)> {
    let (name, inner) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    let name = percent_encoding::percent_decode_str(name).decode_utf8_lossy();
    let scope = Scope::new(&name)?;
    if inner.is_empty() {
        return Err(Error::new(
            ErrorKind::Request,
            format!("{SCOPE_PREFIX}{rest} names a scope and no endpoint"),
        )
        .with_hint(format!("a request in a scope is {SCOPE_PREFIX}{scope}/v1/…")));
    }
    Ok((scope, inner))
}
