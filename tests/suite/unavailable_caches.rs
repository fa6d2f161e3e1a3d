//! Caches that refuse, that are locked, or that do not respond: the time limit holds, and the log has the cause.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::support::api;
use crate::support::project::Project;
use crate::support::redis::{Redis, has_redis};
use crate::support::stores::keys;
use futures_util::future::join_all;
use mistral_cassette::engine::open;
use mistral_cassette::{CacheEngine, ErrorKind, MemoryEngine, Mode, Recorder, engine::LayeredEngine};

/// Runs one request in mode `replay`; returns what the command has logged.
async fn replayed(project: &Project, dir: &str) -> String {
    let server = api::start().await;
    let script = r#"curl --silent --fail "$MISTRAL_SERVER_URL/v1/models""#;
    let run = [
        "run",
        "--mode",
        "replay",
        "--dir",
        dir,
        "--upstream",
        &server.url,
        "--",
        "sh",
        "-c",
        script,
    ];
    let done = project.run(&run);
    assert_eq!(done.code(), 0, "{}", done.stderr);
    assert!(done.stderr.contains("the engine is unavailable"), "{}", done.stderr);
    assert!(done.stderr.contains("1 not recorded"), "{}", done.stderr);
    done.stderr
}

#[tokio::test(flavor = "multi_thread")]
async fn the_warning_about_a_cache_has_the_cause() {
    let project = Project::new();
    project.write("cache.db", "no database at all, but a text".repeat(50));
    let logged = replayed(&project, "sqlite:cache.db").await;
    assert!(logged.contains("file is not a database"), "{logged}");
    if !has_redis() {
        return;
    }
    for (flags, cause) in [
        (["--maxmemory", "1"], "command not allowed when used memory"),
        (["--min-replicas-to-write", "1"], "NOREPLICAS"),
    ] {
        let redis = Redis::start(&flags);
        let logged = replayed(&project, &format!("redis://127.0.0.1:{}", redis.port)).await;
        let cause = cause.to_ascii_lowercase();
        assert!(logged.to_ascii_lowercase().contains(&cause), "{cause}: {logged}");
    }
}

/// How long it takes until a store that accepts connections and sends nothing is given up.
async fn seconds_until_error(engine: &dyn CacheEngine) -> f64 {
    let (key, since) = (keys(1).await.remove(0), Instant::now());
    assert_eq!(engine.get(&key).await.unwrap_err().kind(), ErrorKind::Engine);
    since.elapsed().as_secs_f64()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_time_limit_of_the_recorder_holds_for_connecting() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let urls = [
        format!("redis://127.0.0.1:{port}"),
        format!("redis+cluster://127.0.0.1:{port}"),
        format!("postgres://u:p@127.0.0.1:{port}/x"),
    ];
    // Without a limit it would be five seconds.
    for (limit, least, most) in [(300, 0.2, 4.5), (7000, 6.5, 60.0)] {
        let limited = |url: &String| {
            let engine = open(url).unwrap();
            // A recorder passes its time limit to the engine, also through layers.
            let layered = LayeredEngine::new(MemoryEngine::new(), engine.clone());
            Recorder::builder(layered)
                .mode(Mode::Replay)
                .engine_timeout(Duration::from_millis(limit))
                .build()
                .unwrap();
            engine
        };
        let engines: Vec<Arc<dyn CacheEngine>> = urls.iter().map(limited).collect();
        let took = join_all(engines.iter().map(|engine| seconds_until_error(&**engine))).await;
        assert!(
            took.iter().all(|took| (least..most).contains(took)),
            "{limit}: {took:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_file_is_given_up_after_the_time_limit() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("cache.db");
    let engine = open(&format!("sqlite:{}", file.display())).unwrap();
    let key = keys(1).await.remove(0);
    engine.extensions().set_timeout(Duration::from_millis(400));
    engine.set(&key, "a".into()).await.unwrap();
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&file);
    let mut writer = sqlx::ConnectOptions::connect(&options).await.unwrap();
    sqlx::raw_sql("begin immediate").execute(&mut writer).await.unwrap();
    let since = Instant::now();
    let error = engine.set(&key, "b".into()).await.unwrap_err();
    let took = since.elapsed();
    assert!(
        error
            .message()
            .ends_with("has been locked by other writers for more than 300ms"),
        "{error:?}"
    );
    assert!(took < Duration::from_millis(4500), "{took:?}");
    sqlx::raw_sql("rollback").execute(&mut writer).await.unwrap();
    engine.set(&key, "b".into()).await.unwrap();
    // The same while the tables are created.
    let new = folder.path().join("new.db");
    let options = sqlx::sqlite::SqliteConnectOptions::new()
        .filename(&new)
        .create_if_missing(true);
    let mut writer = sqlx::ConnectOptions::connect(&options).await.unwrap();
    sqlx::raw_sql("begin exclusive").execute(&mut writer).await.unwrap();
    let engine = open(&format!("sqlite:{}", new.display())).unwrap();
    engine.extensions().set_timeout(Duration::from_millis(400));
    let since = Instant::now();
    engine.get(&key).await.unwrap_err();
    assert!(since.elapsed() < Duration::from_millis(4500), "{:?}", since.elapsed());
}
