//! Cassettes as files in a directory, to be committed to git.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;

use super::layout::{self, BODIES, EXTENSION, SETTINGS};
use super::{CacheEngine, EngineExtensions, Lease, Lock};
use crate::error::{Error, ErrorKind, Result};
use crate::hash::{is_lower_hex, sha256_hex};
use crate::key::RequestKey;
use crate::settings::Settings;

const TEMPORARY_PREFIX: &str = ".mistral-cassette-";
const TEMPORARY_SUFFIX: &str = ".tmp";
const LOCKS: &str = "mistral-cassette-locks";

/// How many seconds a file must have been left alone before its state is taken for its content.
#[cfg(unix)]
const TICK: i64 = 2;

/// How many bytes of files that were read are kept.
const KEPT_BYTES: usize = 16 << 20;

/// A larger cassette is written by another thread.
const SMALL_BYTES: usize = 64 * 1024;

/// A temporary file this old belongs to no recording that is still going on.
const ABANDONED: Duration = Duration::from_secs(600);

/// Keeps each cassette in a file of its own.
///
/// ```text
/// cassettes/
///   settings.yaml                                                optional, see Settings
///   chat-completions/capital-of-france-3f9a1c2b7d4e8a10.yaml     <endpoint>/<slug>-<first 16 digits of the key>
///   weather_agent/chat-completions/…                             a scope: a folder of its own
///   bodies/<sha256>                                              large bodies, once each
/// ```
///
/// A file is found by its computed name, and when a person renamed it (inside its folder), by the `-<key>.yaml` at its
/// end; renaming takes effect with the next session. Saving writes one new file and renames it into place, whatever the
/// directory holds, so any number of processes may record at once and a reader never sees half a file.
#[derive(Clone, Debug)]
pub struct DirectoryEngine {
    root: PathBuf,
    folders: Arc<Mutex<HashMap<PathBuf, Arc<Folder>>>>,
    /// The folders that this session has written to, and cleaned of what killed processes left.
    swept: Arc<Mutex<HashSet<PathBuf>>>,
    is_writable: Arc<AtomicBool>,
    read: Arc<Mutex<Read>>,
}

/// Files that were read, as they were.
#[derive(Default, Debug)]
struct Read {
    files: HashMap<RequestKey, Held>,
    bytes: usize,
}

/// A file and its content, as long as it is in this state.
#[derive(Clone, Debug)]
struct Held {
    path: Arc<Path>,
    state: State,
    content: Bytes,
}

/// What a file system tells of a file, and cannot be the same when its content is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    device: u64,
    file: u64,
    length: u64,
    /// Seconds and nanoseconds: set by the system alone.
    changed: (i64, i64),
}

impl State {
    /// `None` where it cannot be told, or where a change just now might leave it as it is: clocks of file systems tick in
    /// up to two seconds.
    #[cfg(unix)]
    fn of(file: &fs::Metadata, now: SystemTime) -> Option<Self> {
        use std::os::unix::fs::MetadataExt as _;
        let now = now.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs();
        (file.ctime() + TICK < i64::try_from(now).ok()?).then(|| Self {
            device: file.dev(),
            file: file.ino(),
            length: file.len(),
            changed: (file.ctime(), file.ctime_nsec()),
        })
    }

    #[cfg(not(unix))]
    fn of(_file: &fs::Metadata, _now: SystemTime) -> Option<Self> {
        None
    }
}

/// The files of one endpoint folder, by short key, as they were when the session first missed a name.
type Folder = HashMap<String, PathBuf>;

/// A cassette file found in a directory.
#[derive(Clone, Debug)]
pub(crate) struct Listed {
    /// The path inside the directory, with slashes.
    pub(crate) name: String,
    /// What the file name says, when it ends in a key.
    pub(crate) key: Option<RequestKey>,
}

