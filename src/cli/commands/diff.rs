//! `diff`: what has changed between two sets of recordings, by what it means.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

use bytes::Bytes;
use serde_json::json;

use crate::cassette::{Blob, Cassette, yaml};
use crate::cli::change::{Change, ChangeKind, compare};
use crate::cli::git::git;
use crate::cli::store::Store;
use crate::cli::{Format, SUCCESS, count, print_differences, runtime, say, wrong};
use crate::diff::{Difference, differences};
use crate::engine::layout;
use crate::error::{Error, ErrorKind, Result};
use crate::key::{canonical_value, scope_and_endpoint};
use crate::settings::matching::Matching;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// What was: a cassette, a directory, the URL of a cache, or a git revision of --dir.
    old: String,
    /// What is: the same; by default --dir.
    new: Option<String>,
    /// The cassette directory that a git revision is of.
    #[arg(long, value_name = "DIR", default_value = "cassettes")]
    dir: String,
    /// Show what has changed in each, and not only that.
    #[arg(long)]
    show: bool,
    /// How to print.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Cassettes by what makes two of them one: scope and key.
pub(crate) type Side = BTreeMap<(String, String), (String, Cassette)>;

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let new = arguments.new.as_deref().unwrap_or(&arguments.dir);
    let runtime = runtime()?;
    let mut trouble = Vec::new();
    let rows = if Path::new(&arguments.old).is_file() && Path::new(new).is_file() {
        vec![two_files(Path::new(&arguments.old), Path::new(new))?]
    } else {
        let mut side = |location: &str| runtime.block_on(side(location, &arguments.dir, &mut trouble));
        rows(side(&arguments.old)?, side(new)?)
    };
    for error in &trouble {
        say(&format!("error: {}", error.report()));
    }
    print_differences(&match arguments.format {
        Format::Text => text(&rows, arguments.show),
        Format::Json => format!("{:#}\n", document(&rows)),
    })?;
    let is_same = rows.iter().all(|row| row.what == What::Changed(ChangeKind::Same));
    Ok(if is_same && trouble.is_empty() {
        SUCCESS
    } else {
        wrong()
    })
}

/// One cassette that is on either side.
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) what: What,
    pub(crate) differences: Vec<Difference>,
    /// The cassette as it was.
    pub(crate) old: Option<Cassette>,
    /// The cassette as it is.
    pub(crate) new: Option<Cassette>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Changed(ChangeKind),
    Gone,
    New,
    /// Two files of different requests.
    Request,
}

impl What {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Changed(grade) => grade.name(),
            Self::Gone => "gone",
            Self::New => "new",
            Self::Request => "another request",
        }
    }
}

/// What has become of each cassette, sorted by name.
pub(crate) fn rows(mut old: Side, new: Side) -> Vec<Row> {
    let mut rows = Vec::new();
    for (key, (name, is)) in new {
        let was = old.remove(&key).map(|(_, was)| was);
        let (what, differences) = match &was {
            None => (What::New, Vec::new()),
            Some(was) => {
                let Change { grade, differences } = compare(&was.responses, &is.responses);
                (What::Changed(grade), differences)
            }
        };
        rows.push(Row {
            name,
            what,
            differences,
            old: was,
            new: Some(is),
        });
    }
    rows.extend(old.into_values().map(|(name, was)| Row {
        name,
        what: What::Gone,
        differences: Vec::new(),
        old: Some(was),
        new: None,
    }));
    rows.sort_by(|a, b| a.name.cmp(&b.name));
    rows
}

fn two_files(old: &Path, new: &Path) -> Result<Row> {
    let read = |path: &Path| {
        let place = path.display().to_string();
        let document = std::fs::read(path)
            .map_err(|error| Error::new(ErrorKind::Io, format!("cannot read {place}")).with_source(error))?;
        yaml::read(&document, &place)
    };
    let (was, is) = (read(old)?, read(new)?);
    let canonical = |cassette: &Cassette| canonical_value(&cassette.request, &Matching::default());
    let of_request = differences(&canonical(&was), &canonical(&is));
    let Change { grade, mut differences } = compare(&was.responses, &is.responses);
    let what = if of_request.is_empty() {
        What::Changed(grade)
    } else {
        What::Request
    };
    differences.splice(0..0, of_request);
    Ok(Row {
        name: new.display().to_string(),
        what,
        differences,
        old: Some(was),
        new: Some(is),
    })
}

