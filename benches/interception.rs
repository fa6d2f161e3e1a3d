//! What interception costs: `cargo bench --features cli --bench interception`.
//!
//! The command serves intercepted requests in mode `strict`, in a process of its own. Beside it stands a bare server of hyper
//! and rustls, in a process of its own too, with a certificate of the same kind, that answers fixed bytes. One client asks
//! both, in turn, over HTTP/1.1 and TLS 1.3 without resumption.
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used)]

mod support;

use std::convert::Infallible;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use mistral_cassette::{Mode, Request};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use support::{Times, answer, ask, median, question, recorder, row};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

const HOST: &str = "api.mistral.ai";
const RECORDINGS: usize = 1000;
const ROUNDS: usize = 15;

/// How many requests a round sends to each server, over all of its connections.
const REQUESTS: usize = 6000;

/// How many new connections a round opens to each server.
const CONNECTIONS: usize = 100;

fn main() {
    if let Some(task) = support::task() {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        return runtime.unwrap().block_on(serve_fixed_bytes(task[1].as_ref()));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.unwrap().block_on(measure());
    measure_run();
}

/// A plain chat of the workload.
fn chats() -> impl Iterator<Item = Request> {
    (0..RECORDINGS).filter(|number| number % 10 == 0).map(question)
}

/// The bare server. It answers `CONNECT` too, if a client sends one.
async fn serve_fixed_bytes(certificate: &Path) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let acceptor = TlsAcceptor::from(server_config(certificate));
    println!("listening on http://{}", listener.local_addr().unwrap());
    let (body, kind) = answer(question(0).body_bytes());
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (body, acceptor) = (body.clone(), acceptor.clone());
        let service = hyper::service::service_fn(move |request: http::Request<Incoming>| {
            let body = body.clone();
            async move {
                request.into_body().collect().await.unwrap();
                let response = http::Response::builder().header(http::header::CONTENT_TYPE, kind);
                Ok::<_, Infallible>(response.body(Full::new(body)).unwrap())
            }
        });
        tokio::spawn(async move {
            let mut first = [0; 1];
            stream.peek(&mut first).await.unwrap();
            if first == *b"C" {
                read_head(&mut stream).await;
                stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
            }
            let stream = acceptor.accept(stream).await.unwrap();
            // The client closes its connections whenever it wants.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

/// A certificate for the host, of an authority whose certificate is written to this file.
fn server_config(certificate: &Path) -> Arc<ServerConfig> {
    let mut parameters = CertificateParams::default();
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap();
    let encoded = base64::engine::general_purpose::STANDARD.encode(issuer.der());
    let pem = format!("-----BEGIN CERTIFICATE-----\n{encoded}\n-----END CERTIFICATE-----\n");
    fs::write(certificate, pem).unwrap();
    let key = KeyPair::generate().unwrap();
    let parameters = CertificateParams::new(vec![HOST.to_owned()]).unwrap();
    let leaf = parameters.signed_by(&key, &issuer).unwrap();
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], key);
    Arc::new(config.unwrap())
}

async fn read_head(stream: &mut TcpStream) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    assert!(head.starts_with(b"CONNECT ") || head.starts_with(b"HTTP/1.1 200 "));
}

/// A server in a process of its own; it is killed when dropped.
struct Server {
    process: Child,
    address: String,
    tls: TlsConnector,
}

