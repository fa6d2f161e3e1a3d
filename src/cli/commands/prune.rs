//! `prune`: deletes the cassettes that no session of a ledger has used, and the bodies that nothing refers to.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::json;

use crate::cassette::{Blob, Cassette};
use crate::cli::git::Git;
use crate::cli::store::Store;
use crate::cli::{Directory, Format, SUCCESS, count, print, runtime, scopes, wrong};
use crate::engine::{DirectoryEngine, Listed, layout};
use crate::error::{Error, ErrorKind, Result};
use crate::key::Scope;
use crate::recorder::Used;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    directory: Directory,
    /// The ledger of a whole run of the tests: MISTRAL_CASSETTE_LEDGER or --ledger made it.
    #[arg(long, value_name = "FILE")]
    ledger: PathBuf,
    /// The ledger is of everything that uses the directory: what lies in scopes that it has not seen is unused too.
    #[arg(long)]
    all_scopes: bool,
    /// Delete; without it, what would be deleted is shown.
    #[arg(long)]
    yes: bool,
    /// Delete also what git could not bring back, and what half a ledger may wrongly call unused.
    #[arg(long)]
    force: bool,
    /// How to print.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let store = arguments.directory.open()?;
    let Some(directory) = &store.directory else {
        return Err(Error::new(
            ErrorKind::Settings,
            format!("{} is no directory, and only directories are pruned", store.place()),
        )
        .with_hint("entries of a cache end by themselves: see expiry in the settings"));
    };
    let mut used = Used::read(&arguments.ledger, 0, directory.root())?;
    used.is_of_all_scopes = arguments.all_scopes;
    if used.sessions.is_empty() {
        let mut error = Error::new(
            ErrorKind::Settings,
            format!(
                "the ledger {} has no session of {}",
                arguments.ledger.display(),
                store.place()
            ),
        );
        if !used.others.is_empty() {
            let others: Vec<&str> = used.others.iter().map(String::as_str).collect();
            error = error.with_hint(format!("its sessions are of {}", others.join(", ")));
        }
        return Err(error);
    }
    let cassettes = runtime()?.block_on(store.read_all())?;
    let git = Git::of(directory.root());
    let plan = Plan::new(&store, directory, &used, &git, cassettes, arguments.force);
    // Who says yes must know what cannot be brought back.
    if arguments.yes && !arguments.force {
        if let Git::None(why) = &git
            && !plan.goes.is_empty()
        {
            return Err(Error::new(ErrorKind::Settings, format!("nothing was deleted: {why}"))
                .with_hint("look at what is shown without --yes, and add --force to delete it all the same"));
        }
        if !used.unreadable.is_empty() {
            return Err(Error::new(
                ErrorKind::Settings,
                format!(
                    "nothing was deleted: {} of the ledger cannot be read, and may name what was used",
                    count(used.unreadable.len(), "line")
                ),
            )
            .with_hint("run the tests with a new ledger, or add --force"));
        }
    }
    if arguments.yes {
        for item in &plan.goes {
            delete(directory.root(), &item.path)?;
        }
    }
    print(&match arguments.format {
        Format::Text => text(arguments, &plan, &used, &git),
        Format::Json => format!("{:#}\n", document(arguments, &plan, &used)),
    })?;
    let is_refused = arguments.yes && plan.stays.iter().any(|(_, why)| why.needs_force);
    Ok(if is_refused { wrong() } else { SUCCESS })
}

/// A file that nothing needs.
struct Item {
    path: PathBuf,
    is_body: bool,
}

/// Why a file that nothing needs is not deleted.
struct Why {
    text: String,
    needs_force: bool,
}

struct Plan {
    goes: Vec<Item>,
    stays: Vec<(Item, Why)>,
    /// How many cassettes lie in scopes that the ledger has not seen, by scope.
    unseen: BTreeMap<Scope, usize>,
}

