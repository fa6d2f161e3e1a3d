//! Stores cassettes in a database: SQLite in a file, or PostgreSQL on a server.

mod address;
mod code;
mod lock;
mod store;
mod tables;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use self::address::Address;
use self::store::{Store, Value};
use self::tables::{BODIES, CASSETTES, COUNTS, SETTINGS};
use super::retry::Retry;
use super::ttl::milliseconds;
use super::{CacheEngine, Counts, EngineExtensions, Lock, Size};
use crate::error::Result;
use crate::key::{RequestKey, Scope};

/// Stores cassettes in a database: SQLite, or PostgreSQL for a team.
///
/// # Layout
/// The first request creates the tables that are missing: `mistral_cassettes` with the documents by scope and hash,
/// `mistral_cassette_bodies`, `mistral_cassette_counts`, `mistral_cassette_locks` and `mistral_cassette_settings`.
/// Entries expire by the clock of the database: expired entries are not returned, and writes remove some of them.
/// Clones share a connection pool.
#[derive(Clone)]
pub struct SqlEngine {
    store: Arc<Store>,
}

impl SqlEngine {
    /// Opens the engine of a URL: `sqlite:path/to/file.db`, or `postgres://[user:password@]host[:port]/database[?schema=…]`
    /// with the same defaults as the clients of PostgreSQL (`PGPASSWORD`, `~/.pgpass`). It connects with the first
    /// request.
    ///
    /// # Errors
    /// [`ErrorKind::Settings`](crate::ErrorKind::Settings): the URL is invalid. The error does not repeat the URL, which
    /// may contain a password.
    pub fn open(url: &str) -> Result<Self> {
        let store = Arc::new(Store::new(Address::parse(url)?));
        Ok(Self { store })
    }

    fn table(&self, name: &str) -> String {
        self.store.address.table(name)
    }

    /// Stores a document with a TTL in milliseconds, or without expiry.
    async fn write(&self, key: &RequestKey, cassette: &Bytes, ttl: Option<i64>) -> Result<()> {
        let (cassettes, now) = (self.table(CASSETTES), self.store.address.now());
        let statement = format!(
            "insert into {cassettes} (scope, hash, endpoint, slug, document, expires_at) values ($1, $2, $3, $4, $5, {now} + $6) \
             on conflict (scope, hash) do update set endpoint = excluded.endpoint, slug = excluded.slug, \
             document = excluded.document, expires_at = excluded.expires_at"
        );
        let values = [
            Value::Text(key.scope().as_str()),
            Value::Text(key.hash()),
            Value::Text(key.endpoint()),
            Value::Text(key.slug()),
            Value::Bytes(cassette),
            Value::Number(ttl),
        ];
        self.store.execute(statement, &values, Retry::Always).await?;
        self.store.sweep().await;
        Ok(())
    }
}

/// Returns the file of a SQLite database; `None` for another location.
#[cfg(feature = "cli")]
pub(super) fn database_file(location: &str) -> Option<std::path::PathBuf> {
    Address::parse(location).ok()?.file()
}

#[async_trait]
impl CacheEngine for SqlEngine {
    async fn get(&self, key: &RequestKey) -> Result<Option<Bytes>> {
        let (cassettes, not_expired) = (self.table(CASSETTES), self.store.address.not_expired());
        let document = self.store.address.bytes("document");
        let statement = format!("select {document} from {cassettes} where scope = $1 and hash = $2 and {not_expired}");
        let values = [Value::Text(key.scope().as_str()), Value::Text(key.hash())];
        self.store.bytes(statement, &values).await
    }

    async fn set(&self, key: &RequestKey, cassette: Bytes) -> Result<()> {
        self.write(key, &cassette, None).await
    }

    async fn remove(&self, key: &RequestKey) -> Result<()> {
        let statement = format!("delete from {} where scope = $1 and hash = $2", self.table(CASSETTES));
        let values = [Value::Text(key.scope().as_str()), Value::Text(key.hash())];
        self.store.execute(statement, &values, Retry::Always).await.map(drop)
    }

    async fn keys(&self) -> Result<Vec<RequestKey>> {
        let (cassettes, not_expired) = (self.table(CASSETTES), self.store.address.not_expired());
        let statement = format!("select scope, hash, endpoint, slug from {cassettes} where {not_expired}");
        let rows: Vec<(String, String, String, String)> = self.store.rows(statement, &[]).await?;
        let key = |(scope, hash, endpoint, slug): (String, String, String, String)| {
            let scope = match &*scope {
                "" => Scope::root(),
                scope => Scope::new(scope).ok()?,
            };
            // A row with another hash was not written by this engine.
            (hash.len() == 64 && hash.is_ascii()).then(|| RequestKey::from_parts(hash, scope, endpoint, slug))
        };
        Ok(rows.into_iter().filter_map(key).collect())
    }

    async fn clear(&self) -> Result<()> {
        for table in [CASSETTES, BODIES] {
            let statement = format!("delete from {}", self.table(table));
            self.store.execute(statement, &[], Retry::Always).await?;
        }
        Ok(())
    }

    fn location_of(&self, key: &RequestKey) -> String {
        format!("{} ({})", self.store.address.location, key.name())
    }

    fn extensions(&self) -> &dyn EngineExtensions {
        self
    }
}

