//! Records real Mistral API calls once into readable files and replays them in tests: offline, without a key, byte for
//! byte.
//!
//! ```
//! use mistral_cassette::DirectoryEngine;
//! use mistral_cassette::client::{ChatRequest, Client};
//!
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! let client = Client::from_env()?.cached(DirectoryEngine::new("cassettes"))?;
//! let question = ChatRequest::new("mistral-small-latest").user("What is the capital of France?");
//! println!("{}", client.chat(question).await?.text());
//! # Ok::<(), mistral_cassette::Error>(())
//! # }).unwrap();
//! ```
//!
//! The first run sends the request to the API and writes a file such as
//! `cassettes/chat-completions/capital-of-france-f3eaf5bd5e053e0e.yaml`. Every later run reads the response from that
//! file: it opens no socket and needs no key.
//!
//! # Four things to know
//!
//! - A **cassette** is one YAML file with one request and its recorded responses. The [`RequestKey`] that finds it is
//!   the SHA-256 of the method, the path, the query and the whole body.
//! - A [`Mode`] decides when recordings are read and what happens on a miss: `record`, `replay` (the default), `strict`
//!   (the default where the variable `CI` is set) or `live`.
//! - A [`Recorder`] is one session on a [`CacheEngine`]: a [directory](DirectoryEngine), [memory](MemoryEngine), a
//!   store that a team shares ([`engine`]), or your own type. At the end of the session, its
//!   [verdict](Session::verdict) is an error if a request was missed or failed.
//! - A **front end** passes requests to the recorder: the typed [`client`], [`CassetteMiddleware`] for programs on
//!   `reqwest`, the `layer` for `hyper` and `tower`, the localhost `proxy` for every other language, or your own code that
//!   calls [`Recorder::answer`] with a [`Transport`].
//!
//! In a test, [`cassette!`] starts a session that is named after the test and checks the verdict when the test ends:
//!
//! ```no_run
//! use mistral_cassette::cassette;
//! use mistral_cassette::client::ChatRequest;
//!
//! #[tokio::test]
//! # async fn ignored() {}
//! async fn answers_with_the_capital() {
//!     let session = cassette!();
//!     let question = ChatRequest::new("mistral-small-latest").user("What is the capital of France?");
//!     assert!(session.client().chat(question).await.unwrap().text().contains("Paris"));
//! }
//! ```
//!
//! # Modules
//!
//! - [`client`]: the typed client for the Mistral API.
//! - [`recorder`]: the session, its builder and its summary.
//! - [`settings`]: the content of `settings.yaml`: matching, redaction, expiry, limits.
//! - [`engine`]: the stores for cassettes, and the traits and checks for your own.
//! - [`upstream`]: the connection to the real API.
//! - `layer`: the `tower` layer, with the feature `tower`.
//! - `proxy`: the localhost server, with the feature `proxy`.
//! - [`testing`]: the session that [`cassette!`] starts.
//!
//! The [README](https://docs.rs/crate/mistral-cassette/latest) describes the files on disk and the command line;
//! [`design`] gives the reasons.
//!
//! # Features
//!
//! - `middleware` (default): [`CassetteMiddleware`].
//! - `cli`: the `mistral-cassette` command; includes `proxy`.
//! - `proxy`: the localhost proxy; includes `realtime`.
//! - `realtime`: WebSocket sessions of the [`client`]: realtime transcription and speech.
//! - `redis`: `engine::RedisEngine`, for a single Redis server and for a cluster.
//! - `sql`: `engine::SqlEngine`, for SQLite and PostgreSQL; needs Rust 1.94.
//! - `object-store`: `engine::ObjectStoreEngine`, for buckets (S3, Google Cloud Storage, Azure).
//! - `metrics`: counters through the `metrics` crate: `mistral_cassette_requests_total` by `outcome` (`replayed`,
//!   `recorded`, `passed_on`, `skipped`, `missed`, `failed`, `injected`, `refused`),
//!   `mistral_cassette_saved_tokens_total` and `mistral_cassette_saved_milliseconds_total`. `tracing` events need no
//!   feature.
//! - `schemars`: tools and structured output from Rust types, see [`client::Tool`] and [`client::ChatRequest`].
//! - `tower`: `layer::CassetteLayer`, for `hyper` clients and other `tower` services.
//! - `insta`: `testing::insta_settings`, for snapshots of responses.
//!
//! The client, the recorder, and the directory, memory and layered engines need no feature.
//!
//! # Reading the source
//!
//! Start with `recorder/mod.rs`: every request passes through `Recorder::answer`. The front ends are above it
//! (`client`, `middleware`, `proxy`), and so is `upstream`, which sends requests to the API. Below it are `engine`,
//! `redaction`, `key`, `settings`, `cassette` (the only module that knows YAML) and `http`. [`design`] has the whole
//! table of layers.

mod cassette;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod cli;
pub mod client;
mod diff;
pub mod engine;
mod error;
mod escape;
#[cfg(all(fuzzing, feature = "cli"))]
#[doc(hidden)]
pub mod fuzzing;
mod hash;
mod http;
mod key;
#[cfg(feature = "tower")]
pub mod layer;
#[cfg(feature = "middleware")]
mod middleware;
mod mode;
#[cfg(feature = "proxy")]
pub mod proxy;
pub mod recorder;
mod redaction;
pub mod settings;
pub mod testing;
pub mod upstream;

#[doc = include_str!("../DESIGN.md")]
pub mod design {}

/// The README's programs, compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// The page for caches, compiled.
#[cfg(doctest)]
#[doc = include_str!("../docs/caches.md")]
struct Caches;

/// The page for faults, compiled.
#[cfg(doctest)]
#[doc = include_str!("../docs/faults.md")]
struct Faults;

/// The page for Rust, compiled.
#[cfg(all(doctest, feature = "insta", feature = "proxy", feature = "tower"))]
#[doc = include_str!("../docs/rust.md")]
struct Rust;

/// The page for sessions in tests, compiled.
#[cfg(doctest)]
#[doc = include_str!("../docs/test-sessions.md")]
struct TestSessions;

/// The page for the typed client, compiled.
#[cfg(all(doctest, feature = "realtime"))]
#[doc = include_str!("../docs/rust-client.md")]
struct RustClient;

#[doc(no_inline)]
pub use async_trait::async_trait;

#[doc(inline)]
pub use crate::engine::{CacheEngine, DirectoryEngine, MemoryEngine};
pub use crate::error::{Error, ErrorKind, Result};
pub use crate::http::{Body, Request, Response, Transport};
pub use crate::key::{RequestKey, Scope};
#[cfg(feature = "middleware")]
pub use crate::middleware::CassetteMiddleware;
pub use crate::mode::Mode;
#[doc(inline)]
pub use crate::recorder::{Recorder, Session};
#[doc(inline)]
pub use crate::settings::{Playback, Settings};
#[doc(inline)]
pub use crate::upstream::Upstream;
