//! The SQL engine with real databases: SQLite in a file, and PostgreSQL, killed during writes.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::support::postgres::{PASSWORD, Postgres, has_postgres};
use crate::support::process::free_port;
use crate::support::skip::is_left_out;
use crate::support::stores::{keys, survives_restarts};
use bytes::Bytes;
use futures_util::future::join_all;
use mistral_cassette::engine::conformance::{self, Capabilities};
use mistral_cassette::engine::{Counts, Lock, SqlEngine, open};
use mistral_cassette::{CacheEngine, ErrorKind};

fn sqlite(folder: &Path) -> SqlEngine {
    SqlEngine::open(&format!("sqlite:{}/cassettes.db", folder.display())).unwrap()
}

/// Opens a database on a machine that may be busy: connecting has a minute.
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
async fn sqlite_conforms() {
    let folder = tempfile::tempdir().unwrap();
    can_all(conformance::check(patient(&format!("sqlite:{}/a%20b.db", folder.path().display()))).await);
    assert!(folder.path().join("a b.db").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_conforms() {
    if !has_postgres() {
        return;
    }
    let postgres = Postgres::start();
    can_all(conformance::check(patient(&postgres.url(""))).await);
    // A schema is created, and is a separate location.
    can_all(conformance::check(patient(&postgres.url("?schema=Team"))).await);
    let stored = postgres.query(r#"select count(*) from "Team".mistral_cassette_counts"#);
    assert_eq!(stored, "1");
}

/// Many engines start at once, each with its own connections, like processes.
async fn many_begin_at_once(url: &str) {
    let keys = keys(16).await;
    let engines: Vec<_> = keys.iter().map(|_| patient(url)).collect();
    let one = Counts {
        hits: 1,
        ..Counts::default()
    };
    join_all(engines.iter().zip(&keys).map(async |(engine, key)| {
        for round in 0..10 {
            engine.set(key, format!("{round}").into()).await.unwrap();
            assert_eq!(engine.get(key).await.unwrap(), Some(format!("{round}").into()));
            engine.extensions().add_counts(one).await.unwrap();
        }
    }))
    .await;
    let taken = join_all(
        engines
            .iter()
            .map(|engine| engine.extensions().lock(&keys[0], Duration::from_secs(60))),
    )
    .await;
    let taken = taken
        .into_iter()
        .filter(|lock| matches!(lock, Ok(Lock::Acquired(_))))
        .count();
    assert_eq!(taken, 1);
    for engine in &engines {
        assert_eq!(engine.keys().await.unwrap().len(), 16);
        assert_eq!(engine.extensions().counts().await.unwrap().unwrap().hits, 160);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_engines_start_with_one_new_file_at_once() {
    let folder = tempfile::tempdir().unwrap();
    many_begin_at_once(&format!("sqlite:{}/cassettes.db", folder.path().display())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_engines_start_with_one_new_server_at_once() {
    if is_left_out() {
        return;
    }
    if !has_postgres() {
        return;
    }
    let postgres = Postgres::start();
    many_begin_at_once(&postgres.url("?schema=team")).await;
}

/// The child process of `two_processes_share_one_file`.
#[tokio::test(flavor = "multi_thread")]
async fn child_process_that_writes() {
    let Some(url) = std::env::var_os("MISTRAL_CASSETTE_TEST_URL") else {
        return;
    };
    writes_and_counts(&SqlEngine::open(url.to_str().unwrap()).unwrap()).await;
}

async fn writes_and_counts(engine: &SqlEngine) {
    let one = Counts {
        misses: 1,
        ..Counts::default()
    };
    for key in &keys(100).await {
        engine.set(key, "document".repeat(100).into()).await.unwrap();
        engine.extensions().add_counts(one).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_share_one_file() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}/cassettes.db", folder.path().display());
    let mut other = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "sql::child_process_that_writes"])
        .env("MISTRAL_CASSETTE_TEST_URL", &url)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let engine = SqlEngine::open(&url).unwrap();
    writes_and_counts(&engine).await;
    let done = tokio::task::spawn_blocking(move || other.wait().unwrap())
        .await
        .unwrap();
    assert!(done.success());
    assert_eq!(engine.keys().await.unwrap().len(), 100);
    assert_eq!(engine.extensions().counts().await.unwrap().unwrap().misses, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_process_leaves_a_complete_file() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}/cassettes.db", folder.path().display());
    let engine = SqlEngine::open(&url).unwrap();
    let mut listed = engine.keys().await.unwrap();
    let mut other = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "sql::child_process_that_writes"])
        .env("MISTRAL_CASSETTE_TEST_URL", &url)
        .stdout(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let since = Instant::now();
    while listed.len() < 10 {
        assert!(since.elapsed() < Duration::from_secs(60), "nothing is written");
        listed = engine.keys().await.unwrap();
    }
    other.kill().await.unwrap();
    for key in engine.keys().await.unwrap() {
        assert_eq!(engine.get(&key).await.unwrap(), Some("document".repeat(100).into()));
    }
    writes_and_counts(&engine).await;
    assert_eq!(engine.keys().await.unwrap().len(), 100);
}

/// Writes remove expired entries; an entry whose TTL was removed stays.
async fn what_is_over_is_removed(engine: SqlEngine, rows: impl AsyncFn() -> i64) {
    let keys = keys(130).await;
    let (brief, others) = keys.split_at(50);
    let ttl = Duration::from_millis(1);
    for key in brief {
        engine.extensions().set_expiring(key, &"x".into(), ttl).await.unwrap();
    }
    engine.set(&brief[0], "x".into()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(engine.keys().await.unwrap().len(), 1);
    assert_eq!(engine.extensions().size().await.unwrap().unwrap().entries, 1);
    for key in others {
        engine
            .extensions()
            .set_expiring(key, &"x".into(), Duration::MAX)
            .await
            .unwrap();
    }
    assert_eq!(rows().await, 81);
    assert_eq!(engine.get(&brief[0]).await.unwrap(), Some("x".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_entries_are_removed_from_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("cassettes.db");
    let rows = async || {
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&file);
        let mut connection = sqlx::ConnectOptions::connect(&options).await.unwrap();
        sqlx::query_scalar("select count(*) from mistral_cassettes")
            .fetch_one(&mut connection)
            .await
            .unwrap()
    };
    what_is_over_is_removed(sqlite(folder.path()), rows).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_entries_are_removed_from_postgres() {
    if !has_postgres() {
        return;
    }
    let postgres = Postgres::start();
    let engine = SqlEngine::open(&postgres.url("")).unwrap();
    let rows = async || {
        postgres
            .query("select count(*) from mistral_cassettes")
            .parse()
            .unwrap()
    };
    what_is_over_is_removed(engine, rows).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_without_the_right_to_create_tables_uses_existing_tables() {
    if !has_postgres() {
        return;
    }
    let postgres = Postgres::start();
    let key = &keys(1).await[0];
    postgres.query("create user reader password 'reader-secret'");
    let url = format!("postgres://reader:reader-secret@127.0.0.1:{}/postgres", postgres.port);
    let engine = SqlEngine::open(&url).unwrap();
    let error = engine.get(key).await.unwrap_err();
    assert!(
        error.report().contains("permission denied") && !error.report().contains("secret"),
        "{error:?}"
    );
    SqlEngine::open(&postgres.url(""))
        .unwrap()
        .set(key, "x".into())
        .await
        .unwrap();
    postgres.query("grant select on all tables in schema public to reader");
    assert_eq!(engine.get(key).await.unwrap(), Some("x".into()));
    assert!(engine.set(key, "y".into()).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_contain_no_credentials() {
    if !has_postgres() {
        return;
    }
    let postgres = Postgres::start();
    let key = &keys(1).await[0];
    for login in ["postgres:wrong-secret@", "somebody-else:wrong-secret@", "postgres@"] {
        let url = format!("postgres://{login}127.0.0.1:{}/postgres", postgres.port);
        let engine = SqlEngine::open(&url).unwrap();
        let error = engine.get(key).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Engine);
        let all = format!("{} {error:?} {engine:?} {}", error.report(), engine.location_of(key));
        let at_location = format!("postgres://127.0.0.1:{}/postgres", postgres.port);
        assert!(
            error.message().contains(&at_location) && !all.contains("secret"),
            "{all}"
        );
        assert!(error.message().contains("credentials"), "{all}");
    }
    // The password may come from the file that PostgreSQL's own clients use.
    let done = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "sql::child_process_that_writes"])
        .env(
            "MISTRAL_CASSETTE_TEST_URL",
            format!("postgres://postgres@127.0.0.1:{}/postgres", postgres.port),
        )
        .env("PGPASSWORD", PASSWORD)
        .output()
        .await
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stdout));
    assert_eq!(postgres.query("select misses from mistral_cassette_counts"), "100");
    let other = format!("{}nowhere", postgres.url("").trim_end_matches("postgres"));
    let error = SqlEngine::open(&other).unwrap().get(key).await.unwrap_err();
    assert!(
        error.report().contains(r#"database "nowhere" does not exist"#),
        "{error:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_database_is_an_error_without_long_delay() {
    let key = &keys(1).await[0];
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = silent.local_addr().unwrap().port();
    // A connection may take five seconds: a refusal takes less, and eight calls do not wait one after the other.
    for (port, seconds) in [(free_port(), 4), (silent, 25)] {
        let engine = SqlEngine::open(&format!("postgres://u:secret@127.0.0.1:{port}/x")).unwrap();
        let since = Instant::now();
        for result in join_all((0..8).map(|_| engine.get(key))).await {
            let error = result.unwrap_err();
            assert!(
                error.message().contains(&format!("postgres://127.0.0.1:{port}/x")),
                "{error}"
            );
            assert!(!error.report().contains("secret"), "{}", error.report());
        }
        let took = since.elapsed();
        assert!(took < Duration::from_secs(seconds), "{took:?}");
    }

    let folder = tempfile::tempdir().unwrap();
    let error = sqlite(&folder.path().join("none")).get(key).await.unwrap_err();
    assert!(error.message().contains("there is no folder"), "{error}");
    std::fs::write(
        folder.path().join("cassettes.db"),
        "no database at all, but a text".repeat(50),
    )
    .unwrap();
    let error = sqlite(folder.path()).get(key).await.unwrap_err();
    assert!(error.report().contains("not a database"), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_the_server_loses_nothing() {
    if is_left_out() {
        return;
    }
    if !has_postgres() {
        return;
    }
    let postgres = Postgres::start();
    let engine = open(&postgres.url("")).unwrap();
    survives_restarts(engine, postgres).await;
}

#[test]
fn an_engine_works_after_its_first_runtime_has_ended() {
    let folder = tempfile::tempdir().unwrap();
    let postgres = has_postgres().then(Postgres::start);
    let mut engines = vec![sqlite(folder.path())];
    engines.extend(
        postgres
            .iter()
            .map(|postgres| SqlEngine::open(&postgres.url("")).unwrap()),
    );
    for engine in engines {
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
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_lock_is_not_renewed() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Arc::new(sqlite(folder.path()));
    let key = &keys(1).await[0];
    let Lock::Acquired(lost) = engine.extensions().lock(key, Duration::from_millis(1)).await.unwrap() else {
        panic!("the lock is free");
    };
    tokio::time::sleep(Duration::from_millis(50)).await;
    let Lock::Acquired(now) = engine.extensions().lock(key, Duration::from_secs(60)).await.unwrap() else {
        panic!("the lock has expired");
    };
    assert!(lost.renew(Duration::from_secs(60)).await.is_err());
    lost.release().await.unwrap();
    now.renew(Duration::MAX).await.unwrap();
    now.release().await.unwrap();
    assert!(matches!(
        engine.extensions().lock(key, Duration::from_secs(1)).await.unwrap(),
        Lock::Acquired(_)
    ));
}
