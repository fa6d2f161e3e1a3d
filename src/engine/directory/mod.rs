//! Stores cassettes as files in a directory, to be committed to git.

mod cache;
mod file;
mod heartbeat;
mod lock;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{fs, io};

use async_trait::async_trait;
use bytes::Bytes;

use self::cache::FileCache;
use self::file::{check_writable, failed, read_file_and_state, walk};
#[cfg(feature = "cli")]
pub(crate) use self::file::{folder_of, write_file_with};
pub(crate) use self::file::{read_file, remove_abandoned, write_file};
use self::lock::Attempt;
use super::layout::{self, BODIES, EXTENSION, SETTINGS};
use super::stored_body::{decode, encode};
use super::{CacheEngine, EngineExtensions, Lock};
use crate::error::{Error, ErrorKind, Result};
use crate::hash::is_lower_hex;
use crate::key::RequestKey;
use crate::settings::Settings;

/// Larger cassettes are written by another thread.
const SMALL_BYTES: usize = 64 * 1024;

/// How long an owner may take between locking a file and setting its time.
const MOMENT: Duration = Duration::from_millis(50);

/// Stores each cassette in a file of its own.
///
/// ```text
/// cassettes/
///   settings.yaml                                                optional, see Settings
///   chat-completions/capital-of-france-3f9a1c2b7d4e8a10.yaml     <endpoint>/<slug>-<first 16 digits of the key>
///   weather_agent/chat-completions/…                             a scope is a folder
///   bodies/<sha256>                                              large bodies, once each; in Base64 where a git hook or a
///                                                                formatter would change the bytes
/// ```
///
/// A file is found by its computed name. If a person has renamed it (within its folder), it is found by the `-<key>.yaml`
/// at the end of its name; a session that is running does not see the renaming. A write creates a new file and renames
/// it to its path, so any number of processes may record at once, and a reader never sees an incomplete file.
#[derive(Clone, Debug)]
pub struct DirectoryEngine {
    root: PathBuf,
    folders: Arc<Mutex<HashMap<PathBuf, Arc<Folder>>>>,
    /// The folders from which this session has removed abandoned temporary files.
    cleaned: Arc<Mutex<HashSet<PathBuf>>>,
    is_writable: Arc<AtomicBool>,
    cache: Arc<FileCache>,
}

/// The files of an endpoint folder by short key, when the session first found no file with a computed name.
type Folder = HashMap<String, PathBuf>;

/// A cassette file found in a directory.
#[derive(Clone, Debug)]
pub(crate) struct Listed {
    /// The path inside the directory, with slashes.
    pub(crate) name: String,
    /// The key at the end of the file name, if there is one.
    pub(crate) key: Option<RequestKey>,
}

