//! Cassettes in object stores, with real servers for the S3 protocol. Each test runs in a separate process, since
//! credentials are read from the environment.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::support::s3::{self, BUCKET, KEY_ID, S3, SECRET};
use crate::support::server::{Call, Reply, Server};
use crate::support::skip::{self, is_left_out, print};
use bytes::Bytes;
use futures_util::TryStreamExt;
use mistral_cassette::engine::{EngineExtensions, Lock, ObjectStoreEngine, Size, conformance, open};
use mistral_cassette::{CacheEngine, DirectoryEngine, ErrorKind, RequestKey, Result, async_trait};
use object_store::aws::AmazonS3Builder;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

/// The variable with the name of the test that a process runs.
const TEST: &str = "OBJECT_STORE_TEST";

const LONG: Duration = Duration::from_secs(60);

const CREDENTIALS: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", KEY_ID), ("AWS_SECRET_ACCESS_KEY", SECRET)];

/// Runs the test of this name in a process with this environment, without other variables that a store reads.
fn alone(name: &str, environment: &[(&str, &str)], body: impl AsyncFnOnce()) {
    if env::var(TEST).is_ok_and(|test| test == name) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .unwrap();
        return runtime.block_on(body());
    }
    let home = tempfile::tempdir().unwrap();
    let mut command = Command::new(env::current_exe().unwrap());
    command.args([&format!("object_store::{name}"), "--exact", "--nocapture"]);
    for (variable, _) in env::vars_os() {
        let is_of_a_store = |text: &str| {
            ["AWS_", "GOOGLE_", "AZURE_"]
                .iter()
                .any(|start| text.starts_with(start))
        };
        if variable.to_str().is_some_and(is_of_a_store) {
            command.env_remove(variable);
        }
    }
    command.env("HOME", home.path()).env("NO_PROXY", "*").env(TEST, name);
    command.env(skip::LIST, skip::list());
    let output = command.envs(environment.iter().copied()).output().unwrap();
    let (stdout, stderr) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{stdout}{stderr}");
    for skipped in stdout
        .lines()
        .filter_map(|line| line.find("SKIPPED").map(|at| &line[at..]))
    {
        print(&format!("{skipped}\n"));
    }
}

/// Keys, read from the file names of a directory.
async fn keys(count: usize) -> Vec<RequestKey> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("chat-completions")).unwrap();
    for number in 0..count {
        let path = format!("chat-completions/number-{number}-{number:016x}.yaml");
        std::fs::write(folder.path().join(path), "").unwrap();
    }
    let keys = DirectoryEngine::new(folder.path()).keys().await.unwrap();
    assert_eq!(keys.len(), count);
    keys
}

async fn key() -> RequestKey {
    keys(1).await.remove(0)
}

/// The objects of the bucket, read with another client.
fn objects(server: &S3) -> impl ObjectStore {
    // It does not use TLS, but a provider must be installed.
    let _ = rustls::crypto::ring::default_provider().install_default();
    AmazonS3Builder::from_env()
        .with_bucket_name(BUCKET)
        .with_endpoint(server.endpoint())
        .with_allow_http(true)
        .build()
        .unwrap()
}

async fn names(objects: &impl ObjectStore, prefix: &str) -> BTreeSet<String> {
    let listed: Vec<_> = objects.list(Some(&Path::from(prefix))).try_collect().await.unwrap();
    listed.iter().map(|object| object.location.to_string()).collect()
}

fn taken(lock: Lock) -> Box<dyn mistral_cassette::engine::Lease> {
    match lock {
        Lock::Acquired(lease) => lease,
        other => panic!("the lock is {other:?}"),
    }
}

/// s3s-fs accepts several of many concurrent conditional writes.
struct WithoutLocks(ObjectStoreEngine);

#[async_trait]
impl CacheEngine for WithoutLocks {
    async fn get(&self, key: &RequestKey) -> Result<Option<Bytes>> {
        self.0.get(key).await
    }

    async fn set(&self, key: &RequestKey, cassette: Bytes) -> Result<()> {
        self.0.set(key, cassette).await
    }

