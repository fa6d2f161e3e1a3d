//! Reads and writes files.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use super::cache::FileState;
use crate::error::{Error, Result};

const TEMPORARY_PREFIX: &str = ".mistral-cassette-";
const TEMPORARY_SUFFIX: &str = ".tmp";

/// A temporary file of this age belongs to a process that has ended.
const ABANDONED: Duration = Duration::from_secs(600);

/// Reads a regular file. Returns `None` if it does not exist.
///
/// # Errors
/// [`Error::engine`]: the file cannot be read.
pub(crate) fn read_file(path: &Path) -> Result<Option<Bytes>> {
    Ok(read_file_and_state(path)?.map(|(bytes, _)| bytes))
}

/// Reads a file like [`read_file`], and its state before that, so that a change while it is read is detected later.
pub(super) fn read_file_and_state(path: &Path) -> Result<Option<(Bytes, Option<FileState>)>> {
    let read = || {
        let mut file = fs::File::open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() && !metadata.is_dir() {
            // A link may lead to a device, which has no end.
            return Err(io::Error::other("it is not a regular file"));
        }
        let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or_default());
        file.read_to_end(&mut bytes)?;
        Ok::<_, io::Error>((bytes.into(), FileState::of(&metadata, SystemTime::now())))
    };
    match read() {
        Ok(read) => Ok(Some(read)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("read", path, error)),
    }
}

/// Writes a new file and renames it to its path, so that a reader never sees an incomplete file.
///
/// # Errors
/// [`Error::engine`]: the file cannot be written.
pub(crate) fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    write_file_with(path, |file| {
        file.write_all(bytes).map_err(|error| failed("write", path, error))
    })
}

/// Does the same with a file that `write` writes. After an error of `write`, nothing is left.
///
/// # Errors
/// Also those of `write`.
pub(crate) fn write_file_with<T>(path: &Path, write: impl FnOnce(&mut fs::File) -> Result<T>) -> Result<T> {
    let folder = folder_of(path);
    let mut builder = tempfile::Builder::new();
    builder.prefix(TEMPORARY_PREFIX).suffix(TEMPORARY_SUFFIX);
    #[cfg(unix)]
    {
        // The permissions of any new file; the system applies the umask.
        use std::os::unix::fs::PermissionsExt as _;
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    let mut created = builder.tempfile_in(folder);
    if created.is_err() && !folder.is_dir() {
        fs::create_dir_all(folder).map_err(|error| failed("create", folder, error))?;
        created = builder.tempfile_in(folder);
    }
    let mut file = created.map_err(|error| failed("write to", folder, error))?;
    let written = write(file.as_file_mut())?;
    file.persist(path).map_err(|error| failed("write", path, error.error))?;
    Ok(written)
}

/// Checks that files can be created in a directory, or in its nearest existing ancestor if it does not exist.
///
/// # Errors
/// [`Error::engine`]: they cannot.
pub(super) fn check_writable(directory: &Path) -> Result<()> {
    let nearest = directory
        .ancestors()
        .map(or_current)
        .find(|folder| folder.exists())
        .unwrap_or(Path::new("."));
    if !nearest.is_dir() {
        return Err(failed("write to", nearest, io::ErrorKind::NotADirectory.into()));
    }
    tempfile::tempfile_in(nearest)
        .map(drop)
        .map_err(|error| failed("write to", nearest, error))
}

/// Passes every file below a folder to `found`, except hidden ones.
pub(super) fn walk(folder: &Path, found: &mut impl FnMut(PathBuf)) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let is_hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        match entry.file_type()? {
            _ if is_hidden => {}
            kind if kind.is_dir() => walk(&entry.path(), found)?,
            // Opening a named pipe would wait for another process.
            kind if kind.is_file() || kind.is_symlink() => found(entry.path()),
            _ => {}
        }
    }
    Ok(())
}

/// Removes temporary files of processes that were killed while they wrote.
pub(crate) fn remove_abandoned(folder: &Path) {
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
            .and_then(|metadata| metadata.modified())
            .map(|time| SystemTime::now().duration_since(time));
        if matches!(age, Ok(Ok(age)) if age > ABANDONED) {
            // Fails if another process has removed it meanwhile.
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// The folder of a path; the current one for a name alone.
pub(crate) fn folder_of(path: &Path) -> &Path {
    path.parent().map_or(Path::new("."), or_current)
}

fn or_current(folder: &Path) -> &Path {
    if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    }
}

/// Returns the error of an operation on a file.
pub(super) fn failed(operation: &str, path: &Path, error: io::Error) -> Error {
    let path = path.display();
    let message = match error.kind() {
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
            format!("cannot {operation} {path}: expected a directory, found a file")
        }
        io::ErrorKind::NotFound => format!("cannot {operation} {path}: it does not exist"),
        _ => format!("cannot {operation} {path}: {error}"),
    };
    Error::engine(message).with_source(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_abandoned_temporary_files_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, age: Duration| {
            let path = folder.path().join(name);
            let file = fs::File::create(&path).unwrap();
            file.set_modified(SystemTime::now() - age).unwrap();
            path
        };
        let old = file(".mistral-cassette-old.tmp", ABANDONED * 2);
        let new = file(".mistral-cassette-new.tmp", Duration::ZERO);
        let other = file("other.tmp", ABANDONED * 2);
        remove_abandoned(folder.path());
        assert_eq!((old.exists(), new.exists(), other.exists()), (false, true, true));
    }
}
