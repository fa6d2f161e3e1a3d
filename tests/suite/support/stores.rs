//! Tests for every engine with a server: keys, and a server that is killed during writes.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::StatusCode;
use mistral_cassette::{CacheEngine, MemoryEngine, Mode, Recorder, Request, RequestKey, Response};

use super::process::wait_for;
use super::skip::print;

/// Keys of recorded requests.
pub async fn keys(count: usize) -> Vec<RequestKey> {
    let engine = Arc::new(MemoryEngine::new());
    let recorder = Recorder::builder(Arc::clone(&engine))
        .mode(Mode::Record)
        .allow_record_in_ci()
        .build()
        .unwrap();
    for number in 0..count {
        let request = Request::post("/v1/chat/completions")
            .unwrap()
            .json(&serde_json::json!({ "model": "m", "messages": [{ "role": "user", "content": format!("Number {number}") }] }))
            .unwrap();
        let answer = async |_| Ok(Response::new(StatusCode::OK, "{}"));
        let answer = recorder.answer(request, answer).await.unwrap();
        answer.bytes().await.unwrap();
    }
    let keys = engine.keys().await.unwrap();
    assert_eq!(keys.len(), count);
    keys
}

const TASKS: usize = 8;

/// The minimum number of set and get calls.
const CALLS: usize = 2000;

/// The time limit of a call, whatever happens to the server.
const BOUND: Duration = Duration::from_secs(40);

/// A server that can be killed and started again.
pub trait Server: Send + 'static {
    fn kill(&mut self);

    /// Starts it again; it accepts requests when this returns.
    fn start_again(&mut self);
}

/// Sets and gets from several tasks while the server is killed and restarted, at once and after a delay: every value
/// read was set before, no acknowledged value is lost, no call exceeds its time limit, and each call that starts
/// after the restart succeeds.
pub async fn survives_restarts(engine: Arc<dyn CacheEngine>, mut server: impl Server) {
    let keys = keys(TASKS * 10).await;
    let calls = Arc::new(AtomicUsize::new(0));
    let failures = Arc::new(AtomicUsize::new(0));
    let is_back = Arc::new(AtomicBool::new(false));
    let mut tasks = Vec::new();
    for some in keys.chunks(10) {
        let (engine, keys) = (Arc::clone(&engine), some.to_vec());
        let (calls, failures, is_back) = (Arc::clone(&calls), Arc::clone(&failures), Arc::clone(&is_back));
        tasks.push(tokio::spawn(async move {
            let mut longest = Duration::ZERO;
            // The possible values of each key: the last acknowledged one, and those tried since.
            let mut stored: HashMap<RequestKey, Vec<Option<Bytes>>> = HashMap::new();
            let mut round = 0;
            let mut rounds_left = 20;
            while rounds_left > 0 {
                for key in &keys {
                    let was_back = is_back.load(Ordering::SeqCst);
                    let may_be = stored.entry(key.clone()).or_insert_with(|| vec![None]);
                    let document = Bytes::from(format!("{} in round {round} ", key.name()).repeat(50));
                    let since = Instant::now();
                    let set = engine.set(key, document.clone()).await;
                    longest = longest.max(since.elapsed());
                    match set {
                        Ok(()) => *may_be = vec![Some(document)],
                        Err(error) => {
                            assert!(!was_back, "set after the restart: {}", error.report());
                            may_be.push(Some(document));
                            failures.fetch_add(1, Ordering::SeqCst);
                        }
                    }
                    let since = Instant::now();
                    let got = engine.get(key).await;
                    longest = longest.max(since.elapsed());
                    match got {
                        Ok(got) => assert!(may_be.contains(&got), "a wrong answer for {}: {got:?}", key.name()),
                        Err(error) => {
                            assert!(!was_back, "get after the restart: {}", error.report());
                            failures.fetch_add(1, Ordering::SeqCst);
                        }
                    }
                    calls.fetch_add(2, Ordering::SeqCst);
                }
                round += 1;
                if is_back.load(Ordering::SeqCst) && calls.load(Ordering::SeqCst) >= CALLS {
                    rounds_left -= 1;
                }
            }
            (stored, longest)
        }));
    }
    let count = |counter: &Arc<AtomicUsize>| counter.load(Ordering::SeqCst);
    for is_long in [false, true] {
        let before = count(&calls);
        while count(&calls) < before + CALLS / 4 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let failed = Arc::clone(&failures);
        server = tokio::task::spawn_blocking(move || {
            let before = failed.load(Ordering::SeqCst);
            server.kill();
            if is_long {
                wait_for("a call fails", || failed.load(Ordering::SeqCst) > before);
            }
            server.start_again();
            server
        })
        .await
        .unwrap();
    }
    is_back.store(true, Ordering::SeqCst);
    let mut longest = Duration::ZERO;
    for task in tasks {
        let (stored, its_longest) = task.await.unwrap();
        longest = longest.max(its_longest);
        for (key, may_be) in stored {
            let got = engine.get(&key).await.unwrap();
            assert!(may_be.contains(&got), "{} is lost", key.name());
        }
    }
    print(&format!(
        "{} calls over two restarts: {} have failed, the longest took {longest:?}\n",
        count(&calls),
        count(&failures),
    ));
    assert!(longest < BOUND, "a call took {longest:?}");
}