    async fn remove(&self, key: &RequestKey) -> Result<()> {
        self.0.remove(key).await
    }

    async fn keys(&self) -> Result<Vec<RequestKey>> {
        self.0.keys().await
    }

    async fn clear(&self) -> Result<()> {
        self.0.clear().await
    }

    fn extensions(&self) -> &dyn EngineExtensions {
        self
    }
}

#[async_trait]
impl EngineExtensions for WithoutLocks {
    async fn get_body(&self, sha256: &str) -> Result<Option<Bytes>> {
        self.0.extensions().get_body(sha256).await
    }

    async fn set_body(&self, sha256: &str, body: &Bytes) -> Result<bool> {
        self.0.extensions().set_body(sha256, body).await
    }

    async fn size(&self) -> Result<Option<Size>> {
        self.0.extensions().size().await
    }

    async fn get_settings(&self) -> Result<Option<Bytes>> {
        self.0.extensions().get_settings().await
    }

    async fn set_settings(&self, settings: Bytes) -> Result<()> {
        self.0.extensions().set_settings(settings).await
    }
}

#[test]
fn moto_conforms() {
    if is_left_out() {
        return;
    }
    alone("moto_conforms", &CREDENTIALS, async || {
        let Some(server) = S3::moto() else { return };
        let can = conformance::check(open(&server.url("a/b c")).unwrap()).await;
        assert!(
            can.list && can.remove && can.bodies && can.settings && can.size,
            "{can:?}"
        );
        assert!(can.lock && can.lock_expires, "{can:?}");
        assert!(!can.expire && !can.count, "{can:?}");
        // The suite leaves no lock and no probe.
        assert_eq!(
            names(&objects(&server), "a").await,
            BTreeSet::from(["a/b c/settings.yaml".to_owned()])
        );
    });
}

#[test]
fn azurite_conforms() {
    if is_left_out() {
        return;
    }
    let credentials = [("AZURE_STORAGE_ACCOUNT_KEY", s3::AZURE_KEY)];
    alone("azurite_conforms", &credentials, async || {
        let Some(server) = S3::azurite() else { return };
        let open = || open(&server.azure_url("a/b")).unwrap();
        let can = conformance::check(open()).await;
        assert!(
            can.list && can.remove && can.bodies && can.settings && can.size,
            "{can:?}"
        );
        assert!(can.lock && can.lock_expires, "{can:?}");
        let (url, key) = (server.azure_url("p").replace(BUCKET, "nowhere"), key().await);
        let engine = ObjectStoreEngine::open(&url).unwrap();
        for error in [
            engine.get(&key).await.map(drop).unwrap_err(),
            engine.set(&key, "x".into()).await.unwrap_err(),
            engine.extensions().lock(&key, LONG).await.map(drop).unwrap_err(),
        ] {
            assert!(error.message().contains("the bucket does not exist"), "{error:?}");
        }
    });
}

#[test]
fn azurite_refuses_a_wrong_key() {
    let wrong = "d3JvbmctYXp1cmUta2V5LW9mLXRoaXMtdGVzdA==";
    alone(
        "azurite_refuses_a_wrong_key",
        &[("AZURE_STORAGE_ACCOUNT_KEY", wrong)],
        async || {
            let Some(server) = S3::azurite() else { return };
            let engine = ObjectStoreEngine::open(&server.azure_url("p")).unwrap();
            let error = engine.get(&key().await).await.unwrap_err();
            assert!(error.message().contains("the store denies access (403 "), "{error}");
            assert!(error.hint().unwrap().contains("AZURE_STORAGE_ACCOUNT_KEY"), "{error}");
            assert!(!format!("{error:?}").contains(wrong), "{error:?}");
        },
    );
}

#[test]
fn s3s_fs_conforms() {
    alone("s3s_fs_conforms", &CREDENTIALS, async || {
        let Some(server) = S3::s3s_fs() else { return };
        let engine = ObjectStoreEngine::open(&server.url("")).unwrap();
        assert!(!matches!(
            engine.extensions().lock(&key().await, LONG).await.unwrap(),
            Lock::Held
        ));
        let can = conformance::check(Arc::new(WithoutLocks(engine))).await;
        assert!(
            can.list && can.remove && can.bodies && can.settings && can.size,
            "{can:?}"
        );
    });
}