impl DirectoryEngine {
    /// Cassettes in this directory. It need not exist: the first recording makes it.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            folders: Arc::default(),
            swept: Arc::default(),
            is_writable: Arc::default(),
            read: Arc::default(),
        }
    }

    /// What is in the file of a key, when it is still what was read before.
    fn held(&self, key: &RequestKey) -> Option<Bytes> {
        // Two files may have a short key in common.
        let is_of = |of: &RequestKey| of.slug() == key.slug() && of.endpoint() == key.endpoint();
        let held = {
            let read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
            let known = read.files.get_key_value(key).filter(|(of, _)| is_of(of));
            known?.1.clone()
        };
        let file = fs::metadata(&held.path).ok()?;
        (State::of(&file, SystemTime::now()) == Some(held.state)).then_some(held.content)
    }

    /// The bytes of a file of this key; `None` when it does not exist.
    fn read(&self, key: &RequestKey, path: &Path) -> Result<Option<Bytes>> {
        let Some((content, state)) = read_file_and_state(path)? else {
            return Ok(None);
        };
        if let Some(state) = state {
            let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
            if read.bytes + content.len() > KEPT_BYTES {
                *read = Read::default();
            }
            read.bytes += content.len();
            let (path, content) = (path.into(), content.clone());
            // Another key of the same hash gives way, with its name.
            read.files.remove(key);
            read.files.insert(key.clone(), Held { path, state, content });
        }
        Ok(Some(content))
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Every cassette file below the directory, sorted by name.
    pub(crate) fn list(&self) -> Result<Vec<Listed>> {
        let mut found = Vec::new();
        walk(&self.root, &mut |path| found.push(path)).map_err(|error| failed("read", &self.root, error))?;
        let mut listed: Vec<Listed> = found.iter().filter_map(|path| self.listed(path)).collect();
        listed.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(listed)
    }

    fn listed(&self, path: &Path) -> Option<Listed> {
        let inside = path.strip_prefix(&self.root).ok()?;
        let folders: Vec<&str> = inside
            .parent()?
            .iter()
            .map(|folder| folder.to_str())
            .collect::<Option<_>>()?;
        let file = inside.file_name()?.to_str()?;
        let name = folders.iter().chain([&file]).copied().collect::<Vec<_>>().join("/");
        let key = RequestKey::from_file_name(&name);
        layout::is_cassette(&name).then_some(Listed { name, key })
    }

    /// The path that a new recording of this key gets.
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

    /// The file of a key under another name than the computed one.
    fn renamed(&self, key: &RequestKey) -> Result<Option<PathBuf>> {
        let folder = self.folder_of(key);
        let known = self
            .folders
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&folder)
            .cloned();
        let names = match known {
            Some(names) => names,
            None => {
                let names = Arc::new(read_folder(&folder).map_err(|error| failed("read", &folder, error))?);
                self.folders
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .insert(folder, names.clone());
                names
            }
        };
        Ok(names.get(key.short()).filter(|path| path.exists()).cloned())
    }

    /// Where a recording of this key is written: over the one that is there, whatever its name.
    fn path_for(&self, key: &RequestKey, folder: &Path) -> Result<PathBuf> {
        let is_new = {
            let folders = self.folders.lock().unwrap_or_else(PoisonError::into_inner);
            folders
                .get(folder)
                .is_some_and(|names| !names.contains_key(key.short()))
        };
        let there = if is_new { None } else { self.find(key)? };
        Ok(there.unwrap_or_else(|| self.computed_path(key)))
    }

    fn find(&self, key: &RequestKey) -> Result<Option<PathBuf>> {
        let computed = self.computed_path(key);
        if computed.exists() {
            return Ok(Some(computed));
        }
        self.renamed(key)
    }

    fn lock_path(&self, key: &RequestKey) -> PathBuf {
        // The same for every way to write the path of the directory; which need not exist yet, and must have the same name
        // when it does.
        let root = std::path::absolute(&self.root).unwrap_or_else(|_| self.root.clone());
        let mut real = root.clone();
        for there in root.ancestors() {
            if let (Ok(canonical), Ok(rest)) = (fs::canonicalize(there), root.strip_prefix(there)) {
                real = canonical;
                real.extend(rest);
                break;
            }
        }
        let name = sha256_hex(format!("{}\n{}", real.display(), key.id()).as_bytes());
        std::env::temp_dir().join(LOCKS).join(format!("{name}.lock"))
    }

    fn body_path(&self, sha256: &str) -> PathBuf {
        self.root.join(BODIES).join(sha256)
    }
}

