//! The cassettes of one side of a comparison.

use std::collections::BTreeMap;
use std::path::Path;

use super::revision::Revision;
use crate::cassette::{Blob, Cassette, Message, RecordedResponse};
use crate::cli::store::{Document, Store};
use crate::engine::Listed;
use crate::error::{Error, Result};
use crate::hash::sha256;
use crate::key::scope_and_endpoint;
use crate::settings::matching::Matching;

/// The scope and the key of a cassette.
pub(super) type Identity = (String, String);

/// The cassettes of one side with their names.
pub(crate) type Side = BTreeMap<Identity, (String, Cassette)>;

/// The cassettes of one side, without their content.
pub(super) type Index = BTreeMap<Identity, Indexed>;

/// The entry of a cassette in an index.
pub(super) struct Indexed {
    pub(super) name: String,
    listed: Listed,
    /// The SHA-256 of the responses.
    pub(super) responses: [u8; 32],
}

/// Where the cassettes of a side are.
pub(super) enum Source {
    Store(Store),
    Revision(Revision),
}

impl Source {
    /// Opens a directory, a cache, or a git revision of `dir`.
    pub(super) fn open(location: &str, dir: &str) -> Result<Self> {
        let is_url = location.contains("://") || !crate::engine::is_directory(location);
        if !is_url && !Path::new(location).is_dir() {
            return Revision::open(location, Path::new(dir)).map(Self::Revision);
        }
        Store::open(location).map(Self::Store)
    }

    /// Reads each cassette with its bodies, and keeps what `work` returns.
    async fn each<T: Send>(
        &self,
        listed: Option<&[Listed]>,
        work: impl Fn(Listed, Cassette) -> T + Sync,
        mut take: impl FnMut(Result<T>),
    ) -> Result<()> {
        match self {
            Self::Store(store) => {
                let all;
                let listed = match listed {
                    Some(listed) => listed,
                    None => {
                        all = store.list().await?;
                        &all
                    }
                };
                let one = async |document: Document| {
                    let (listed, cassette) = store.with_bodies(document).await;
                    cassette.map(|cassette| work(listed, cassette))
                };
                store.each_of(listed, one, take)
            }
            Self::Revision(revision) => revision.each(listed, |read| {
                take(read.map(|(listed, cassette)| work(listed, cassette)));
            }),
        }
    }

    /// Reads all cassettes, and keeps nothing of their content.
    pub(super) async fn index(&self, errors: &mut Vec<Error>) -> Result<Index> {
        let mut index = Index::new();
        let work = |listed: Listed, cassette: Cassette| {
            let indexed = Indexed {
                name: listed.name.clone(),
                responses: digest(&cassette.responses),
                listed,
            };
            (identity(&indexed.name, &cassette), indexed)
        };
        let take = |read: Result<(Identity, Indexed)>| match read {
            Ok((identity, indexed)) => drop(index.insert(identity, indexed)),
            Err(error) => errors.push(error),
        };
        self.each(None, work, take).await?;
        Ok(index)
    }

    /// Reads the cassettes that `is_wanted` accepts.
    pub(super) async fn load(
        &self,
        index: &Index,
        is_wanted: impl Fn(&Identity) -> bool,
        errors: &mut Vec<Error>,
    ) -> Result<Side> {
        let wanted = index.iter().filter(|(identity, _)| is_wanted(identity));
        let mut listed: Vec<Listed> = wanted.map(|(_, indexed)| indexed.listed.clone()).collect();
        listed.sort_by(|a, b| a.name.cmp(&b.name));
        if listed.is_empty() {
            return Ok(Side::new());
        }
        self.read(Some(&listed), errors).await
    }

    async fn read(&self, listed: Option<&[Listed]>, errors: &mut Vec<Error>) -> Result<Side> {
        let mut found = Vec::new();
        let take = |read| match read {
            Ok(cassette) => found.push(cassette),
            Err(error) => errors.push(error),
        };
        self.each(listed, |listed, cassette| (listed.name, cassette), take)
            .await?;
        Ok(side_of(found))
    }
}

/// The SHA-256 of the responses: equal ones are equal in everything.
fn digest(responses: &[RecordedResponse]) -> [u8; 32] {
    let mut text = Vec::new();
    let mut add = |part: &[u8]| {
        text.extend_from_slice(&part.len().to_le_bytes());
        text.extend_from_slice(part);
    };
    for response in responses {
        add(response.status.as_str().as_bytes());
        add(format!("{:?}{:?}", response.headers, response.timing_ms).as_bytes());
        add_blob(&response.body, &mut add);
        for message in &response.messages {
            // The bytes of a message are in its blob.
            let rest = match message {
                Message::Sent(_) => "sent".to_owned(),
                Message::Received(_) => "received".to_owned(),
                Message::Audio(audio) => format!("audio {:?}", audio.frames),
                Message::Closed(close) => format!("{close:?}"),
            };
            add(rest.as_bytes());
            message.blob().into_iter().for_each(|blob| add_blob(blob, &mut add));
        }
    }
    sha256(&text)
}

fn add_blob(blob: &Blob, add: &mut impl FnMut(&[u8])) {
    match blob {
        Blob::Inline(bytes) => add(bytes),
        Blob::External { sha256 } => add(sha256.as_bytes()),
    }
}

/// Reads a directory, a cache, or a git revision of `dir`. Adds the error of each unreadable cassette to `errors`.
pub(crate) async fn read_side(location: &str, dir: &str, errors: &mut Vec<Error>) -> Result<Side> {
    Source::open(location, dir)?.read(None, errors).await
}

/// The matching rules of the recordings at a location, or of those in `dir` for a git revision.
pub(crate) async fn matching_of(location: &str, dir: &str) -> Result<Matching> {
    let is_store = location.contains("://") || Path::new(location).is_dir();
    let store = Store::open(if is_store { location } else { dir })?;
    Ok(store.settings().await?.matching)
}

/// These cassettes, by scope and key.
pub(crate) fn side_of(found: Vec<(String, Cassette)>) -> Side {
    let entry = |(name, cassette): (String, Cassette)| (identity(&name, &cassette), (name, cassette));
    found.into_iter().map(entry).collect()
}

fn identity(name: &str, cassette: &Cassette) -> Identity {
    let (scope, _) = scope_and_endpoint(name);
    (scope.unwrap_or_default().to_owned(), cassette.key.clone())
}
