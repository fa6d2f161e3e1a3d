//! Stores cassettes in Redis, a server or a cluster.

mod address;
mod lock;
mod store;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use redis::{Cmd, cmd, pipe};

use self::address::Address;
use self::store::{Kind, Message, PAGE, Store};
use super::retry::Retry;
use super::ttl::milliseconds;
use super::{CacheEngine, Counts, EngineExtensions, Lock, Size};
use crate::error::{Error, ErrorKind, Result};
use crate::hash::is_lower_hex;
use crate::key::{RequestKey, Scope};

/// The endpoint and the slug of a key whose type is not that of an entry, so that it is listed.
const WRONG_TYPE_NAME: &str = "unknown/wrong-type";

/// Stores cassettes in Redis or a compatible server, for a team or for many machines.
///
/// # Layout
/// ```text
/// mistral-cassette:cassette:<key>    hash: cassette (the document), name (endpoint and slug)
/// mistral-cassette:body:<sha256>     a large body
/// mistral-cassette:lock:<key>        the token of the lock's owner
/// mistral-cassette:counts            hash: hits, misses, tokens_saved, milliseconds_saved
/// mistral-cassette:settings          the settings document
/// ```
/// `<key>` is [`RequestKey::id`]. The option `?prefix=` replaces `mistral-cassette`. Redis itself removes expired
/// entries. Clones share one connection, which is made with the first request and again after it breaks.
#[derive(Clone)]
pub struct RedisEngine {
    store: Arc<Store>,
}

impl RedisEngine {
    /// Opens the engine of a URL: `redis://[user:password@]host[:port][/database][?prefix=…]`, `rediss://` with TLS, or
    /// `redis+cluster://host:port,host:port` or `rediss+cluster://` for a cluster, with one or more of its nodes. It
    /// connects with the first request.
    ///
    /// # Errors
    /// [`ErrorKind::Settings`](crate::ErrorKind::Settings): the URL is invalid. The error does not repeat the URL, which
    /// may contain a password.
    pub fn open(url: &str) -> Result<Self> {
        let store = Arc::new(Store::new(Address::parse(url)?));
        Ok(Self { store })
    }

    fn cassette_key(&self, key: &RequestKey) -> String {
        self.store.entry_key(Kind::Cassette, &key.id())
    }

    fn body_key(&self, sha256: &str) -> String {
        self.store.entry_key(Kind::Body, sha256)
    }

    /// Sends a command that reads an entry, and names the entry if it is of another type.
    async fn read(&self, command: &Cmd, location: impl Fn() -> String) -> Result<Option<Bytes>> {
        self.store.command(command).await.map_err(|error| match error.kind() {
            ErrorKind::Cassette => {
                let message = format!(
                    "{}: the key in Redis is not of the type that this engine writes",
                    location()
                );
                Error::new(ErrorKind::Cassette, message).with_hint("remove it, or record this request again")
            }
            _ => error,
        })
    }

    /// Stores a document with a TTL in milliseconds, or without expiry.
    async fn write(&self, key: &RequestKey, cassette: &Bytes, ttl: Option<i64>) -> Result<()> {
        let at = self.cassette_key(key);
        let mut transaction = pipe();
        // A key of another type is replaced, as is everything in an existing entry.
        transaction
            .atomic()
            .cmd("DEL")
            .arg(&at)
            .ignore()
            .cmd("HSET")
            .arg(&at)
            .arg("cassette")
            .arg(&cassette[..])
            .arg("name")
            .arg(format!("{}/{}", key.endpoint(), key.slug()))
            .ignore();
        if let Some(ttl) = ttl {
            transaction.cmd("PEXPIRE").arg(&at).arg(ttl).ignore();
        }
        self.store.send(Message::Transaction(&transaction), Retry::Always).await
    }
}

#[async_trait]
impl CacheEngine for RedisEngine {
    async fn get(&self, key: &RequestKey) -> Result<Option<Bytes>> {
        let command = cmd("HGET").arg(self.cassette_key(key)).arg("cassette").take();
        self.read(&command, || self.location_of(key)).await
    }

    async fn set(&self, key: &RequestKey, cassette: Bytes) -> Result<()> {
        self.write(key, &cassette, None).await
    }

    async fn remove(&self, key: &RequestKey) -> Result<()> {
        self.store.command(cmd("UNLINK").arg(self.cassette_key(key))).await
    }

    async fn keys(&self) -> Result<Vec<RequestKey>> {
        let ids = self.store.list(Kind::Cassette).await?;
        let name = |id: &str| {
            let at = self.store.entry_key(Kind::Cassette, id);
            cmd("HGET").arg(at).arg("name").take()
        };
        let names: Vec<Option<Option<String>>> = self.store.commands(&ids, name).await?;
        let keys = ids.iter().zip(names).filter_map(|(id, name)| match name {
            // An entry without a name has expired meanwhile or was not written by this engine.
            Some(name) => key_of(id, &name?),
            None => key_of(id, WRONG_TYPE_NAME),
        });
        Ok(keys.collect())
    }

