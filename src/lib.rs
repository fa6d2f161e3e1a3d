//! Record and replay Mistral API calls.

mod cassette;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod cli;
pub mod client;
mod engine;
mod error;
mod key;
mod message;
mod miss;
mod mode;
#[cfg(feature = "proxy")]
pub mod proxy;
mod recorder;
mod redaction;
mod session;
mod settings;
mod transport;
mod upstream;

pub use async_trait::async_trait;

pub use crate::engine::{CacheEngine, DirectoryEngine, MemoryEngine};
pub use crate::error::{Error, ErrorKind, Result};
pub use crate::key::{RequestKey, Scope};
pub use crate::message::{Body, Request, Response};
pub use crate::mode::Mode;
pub use crate::recorder::{Recorder, RecorderBuilder};
pub use crate::session::{Session, Summary};
pub use crate::settings::{Exhausted, Headers, Matching, Pace, Pointer, Replacement, Settings};
pub use crate::transport::Transport;
pub use crate::upstream::{Upstream, UpstreamBuilder};