#[test]
fn the_layout_equals_that_of_a_directory() {
    alone("the_layout_equals_that_of_a_directory", &CREDENTIALS, async || {
        let Some(server) = S3::moto() else { return };
        let (engine, objects) = (
            ObjectStoreEngine::open(&server.url("team/x")).unwrap(),
            objects(&server),
        );
        let (key, body) = (key().await, Bytes::from("body"));
        let sha256 = "230d8358dc8e8890b4c58deeb62912ee2f20357ae92a5cc861b98e68fe31acb5";
        engine.set(&key, "version: 1\n".into()).await.unwrap();
        assert!(engine.extensions().set_body(sha256, &body).await.unwrap());
        engine
            .extensions()
            .set_settings("pace: recorded\n".into())
            .await
            .unwrap();
        engine.extensions().check_writable().await.unwrap();
        let lease = taken(engine.extensions().lock(&key, LONG).await.unwrap());
        // Objects of other programs, beside the prefix and in it.
        let theirs = [
            "team/x/notes.txt",
            "team/x/chat-completions/notes.yaml",
            "team/xy/chat-completions/a-0000000000000001.yaml",
        ];
        for name in theirs {
            let path = Path::from(name);
            objects.put(&path, Bytes::from("notes").into()).await.unwrap();
        }
        let cassette = format!("team/x/{}.yaml", key.name());
        let bodies = format!("team/x/bodies/{sha256}");
        let lock = format!("team/x/locks/{}", key.id());
        let ours = [cassette.as_str(), &bodies, &lock, "team/x/settings.yaml"];
        let all: BTreeSet<String> = ours.iter().chain(&theirs).map(ToString::to_string).collect();
        assert_eq!(names(&objects, "team").await, all);
        assert_eq!(engine.location_of(&key), format!("s3://{BUCKET}/{cassette}"));
        assert_eq!(engine.keys().await.unwrap(), std::slice::from_ref(&key));
        let size = engine.extensions().size().await.unwrap().unwrap();
        assert_eq!((size.entries, size.bytes), (1, 11 + 4));
        assert!(!format!("{engine:?}").contains(SECRET));

        engine.clear().await.unwrap();
        let mut left = all;
        left.remove(&cassette);
        left.remove(&bodies);
        assert_eq!(names(&objects, "team").await, left);
        lease.release().await.unwrap();
        left.remove(&lock);
        assert_eq!(names(&objects, "team").await, left);
    });
}

#[test]
fn more_objects_than_one_page_are_listed_and_cleared() {
    if is_left_out() {
        return;
    }
    alone(
        "more_objects_than_one_page_are_listed_and_cleared",
        &CREDENTIALS,
        async || {
            let Some(server) = S3::moto() else { return };
            let engine = Arc::new(ObjectStoreEngine::open(&server.url("many")).unwrap());
            let keys = keys(250).await;
            for some in keys.chunks(50) {
                futures_util::future::try_join_all(some.iter().map(|key| engine.set(key, "x".into())))
                    .await
                    .unwrap();
            }
            assert_eq!(engine.keys().await.unwrap().len(), 250);
            engine.clear().await.unwrap();
            assert_eq!(engine.keys().await.unwrap().len(), 0);
        },
    );
}

