//! Record real Mistral API calls once into readable files, and replay them in tests: offline, with no key, byte for byte.
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
//! Three things to know:
//!
//! - A [`Mode`] says when recordings are read and what a miss means: `record`, `replay`, `strict` or `live`.
//! - A [`Recorder`] is one session with an [engine](CacheEngine): a [directory](DirectoryEngine), [memory](MemoryEngine), a store for
//!   a team ([`engine`]), or one of your own in two methods. At its end it gives the [verdict](Session::verdict).
//! - A door is a way in: the typed [`client::Client`], the localhost [`proxy`] for every other language, or
//!   [`Recorder::answer`] with any [`Transport`].
//!
//! In a test, [`cassette!`] starts a session that is named after it and gives the verdict at its end.
//!
//! What is on disk, the settings and the command line are in the
//! [README](https://docs.rs/crate/mistral-cassette/latest); why it is so is in [`design`].
//!
//! # Layout
//!
//! `recorder` is the road that every request takes; read it first. Above it are the doors (`client`, `middleware`, `proxy`, with
//! `upstream` as the way out) and the command line (`cli`); below it `miss`, `engine`, `cassette` (`format` alone knows
//! YAML), `key`, `redaction`, `secrets`, `ledger`, `mode`, `settings`, and at the bottom `message` and `error`.
//!
//! # Features
//!
//! - `middleware` (default): [`CassetteMiddleware`] for programs on `reqwest` and `reqwest-middleware`.
//! - `cli` (default): the `mistral-cassette` command; it brings `proxy` along.
//! - `proxy`: the localhost proxy.
//! - `metrics`: counters through the `metrics` crate: `mistral_cassette_requests_total` by `outcome` (`replayed`, `recorded`,
//!   `passed_on`, `skipped`, `missed`, `failed`, `injected`, `refused`), `mistral_cassette_saved_tokens_total` and
//!   `mistral_cassette_saved_milliseconds_total`. Events go to `tracing` in any case.
//! - `redis`: `engine::RedisEngine`, for Redis alone and as a cluster.
//! - `sql`: `engine::SqlEngine`, for SQLite and PostgreSQL; it needs Rust 1.94.
//! - `object-store`: `engine::ObjectStoreEngine`, cassettes in a bucket (S3, Google Cloud Storage, Azure).
//! - `schemars`: tools and answers from Rust types, [`client::Tool`] and [`client::ChatRequest`].
//! - `insta`: `insta_settings`, for snapshots of answers.
//!
//! Without default features there are the client, the recorder and the engines.

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
#[cfg(feature = "middleware")]
mod middleware;
mod mode;
#[cfg(feature = "proxy")]
pub mod proxy;
mod recorder;
mod redaction;
mod settings;
mod testing;
mod upstream;

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
#[cfg(all(doctest, feature = "proxy"))]
#[doc = include_str!("../docs/rust.md")]
struct Rust;

pub use async_trait::async_trait;

pub use crate::cassette::History;
pub use crate::engine::{CacheEngine, DirectoryEngine, LayeredEngine, MemoryEngine};
pub use crate::error::{Error, ErrorKind, Result};
pub use crate::http::{BackgroundTransport, Body, Request, Response, Transport};
pub use crate::key::{RequestKey, Scope};
#[cfg(feature = "middleware")]
pub use crate::middleware::CassetteMiddleware;
pub use crate::mode::Mode;
pub use crate::recorder::{Recorder, RecorderBuilder, Session, Summary};
pub use crate::settings::expiry::{Adaptive, Expiry};
pub use crate::settings::limits::Limits;
pub use crate::settings::matching::{Matching, Pointer, Replacement};
pub use crate::settings::pace::Pace;
pub use crate::settings::playback::Playback;
pub use crate::settings::{Exhausted, Headers, Secrets, Settings};
pub use crate::testing::TestSession;
#[cfg(feature = "insta")]
pub use crate::testing::insta_settings;
pub use crate::upstream::{Upstream, UpstreamBuilder};
