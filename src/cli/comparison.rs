//! Compares two sets of cassettes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use bytes::Bytes;

use super::change::{Change, ChangeKind, compare};
use super::git::git;
use super::refresh::{Pairs, Recording, follow};
use super::store::Store;
use crate::cassette::{Blob, Cassette, yaml};
use crate::diff::{Difference, differences};
use crate::engine::{decode_stored_body, layout};
use crate::error::{Error, ErrorKind, Result};
use crate::key::{CanonicalRequest, RequestKey, Scope, scope_and_endpoint};
use crate::settings::matching::Matching;

/// The cassettes of one side with their names, by scope and key.
pub(crate) type Side = BTreeMap<(String, String), (String, Cassette)>;

/// A cassette that exists on at least one side.
pub(crate) struct Row {
    pub(crate) name: String,
    /// The name on the old side, if the request has changed with the ids of its chain.
    pub(crate) moved_from: Option<String>,
    pub(crate) status: Status,
    pub(crate) differences: Vec<Difference>,
    /// The cassette of the old side.
    pub(crate) old: Option<Cassette>,
    /// The cassette of the new side.
    pub(crate) new: Option<Cassette>,
}

/// How a cassette differs between the sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// Both sides have it.
    Both(ChangeKind),
    /// Only the old side has it.
    Gone,
    /// Only the new side has it.
    New,
    /// Two files record different requests.
    OtherRequest,
}

impl Status {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Both(kind) => kind.name(),
            Self::Gone => "gone",
            Self::New => "new",
            Self::OtherRequest => "another request",
        }
    }

    pub(crate) fn is_same(self) -> bool {
        self == Self::Both(ChangeKind::Same)
    }
}

/// Compares two sides; the rows are sorted by name. `matching` is that of the recordings: a refresh changes the keys of a chain,
/// whose old and new recordings are one row.
pub(crate) fn compare_sides(mut old_side: Side, new_side: Side, matching: &Matching) -> Vec<Row> {
    let pairs = pairs(&old_side, &new_side, matching);
    let mut partners = BTreeMap::new();
    for followed in &pairs.followed {
        let scope = followed.scope.as_str().to_owned();
        partners.insert((scope, followed.new.clone()), followed);
    }
    let mut rows = Vec::new();
    for (identity, (name, new)) in new_side {
        let followed = partners.get(&identity);
        let before = followed.map_or(identity.clone(), |followed| (identity.0.clone(), followed.old.clone()));
        let old = old_side.remove(&before);
        let is_moved = before != identity;
        let is_id = |difference: &Difference| {
            followed.is_some_and(|followed| pairs.substitutions[followed.chain].ids()(difference))
        };
        let (status, differences) = match &old {
            None => (Status::New, Vec::new()),
            Some((_, old)) => {
                let Change { kind, differences } = compare(&old.responses, &new.responses, is_id);
                let least = if is_moved { ChangeKind::Volatile } else { kind };
                (Status::Both(kind.max(least)), differences)
            }
        };
        let (old_name, old) = old.unzip();
        rows.push(Row {
            name,
            moved_from: old_name.filter(|_| is_moved),
            status,
            differences,
            old,
            new: Some(new),
        });
    }
    rows.extend(old_side.into_values().map(|(name, old)| Row {
        name,
        moved_from: None,
        status: Status::Gone,
        differences: Vec::new(),
        old: Some(old),
        new: None,
    }));
    rows.sort_by(|a, b| a.name.cmp(&b.name));
    rows
}

/// The pairs of the old and the new side in the scopes that differ.
fn pairs(old_side: &Side, new_side: &Side, matching: &Matching) -> Pairs {
    let is_other = |(identity, (_, old)): &(&(String, String), &(String, Cassette))| {
        new_side
            .get(*identity)
            .is_none_or(|(_, new)| new.responses != old.responses)
    };
    let changed: BTreeSet<&String> = old_side.iter().filter(is_other).map(|((scope, _), _)| scope).collect();
    let recording = |((scope, key), (_, cassette)): (&(String, String), &(String, Cassette))| {
        let scope = changed.contains(scope).then(|| Scope::new(scope).ok())??;
        Some(Recording {
            // The key is the name here, because two files may have one name.
            name: key.clone(),
            key: RequestKey::of(&cassette.request, &scope, matching),
            cassette: cassette.clone(),
        })
    };
    let find = |scope: &Scope, key: &str| {
        let (_, cassette) = new_side.get(&(scope.as_str().to_owned(), key.to_owned()))?;
        Some(cassette)
    };
    follow(old_side.iter().filter_map(recording).collect(), matching, find)
}

