//! What the tests stand on: a real HTTP server that each test scripts, a stand-in for the Mistral API, the real binary
//! in a temporary project.
#![allow(dead_code, unreachable_pub, missing_docs, clippy::unwrap_used)]

pub mod api;
pub mod corpus;
pub mod kills;
pub mod mount;
pub mod platform;
#[cfg(unix)]
pub mod postgres;
pub mod process;
pub mod project;
pub mod redis;
pub mod server;
pub mod stores;
pub mod upstream;
pub mod wire;

/// The key of the tests: long enough to be taken for a secret.
pub const KEY: &str = "sk-test-secret-0123456789abcdef";
