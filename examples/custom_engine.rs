//! An engine of one's own is two methods: `cargo run --example custom_engine`.
//!
//! This one keeps what it has read in memory, in front of any other engine. Modes, redaction, streams and single
//! flight work with it as with every engine: they belong to the recorder. Whether an engine does what the recorder relies on
//! is told by `mistral_cassette::engine::conformance::check`, in a test of its author's.

use std::collections::HashMap;
use std::sync::Mutex;

use bytes::Bytes;
use mistral_cassette::client::{ChatRequest, Client};
use mistral_cassette::{CacheEngine, DirectoryEngine, RequestKey, Result, async_trait};

struct InMemoryFirst<E> {
    memory: Mutex<HashMap<RequestKey, Bytes>>,
    below: E,
}

#[async_trait]
impl<E: CacheEngine> CacheEngine for InMemoryFirst<E> {
    async fn get(&self, key: &RequestKey) -> Result<Option<Bytes>> {
        let known = self.memory.lock().expect("not poisoned").get(key).cloned();
        if known.is_some() {
            println!("memory: {}", key.name());
            return Ok(known);
        }
        println!("below:  {}", key.name());
        let found = self.below.get(key).await?;
        if let Some(document) = &found {
            self.memory
                .lock()
                .expect("not poisoned")
                .insert(key.clone(), document.clone());
        }
        Ok(found)
    }

    async fn set(&self, key: &RequestKey, cassette: Bytes) -> Result<()> {
        self.below.set(key, cassette.clone()).await?;
        self.memory.lock().expect("not poisoned").insert(key.clone(), cassette);
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let engine = InMemoryFirst {
        memory: Mutex::default(),
        below: DirectoryEngine::new("cassettes"),
    };
    let client = Client::from_env()?.cached(engine)?;
    for _ in 0..2 {
        let question = ChatRequest::new("mistral-small-latest").user("What is the capital of France?");
        println!("{}", client.chat(question).await?.text());
    }
    Ok(())
}
