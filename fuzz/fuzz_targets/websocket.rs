//! A WebSocket of the proxy in mode `strict` with arbitrary bytes after the handshake, beside a recorded session. The proxy
//! never panics, sends only complete and valid frames, ends the connection, and sends nothing to the upstream.
#![no_main]

use std::sync::LazyLock;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use mistral_cassette::fuzzing::serve;
use mistral_cassette_fuzz::Environment;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const SESSION: &[u8] = include_bytes!("../corpus/cassette/session.yaml");

/// The name that the key of the session gives its file.
const FILE: &str = "audio-transcriptions-realtime/audio-fa85c0e31c09fdb2.yaml";

const HANDSHAKE: &[u8] = b"GET /v1/audio/transcriptions/realtime?model=voxtral-mini HTTP/1.1\r\n\
    host: 127.0.0.1\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
    sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

static ENVIRONMENT: LazyLock<Environment> = LazyLock::new(|| Environment::new([(FILE.to_owned(), SESSION.to_vec())]));

fuzz_target!(|sent: &[u8]| {
    let environment = &*ENVIRONMENT;
    let received = environment.runtime.block_on(exchange(environment, sent));
    let text = received.escape_ascii();
    assert!(received.starts_with(b"HTTP/1.1 101 "), "{text}");
    let head = received.windows(4).position(|bytes| bytes == b"\r\n\r\n");
    check_frames(&received[head.expect("the end of the response head") + 4..]);
    environment.assert_upstream_not_reached();
});

/// Opens a WebSocket, sends these bytes and then nothing more, and returns the received bytes up to the end.
async fn exchange(environment: &Environment, sent: &[u8]) -> Vec<u8> {
    let (near, far) = tokio::io::duplex(1 << 20);
    let serving = tokio::spawn(serve(far, environment.recorder(), environment.upstream.clone()));
    let (mut messages, mut requests) = tokio::io::split(near);
    requests.write_all(HANDSHAKE).await.expect("a handshake");
    let mut received = Vec::new();
    while !received.ends_with(b"\r\n\r\n") {
        received.push(messages.read_u8().await.expect("the response to the handshake"));
    }
    // The proxy can close the connection before it has read everything.
    let _ = requests.write_all(sent).await;
    let _ = requests.shutdown().await;
    let ended = tokio::time::timeout(Duration::from_secs(600), messages.read_to_end(&mut received)).await;
    let _ = ended.expect("the connection ends");
    serving.await.expect("no panic");
    received
}

/// Checks that these are frames of a server without extensions ([RFC 6455](https://www.rfc-editor.org/rfc/rfc6455#section-5.2)).
fn check_frames(mut bytes: &[u8]) {
    while let [first, second, rest @ ..] = bytes {
        let frame = bytes.escape_ascii();
        assert_eq!(first & 0x70, 0, "no extension was agreed: {frame}");
        assert!(matches!(first & 0x0f, 0..=2 | 8..=10), "a known opcode: {frame}");
        assert_eq!(second & 0x80, 0, "a server does not mask: {frame}");
        let (length, rest) = match second & 0x7f {
            126 => {
                let (length, rest) = rest.split_at(2);
                (u64::from(u16::from_be_bytes([length[0], length[1]])), rest)
            }
            127 => {
                let (length, rest) = rest.split_at(8);
                (u64::from_be_bytes(length.try_into().expect("8 bytes")), rest)
            }
            length => (u64::from(length), rest),
        };
        let length = usize::try_from(length).expect("a length in memory");
        assert!(length <= rest.len(), "the last frame is complete: {frame}");
        bytes = &rest[length..];
    }
    assert!(bytes.is_empty(), "the last frame is complete");
}
