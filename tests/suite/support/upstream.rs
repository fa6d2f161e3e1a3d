//! An upstream that sends raw bytes, for responses that are not valid HTTP.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::wire::Wire;

/// The progress of an upstream that sends an endless response.
#[derive(Default)]
pub struct Said {
    /// The number of bytes after the head.
    pub bytes: AtomicU64,
    /// Everything was sent, or the connection was closed.
    pub end: Notify,
}

/// A running upstream; dropping it stops it.
pub struct RawUpstream {
    pub url: String,
    serving: JoinHandle<()>,
}

impl RawUpstream {
    /// Reads a request on each connection, one after the other, and passes the connection to the handler.
    pub async fn start<Talk>(talk: impl Fn(Wire) -> Talk + Send + 'static) -> Self
    where
        Talk: Future<Output = ()> + Send,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let mut wire = Wire::on(stream, "upstream.test");
                wire.request().await;
                talk(wire).await;
            }
        });
        Self { url, serving }
    }

    /// Sends these bytes to each caller, and closes the connection.
    pub async fn saying(bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = Arc::new(bytes.into());
        Self::start(move |mut wire| {
            let bytes = bytes.clone();
            async move {
                // A caller may close the connection early.
                let _ = wire.stream.write_all(&bytes).await;
                let _ = wire.stream.shutdown().await;
            }
        })
        .await
    }

    /// Sends this head and this number of bytes to each caller, until the connection is closed.
    pub async fn going_on(head: String, bytes: u64) -> (Self, Arc<Said>) {
        static PIECE: [u8; 1 << 16] = [b'x'; 1 << 16];
        let (head, output) = (Arc::new(head), Arc::new(Said::default()));
        let telling = output.clone();
        let upstream = Self::start(move |mut wire| {
            let (head, output) = (head.clone(), telling.clone());
            async move {
                let mut is_heard = wire.stream.write_all(head.as_bytes()).await.is_ok();
                let mut left = bytes;
                while is_heard && left > 0 {
                    let piece = &PIECE[..PIECE.len().min(usize::try_from(left).unwrap())];
                    is_heard = wire.stream.write_all(piece).await.is_ok();
                    left -= piece.len() as u64;
                    output.bytes.fetch_add(piece.len() as u64, Ordering::SeqCst);
                }
                let _ = wire.stream.shutdown().await;
                output.end.notify_one();
            }
        });
        (upstream.await, output)
    }
}

impl Drop for RawUpstream {
    fn drop(&mut self) {
        self.serving.abort();
    }
}
