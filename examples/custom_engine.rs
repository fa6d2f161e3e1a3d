//! An engine of your own is two methods: `cargo run --example custom_engine`.
//!
//! This engine stores documents in memory, in front of any other engine. Modes, redaction, streams and the coalescing of
//! equal requests work with every engine, because they belong to the recorder. To test an engine, run
//! `mistral_cassette::engine::conformance::check` on it.

use std::collections::HashMap;
use std::sync::Mutex;

use bytes::Bytes;
use mistral_cassette::client::{ChatRequest, Client};
use mistral_cassette::{CacheEngine, DirectoryEngine, RequestKey, Result, async_trait};

struct InMemoryFirst<E> {
    memory: Mutex<HashMap<RequestKey, Bytes>>,
    inner: E,
}

#[async_trait]
impl<E: CacheEngine> CacheEngine for InMemoryFirst<E> {
    async fn get(&self, key: &RequestKey) -> Result<Option<Bytes>> {
        let found = self.memory.lock().expect("not poisoned").get(key).cloned();
        if found.is_some() {
            println!("memory: {}", key.name());
            return Ok(found);
        }
        println!("inner:  {}", key.name());
        let found = self.inner.get(key).await?;
        if let Some(document) = &found {
            self.memory
                .lock()
                .expect("not poisoned")
                .insert(key.clone(), document.clone());
        }
        Ok(found)
    }

    async fn set(&self, key: &RequestKey, cassette: Bytes) -> Result<()> {
        self.inner.set(key, cassette.clone()).await?;
        self.memory.lock().expect("not poisoned").insert(key.clone(), cassette);
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let engine = InMemoryFirst {
        memory: Mutex::default(),
        inner: DirectoryEngine::new("cassettes"),
    };
    let client = Client::from_env()?.cached(engine)?;
    for _ in 0..2 {
        let question = ChatRequest::new("mistral-small-latest").user("What is the capital of France?");
        println!("{}", client.chat(question).await?.text());
    }
    Ok(())
}
