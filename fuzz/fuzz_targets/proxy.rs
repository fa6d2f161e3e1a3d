//! The proxy in mode `strict`, on any bytes of a connection: no panic, an answer to whatever is a request, a connection
//! that ends, and nothing that reaches the upstream.
#![no_main]

use std::net::TcpListener;
use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use mistral_cassette::fuzzing::serve;
use mistral_cassette::{DirectoryEngine, Mode, Recorder, Settings, Upstream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Runtime;

/// What stands around the connection, once for all of them.
struct World {
    runtime: Runtime,
    directory: tempfile::TempDir,
    upstream: TcpListener,
    door: Upstream,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../cassettes/chat-completions");
    let to = directory.path().join("chat-completions");
    std::fs::create_dir(&to).expect("a folder");
    for file in std::fs::read_dir(from).expect("the recordings of the examples") {
        let file = file.expect("a recording");
        std::fs::copy(file.path(), to.join(file.file_name())).expect("a copy");
    }
    let upstream = TcpListener::bind("127.0.0.1:0").expect("a free port");
    upstream.set_nonblocking(true).expect("a listener that does not wait");
    let url = format!("http://{}", upstream.local_addr().expect("its address"));
    World {
        // The clock stands still and jumps when all wait: no time is lost.
        runtime: tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime"),
        directory,
        upstream,
        door: Upstream::builder()
            .base_url(url)
            .api_key("sk-fuzz-0123456789")
            .build()
            .expect("an upstream"),
    }
});

fuzz_target!(|sent: &[u8]| {
    let world = &*WORLD;
    let answered = world.runtime.block_on(conversation(world, sent));
    assert!(
        answered.is_empty() || answered.starts_with(b"HTTP/1."),
        "{}",
        answered.escape_ascii()
    );
    if is_whole_request(sent) {
        assert!(!answered.is_empty(), "a request without an answer");
    }
    let reached = world.upstream.accept();
    assert!(
        reached.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock),
        "the upstream was asked"
    );
});

/// Sends these bytes, waits until nothing moves any more, hangs up, and returns what came back.
async fn conversation(world: &World, sent: &[u8]) -> Vec<u8> {
    let engine = DirectoryEngine::new(world.directory.path());
    let recorder = Recorder::builder(engine)
        .mode(Mode::Strict)
        .settings(Settings::default())
        .build()
        .expect("a recorder");
    let (near, far) = tokio::io::duplex(1 << 20);
    let serving = tokio::spawn(serve(far, recorder, world.door.clone()));
    let (mut answers, mut requests) = tokio::io::split(near);
    let (mut answered, mut piece) = (Vec::new(), vec![0; 1 << 16]);
    // The server may have hung up before it has read everything.
    let _ = requests.write_all(sent).await;
    while let Ok(Ok(read @ 1..)) = tokio::time::timeout(Duration::from_secs(1), answers.read(&mut piece)).await {
        answered.extend_from_slice(&piece[..read]);
    }
    let _ = requests.shutdown().await;
    let ended = tokio::time::timeout(Duration::from_secs(60), serving).await;
    let _ = ended.expect("the connection ends").expect("no panic");
    answered
}

/// Whether these bytes begin with a request that has no body, so that it must be answered; one that asks for a fault may not be.
fn is_whole_request(sent: &[u8]) -> bool {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut headers);
    let is_head = request.parse(sent).is_ok_and(|parsed| parsed.is_complete());
    let asks_for_more = |name: &str| {
        let name = name.to_ascii_lowercase();
        matches!(&*name, "content-length" | "transfer-encoding" | "upgrade") || name.starts_with("mistral-cassette-")
    };
    // Hyper hangs up on whoever begins to speak HTTP/2, behind a bad request too.
    let speaks_http_2 = sent.windows(14).any(|bytes| bytes == b"PRI * HTTP/2.0");
    is_head && !speaks_http_2 && !request.headers.iter().any(|header| asks_for_more(header.name))
}