/// The cassettes of a directory, a cache, or a git revision of `dir`; what cannot be read is added to `trouble`.
pub(crate) async fn side(location: &str, dir: &str, trouble: &mut Vec<Error>) -> Result<Side> {
    let is_url = location.contains("://") || !crate::engine::is_directory(location);
    if !is_url && !Path::new(location).is_dir() {
        return revision(location, Path::new(dir), trouble);
    }
    let (found, damaged) = Store::open(location)?.read_whole().await?;
    trouble.extend(damaged.into_iter().map(|(_, error)| error));
    Ok(side_of(found))
}

/// These cassettes, by what makes two of them one.
pub(crate) fn side_of(found: Vec<(String, Cassette)>) -> Side {
    let of = |(name, cassette): (String, Cassette)| (identity(&name, &cassette), (name, cassette));
    found.into_iter().map(of).collect()
}

fn identity(name: &str, cassette: &Cassette) -> (String, String) {
    let (scope, _) = scope_and_endpoint(name);
    (scope.unwrap_or_default().to_owned(), cassette.key.clone())
}

/// The cassettes of a directory as they were in a git revision.
fn revision(revision: &str, dir: &Path, trouble: &mut Vec<Error>) -> Result<Side> {
    if revision.starts_with('-') {
        return Err(Error::new(
            ErrorKind::Settings,
            format!("{revision:?} is no git revision"),
        ));
    }
    // From the folder above, so that a directory that is not there any more can be asked for.
    let ask = |arguments: &[&str]| git(Path::new("."), arguments);
    let failed = |what: &str, why: String| Error::new(ErrorKind::Settings, format!("{revision:?} {what}: {why}"));
    ask(&["rev-parse", "--verify", "--quiet", &format!("{revision}^{{commit}}")])
        .map_err(|why| failed("is no cassette, no directory and no git revision", why))?;
    let ask = |arguments: &[&str]| ask(arguments).map_err(|why| failed("cannot be read", why));
    let folder = dir.display().to_string();
    let listed = ask(&["ls-tree", "-r", "-z", "--name-only", revision, "--", &folder])?;
    let listed = String::from_utf8_lossy(&listed);
    let show = |path: &Path| ask(&["show", &format!("{revision}:./{}", path.display())]).map(Bytes::from);
    let mut side = Side::new();
    for path in listed.split_terminator('\0') {
        let Ok(inside) = Path::new(path).strip_prefix(dir) else {
            continue;
        };
        let name = inside.display().to_string();
        if !layout::is_cassette(&name) {
            continue;
        }
        let place = format!("{revision}:{path}");
        let whole = || {
            let mut cassette = yaml::read(&show(Path::new(path))?, &place)?;
            for blob in cassette.bodies_mut() {
                if let Blob::External { sha256 } = blob {
                    *blob = show(&dir.join(layout::body(sha256)))?.into();
                }
            }
            Ok::<_, Error>(cassette)
        };
        match whole() {
            Ok(cassette) => drop(side.insert(identity(&name, &cassette), (name, cassette))),
            Err(error) => trouble.push(error),
        }
    }
    Ok(side)
}

pub(crate) fn text(rows: &[Row], show: bool) -> String {
    let mut text = String::new();
    let changed: Vec<&Row> = rows
        .iter()
        .filter(|row| row.what != What::Changed(ChangeKind::Same))
        .collect();
    for row in &changed {
        text.push_str(&format!("{}: {}\n", row.name, row.what.name()));
        if show {
            for line in row.differences.iter().flat_map(Difference::lines) {
                text.push_str(&format!("    {line}\n"));
            }
        }
    }
    let same = rows.len() - changed.len();
    text.push_str(&format!(
        "{} changed, {same} the same\n",
        count(changed.len(), "cassette")
    ));
    text
}

pub(crate) fn document(rows: &[Row]) -> serde_json::Value {
    let row = |row: &Row| {
        let differences: Vec<_> = row
            .differences
            .iter()
            .map(|difference| json!({ "pointer": difference.pointer, "old": difference.old, "new": difference.new }))
            .collect();
        json!({ "name": row.name, "change": row.what.name(), "differences": differences })
    };
    json!({ "cassettes": rows.iter().map(row).collect::<Vec<_>>() })
}
