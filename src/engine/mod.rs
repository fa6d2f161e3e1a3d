//! Engines store cassettes.
//!
//! | engine | feature | URL |
//! | --- | --- | --- |
//! | [`DirectoryEngine`] | | `cassettes`, `./any/folder` |
//! | [`MemoryEngine`] | | `memory:`, `memory:?max_bytes=64000000` |
//! | `RedisEngine` | `redis` | `redis://user:password@host:6379/0?prefix=team`, `rediss://…`, `redis+cluster://host:6379,host:6379`, `rediss+cluster://…` |
//! | `SqlEngine` | `sql` | `sqlite:cassettes.db`, `postgres://user:password@host/database?schema=team` |
//! | `ObjectStoreEngine` | `object-store` | `s3://bucket/prefix?endpoint=…&region=…`, `gs://bucket/prefix`, `az://container/prefix?account=…` |
//!
//! [`open`] returns the engine of such a URL. [`LayeredEngine`] combines a fast engine with a shared one. To write an
//! engine, implement the two methods of [`CacheEngine`]; [`conformance`] tests whether it does what the recorder needs.

mod cache_engine;
mod cassettes;
pub mod conformance;
mod directory;
mod extensions;
mod layered;
pub(crate) mod layout;
mod maintenance;
mod memory;
#[cfg(feature = "object-store")]
mod object_store;
mod open;
#[cfg(feature = "redis")]
mod redis;
#[cfg(any(feature = "redis", feature = "sql"))]
mod retry;
mod sized_lru;
#[cfg(feature = "sql")]
mod sql;
mod staged;
mod stored_body;
#[cfg(any(feature = "object-store", feature = "redis", feature = "sql"))]
mod timeout;
#[cfg(any(feature = "object-store", feature = "redis", feature = "sql"))]
mod ttl;
#[cfg(any(feature = "redis", feature = "sql"))]
mod url;

#[cfg(feature = "object-store")]
pub use self::object_store::ObjectStoreEngine;
#[cfg(feature = "redis")]
pub use self::redis::RedisEngine;
pub use cache_engine::CacheEngine;
#[cfg(feature = "cli")]
pub(crate) use cassettes::externalize_large_bodies;
#[cfg(feature = "cli")]
pub(crate) use cassettes::inline_bodies;
pub(crate) use cassettes::{append_responses, read_body, write_cassette};
pub use directory::DirectoryEngine;
#[cfg(feature = "cli")]
pub(crate) use directory::{Listed, folder_of, read_file, remove_abandoned, write_file, write_file_with};
pub use extensions::{Counts, EngineExtensions, Lease, Lock, Size};
pub use layered::LayeredEngine;
#[cfg(feature = "cli")]
pub(crate) use maintenance::EntryStats;
pub(crate) use maintenance::key_of;
pub use maintenance::{Copied, Stats, copy, stats};
pub use memory::MemoryEngine;
pub use open::open;
#[cfg(feature = "cli")]
pub(crate) use open::{database_file, is_directory};
pub(crate) use sized_lru::SizedLru;
#[cfg(feature = "sql")]
pub use sql::SqlEngine;
pub(crate) use staged::StagedEngine;
#[cfg(feature = "cli")]
pub(crate) use stored_body::decode as decode_stored_body;