#[test]
fn an_expired_lock_is_taken_over_and_its_former_holder_cannot_release_it() {
    alone(
        "an_expired_lock_is_taken_over_and_its_former_holder_cannot_release_it",
        &CREDENTIALS,
        async || {
            let Some(server) = S3::moto() else { return };
            let open = || ObjectStoreEngine::open(&server.url("locks")).unwrap();
            let (one, other, key) = (open(), open(), key().await);
            let late = taken(one.extensions().lock(&key, Duration::from_millis(1)).await.unwrap());
            let since = Instant::now();
            let lease = loop {
                if let Lock::Acquired(lease) = other.extensions().lock(&key, LONG).await.unwrap() {
                    break lease;
                }
                assert!(since.elapsed() < LONG);
            };
            assert!(matches!(one.extensions().lock(&key, LONG).await.unwrap(), Lock::Held));
            let error = late.renew(LONG).await.unwrap_err();
            assert!(error.message().contains("another process has it"), "{error}");
            late.release().await.unwrap();
            lease.renew(LONG).await.unwrap();
            assert!(matches!(one.extensions().lock(&key, LONG).await.unwrap(), Lock::Held));
            lease.release().await.unwrap();
            // An object that is not a lock does not block.
            let path = Path::from(format!("locks/locks/{}", key.id()));
            objects(&server)
                .put(&path, Bytes::from("nonsense").into())
                .await
                .unwrap();
            taken(one.extensions().lock(&key, LONG).await.unwrap())
                .release()
                .await
                .unwrap();
            assert!(names(&objects(&server), "locks").await.is_empty());
        },
    );
}

#[test]
fn wrong_credentials_are_refused_and_not_printed() {
    let wrong = "wrong-secret-of-this-test";
    let environment = [("AWS_ACCESS_KEY_ID", KEY_ID), ("AWS_SECRET_ACCESS_KEY", wrong)];
    alone(
        "wrong_credentials_are_refused_and_not_printed",
        &environment,
        async || {
            let Some(server) = S3::s3s_fs() else { return };
            let (engine, key) = (ObjectStoreEngine::open(&server.url("p")).unwrap(), key().await);
            for error in [
                engine.get(&key).await.map(drop).unwrap_err(),
                engine.set(&key, "x".into()).await.unwrap_err(),
                engine.keys().await.map(drop).unwrap_err(),
                engine.extensions().lock(&key, LONG).await.map(drop).unwrap_err(),
                engine.clear().await.unwrap_err(),
                engine.remove(&key).await.unwrap_err(),
            ] {
                assert_eq!(error.kind(), ErrorKind::Engine);
                assert!(
                    error
                        .message()
                        .contains("the store denies access (403 SignatureDoesNotMatch)"),
                    "{error}"
                );
                assert!(error.message().contains(&format!("s3://{BUCKET}/p")), "{error}");
                assert!(error.hint().unwrap().contains("AWS_SECRET_ACCESS_KEY"), "{error}");
                assert!(!format!("{error:?}").contains(wrong), "{error:?}");
            }
        },
    );
}

#[test]
fn credentials_are_read_from_a_profile() {
    alone("credentials_are_read_from_a_profile", &[], async || {
        let Some(server) = S3::s3s_fs() else { return };
        let key = key().await;
        let home = env::home_dir().unwrap();
        std::fs::create_dir(home.join(".aws")).unwrap();
        let file = format!("[default]\naws_access_key_id = {KEY_ID}\naws_secret_access_key = {SECRET}\n");
        std::fs::write(home.join(".aws/credentials"), file).unwrap();
        let engine = ObjectStoreEngine::open(&server.url("p")).unwrap();
        engine.set(&key, "x".into()).await.unwrap();
        assert_eq!(engine.get(&key).await.unwrap(), Some("x".into()));
    });
}

#[test]
fn a_configured_profile_must_exist() {
    alone(
        "a_configured_profile_must_exist",
        &[("AWS_PROFILE", "ci")],
        async || {
            let error = open("s3://b?endpoint=http://localhost:1").err().unwrap();
            assert_eq!(error.kind(), ErrorKind::Settings);
            assert!(error.message().contains("the profile \"ci\""), "{error}");
        },
    );
}

#[test]
fn a_bucket_that_does_not_exist_is_an_error() {
    alone("a_bucket_that_does_not_exist_is_an_error", &CREDENTIALS, async || {
        let Some(server) = S3::moto() else { return };
        let url = format!("s3://nowhere/p?endpoint={}&region=us-east-1", server.endpoint());
        let (engine, key) = (ObjectStoreEngine::open(&url).unwrap(), key().await);
        for error in [
            engine.get(&key).await.map(drop).unwrap_err(),
            engine.set(&key, "x".into()).await.unwrap_err(),
            engine.keys().await.map(drop).unwrap_err(),
            engine.extensions().lock(&key, LONG).await.map(drop).unwrap_err(),
            engine.remove(&key).await.unwrap_err(),
        ] {
            assert!(error.message().contains("s3://nowhere/p"), "{error}");
            assert!(error.message().contains("the bucket does not exist"), "{error:?}");
        }
    });
}