#[async_trait]
impl CacheEngine for DirectoryEngine {
    // A cassette is a few kilobytes on a local disk: reading it here takes less time than a hop to another thread.
    async fn get(&self, key: &RequestKey) -> Result<Option<Bytes>> {
        if let Some(content) = self.held(key) {
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
        let is_new = self
            .swept
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(folder.clone());
        if is_new {
            blocking(move || {
                sweep(&folder);
                Ok(())
            })
            .await?;
        }
        // As with reading: a hop takes longer than a few kilobytes do.
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
    async fn get_body(&self, sha256: &str) -> Result<Option<Bytes>> {
        let path = self.body_path(sha256);
        blocking(move || read_file(&path)).await
    }

    async fn set_body(&self, sha256: &str, body: &Bytes) -> Result<bool> {
        let (path, body) = (self.body_path(sha256), body.clone());
        blocking(move || {
            // One that was damaged is written again.
            let is_there = read_file(&path).is_ok_and(|kept| kept.is_some_and(|kept| kept == body));
            if !is_there {
                write_file(&path, &body)?;
            }
            Ok(true)
        })
        .await
    }

    /// A lock on a file in the folder for temporary files, which the system frees when its process ends: locks hold
    /// between the processes of one user on one machine, and the directory itself stays free of them.
    async fn lock(&self, key: &RequestKey, _life: Duration) -> Result<Lock> {
        let path = self.lock_path(key);
        lock_file(&path).map_err(|error| failed("lock", &path, error))
    }

    async fn check_writable(&self) -> Result<()> {
        if self.is_writable.load(Ordering::Relaxed) {
            return Ok(());
        }
        let root = self.root.clone();
        blocking(move || {
            // The directory may not exist yet: then the nearest folder above it must take it.
            let nearest = root
                .ancestors()
                .map(or_here)
                .find(|folder| folder.exists())
                .unwrap_or(Path::new("."));
            if !nearest.is_dir() {
                return Err(failed("write to", nearest, io::ErrorKind::NotADirectory.into()));
            }
            tempfile::tempfile_in(nearest)
                .map(drop)
                .map_err(|error| failed("write to", nearest, error))
        })
        .await?;
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

/// A locked file. Whoever holds it removes it before it is freed, so that none are left.
struct FileLease {
    file: fs::File,
    path: PathBuf,
}

#[async_trait]
impl Lease for FileLease {
    fn expires(&self) -> bool {
        false
    }

    async fn release(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

impl Drop for FileLease {
    fn drop(&mut self) {
        // Closing the file frees it in any case.
        let _ = fs::remove_file(&self.path);
        let _ = self.file.unlock();
    }
}

fn lock_file(path: &Path) -> io::Result<Lock> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    loop {
        let file = fs::OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Ok(Lock::Held),
            Err(fs::TryLockError::Error(error)) => return Err(error),
        }
        // Its holder may have removed it between the opening and the locking: then the lock is on no file of this name.
        if is_at(&file, path) {
            let path = path.to_owned();
            return Ok(Lock::Acquired(Box::new(FileLease { file, path })));
        }
    }
}

#[cfg(unix)]
fn is_at(file: &fs::File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let number = |meta: &fs::Metadata| (meta.dev(), meta.ino());
    match (file.metadata(), fs::metadata(path)) {
        (Ok(held), Ok(there)) => number(&held) == number(&there),
        _ => false,
    }
}

/// A file that is open cannot be replaced there.
#[cfg(not(unix))]
fn is_at(_file: &fs::File, path: &Path) -> bool {
    path.exists()
}

fn or_here(folder: &Path) -> &Path {
    if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    }
}

/// Slug and key digits of a file name: `capital-of-france-3f9a1c2b7d4e8a10.yaml`.
fn short_key_of(file: &str) -> Option<(&str, &str)> {
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
        if let Some((_, short)) = entry.file_name().to_str().and_then(short_key_of) {
            names.insert(short.to_owned(), entry.path());
        }
    }
    Ok(names)
}

fn walk(folder: &Path, found: &mut impl FnMut(PathBuf)) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        match entry.file_type()? {
            _ if hidden => {}
            kind if kind.is_dir() => walk(&entry.path(), found)?,
            _ => found(entry.path()),
        }
    }
    Ok(())
}

/// The bytes of a plain file; `None` when it does not exist.
pub(crate) fn read_file(path: &Path) -> Result<Option<Bytes>> {
    Ok(read_file_and_state(path)?.map(|(bytes, _)| bytes))
}

/// As [`read_file`], with its state before it was read: what has changed since is seen the next time.
fn read_file_and_state(path: &Path) -> Result<Option<(Bytes, Option<State>)>> {
    let read = || {
        let mut file = fs::File::open(path)?;
        let about = file.metadata()?;
        if !about.is_file() && !about.is_dir() {
            // A link may lead to a device, which has no end.
            return Err(io::Error::other("it is no plain file"));
        }
        let mut bytes = Vec::with_capacity(usize::try_from(about.len()).unwrap_or_default());
        file.read_to_end(&mut bytes)?;
        Ok::<_, io::Error>((bytes.into(), State::of(&about, SystemTime::now())))
    };
    match read() {
        Ok(read) => Ok(Some(read)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("read", path, error)),
    }
}

/// Writes a file beside the old one and renames it into place.
pub(crate) fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = path.parent().map_or(Path::new("."), or_here);
    let mut builder = tempfile::Builder::new();
    builder.prefix(TEMPORARY_PREFIX).suffix(TEMPORARY_SUFFIX);
    #[cfg(unix)]
    {
        // As any new file, what the umask leaves of this.
        use std::os::unix::fs::PermissionsExt as _;
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    let mut made = builder.tempfile_in(folder);
    if made.is_err() && !folder.is_dir() {
        fs::create_dir_all(folder).map_err(|error| failed("create", folder, error))?;
        made = builder.tempfile_in(folder);
    }
    let mut file = made.map_err(|error| failed("write to", folder, error))?;
    file.write_all(bytes).map_err(|error| failed("write", path, error))?;
    file.persist(path).map_err(|error| failed("write", path, error.error))?;
    Ok(())
}

