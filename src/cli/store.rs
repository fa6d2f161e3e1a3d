//! Where a command's cassettes are: a directory, or a cache by its URL.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};

use crate::cassette::{Cassette, yaml};
use crate::engine::{CacheEngine, DirectoryEngine, Listed, inline_bodies, is_directory, open, read_file};
use crate::error::{Error, Result};
use crate::settings::Settings;

/// How many cassettes are read at once.
const AT_ONCE: usize = 16;

/// The cassettes of a command.
pub(super) struct Store {
    pub(super) engine: Arc<dyn CacheEngine>,
    /// As it was named.
    location: String,
    /// Of a directory a command sees all files, and not only those that the engine would find.
    pub(super) directory: Option<DirectoryEngine>,
}

/// A cassette with its name, or the error that kept it from being read.
pub(super) type Read = (Listed, Result<Cassette>);

/// A place as it was named, without what may be a password in its URL.
pub(super) fn without_password(location: &str) -> &str {
    match location.rsplit_once('@') {
        Some((_, behind)) if location.contains("://") => behind,
        _ => location,
    }
}

impl Store {
    pub(super) fn open(location: &str) -> Result<Self> {
        if is_directory(location) {
            let directory = DirectoryEngine::new(location);
            return Ok(Self {
                engine: Arc::new(directory.clone()),
                location: location.to_owned(),
                directory: Some(directory),
            });
        }
        Ok(Self {
            engine: open(location)?,
            location: location.to_owned(),
            directory: None,
        })
    }

    /// The settings beside the cassettes.
    pub(super) async fn settings(&self) -> Result<Settings> {
        if let Some(directory) = &self.directory {
            return directory.extensions().settings();
        }
        match self.engine.extensions().get_settings().await? {
            Some(document) => Settings::from_yaml(&document, "the settings in the engine"),
            None => self.engine.extensions().settings(),
        }
    }

    /// Every cassette, sorted by name.
    pub(super) async fn list(&self) -> Result<Vec<Listed>> {
        if let Some(directory) = &self.directory {
            return directory.list();
        }
        let keys = self.engine.keys().await?;
        let mut listed: Vec<Listed> = keys
            .into_iter()
            .map(|key| Listed {
                name: key.file_name(),
                key: Some(key),
            })
            .collect();
        listed.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(listed)
    }

    /// Where a cassette is, for people.
    pub(super) fn place_of(&self, listed: &Listed) -> String {
        match (&self.directory, &listed.key) {
            (Some(directory), _) => directory.root().join(&listed.name).display().to_string(),
            (None, Some(key)) => self.engine.location_of(key),
            (None, None) => listed.name.clone(),
        }
    }

    /// This place, without what may be a password in its URL.
    pub(super) fn place(&self) -> &str {
        without_password(&self.location)
    }

    /// Removes a cassette.
    pub(super) async fn remove(&self, listed: &Listed) -> Result<()> {
        if let Some(directory) = &self.directory {
            let path = directory.root().join(&listed.name);
            return std::fs::remove_file(&path)
                .map_err(|error| Error::engine(format!("cannot remove {}", path.display())).with_source(error));
        }
        match &listed.key {
            Some(key) => self.engine.remove(key).await,
            None => Ok(()),
        }
    }

    /// The bytes of a cassette's document.
    pub(super) async fn document(&self, listed: &Listed) -> Result<Bytes> {
        let place = self.place_of(listed);
        let gone = || Error::engine(format!("cannot read {place}: it has gone"));
        match (&self.directory, &listed.key) {
            (Some(directory), _) => read_file(&directory.root().join(&listed.name))?.ok_or_else(gone),
            (None, Some(key)) => self.engine.get(key).await?.ok_or_else(gone),
            (None, None) => Err(gone()),
        }
    }

    /// Every cassette, each read or with the error that kept it from being read, sorted by name.
    pub(super) async fn read_all(&self) -> Result<Vec<Read>> {
        let read = async |listed: Listed| {
            let cassette = match self.document(&listed).await {
                Ok(document) => yaml::read(&document, &self.place_of(&listed)),
                // A file that cannot be opened is one problem of many; an engine that is down is the only one.
                Err(error) if self.directory.is_some() => Err(error),
                Err(error) => return Err(error),
            };
            Ok((listed, cassette))
        };
        stream::iter(self.list().await?)
            .map(read)
            .buffered(AT_ONCE)
            .try_collect()
            .await
    }

    /// Every cassette with all of its bodies, sorted by name; and those that cannot be read.
    pub(super) async fn read_whole(&self) -> Result<(Vec<(String, Cassette)>, Vec<(String, Error)>)> {
        let (mut found, mut damaged) = (Vec::new(), Vec::new());
        for (listed, cassette) in self.read_all().await? {
            let place = self.place_of(&listed);
            let read = async { inline_bodies(&*self.engine, cassette?, &place).await };
            match read.await {
                Ok(cassette) => found.push((listed.name, cassette)),
                Err(error) => damaged.push((listed.name, error)),
            }
        }
        Ok((found, damaged))
    }
}