#[test]
fn an_unreachable_server_is_an_error_without_long_delay() {
    alone(
        "an_unreachable_server_is_an_error_without_long_delay",
        &CREDENTIALS,
        async || {
            let url = format!("s3://b/p?endpoint=http://127.0.0.1:{}", s3::free_port());
            let (engine, key) = (ObjectStoreEngine::open(&url).unwrap(), key().await);
            let since = Instant::now();
            for error in [
                engine.get(&key).await.map(drop).unwrap_err(),
                engine.set(&key, "x".into()).await.unwrap_err(),
                engine.extensions().lock(&key, LONG).await.map(drop).unwrap_err(),
            ] {
                assert!(error.message().contains("cannot connect to the store"), "{error}");
                assert!(error.report().contains("refused"), "{error:?}");
            }
            assert!(since.elapsed() < Duration::from_secs(60), "{:?}", since.elapsed());
        },
    );
}

#[test]
fn a_server_that_never_responds_is_an_error_within_the_time_limit() {
    if is_left_out() {
        return;
    }
    alone(
        "a_server_that_never_responds_is_an_error_within_the_time_limit",
        &CREDENTIALS,
        async || {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("s3://b/p?endpoint=http://{}", listener.local_addr().unwrap());
            let (engine, key) = (ObjectStoreEngine::open(&url).unwrap(), key().await);
            let silent = tokio::spawn(async move {
                let mut streams = Vec::new();
                while let Ok((stream, _)) = listener.accept().await {
                    streams.push(stream);
                }
            });
            let since = Instant::now();
            let (got, put) = tokio::join!(engine.get(&key), engine.set(&key, "x".into()));
            for error in [got.map(drop).unwrap_err(), put.unwrap_err()] {
                assert!(error.message().contains("the store did not respond in time"), "{error}");
            }
            assert!(since.elapsed() < Duration::from_secs(50), "{:?}", since.elapsed());
            silent.abort();
        },
    );
}

