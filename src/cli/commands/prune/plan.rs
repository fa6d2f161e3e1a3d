//! Decides which files to delete.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;

use crate::cassette::Blob;
use crate::cli::git::Git;
use crate::cli::store::{Read, Store};
use crate::engine::{DirectoryEngine, layout};
use crate::key::Scope;
use crate::recorder::Used;

/// An unused file.
pub(super) struct Item {
    pub(super) path: PathBuf,
    pub(super) is_body: bool,
}

/// Why an unused file is not deleted.
pub(super) struct Reason {
    pub(super) text: String,
    pub(super) needs_force: bool,
}

#[derive(Default)]
pub(super) struct Plan {
    pub(super) deleted: Vec<Item>,
    pub(super) skipped: Vec<(Item, Reason)>,
    /// The number of cassettes in each scope that the usage log does not contain.
    pub(super) unseen: BTreeMap<Scope, usize>,
}

impl Plan {
    pub(super) fn new(
        store: &Store,
        directory: &DirectoryEngine,
        used: &Used,
        git: &Git,
        cassettes: Vec<Read>,
        force: bool,
    ) -> Self {
        let mut plan = Self::default();
        // The body files that the remaining cassettes refer to.
        let mut needed: HashSet<String> = HashSet::new();
        let mut unreadable = None;
        for (listed, cassette) in cassettes {
            let key = listed.key.as_ref();
            if let Some(key) = key.filter(|key| used.is_unknown_scope(key)) {
                *plan.unseen.entry(key.scope().clone()).or_default() += 1;
            }
            if key.is_some_and(|key| used.is_unused(key)) {
                let path = directory.root().join(&listed.name);
                if plan.add(path, false, git, force) {
                    continue;
                }
            }
            match cassette {
                Ok(mut cassette) => needed.extend(cassette.bodies_mut().into_iter().filter_map(|blob| match blob {
                    Blob::External { sha256 } => Some(layout::body(sha256)),
                    Blob::Inline(_) => None,
                })),
                Err(_) => unreadable = Some(store.location_of(&listed)),
            }
        }
        for (name, path) in layout::files_in_bodies(directory.root()) {
            if !layout::is_body(&name) || needed.contains(&name) {
                continue;
            }
            if let Some(location) = &unreadable {
                let reason = Reason {
                    text: format!("{location} cannot be read, and may refer to it"),
                    needs_force: false,
                };
                plan.skipped.push((Item { path, is_body: true }, reason));
                continue;
            }
            plan.add(path, true, git, force);
        }
        plan
    }

    /// Adds an unused file; whether it is deleted.
    fn add(&mut self, path: PathBuf, is_body: bool, git: &Git, force: bool) -> bool {
        let item = Item { path, is_body };
        match git.risk(&item.path) {
            Some(text) if !force => {
                let reason = Reason {
                    text,
                    needs_force: true,
                };
                self.skipped.push((item, reason));
                false
            }
            _ => {
                self.deleted.push(item);
                true
            }
        }
    }
}
