//! The line with which the preload of Node.js names its destination before the TLS handshake: it cannot wait for the
//! response to a `CONNECT`.
//!
//! `mistral-cassette HOST:PORT [CREDENTIALS]\r\n`, with the credentials of the proxy as in `Proxy-Authorization: Basic`.

use http::{HeaderMap, HeaderValue, header};
use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::host::Host;
use crate::error::{Error, ErrorKind, Result};

/// The first byte: no method of HTTP and no TLS record begins with it.
pub(in crate::proxy) const FIRST: u8 = b'm';

const START: &str = "mistral-cassette ";

/// The longest line in bytes.
const MAX_BYTES: usize = 4096;

/// Reads the line. Returns the destination, and the headers of a `CONNECT` to it.
///
/// # Errors
/// [`ErrorKind::Request`] if it is not such a line.
pub(in crate::proxy) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Result<(Host, HeaderMap)> {
    let mut line = Vec::new();
    while line.last() != Some(&b'\n') && line.len() < MAX_BYTES {
        // What follows is read by TLS, so each byte is read alone.
        match stream.read_u8().await {
            Ok(byte) => line.push(byte),
            Err(_) => break,
        }
    }
    parse(&line).ok_or_else(|| {
        let shown = String::from_utf8_lossy(&line[..line.len().min(100)]).into_owned();
        Error::new(
            ErrorKind::Request,
            format!("a client sent neither HTTP nor TLS: {shown:?}"),
        )
    })
}

fn parse(line: &[u8]) -> Option<(Host, HeaderMap)> {
    let rest = std::str::from_utf8(line)
        .ok()?
        .strip_prefix(START)?
        .strip_suffix("\r\n")?;
    let (host, credentials) = match rest.split_once(' ') {
        Some((host, credentials)) => (host, Some(credentials)),
        None => (rest, None),
    };
    let mut headers = HeaderMap::new();
    if let Some(credentials) = credentials {
        let value = HeaderValue::from_str(&format!("Basic {credentials}")).ok()?;
        headers.insert(header::PROXY_AUTHORIZATION, value);
    }
    Some((Host::parse(host, 443)?, headers))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_line_is_read_and_not_more() {
        let mut stream = &b"mistral-cassette a.test:8443 dTp4\r\n\x16rest"[..];
        let (host, headers) = read(&mut stream).await.unwrap();
        assert_eq!(
            (host.to_string().as_str(), &headers[header::PROXY_AUTHORIZATION]),
            ("a.test:8443", &HeaderValue::from_static("Basic dTp4"))
        );
        assert_eq!(stream, b"\x16rest");
        let (host, headers) = read(&mut &b"mistral-cassette [::1]:443\r\n"[..]).await.unwrap();
        assert_eq!((host.to_string().as_str(), headers.len()), ("[::1]", 0));
        let long = "m".repeat(2 * MAX_BYTES);
        for wrong in [
            "",
            "m",
            "mistral-cassette a.test:1\n",
            "mistral-cassette \r\n",
            "mistral-cassette a:b:c\r\n",
            &long,
        ] {
            assert!(read(&mut wrong.as_bytes()).await.is_err(), "{wrong}");
        }
    }
}
