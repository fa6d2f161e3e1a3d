//! Texts in the order of their times, in a temporary file: an export may be larger than memory.

use std::cmp::Ordering;
use std::fs::File;
use std::io::{self, BufWriter, Read as _, Seek as _, SeekFrom, Write as _};

use jiff::Timestamp;

use crate::error::{Error, ErrorKind, Result};

/// How many bytes of two texts are compared at once.
const CHUNK: u64 = 16 * 1024;

/// Collects texts with their times.
pub(crate) struct OrderedTexts {
    file: BufWriter<File>,
    length: u64,
    texts: Vec<Text>,
}

/// Where a text is in the file.
#[derive(Clone, Copy)]
struct Text {
    at: Timestamp,
    start: u64,
    end: u64,
}

impl OrderedTexts {
    /// Creates the temporary file, which has no name.
    ///
    /// # Errors
    /// It cannot be created.
    pub(crate) fn new() -> Result<Self> {
        Ok(Self {
            file: BufWriter::new(tempfile::tempfile().map_err(failed)?),
            length: 0,
            texts: Vec::new(),
        })
    }

    /// Adds a text.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn add(&mut self, at: Timestamp, text: &str) -> Result<()> {
        self.file.write_all(text.as_bytes()).map_err(failed)?;
        let start = self.length;
        self.length += text.len() as u64;
        self.texts.push(Text {
            at,
            start,
            end: self.length,
        });
        Ok(())
    }

    /// The number of texts.
    pub(crate) fn len(&self) -> usize {
        self.texts.len()
    }

    /// Passes the texts to `write`, and `between` between two of them: in order of time, and those of one time in the order of
    /// their bytes.
    ///
    /// # Errors
    /// The file cannot be read, or `write` fails.
    pub(crate) fn write(mut self, between: &str, mut write: impl FnMut(&str) -> Result<()>) -> Result<()> {
        self.file.flush().map_err(failed)?;
        let file = self.file.get_mut();
        self.texts.sort_by_key(|text| text.at);
        let mut failure = None;
        for same_time in self.texts.chunk_by_mut(|one, other| one.at == other.at) {
            same_time.sort_by(|one, other| {
                compare(file, *one, *other).unwrap_or_else(|error| {
                    failure = Some(error);
                    Ordering::Equal
                })
            });
        }
        if let Some(error) = failure {
            return Err(failed(error));
        }
        for (number, text) in self.texts.iter().enumerate() {
            if number > 0 {
                write(between)?;
            }
            let bytes = read(file, text.start, text.end).map_err(failed)?;
            write(&String::from_utf8_lossy(&bytes))?;
        }
        Ok(())
    }
}

fn failed(error: io::Error) -> Error {
    Error::new(ErrorKind::Io, "cannot write a temporary file").with_source(error)
}

/// Compares two texts by their bytes.
fn compare(file: &mut File, one: Text, other: Text) -> io::Result<Ordering> {
    let mut offset = 0;
    loop {
        let mut next = |text: Text| read(file, text.start + offset, text.end.min(text.start + offset + CHUNK));
        let (one, other) = (next(one)?, next(other)?);
        let order = one.cmp(&other);
        if order.is_ne() || one.is_empty() {
            return Ok(order);
        }
        offset += CHUNK;
    }
}

/// The bytes from an offset to an end; none if the end is before it.
fn read(file: &mut File, start: u64, end: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(start))?;
    file.take(end.saturating_sub(start)).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_in_the_order_of_times_and_then_of_their_bytes() {
        let mut texts = OrderedTexts::new().unwrap();
        let long = "x".repeat(CHUNK as usize);
        let at = |second| Timestamp::from_second(second).unwrap();
        let (b, a) = (format!("{long}b"), format!("{long}a"));
        for (second, text) in [(2, "late"), (1, &b), (1, &a), (1, &long), (0, "early"), (1, "")] {
            texts.add(at(second), text).unwrap();
        }
        assert_eq!(texts.len(), 6);
        let mut written = String::new();
        let append = |text: &str| {
            written.push_str(text);
            Ok(())
        };
        texts.write("|", append).unwrap();
        let parts: Vec<&str> = written.split('|').collect();
        assert_eq!(parts, ["early", "", &long, &a, &b, "late"]);
    }

    #[test]
    fn an_error_of_the_output_ends_it() {
        let mut texts = OrderedTexts::new().unwrap();
        texts.add(Timestamp::UNIX_EPOCH, "text").unwrap();
        let full = |_: &str| Err(failed(io::ErrorKind::StorageFull.into()));
        assert!(texts.write("", full).is_err());
    }
}
