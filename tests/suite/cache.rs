//! Caches: expiry, engines that are slow or unavailable, limits, counters.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::support::KEY;
use crate::support::server::{Reply, Server, Step};
use bytes::Bytes;
use mistral_cassette::engine::{Counts, EngineExtensions, LayeredEngine};
use mistral_cassette::{
    CacheEngine, DirectoryEngine, Error, ErrorKind, MemoryEngine, Mode, Recorder, Request, RequestKey, Result,
    Settings, Upstream, async_trait,
};

fn upstream(server: &Server) -> Upstream {
    Upstream::builder().base_url(&server.url).api_key(KEY).build().unwrap()
}

fn question(text: &str) -> Request {
    Request::post("/v1/chat/completions")
        .unwrap()
        .json(&serde_json::json!({ "model": "m", "messages": [{ "role": "user", "content": text }] }))
        .unwrap()
}

fn settings(yaml: &str) -> Settings {
    Settings::from_yaml(yaml.as_bytes(), "settings.yaml").unwrap()
}

fn recorder(mode: Mode, engine: &Arc<impl CacheEngine + 'static>, yaml: &str) -> Recorder {
    Recorder::builder(engine.clone())
        .mode(mode)
        .settings(settings(yaml))
        .engine_timeout(Duration::from_millis(200))
        .build()
        .unwrap()
}

/// A server whose responses contain the number of the call.
async fn counting() -> Server {
    Server::start(|number, _| {
        Reply::json(format!(
            r#"{{"id":"{number}","answer":{number},"usage":{{"total_tokens":7}}}}"#
        ))
    })
    .await
}

