//! Locks between the processes of one user on one machine: locked files in the folder for temporary files.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use async_trait::async_trait;

use crate::engine::{Lease, Lock};
use crate::error::Result;
use crate::hash::sha256_hex;
use crate::key::RequestKey;

const FOLDER: &str = "mistral-cassette-locks";

/// Returns the path of the lock of a key. It is the same for every spelling of the path of the directory, and whether or
/// not the directory exists.
pub(super) fn path(directory: &Path, key: &RequestKey) -> PathBuf {
    let absolute = std::path::absolute(directory).unwrap_or_else(|_| directory.to_owned());
    let mut canonical = absolute.clone();
    for ancestor in absolute.ancestors() {
        if let (Ok(existing), Ok(rest)) = (fs::canonicalize(ancestor), absolute.strip_prefix(ancestor)) {
            canonical = existing;
            canonical.extend(rest);
            break;
        }
    }
    let name = sha256_hex(format!("{}\n{}", canonical.display(), key.id()).as_bytes());
    std::env::temp_dir().join(FOLDER).join(format!("{name}.lock"))
}

/// Locks the file at a path. The system releases the lock when its process ends.
///
/// # Errors
/// The file cannot be created or locked.
pub(super) fn acquire(path: &Path) -> io::Result<Lock> {
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
        // If the previous owner has removed the file after it was opened here, another process can create and lock a new
        // file at this path. Then this lock is useless.
        if is_at(&file, path) {
            let path = path.to_owned();
            return Ok(Lock::Acquired(Box::new(FileLease { file, path })));
        }
    }
}

#[cfg(unix)]
fn is_at(file: &fs::File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let identity = |metadata: &fs::Metadata| (metadata.dev(), metadata.ino());
    match (file.metadata(), fs::metadata(path)) {
        (Ok(locked), Ok(existing)) => identity(&locked) == identity(&existing),
        _ => false,
    }
}

/// On these systems an open file cannot be replaced.
#[cfg(not(unix))]
fn is_at(_file: &fs::File, path: &Path) -> bool {
    path.exists()
}

/// A locked file. The owner removes it before unlocking it, so that no files remain.
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
        // Errors do not matter: closing the file unlocks it.
        let _ = fs::remove_file(&self.path);
        let _ = self.file.unlock();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_has_the_same_path_before_and_after_its_directory_is_created() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("new/cassettes");
        let key = RequestKey::from_name("chat/a-3f9a1c2b7d4e8a10").unwrap();
        let before = path(&root, &key);
        fs::create_dir_all(&root).unwrap();
        assert_eq!(path(&root, &key), before);
        assert_eq!(path(&folder.path().join("new/./cassettes/"), &key), before);
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(&root, folder.path().join("link")).unwrap();
            assert_eq!(path(&folder.path().join("link"), &key), before);
        }
    }
}
