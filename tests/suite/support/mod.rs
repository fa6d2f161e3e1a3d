//! What the tests stand on: a real HTTP server that each test scripts, a stand-in for the Mistral API, the real binary
//! in a temporary project.
#![allow(dead_code, unreachable_pub, missing_docs, clippy::unwrap_used)]

#[cfg(feature = "cli")]
pub mod api;
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
pub mod redis;
#[cfg(feature = "object-store")]
pub mod s3;
pub mod server;
pub mod skip;
#[cfg(feature = "cli")]
pub mod stores;
#[cfg(feature = "cli")]
pub mod upstream;
#[cfg(feature = "cli")]
pub mod wire;

/// The key of the tests: long enough to be taken for a secret.
pub const KEY: &str = "sk-test-secret-0123456789abcdef";
