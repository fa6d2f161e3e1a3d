//! Counters that a service can export.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use http::StatusCode;
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, SharedString, Unit};
use mistral_cassette::{MemoryEngine, Mode, Recorder, Request, Response};

/// Collects counters by name and label values.
#[derive(Default)]
struct Exporter {
    counters: Mutex<BTreeMap<String, Arc<AtomicU64>>>,
}

impl metrics::Recorder for Exporter {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let labels: String = key.labels().map(|label| format!(" {}", label.value())).collect();
        let mut counters = self.counters.lock().unwrap();
        Counter::from_arc(counters.entry(format!("{}{labels}", key.name())).or_default().clone())
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

#[test]
fn outcomes_are_counted_once_each() {
    let exporter = Exporter::default();
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
    let counters = exporter.counters.into_inner().unwrap();
    let mut counters: BTreeMap<String, u64> = counters
        .into_iter()
        .map(|(name, count)| (name, count.load(Ordering::Relaxed)))
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