/// A server that always sends an equivalent response with a new id.
async fn repeating() -> Server {
    Server::start(|number, _| Reply::json(format!(r#"{{"id":"{number}","answer":"the same"}}"#))).await
}

async fn ask(recorder: &Recorder, server: &Server, text: &str) -> String {
    let response = recorder.answer(question(text), upstream(server)).await.unwrap();
    response.text().await.unwrap()
}

/// The only document of an engine.
async fn document(engine: &impl CacheEngine) -> (RequestKey, String) {
    let keys = engine.keys().await.unwrap();
    let [key] = &keys[..] else { panic!("{keys:?}") };
    let document = engine.get(key).await.unwrap().unwrap();
    (key.clone(), String::from_utf8(document.to_vec()).unwrap())
}

/// Moves the recording time of every document into the past.
async fn age(engine: &impl CacheEngine, by: Duration) {
    let (key, text) = document(engine).await;
    let line = text.lines().find(|line| line.trim_start().starts_with("at: ")).unwrap();
    let at: jiff::Timestamp = line
        .trim()
        .trim_start_matches("at: ")
        .trim_matches('"')
        .parse()
        .unwrap();
    let older = text.replace(line, &format!("  at: \"{}\"", at - by));
    assert_ne!(text, older);
    engine.set(&key, older.into()).await.unwrap();
}

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn an_expired_recording_is_requested_again_and_replaced() {
    let (server, engine) = (counting().await, Arc::new(MemoryEngine::new()));
    let session = || recorder(Mode::Replay, &engine, "expiry: { time_to_live: 2h }");
    let first = ask(&session(), &server, "hello").await;
    age(&engine, HOUR).await;
    assert_eq!(ask(&session(), &server, "hello").await, first);
    age(&engine, HOUR).await;
    let one_session = session();
    let second = ask(&one_session, &server, "hello").await;
    assert_ne!(second, first);
    for _ in 0..2 {
        assert_eq!(ask(&one_session, &server, "hello").await, second);
    }
    assert_eq!(server.call_count(), 2);
    assert_eq!(document(&*engine).await.1.matches("status: 200").count(), 1);
    // An expired response is replaced, not appended, also within one session.
    age(&engine, 3 * HOUR).await;
    let third = ask(&one_session, &server, "hello").await;
    assert_ne!(third, second);
    assert_eq!(ask(&one_session, &server, "hello").await, third);
    assert_eq!(document(&*engine).await.1.matches("status: 200").count(), 1);
    let summary = one_session.finish().await.unwrap();
    assert_eq!((summary.recorded, summary.replayed), (2, 3));
}

#[tokio::test]
async fn an_expired_recording_is_replayed_if_the_upstream_is_unavailable() {
    let (server, engine) = (counting().await, Arc::new(MemoryEngine::new()));
    let first = ask(&recorder(Mode::Replay, &engine, ""), &server, "hello").await;
    age(&engine, 1000 * HOUR).await;
    let strict = recorder(Mode::Strict, &engine, "expiry: { time_to_live: 1h }");
    assert_eq!(ask(&strict, &server, "hello").await, first);
    assert_eq!(server.call_count(), 1);
}

#[tokio::test]
async fn an_unchanged_response_restarts_its_ttl() {
    let (server, engine) = (repeating().await, Arc::new(MemoryEngine::new()));
    let session = || recorder(Mode::Replay, &engine, "expiry: { time_to_live: 1h }");
    ask(&session(), &server, "hello").await;
    age(&engine, 2 * HOUR).await;
    ask(&session(), &server, "hello").await;
    ask(&session(), &server, "hello").await;
    assert_eq!(server.call_count(), 2);
}

#[tokio::test]
async fn a_stale_recording_is_replayed_while_it_is_refreshed_in_the_background() {
    let (server, engine) = (counting().await, Arc::new(MemoryEngine::new()));
    let yaml = "expiry: { time_to_live: 1h, stale_while_revalidate: 1h }";
    let first = ask(&recorder(Mode::Replay, &engine, yaml), &server, "hello").await;
    age(&engine, HOUR + HOUR / 2).await;
    let session = recorder(Mode::Replay, &engine, yaml);
    // Concurrent requests make one background call.
    let many = futures_util::future::join_all((0..20).map(|_| ask(&session, &server, "hello"))).await;
    assert!(many.iter().all(|answer| *answer == first), "{many:?}");
    session.finish().await.unwrap();
    assert_eq!(server.call_count(), 2);
    // The replayed response counts as a hit, and the background call is not counted as a request.
    let counts = engine.extensions().counts().await.unwrap().unwrap();
    assert_eq!((counts.hits, counts.misses), (20, 0));
    let second = ask(&session, &server, "hello").await;
    assert_ne!(second, first);
    age(&engine, 3 * HOUR).await;
    assert_ne!(
        ask(&recorder(Mode::Replay, &engine, yaml), &server, "hello").await,
        second
    );
}

#[tokio::test]
async fn a_stale_recording_is_refreshed_first_without_a_background_transport() {
    let (server, engine) = (counting().await, Arc::new(MemoryEngine::new()));
    let yaml = "expiry: { time_to_live: 1h, stale_while_revalidate: 1h }";
    let session = recorder(Mode::Replay, &engine, yaml);
    let first = ask(&session, &server, "hello").await;
    age(&engine, HOUR + HOUR / 2).await;
    let upstream = upstream(&server);
    let once = move |request: Request| mistral_cassette::Transport::send(upstream, request);
    let response = session.answer(question("hello"), once).await.unwrap();
    assert_ne!(response.text().await.unwrap(), first);
    assert_eq!(server.call_count(), 2);
}

#[tokio::test]
async fn the_second_of_two_sessions_that_miss_one_key_waits_for_the_first() {
    let folder = tempfile::tempdir().unwrap();
    let (steps, reply) = Reply::directed("application/json");
    let reply = std::sync::Mutex::new(Some(reply));
    let server = Server::start(move |_, _| reply.lock().unwrap().take().unwrap()).await;
    let session = || recorder(Mode::Replay, &Arc::new(DirectoryEngine::new(folder.path())), "");
    let (one, other) = (session(), session());
    let response = one.answer(question("hello"), upstream(&server)).await.unwrap();
    let mut waiting = std::pin::pin!(ask(&other, &server, "hello"));
    let early = tokio::time::timeout(Duration::from_millis(300), &mut waiting).await;
    assert!(early.is_err(), "it was answered before there was an answer");
    steps.send(Step::Send(r#"{"id":"1"}"#.into())).unwrap();
    drop(steps);
    assert_eq!(response.text().await.unwrap(), waiting.await);
    assert_eq!(server.call_count(), 1);
}

#[tokio::test]
async fn a_failed_background_refresh_leaves_the_recording_unchanged() {
    let (server, engine) = (counting().await, Arc::new(MemoryEngine::new()));
    let yaml = "expiry: { time_to_live: 1h, stale_while_revalidate: 1h }";
    let session = recorder(Mode::Replay, &engine, yaml);
    let first = ask(&session, &server, "hello").await;
    age(&engine, HOUR + HOUR / 2).await;
    let gone = upstream(&server);
    drop(server);
    let answer = session.answer(question("hello"), gone).await.unwrap();
    assert_eq!(answer.text().await.unwrap(), first);
    session.finish().await.unwrap();
}

#[tokio::test]
async fn adaptive_ttls_follow_the_observed_changes() {
    let yaml = "expiry: { time_to_live: 1d, adaptive: { shortest: 1h, longest: 30d } }";
    let history = async |server: &Server| {
        let engine = Arc::new(MemoryEngine::new());
        for _ in 0..4 {
            let session = recorder(Mode::Replay, &engine, yaml);
            ask(&session, server, "hello").await;
            age(&engine, 31 * 24 * HOUR).await;
        }
        let (_, document) = document(&*engine).await;
        let history: Vec<&str> = document
            .lines()
            .skip_while(|line| *line != "history:")
            .skip(1)
            .take(4)
            .map(str::trim)
            .collect();
        history.join(", ")
    };
    let same = history(&repeating().await).await;
    let changing = history(&counting().await).await;
    assert!(same.starts_with("checks: 2.71, changes: 0.0, seconds: 7258"), "{same}");
    assert!(changing.starts_with("checks: 2.71, changes: 2.71"), "{changing}");
}

/// An engine that can fail, hang or return invalid data.
#[derive(Default)]
struct Moody {
    memory: MemoryEngine,
    fails: AtomicBool,
    hangs: AtomicBool,
    takes_nothing: AtomicBool,
    asked: AtomicUsize,
}

impl Moody {
    async fn mood(&self) -> Result<()> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if self.hangs.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        if self.fails.load(Ordering::SeqCst) {
            return Err(Error::engine("the store is down"));
        }
        Ok(())
    }
}

#[async_trait]
impl CacheEngine for Moody {
    async fn get(&self, key: &RequestKey) -> Result<Option<Bytes>> {
        self.mood().await?;
        self.memory.get(key).await
    }

    async fn set(&self, key: &RequestKey, cassette: Bytes) -> Result<()> {
        self.mood().await?;
        self.check_writable().await?;
        self.memory.set(key, cassette).await
    }

    async fn keys(&self) -> Result<Vec<RequestKey>> {
        self.memory.keys().await
    }

    fn extensions(&self) -> &dyn EngineExtensions {
        self
    }
}

#[async_trait]
impl EngineExtensions for Moody {
    async fn check_writable(&self) -> Result<()> {
        if self.takes_nothing.load(Ordering::SeqCst) {
            return Err(Error::engine("the store takes nothing"));
        }
        Ok(())
    }
}

#[tokio::test]
async fn replay_uses_the_upstream_if_the_engine_fails_and_strict_fails() {
    let (server, engine) = (counting().await, Arc::new(Moody::default()));
    let session = recorder(Mode::Replay, &engine, "");
    let first = ask(&session, &server, "hello").await;
    engine.fails.store(true, Ordering::SeqCst);
    assert_ne!(ask(&session, &server, "hello").await, first);
    let error = recorder(Mode::Strict, &engine, "")
        .answer(question("hello"), upstream(&server))
        .await
        .unwrap_err();
    assert_eq!(
        (error.kind(), error.message()),
        (ErrorKind::Engine, "the store is down")
    );
    assert_eq!(server.call_count(), 2);
    engine.fails.store(false, Ordering::SeqCst);
    assert_eq!(ask(&session, &server, "hello").await, first);
    let summary = session.finish().await.unwrap();
    assert_eq!((summary.recorded, summary.replayed, summary.skipped), (1, 1, 1));
    assert_eq!(summary.to_string(), "1 replayed, 1 recorded, 1 not recorded");
}

#[tokio::test]
async fn replay_responds_if_the_engine_rejects_writes_and_record_fails() {
    let (server, engine) = (counting().await, Arc::new(Moody::default()));
    engine.takes_nothing.store(true, Ordering::SeqCst);
    let session = recorder(Mode::Replay, &engine, "");
    ask(&session, &server, "hello").await;
    assert_eq!(session.finish().await.unwrap().skipped, 1);
    let session = Recorder::builder(engine)
        .mode(Mode::Record)
        .allow_record_in_ci()
        .build()
        .unwrap();
    let error = session.answer(question("hello"), upstream(&server)).await.unwrap_err();
    assert_eq!(error.message(), "the store takes nothing");
    assert_eq!(server.call_count(), 1);
}

#[tokio::test]
async fn a_hanging_engine_costs_its_time_limit_once() {
    let (server, engine) = (counting().await, Arc::new(Moody::default()));
    engine.hangs.store(true, Ordering::SeqCst);
    let session = recorder(Mode::Replay, &engine, "");
    for _ in 0..10 {
        ask(&session, &server, "hello").await;
    }
    // Three calls hang; the others are not made.
    assert_eq!(engine.asked.load(Ordering::SeqCst), 3);
    let strict = recorder(Mode::Strict, &engine, "");
    let since = Instant::now();
    let error = strict.answer(question("hello"), upstream(&server)).await.unwrap_err();
    assert_eq!(error.message(), "the engine did not respond within 200 ms");
    assert!(since.elapsed() < Duration::from_secs(60));
    assert_eq!(session.finish().await.unwrap().skipped, 10);
}

#[tokio::test]
async fn an_engine_that_fails_during_a_response_does_not_affect_the_response() {
    let engine = Arc::new(Moody::default());
    let (steps, reply) = Reply::directed("application/json");
    let reply = std::sync::Mutex::new(Some(reply));
    let server = Server::start(move |_, _| reply.lock().unwrap().take().unwrap()).await;
    let session = recorder(Mode::Replay, &engine, "");
    let response = session.answer(question("hello"), upstream(&server)).await.unwrap();
    engine.fails.store(true, Ordering::SeqCst);
    steps.send(Step::Send(r#"{"id":"1"}"#.into())).unwrap();
    drop(steps);
    assert_eq!(response.text().await.unwrap(), r#"{"id":"1"}"#);
    assert_eq!(session.finish().await.unwrap().skipped, 1);
}

#[tokio::test]
async fn a_response_that_a_failing_engine_does_not_store_is_in_the_usage_log() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("usage.jsonl");
    let logging = |engine: &Arc<Moody>| {
        let recorder = Recorder::builder(engine.clone()).mode(Mode::Replay);
        recorder.settings(settings("")).usage_log(&file).build().unwrap()
    };
    let not_recorded = || std::fs::read_to_string(&file).unwrap().matches("not_recorded").count();
    // It fails before the request is sent.
    let (server, engine) = (counting().await, Arc::new(Moody::default()));
    engine.fails.store(true, Ordering::SeqCst);
    let session = logging(&engine);
    ask(&session, &server, "hello").await;
    session.finish().await.unwrap();
    assert_eq!(not_recorded(), 1);
    // It fails while the response arrives.
    engine.fails.store(false, Ordering::SeqCst);
    let (steps, reply) = Reply::directed("application/json");
    let reply = std::sync::Mutex::new(Some(reply));
    let server = Server::start(move |_, _| reply.lock().unwrap().take().unwrap()).await;
    let session = logging(&engine);
    let response = session.answer(question("hello"), upstream(&server)).await.unwrap();
    engine.fails.store(true, Ordering::SeqCst);
    steps.send(Step::Send(r#"{"id":"1"}"#.into())).unwrap();
    drop(steps);
    response.text().await.unwrap();
    session.finish().await.unwrap();
    assert_eq!(not_recorded(), 2);
}

#[tokio::test]
async fn a_damaged_entry_is_requested_again_in_a_cache_and_not_in_a_directory() {
    let (server, engine) = (counting().await, Arc::new(MemoryEngine::new()));
    let first = ask(&recorder(Mode::Replay, &engine, ""), &server, "hello").await;
    let (key, _) = document(&*engine).await;
    for damage in ["", "version: 1\nkey: [", "version: 99\n"] {
        engine.set(&key, damage.into()).await.unwrap();
        let strict = recorder(Mode::Strict, &engine, "");
        let error = strict.answer(question("hello"), upstream(&server)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Cassette, "{damage:?}");
        let session = recorder(Mode::Replay, &engine, "");
        let again = ask(&session, &server, "hello").await;
        assert_ne!(again, first);
        session.finish().await.unwrap();
        assert_eq!(ask(&recorder(Mode::Strict, &engine, ""), &server, "hello").await, again);
    }
    let folder = tempfile::tempdir().unwrap();
    let directory = Arc::new(DirectoryEngine::new(folder.path()));
    ask(&recorder(Mode::Replay, &directory, ""), &server, "hello").await;
    directory.set(&key, "version: 1\nkey: [".into()).await.unwrap();
    let session = recorder(Mode::Replay, &directory, "");
    let error = session.answer(question("hello"), upstream(&server)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cassette);
}

#[tokio::test]
async fn a_response_over_the_limits_is_passed_through_and_counted() {
    let server = Server::start(|_, call| Reply::json(call.body.clone())).await;
    let engine = Arc::new(MemoryEngine::new());
    let session = recorder(
        Mode::Replay,
        &engine,
        "limits: { entry_bytes: 2000, total_bytes: 5000 }",
    );
    let large = "x".repeat(3000);
    assert!(ask(&session, &server, &large).await.contains(&large));
    assert_eq!(engine.keys().await.unwrap().len(), 0);
    let texts: Vec<String> = (0..5).map(|number| format!("{number} {}", "y".repeat(700))).collect();
    for text in &texts {
        ask(&session, &server, text).await;
    }
    assert_eq!(engine.keys().await.unwrap().len(), 3);
    let summary = session.finish().await.unwrap();
    assert_eq!((summary.recorded, summary.skipped), (3, 3));
}

#[tokio::test]
async fn a_memory_engine_with_a_limit_evicts_the_least_recently_used_entry() {
    let (server, engine) = (counting().await, Arc::new(MemoryEngine::bounded(3000)));
    let session = recorder(Mode::Replay, &engine, "");
    let first = ask(&session, &server, "0").await;
    for number in 1..20 {
        ask(&session, &server, &number.to_string()).await;
        assert_eq!(ask(&session, &server, "0").await, first, "{number}");
    }
    let stored = engine.keys().await.unwrap().len();
    assert!((2..15).contains(&stored), "{stored}");
}

#[tokio::test]
async fn hits_misses_and_savings_are_counted() {
    let (server, engine) = (counting().await, Arc::new(MemoryEngine::new()));
    let session = recorder(Mode::Replay, &engine, "");
    for _ in 0..4 {
        ask(&session, &server, "hello").await;
    }
    let summary = session.finish().await.unwrap();
    assert_eq!(summary.tokens_saved, 21);
    let counts = engine.extensions().counts().await.unwrap().unwrap();
    assert_eq!((counts.hits, counts.misses, counts.tokens_saved), (3, 1, 21));
    assert_eq!(counts.hit_rate(), Some(0.75));
    let strict = recorder(Mode::Strict, &engine, "");
    strict.answer(question("other"), upstream(&server)).await.unwrap_err();
    assert!(strict.finish().await.is_err());
    assert_eq!(engine.extensions().counts().await.unwrap().unwrap().misses, 2);
    assert_eq!(Counts::default().hit_rate(), None);
}

#[tokio::test]
async fn a_near_engine_avoids_calls_to_the_far_engine_and_its_failures_are_ignored() {
    let server = counting().await;
    let far = Arc::new(Moody::default());
    let engine = Arc::new(LayeredEngine::new(MemoryEngine::new(), far.clone()));
    let session = recorder(Mode::Replay, &engine, "");
    let first = ask(&session, &server, "hello").await;
    let asked = far.asked.load(Ordering::SeqCst);
    for _ in 0..5 {
        assert_eq!(ask(&session, &server, "hello").await, first);
    }
    assert_eq!(far.asked.load(Ordering::SeqCst), asked);
    // A second, empty near engine finds it in the far engine.
    let other = Arc::new(LayeredEngine::new(MemoryEngine::new(), far.clone()));
    let session = recorder(Mode::Strict, &other, "");
    assert_eq!(ask(&session, &server, "hello").await, first);
    let near = Arc::new(Moody::default());
    near.fails.store(true, Ordering::SeqCst);
    let unlucky = Arc::new(LayeredEngine::new(near, far.clone()));
    assert_eq!(
        ask(&recorder(Mode::Strict, &unlucky, ""), &server, "hello").await,
        first
    );
}

#[tokio::test]
async fn a_near_copy_is_used_for_its_ttl() {
    let (server, far) = (counting().await, Arc::new(MemoryEngine::new()));
    let near = LayeredEngine::new(MemoryEngine::new(), far.clone()).near_ttl(Duration::from_millis(300));
    let engine = Arc::new(near);
    let first = ask(&recorder(Mode::Replay, &engine, ""), &server, "hello").await;
    let (key, document) = document(&*far).await;
    far.set(&key, document.replace("answer: 0", "answer: 7").into())
        .await
        .unwrap();
    assert_eq!(ask(&recorder(Mode::Strict, &engine, ""), &server, "hello").await, first);
    let since = Instant::now();
    while ask(&recorder(Mode::Strict, &engine, ""), &server, "hello").await == first {
        assert!(since.elapsed() < Duration::from_secs(60), "the near copy never expires");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A call that takes longer than the lock TTL keeps the lock.
#[cfg(feature = "sql")]
#[tokio::test]
async fn a_lock_is_renewed_during_its_call() {
    let folder = tempfile::tempdir().unwrap();
    let (steps, reply) = Reply::directed("application/json");
    let reply = std::sync::Mutex::new(Some(reply));
    let server = Server::start(move |_, _| reply.lock().unwrap().take().unwrap()).await;
    let session = || {
        let url = format!("sqlite:{}", folder.path().join("cache.db").display());
        Recorder::builder(mistral_cassette::engine::open(&url).unwrap())
            .mode(Mode::Replay)
            .lock_ttl(Duration::from_millis(1500))
            .build()
            .unwrap()
    };
    let (one, other) = (session(), session());
    let response = one.answer(question("hello"), upstream(&server)).await.unwrap();
    let mut waiting = std::pin::pin!(ask(&other, &server, "hello"));
    let early = tokio::time::timeout(Duration::from_millis(4000), &mut waiting).await;
    assert!(early.is_err(), "the lock ended before its call");
    steps.send(Step::Send(r#"{"id":"1"}"#.into())).unwrap();
    drop(steps);
    assert_eq!(response.text().await.unwrap(), waiting.await);
    assert_eq!(server.call_count(), 1);
}

#[tokio::test]
async fn the_session_uses_the_settings_of_the_engine() {
    struct Store(MemoryEngine);
    #[async_trait]
    impl CacheEngine for Store {
        async fn get(&self, key: &RequestKey) -> Result<Option<Bytes>> {
            self.0.get(key).await
        }
        async fn set(&self, key: &RequestKey, cassette: Bytes) -> Result<()> {
            self.0.set(key, cassette).await
        }
        fn extensions(&self) -> &dyn EngineExtensions {
            self
        }
    }
    #[async_trait]
    impl EngineExtensions for Store {
        async fn get_settings(&self) -> Result<Option<Bytes>> {
            tokio::task::yield_now().await;
            Ok(Some("matching: { ignore: [/messages] }".into()))
        }
    }
    let server = counting().await;
    let session = Recorder::builder(Store(MemoryEngine::new()))
        .mode(Mode::Replay)
        .build()
        .unwrap();
    let first = ask(&session, &server, "one").await;
    assert_eq!(ask(&session, &server, "two").await, first);
    assert_eq!(server.call_count(), 1);
}
