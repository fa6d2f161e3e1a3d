//! The readers of other tools' recordings, on any bytes: no panic; and what is imported is the same after it was
//! exported and imported again.
#![no_main]

use std::collections::BTreeMap;

use bytes::Bytes;
use futures_util::FutureExt;
use libfuzzer_sys::fuzz_target;
use mistral_cassette::fuzzing::{Cassette, import};
use mistral_cassette::{CacheEngine, MemoryEngine, Scope};

/// What a document may be said to be.
const FORMATS: [&str; 7] = ["vcrpy", "ruby-vcr", "go-vcr", "rvcr", "polly", "har", "jsonl"];

fuzz_target!(|document: &[u8]| {
    // As what it looks like, and as one of the others.
    for said in [None, Some(FORMATS[document.len() % FORMATS.len()])] {
        one(document, said).now_or_never().expect("memory never waits");
    }
});

async fn one(document: &[u8], format: Option<&str>) {
    let engine = MemoryEngine::new();
    if import(&engine, document, format).await.is_err() {
        return;
    }
    for (scope, document) in kept(&engine).await.into_values() {
        let cassette = Cassette::read(&document).unwrap_or_else(|error| panic!("{error}\n{}", document.escape_ascii()));
        for to in ["har", "jsonl"] {
            // A form whose names cannot be written is told, and not exported.
            let Ok(exported) = cassette.exported(&engine, &scope, to).await else {
                continue;
            };
            let back = MemoryEngine::new();
            let problems = import(&back, exported.as_bytes(), Some(to))
                .await
                .expect("an export can be read");
            assert!(problems.is_empty(), "{problems:?}\n{exported}");
            let back = kept(&back).await;
            assert_eq!(back.len(), 1, "{exported}");
            for (scope_again, again) in back.into_values() {
                assert_eq!(scope, scope_again);
                let again = Cassette::read(&again).expect("what was imported can be read");
                assert_eq!(cassette, again, "{exported}");
            }
        }
    }
}

async fn kept(engine: &MemoryEngine) -> BTreeMap<String, (Scope, Bytes)> {
    let mut kept = BTreeMap::new();
    for key in engine.keys().await.expect("memory can be read") {
        if let Some(document) = engine.get(&key).await.expect("memory can be read") {
            kept.insert(key.id(), (key.scope().clone(), document));
        }
    }
    kept
}
