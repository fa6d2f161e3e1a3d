//! Counters that a service can export.

use std::collections::BTreeMap;

use http::StatusCode;
use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use mistral_cassette::{MemoryEngine, Mode, Recorder, Request, Response};

#[test]
fn outcomes_are_counted_once_each() {
    let exporter = DebuggingRecorder::new();
    let seen = exporter.snapshotter();
    let summary = metrics::with_local_recorder(&exporter, || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let recorder = Recorder::builder(MemoryEngine::new())
                .mode(Mode::Replay)
                .build()
                .unwrap();
            let answer = |status: StatusCode| {
                async move |_: Request| Ok(Response::new(status, r#"{"usage":{"total_tokens":12}}"#))
            };
            for path in ["/v1/models", "/v1/models", "/v1/models", "/v1/files"] {
                let response = recorder
                    .answer(Request::get(path).unwrap(), answer(StatusCode::OK))
                    .await;
                response.unwrap().bytes().await.unwrap();
            }
            let busy = answer(StatusCode::TOO_MANY_REQUESTS);
            let response = recorder.answer(Request::get("/v1/agents").unwrap(), busy).await;
            response.unwrap().bytes().await.unwrap();
            recorder.session().summary()
        })
    });
    let mut counters: BTreeMap<String, u64> = seen
        .snapshot()
        .into_vec()
        .into_iter()
        .filter_map(|(key, _, _, value)| {
            let labels: String = key.key().labels().map(|label| format!(" {}", label.value())).collect();
            match value {
                DebugValue::Counter(count) => Some((format!("{}{labels}", key.key().name()), count)),
                _ => None,
            }
        })
        .collect();
    // The duration of the call: it is not counted if it was less than a millisecond.
    let milliseconds = counters.remove("mistral_cassette_saved_milliseconds_total");
    assert_eq!(milliseconds.unwrap_or_default(), summary.milliseconds_saved);
    let expected = [
        ("mistral_cassette_requests_total passed_on", 1),
        ("mistral_cassette_requests_total recorded", 2),
        ("mistral_cassette_requests_total replayed", 2),
        ("mistral_cassette_saved_tokens_total", 24),
    ];
    assert_eq!(counters, expected.map(|(name, count)| (name.to_owned(), count)).into());
}