impl Server {
    /// Starts it, and waits for the line that tells its address. It writes its certificate before.
    fn start(command: &mut Command, certificate: &Path) -> Self {
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let address = line.trim().strip_prefix("listening on http://").unwrap().to_owned();
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&fs::read(certificate).unwrap()) {
            roots.add(certificate.unwrap()).unwrap();
        }
        let mut config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.resumption = Resumption::disabled();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let tls = TlsConnector::from(Arc::new(config));
        Self { process, address, tls }
    }

    fn proxy(folder: &Path) -> Self {
        let certificate = folder.join("proxy.pem");
        let mut command = Command::new(env!("CARGO_BIN_EXE_mistral-cassette"));
        command.args(["proxy", "--mode", "strict", "--intercept", "--dir"]);
        command.arg(folder.join("cassettes")).arg("--ca-file").arg(&certificate);
        Self::start(&mut command, &certificate)
    }

    fn bare(folder: &Path) -> Self {
        let certificate = folder.join("bare.pem");
        Self::start(
            &mut support::child(&["bare", certificate.to_str().unwrap()]),
            &certificate,
        )
    }

    /// Opens a connection to the host, through `CONNECT` or directly.
    async fn open(&self, with_connect: bool) -> SendRequest<Full<Bytes>> {
        let mut stream = TcpStream::connect(&self.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        if with_connect {
            let head = format!("CONNECT {HOST}:443 HTTP/1.1\r\nhost: {HOST}:443\r\n\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            read_head(&mut stream).await;
        }
        let stream = self
            .tls
            .connect(ServerName::try_from(HOST).unwrap(), stream)
            .await
            .unwrap();
        let (sender, driver) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .unwrap();
        tokio::spawn(driver);
        sender
    }

    /// Opens a connection and sends one request over it.
    async fn ask_first(&self, with_connect: bool, request: &Request) -> Duration {
        let start = Instant::now();
        let mut sender = self.open(with_connect).await;
        send(&mut sender, request).await;
        start.elapsed()
    }

    /// Sends requests over as many connections, one after the other on each. How many were answered in a second.
    async fn load(
        &self,
        with_connect: bool,
        connections: usize,
        requests: &Arc<Vec<Request>>,
        times: &mut Times,
    ) -> f64 {
        let mut senders = Vec::new();
        for _ in 0..connections {
            senders.push(self.open(with_connect).await);
        }
        let start = Instant::now();
        let each = REQUESTS / connections;
        let mut tasks = Vec::new();
        for (connection, mut sender) in senders.into_iter().enumerate() {
            let requests = requests.clone();
            tasks.push(tokio::spawn(async move {
                let mut times = Vec::with_capacity(each);
                for at in 0..each {
                    let start = Instant::now();
                    send(&mut sender, &requests[(connection + at) % requests.len()]).await;
                    times.push(start.elapsed());
                }
                times
            }));
        }
        for task in tasks {
            for time in task.await.unwrap() {
                times.push(time);
            }
        }
        (each * connections) as f64 / start.elapsed().as_secs_f64()
    }
}

async fn send(sender: &mut SendRequest<Full<Bytes>>, request: &Request) {
    let sent = http::Request::post(request.target())
        .header(http::header::HOST, HOST)
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(Full::new(request.body_bytes().clone()))
        .unwrap();
    let response = sender.send_request(sent).await.unwrap();
    assert_eq!(response.status(), 200);
    let body = response.into_body().collect().await.unwrap();
    assert!(body.to_bytes().len() > 1000);
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn measure() {
    let folder = tempfile::tempdir().unwrap();
    let recording = recorder(&folder.path().join("cassettes"), Mode::Record);
    for number in 0..RECORDINGS {
        ask(&recording, question(number)).await;
    }
    drop(recording);
    let requests: Arc<Vec<Request>> = Arc::new(chats().collect());
    let (proxy, bare) = (Server::proxy(folder.path()), Server::bare(folder.path()));
    for connections in [1, 16] {
        let mut times: [Times; 2] = Default::default();
        let mut rates: [Vec<f64>; 2] = Default::default();
        for round in 0..=ROUNDS {
            for (at, server) in [&proxy, &bare].into_iter().enumerate() {
                // The first round warms both up.
                let mut cold = Times::default();
                let times = if round == 0 { &mut cold } else { &mut times[at] };
                let rate = server.load(at == 0, connections, &requests, times).await;
                if round > 0 {
                    rates[at].push(rate);
                }
            }
        }
        let [proxy_p99, bare_p99] = times.map(|times| times.percentile(99));
        let [proxy_rate, bare_rate] = rates.map(median);
        println!(
            "{connections:2} connections: intercepted {proxy_rate:7.0} /s, p99 {proxy_p99:5.0} µs   bare server {bare_rate:7.0} /s, \
             p99 {bare_p99:5.0} µs   ratio {:.2}   target 0.8",
            proxy_rate / bare_rate
        );
    }
    // The connection by CONNECT to the proxy, directly to the bare server, and by CONNECT to it.
    let sides = [(&proxy, true), (&bare, false), (&bare, true)];
    let mut connections: [Vec<f64>; 3] = Default::default();
    for round in 0..=ROUNDS {
        for (at, (server, with_connect)) in sides.iter().enumerate() {
            for number in 0..CONNECTIONS {
                let time = server
                    .ask_first(*with_connect, &requests[number % requests.len()])
                    .await;
                if round > 0 {
                    connections[at].push(time.as_secs_f64() * 1e6);
                }
            }
        }
    }
    let [proxy_time, direct, by_connect] = connections.map(median);
    let what = "a new connection by CONNECT, and a request";
    row(what, proxy_time, "directly to the bare server", direct, "target 1.3");
    row(what, proxy_time, "by CONNECT to the bare server", by_connect, "");
    drop((proxy, bare));

    let mut first: [Vec<f64>; 3] = Default::default();
    for _ in 0..ROUNDS {
        for (at, with_connect) in [true, false, true].into_iter().enumerate() {
            let server = match at {
                0 => Server::proxy(folder.path()),
                _ => Server::bare(folder.path()),
            };
            let time = server.ask_first(with_connect, &requests[0]).await;
            first[at].push(time.as_secs_f64() * 1e6);
        }
    }
    let [proxy_time, direct, by_connect] = first.map(median);
    let what = "the same, the first of a process";
    row(what, proxy_time, "directly to the bare server", direct, "");
    row(what, proxy_time, "by CONNECT to the bare server", by_connect, "");
}

/// The start of a command under `run`, and without it.
fn measure_run() {
    let folder = tempfile::tempdir().unwrap();
    let mut times: [Vec<f64>; 2] = Default::default();
    for _ in 0..2 * ROUNDS {
        let mut run = Command::new(env!("CARGO_BIN_EXE_mistral-cassette"));
        run.args(["run", "--mode", "strict", "--allow-no-requests", "--", "true"]);
        for (at, command) in [run, Command::new("true")].iter_mut().enumerate() {
            let command = command.current_dir(folder.path()).stderr(Stdio::null());
            // Each of them is a file that `run` reads, too.
            for name in [
                "SSL_CERT_FILE",
                "SSL_CERT_DIR",
                "REQUESTS_CA_BUNDLE",
                "CURL_CA_BUNDLE",
                "AWS_CA_BUNDLE",
                "GIT_SSL_CAINFO",
            ] {
                command.env_remove(name);
            }
            let start = Instant::now();
            assert!(command.status().unwrap().success());
            times[at].push(start.elapsed().as_secs_f64() * 1e3);
        }
    }
    let [run, bare] = times.map(median);
    println!(
        "run -- true {run:.1} ms   true {bare:.1} ms   {:.1} ms more   target 30 ms more",
        run - bare
    );
}