#[async_trait]
impl EngineExtensions for SqlEngine {
    async fn get_body(&self, sha256: &str) -> Result<Option<Bytes>> {
        let body = self.store.address.bytes("body");
        let statement = format!("select {body} from {} where sha256 = $1", self.table(BODIES));
        self.store.bytes(statement, &[Value::Text(sha256)]).await
    }

    async fn set_body(&self, sha256: &str, body: &Bytes) -> Result<bool> {
        // A damaged body is replaced.
        let statement = format!(
            "insert into {} as stored (sha256, body) values ($1, $2) \
             on conflict (sha256) do update set body = excluded.body where stored.body <> excluded.body",
            self.table(BODIES)
        );
        let values = [Value::Text(sha256), Value::Bytes(body)];
        self.store.execute(statement, &values, Retry::Always).await?;
        Ok(true)
    }

    async fn set_expiring(&self, key: &RequestKey, cassette: &Bytes, ttl: Duration) -> Result<bool> {
        self.write(key, cassette, milliseconds(ttl)).await?;
        Ok(true)
    }

    async fn lock(&self, key: &RequestKey, ttl: Duration) -> Result<Lock> {
        lock::acquire(&self.store, key.id(), ttl).await
    }

    async fn size(&self) -> Result<Option<Size>> {
        let (cassettes, not_expired) = (self.table(CASSETTES), self.store.address.not_expired());
        let bodies = self.table(BODIES);
        let statement = format!(
            "select (select count(*) from {cassettes} where {not_expired}), \
             (select cast(coalesce(sum(octet_length(document)), 0) as bigint) from {cassettes} where {not_expired}), \
             (select cast(coalesce(sum(octet_length(body)), 0) as bigint) from {bodies})"
        );
        let rows: Vec<(i64, i64, i64)> = self.store.rows(statement, &[]).await?;
        Ok(rows.first().map(|(entries, documents, bodies)| Size {
            entries: entries.unsigned_abs(),
            bytes: documents.unsigned_abs() + bodies.unsigned_abs(),
        }))
    }

    /// Sent again only if PostgreSQL has rolled it back, because another retry might count twice.
    async fn add_counts(&self, counts: Counts) -> Result<()> {
        let statement = format!(
            "insert into {} as stored (id, hits, misses, tokens_saved, milliseconds_saved) values (1, $1, $2, $3, $4) \
             on conflict (id) do update set hits = stored.hits + excluded.hits, misses = stored.misses + excluded.misses, \
             tokens_saved = stored.tokens_saved + excluded.tokens_saved, \
             milliseconds_saved = stored.milliseconds_saved + excluded.milliseconds_saved",
            self.table(COUNTS)
        );
        let values = [
            counts.hits,
            counts.misses,
            counts.tokens_saved,
            counts.milliseconds_saved,
        ]
        .map(|count| Value::Number(Some(i64::try_from(count).unwrap_or(i64::MAX))));
        self.store
            .execute(statement, &values, Retry::IfNotExecuted)
            .await
            .map(drop)
    }

    async fn counts(&self) -> Result<Option<Counts>> {
        let statement = format!(
            "select hits, misses, tokens_saved, milliseconds_saved from {}",
            self.table(COUNTS)
        );
        let rows: Vec<(i64, i64, i64, i64)> = self.store.rows(statement, &[]).await?;
        let (hits, misses, tokens, milliseconds) = rows.first().copied().unwrap_or_default();
        Ok(Some(Counts {
            hits: hits.unsigned_abs(),
            misses: misses.unsigned_abs(),
            tokens_saved: tokens.unsigned_abs(),
            milliseconds_saved: milliseconds.unsigned_abs(),
        }))
    }

    async fn get_settings(&self) -> Result<Option<Bytes>> {
        let document = self.store.address.bytes("document");
        let statement = format!("select {document} from {}", self.table(SETTINGS));
        self.store.bytes(statement, &[]).await
    }

    async fn set_settings(&self, settings: Bytes) -> Result<()> {
        let statement = format!(
            "insert into {} (id, document) values (1, $1) on conflict (id) do update set document = excluded.document",
            self.table(SETTINGS)
        );
        let values = [Value::Bytes(&settings)];
        self.store.execute(statement, &values, Retry::Always).await.map(drop)
    }

    fn set_timeout(&self, limit: Duration) {
        self.store.timeout.set(limit);
    }
}

impl fmt::Debug for SqlEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqlEngine")
            .field("location", &self.store.address.location)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_location_contains_no_credentials() {
        let key = RequestKey::from_parts("0".repeat(64), Scope::root(), "chat".to_owned(), "hello".to_owned());
        for (url, location) in [
            ("sqlite:a/b%20c.db", "sqlite:a/b c.db (chat/hello-0000000000000000)"),
            ("sqlite:///a.db", "sqlite:/a.db (chat/hello-0000000000000000)"),
            (
                "postgres://me:secret@db.example:7/x?schema=a",
                "postgres://db.example:7/x (chat/hello-0000000000000000)",
            ),
            (
                "postgresql://me:secret@[::1]:7/x",
                "postgres://[::1]:7/x (chat/hello-0000000000000000)",
            ),
            (
                "postgres://me@/x?host=/run/pg&port=7",
                "postgres:///run/pg:7/x (chat/hello-0000000000000000)",
            ),
        ] {
            let engine = SqlEngine::open(url).unwrap();
            assert_eq!(engine.location_of(&key), location);
            assert!(!format!("{engine:?}").contains("secret"));
        }
    }
}
