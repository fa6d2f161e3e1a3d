//! The conformance suite for the engines that need no server.

use std::sync::Arc;

use mistral_cassette::engine::LayeredEngine;
use mistral_cassette::engine::{conformance, open};
use mistral_cassette::{DirectoryEngine, MemoryEngine};

#[tokio::test(flavor = "multi_thread")]
async fn memory_conforms() {
    let can = conformance::check(Arc::new(MemoryEngine::new())).await;
    assert!(can.list && can.remove && can.expire && can.count && can.size, "{can:?}");
    conformance::check(open("memory:?max_bytes=200000000").unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_conforms() {
    let folder = tempfile::tempdir().unwrap();
    let can = conformance::check(Arc::new(DirectoryEngine::new(folder.path()))).await;
    assert!(
        can.list && can.remove && can.bodies && can.lock && can.settings,
        "{can:?}"
    );
    assert!(!can.lock_expires && !can.expire && !can.count, "{can:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_in_front_of_a_directory_conforms() {
    let folder = tempfile::tempdir().unwrap();
    let can = conformance::check(Arc::new(LayeredEngine::new(
        MemoryEngine::new(),
        DirectoryEngine::new(folder.path()),
    )))
    .await;
    assert!(
        can.list && can.remove && can.bodies && can.lock && can.settings,
        "{can:?}"
    );
}