    async fn clear(&self) -> Result<()> {
        for kind in [Kind::Cassette, Kind::Body] {
            let ids = self.store.list(kind).await?;
            for page in ids.chunks(PAGE) {
                let mut unlink = cmd("UNLINK");
                for id in page {
                    unlink.arg(self.store.entry_key(kind, id));
                }
                self.store.command::<()>(&unlink).await?;
            }
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
impl EngineExtensions for RedisEngine {
    async fn get_body(&self, sha256: &str) -> Result<Option<Bytes>> {
        let at = self.body_key(sha256);
        self.read(cmd("GET").arg(&at), || at.clone()).await
    }

    async fn set_body(&self, sha256: &str, body: &Bytes) -> Result<bool> {
        self.store
            .command::<()>(cmd("SET").arg(self.body_key(sha256)).arg(&body[..]))
            .await?;
        Ok(true)
    }

    async fn set_expiring(&self, key: &RequestKey, cassette: &Bytes, ttl: Duration) -> Result<bool> {
        self.write(key, cassette, milliseconds(ttl)).await?;
        Ok(true)
    }

    async fn lock(&self, key: &RequestKey, ttl: Duration) -> Result<Lock> {
        let at = self.store.key(&format!("lock:{}", key.id()));
        lock::acquire(&self.store, at, ttl).await
    }

    async fn size(&self) -> Result<Option<Size>> {
        let mut size = Size::default();
        for kind in [Kind::Cassette, Kind::Body] {
            let ids = self.store.list(kind).await?;
            let length = |id: &str| {
                let at = self.store.entry_key(kind, id);
                match kind {
                    Kind::Cassette => cmd("HSTRLEN").arg(at).arg("cassette").take(),
                    Kind::Body => cmd("STRLEN").arg(at).take(),
                }
            };
            let lengths = self.store.commands::<u64>(&ids, length).await?;
            size.bytes += lengths.into_iter().flatten().sum::<u64>();
            if let Kind::Cassette = kind {
                size.entries = ids.len() as u64;
            }
        }
        Ok(Some(size))
    }

    /// Sent again only if it was not executed, because another retry might count twice.
    async fn add_counts(&self, counts: Counts) -> Result<()> {
        let at = self.store.key("counts");
        let mut transaction = pipe();
        transaction.atomic();
        for (name, count) in [
            ("hits", counts.hits),
            ("misses", counts.misses),
            ("tokens_saved", counts.tokens_saved),
            ("milliseconds_saved", counts.milliseconds_saved),
        ] {
            transaction.cmd("HINCRBY").arg(&at).arg(name).arg(count).ignore();
        }
        self.store
            .send(Message::Transaction(&transaction), Retry::IfNotExecuted)
            .await
    }

    async fn counts(&self) -> Result<Option<Counts>> {
        let names = ["hits", "misses", "tokens_saved", "milliseconds_saved"];
        let counts: [Option<u64>; 4] = self
            .store
            .command(cmd("HMGET").arg(self.store.key("counts")).arg(&names))
            .await?;
        let [hits, misses, tokens_saved, milliseconds_saved] = counts.map(Option::unwrap_or_default);
        Ok(Some(Counts {
            hits,
            misses,
            tokens_saved,
            milliseconds_saved,
        }))
    }

    async fn get_settings(&self) -> Result<Option<Bytes>> {
        let settings = self.store.command(cmd("GET").arg(self.store.key("settings"))).await;
        settings.map_err(|error| match error.kind() {
            // The settings decide what is recorded: without them nothing may be.
            ErrorKind::Cassette => Error::new(ErrorKind::Settings, error.message())
                .with_hint("store them again: mistral-cassette copy DIRECTORY URL"),
            _ => error,
        })
    }

    async fn set_settings(&self, settings: Bytes) -> Result<()> {
        self.store
            .command(cmd("SET").arg(self.store.key("settings")).arg(&settings[..]))
            .await
    }

    fn set_timeout(&self, limit: Duration) {
        self.store.timeout.set(limit);
    }
}

impl fmt::Debug for RedisEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisEngine")
            .field("location", &self.store.address.location)
            .field("prefix", &self.store.address.prefix)
            .finish()
    }
}

/// Returns the key of an entry from its id in Redis and its field `name`.
fn key_of(id: &str, name: &str) -> Option<RequestKey> {
    let (scope, hash) = match id.rsplit_once('/') {
        Some((scope, hash)) => (Scope::new(scope).ok()?, hash),
        None => (Scope::root(), id),
    };
    let (endpoint, slug) = name.rsplit_once('/')?;
    let key = || RequestKey::from_parts(hash.to_owned(), scope, endpoint.to_owned(), slug.to_owned());
    is_lower_hex(hash, 64).then(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_location_contains_no_credentials() {
        let key = RequestKey::from_parts("0".repeat(64), Scope::root(), "chat".to_owned(), "hello".to_owned());
        for (url, location) in [
            (
                "redis://me:secret@127.0.0.1",
                "redis://127.0.0.1/0 (chat/hello-0000000000000000)",
            ),
            (
                "rediss://:secret@[::1]:7/3?prefix=a*b",
                "rediss://[::1]:7/3 (chat/hello-0000000000000000)",
            ),
            (
                "redis+cluster://:secret@one:1,two:2",
                "redis+cluster://one:1,two:2 (chat/hello-0000000000000000)",
            ),
        ] {
            let engine = RedisEngine::open(url).unwrap();
            assert_eq!(engine.location_of(&key), location);
            assert!(!format!("{engine:?}").contains("secret"));
        }
    }

    #[test]
    fn the_key_of_an_entry_is_read_from_its_id_and_name() {
        let hash = "0123456789abcdef".repeat(4);
        let key = key_of(&format!("a/b/{hash}"), "chat-completions/hello-you").unwrap();
        assert_eq!(key.name(), "a/b/chat-completions/hello-you-0123456789abcdef");
        assert_eq!(key_of(&hash, "chat/x").unwrap().id(), hash);
        assert!(key_of("short", "chat/x").is_none() && key_of(&hash, "x").is_none());
    }
}