#[test]
fn a_server_killed_during_writes_loses_nothing() {
    if is_left_out() {
        return;
    }
    alone(
        "a_server_killed_during_writes_loses_nothing",
        &CREDENTIALS,
        async || {
            const TASKS: usize = 8;
            let Some(mut server) = S3::s3s_fs() else { return };
            let engine = Arc::new(ObjectStoreEngine::open(&server.url("p")).unwrap());
            let keys = Arc::new(keys(1000).await);
            let document = |number: usize| Bytes::from(format!("{number}\n").repeat(2000));
            let (kept, failed) = (Arc::new(Mutex::new(BTreeSet::new())), Arc::new(AtomicUsize::new(0)));
            let mut tasks = tokio::task::JoinSet::new();
            for task in 0..TASKS {
                let (engine, keys, kept, failed) = (engine.clone(), keys.clone(), kept.clone(), failed.clone());
                tasks.spawn(async move {
                    for number in (task..keys.len()).step_by(TASKS) {
                        let since = Instant::now();
                        let is_kept = match engine.set(&keys[number], document(number)).await {
                            Ok(()) => kept.lock().unwrap().insert(number),
                            Err(_) => {
                                failed.fetch_add(1, Ordering::SeqCst);
                                false
                            }
                        };
                        match engine.get(&keys[number]).await {
                            Ok(Some(got)) => assert!(got == document(number), "{} bytes of another", got.len()),
                            Ok(None) => assert!(!is_kept, "what was kept is not there"),
                            Err(_) => {
                                failed.fetch_add(1, Ordering::SeqCst);
                            }
                        }
                        assert!(since.elapsed() < Duration::from_secs(60), "{:?}", since.elapsed());
                    }
                });
            }
            let reached = async |is_so: &dyn Fn() -> bool| {
                let since = Instant::now();
                while !is_so() {
                    assert!(since.elapsed() < LONG, "it goes no further");
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            let kept_so_far = || kept.lock().unwrap().len();
            for at in [200, 500] {
                reached(&|| kept_so_far() >= at).await;
                let failed_before = failed.load(Ordering::SeqCst);
                server.kill();
                reached(&|| failed.load(Ordering::SeqCst) > failed_before).await;
                server.restart();
            }
            while let Some(result) = tasks.join_next().await {
                result.unwrap();
            }
            let again = ObjectStoreEngine::open(&server.url("p")).unwrap();
            let kept = kept.lock().unwrap().clone();
            for (number, key) in keys.iter().enumerate() {
                match again.get(key).await.unwrap() {
                    Some(got) => assert!(got == document(number), "{} bytes of another", got.len()),
                    None => assert!(!kept.contains(&number), "number {number} was kept and is lost"),
                }
            }
            assert!(kept.len() > 800, "{}", kept.len());
        },
    );
}

#[test]
fn missing_credentials_are_an_error_that_names_their_sources() {
    let metadata = format!("http://127.0.0.1:{}", s3::free_port());
    alone(
        "missing_credentials_are_an_error_that_names_their_sources",
        &[("AWS_METADATA_ENDPOINT", &metadata)],
        async || {
            let engine = ObjectStoreEngine::open("s3://b/p?endpoint=http://127.0.0.1:1").unwrap();
            let error = engine.get(&key().await).await.unwrap_err();
            assert!(error.message().ends_with(": no credentials were found"), "{error:?}");
            assert!(error.hint().unwrap().contains("AWS_ACCESS_KEY_ID"), "{error}");
        },
    );
}

#[test]
fn a_bucket_in_another_region_is_an_error_that_names_the_region() {
    alone(
        "a_bucket_in_another_region_is_an_error_that_names_the_region",
        &CREDENTIALS,
        async || {
            for status in [301, 307] {
                // A host that must not receive the key.
                let elsewhere = Server::start(|_, _| Reply::new(200, "text/plain", "x")).await;
                let url = elsewhere.url.clone();
                let server = Server::start(move |_, _| match status {
                    301 => Reply::new(301, "application/xml", ""),
                    _ => Reply::new(307, "application/xml", "").header("Location", &url),
                })
                .await;
                let error = at(&server).get(&key().await).await.unwrap_err();
                assert!(error.message().contains("the store redirects the request"), "{error:?}");
                assert!(error.hint().unwrap().contains("region"), "{error}");
                assert_eq!(elsewhere.call_count(), 0);
            }
        },
    );
}

#[test]
fn a_read_only_store_is_detected_before_a_request_is_sent() {
    alone(
        "a_read_only_store_is_detected_before_a_request_is_sent",
        &CREDENTIALS,
        async || {
            let refuses = |method: &'static str| {
                Server::start(move |_, call| match &*call.method {
                    refused if refused == method => {
                        Reply::new(403, "application/xml", "<Error><Code>AccessDenied</Code></Error>")
                    }
                    _ => Reply::new(200, "text/plain", "").header("ETag", "\"1\""),
                })
            };
            let reads_only = refuses("PUT").await;
            let error = at(&reads_only).extensions().check_writable().await.unwrap_err();
            assert!(
                error.message().contains("the store denies access (403 AccessDenied)"),
                "{error}"
            );
            let keeps = refuses("POST").await;
            let engine = at(&keeps);
            engine.extensions().check_writable().await.unwrap();
            engine.clone().extensions().check_writable().await.unwrap();
            let methods: Vec<String> = keeps.calls().into_iter().map(|call| call.method).collect();
            assert_eq!(methods, ["PUT", "POST"]);
        },
    );
}

#[test]
fn a_short_outage_causes_no_error() {
    alone("a_short_outage_causes_no_error", &CREDENTIALS, async || {
        let server = Server::start(|number, _| match number {
            0 => Reply::new(503, "application/xml", "<Error><Code>SlowDown</Code></Error>"),
            _ => Reply::new(404, "application/xml", "<Error><Code>NoSuchKey</Code></Error>"),
        })
        .await;
        assert_eq!(at(&server).get(&key().await).await.unwrap(), None);
        let server =
            Server::start(|_, _| Reply::new(503, "application/xml", "<Error><Code>SlowDown</Code></Error>")).await;
        let error = at(&server).get(&key().await).await.unwrap_err();
        assert!(
            error.message().ends_with("the store responds with 503 SlowDown"),
            "{error:?}"
        );
        assert_eq!(server.call_count(), 4);
    });
}

/// The faults of a stand-in.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    /// It ignores the conditions.
    IgnoresConditions,
    /// It supports `If-None-Match` only.
    IgnoresIfMatch,
    /// It reports that it does not support them.
    RefusesConditions,
    /// The first attempt of each write succeeds, but the response is an error.
    LosesAnswers,
}

