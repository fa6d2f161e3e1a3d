//! Does an engine do what the recorder relies on? [`check`] is the suite that every engine of this crate passes.
//!
//! ```
//! use std::sync::Arc;
//! use mistral_cassette::MemoryEngine;
//! use mistral_cassette::engine::conformance;
//!
//! # tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(async {
//! let can = conformance::check(Arc::new(MemoryEngine::new())).await;
//! assert!(can.list && can.remove);
//! # });
//! ```

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::{join_all, poll_fn};

use super::{CacheEngine, Counts, Lock};
use crate::cassette::{Blob, RecordedBody, RecordedRequest};
use crate::error::Result;
use crate::hash::sha256_hex;
use crate::key::{RequestKey, Scope};
use crate::settings::matching::Matching;

/// The life of the locks and entries that the suite waits for.
const TTL: Duration = Duration::from_secs(1);

/// How much longer than its life something may live.
const GRACE: Duration = Duration::from_secs(10);

const WRITERS: usize = 64;

/// The largest document of the suite.
const LARGE: usize = 50_000_000;

/// What an engine can do beside keeping and giving back: everything in it was tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// It lists its keys.
    pub list: bool,
    /// It removes entries, one and all.
    pub remove: bool,
    /// It keeps large bodies apart.
    pub bodies: bool,
    /// It forgets entries whose life is over.
    pub expire: bool,
    /// It has locks.
    pub lock: bool,
    /// Its locks end with their life although nobody gives them back.
    pub lock_expires: bool,
    /// It keeps counts.
    pub count: bool,
    /// It keeps settings.
    pub settings: bool,
    /// It knows how much it keeps.
    pub size: bool,
}

/// Tries an engine that is empty: what is kept comes back byte for byte, the last one wins, of many writers at once one
/// wins whole, a call that is given up leaves nothing half done; and whatever else it can. It is empty again afterwards
/// if it can remove.
///
/// # Panics
/// At the first promise that does not hold, with what was asked and what came. It wants tokio's runtime with time.
pub async fn check(engine: Arc<dyn CacheEngine>) -> Capabilities {
    let mut can = Capabilities::default();
    let key = key("one", &Scope::root());
    assert_eq!(get(&engine, &key).await, None, "the engine is not empty");

    keeps_bytes(&engine, &key).await;
    keeps_scopes_apart(&engine).await;
    can.list = lists(&engine).await;
    many_writers(&engine, &key).await;
    a_call_given_up_leaves_nothing_half_done(&engine, &key).await;
    can.bodies = keeps_bodies(&engine).await;
    can.expire = expires(&engine).await;
    (can.lock, can.lock_expires) = locks(&engine, &key).await;
    can.count = counts(&engine).await;
    can.settings = keeps_settings(&engine).await;
    can.size = tells_its_size(&engine).await;
    can.remove = removes(&engine, &key, can.list).await;
    can
}

/// A key that any program could have asked for.
fn key(name: &str, scope: &Scope) -> RequestKey {
    let body = format!(r#"{{"model":"conformance","messages":[{{"role":"user","content":"{name}"}}]}}"#);
    let request = RecordedRequest {
        method: "POST".to_owned(),
        path: "/v1/chat/completions".to_owned(),
        query: None,
        body: RecordedBody::Blob(Blob::Inline(body.into())),
    };
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

/// `assert_eq` for bytes, which prints no megabytes.
#[track_caller]
fn same(got: Option<&Bytes>, wanted: &[u8], what: &str) {
    match got {
        None => panic!("{what}: nothing came back of {} bytes", wanted.len()),
        Some(got) => assert!(
            got == wanted,
            "{what}: {} bytes came back, and they are not the {} that were kept",
            got.len(),
            wanted.len()
        ),
    }
}

async fn keeps_bytes(engine: &Arc<dyn CacheEngine>, key: &RequestKey) {
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
        same(get(engine, key).await.as_ref(), document, what);
    }
}

async fn keeps_scopes_apart(engine: &Arc<dyn CacheEngine>) {
    let (root, scoped) = (key("scoped", &Scope::root()), key("scoped", &suite()));
    set(engine, &root, "root").await;
    assert_eq!(get(engine, &scoped).await, None, "a scope has what another one keeps");
    set(engine, &scoped, "scoped").await;
    same(get(engine, &root).await.as_ref(), b"root", "the root scope");
    same(get(engine, &scoped).await.as_ref(), b"scoped", "another scope");
}

async fn lists(engine: &Arc<dyn CacheEngine>) -> bool {
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
    assert_eq!(names(&listed), names(&keys), "the keys that are kept");
    true
}

async fn many_writers(engine: &Arc<dyn CacheEngine>, key: &RequestKey) {
    let document = |writer: usize| Bytes::from(format!("{writer} ").repeat(1000 + writer * 100));
    let one_key = (0..WRITERS).map(|writer| set(engine, key, document(writer)));
    join_all(one_key).await;
    let last = get(engine, key).await;
    assert!(
        (0..WRITERS).any(|writer| last.as_ref() == Some(&document(writer))),
        "of {WRITERS} writers of one key none has won whole"
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
        same(
            get(engine, key).await.as_ref(),
            &document(writer),
            "one of many writers",
        );
    }
}

async fn a_call_given_up_leaves_nothing_half_done(engine: &Arc<dyn CacheEngine>, key: &RequestKey) {
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
        // What goes on behind a call that is given up may still land, whole.
        let kept = get(engine, key).await;
        assert!(
            kept.as_ref() == Some(&old) || kept.as_ref() == Some(&new),
            "a call that was given up has left {} bytes, neither the old document nor the new one",
            kept.map_or(0, |kept| kept.len())
        );
        let mut read = engine.get(key);
        let _ = poll_fn(|context| std::task::Poll::Ready(read.as_mut().poll(context).is_ready())).await;
        drop(read);
    }
    let other = self::key("after calls that were given up", &suite());
    set(engine, &other, "whole").await;
    same(
        get(engine, &other).await.as_ref(),
        b"whole",
        "after calls that were given up",
    );
}