/// Compares two cassette files, and their requests too.
pub(crate) fn compare_files(old: &Path, new: &Path) -> Result<Row> {
    let name = new.display().to_string();
    let read = |path: &Path| {
        let location = path.display().to_string();
        let document = std::fs::read(path)
            .map_err(|error| Error::new(ErrorKind::Io, format!("cannot read {location}")).with_source(error))?;
        yaml::read(&document, &location)
    };
    let (old, new) = (read(old)?, read(new)?);
    let canonical = |cassette: &Cassette| CanonicalRequest::of(&cassette.request, &Matching::default()).into_value();
    let of_request = differences(&canonical(&old), &canonical(&new));
    let Change { kind, mut differences } = compare(&old.responses, &new.responses, |_| false);
    let status = if of_request.is_empty() {
        Status::Both(kind)
    } else {
        Status::OtherRequest
    };
    differences.splice(0..0, of_request);
    Ok(Row {
        name,
        moved_from: None,
        status,
        differences,
        old: Some(old),
        new: Some(new),
    })
}

/// Reads a directory, a cache, or a git revision of `dir`. Adds the error of each unreadable cassette to `errors`.
pub(crate) async fn read_side(location: &str, dir: &str, errors: &mut Vec<Error>) -> Result<Side> {
    let is_url = location.contains("://") || !crate::engine::is_directory(location);
    if !is_url && !Path::new(location).is_dir() {
        return read_revision(location, Path::new(dir), errors);
    }
    let (found, damaged) = Store::open(location)?.read_with_bodies().await?;
    errors.extend(damaged.into_iter().map(|(_, error)| error));
    Ok(side_of(found))
}

/// The matching rules of the recordings at a location, or of those in `dir` for a git revision.
pub(crate) async fn matching_of(location: &str, dir: &str) -> Result<Matching> {
    let is_store = location.contains("://") || Path::new(location).is_dir();
    let store = Store::open(if is_store { location } else { dir })?;
    Ok(store.settings().await?.matching)
}

/// These cassettes, by scope and key.
pub(crate) fn side_of(found: Vec<(String, Cassette)>) -> Side {
    let entry = |(name, cassette): (String, Cassette)| (identity(&name, &cassette), (name, cassette));
    found.into_iter().map(entry).collect()
}

fn identity(name: &str, cassette: &Cassette) -> (String, String) {
    let (scope, _) = scope_and_endpoint(name);
    (scope.unwrap_or_default().to_owned(), cassette.key.clone())
}

/// Reads the cassettes of a directory at a git revision.
fn read_revision(revision: &str, dir: &Path, errors: &mut Vec<Error>) -> Result<Side> {
    let revision = Revision::open(revision, dir)?;
    let mut side = Side::new();
    for (path, name) in revision.cassettes()? {
        match revision.read(&path) {
            Ok(cassette) => drop(side.insert(identity(&name, &cassette), (name, cassette))),
            Err(error) => errors.push(error),
        }
    }
    Ok(side)
}

/// A directory at a git revision.
struct Revision<'a> {
    name: &'a str,
    dir: &'a Path,
}

impl<'a> Revision<'a> {
    fn open(name: &'a str, dir: &'a Path) -> Result<Self> {
        if name.starts_with('-') {
            return Err(Error::new(
                ErrorKind::Settings,
                format!("{name:?} is not a git revision"),
            ));
        }
        let revision = Self { name, dir };
        let commit = format!("{name}^{{commit}}");
        run_git(&["rev-parse", "--verify", "--quiet", &commit])
            .map_err(|why| revision.error("is not a cassette, a directory or a git revision", &why))?;
        Ok(revision)
    }

    fn error(&self, what: &str, why: &str) -> Error {
        Error::new(ErrorKind::Settings, format!("{:?} {what}: {why}", self.name))
    }

    fn git(&self, arguments: &[&str]) -> Result<Vec<u8>> {
        run_git(arguments).map_err(|why| self.error("cannot be read", &why))
    }

    /// The path of each cassette, and its name within the directory.
    fn cassettes(&self) -> Result<Vec<(String, String)>> {
        let folder = self.dir.display().to_string();
        let listed = self.git(&["ls-tree", "-r", "-z", "--name-only", self.name, "--", &folder])?;
        let listed = String::from_utf8_lossy(&listed);
        let cassette = |path: &str| {
            let name = Path::new(path).strip_prefix(self.dir).ok()?.display().to_string();
            layout::is_cassette(&name).then(|| (path.to_owned(), name))
        };
        Ok(listed.split_terminator('\0').filter_map(cassette).collect())
    }

    /// Reads a cassette and its bodies.
    fn read(&self, path: &str) -> Result<Cassette> {
        let mut cassette = yaml::read(&self.file(Path::new(path))?, &format!("{}:{path}", self.name))?;
        for blob in cassette.bodies_mut() {
            if let Blob::External { sha256 } = blob {
                let stored = self.file(&self.dir.join(layout::body(sha256)))?;
                // A damaged body is shown as it is.
                *blob = decode_stored_body(stored.clone(), sha256).unwrap_or(stored).into();
            }
        }
        Ok(cassette)
    }

    fn file(&self, path: &Path) -> Result<Bytes> {
        self.git(&["show", &format!("{}:./{}", self.name, path.display())])
            .map(Bytes::from)
    }
}

/// Runs git in the current folder and not in the cassette directory, which may have been removed since.
fn run_git(arguments: &[&str]) -> Result<Vec<u8>, String> {
    git(Path::new("."), arguments)
}
