//! Imports recordings of other tools from arbitrary bytes. Import never panics, and a recording that is exported and
//! imported again is the same.
#![no_main]

use std::collections::BTreeMap;

use bytes::Bytes;
use futures_util::FutureExt;
use libfuzzer_sys::fuzz_target;
use mistral_cassette::fuzzing::{Cassette, import};
use mistral_cassette::{CacheEngine, MemoryEngine, Scope};

/// The import formats.
const FORMATS: [&str; 11] = [
    "vcrpy",
    "ruby-vcr",
    "go-vcr",
    "rvcr",
    "polly",
    "har",
    "httpmock",
    "wiremock",
    "nock",
    "cassetter",
    "jsonl",
];

fuzz_target!(|document: &[u8]| {
    // Once with the detected format, once with a given format.
    for format in [None, Some(FORMATS[document.len() % FORMATS.len()])] {
        import_twice(document, format)
            .now_or_never()
            .expect("a memory engine never waits");
    }
});

async fn import_twice(document: &[u8], format: Option<&str>) {
    let engine = MemoryEngine::new();
    if import(&engine, document, format).await.is_err() {
        return;
    }
    for (scope, document) in recorded(&engine).await.into_values() {
        let cassette = Cassette::read(&document).unwrap_or_else(|error| panic!("{error}\n{}", document.escape_ascii()));
        for to in ["har", "jsonl"] {
            // A form with part names that cannot be written is an error and is not exported.
            let Ok(exported) = cassette.exported(&engine, &scope, to).await else {
                continue;
            };
            let back = MemoryEngine::new();
            let problems = import(&back, exported.as_bytes(), Some(to))
                .await
                .expect("an export can be read");
            assert!(problems.is_empty(), "{problems:?}\n{exported}");
            let back = recorded(&back).await;
            assert_eq!(back.len(), 1, "{exported}");
            for (scope_again, again) in back.into_values() {
                assert_eq!(scope, scope_again);
                let again = Cassette::read(&again).expect("an imported cassette can be read");
                assert_eq!(cassette, again, "{exported}");
            }
        }
    }
}

async fn recorded(engine: &MemoryEngine) -> BTreeMap<String, (Scope, Bytes)> {
    let mut documents = BTreeMap::new();
    for key in engine.keys().await.expect("a memory engine can be read") {
        if let Some(document) = engine.get(&key).await.expect("a memory engine can be read") {
            documents.insert(key.id(), (key.scope().clone(), document));
        }
    }
    documents
}