impl DirectoryEngine {
    /// Opens a directory. It is created with the first recording if it does not exist.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            folders: Arc::default(),
            cleaned: Arc::default(),
            is_writable: Arc::default(),
            cache: Arc::default(),
        }
    }

    /// Returns the path of the directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Reads the file of a key and adds it to the cache. Returns `None` if it does not exist.
    fn read(&self, key: &RequestKey, path: &Path) -> Result<Option<Bytes>> {
        let Some((content, state)) = read_file_and_state(path)? else {
            return Ok(None);
        };
        if let Some(state) = state {
            self.cache.put(key, path, state, content.clone());
        }
        Ok(Some(content))
    }

    /// Checks that the directory exists, for commands that would take a wrong name for an empty directory.
    #[cfg(feature = "cli")]
    pub(crate) fn check_exists(&self) -> Result<()> {
        match std::fs::read_dir(&self.root) {
            Ok(_) => Ok(()),
            Err(error) => Err(failed("read", &self.root, error)),
        }
    }

    /// Lists every cassette file below the directory, sorted by name.
    pub(crate) fn list(&self) -> Result<Vec<Listed>> {
        let mut found = Vec::new();
        walk(&self.root, &mut |path| found.push(path)).map_err(|error| failed("read", &self.root, error))?;
        let mut listed: Vec<Listed> = found.iter().filter_map(|path| self.listed(path)).collect();
        listed.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(listed)
    }

    /// Lists the cassettes of a scope, sorted by name.
    #[cfg(feature = "cli")]
    pub(crate) fn list_scope(&self, scope: &crate::key::Scope) -> Result<Vec<Listed>> {
        let mut folder = self.root.clone();
        folder.extend(scope.as_str().split('/').filter(|part| !part.is_empty()));
        let mut found = Vec::new();
        if folder.is_dir() {
            walk(&folder, &mut |path| found.push(path)).map_err(|error| failed("read", &folder, error))?;
        }
        let is_in_scope = |listed: &Listed| listed.key.as_ref().is_some_and(|key| key.scope() == scope);
        let mut listed: Vec<Listed> = found
            .iter()
            .filter_map(|path| self.listed(path))
            .filter(is_in_scope)
            .collect();
        listed.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(listed)
    }

    fn listed(&self, path: &Path) -> Option<Listed> {
        let inside = path.strip_prefix(&self.root).ok()?;
        // A file whose name is not UTF-8 is never found. It is listed, so that a command reports it.
        let names: Vec<_> = inside.iter().map(|name| name.to_string_lossy()).collect();
        let name = names.join("/");
        let key = inside.to_str().and_then(|_| RequestKey::from_file_name(&name));
        layout::is_cassette(&name).then_some(Listed { name, key })
    }

    /// Returns the path of a new recording of this key.
    pub(crate) fn computed_path(&self, key: &RequestKey) -> PathBuf {
        self.folder_of(key)
            .join(format!("{}-{}{EXTENSION}", key.slug(), key.short()))
    }

    fn folder_of(&self, key: &RequestKey) -> PathBuf {
        let mut folder = self.root.clone();
        folder.extend(key.scope().as_str().split('/').filter(|part| !part.is_empty()));
        folder.push(key.endpoint());
        folder
    }

    /// Checks that no folder exists whose name differs only in case from a folder of this key.
    ///
    /// # Errors
    /// [`ErrorKind::Request`]: there is one. On some file systems both would be the same folder.
    fn check_case(&self, key: &RequestKey) -> Result<()> {
        let mut folder = self.root.clone();
        for name in key.scope().as_str().split('/').chain([key.endpoint()]) {
            if name.is_empty() {
                continue;
            }
            let Some(other) = other_case(&folder, name) else {
                if !folder.join(name).exists() {
                    break;
                }
                folder.push(name);
                continue;
            };
            let message = format!(
                "the folder {} differs only in case from {}, which exists",
                folder.join(name).display(),
                folder.join(other).display()
            );
            return Err(Error::new(ErrorKind::Request, message)
                .with_hint("use one spelling of the scope everywhere: on Windows and macOS both would be one folder"));
        }
        Ok(())
    }

    fn folders(&self) -> MutexGuard<'_, HashMap<PathBuf, Arc<Folder>>> {
        self.folders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the file of a key if it does not have the computed name, because a person has renamed it.
    fn renamed(&self, key: &RequestKey) -> Result<Option<PathBuf>> {
        let folder = self.folder_of(key);
        let known = self.folders().get(&folder).cloned();
        let names = match known {
            Some(names) => names,
            None => {
                self.check_case(key)?;
                let names = Arc::new(read_folder(&folder).map_err(|error| failed("read", &folder, error))?);
                self.folders().insert(folder, names.clone());
                names
            }
        };
        Ok(names.get(key.short()).filter(|path| path.exists()).cloned())
    }

    /// Returns the path to which a recording of this key is written: that of the existing file, whatever its name.
    fn path_for(&self, key: &RequestKey, folder: &Path) -> Result<PathBuf> {
        let is_new = self
            .folders()
            .get(folder)
            .is_some_and(|names| !names.contains_key(key.short()));
        let existing = if is_new { None } else { self.find(key)? };
        Ok(existing.unwrap_or_else(|| self.computed_path(key)))
    }

    fn find(&self, key: &RequestKey) -> Result<Option<PathBuf>> {
        let computed = self.computed_path(key);
        if computed.exists() {
            return Ok(Some(computed));
        }
        self.renamed(key)
    }

    fn cleaned(&self) -> MutexGuard<'_, HashSet<PathBuf>> {
        self.cleaned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn body_path(&self, sha256: &str) -> PathBuf {
        self.root.join(BODIES).join(sha256)
    }
}

#[async_trait]
impl CacheEngine for DirectoryEngine {
    // A cassette is a few kilobytes on a local disk. Reading it here is faster than switching to another thread.
    async fn get(&self, key: &RequestKey) -> Result<Option<Bytes>> {
        if let Some(content) = self.cache.get(key) {
            return Ok(Some(content));
        }
        if let Some(content) = self.read(key, &self.computed_path(key))? {
            return Ok(Some(content));
        }
        match self.renamed(key)? {
            Some(path) => self.read(key, &path),
            None => Ok(None),
        }
    }

    async fn set(&self, key: &RequestKey, cassette: Bytes) -> Result<()> {
        let folder = self.folder_of(key);
        let path = self.path_for(key, &folder)?;
        let is_first_write = !self.cleaned().contains(&folder);
        if is_first_write {
            self.check_case(key)?;
            self.cleaned().insert(folder.clone());
            blocking(move || {
                remove_abandoned(&folder);
                Ok(())
            })
            .await?;
        }
        // As with reading, switching to another thread takes longer than writing a few kilobytes.
        if cassette.len() <= SMALL_BYTES {
            return write_file(&path, &cassette);
        }
        blocking(move || write_file(&path, &cassette)).await
    }

