//! The store of a command's cassettes: a directory, or a cache.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::task::block_in_place;

use super::parallel::{in_order, processors};
use super::progress::Progress;
use crate::cassette::{Cassette, yaml};
use crate::engine::{
    CacheEngine, DirectoryEngine, Listed, database_file, inline_bodies, is_directory, open, read_file,
};
use crate::error::{Error, ErrorKind, Result};
use crate::settings::Settings;

/// How many cassettes of a cache are read at once.
const AT_ONCE: usize = 16;

/// How long a command waits for a connection. `proxy`, `run` and `serve` replace it by `--engine-timeout`.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The store of a command's cassettes.
pub(super) struct Store {
    pub(super) engine: Arc<dyn CacheEngine>,
    /// The location that the user named.
    location: String,
    /// `Some` for a directory: commands then see all cassette files, and not only those that the engine finds.
    pub(super) directory: Option<DirectoryEngine>,
    /// `Some` for a SQLite database.
    database: Option<PathBuf>,
}

/// A cassette as it was read.
pub(super) struct Document {
    pub(super) listed: Listed,
    /// Its location, for messages.
    pub(super) location: String,
    /// The content of the file or entry; empty if it cannot be read.
    pub(super) bytes: Bytes,
    pub(super) cassette: Result<Cassette>,
}

/// The name of a cassette, and the cassette or the error of reading it.
pub(super) type Read = (Listed, Result<Cassette>);