/// Objects by path, each with its version; and the requests that were answered with an error.
#[derive(Default)]
struct Objects {
    kept: BTreeMap<String, (u64, Bytes)>,
    versions: u64,
    lost: BTreeSet<Bytes>,
}

/// A server with a minimal subset of S3.
async fn stand_in(fault: Fault) -> Server {
    let objects = Mutex::new(Objects::default());
    Server::start(move |_, call| answer(&mut objects.lock().unwrap(), fault, call)).await
}

fn answer(objects: &mut Objects, fault: Fault, call: &Call) -> Reply {
    let xml = |status, code: &str| Reply::new(status, "application/xml", format!("<Error><Code>{code}</Code></Error>"));
    let etag = |version: &u64| format!("\"{version}\"");
    let there = objects.kept.get(&call.target).map(|(version, _)| etag(version));
    match call.method.as_str() {
        "GET" => match objects.kept.get(&call.target) {
            Some((version, bytes)) => Reply::new(200, "text/plain", bytes.clone())
                .header("ETag", &etag(version))
                .header("x-goog-generation", &version.to_string())
                .header("Last-Modified", "Sat, 21 Nov 2026 10:00:00 GMT"),
            None => xml(404, "NoSuchKey"),
        },
        "PUT" => {
            // Google counts generations, from 1.
            let (none, some) = match call.header("x-goog-if-generation-match") {
                Some("0") => (Some("*"), None),
                Some(generation) => (None, Some(format!("\"{generation}\""))),
                None => (None, None),
            };
            let none_match = call.header("if-none-match").or(none);
            let matches = call.header("if-match").or(some.as_deref());
            let is_conditional = none_match.is_some() || matches.is_some();
            if fault == Fault::RefusesConditions && is_conditional {
                return xml(501, "NotImplemented");
            }
            let is_fine = (none_match.is_none() || there.is_none())
                && (matches.is_none() || fault == Fault::IgnoresIfMatch || matches == there.as_deref());
            if !is_fine && fault != Fault::IgnoresConditions {
                return xml(412, "PreconditionFailed");
            }
            objects.versions += 1;
            objects
                .kept
                .insert(call.target.clone(), (objects.versions, call.body.clone()));
            if fault == Fault::LosesAnswers && objects.lost.insert(call.body.clone()) {
                return xml(500, "InternalError");
            }
            Reply::new(200, "text/plain", "")
                .header("ETag", &etag(&objects.versions))
                .header("x-goog-generation", &objects.versions.to_string())
        }
        // A multi-object delete, here of one object.
        "POST" => {
            let text = String::from_utf8(call.body.to_vec()).unwrap();
            let name = text.split("<Key>").nth(1).unwrap().split("</Key>").next().unwrap();
            objects.kept.retain(|path, _| !path.ends_with(name));
            let removed = format!("<DeleteResult><Deleted><Key>{name}</Key></Deleted></DeleteResult>");
            Reply::new(200, "application/xml", removed)
        }
        "DELETE" => match objects.kept.remove(&call.target) {
            Some(_) => Reply::new(204, "text/plain", ""),
            None => xml(404, "NoSuchKey"),
        },
        other => panic!("{other} {}", call.target),
    }
}

