//! The cassettes of a directory at a git revision.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use bytes::Bytes;

use crate::cassette::{Blob, Cassette, yaml};
use crate::cli::git::{git, git_with_message};
use crate::cli::parallel::{in_order, processors};
use crate::cli::progress::Progress;
use crate::engine::{Listed, decode_stored_body, layout};
use crate::error::{Error, ErrorKind, Result};
use crate::key::RequestKey;

/// How many documents are in memory at once.
const AT_ONCE: usize = 256;

/// A directory at a git revision.
pub(super) struct Revision {
    name: String,
    /// The id of the object of each file, by its name within the directory.
    files: BTreeMap<String, String>,
    dir: PathBuf,
}

impl Revision {
    pub(super) fn open(name: &str, dir: &Path) -> Result<Self> {
        if name.starts_with('-') {
            return Err(Error::new(
                ErrorKind::Settings,
                format!("{name:?} is not a git revision"),
            ));
        }
        let error = |what: &str, why: &str| Error::new(ErrorKind::Settings, format!("{name:?} {what}: {why}"));
        let commit = format!("{name}^{{commit}}");
        // A name that is no revision gives no message.
        git_with_message(Path::new("."), &["rev-parse", "--verify", "--quiet", &commit]).map_err(|why| {
            const NO_SIDE: &str = "is not a cassette, a directory or a git revision";
            match why {
                Some(why) => error(NO_SIDE, &why),
                None => Error::new(ErrorKind::Settings, format!("{name:?} {NO_SIDE}")),
            }
        })?;
        let folder = dir.display().to_string();
        let listed =
            run_git(&["ls-tree", "-r", "-z", name, "--", &folder]).map_err(|why| error("cannot be read", &why))?;
        let listed = String::from_utf8_lossy(&listed);
        let file = |entry: &str| {
            let (object, path) = entry.split_once('\t')?;
            let name = Path::new(path).strip_prefix(dir).ok()?.to_str()?.replace('\\', "/");
            Some((name, object.rsplit(' ').next()?.to_owned()))
        };
        Ok(Self {
            name: name.to_owned(),
            files: listed.split_terminator('\0').filter_map(file).collect(),
            dir: dir.to_owned(),
        })
    }

    /// Reads the cassettes, all or these, with their bodies, and passes each or its error to `take`, sorted by name.
    pub(super) fn each(
        &self,
        listed: Option<&[Listed]>,
        mut take: impl FnMut(Result<(Listed, Cassette)>),
    ) -> Result<()> {
        let names: Vec<&str> = match listed {
            Some(listed) => listed.iter().map(|listed| &*listed.name).collect(),
            None => self
                .files
                .keys()
                .map(|name| &**name)
                .filter(|name| layout::is_cassette(name))
                .collect(),
        };
        let mut progress = Progress::new(names.len(), "cassettes");
        let mut objects = Objects::open().map_err(|error| self.failed(error))?;
        for names in names.chunks(AT_ONCE) {
            let mut documents = Vec::new();
            for name in names {
                documents.push((*name, self.file(&mut objects, name)));
            }
            let parse = |(name, document): &(&str, Result<Bytes>)| {
                let location = format!("{}:{}", self.name, self.dir.join(name).display());
                let cassette = document.clone().and_then(|document| yaml::read(&document, &location));
                (
                    Listed {
                        name: (*name).to_owned(),
                        key: RequestKey::from_file_name(name),
                    },
                    cassette,
                )
            };
            let Ok(()) = in_order(&documents, processors(), parse, |(listed, cassette)| {
                let inlined = cassette.and_then(|cassette| self.with_bodies(&mut objects, cassette));
                take(inlined.map(|cassette| (listed, cassette)));
                progress.advance();
                Ok::<_, Infallible>(())
            });
        }
        Ok(())
    }

    fn with_bodies(&self, objects: &mut Objects, mut cassette: Cassette) -> Result<Cassette> {
        for blob in cassette.bodies_mut() {
            if let Blob::External { sha256 } = blob {
                let stored = self.file(objects, &layout::body(sha256))?;
                // A damaged body is shown as it is.
                *blob = decode_stored_body(stored.clone(), sha256).unwrap_or(stored).into();
            }
        }
        Ok(cassette)
    }

    fn file(&self, objects: &mut Objects, name: &str) -> Result<Bytes> {
        let Some(object) = self.files.get(name) else {
            let path = self.dir.join(name);
            let message = format!("{:?} cannot be read: it does not contain {}", self.name, path.display());
            return Err(Error::new(ErrorKind::Settings, message));
        };
        objects.read(object).map_err(|error| self.failed(error))
    }

    fn failed(&self, error: io::Error) -> Error {
        Error::new(ErrorKind::Settings, format!("{:?} cannot be read: {error}", self.name)).with_source(error)
    }
}

/// Runs git in the current folder and not in the cassette directory, which may have been removed since.
fn run_git(arguments: &[&str]) -> Result<Vec<u8>, String> {
    git(Path::new("."), arguments)
}

/// A process of git that reads objects. One process for each file would take longer than everything else.
struct Objects {
    process: Child,
    names: Option<ChildStdin>,
    contents: BufReader<ChildStdout>,
}

impl Objects {
    fn open() -> io::Result<Self> {
        let mut process = Command::new("git")
            .args(["--no-optional-locks", "cat-file", "--batch"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (names, contents) = (process.stdin.take(), process.stdout.take());
        let contents = contents.ok_or(io::ErrorKind::BrokenPipe)?;
        Ok(Self {
            process,
            names,
            contents: BufReader::new(contents),
        })
    }

    /// Reads an object by its id.
    fn read(&mut self, object: &str) -> io::Result<Bytes> {
        let names = self.names.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        names.write_all(format!("{object}\n").as_bytes())?;
        names.flush()?;
        // <id> blob <size>, a line break, the content, and a line break.
        let mut head = String::new();
        self.contents.read_line(&mut head)?;
        let size = head
            .trim_end()
            .rsplit(' ')
            .next()
            .and_then(|size| size.parse::<usize>().ok());
        let size = size.ok_or_else(|| io::Error::other(format!("git cat-file: {}", head.trim_end())))?;
        let mut content = vec![0; size + 1];
        self.contents.read_exact(&mut content)?;
        content.truncate(size);
        Ok(content.into())
    }
}

impl Drop for Objects {
    fn drop(&mut self) {
        // git ends when its standard input is closed.
        self.names = None;
        let _ = self.process.wait();
    }
}
