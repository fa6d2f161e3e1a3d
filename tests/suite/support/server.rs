//! An HTTP server on a free port with scripted responses: complete, in pieces on command, or truncated.

use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// A received request.
#[derive(Clone, Debug)]
pub struct Call {
    pub method: String,
    /// Path and query.
    pub target: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Call {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

/// The response of the server.
pub struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    body: ReplyBody,
}

enum ReplyBody {
    Whole(Bytes),
    Steps(mpsc::UnboundedReceiver<Step>),
}

/// One step of a response that a test controls.
pub enum Step {
    Send(Bytes),
    /// Closes the connection.
    Cut,
}

impl Reply {
    pub fn new(status: u16, kind: &str, body: impl Into<Bytes>) -> Self {
        let headers = HeaderMap::from_iter([(http::header::CONTENT_TYPE, HeaderValue::from_str(kind).unwrap())]);
        Self {
            status: StatusCode::from_u16(status).unwrap(),
            headers,
            body: ReplyBody::Whole(body.into()),
        }
    }

    pub fn json(body: impl Into<Bytes>) -> Self {
        Self::new(200, "application/json", body)
    }

    pub fn events(body: impl Into<Bytes>) -> Self {
        Self::new(200, "text/event-stream; charset=utf-8", body)
    }

    /// A stream whose pieces are sent through the channel; dropping the sender ends it normally.
    pub fn directed(kind: &str) -> (mpsc::UnboundedSender<Step>, Self) {
        let (sender, steps) = mpsc::unbounded_channel();
        let mut reply = Self::new(200, kind, "");
        reply.body = ReplyBody::Steps(steps);
        (sender, reply)
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.append(
            HeaderName::from_bytes(name.as_bytes()).unwrap(),
            HeaderValue::from_str(value).unwrap(),
        );
        self
    }
}

/// A server that is running; dropping it stops it, and its port is closed.
pub struct Server {
    pub url: String,
    calls: Arc<Mutex<Vec<Call>>>,
    connections: Arc<AtomicUsize>,
    serving: tokio::task::JoinHandle<()>,
}

impl Server {
    /// Starts the server; the handler gets the number of the call, from 0.
    pub async fn start(handler: impl Fn(usize, &Call) -> Reply + Send + Sync + 'static) -> Self {
        Self::serve("http", handler, |stream| std::future::ready(Ok(stream))).await
    }

    /// Starts the server with TLS.
    #[cfg(feature = "proxy")]
    pub async fn start_tls(
        tls: Arc<rustls::ServerConfig>,
        handler: impl Fn(usize, &Call) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let acceptor = tokio_rustls::TlsAcceptor::from(tls);
        Self::serve("https", handler, move |stream| acceptor.accept(stream)).await
    }

    /// Starts the server; `accept` makes a connection of a TCP stream.
    async fn serve<C, F>(
        scheme: &str,
        handler: impl Fn(usize, &Call) -> Reply + Send + Sync + 'static,
        accept: impl Fn(TcpStream) -> F + Send + 'static,
    ) -> Self
    where
        C: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        F: Future<Output = std::io::Result<C>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("{scheme}://{}", listener.local_addr().unwrap());
        let (calls, connections) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicUsize::new(0)));
        let handler = Arc::new(handler);
        let serving = tokio::spawn({
            let (calls, connections) = (calls.clone(), connections.clone());
            async move {
                // Connections end with the server.
                let mut tasks = tokio::task::JoinSet::new();
                while let Ok((stream, _)) = listener.accept().await {
                    connections.fetch_add(1, Ordering::SeqCst);
                    stream.set_nodelay(true).unwrap();
                    let (handler, calls) = (handler.clone(), calls.clone());
                    let service = service_fn(move |request| answer(request, handler.clone(), calls.clone()));
                    let accepted = accept(stream);
                    tasks.spawn(async move {
                        // A client may refuse the certificate.
                        let Ok(stream) = accepted.await else { return };
                        // A connection that the test closes is not an error.
                        let _ = hyper::server::conn::http1::Builder::new()
                            .serve_connection(TokioIo::new(stream), service)
                            .await;
                    });
                }
            }
        });
        Self {
            url,
            calls,
            connections,
            serving,
        }
    }

    pub fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }

    pub fn call_count(&self) -> usize {
        self.calls.lock().unwrap().len()
    }

    /// The number of connections so far.
    pub fn connection_count(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

type ReplyStream = std::pin::Pin<Box<dyn Stream<Item = Result<Frame<Bytes>, std::io::Error>> + Send>>;

async fn answer(
    request: http::Request<hyper::body::Incoming>,
    handler: Arc<impl Fn(usize, &Call) -> Reply>,
    calls: Arc<Mutex<Vec<Call>>>,
) -> Result<http::Response<StreamBody<ReplyStream>>, Infallible> {
    let (head, body) = request.into_parts();
    let call = Call {
        method: head.method.to_string(),
        target: head.uri.path_and_query().unwrap().to_string(),
        headers: head.headers,
        body: body.collect().await.map(|body| body.to_bytes()).unwrap_or_default(),
    };
    let number = {
        let mut calls = calls.lock().unwrap();
        calls.push(call.clone());
        calls.len() - 1
    };
    let reply = handler(number, &call);
    let mut headers = reply.headers;
    let steps: ReplyStream = match reply.body {
        ReplyBody::Whole(bytes) => {
            if !headers.contains_key(http::header::CONTENT_LENGTH) && reply.status != StatusCode::NO_CONTENT {
                headers.insert(http::header::CONTENT_LENGTH, bytes.len().into());
            }
            Box::pin(stream::once(async move { Ok(Frame::data(bytes)) }))
        }
        ReplyBody::Steps(steps) => Box::pin(
            stream::unfold(steps, |mut steps| async move {
                steps.recv().await.map(|step| (step, steps))
            })
            .map(|step| match step {
                Step::Send(bytes) => Ok(Frame::data(bytes)),
                Step::Cut => Err(std::io::ErrorKind::ConnectionReset.into()),
            }),
        ),
    };
    let mut response = http::Response::new(StreamBody::new(steps));
    *response.status_mut() = reply.status;
    *response.headers_mut() = headers;
    Ok(response)
}
