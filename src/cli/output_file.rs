//! The output file of a command.

use std::fs::{self, File, OpenOptions};
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use crate::engine::{remove_abandoned, write_file_with};
use crate::error::{Error, ErrorKind, Result};

/// The bytes that are written at once. The texts of a report have a few kilobytes each.
const BUFFER: usize = 256 * 1024;

/// Writes the text of an output file.
pub(crate) type TextWriter<'a> = &'a mut dyn FnMut(&str) -> Result<()>;

/// Writes an output file. An existing file is replaced when the new one is complete, also where the path is a link to it.
/// A device or a named pipe is not replaced, but written to.
///
/// # Errors
/// The file cannot be written. Also those of `write`.
pub(crate) fn write_output_file<T>(path: &Path, write: impl FnOnce(TextWriter<'_>) -> Result<T>) -> Result<T> {
    let write_to = |file: &mut File| {
        let failed = |error| Error::new(ErrorKind::Io, format!("cannot write {}", path.display())).with_source(error);
        let mut file = BufWriter::with_capacity(BUFFER, file);
        let written = write(&mut |text| file.write_all(text.as_bytes()).map_err(failed))?;
        file.flush().map_err(failed)?;
        Ok(written)
    };
    if is_device(path) {
        let opened = OpenOptions::new().write(true).open(path);
        return write_to(&mut opened.map_err(|error| {
            Error::new(ErrorKind::Io, format!("cannot write {}", path.display())).with_source(error)
        })?);
    }
    let path = fs::canonicalize(path).unwrap_or_else(|_| PathBuf::from(path));
    if let Some(folder) = path.parent() {
        remove_abandoned(folder);
    }
    write_file_with(&path, write_to)
}

/// Whether a path leads to something that is neither a file nor a folder: a device, a named pipe.
pub(crate) fn is_device(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir())
}