/// No server for Google's protocol is available: a stand-in implements its conditional writes.
#[test]
fn google_uses_its_own_conditional_headers() {
    alone(
        "google_uses_its_own_conditional_headers",
        &[("GOOGLE_BEARER_TOKEN", "token-of-this-test")],
        async || {
            let key = key().await;
            for fault in [Fault::None, Fault::LosesAnswers] {
                let server = stand_in(fault).await;
                let engine = ObjectStoreEngine::open(&format!("gs://b/p?endpoint={}", server.url)).unwrap();
                assert_eq!(engine.get(&key).await.unwrap(), None);
                engine.set(&key, "x".into()).await.unwrap();
                assert_eq!(engine.get(&key).await.unwrap(), Some("x".into()));
                let lease = taken(engine.extensions().lock(&key, LONG).await.unwrap());
                assert!(matches!(
                    engine.extensions().lock(&key, LONG).await.unwrap(),
                    Lock::Held
                ));
                lease.renew(LONG).await.unwrap();
                lease.release().await.unwrap();
                taken(engine.extensions().lock(&key, LONG).await.unwrap())
                    .release()
                    .await
                    .unwrap();
                engine.remove(&key).await.unwrap();
                engine.remove(&key).await.unwrap();
                assert_eq!(engine.get(&key).await.unwrap(), None);
            }
        },
    );
}

fn at(server: &Server) -> ObjectStoreEngine {
    ObjectStoreEngine::open(&format!("s3://b/p?endpoint={}", server.url)).unwrap()
}

#[test]
fn a_store_without_conditional_writes_has_no_locks() {
    alone(
        "a_store_without_conditional_writes_has_no_locks",
        &CREDENTIALS,
        async || {
            let key = key().await;
            for fault in [
                Fault::IgnoresConditions,
                Fault::IgnoresIfMatch,
                Fault::RefusesConditions,
            ] {
                let server = stand_in(fault).await;
                let engine = at(&server);
                assert!(
                    matches!(engine.extensions().lock(&key, LONG).await.unwrap(), Lock::Unsupported),
                    "{fault:?}"
                );
                let calls = server.calls();
                assert_eq!(calls.last().unwrap().method, "POST", "{fault:?}: the probe is left");
                // There is one attempt.
                assert!(matches!(
                    engine.clone().extensions().lock(&key, LONG).await.unwrap(),
                    Lock::Unsupported
                ));
                assert_eq!(server.call_count(), calls.len(), "{fault:?}");
            }
            let server = stand_in(Fault::None).await;
            taken(at(&server).extensions().lock(&key, LONG).await.unwrap())
                .release()
                .await
                .unwrap();
        },
    );
}

#[test]
fn a_lock_whose_response_was_lost_is_acquired() {
    alone("a_lock_whose_response_was_lost_is_acquired", &CREDENTIALS, async || {
        let (server, key) = (stand_in(Fault::LosesAnswers).await, key().await);
        let engine = at(&server);
        let lease = taken(engine.extensions().lock(&key, LONG).await.unwrap());
        assert!(matches!(
            engine.extensions().lock(&key, LONG).await.unwrap(),
            Lock::Held
        ));
        lease.renew(LONG * 2).await.unwrap();
        lease.renew(LONG * 3).await.unwrap();
        lease.release().await.unwrap();
        taken(engine.extensions().lock(&key, LONG).await.unwrap())
            .release()
            .await
            .unwrap();
    });
}

#[test]
fn credentials_in_an_error_of_the_store_are_not_printed() {
    let token = "session-token-of-this-test";
    let environment = [CREDENTIALS[0], CREDENTIALS[1], ("AWS_SESSION_TOKEN", token)];
    alone(
        "credentials_in_an_error_of_the_store_are_not_printed",
        &environment,
        async || {
            let server = Server::start(|_, call| {
            let token = call.header("x-amz-security-token").unwrap();
            let body = format!(
                "<Error><Code>SignatureDoesNotMatch</Code><Message>It differs.</Message><CanonicalRequest>{token}</CanonicalRequest></Error>"
            );
            Reply::new(403, "application/xml", body)
        })
        .await;
            let (engine, key) = (at(&server), key().await);
            let error = engine.get(&key).await.unwrap_err();
            assert!(error.report().contains("caused by: It differs."), "{error:?}");
            assert!(!format!("{error:?}").contains(token));
            assert!(!format!("{engine:?}").contains(token));
        },
    );
}