    async fn remove(&self, key: &RequestKey) -> Result<()> {
        match self.find(key)? {
            Some(path) => fs::remove_file(&path).map_err(|error| failed("remove", &path, error)),
            None => Ok(()),
        }
    }

    async fn keys(&self) -> Result<Vec<RequestKey>> {
        let engine = self.clone();
        if !self.root.exists() {
            return Ok(Vec::new());
        }
        let listed = blocking(move || engine.list()).await?;
        Ok(listed.into_iter().filter_map(|listed| listed.key).collect())
    }

    async fn clear(&self) -> Result<()> {
        for key in self.keys().await? {
            self.remove(&key).await?;
        }
        let bodies = self.root.join(BODIES);
        blocking(move || match fs::remove_dir_all(&bodies) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", &bodies, error)),
            _ => Ok(()),
        })
        .await
    }

    fn location_of(&self, key: &RequestKey) -> String {
        let path = self.find(key).ok().flatten().unwrap_or_else(|| self.computed_path(key));
        path.display().to_string()
    }

    fn extensions(&self) -> &dyn EngineExtensions {
        self
    }
}

#[async_trait]
impl EngineExtensions for DirectoryEngine {
    /// Returns the content of the file, from which `read_body` decodes the body: it computes the SHA-256 anyway.
    async fn get_body(&self, sha256: &str) -> Result<Option<Bytes>> {
        let path = self.body_path(sha256);
        blocking(move || read_file(&path)).await
    }

    async fn set_body(&self, sha256: &str, body: &Bytes) -> Result<bool> {
        let (path, body, sha256) = (self.body_path(sha256), body.clone(), sha256.to_owned());
        blocking(move || {
            // A damaged body is replaced.
            let stored = read_file(&path).ok().flatten();
            let is_stored = stored.is_some_and(|stored| decode(stored, &sha256).is_some());
            if !is_stored {
                write_file(&path, &encode(&body))?;
            }
            Ok(true)
        })
        .await
    }

    /// Locks a file in the folder for temporary files, so the directory itself contains no lock files.
    async fn lock(&self, key: &RequestKey, ttl: Duration) -> Result<Lock> {
        let temporary = std::env::temp_dir();
        let folder = lock::folder(&temporary).map_err(|error| {
            Error::engine(format!("cannot lock files in {}", temporary.display())).with_source(error)
        })?;
        let path = folder.join(lock::name(&self.root, key));
        let acquire = |takes_over| lock::acquire(&path, ttl, takes_over).map_err(|error| failed("lock", &path, error));
        if let Attempt::Lock(lock) = acquire(false)? {
            return Ok(lock);
        }
        // An owner that has just locked the file sets its time a moment later.
        tokio::time::sleep(MOMENT).await;
        if let Attempt::Lock(lock) = acquire(false)? {
            return Ok(lock);
        }
        tracing::warn!(
            "a process that records {} has not run for {ttl:?}; this one goes on without waiting for it",
            self.location_of(key)
        );
        acquire(true).map(Attempt::into_lock)
    }

