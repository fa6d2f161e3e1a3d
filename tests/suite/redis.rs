//! The Redis engine with real servers: single, with a password, as a cluster, killed during writes.

use std::collections::HashSet;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::support::process::free_port;
use crate::support::redis::{Cluster, Redis, has_redis};
use crate::support::skip::{is_installed, is_left_out};
use crate::support::stores::{keys, survives_restarts};
use bytes::Bytes;
use mistral_cassette::engine::conformance::{self, Capabilities};
use mistral_cassette::engine::{Lock, RedisEngine, open};
use mistral_cassette::{CacheEngine, ErrorKind};

const PASSWORD: &str = "redis-secret@0123456789";
const ENCODED: &str = "redis-secret%400123456789";

fn engine(redis: &Redis) -> RedisEngine {
    RedisEngine::open(&format!("redis://127.0.0.1:{}", redis.port)).unwrap()
}

/// Opens a server on a machine that may be busy: connecting has a minute.
fn patient(url: &str) -> Arc<dyn CacheEngine> {
    let engine = open(url).unwrap();
    engine.extensions().set_timeout(Duration::from_secs(60));
    engine
}

#[track_caller]
fn can_all(can: Capabilities) {
    assert!(
        can.list && can.remove && can.bodies && can.expire && can.lock,
        "{can:?}"
    );
    assert!(can.lock_expires && can.count && can.settings && can.size, "{can:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_conforms() {
    if !has_redis() {
        return;
    }
    let redis = Redis::start(&[]);
    can_all(conformance::check(patient(&format!("redis://127.0.0.1:{}/3", redis.port))).await);
    // Counters and settings remain, and a prefix is a separate location in the same database.
    assert_eq!(
        redis.cli(&["-n", "3", "--scan"]).lines().collect::<HashSet<_>>(),
        HashSet::from(["mistral-cassette:counts", "mistral-cassette:settings"])
    );
    let prefixed = format!("redis://127.0.0.1:{}/3?prefix=te*m%5B1%5D", redis.port);
    can_all(conformance::check(patient(&prefixed)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_with_a_password_conforms() {
    if !has_redis() {
        return;
    }
    let redis = Redis::start(&["--requirepass", PASSWORD]);
    let url = format!("redis://:{ENCODED}@127.0.0.1:{}", redis.port);
    can_all(conformance::check(patient(&url)).await);
    let url = format!("redis://default:{ENCODED}@127.0.0.1:{}", redis.port);
    can_all(conformance::check(open(&format!("{url}?prefix=other")).unwrap()).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_conforms() {
    if !has_redis() {
        return;
    }
    let cluster = Cluster::start(&[]);
    let port = |node: usize| cluster.nodes[node].port;
    let url = format!("redis+cluster://127.0.0.1:{},127.0.0.1:{}", port(0), port(1));
    let engine = open(&url).unwrap();
    can_all(conformance::check(Arc::clone(&engine)).await);

    // Every master stores some entries; all are listed, and all are removed.
    let keys = keys(50).await;
    for key in &keys {
        engine.set(key, "x".into()).await.unwrap();
        engine.extensions().set_body(key.hash(), &"yy".into()).await.unwrap();
    }
    for node in &cluster.nodes {
        assert!(
            node.cli(&["--scan", "--pattern", "mistral-cassette:cassette:*"])
                .lines()
                .count()
                > 5
        );
    }
    let listed: HashSet<_> = engine.keys().await.unwrap().into_iter().collect();
    assert_eq!(listed, keys.iter().cloned().collect());
    let size = engine.extensions().size().await.unwrap().unwrap();
    assert_eq!((size.entries, size.bytes), (50, 150));
    engine.clear().await.unwrap();
    assert_eq!(engine.extensions().size().await.unwrap().unwrap().bytes, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ttl_is_set_in_redis() {
    if !has_redis() {
        return;
    }
    let redis = Redis::start(&[]);
    let engine = engine(&redis);
    let key = &keys(1).await[0];
    let at = format!("mistral-cassette:cassette:{}", key.id());
    let left = || redis.cli(&["pttl", &at]).parse::<i64>().unwrap();

    engine
        .extensions()
        .set_expiring(key, &"x".into(), Duration::from_secs(3600))
        .await
        .unwrap();
    assert!((3_590_000..=3_600_000).contains(&left()), "{}", left());
    engine
        .extensions()
        .set_expiring(key, &"x".into(), Duration::from_millis(7000))
        .await
        .unwrap();
    assert!((5_000..=7_000).contains(&left()), "{}", left());
    engine.set(key, "x".into()).await.unwrap();
    assert_eq!(left(), -1);
    engine
        .extensions()
        .set_expiring(key, &"x".into(), Duration::MAX)
        .await
        .unwrap();
    assert_eq!(left(), -1);
    let name = format!("{}/", key.endpoint());
    assert!(redis.cli(&["hget", &at, "name"]).starts_with(&name));

    let Lock::Acquired(lease) = engine.extensions().lock(key, Duration::from_secs(20)).await.unwrap() else {
        panic!("the lock is free");
    };
    let lock = format!("mistral-cassette:lock:{}", key.id());
    let left = || redis.cli(&["pttl", &lock]).parse::<i64>().unwrap();
    assert!((15_000..=20_000).contains(&left()), "{}", left());
    lease.renew(Duration::from_secs(100)).await.unwrap();
    assert!((95_000..=100_000).contains(&left()), "{}", left());
    redis.cli(&["set", &lock, "somebody else"]);
    assert!(lease.renew(Duration::from_secs(100)).await.is_err());
    lease.release().await.unwrap();
    assert_eq!(redis.cli(&["get", &lock]), "somebody else");
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_contain_no_credentials() {
    if !has_redis() {
        return;
    }
    let redis = Redis::start(&["--requirepass", PASSWORD]);
    let key = &keys(1).await[0];
    let at_location = format!("redis://127.0.0.1:{}/0", redis.port);
    for (login, reported) in [
        (":wrong-secret@", "refused the credentials"),
        ("someone-else:wrong-secret@", "refused the credentials"),
        ("", "requires credentials"),
    ] {
        let engine = RedisEngine::open(&format!("redis://{login}127.0.0.1:{}", redis.port)).unwrap();
        let error = engine.get(key).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Engine);
        let all = format!("{} {error:?} {engine:?} {}", error.report(), engine.location_of(key));
        assert!(
            error.message().contains(reported) && error.message().contains(&at_location),
            "{all}"
        );
        assert!(!all.contains("secret"), "{all}");
    }
    let cluster = format!("redis+cluster://:wrong-secret@127.0.0.1:{}", redis.port);
    let error = open(&cluster).unwrap().get(key).await.unwrap_err();
    assert!(!error.report().contains("secret"), "{}", error.report());
    assert!(
        error.message().contains("refused the credentials"),
        "{}",
        error.report()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_server_is_an_error_without_long_delay() {
    let key = &keys(1).await[0];
    // Nothing listens; a server accepts connections and sends nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = silent.local_addr().unwrap().port();
    // A connection may take five seconds: a refusal takes less, and eight calls do not wait one after the other.
    for (port, seconds) in [(free_port(), 4), (silent, 25)] {
        for scheme in ["redis", "redis+cluster"] {
            let engine = Arc::new(RedisEngine::open(&format!("{scheme}://:secret@127.0.0.1:{port}")).unwrap());
            let since = Instant::now();
            let calls = (0..8).map(|_| engine.get(key));
            for result in futures_util::future::join_all(calls).await {
                let error = result.unwrap_err();
                assert!(
                    error.message().contains(&format!("{scheme}://127.0.0.1:{port}")),
                    "{error}"
                );
                assert!(!error.report().contains("secret"), "{}", error.report());
            }
            let took = since.elapsed();
            assert!(took < Duration::from_secs(seconds), "{scheme}: {took:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_the_server_loses_nothing() {
    if !has_redis() {
        return;
    }
    let redis = Redis::start(&["--appendonly", "yes", "--appendfsync", "always"]);
    survives_restarts(Arc::new(engine(&redis)), redis).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_a_cluster_node_loses_nothing() {
    if is_left_out() {
        return;
    }
    if !has_redis() {
        return;
    }
    let flags = [
        "--appendonly",
        "yes",
        "--appendfsync",
        "always",
        "--cluster-node-timeout",
        "2000",
    ];
    let cluster = Cluster::start(&flags);
    let url = format!(
        "redis+cluster://127.0.0.1:{},127.0.0.1:{}",
        cluster.nodes[0].port, cluster.nodes[1].port
    );
    survives_restarts(open(&url).unwrap(), cluster).await;
}

/// The child process of `redis_over_tls_conforms`: a process reads the trusted certificates once.
#[tokio::test(flavor = "multi_thread")]
async fn child_process_over_tls() {
    if let Some(url) = std::env::var_os("MISTRAL_CASSETTE_TEST_URL") {
        can_all(conformance::check(open(url.to_str().unwrap()).unwrap()).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_over_tls_conforms() {
    if !has_redis() || !is_installed(Command::new("openssl").arg("version").output().is_ok(), "openssl") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (certificate, key) = (path("certificate.pem"), path("key.pem"));
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-subj",
            "/CN=redis",
            "-days",
            "2",
        ])
        .args([
            "-addext",
            "subjectAltName=IP:127.0.0.1",
            "-addext",
            "basicConstraints=critical,CA:FALSE",
        ])
        .args(["-out", &certificate, "-keyout", &key])
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let tls = free_port();
    let (port, off) = (tls.to_string(), "no");
    let flags = [
        "--tls-port",
        &port,
        "--tls-cert-file",
        &certificate,
        "--tls-key-file",
        &key,
        "--tls-auth-clients",
        off,
    ];
    let _redis = Redis::start(&flags);
    let url = format!("rediss://127.0.0.1:{tls}");

    // The certificate is not trusted.
    let error = open(&url).unwrap().get(&keys(1).await[0]).await.unwrap_err();
    assert!(error.report().contains("certificate"), "{}", error.report());

    let done = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "redis::child_process_over_tls"])
        .env("MISTRAL_CASSETTE_TEST_URL", url)
        .env("SSL_CERT_FILE", &certificate)
        .output()
        .await
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stdout));
}

/// The task of a connection ends with the runtime that started it.
#[test]
fn an_engine_works_after_its_first_runtime_has_ended() {
    if !has_redis() {
        return;
    }
    let redis = Redis::start(&[]);
    let engine = engine(&redis);
    for round in 0..3 {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let key = &keys(1).await[0];
            let document = Bytes::from(format!("round {round}"));
            engine.set(key, document.clone()).await.unwrap();
            assert_eq!(engine.get(key).await.unwrap(), Some(document));
        });
    }
}
