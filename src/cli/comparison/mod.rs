//! Compares two sets of cassettes.

mod revision;
mod side;
mod whole;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use self::side::{Identity, Index, Source};
pub(crate) use self::side::{Side, matching_of, read_side, side_of};
pub(crate) use self::whole::whole_answers;
use super::change::{Change, ChangeKind, compare};
use super::refresh::{Pairs, Recording, follow};
use crate::cassette::{Cassette, yaml};
use crate::diff::{Difference, differences};
use crate::error::{Error, ErrorKind, Result};
use crate::key::{CanonicalRequest, RequestKey, Scope};
use crate::settings::matching::Matching;

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

/// Compares two locations: directories, caches, or git revisions of `dir`; the rows are sorted by name. Adds the error of each
/// unreadable cassette to `errors`. Only the scopes that differ are in memory, and rows have no cassettes where nothing differs.
pub(crate) async fn compare_locations(old: &str, new: &str, dir: &str, errors: &mut Vec<Error>) -> Result<Vec<Row>> {
    let [old_source, new_source] = [Source::open(old, dir)?, Source::open(new, dir)?];
    let old_index = old_source.index(errors).await?;
    let new_index = new_source.index(errors).await?;
    let changed = changed_scopes(&old_index, &new_index);
    let is_changed = |(scope, _): &Identity| changed.contains(scope);
    // What cannot be read again was changed meanwhile.
    let old_side = old_source.load(&old_index, is_changed, errors).await?;
    let new_side = new_source.load(&new_index, is_changed, errors).await?;
    let mut rows = compare_sides(old_side, new_side, &matching_of(new, dir).await?);
    let same = new_index.into_iter().filter(|(identity, _)| !is_changed(identity));
    rows.extend(same.map(|(identity, indexed)| Row {
        name: indexed.name,
        moved_from: None,
        status: match old_index.contains_key(&identity) {
            true => Status::Both(ChangeKind::Same),
            false => Status::New,
        },
        differences: Vec::new(),
        old: None,
        new: None,
    }));
    rows.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(rows)
}

/// The scopes in which a recording of the old side is missing or differs on the new side.
fn changed_scopes<'a>(old: &'a Index, new: &Index) -> BTreeSet<&'a String> {
    let is_other = |(identity, indexed): &(&Identity, &side::Indexed)| {
        new.get(*identity).is_none_or(|new| new.responses != indexed.responses)
    };
    old.iter().filter(is_other).map(|((scope, _), _)| scope).collect()
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