    async fn check_writable(&self) -> Result<()> {
        if self.is_writable.load(Ordering::Relaxed) {
            return Ok(());
        }
        let root = self.root.clone();
        blocking(move || check_writable(&root)).await?;
        self.is_writable.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn settings(&self) -> Result<Settings> {
        let path = self.root.join(SETTINGS);
        match read_file(&path)? {
            Some(text) => Settings::from_yaml(&text, &path.display().to_string()),
            None => Ok(Settings::default()),
        }
    }

    async fn get_settings(&self) -> Result<Option<Bytes>> {
        read_file(&self.root.join(SETTINGS))
    }

    async fn set_settings(&self, settings: Bytes) -> Result<()> {
        let path = self.root.join(SETTINGS);
        blocking(move || write_file(&path, &settings)).await
    }

    fn is_committed(&self) -> bool {
        true
    }

    fn directory(&self) -> Option<&Path> {
        Some(&self.root)
    }
}

/// The name of an entry that differs from this name only in case, if there is none with this name.
fn other_case(folder: &Path, name: &str) -> Option<String> {
    let names = fs::read_dir(folder).ok()?.flatten();
    let mut names = names.filter_map(|entry| entry.file_name().into_string().ok());
    let mut other = None;
    if names.any(|found| {
        if found.eq_ignore_ascii_case(name) {
            other = Some(found.clone());
        }
        found == name
    }) {
        return None;
    }
    other
}

/// Splits a file name such as `capital-of-france-3f9a1c2b7d4e8a10.yaml` into slug and short key.
fn slug_and_short_key(file: &str) -> Option<(&str, &str)> {
    let (slug, short) = file.strip_suffix(EXTENSION)?.rsplit_once('-')?;
    is_lower_hex(short, 16).then_some((slug, short))
}

fn read_folder(folder: &Path) -> io::Result<Folder> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Folder::new()),
        Err(error) => return Err(error),
    };
    let mut names = Folder::new();
    for entry in entries {
        let entry = entry?;
        if let Some((_, short)) = entry.file_name().to_str().and_then(slug_and_short_key) {
            names.insert(short.to_owned(), entry.path());
        }
    }
    Ok(names)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(error) => {
            Err(Error::engine("the async runtime stopped before the file operation was done").with_source(error))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_name_contains_slug_and_short_key() {
        assert_eq!(
            slug_and_short_key("capital-of-france-3f9a1c2b7d4e8a10.yaml"),
            Some(("capital-of-france", "3f9a1c2b7d4e8a10"))
        );
        for other in [
            "3f9a1c2b7d4e8a10.yaml",
            "a-3F9A1C2B7D4E8A10.yaml",
            "a-3f9a1c2b.yaml",
            "a-3f9a1c2b7d4e8a10.yml",
        ] {
            assert_eq!(slug_and_short_key(other), None, "{other}");
        }
    }

    #[tokio::test]
    async fn a_file_that_was_edited_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let engine = DirectoryEngine::new(folder.path());
        let key = RequestKey::from_name("chat/a-3f9a1c2b7d4e8a10").unwrap();
        let with_other_name = RequestKey::from_name("chat/b-3f9a1c2b7d4e8a10").unwrap();
        let path = engine.computed_path(&key);
        let read = async || engine.get(&key).await.unwrap();
        engine.set(&key, "one".into()).await.unwrap();
        for text in ["one", "two"] {
            // In place and with the same length: only the time of the change differs.
            fs::write(&path, text).unwrap();
            assert_eq!(read().await.as_deref(), Some(text.as_bytes()));
            // Until the content comes from the cache: two reads return the same memory.
            while cfg!(unix) && read().await.unwrap().as_ptr() != read().await.unwrap().as_ptr() {
                assert_eq!(read().await.as_deref(), Some(text.as_bytes()));
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        let other = engine.computed_path(&with_other_name);
        fs::write(&other, "four").unwrap();
        assert_eq!(
            engine.get(&with_other_name).await.unwrap().as_deref(),
            Some(&b"four"[..])
        );
        fs::remove_file(other).unwrap();
        fs::write(&path, "six").unwrap();
        assert_eq!(read().await.as_deref(), Some(&b"six"[..]));
        fs::remove_file(&path).unwrap();
        assert_eq!(read().await, None);
    }

    #[tokio::test]
    async fn a_folder_that_differs_only_in_case_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let key = |name: &str| RequestKey::from_name(&format!("{name}/chat/a-3f9a1c2b7d4e8a10")).unwrap();
        let engine = DirectoryEngine::new(folder.path());
        engine.set(&key("suite/Weather"), "one".into()).await.unwrap();
        for engine in [&engine, &DirectoryEngine::new(folder.path())] {
            for name in [
                "suite/weather",
                "Suite/Weather",
                "suite/WEATHER/more",
                "suite/Weather/CHAT",
            ] {
                let key = key(name);
                let errors = [
                    engine.get(&key).await.unwrap_err(),
                    engine.set(&key, "two".into()).await.unwrap_err(),
                ];
                for error in errors {
                    assert!(error.message().contains("differs only in case"), "{name}: {error}");
                }
            }
            for name in ["suite/Weather", "suite/weathers", "suite"] {
                engine.get(&key(name)).await.unwrap();
                engine.set(&key(name), "two".into()).await.unwrap();
            }
        }
    }

    #[test]
    fn only_files_that_can_be_cassettes_are_listed() {
        let folder = tempfile::tempdir().unwrap();
        for name in [
            "settings.yaml",
            "bodies/00",
            "chat/a-3f9a1c2b7d4e8a10.yaml",
            "chat/.mistral-cassette-x.tmp",
            "chat/notes.txt",
            ".git/x.yaml",
            "one/two/chat/renamed.yaml",
        ] {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let listed = DirectoryEngine::new(folder.path()).list().unwrap();
        let names: Vec<&str> = listed.iter().map(|listed| listed.name.as_str()).collect();
        assert_eq!(names, ["chat/a-3f9a1c2b7d4e8a10.yaml", "one/two/chat/renamed.yaml"]);
        assert_eq!(listed[0].key.as_ref().unwrap().name(), "chat/a-3f9a1c2b7d4e8a10");
        assert!(listed[1].key.is_none());
    }
}
