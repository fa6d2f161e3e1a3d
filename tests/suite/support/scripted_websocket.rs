//! A server of WebSockets whose answers a test chooses.

use std::sync::Arc;

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use tokio_tungstenite::tungstenite::Message;

/// A server that is running; dropping it ends its sessions and closes its port.
pub struct Scripted {
    pub url: String,
    serving: JoinHandle<()>,
}

impl Scripted {
    /// Sends what the function returns for the number of the session, from 0, and a text of the client. The text at the
    /// beginning is empty.
    pub async fn start(answers: impl Fn(usize, &str) -> Vec<String> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let answers = Arc::new(answers);
        let serving = tokio::spawn(async move {
            let mut sessions = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (number, answers) = (sessions.len(), answers.clone());
                sessions.spawn(async move {
                    let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
                    let mut text = String::new();
                    loop {
                        for answer in answers(number, &text) {
                            let _ = socket.send(Message::text(answer)).await;
                        }
                        match socket.next().await {
                            Some(Ok(Message::Text(next))) => text = next.to_string(),
                            Some(Ok(Message::Close(_))) | Some(Err(_)) | None => break,
                            Some(Ok(_)) => {}
                        }
                    }
                    // Sends the reply to a close frame.
                    while let Some(Ok(_)) = socket.next().await {}
                });
            }
        });
        Self { url, serving }
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.serving.abort();
    }
}
