//! The output file of a command.

use std::fs::{self, File, OpenOptions};
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use crate::engine::{folder_of, remove_abandoned, write_file_with};
use crate::error::{Error, ErrorKind, Result};

/// The bytes that are written at once. The texts of a report have a few kilobytes each.
const BUFFER: usize = 256 * 1024;

/// Writes the text of an output file.
pub(crate) type TextWriter<'a> = &'a mut dyn FnMut(&str) -> Result<()>;

/// Writes an output file. An existing file is replaced when the new one is complete, and keeps its permissions; a link to it
/// stays. A device or a named pipe is not replaced, but written to. If the process is killed, its temporary file stays; a later
/// call removes it.
///
/// # Errors
/// The file cannot be written. Also those of `write`.
pub(crate) fn write_output_file<T>(path: &Path, write: impl FnOnce(TextWriter<'_>) -> Result<T>) -> Result<T> {
    let name = path.display();
    let failed = |error| Error::new(ErrorKind::Io, format!("cannot write {name}")).with_source(error);
    let write_to = |file: &mut File| {
        let mut file = BufWriter::with_capacity(BUFFER, file);
        let written = write(&mut |text| file.write_all(text.as_bytes()).map_err(failed))?;
        file.flush().map_err(failed)?;
        Ok(written)
    };
    if is_device(path) {
        let opened = OpenOptions::new().write(true).open(path);
        return write_to(&mut opened.map_err(failed)?);
    }
    let path = target_of(path);
    let permissions = fs::metadata(&path).map(|metadata| metadata.permissions());
    remove_abandoned(folder_of(&path));
    write_file_with(&path, |file| {
        if let Ok(permissions) = permissions {
            file.set_permissions(permissions).map_err(failed)?;
        }
        write_to(file)
    })
}

/// The path to which a link leads, also if no file is there yet; else the path itself.
fn target_of(path: &Path) -> PathBuf {
    let target = |path: &Path| Ok(folder_of(path).join(fs::read_link(path)?));
    let target: std::io::Result<PathBuf> = fs::canonicalize(path).or_else(|_| target(path));
    target.unwrap_or_else(|_| path.to_owned())
}

/// Whether a path leads to something that is neither a file nor a folder: a device, a named pipe.
pub(crate) fn is_device(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir())
}
