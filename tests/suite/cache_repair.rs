//! Entries of a cache that are partly gone, or of another type: they are recorded again, and `verify` names them.

use std::path::Path;
use std::sync::Arc;

use crate::support::KEY;
use crate::support::redis::{Redis, has_redis};
use crate::support::server::{Reply, Server};
use mistral_cassette::engine::{copy, open};
use mistral_cassette::{CacheEngine, DirectoryEngine, ErrorKind, Mode, Recorder, Request, Upstream};

/// A server whose responses are large and contain the number of the call.
async fn counting() -> Server {
    Server::start(|number, _| Reply::json(format!(r#"{{"answer":{number},"text":"{}"}}"#, "x".repeat(100_000)))).await
}

fn recorder(mode: Mode, engine: &Arc<dyn CacheEngine>) -> Recorder {
    Recorder::builder(engine.clone())
        .mode(mode)
        .allow_record_in_ci()
        .build()
        .unwrap()
}

/// The number of the call in the next response.
async fn ask(recorder: &Recorder, server: &Server) -> mistral_cassette::Result<u64> {
    let request = Request::post("/v1/chat/completions")?.json(&serde_json::json!({ "model": "m" }))?;
    let upstream = Upstream::builder().base_url(&server.url).api_key(KEY).build()?;
    let text = recorder.answer(request, upstream).await?.text().await?;
    let body: serde_json::Value = serde_json::from_str(&text).unwrap();
    Ok(body["answer"].as_u64().unwrap())
}

/// Records three responses in a directory, where their bodies are files of their own, and copies them into the cache.
async fn fill(engine: &Arc<dyn CacheEngine>, server: &Server) {
    let folder = tempfile::tempdir().unwrap();
    let directory: Arc<dyn CacheEngine> = Arc::new(DirectoryEngine::new(folder.path()));
    let session = recorder(Mode::Record, &directory);
    for number in 0..3 {
        assert_eq!(ask(&session, server).await.unwrap(), number);
    }
    session.finish().await.unwrap();
    assert_eq!(std::fs::read_dir(folder.path().join("bodies")).unwrap().count(), 3);
    let copied = copy(&*directory, &**engine, |_| ()).await.unwrap();
    assert_eq!((copied.copied, copied.failures.len()), (1, 0));
}

/// The responses of a new session, one for each request.
async fn answers(engine: &Arc<dyn CacheEngine>, server: &Server, mode: Mode) -> Vec<u64> {
    let session = recorder(mode, engine);
    let mut answers = Vec::new();
    for _ in 0..3 {
        answers.push(ask(&session, server).await.unwrap());
    }
    session.finish().await.unwrap();
    answers
}

/// What the cache has lost is recorded once. `lose` takes the SHA-256 of a body.
async fn heals(engine: Arc<dyn CacheEngine>, lose: impl AsyncFn(&str)) {
    let server = counting().await;
    fill(&engine, &server).await;
    let key = engine.keys().await.unwrap().remove(0);
    let document = engine.get(&key).await.unwrap().unwrap();
    let document = String::from_utf8(document.to_vec()).unwrap();
    let bodies: Vec<&str> = document
        .split(|character: char| !character.is_ascii_hexdigit())
        .filter(|word| word.len() == 64 && *word != key.hash())
        .collect();
    assert_eq!(bodies.len(), 3, "{document}");
    assert_eq!(answers(&engine, &server, Mode::Strict).await, [0, 1, 2]);
    lose(bodies[1]).await;
    let strict = recorder(Mode::Strict, &engine);
    assert_eq!(ask(&strict, &server).await.unwrap(), 0);
    assert_eq!(ask(&strict, &server).await.unwrap_err().kind(), ErrorKind::Cassette);
    // The other responses stay at their places.
    assert_eq!(answers(&engine, &server, Mode::Replay).await, [0, 3, 2]);
    for mode in [Mode::Replay, Mode::Strict] {
        assert_eq!(answers(&engine, &server, mode).await, [0, 3, 2]);
    }
    assert_eq!(server.call_count(), 4);
}

/// Large bodies that are recorded in a cache cannot be lost alone.
async fn stores_bodies_in_their_entries(engine: Arc<dyn CacheEngine>) {
    let server = counting().await;
    ask(&recorder(Mode::Replay, &engine), &server).await.unwrap();
    let key = engine.keys().await.unwrap().remove(0);
    assert!(engine.get(&key).await.unwrap().unwrap().len() > 100_000);
}

fn sqlite(folder: &Path) -> Arc<dyn CacheEngine> {
    open(&format!("sqlite:{}/cache.db", folder.display())).unwrap()
}

async fn execute(folder: &Path, statement: &'static str, value: &str) {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(folder.join("cache.db"));
    let mut connection = sqlx::ConnectOptions::connect(&options).await.unwrap();
    sqlx::query(statement)
        .bind(value)
        .execute(&mut connection)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_gone_from_a_database_is_recorded_again() {
    let folder = tempfile::tempdir().unwrap();
    for (number, statement) in [
        "delete from mistral_cassette_bodies where sha256 = $1",
        "update mistral_cassette_bodies set body = x'00' where sha256 = $1",
        "update mistral_cassette_bodies set body = 'a text' where sha256 = $1",
    ]
    .into_iter()
    .enumerate()
    {
        let folder = folder.path().join(number.to_string());
        std::fs::create_dir(&folder).unwrap();
        heals(sqlite(&folder), async |sha256| {
            execute(&folder, statement, sha256).await
        })
        .await;
    }
    stores_bodies_in_their_entries(sqlite(folder.path())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_of_another_type_in_a_database_is_recorded_again() {
    let folder = tempfile::tempdir().unwrap();
    let (engine, server) = (sqlite(folder.path()), counting().await);
    ask(&recorder(Mode::Replay, &engine), &server).await.unwrap();
    for statement in [
        "update mistral_cassettes set document = $1",
        "update mistral_cassettes set document = 7 + $1",
    ] {
        execute(folder.path(), statement, "a text").await;
        let answer = ask(&recorder(Mode::Replay, &engine), &server).await.unwrap();
        assert_eq!(ask(&recorder(Mode::Strict, &engine), &server).await.unwrap(), answer);
    }
    assert_eq!(server.call_count(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_gone_from_redis_is_recorded_again() {
    if !has_redis() {
        return;
    }
    let redis = Redis::start(&[]);
    let engine = |prefix: &str| open(&format!("redis://127.0.0.1:{}?prefix={prefix}", redis.port)).unwrap();
    heals(engine("a"), async |sha256| {
        assert_eq!(redis.cli(&["del", &format!("a:body:{sha256}")]), "1");
    })
    .await;
    heals(engine("b"), async |sha256| {
        let key = format!("b:body:{sha256}");
        redis.cli(&["del", &key]);
        redis.cli(&["rpush", &key, "a list"]);
    })
    .await;
    stores_bodies_in_their_entries(engine("c")).await;
    assert_eq!(redis.cli(&["keys", "c:body:*"]), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_another_type_in_redis_is_recorded_again() {
    if !has_redis() {
        return;
    }
    let redis = Redis::start(&[]);
    let (url, server) = (format!("redis://127.0.0.1:{}", redis.port), counting().await);
    let engine = open(&url).unwrap();
    ask(&recorder(Mode::Replay, &engine), &server).await.unwrap();
    let key = redis.cli(&["keys", "mistral-cassette:cassette:*"]);
    for command in [["set", &key, "a text"], ["rpush", &key, "a list"]] {
        redis.cli(&["del", &key]);
        redis.cli(&command);
        let strict = ask(&recorder(Mode::Strict, &engine), &server).await.unwrap_err();
        assert_eq!(strict.kind(), ErrorKind::Cassette, "{strict:?}");
        assert!(strict.message().contains("chat-completions/"), "{strict:?}");
        let answer = ask(&recorder(Mode::Replay, &engine), &server).await.unwrap();
        assert_eq!(ask(&recorder(Mode::Strict, &engine), &server).await.unwrap(), answer);
    }
    assert_eq!(server.call_count(), 3);
}

/// `verify` and `stats` continue after an entry that cannot be read.
#[tokio::test(flavor = "multi_thread")]
async fn verify_names_what_a_cache_has_lost() {
    use crate::support::project::Project;
    if !has_redis() {
        return;
    }
    let redis = Redis::start(&[]);
    let url = format!("redis://127.0.0.1:{}", redis.port);
    let (engine, server) = (open(&url).unwrap(), counting().await);
    fill(&engine, &server).await;
    let body = redis.cli(&["keys", "mistral-cassette:body:*"]);
    let body = body.lines().next().unwrap();
    redis.cli(&["del", body]);
    let other = "0123456789abcdef".repeat(4);
    redis.cli(&["set", &format!("mistral-cassette:cassette:suite/{other}"), "a text"]);
    let project = Project::new();
    let done = project.run(&["verify", "--dir", &url]);
    assert_eq!(done.code(), 1, "{}", done.stderr);
    let sha256 = body.rsplit(':').next().unwrap();
    for expected in [
        format!("the body bodies/{sha256} is missing"),
        "(suite/unknown/wrong-type-0123456789abcdef): the key in Redis is not of the type".to_owned(),
        "2 cassettes, 2 problems".to_owned(),
    ] {
        assert!(done.stdout.contains(&expected), "{expected}: {}", done.stdout);
    }
    let stats = project.run(&["stats", "--dir", &url, "--format", "json"]);
    let stats: serde_json::Value = serde_json::from_str(&stats.stdout).unwrap();
    assert_eq!((&stats["cassettes"], &stats["damaged"]), (&2.into(), &1.into()));
    let removed = project.run(&["remove", "--dir", &url, "wrong-type"]);
    assert_eq!(removed.code(), 0, "{}", removed.stderr);
    assert_eq!(engine.keys().await.unwrap().len(), 1);
}
