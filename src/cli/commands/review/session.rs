//! Reads the new recordings, and carries out decisions.

use std::collections::HashMap;
use std::sync::Arc;

use super::chain::{Chain, Pending};
use crate::cassette::{Cassette, yaml};
use crate::cli::refresh::{Entry, Journal, Substitutions};
use crate::cli::store::Store;
use crate::engine::{self, CacheEngine, DirectoryEngine, inline_bodies};
use crate::error::Result;
use crate::key::RequestKey;
use crate::settings::Settings;

pub(super) struct Review {
    /// Stores the current recordings.
    engine: Arc<dyn CacheEngine>,
    /// Stores the new recordings.
    pending: Arc<dyn CacheEngine>,
    settings: Settings,
    journal: Journal,
}

impl Review {
    pub(super) async fn new(store: &Store, directory: &DirectoryEngine, journal: Journal) -> Result<Self> {
        Ok(Self {
            engine: store.engine.clone(),
            pending: Arc::new(DirectoryEngine::new(Journal::pending_folder(directory.root()))),
            settings: store.settings().await?,
            journal,
        })
    }

    /// The new recordings, in chains: a mix of old and new ones would not replay.
    pub(super) async fn chains(&self) -> Result<Vec<Chain>> {
        let mut chains = Vec::new();
        let mut positions = HashMap::new();
        for entry in &self.journal.entries {
            let Some(pending) = self.pending(entry).await? else {
                continue;
            };
            let at = *positions.entry(entry.line).or_insert(chains.len());
            if at == chains.len() {
                chains.push(Chain::default());
            }
            chains[at].members.push(pending);
        }
        for entry in &self.journal.entries {
            if let Some(at) = positions.get(&entry.line) {
                chains[*at].substitutions.extend(entry.substitutions.clone());
            }
        }
        Ok(chains)
    }

    /// The new recording of an entry; `None` when there is none, or when it was reviewed before.
    async fn pending(&self, entry: &Entry) -> Result<Option<Pending>> {
        let Some(key) = entry.written_key(&*self.pending).await? else {
            return Ok(None);
        };
        let Some(new) = read(&*self.pending, &key).await? else {
            return Ok(None);
        };
        let old = match entry.old_key() {
            Some(old) => read(&*self.engine, &old).await?,
            None => None,
        };
        Ok(Some(Pending {
            entry: entry.clone(),
            old,
            new,
            key,
        }))
    }

    pub(super) async fn accept(&self, chain: &Chain) -> Result<()> {
        for pending in &chain.members {
            let mut cassette = pending.new.clone();
            // Write the new cassette before removing the old one, so that one of them always exists.
            engine::write_cassette(&*self.engine, &pending.key, &mut cassette, None, &self.settings).await?;
            pending.entry.remove_old(&*self.engine, &pending.key).await?;
            if let Some((now, _)) = pending.entry.replacement.as_ref().filter(|_| pending.is_moved()) {
                // Marks the new name as done, so that a resumed refresh does not send its request again.
                self.journal.add_one(Entry {
                    name: now.clone(),
                    replacement: None,
                    substitutions: Substitutions::default(),
                    checked: None,
                    line: 0,
                })?;
            }
        }
        self.close(chain, |entry| entry.substitutions.clone()).await
    }

    pub(super) async fn reject(&self, chain: &Chain) -> Result<()> {
        // The old recordings stay, so the ids in other requests do not change.
        self.close(chain, |_| Substitutions::default()).await
    }

    /// Removes the new recordings of a chain.
    async fn close(&self, chain: &Chain, changes: impl Fn(&Entry) -> Substitutions) -> Result<()> {
        for pending in &chain.members {
            self.journal.add_one(Entry {
                name: pending.entry.name.clone(),
                replacement: None,
                substitutions: changes(&pending.entry),
                checked: None,
                line: 0,
            })?;
            self.pending.remove(&pending.key).await?;
        }
        Ok(())
    }

    /// Removes the journal if the refresh is complete; whether it is.
    pub(super) fn end(self) -> Result<bool> {
        if self.journal.is_finished {
            self.journal.remove()?;
            return Ok(true);
        }
        Ok(false)
    }
}

/// Reads a cassette with its bodies.
async fn read(engine: &dyn CacheEngine, key: &RequestKey) -> Result<Option<Cassette>> {
    let Some(document) = engine.get(key).await? else {
        return Ok(None);
    };
    let location = engine.location_of(key);
    let cassette = yaml::read(&document, &location)?;
    inline_bodies(engine, cassette, &location).await.map(Some)
}
