//! The integration tests, in one binary: one module for each subject.
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used)]

mod support;

#[cfg(feature = "cli")]
mod api_description;
#[cfg(all(feature = "cli", unix))]
mod bedrock;
#[cfg(feature = "cli")]
mod cache;
#[cfg(all(feature = "cli", feature = "redis", feature = "sql", unix))]
mod cache_repair;
#[cfg(feature = "cli")]
mod cli;
#[cfg(feature = "cli")]
mod client;
#[cfg(feature = "cli")]
mod client_calls;
#[cfg(feature = "cli")]
mod complete_responses;
#[cfg(feature = "cli")]
mod consumer;
#[cfg(feature = "cli")]
mod control;
#[cfg(feature = "cli")]
mod corpus;
#[cfg(feature = "cli")]
mod crash_safety;
#[cfg(feature = "cli")]
mod diff;
mod engines;
#[cfg(feature = "cli")]
mod examples;
#[cfg(all(feature = "cli", feature = "middleware"))]
mod faults;
#[cfg(feature = "cli")]
mod formatters;
#[cfg(feature = "cli")]
mod identity;
#[cfg(feature = "cli")]
mod import_export;
#[cfg(feature = "cli")]
mod import_formats;
#[cfg(all(feature = "cli", unix))]
mod interception;
#[cfg(all(feature = "cli", feature = "tower"))]
mod layer;
mod layers;
#[cfg(all(feature = "cli", unix))]
mod live_view;
#[cfg(all(feature = "cli", unix))]
mod locks;
#[cfg(feature = "cli")]
mod maintenance;
#[cfg(feature = "metrics")]
mod metrics;
#[cfg(all(feature = "cli", feature = "middleware"))]
mod middleware;
#[cfg(all(feature = "cli", unix))]
mod npm_package;
#[cfg(feature = "object-store")]
mod object_store;
#[cfg(feature = "cli")]
mod package;
#[cfg(feature = "cli")]
mod proxy;
#[cfg(all(feature = "cli", unix))]
mod python_package;
#[cfg(all(feature = "cli", unix))]
mod realtime;
#[cfg(feature = "cli")]
mod recorder;
#[cfg(all(feature = "cli", feature = "redis", unix))]
mod redis;
#[cfg(feature = "cli")]
mod refresh;
#[cfg(feature = "cli")]
mod refresh_chains;
#[cfg(feature = "cli")]
mod refused_key;
#[cfg(feature = "cli")]
mod rekey;
#[cfg(feature = "cli")]
mod repeated_recording;
#[cfg(feature = "cli")]
mod report;
#[cfg(feature = "cli")]
mod saving;
#[cfg(all(feature = "cli", feature = "schemars"))]
mod sdks;
#[cfg(feature = "cli")]
mod secret_search;
#[cfg(feature = "cli")]
mod secrets;
#[cfg(feature = "cli")]
mod security;
#[cfg(all(feature = "cli", feature = "sql", unix))]
mod sql;
mod testing;
#[cfg(all(feature = "cli", feature = "redis", feature = "sql", unix))]
mod unavailable_caches;
#[cfg(feature = "cli")]
mod usage_log;