impl Plan {
    fn new(
        store: &Store,
        directory: &DirectoryEngine,
        used: &Used,
        git: &Git,
        cassettes: Vec<(Listed, Result<Cassette>)>,
        force: bool,
    ) -> Self {
        let mut plan = Self {
            goes: Vec::new(),
            stays: Vec::new(),
            unseen: BTreeMap::new(),
        };
        let mut needed: HashSet<String> = HashSet::new();
        let mut unreadable = None;
        for (listed, cassette) in cassettes {
            let key = listed.key.as_ref();
            if let Some(key) = key.filter(|key| used.has_not_seen(key)) {
                *plan.unseen.entry(key.scope().clone()).or_default() += 1;
            }
            if key.is_some_and(|key| used.lacks(key)) {
                let path = directory.root().join(&listed.name);
                if plan.settle(path, false, git, force) {
                    continue;
                }
            }
            match cassette {
                Ok(mut cassette) => needed.extend(cassette.bodies_mut().into_iter().filter_map(|blob| match blob {
                    Blob::External { sha256 } => Some(layout::body(sha256)),
                    Blob::Inline(_) => None,
                })),
                Err(_) => unreadable = Some(store.place_of(&listed)),
            }
        }
        for (name, path) in layout::files_in_bodies(directory.root()) {
            if !layout::is_body(&name) || needed.contains(&name) {
                continue;
            }
            if let Some(place) = &unreadable {
                let text = format!("{place} cannot be read, and may refer to it");
                plan.stays.push((
                    Item { path, is_body: true },
                    Why {
                        text,
                        needs_force: false,
                    },
                ));
                continue;
            }
            plan.settle(path, true, git, force);
        }
        plan
    }

    /// Whether a file that nothing needs goes.
    fn settle(&mut self, path: PathBuf, is_body: bool, git: &Git, force: bool) -> bool {
        let item = Item { path, is_body };
        match git.risk(&item.path) {
            Some(text) if !force => {
                self.stays.push((
                    item,
                    Why {
                        text,
                        needs_force: true,
                    },
                ));
                false
            }
            _ => {
                self.goes.push(item);
                true
            }
        }
    }
}

/// Deletes a file, and the folders that it leaves empty.
fn delete(root: &Path, path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(Error::engine(format!("cannot remove {}", path.display())).with_source(error));
        }
        _ => {}
    }
    for folder in path.ancestors().skip(1).take_while(|folder| *folder != root) {
        // One that is not empty stays.
        if fs::remove_dir(folder).is_err() {
            break;
        }
    }
    Ok(())
}

fn text(arguments: &Arguments, plan: &Plan, used: &Used, git: &Git) -> String {
    let (verb, done) = if arguments.yes {
        ("deleted", "deleted")
    } else {
        ("would delete", "to delete")
    };
    let mut lines = Vec::new();
    for item in &plan.goes {
        let why = if item.is_body {
            "no cassette refers to it"
        } else {
            "not used"
        };
        lines.push(format!("{verb} {} ({why})", item.path.display()));
    }
    for (item, Why { text, needs_force }) in &plan.stays {
        let force = if *needs_force { "; --force deletes it" } else { "" };
        lines.push(format!("left {} ({text}{force})", item.path.display()));
    }
    let (bodies, cassettes): (Vec<&Item>, Vec<&Item>) = plan.goes.iter().partition(|item| item.is_body);
    lines.push(format!(
        "{} and {} {done}, {} left, after {}",
        count(cassettes.len(), "cassette"),
        bodies_of(bodies.len()),
        plan.stays.len(),
        count(used.sessions.len(), "session"),
    ));
    if !plan.unseen.is_empty() {
        lines.push(format!(
            "{} in scopes that the ledger has not seen ({}): not looked at without --all-scopes",
            count(plan.unseen.values().sum(), "cassette"),
            scopes(plan.unseen.keys()),
        ));
    }
    if !used.unreadable.is_empty() {
        lines.push(format!(
            "{} of the ledger cannot be read, and may name what was used",
            count(used.unreadable.len(), "line")
        ));
    }
    if !arguments.yes && !plan.goes.is_empty() {
        lines.push(match git {
            Git::None(why) if !arguments.force => format!("{why}: --yes and --force delete them for good"),
            _ => "--yes deletes them".to_owned(),
        });
    }
    lines.join("\n") + "\n"
}

fn bodies_of(number: usize) -> String {
    if number == 1 {
        "1 body".to_owned()
    } else {
        format!("{number} bodies")
    }
}

fn document(arguments: &Arguments, plan: &Plan, used: &Used) -> serde_json::Value {
    let path = |item: &Item| item.path.display().to_string();
    let of = |is_body: bool| -> Vec<String> {
        let items = plan.goes.iter().filter(|item| item.is_body == is_body);
        items.map(path).collect()
    };
    let left: BTreeMap<String, &str> = plan
        .stays
        .iter()
        .map(|(item, why)| (path(item), why.text.as_str()))
        .collect();
    json!({
        "deleted": arguments.yes,
        "cassettes": of(false),
        "bodies": of(true),
        "left": left,
        "sessions": used.sessions.len(),
        "scopes": used.scopes.iter().map(|scope| scope.as_str()).collect::<Vec<_>>(),
        "unseen": plan.unseen.values().sum::<usize>(),
        "unseen_scopes": plan.unseen.keys().map(Scope::as_str).collect::<Vec<_>>(),
        "unreadable_lines": used.unreadable.len(),
    })
}
