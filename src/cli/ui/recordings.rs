//! What the page shows besides the requests: the recordings of the store.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::task::block_in_place;

use crate::cassette::{Cassette, yaml};
use crate::cli::output::count;
use crate::cli::prices::Prices;
use crate::cli::report::{LivePage, Recording, details, summary};
use crate::cli::store::{Document, Store};
use crate::engine::{CacheEngine, Listed, inline_bodies};
use crate::error::Result;
use crate::key::RequestKey;

/// The largest number of recordings that the page lists, because each load of the page reads all of them.
const MAX_LISTED: usize = 2000;

/// The recordings of a session.
pub(super) struct Recordings {
    /// The store as the user has named it, whose recordings are listed.
    pub(super) store: Store,
    /// The engine of the session, in which its requests are recorded.
    pub(super) engine: Arc<dyn CacheEngine>,
    pub(super) prices: Prices,
}

impl Recordings {
    /// Returns the page with the summaries of all recordings. `proxy` describes the session, and `last` is the number of its
    /// last request.
    ///
    /// # Errors
    /// The recordings cannot be listed.
    pub(super) async fn page(&self, proxy: &str, last: u64) -> Result<String> {
        let mut recordings = Vec::new();
        let listed = self.listed().await?;
        if let Ok(listed) = &listed {
            let work = async |document: Document| self.summary(document).await;
            self.store.each_of(listed, work, |summary| recordings.push(summary))?;
        }
        let page = LivePage {
            location: self.store.location(),
            proxy,
            last,
            recordings,
            unlisted: listed.err(),
            prices: &self.prices,
        };
        Ok(page.html())
    }

    /// The recordings for the list, or why there is none.
    async fn listed(&self) -> Result<Result<Vec<Listed>, String>> {
        let Some(directory) = &self.store.directory else {
            return Ok(Err("the recordings of a cache are not listed".to_owned()));
        };
        if !directory.root().exists() {
            return Ok(Ok(Vec::new()));
        }
        let listed = self.store.list().await?;
        if listed.len() <= MAX_LISTED {
            return Ok(Ok(listed));
        }
        let number = count(listed.len(), "recording");
        Ok(Err(format!(
            "{number}, too many to list here: mistral-cassette report shows them"
        )))
    }

    async fn summary(&self, document: Document) -> Value {
        let (listed, cassette) = self.store.with_bodies(document).await;
        summary(&of(listed.name, cassette), &self.prices)
    }

    /// Returns a recording as JSON, its `summary` and its `details`; `None` if there is none with this file name. `key` is that
    /// of a request that has used it: a cache finds it by its key only.
    ///
    /// # Errors
    /// The engine cannot be reached.
    pub(super) async fn recording(&self, name: &str, key: Option<RequestKey>) -> Result<Option<Value>> {
        let cassette = match key {
            Some(key) => self.read(&key).await?,
            None => self.read_listed(name).await?,
        };
        let Some(cassette) = cassette else { return Ok(None) };
        let recording = of(name.to_owned(), cassette);
        // A recording may be large, and the thread is one of those that answer requests.
        Ok(Some(block_in_place(
            || json!({ "summary": summary(&recording, &self.prices), "details": details(&recording, false) }),
        )))
    }

    async fn read(&self, key: &RequestKey) -> Result<Option<Result<Cassette>>> {
        let location = self.engine.location_of(key);
        let Some(document) = self.engine.get(key).await? else {
            return Ok(None);
        };
        let cassette = block_in_place(|| yaml::read(&document, &location));
        Ok(Some(self.inlined(cassette, &location).await))
    }

    /// Only names that the directory has are read, so none leads out of it.
    async fn read_listed(&self, name: &str) -> Result<Option<Result<Cassette>>> {
        let listed = self.listed().await?.unwrap_or_default();
        let Some(listed) = listed.into_iter().find(|listed| listed.name == name) else {
            return Ok(None);
        };
        let (cassette, location) = (self.store.read(&listed).await, self.store.location_of(&listed));
        Ok(Some(self.inlined(cassette, &location).await))
    }

    async fn inlined(&self, cassette: Result<Cassette>, location: &str) -> Result<Cassette> {
        inline_bodies(&*self.engine, cassette?, location).await
    }
}

fn of(name: String, cassette: Result<Cassette>) -> Recording {
    Recording::new(name, cassette, None)
}
