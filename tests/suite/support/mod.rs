//! Support for the tests: an HTTP server with scripted responses, a stand-in for the Mistral API, the real binary in a
//! temporary project, servers for every kind of store.
#![allow(dead_code, unreachable_pub, missing_docs, clippy::unwrap_used)]

#[cfg(feature = "cli")]
pub mod api;
#[cfg(feature = "cli")]
pub mod browser;
#[cfg(feature = "cli")]
pub mod corpus;
#[cfg(feature = "cli")]
pub mod kills;
#[cfg(feature = "cli")]
pub mod mount;
#[cfg(feature = "cli")]
pub mod platform;
#[cfg(all(feature = "cli", unix))]
pub mod postgres;
#[cfg(feature = "cli")]
pub mod process;
#[cfg(feature = "cli")]
pub mod project;
#[cfg(feature = "cli")]
pub mod realtime;
#[cfg(feature = "cli")]
pub mod redis;
#[cfg(feature = "cli")]
pub mod resources;
#[cfg(feature = "object-store")]
pub mod s3;
#[cfg(feature = "cli")]
pub mod scripted_websocket;
pub mod server;
pub mod skip;
#[cfg(feature = "cli")]
pub mod stores;
#[cfg(feature = "cli")]
pub mod tls;
#[cfg(feature = "cli")]
pub mod upstream;
#[cfg(feature = "cli")]
pub mod websocket;
#[cfg(feature = "cli")]
pub mod wire;
#[cfg(feature = "cli")]
pub mod worker;

use std::path::Path;

use mistral_cassette::client::Client;
use mistral_cassette::recorder::RecorderBuilder;
use mistral_cassette::{DirectoryEngine, Mode, Recorder};

/// The API key of the tests: long enough to be treated as a secret.
pub const KEY: &str = "sk-test-secret-0123456789abcdef";

/// A client whose requests are recorded in a directory, or replayed from it.
pub fn session(
    directory: &Path,
    mode: Mode,
    upstream: &str,
    with: impl FnOnce(RecorderBuilder) -> RecorderBuilder,
) -> (Client, Recorder) {
    let recorder = Recorder::builder(DirectoryEngine::new(directory)).mode(mode);
    let recorder = with(recorder.allow_record_in_ci()).build().unwrap();
    let client = Client::builder().api_key(KEY).base_url(upstream);
    (client.recorder(recorder.clone()).build().unwrap(), recorder)
}
