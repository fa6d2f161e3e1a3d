//! The proxy in mode `strict` with arbitrary bytes on a connection. It never panics, responds to every valid request, ends
//! the connection, and sends nothing to the upstream.
#![no_main]

use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use mistral_cassette::fuzzing::serve;
use mistral_cassette_fuzz::Environment;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

static ENVIRONMENT: LazyLock<Environment> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../cassettes/chat-completions");
    let files = std::fs::read_dir(folder).expect("the recordings of the examples");
    Environment::new(files.map(|file| {
        let file = file.expect("a recording");
        let name = format!("chat-completions/{}", file.file_name().display());
        (name, std::fs::read(file.path()).expect("a document"))
    }))
});

fuzz_target!(|sent: &[u8]| {
    let environment = &*ENVIRONMENT;
    let received = environment.runtime.block_on(exchange(environment, sent));
    assert!(
        received.is_empty() || received.starts_with(b"HTTP/1."),
        "{}",
        received.escape_ascii()
    );
    if is_complete_request(sent) {
        assert!(!received.is_empty(), "the request has no response");
    }
    environment.assert_upstream_not_reached();
});

/// Sends these bytes, waits for the end of the responses, closes the connection, and returns the received bytes.
async fn exchange(environment: &Environment, sent: &[u8]) -> Vec<u8> {
    let (near, far) = tokio::io::duplex(1 << 20);
    let serving = tokio::spawn(serve(far, environment.recorder(), environment.upstream.clone()));
    let (mut responses, mut requests) = tokio::io::split(near);
    let (mut received, mut piece) = (Vec::new(), vec![0; 1 << 16]);
    // The server can close the connection before it has read everything.
    let _ = requests.write_all(sent).await;
    while let Ok(Ok(read @ 1..)) = tokio::time::timeout(Duration::from_secs(1), responses.read(&mut piece)).await {
        received.extend_from_slice(&piece[..read]);
    }
    let _ = requests.shutdown().await;
    let ended = tokio::time::timeout(Duration::from_secs(60), serving).await;
    ended.expect("the connection ends").expect("no panic");
    received
}

/// Whether these bytes begin with a request without a body, which must have a response. A request for a fault may have none.
fn is_complete_request(sent: &[u8]) -> bool {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut headers);
    let is_head = request.parse(sent).is_ok_and(|parsed| parsed.is_complete());
    let needs_more = |name: &str| {
        let name = name.to_ascii_lowercase();
        matches!(&*name, "content-length" | "transfer-encoding" | "upgrade") || name.starts_with("mistral-cassette-")
    };
    // Hyper closes the connection at the preface of HTTP/2, even after an invalid request.
    let has_http_2_preface = sent.windows(14).any(|bytes| bytes == b"PRI * HTTP/2.0");
    is_head && !has_http_2_preface && !request.headers.iter().any(|header| needs_more(header.name))
}
