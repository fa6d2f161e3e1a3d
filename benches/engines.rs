//! What each engine costs above its bare client: the same bytes through the engine and through the library below it, one after
//! the other in one run. `cargo bench --all-features --bench engines`; a server that is not installed is left out.
#![allow(missing_docs, unreachable_pub, dead_code, clippy::unwrap_used)]

#[path = "../tests/suite/support/mod.rs"]
mod support;

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use bytes::Bytes;
use mistral_cassette::engine::open;
use mistral_cassette::{CacheEngine, RequestKey};
use object_store::ObjectStoreExt as _;
use sqlx::{Connection as _, Executor as _};
use support::s3;
use support::stores::keys;

/// How many entries; each is written and read as often as there are rounds.
const ENTRIES: usize = 100;
const ROUNDS: usize = 5;

/// A cassette of usual size.
fn document() -> Bytes {
    "version: 1\n# a line of a cassette of four kilobytes\n"
        .repeat(80)
        .into()
}

#[derive(Default)]
struct Times {
    set: Vec<Duration>,
    get: Vec<Duration>,
}

impl Times {
    fn medians(mut self) -> [f64; 2] {
        [&mut self.set, &mut self.get].map(|times| {
            times.sort();
            times[times.len() / 2].as_secs_f64() * 1e6
        })
    }
}

async fn timed<T>(times: &mut Vec<Duration>, call: impl Future<Output = T>) -> T {
    let start = Instant::now();
    let result = call.await;
    times.push(start.elapsed());
    result
}

fn row(name: &str, engine: Times, bare: Times) {
    let ([set, get], [bare_set, bare_get]) = (engine.medians(), bare.medians());
    println!(
        "{name:14} set {set:9.1} µs, bare {bare_set:9.1} µs, ratio {:5.2}   get {get:9.1} µs, bare {bare_get:9.1} µs, ratio {:5.2}",
        set / bare_set,
        get / bare_get
    );
}

/// The engine and a bare client by turns, so that both meet the same machine.
async fn compare<S, G>(name: &str, location: &str, keys: &[RequestKey], set: S, get: G)
where
    S: AsyncFn(&str, Bytes),
    G: AsyncFn(&str) -> Bytes,
{
    let (engine, document) = (open(location).unwrap(), document());
    let (mut through, mut bare) = (Times::default(), Times::default());
    for round in 0..=ROUNDS {
        for key in keys {
            let id = key.id();
            timed(&mut through.set, engine.set(key, document.clone()))
                .await
                .unwrap();
            timed(&mut bare.set, set(&id, document.clone())).await;
            let got = timed(&mut through.get, engine.get(key)).await.unwrap();
            assert_eq!(got.as_ref(), Some(&document));
            assert_eq!(timed(&mut bare.get, get(&id)).await, document);
        }
        if round == 0 {
            // The first one has connected.
            (through, bare) = (Times::default(), Times::default());
        }
    }
    row(name, through, bare);
}

fn main() {
    const CREDENTIALS: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", s3::KEY_ID), ("AWS_SECRET_ACCESS_KEY", s3::SECRET)];
    if std::env::var(CREDENTIALS[0].0).is_ok_and(|id| id == s3::KEY_ID) {
        return tokio::runtime::Runtime::new().unwrap().block_on(measure());
    }
    // An engine takes credentials from the environment only: once more, with them in it.
    let mut again = std::process::Command::new(std::env::current_exe().unwrap());
    assert!(again.envs(CREDENTIALS).status().unwrap().success());
}

