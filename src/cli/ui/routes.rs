//! What the page answers to a request.

use std::sync::Arc;

use http::request::Parts;
use http::{HeaderMap, StatusCode};
use percent_encoding::percent_decode_str;
use tokio::sync::Mutex;

use super::guard::Guard;
use super::log::RequestLog;
use super::recordings::Recordings;
use super::response::{self, PageResponse};
use crate::cli::report::live_policy;
use crate::error::Error;
use crate::recorder::Recorder;

/// What the page can show.
pub(super) struct Routes {
    pub(super) guard: Guard,
    pub(super) log: Arc<RequestLog>,
    pub(super) recorder: Recorder,
    pub(super) recordings: Recordings,
    /// Describes the proxy: its URL and its mode.
    pub(super) proxy: String,
    /// Locked while recordings are read, so that several browsers need no more memory and processors than one.
    pub(super) reading: Mutex<()>,
}

impl Routes {
    pub(super) async fn answer(&self, head: &Parts) -> PageResponse {
        match self.guard.check(head) {
            Ok("") => self.page().await,
            Ok("events") => {
                let after = last_event(&head.headers);
                response::events(self.log.clone(), self.recorder.clone(), after)
            }
            Ok(path) => match path
                .strip_prefix("recording/")
                .map(|name| percent_decode_str(name).decode_utf8())
            {
                Some(Ok(name)) => self.recording(&name).await,
                _ => response::refused((StatusCode::NOT_FOUND, "there is no such page")),
            },
            Err(refused) => response::refused(refused),
        }
    }

    async fn page(&self) -> PageResponse {
        let _reading = self.reading.lock().await;
        match self.recordings.page(&self.proxy, self.log.last()).await {
            Ok(html) => response::page(html, &live_policy()),
            Err(error) => failed(&error),
        }
    }

    async fn recording(&self, name: &str) -> PageResponse {
        let _reading = self.reading.lock().await;
        match self.recordings.recording(name, self.log.key_of(name)).await {
            Ok(Some(recording)) => response::json(&recording),
            Ok(None) => response::refused((StatusCode::NOT_FOUND, "there is no such recording")),
            Err(error) => failed(&error),
        }
    }
}

/// The number of the last event that a browser has got before its connection was interrupted.
fn last_event(headers: &HeaderMap) -> u64 {
    let id = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    id.and_then(|id| id.parse().ok()).unwrap_or_default()
}

fn failed(error: &Error) -> PageResponse {
    response::failed(&error.report())
}