async fn keeps_bodies(engine: &Arc<dyn CacheEngine>) -> bool {
    let body: Bytes = (0..=255).rev().cycle().take(300_000).collect();
    let sha256 = sha256_hex(&body);
    assert_eq!(done("get_body", engine.extensions().get_body(&sha256).await), None);
    if !done("set_body", engine.extensions().set_body(&sha256, &body).await) {
        return false;
    }
    same(
        done("get_body", engine.extensions().get_body(&sha256).await).as_ref(),
        &body,
        "a large body",
    );
    assert!(
        done("set_body", engine.extensions().set_body(&sha256, &body).await),
        "a body is kept again"
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
    same(get(engine, &brief).await.as_ref(), b"brief", "an entry that expires");
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
    same(get(engine, &long).await.as_ref(), b"long", "an entry with a long TTL");
    if has_expired {
        // `set` removes the TTL of an entry.
        set_expiring(&brief, "brief", TTL).await;
        set(engine, &brief, "for ever").await;
        tokio::time::sleep(TTL + Duration::from_millis(200)).await;
        same(
            get(engine, &brief).await.as_ref(),
            b"for ever",
            "set after set_expiring",
        );
    }
    has_expired
}

async fn locks(engine: &Arc<dyn CacheEngine>, key: &RequestKey) -> (bool, bool) {
    const LONG: Duration = Duration::from_secs(60);
    let lock = async |life| done("lock", engine.extensions().lock(key, life).await);
    let Lock::Acquired(first) = lock(LONG).await else {
        return (false, false);
    };
    assert!(matches!(lock(LONG).await, Lock::Held), "a lock was taken twice");
    let other = self::key("another lock", &suite());
    match done("lock", engine.extensions().lock(&other, LONG).await) {
        Lock::Acquired(lease) => done("release", lease.release().await),
        other => panic!("the lock of another key is {other:?}"),
    }
    done("renew", first.renew(LONG).await);
    done("release", first.release().await);
    // Of many at once, one.
    let taken = join_all((0..WRITERS).map(|_| lock(LONG))).await;
    let mut leases: Vec<_> = taken
        .into_iter()
        .filter_map(|lock| match lock {
            Lock::Acquired(lease) => Some(lease),
            _ => None,
        })
        .collect();
    assert_eq!(leases.len(), 1, "of {WRITERS} askers at once this many have the lock");
    if let Some(lease) = leases.pop() {
        done("release", lease.release().await);
    }
    // One that nobody gives back.
    let Lock::Acquired(lost) = lock(TTL).await else {
        panic!("a lock that was released is still held");
    };
    let since = Instant::now();
    let again = loop {
        match lock(LONG).await {
            Lock::Acquired(lease) => break Some(lease),
            _ if since.elapsed() > TTL + GRACE => break None,
            _ => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    };
    match again {
        Some(lease) => {
            // Whoever comes back late takes nothing away from the new holder.
            let _ = lost.release().await;
            assert!(
                matches!(lock(LONG).await, Lock::Held),
                "a late release has freed another one's lock"
            );
            done("release", lease.release().await);
            (true, true)
        }
        None => {
            drop(lost);
            let Lock::Acquired(lease) = lock(LONG).await else {
                panic!("a lock that was dropped is held for ever");
            };
            done("release", lease.release().await);
            (true, false)
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

async fn keeps_settings(engine: &Arc<dyn CacheEngine>) -> bool {
    assert_eq!(
        done("get_settings", engine.extensions().get_settings().await),
        None,
        "the engine has settings"
    );
    let settings = Bytes::from("pace: recorded\n");
    if engine.extensions().set_settings(settings.clone()).await.is_err() {
        return false;
    }
    same(
        done("get_settings", engine.extensions().get_settings().await).as_ref(),
        &settings,
        "the settings",
    );
    true
}

async fn tells_its_size(engine: &Arc<dyn CacheEngine>) -> bool {
    let Some(before) = done("size", engine.extensions().size().await) else {
        return false;
    };
    let key = key("its size", &suite());
    set(engine, &key, "x".repeat(10_000)).await;
    let after = done("size", engine.extensions().size().await).unwrap_or_default();
    assert_eq!(after.entries, before.entries + 1, "the number of entries");
    assert!(
        (10_000..20_000).contains(&(after.bytes - before.bytes)),
        "10,000 bytes more are {} more",
        after.bytes - before.bytes
    );
    true
}

async fn removes(engine: &Arc<dyn CacheEngine>, key: &RequestKey, lists: bool) -> bool {
    if engine.remove(key).await.is_err() {
        return false;
    }
    assert_eq!(get(engine, key).await, None, "what was removed");
    done("remove of what is not there", engine.remove(key).await);
    if lists {
        let body = Bytes::from("a body that goes with the rest");
        let sha256 = sha256_hex(&body);
        let is_kept = done("set_body", engine.extensions().set_body(&sha256, &body).await);
        done("clear", engine.clear().await);
        if is_kept {
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