async fn measure() {
    let (keys, folder) = (keys(ENTRIES).await, tempfile::tempdir().unwrap());

    let map = Mutex::new(HashMap::<String, Bytes>::new());
    let set = async |id: &str, document: Bytes| drop(map.lock().unwrap().insert(id.to_owned(), document));
    compare("memory", "memory:", &keys, set, async |id: &str| {
        map.lock().unwrap()[id].clone()
    })
    .await;

    let bare = folder.path().join("bare");
    std::fs::create_dir(&bare).unwrap();
    let directory = folder.path().join("cassettes").display().to_string();
    let set = async |id: &str, document: Bytes| {
        // What a safe write is: a new file, renamed.
        std::fs::write(bare.join("new"), document).unwrap();
        std::fs::rename(bare.join("new"), bare.join(id)).unwrap();
    };
    compare("directory", &directory, &keys, set, async |id: &str| {
        std::fs::read(bare.join(id)).unwrap().into()
    })
    .await;

    let file = folder.path().join("cache.db");
    let options = sqlx::sqlite::SqliteConnectOptions::new()
        .filename(folder.path().join("bare.db"))
        .create_if_missing(true)
        .journal_mode(sqlx::sqlite::SqliteJournalMode::Wal)
        .synchronous(sqlx::sqlite::SqliteSynchronous::Normal);
    let connection = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
    let connection = tokio::sync::Mutex::new(connection);
    connection
        .lock()
        .await
        .execute("create table bare (id text primary key, document blob)")
        .await
        .unwrap();
    let set = async |id: &str, document: Bytes| {
        let upsert = "insert into bare values ($1, $2) on conflict (id) do update set document = excluded.document";
        let query = sqlx::query(upsert).bind(id).bind(document.to_vec());
        query.execute(&mut *connection.lock().await).await.unwrap();
    };
    let get = async |id: &str| {
        let query = sqlx::query_scalar::<_, Vec<u8>>("select document from bare where id = $1").bind(id);
        query.fetch_one(&mut *connection.lock().await).await.unwrap().into()
    };
    compare("SQLite", &format!("sqlite:{}", file.display()), &keys, set, get).await;

    if support::redis::has_redis() {
        let server = support::redis::Redis::start(&[]);
        let url = format!("redis://127.0.0.1:{}", server.port);
        let client = redis::Client::open(url.as_str()).unwrap();
        let connection = client.get_multiplexed_async_connection().await.unwrap();
        let set = async |id: &str, document: Bytes| {
            let mut command = redis::cmd("SET");
            command
                .arg(id)
                .arg(&document[..])
                .query_async::<()>(&mut connection.clone())
                .await
                .unwrap();
        };
        let get = async |id: &str| {
            let mut command = redis::cmd("GET");
            let bytes: Vec<u8> = command.arg(id).query_async(&mut connection.clone()).await.unwrap();
            bytes.into()
        };
        compare("Redis", &url, &keys, set, get).await;
    }

    #[cfg(unix)]
    if support::postgres::has_postgres() {
        let server = support::postgres::Postgres::start();
        let connection = tokio::sync::Mutex::new(sqlx::PgConnection::connect(&server.url("")).await.unwrap());
        let table = "create table bare (id text primary key, document bytea)";
        connection.lock().await.execute(table).await.unwrap();
        let set = async |id: &str, document: Bytes| {
            let upsert = "insert into bare values ($1, $2) on conflict (id) do update set document = excluded.document";
            let query = sqlx::query(upsert).bind(id).bind(document.to_vec());
            query.execute(&mut *connection.lock().await).await.unwrap();
        };
        let get = async |id: &str| {
            let query = sqlx::query_scalar::<_, Vec<u8>>("select document from bare where id = $1").bind(id);
            query.fetch_one(&mut *connection.lock().await).await.unwrap().into()
        };
        compare("PostgreSQL", &server.url(""), &keys, set, get).await;
    }

    if let Some(server) = s3::S3::moto() {
        rustls::crypto::ring::default_provider().install_default().unwrap();
        let store = object_store::aws::AmazonS3Builder::new()
            .with_bucket_name(s3::BUCKET)
            .with_endpoint(server.endpoint())
            .with_allow_http(true)
            .with_region("us-east-1")
            .with_access_key_id(s3::KEY_ID)
            .with_secret_access_key(s3::SECRET)
            .build()
            .unwrap();
        let path = |id: &str| object_store::path::Path::from(format!("bare/{id}"));
        let set = async |id: &str, document: Bytes| drop(store.put(&path(id), document.into()).await.unwrap());
        let get = async |id: &str| store.get(&path(id)).await.unwrap().bytes().await.unwrap();
        compare("object store", &server.url("engine"), &keys, set, get).await;
    }
}
