//! Tests whether an engine does what the recorder needs. Every engine of this crate passes [`check`].
//!
//! ```
//! use std::sync::Arc;
//! use mistral_cassette::MemoryEngine;
//! use mistral_cassette::engine::conformance;
//!
//! # tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(async {
//! let capabilities = conformance::check(Arc::new(MemoryEngine::new())).await;
//! assert!(capabilities.list && capabilities.remove);
//! # });
//! ```

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::{join_all, poll_fn};

use super::{CacheEngine, Counts, Lock};
use crate::cassette::RecordedRequest;
use crate::error::Result;
use crate::hash::sha256_hex;
use crate::key::{RequestKey, Scope};
use crate::settings::matching::Matching;

/// The TTL of the locks and entries that expire during the tests.
const TTL: Duration = Duration::from_secs(1);

/// The TTL of the locks that are released during the tests.
const LONG_TTL: Duration = Duration::from_secs(60);

/// How long after its TTL a lock may still be held.
const GRACE: Duration = Duration::from_secs(10);

const WRITERS: usize = 64;

/// The size of the largest document.
const LARGE: usize = 20_000_000;

/// The optional operations that an engine supports. Each of them was tested.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// It lists its keys.
    pub list: bool,
    /// It removes single entries and all entries.
    pub remove: bool,
    /// It stores large bodies separately.
    pub bodies: bool,
    /// It removes expired entries.
    pub expire: bool,
    /// It has locks.
    pub lock: bool,
    /// Its locks expire if they are not released.
    pub lock_expires: bool,
    /// It stores counters.
    pub count: bool,
    /// It stores settings.
    pub settings: bool,
    /// It returns its size.
    pub size: bool,
}

/// Tests an empty engine and returns its capabilities. Every engine must
///
/// - return documents byte for byte,
/// - return the document that was written last,
/// - store one complete document when many tasks write the same key,
/// - leave no partial document when a call is canceled,
/// - keep scopes separate.
///
/// Afterwards the engine is empty again if it supports removal. Needs a tokio runtime with timers.
///
/// # Panics
/// A test fails. The message contains the expected and the actual result.
pub async fn check(engine: Arc<dyn CacheEngine>) -> Capabilities {
    let mut can = Capabilities::default();
    let key = key("one", &Scope::root());
    assert_eq!(get(&engine, &key).await, None, "the engine is not empty");

    returns_documents_byte_for_byte(&engine, &key).await;
    separates_scopes(&engine).await;
    can.list = lists_keys(&engine).await;
    stores_one_of_many_writes(&engine, &key).await;
    leaves_no_partial_documents(&engine, &key).await;
    can.bodies = stores_bodies(&engine).await;
    can.expire = expires(&engine).await;
    (can.lock, can.lock_expires) = locks(&engine, &key).await;
    can.count = counts(&engine).await;
    can.settings = stores_settings(&engine).await;
    can.size = returns_its_size(&engine).await;
    can.remove = removes(&engine, &key, can.list).await;
    can
}

