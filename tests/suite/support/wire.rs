//! Raw HTTP connections: a test sends every byte, and gets the response with its framing.

use std::collections::BTreeSet;
use std::io;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// The time limit of every step of a test.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub fn address(url: &str) -> &str {
    url.strip_prefix("http://").unwrap()
}

/// A connection on which a test sends every byte.
pub struct Wire<S = TcpStream> {
    pub stream: BufReader<S>,
    host: String,
    asked_for_head: bool,
}

/// A received response.
#[derive(Debug, Default)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    /// The body with its framing.
    pub pieces: Vec<Vec<u8>>,
    /// Whether the body is complete.
    pub is_whole: bool,
}

impl Wire {
    pub async fn to(url: &str) -> Self {
        let stream = TcpStream::connect(address(url)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self::on(stream, address(url))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    pub fn on(stream: S, host: &str) -> Self {
        Self {
            stream: BufReader::new(stream),
            host: host.to_owned(),
            asked_for_head: false,
        }
    }

    pub async fn say(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// Sends a request: the request line without the version, header lines with their line ends, a body.
    pub async fn send(&mut self, line: &str, headers: &str, body: &[u8]) {
        self.asked_for_head = line.starts_with("HEAD ");
        let length = match body.len() {
            0 => String::new(),
            length => format!("content-length: {length}\r\n"),
        };
        let head = format!("{line} HTTP/1.1\r\nhost: {}\r\n{headers}{length}\r\n", self.host);
        self.say(head.as_bytes()).await;
        self.say(body).await;
    }

    pub async fn line(&mut self) -> String {
        let mut line = String::new();
        // A reset connection is treated like a closed one.
        let _ = timeout(PATIENCE, self.stream.read_line(&mut line))
            .await
            .expect("a line arrives");
        line.trim_end().to_owned()
    }

    /// Status and headers; status 0 if the connection is closed, or if this is a request.
    pub async fn head(&mut self) -> Answer {
        let line = self.line().await;
        let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
        let mut answer = Answer {
            status: status.unwrap_or(0),
            ..Answer::default()
        };
        loop {
            match self.line().await.split_once(':') {
                Some((name, value)) => answer.headers.push((name.to_owned(), value.trim().to_owned())),
                None => return answer,
            }
        }
    }

    /// Reads a complete request, on the side of the server.
    pub async fn request(&mut self) -> Answer {
        let mut request = self.head().await;
        if let Some(length) = request.header("content-length") {
            let length = length.parse().unwrap();
            // The caller may close the connection.
            request.pieces.extend(self.bytes(length).await.ok());
        }
        request
    }

    /// The next chunk of a chunked body; `None` at its end.
    pub async fn chunk(&mut self) -> io::Result<Option<Vec<u8>>> {
        let size = self.line().await;
        let size = usize::from_str_radix(&size, 16).map_err(|_| io::ErrorKind::UnexpectedEof)?;
        let chunk = self.bytes(size).await?;
        self.line().await;
        Ok((size > 0).then_some(chunk))
    }

    pub async fn bytes(&mut self, count: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; count];
        timeout(PATIENCE, self.stream.read_exact(&mut bytes))
            .await
            .expect("bytes arrive")?;
        Ok(bytes)
    }

    /// Reads the rest of a body.
    pub async fn rest(&mut self, answer: &mut Answer) -> io::Result<()> {
        if self.asked_for_head || matches!(answer.status, 0 | 204 | 304) {
        } else if answer.header("transfer-encoding") == Some("chunked") {
            while let Some(chunk) = self.chunk().await? {
                answer.pieces.push(chunk);
            }
        } else if let Some(length) = answer.header("content-length") {
            let length = length.parse().unwrap();
            answer.pieces.push(self.bytes(length).await?);
        } else {
            let mut bytes = Vec::new();
            timeout(PATIENCE, self.stream.read_to_end(&mut bytes))
                .await
                .expect("the connection is closed")?;
            answer.pieces.push(bytes);
        }
        answer.is_whole = answer.status > 0;
        Ok(())
    }

    pub async fn answer(&mut self) -> Answer {
        let mut answer = self.head().await;
        // `is_whole` stays false.
        let _ = self.rest(&mut answer).await;
        answer
    }
}

impl Answer {
    pub fn all<'a>(&'a self, name: &str) -> Vec<&'a str> {
        let named = self.headers.iter().filter(|(other, _)| other == name);
        named.map(|(_, value)| value.as_str()).collect()
    }

    pub fn header<'a>(&'a self, name: &str) -> Option<&'a str> {
        self.all(name).first().copied()
    }

    pub fn body(&self) -> Vec<u8> {
        self.pieces.concat()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body()).into_owned()
    }

    /// The parts that must be equal when it is replayed.
    pub fn essence(&self) -> (u16, Option<&str>, Vec<u8>) {
        (self.status, self.header("content-type"), self.body())
    }

    /// Asserts that this is an error in the form of the API, and returns its message.
    #[track_caller]
    pub fn error(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(self.header("content-type"), Some("application/json"));
        let body: Value = serde_json::from_slice(&self.body()).unwrap();
        let members: BTreeSet<&str> = body.as_object().unwrap().keys().map(String::as_str).collect();
        let shape = ["object", "message", "type", "param", "code", "raw_status_code"];
        assert_eq!(members, BTreeSet::from(shape));
        assert_eq!(
            (&body["object"], &body["raw_status_code"]),
            (&json!("error"), &json!(status))
        );
        body["message"].as_str().unwrap().to_owned()
    }
}

/// Sends one request on a new connection.
pub async fn ask(url: &str, line: &str, body: impl AsRef<[u8]>) -> Answer {
    let mut wire = Wire::to(url).await;
    wire.send(line, "content-type: application/json\r\n", body.as_ref())
        .await;
    wire.answer().await
}
