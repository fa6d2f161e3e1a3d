//! Keeps the content of files in memory as long as they are unchanged on disk.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;

use crate::engine::sized_lru::SizedLru;
use crate::key::RequestKey;

/// The most bytes of content in memory, unless a single file is larger.
const MAX_BYTES: usize = 16 << 20;

/// How many seconds must have passed since the last change of a file before its state identifies its content. The clocks
/// of file systems have a resolution of up to two seconds.
#[cfg(unix)]
const CLOCK_RESOLUTION: i64 = 2;

/// The content of files that are unchanged. The least recently used files are removed first.
#[derive(Debug)]
pub(super) struct FileCache(Mutex<SizedLru<CachedFile>>);

/// The content of a file in a certain state.
#[derive(Clone, Debug)]
struct CachedFile {
    path: Arc<Path>,
    state: FileState,
    content: Bytes,
}

/// Metadata of a file that differs whenever its content does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileState {
    device: u64,
    file: u64,
    length: u64,
    /// Seconds and nanoseconds of the last change. Only the system sets it.
    changed: (i64, i64),
}

impl FileState {
    /// Returns the state, or `None` if it is not available or if a change right now might not alter it.
    #[cfg(unix)]
    pub(super) fn of(file: &fs::Metadata, now: SystemTime) -> Option<Self> {
        use std::os::unix::fs::MetadataExt as _;
        let now = now.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs();
        (file.ctime() + CLOCK_RESOLUTION < i64::try_from(now).ok()?).then(|| Self {
            device: file.dev(),
            file: file.ino(),
            length: file.len(),
            changed: (file.ctime(), file.ctime_nsec()),
        })
    }

    #[cfg(not(unix))]
    pub(super) fn of(_file: &fs::Metadata, _now: SystemTime) -> Option<Self> {
        None
    }
}

impl Default for FileCache {
    fn default() -> Self {
        Self(Mutex::new(SizedLru::new(MAX_BYTES)))
    }
}

impl FileCache {
    fn files(&self) -> MutexGuard<'_, SizedLru<CachedFile>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the content of the file of a key if the file is unchanged.
    pub(super) fn get(&self, key: &RequestKey) -> Option<Bytes> {
        // Keys with the same hash are equal, but their files have different names.
        let has_name_of = |cached: &RequestKey| cached.slug() == key.slug() && cached.endpoint() == key.endpoint();
        let cached = {
            let mut files = self.files();
            let (_, cached) = files.get_key_value(key).filter(|(cached, _)| has_name_of(cached))?;
            cached.clone()
        };
        let file = fs::metadata(&cached.path).ok()?;
        (FileState::of(&file, SystemTime::now()) == Some(cached.state)).then_some(cached.content)
    }

    /// Adds the content of the file of a key.
    pub(super) fn put(&self, key: &RequestKey, path: &Path, state: FileState, content: Bytes) {
        let (path, bytes) = (path.into(), content.len());
        self.files()
            .put(key.clone(), CachedFile { path, state, content }, bytes);
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_files_are_removed_first() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "").unwrap();
        let later = SystemTime::now() + std::time::Duration::from_secs(10);
        let state = FileState::of(&fs::metadata(&path).unwrap(), later).unwrap();
        let key = |name: &str| RequestKey::from_name(&format!("chat/{name}-3f9a1c2b7d4e8a1{name}")).unwrap();
        let cache = FileCache::default();
        let third = Bytes::from(vec![0; MAX_BYTES / 3]);
        for name in ["1", "2", "3"] {
            cache.put(&key(name), &path, state, third.clone());
        }
        // The state of a file that was just written is not available, but looking it up counts as a use.
        assert_eq!(cache.get(&key("1")), None);
        cache.put(&key("4"), &path, state, third.clone());
        let files = cache.files();
        let mut names: Vec<&str> = files.keys().map(RequestKey::slug).collect();
        names.sort();
        assert_eq!((names, files.bytes()), (vec!["1", "3", "4"], third.len() * 3));
    }
}
