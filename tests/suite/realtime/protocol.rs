//! The WebSocket protocol, frame by frame: what a proxy accepts, and how it closes the connection of a client that breaks the
//! protocol ([RFC 6455](https://www.rfc-editor.org/rfc/rfc6455)). The cases are those of the Autobahn test suite, sections 1
//! to 7.

use mistral_cassette::Mode;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::proxy;
use crate::support::realtime::{ECHO, Realtime};
use crate::support::wire::{PATIENCE, address};

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

const FINAL: u8 = 0x80;

const PROTOCOL_ERROR: u16 = 1002;
const INVALID_TEXT: u16 = 1007;

/// The bytes of a masked frame.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
    let mut frame = vec![first];
    match payload.len() {
        length @ ..=125 => frame.push(0x80 | u8::try_from(length).unwrap()),
        length @ ..=0xffff => {
            frame.push(0x80 | 126);
            frame.extend(u16::try_from(length).unwrap().to_be_bytes());
        }
        length => {
            frame.push(0x80 | 127);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    frame.extend(MASK);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// A message or a control frame in one frame.
fn whole(opcode: u8, payload: impl AsRef<[u8]>) -> Vec<u8> {
    frame(FINAL | opcode, payload.as_ref())
}

/// A close frame with this code and reason.
fn close(code: u16, reason: impl AsRef<[u8]>) -> Vec<u8> {
    whole(CLOSE, [&code.to_be_bytes()[..], reason.as_ref()].concat())
}

struct Connection(TcpStream);

impl Connection {
    async fn open(url: &str) -> Self {
        let mut stream = TcpStream::connect(address(url)).await.unwrap();
        let handshake = format!(
            "GET {ECHO} HTTP/1.1\r\nhost: {}\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
             sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            address(url)
        );
        stream.write_all(handshake.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(timeout(PATIENCE, stream.read_u8()).await.unwrap().unwrap());
        }
        assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", head.escape_ascii());
        Self(stream)
    }

    /// The next frame, opcode and payload; `None` at the end of the connection.
    async fn next(&mut self) -> Option<(u8, Vec<u8>)> {
        let read = async {
            let first = self.0.read_u8().await.ok()?;
            assert_eq!(first & 0xf0, FINAL, "a final frame without an extension");
            let length = match self.0.read_u8().await.unwrap() {
                126 => u64::from(self.0.read_u16().await.unwrap()),
                127 => self.0.read_u64().await.unwrap(),
                length => u64::from(length),
            };
            let mut payload = vec![0; usize::try_from(length).unwrap()];
            self.0.read_exact(&mut payload).await.unwrap();
            Some((first & 0x0f, payload))
        };
        timeout(PATIENCE, read).await.expect("a frame, or the end")
    }

    /// The code of the close frame of the proxy, before which only pongs and echoes may come; then the connection ends.
    async fn closing(&mut self) -> Option<u16> {
        loop {
            let (opcode, payload) = self.next().await?;
            if opcode == CLOSE {
                assert_eq!(self.next().await, None, "nothing follows a close frame");
                return payload.first_chunk().map(|code| u16::from_be_bytes(*code));
            }
        }
    }
}

/// Sends these bytes in a session of its own, and then `last`. The frames that come back are these, up to the reply to `last`.
async fn assert_replies(url: &str, sent: &[u8], replies: &[(u8, Vec<u8>)]) {
    let mut connection = Connection::open(url).await;
    connection.0.write_all(sent).await.unwrap();
    for reply in replies {
        assert_eq!(
            connection.next().await.as_ref(),
            Some(reply),
            "to {:.99}",
            sent.escape_ascii().to_string()
        );
    }
    connection.0.write_all(&close(1000, "bye")).await.unwrap();
    assert_eq!(connection.closing().await, Some(1000));
}

async fn assert_closes(url: &str, sent: &[u8], code: u16) {
    let mut connection = Connection::open(url).await;
    connection.0.write_all(sent).await.unwrap();
    let closed = connection.closing().await;
    assert_eq!(closed, Some(code), "after {:.99}", sent.escape_ascii().to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_any_length_and_in_any_fragments_arrive() {
    let (directory, server) = (tempfile::tempdir().unwrap(), Realtime::start().await);
    let proxy = proxy(directory.path(), Mode::Live, &server.url).await;
    let url = proxy.url();
    for length in [0, 1, 125, 126, 127, 128, 65_535, 65_536, 1 << 20] {
        for opcode in [TEXT, BINARY] {
            let payload = vec![b'*'; length];
            assert_replies(&url, &whole(opcode, &payload), &[(opcode, payload)]).await;
        }
    }
    let text = "Ça va ? 🐈".as_bytes();
    let mut fragments = frame(TEXT, &text[..1]);
    for byte in &text[1..] {
        fragments.extend(frame(CONTINUATION, &[*byte]));
        fragments.extend(whole(PING, [*byte]));
    }
    fragments.extend(whole(CONTINUATION, ""));
    let pongs = text[1..].iter().map(|byte| (PONG, vec![*byte]));
    let replies: Vec<_> = pongs.chain([(TEXT, text.to_vec())]).collect();
    assert_replies(&url, &fragments, &replies).await;
    proxy.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn each_ping_has_a_pong() {
    let (directory, server) = (tempfile::tempdir().unwrap(), Realtime::start().await);
    let proxy = proxy(directory.path(), Mode::Live, &server.url).await;
    let url = proxy.url();
    for payload in [&b""[..], b"Hello", b"\x00\xff\xfe\xfd", &[0xfe; 125]] {
        assert_replies(&url, &whole(PING, payload), &[(PONG, payload.to_vec())]).await;
        // A pong that nobody has asked for has no reply.
        let sent = [whole(PONG, payload), whole(TEXT, "next")].concat();
        assert_replies(&url, &sent, &[(TEXT, b"next".to_vec())]).await;
    }
    proxy.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_breaks_the_protocol_is_closed_with_the_code_of_the_fault() {
    let (directory, server) = (tempfile::tempdir().unwrap(), Realtime::start().await);
    let proxy = proxy(directory.path(), Mode::Live, &server.url).await;
    let url = proxy.url();
    let mut wrong = vec![
        whole(PING, [0xfe; 126]),
        whole(CLOSE, [b'*'; 126]),
        // Control frames are not fragmented.
        frame(PING, b"a"),
        frame(PONG, b"a"),
        // Nothing to continue.
        whole(CONTINUATION, "a"),
        frame(CONTINUATION, b"a"),
        // A message within a message.
        [frame(TEXT, b"a"), whole(TEXT, "b")].concat(),
        // A frame without a mask.
        b"\x81\x01a".to_vec(),
        // A close frame with half a code.
        whole(CLOSE, [3]),
        close(1000, [b'*'; 124]),
    ];
    wrong.extend((1..8).map(|reserved| frame(FINAL | (reserved << 4) | TEXT, b"a")));
    wrong.extend((3..8).chain(11..16).map(|opcode| whole(opcode, "a")));
    let codes = [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535];
    wrong.extend(codes.map(|code| close(code, "")));
    for sent in wrong {
        assert_closes(&url, &sent, PROTOCOL_ERROR).await;
    }
    // Half of a surrogate pair, an overlong slash, a byte that no text has, the first half of a character.
    for text in [&b"\xed\xa0\x80"[..], b"\xc0\xaf", b"\xff", b"a\xc3"] {
        assert_closes(&url, &whole(TEXT, text), INVALID_TEXT).await;
        let (first, rest) = text.split_at(1);
        let fragments = [frame(TEXT, first), whole(CONTINUATION, rest)].concat();
        assert_closes(&url, &fragments, INVALID_TEXT).await;
        assert_closes(&url, &close(1000, text), INVALID_TEXT).await;
    }
    for code in [
        1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999,
    ] {
        assert_closes(&url, &close(code, [b'*'; 123]), code).await;
    }
    let mut connection = Connection::open(&url).await;
    connection.0.write_all(&whole(CLOSE, "")).await.unwrap();
    assert_eq!(connection.next().await, Some((CLOSE, Vec::new())));
    assert_eq!(connection.next().await, None);
    // A client that breaks the protocol in mode `live` is not a failure of the proxy.
    proxy.stop().await.unwrap();
}