/// Removes what a process that was killed while it wrote has left behind.
fn sweep(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let is_temporary = name
            .to_str()
            .is_some_and(|name| name.starts_with(TEMPORARY_PREFIX) && name.ends_with(TEMPORARY_SUFFIX));
        if !is_temporary {
            continue;
        }
        let age = entry
            .metadata()
            .and_then(|meta| meta.modified())
            .map(|time| SystemTime::now().duration_since(time));
        if matches!(age, Ok(Ok(age)) if age > ABANDONED) {
            // Another process may have been quicker.
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn failed(what: &str, path: &Path, error: io::Error) -> Error {
    let place = path.display();
    let message = match error.kind() {
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
            format!("cannot {what} {place}: a file stands where a directory should be")
        }
        io::ErrorKind::NotFound => format!("cannot {what} {place}: it does not exist"),
        _ => format!("cannot {what} {place}: {error}"),
    };
    Error::new(ErrorKind::Engine, message).with_source(error)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(error) => Err(Error::engine("the runtime stopped before the file was written").with_source(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_name_says_its_slug_and_its_key() {
        assert_eq!(
            short_key_of("capital-of-france-3f9a1c2b7d4e8a10.yaml"),
            Some(("capital-of-france", "3f9a1c2b7d4e8a10"))
        );
        for other in [
            "3f9a1c2b7d4e8a10.yaml",
            "a-3F9A1C2B7D4E8A10.yaml",
            "a-3f9a1c2b.yaml",
            "a-3f9a1c2b7d4e8a10.yml",
        ] {
            assert_eq!(short_key_of(other), None, "{other}");
        }
    }

    /// A session may read a file from memory; it must not when somebody has edited it.
    #[tokio::test]
    async fn a_file_that_was_edited_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let engine = DirectoryEngine::new(folder.path());
        let key = RequestKey::from_name("chat/a-3f9a1c2b7d4e8a10").unwrap();
        let of_another_name = RequestKey::from_name("chat/b-3f9a1c2b7d4e8a10").unwrap();
        let path = engine.computed_path(&key);
        let read = async || engine.get(&key).await.unwrap();
        engine.set(&key, "one".into()).await.unwrap();
        for text in ["one", "two"] {
            // In place and of the same length: nothing but the time of the change tells.
            fs::write(&path, text).unwrap();
            assert_eq!(read().await.as_deref(), Some(text.as_bytes()));
            // Until it comes from memory: the same bytes at the same place, while both are held.
            while cfg!(unix) && read().await.unwrap().as_ptr() != read().await.unwrap().as_ptr() {
                assert_eq!(read().await.as_deref(), Some(text.as_bytes()));
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        let other = engine.computed_path(&of_another_name);
        fs::write(&other, "four").unwrap();
        assert_eq!(
            engine.get(&of_another_name).await.unwrap().as_deref(),
            Some(&b"four"[..])
        );
        fs::remove_file(other).unwrap();
        fs::write(&path, "six").unwrap();
        assert_eq!(read().await.as_deref(), Some(&b"six"[..]));
        fs::remove_file(&path).unwrap();
        assert_eq!(read().await, None);
    }

    #[test]
    fn listed_is_what_can_be_a_cassette() {
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

    #[test]
    fn a_lock_has_the_same_name_before_and_after_its_directory_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("new/cassettes");
        let key = RequestKey::from_name("chat/a-3f9a1c2b7d4e8a10").unwrap();
        let path = |root: &Path| DirectoryEngine::new(root).lock_path(&key);
        let before = path(&root);
        fs::create_dir_all(&root).unwrap();
        assert_eq!(path(&root), before);
        assert_eq!(path(&folder.path().join("new/./cassettes/")), before);
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(&root, folder.path().join("link")).unwrap();
            assert_eq!(path(&folder.path().join("link")), before);
        }
    }

    #[test]
    fn what_killed_processes_left_is_swept_when_it_is_old() {
        let folder = tempfile::tempdir().unwrap();
        let left = |name: &str, age: Duration| {
            let path = folder.path().join(name);
            let file = fs::File::create(&path).unwrap();
            file.set_modified(SystemTime::now() - age).unwrap();
            path
        };
        let old = left(".mistral-cassette-old.tmp", ABANDONED * 2);
        let new = left(".mistral-cassette-new.tmp", Duration::ZERO);
        let other = left("other.tmp", ABANDONED * 2);
        sweep(folder.path());
        assert_eq!((old.exists(), new.exists(), other.exists()), (false, true, true));
    }
}