/// Returns the key of a chat request with this content.
fn key(name: &str, scope: &Scope) -> RequestKey {
    let body = format!(r#"{{"model":"conformance","messages":[{{"role":"user","content":"{name}"}}]}}"#);
    let request = RecordedRequest::new("POST", "/v1/chat/completions", body);
    RequestKey::of(&request, scope, &Matching::default())
}

fn suite() -> Scope {
    Scope::new("conformance/suite").unwrap_or_default()
}

async fn get(engine: &Arc<dyn CacheEngine>, key: &RequestKey) -> Option<Bytes> {
    done("get", engine.get(key).await)
}

async fn set(engine: &Arc<dyn CacheEngine>, key: &RequestKey, document: impl Into<Bytes>) {
    done("set", engine.set(key, document.into()).await);
}

#[track_caller]
fn done<T>(what: &str, result: Result<T>) -> T {
    result.unwrap_or_else(|error| panic!("{what} failed: {}", error.report()))
}

/// Asserts that bytes are equal, without printing them.
#[track_caller]
fn assert_bytes(actual: Option<&Bytes>, expected: &[u8], what: &str) {
    match actual {
        None => panic!("{what}: expected {} bytes, got nothing", expected.len()),
        Some(actual) => assert!(
            actual == expected,
            "{what}: got {} bytes, which differ from the {} that were stored",
            actual.len(),
            expected.len()
        ),
    }
}

async fn returns_documents_byte_for_byte(engine: &Arc<dyn CacheEngine>, key: &RequestKey) {
    let binary: Vec<u8> = (0..=255).cycle().take(100_003).collect();
    let mut large = (0u32..250_007)
        .flat_map(u32::to_le_bytes)
        .collect::<Vec<u8>>()
        .repeat(50);
    large.truncate(LARGE);
    let documents: [(&str, &[u8]); 6] = [
        ("text", "version: 1\n# é 日本 \u{1f32c}\n".as_bytes()),
        ("line ends", b"a\r\nb\rc\n\n\n"),
        ("binary", &binary),
        ("large", &large),
        ("empty", b""),
        ("short again", b"x"),
    ];
    for (what, document) in documents {
        set(engine, key, Bytes::copy_from_slice(document)).await;
        assert_bytes(get(engine, key).await.as_ref(), document, what);
    }
}

async fn separates_scopes(engine: &Arc<dyn CacheEngine>) {
    let (root, scoped) = (key("scoped", &Scope::root()), key("scoped", &suite()));
    set(engine, &root, "root").await;
    assert_eq!(
        get(engine, &scoped).await,
        None,
        "a scope returns the document of another scope"
    );
    set(engine, &scoped, "scoped").await;
    assert_bytes(get(engine, &root).await.as_ref(), b"root", "the root scope");
    assert_bytes(get(engine, &scoped).await.as_ref(), b"scoped", "another scope");
}

async fn lists_keys(engine: &Arc<dyn CacheEngine>) -> bool {
    let names = |keys: &[RequestKey]| {
        let mut names: Vec<String> = keys.iter().map(RequestKey::name).collect();
        names.sort();
        names
    };
    let keys = [
        key("one", &Scope::root()),
        key("scoped", &Scope::root()),
        key("scoped", &suite()),
    ];
    let listed = done("keys", engine.keys().await);
    if listed.is_empty() {
        return false;
    }
    assert_eq!(names(&listed), names(&keys), "the keys in the store");
    true
}

async fn stores_one_of_many_writes(engine: &Arc<dyn CacheEngine>, key: &RequestKey) {
    let document = |writer: usize| Bytes::from(format!("{writer} ").repeat(1000 + writer * 100));
    let one_key = (0..WRITERS).map(|writer| set(engine, key, document(writer)));
    join_all(one_key).await;
    let last = get(engine, key).await;
    assert!(
        (0..WRITERS).any(|writer| last.as_ref() == Some(&document(writer))),
        "{WRITERS} tasks wrote one key, and none of their documents is stored completely"
    );
    let own = |writer: usize| self::key(&format!("writer {writer}"), &suite());
    let keys: Vec<RequestKey> = (0..WRITERS).map(own).collect();
    join_all(
        keys.iter()
            .enumerate()
            .map(|(writer, key)| set(engine, key, document(writer))),
    )
    .await;
    for (writer, key) in keys.iter().enumerate() {
        assert_bytes(
            get(engine, key).await.as_ref(),
            &document(writer),
            "one of many writers",
        );
    }
}

async fn leaves_no_partial_documents(engine: &Arc<dyn CacheEngine>, key: &RequestKey) {
    let (old, new) = (
        Bytes::from("old".repeat(1_000_000)),
        Bytes::from("new".repeat(2_000_000)),
    );
    for polls in [1, 2, 5, 20] {
        set(engine, key, old.clone()).await;
        let mut call = engine.set(key, new.clone());
        for _ in 0..polls {
            let is_over = poll_fn(|context| std::task::Poll::Ready(call.as_mut().poll(context).is_ready())).await;
            if is_over {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(call);
        // The write may still complete after its call was canceled.
        let stored = get(engine, key).await;
        assert!(
            stored.as_ref() == Some(&old) || stored.as_ref() == Some(&new),
            "a canceled call has left {} bytes, neither the old document nor the new one",
            stored.map_or(0, |stored| stored.len())
        );
        let mut read = engine.get(key);
        let _ = poll_fn(|context| std::task::Poll::Ready(read.as_mut().poll(context).is_ready())).await;
        drop(read);
    }
    let other = self::key("after canceled calls", &suite());
    set(engine, &other, "complete").await;
    assert_bytes(get(engine, &other).await.as_ref(), b"complete", "after canceled calls");
}

async fn stores_bodies(engine: &Arc<dyn CacheEngine>) -> bool {
    let body: Bytes = (0..=255).rev().cycle().take(300_000).collect();
    let sha256 = sha256_hex(&body);
    assert_eq!(done("get_body", engine.extensions().get_body(&sha256).await), None);
    if !done("set_body", engine.extensions().set_body(&sha256, &body).await) {
        return false;
    }
    assert_bytes(
        done("get_body", engine.extensions().get_body(&sha256).await).as_ref(),
        &body,
        "a large body",
    );
    assert!(
        done("set_body", engine.extensions().set_body(&sha256, &body).await),
        "a body cannot be stored twice"
    );
    true
}

async fn expires(engine: &Arc<dyn CacheEngine>) -> bool {
    const LONG: Duration = Duration::from_secs(3600);
    let (brief, long) = (key("brief", &suite()), key("long", &suite()));
    let set_expiring = async |key: &RequestKey, document: &'static str, ttl| {
        let document = Bytes::from_static(document.as_bytes());
        done(
            "set_expiring",
            engine.extensions().set_expiring(key, &document, ttl).await,
        )
    };
    if !set_expiring(&long, "long", LONG).await {
        return false;
    }
    assert!(
        set_expiring(&brief, "brief", LONG).await,
        "set_expiring is supported once only"
    );
    assert_bytes(get(engine, &brief).await.as_ref(), b"brief", "an entry that expires");
    set_expiring(&brief, "brief", TTL).await;
    let since = Instant::now();
    // An engine that removes expired entries does so soon after; one that does not never will.
    let has_expired = loop {
        let is_late = since.elapsed() > TTL + Duration::from_millis(500);
        if get(engine, &brief).await.is_none() {
            break true;
        }
        if is_late {
            break false;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_bytes(get(engine, &long).await.as_ref(), b"long", "an entry with a long TTL");
    if has_expired {
        // `set` removes the TTL of an entry.
        set_expiring(&brief, "brief", TTL).await;
        set(engine, &brief, "no TTL").await;
        tokio::time::sleep(TTL + Duration::from_millis(200)).await;
        assert_bytes(get(engine, &brief).await.as_ref(), b"no TTL", "set after set_expiring");
    }
    has_expired
}

/// Returns whether the engine has locks, and whether they expire.
async fn locks(engine: &Arc<dyn CacheEngine>, key: &RequestKey) -> (bool, bool) {
    let Lock::Acquired(first) = lock(engine, key, LONG_TTL).await else {
        return (false, false);
    };
    assert!(
        matches!(lock(engine, key, LONG_TTL).await, Lock::Held),
        "a lock was acquired twice"
    );
    match lock(engine, &self::key("another lock", &suite()), LONG_TTL).await {
        Lock::Acquired(lease) => done("release", lease.release().await),
        other => panic!("the lock of another key is {other:?}"),
    }
    done("renew", first.renew(LONG_TTL).await);
    done("release", first.release().await);
    // One of many tasks acquires it.
    let locks = join_all((0..WRITERS).map(|_| lock(engine, key, LONG_TTL))).await;
    let mut leases: Vec<_> = locks
        .into_iter()
        .filter_map(|lock| match lock {
            Lock::Acquired(lease) => Some(lease),
            _ => None,
        })
        .collect();
    assert_eq!(
        leases.len(),
        1,
        "the number of {WRITERS} tasks that have acquired one lock"
    );
    if let Some(lease) = leases.pop() {
        done("release", lease.release().await);
    }
    (true, lock_expires(engine, key).await)
}

async fn lock(engine: &Arc<dyn CacheEngine>, key: &RequestKey, ttl: Duration) -> Lock {
    done("lock", engine.extensions().lock(key, ttl).await)
}

/// Returns whether a lock that is not released expires.
async fn lock_expires(engine: &Arc<dyn CacheEngine>, key: &RequestKey) -> bool {
    let Lock::Acquired(unreleased) = lock(engine, key, TTL).await else {
        panic!("a lock that was released is still held");
    };
    let since = Instant::now();
    let next = loop {
        match lock(engine, key, LONG_TTL).await {
            Lock::Acquired(lease) => break Some(lease),
            _ if since.elapsed() > TTL + GRACE => break None,
            _ => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    };
    match next {
        Some(lease) => {
            // A late release leaves the lock to the new owner.
            let _ = unreleased.release().await;
            assert!(
                matches!(lock(engine, key, LONG_TTL).await, Lock::Held),
                "a late release has released the lock of another owner"
            );
            done("release", lease.release().await);
            true
        }
        None => {
            drop(unreleased);
            let Lock::Acquired(lease) = lock(engine, key, LONG_TTL).await else {
                panic!("a lock that was dropped is still held");
            };
            done("release", lease.release().await);
            false
        }
    }
}

async fn counts(engine: &Arc<dyn CacheEngine>) -> bool {
    let one = Counts {
        hits: 1,
        misses: 2,
        tokens_saved: 3,
        milliseconds_saved: 4,
    };
    let Some(mut expected) = done("counts", engine.extensions().counts().await) else {
        return false;
    };
    for result in join_all((0..WRITERS).map(|_| engine.extensions().add_counts(one))).await {
        done("count", result);
        expected += one;
    }
    assert_eq!(done("counts", engine.extensions().counts().await), Some(expected));
    true
}

async fn stores_settings(engine: &Arc<dyn CacheEngine>) -> bool {
    assert_eq!(
        done("get_settings", engine.extensions().get_settings().await),
        None,
        "the engine has settings"
    );
    let settings = Bytes::from("pace: recorded\n");
    if engine.extensions().set_settings(settings.clone()).await.is_err() {
        return false;
    }
    assert_bytes(
        done("get_settings", engine.extensions().get_settings().await).as_ref(),
        &settings,
        "the settings",
    );
    true
}

async fn returns_its_size(engine: &Arc<dyn CacheEngine>) -> bool {
    let Some(before) = done("size", engine.extensions().size().await) else {
        return false;
    };
    let key = key("its size", &suite());
    set(engine, &key, "x".repeat(10_000)).await;
    let after = done("size", engine.extensions().size().await).unwrap_or_default();
    assert_eq!(after.entries, before.entries + 1, "the number of entries");
    assert!(
        (10_000..20_000).contains(&(after.bytes - before.bytes)),
        "10,000 additional bytes are reported as {}",
        after.bytes - before.bytes
    );
    true
}

async fn removes(engine: &Arc<dyn CacheEngine>, key: &RequestKey, can_list: bool) -> bool {
    if engine.remove(key).await.is_err() {
        return false;
    }
    assert_eq!(get(engine, key).await, None, "a removed document is still there");
    done("remove of a missing document", engine.remove(key).await);
    if can_list {
        let body = Bytes::from("a body that clear removes");
        let sha256 = sha256_hex(&body);
        let is_stored = done("set_body", engine.extensions().set_body(&sha256, &body).await);
        done("clear", engine.clear().await);
        if is_stored {
            assert_eq!(
                done("get_body", engine.extensions().get_body(&sha256).await),
                None,
                "a body after clear"
            );
        }
        assert_eq!(done("keys", engine.keys().await).len(), 0, "after clear");
        assert_eq!(get(engine, &self::key("scoped", &suite())).await, None, "after clear");
    }
    true
}
