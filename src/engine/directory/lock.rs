//! Locks between the processes of one user on one machine: locked files in a private folder in the one for temporary files.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;

use super::heartbeat;
use crate::engine::{Lease, Lock};
use crate::error::Result;
use crate::hash::sha256_hex;
use crate::key::RequestKey;

const FOLDER: &str = "mistral-cassette-locks";

/// How many times within the TTL an owner updates the time of its file.
const BEATS: u32 = 3;

/// Returns the name of the lock of a key. It is the same for every spelling of the path of the directory, and whether or
/// not the directory exists.
pub(super) fn name(directory: &Path, key: &RequestKey) -> String {
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
    format!("{name}.lock")
}

/// Returns the folder of the locks of this user inside the folder for temporary files. It is created if it does not exist.
///
/// # Errors
/// It cannot be created, or other users may write to it.
#[cfg(unix)]
pub(super) fn folder(temporary: &Path) -> io::Result<PathBuf> {
    use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};

    static USER: OnceLock<u32> = OnceLock::new();
    let user = match USER.get() {
        Some(user) => *user,
        None => {
            fs::create_dir_all(temporary)?;
            // A new file belongs to the user of this process.
            let new = tempfile::tempfile_in(temporary)?.metadata()?.uid();
            *USER.get_or_init(|| new)
        }
    };
    let folder = temporary.join(format!("{FOLDER}-{user}"));
    match fs::DirBuilder::new().mode(0o700).create(&folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    // The metadata of a link, not of its target.
    let found = fs::symlink_metadata(&folder)?;
    let is_private = found.is_dir() && found.uid() == user && found.mode() & 0o077 == 0;
    if is_private {
        return Ok(folder);
    }
    Err(io::Error::new(
        io::ErrorKind::PermissionDenied,
        format!("{} is not a folder that only its owner may use", folder.display()),
    ))
}

/// The folder for temporary files belongs to the user on these systems.
#[cfg(not(unix))]
pub(super) fn folder(temporary: &Path) -> io::Result<PathBuf> {
    let folder = temporary.join(FOLDER);
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// The result of [`acquire`].
#[derive(Debug)]
pub(super) enum Attempt {
    Lock(Lock),
    /// Another process has the lock, and has not updated the time of the file for longer than the TTL.
    Suspended,
}

impl Attempt {
    pub(super) fn into_lock(self) -> Lock {
        match self {
            Self::Lock(lock) => lock,
            Self::Suspended => Lock::Held,
        }
    }
}

/// Locks the file at a path. The system releases the lock when its process ends. `takes_over` replaces the lock of a
/// process that is suspended.
///
/// # Errors
/// The file cannot be created or locked.
pub(super) fn acquire(path: &Path, ttl: Duration, takes_over: bool) -> io::Result<Attempt> {
    loop {
        if fs::symlink_metadata(path).is_ok_and(|found| !found.is_file()) {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "it is not a regular file",
            ));
        }
        let file = fs::OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) if !is_suspended(&file, ttl) => {
                return Ok(Attempt::Lock(Lock::Held));
            }
            Err(fs::TryLockError::WouldBlock) if !takes_over => return Ok(Attempt::Suspended),
            Err(fs::TryLockError::WouldBlock) => {
                // The owner still has its file, at no path.
                if is_at(&file, path) {
                    fs::remove_file(path)?;
                }
                continue;
            }
            Err(fs::TryLockError::Error(error)) => return Err(error),
        }
        // If the previous owner has removed the file after it was opened here, another process can create and lock a new
        // file at this path. Then this lock is useless.
        if is_at(&file, path) {
            let file = Arc::new(file);
            heartbeat::start(&file, ttl / BEATS);
            let path = path.to_owned();
            return Ok(Attempt::Lock(Lock::Acquired(Box::new(FileLease { file, path }))));
        }
    }
}

/// Returns whether the owner of a locked file has not updated its time for longer than the TTL.
fn is_suspended(file: &fs::File, ttl: Duration) -> bool {
    let Ok(shown) = file.metadata().and_then(|metadata| metadata.modified()) else {
        return false;
    };
    // A time in the future means that the clock was set back. An owner that runs soon sets the time again.
    let age = SystemTime::now()
        .duration_since(shown)
        .unwrap_or_else(|future| future.duration());
    age > ttl
}

#[cfg(unix)]
fn is_at(file: &fs::File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let identity = |metadata: &fs::Metadata| (metadata.dev(), metadata.ino());
    match (file.metadata(), fs::symlink_metadata(path)) {
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
    file: Arc<fs::File>,
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
        // Another process may have taken the lock over. Errors do not matter: closing the file unlocks it.
        if is_at(&self.file, &self.path) {
            let _ = fs::remove_file(&self.path);
        }
        let _ = self.file.unlock();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_has_the_same_name_before_and_after_its_directory_is_created() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("new/cassettes");
        let key = RequestKey::from_name("chat/a-3f9a1c2b7d4e8a10").unwrap();
        let before = name(&root, &key);
        fs::create_dir_all(&root).unwrap();
        assert_eq!(name(&root, &key), before);
        assert_eq!(name(&folder.path().join("new/./cassettes/"), &key), before);
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(&root, folder.path().join("link")).unwrap();
            assert_eq!(name(&folder.path().join("link"), &key), before);
        }
    }

    #[cfg(unix)]
    #[test]
    fn the_folder_of_the_locks_is_private_and_no_link_is_followed() {
        use std::os::unix::fs::{PermissionsExt as _, symlink};

        let temporary = tempfile::tempdir().unwrap();
        let made = folder(temporary.path()).unwrap();
        assert_eq!(fs::metadata(&made).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(folder(temporary.path()).unwrap(), made);
        let elsewhere = temporary.path().join("elsewhere");
        let minute = Duration::from_secs(60);
        for target in ["missing", "existing"] {
            fs::write(temporary.path().join("existing"), "").unwrap();
            let target = temporary.path().join(target);
            let lock = made.join(format!("{}.lock", target.display().to_string().len()));
            symlink(&target, &lock).unwrap();
            assert!(acquire(&lock, minute, true).is_err());
            assert_eq!(target.exists(), target.ends_with("existing"));
        }
        fs::set_permissions(&made, fs::Permissions::from_mode(0o755)).unwrap();
        assert!(folder(temporary.path()).is_err());
        fs::set_permissions(&made, fs::Permissions::from_mode(0o700)).unwrap();
        fs::rename(&made, &elsewhere).unwrap();
        symlink(&elsewhere, &made).unwrap();
        assert!(folder(temporary.path()).is_err());
    }

    #[test]
    fn the_lock_of_an_owner_that_does_not_run_is_taken_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.lock");
        let (minute, day) = (Duration::from_secs(60), Duration::from_secs(86_400));
        let suspended = acquire(&path, minute, false).unwrap();
        assert!(matches!(
            acquire(&path, minute, true).unwrap(),
            Attempt::Lock(Lock::Held)
        ));
        // Only the owner sets this time.
        let set_time = |time| fs::File::open(&path).unwrap().set_modified(time).unwrap();
        set_time(SystemTime::now() - day);
        assert!(matches!(acquire(&path, minute, false).unwrap(), Attempt::Suspended));
        let Attempt::Lock(Lock::Acquired(lease)) = acquire(&path, minute, true).unwrap() else {
            panic!("it is not taken over");
        };
        // An owner that goes on does not remove the lock of the other one.
        drop(suspended);
        assert!(matches!(
            acquire(&path, minute, true).unwrap(),
            Attempt::Lock(Lock::Held)
        ));
        drop(lease);
        assert!(!path.exists());
    }
}