/// A location without the part of its URL that may contain a password.
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
                database: None,
            });
        }
        let engine = open(location)?;
        engine.extensions().set_timeout(TIMEOUT);
        Ok(Self {
            engine,
            location: location.to_owned(),
            directory: None,
            database: database_file(location),
        })
    }

    /// Checks that a directory or a SQLite database exists. [`list`](Self::list) does so too.
    pub(super) fn check_exists(&self) -> Result<()> {
        if let Some(directory) = &self.directory {
            return directory.check_exists();
        }
        match self.missing_database() {
            Some(file) => Err(Error::engine(format!(
                "cannot read {}: it does not exist",
                file.display()
            ))),
            None => Ok(()),
        }
    }

    /// The file of a SQLite database that does not exist. The engine would create it.
    fn missing_database(&self) -> Option<&Path> {
        self.database.as_deref().filter(|file| !file.exists())
    }

    /// The settings of the store.
    pub(super) async fn settings(&self) -> Result<Settings> {
        if let Some(directory) = &self.directory {
            return directory.extensions().settings();
        }
        if self.missing_database().is_some() {
            return Ok(Settings::default());
        }
        match self.engine.extensions().get_settings().await? {
            Some(document) => Settings::from_yaml(&document, "the settings in the engine"),
            None => self.engine.extensions().settings(),
        }
    }

    /// Lists all cassettes, sorted by name.
    pub(super) async fn list(&self) -> Result<Vec<Listed>> {
        if let Some(directory) = &self.directory {
            return directory.list();
        }
        self.check_exists()?;
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

    /// The location of a cassette, for messages.
    pub(super) fn location_of(&self, listed: &Listed) -> String {
        match (&self.directory, &listed.key) {
            (Some(directory), _) => directory.root().join(&listed.name).display().to_string(),
            (None, Some(key)) => self.engine.location_of(key),
            (None, None) => listed.name.clone(),
        }
    }

    /// The location of the store, without the part that may contain a password.
    pub(super) fn location(&self) -> &str {
        without_password(&self.location)
    }

    /// Removes a cassette.
    pub(super) async fn remove(&self, listed: &Listed) -> Result<()> {
        if let Some(directory) = &self.directory {
            let path = directory.root().join(&listed.name);
            return std::fs::remove_file(&path).map_err(|error| match error.kind() {
                std::io::ErrorKind::NotFound => self.gone(listed),
                _ => Error::engine(format!("cannot remove {}", path.display())).with_source(error),
            });
        }
        match &listed.key {
            Some(key) => self.engine.remove(key).await,
            None => Ok(()),
        }
    }

    /// Reads the document of a cassette.
    pub(super) async fn document(&self, listed: &Listed) -> Result<Bytes> {
        self.document_if_there(listed).await?.ok_or_else(|| self.gone(listed))
    }

    fn gone(&self, listed: &Listed) -> Error {
        let location = self.location_of(listed);
        if self.directory.is_some() && listed.name.contains(char::REPLACEMENT_CHARACTER) {
            let message = format!("cannot read {location}: its name is not UTF-8");
            return Error::new(ErrorKind::Cassette, message).with_hint("rename the file");
        }
        Error::engine(format!("cannot read {location}: it no longer exists"))
    }

    async fn document_if_there(&self, listed: &Listed) -> Result<Option<Bytes>> {
        match (&self.directory, &listed.key) {
            (Some(directory), _) => read_file(&directory.root().join(&listed.name)),
            (None, Some(key)) => self.engine.get(key).await,
            (None, None) => Ok(None),
        }
    }

    /// Reads all cassettes in several threads. Calls `work` with each one in a thread, and `take` with each result, sorted by
    /// name.
    ///
    /// # Errors
    /// The cassettes cannot be listed, or the engine cannot be reached. What affects one cassette is in its [`Document`].
    pub(super) async fn each<T: Send>(
        &self,
        work: impl AsyncFn(Document) -> T + Sync,
        take: impl FnMut(T),
    ) -> Result<()> {
        self.each_of(&self.list().await?, work, take)
    }

    /// Does the same as [`each`](Self::each) with some of the cassettes, in their order. It needs the runtime of a command.
    pub(super) fn each_of<T: Send>(
        &self,
        listed: &[Listed],
        work: impl AsyncFn(Document) -> T + Sync,
        mut take: impl FnMut(T),
    ) -> Result<()> {
        let handle = Handle::current();
        let threads = match self.directory {
            Some(_) => processors(),
            None => AT_ONCE,
        };
        let one = |listed: &Listed| {
            handle.block_on(async {
                let document = self.open_document(listed.clone()).await?;
                Ok::<_, Error>(match document {
                    Some(document) => Some(work(document).await),
                    None => None,
                })
            })
        };
        let mut progress = Progress::new(listed.len(), "cassettes");
        block_in_place(|| {
            in_order(listed, threads, one, |result| {
                progress.advance();
                if let Some(result) = result? {
                    take(result);
                }
                Ok(())
            })
        })
    }

    /// Reads and parses a cassette; `None` if a cache has removed it since it was listed.
    async fn open_document(&self, listed: Listed) -> Result<Option<Document>> {
        let location = self.location_of(&listed);
        let (bytes, cassette) = match self.document_if_there(&listed).await {
            Ok(Some(bytes)) => {
                let cassette = yaml::read(&bytes, &location);
                (bytes, cassette)
            }
            Ok(None) if self.directory.is_none() => return Ok(None),
            Ok(None) => (Bytes::new(), Err(self.gone(&listed))),
            // An unreadable file or entry affects one cassette; an unreachable engine affects all.
            Err(error) if self.directory.is_some() || error.kind() == ErrorKind::Cassette => (Bytes::new(), Err(error)),
            Err(error) => return Err(error),
        };
        Ok(Some(Document {
            listed,
            location,
            bytes,
            cassette,
        }))
    }

    /// Reads one cassette.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) async fn read(&self, listed: &Listed) -> Result<Cassette> {
        match self.open_document(listed.clone()).await? {
            Some(document) => document.cassette,
            None => Err(self.gone(listed)),
        }
    }

    /// Reads all cassettes, sorted by name.
    pub(super) async fn read_all(&self) -> Result<Vec<Read>> {
        let mut all = Vec::new();
        let work = async |document: Document| (document.listed, document.cassette);
        self.each(work, |read| all.push(read)).await?;
        Ok(all)
    }

    /// Loads the external bodies of a cassette.
    ///
    /// # Errors
    /// The cassette or a body cannot be read.
    pub(super) async fn with_bodies(&self, document: Document) -> (Listed, Result<Cassette>) {
        let inline = async { inline_bodies(&*self.engine, document.cassette?, &document.location).await };
        (document.listed, inline.await)
    }

    /// Reads all cassettes with their bodies, sorted by name; the second list has the unreadable ones.
    pub(super) async fn read_with_bodies(&self) -> Result<(Vec<(String, Cassette)>, Vec<(String, Error)>)> {
        let (mut found, mut damaged) = (Vec::new(), Vec::new());
        let take = |(listed, cassette): Read| match cassette {
            Ok(cassette) => found.push((listed.name, cassette)),
            Err(error) => damaged.push((listed.name, error)),
        };
        self.each(async |document| self.with_bodies(document).await, take)
            .await?;
        Ok((found, damaged))
    }
}
