//! `prune`: deletes the cassettes that no session of a usage log has used, and the body files that no cassette refers to.

mod plan;
mod summary;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use self::plan::Plan;
use crate::cli::arguments::{Directory, FileChanges, Format};
use crate::cli::git::Git;
use crate::cli::output::{count, print, print_message, success_if};
use crate::cli::runtime::runtime;
use crate::cli::store::{Read, Store};
use crate::engine::DirectoryEngine;
use crate::error::{Error, ErrorKind, Result};
use crate::recorder::Used;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    directory: Directory,
    /// The usage log of a complete test run, recorded with MISTRAL_CASSETTE_USAGE_LOG or --usage-log.
    #[arg(long, value_name = "FILE", visible_alias = "ledger")]
    usage_log: PathBuf,
    /// Delete unused cassettes in all scopes, not only in those that the usage log contains.
    #[arg(long)]
    all_scopes: bool,
    #[command(flatten)]
    changes: FileChanges,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let store = arguments.directory.open()?;
    let Some(directory) = &store.directory else {
        return Err(Error::new(
            ErrorKind::Settings,
            format!("prune needs a cassette directory, but {} is a cache", store.location()),
        )
        .with_hint("entries of a cache can expire: see expiry in the settings"));
    };
    let used = read_usage(arguments, &store, directory)?;
    let cassettes = runtime()?.block_on(store.read_all())?;
    let git = Git::of(directory.root());
    let (yes, force) = (arguments.changes.yes(), arguments.changes.force);
    let plan = Plan::new(&store, directory, &used, &git, cassettes, force);
    if yes && !force {
        check(&plan, &used, &git)?;
    }
    if yes {
        for item in &plan.deleted {
            delete(directory.root(), &item.path)?;
        }
    }
    print(&match arguments.changes.output.format {
        Format::Text => summary::text(&arguments.changes, &plan, &used, &git),
        Format::Json => format!("{:#}\n", summary::document(yes, &plan, &used)),
    })?;
    let is_refused = yes && plan.skipped.iter().any(|(_, reason)| reason.needs_force);
    Ok(success_if(!is_refused))
}

/// Deletes the cassettes that a run has not used, after the checks of `prune`; `used` is its part of a usage log. Prints what
/// was deleted and what was not. Returns whether nothing is left.
pub(crate) fn prune_after_run(
    store: &Store,
    directory: &DirectoryEngine,
    used: &Used,
    cassettes: Vec<Read>,
) -> Result<bool> {
    let git = Git::of(directory.root());
    let plan = Plan::new(store, directory, used, &git, cassettes, false);
    check(&plan, used, &git)?;
    for item in &plan.deleted {
        delete(directory.root(), &item.path)?;
        print_message(&format!("mistral-cassette: deleted {}", item.path.display()));
    }
    for (item, reason) in &plan.skipped {
        print_message(&format!(
            "mistral-cassette: not deleted: {}: {}",
            item.path.display(),
            reason.text
        ));
    }
    Ok(plan.skipped.is_empty())
}

fn read_usage(arguments: &Arguments, store: &Store, directory: &DirectoryEngine) -> Result<Used> {
    let mut used = Used::read(&arguments.usage_log, 0, directory.root())?;
    used.is_of_all_scopes = arguments.all_scopes;
    if !used.sessions.is_empty() {
        return Ok(used);
    }
    let error = Error::new(
        ErrorKind::Settings,
        format!(
            "the usage log {} contains no session of {}",
            arguments.usage_log.display(),
            store.location()
        ),
    );
    if used.others.is_empty() {
        return Err(error);
    }
    let others: Vec<&str> = used.others.iter().map(String::as_str).collect();
    Err(error.with_hint(format!("it contains sessions of {}", others.join(", "))))
}

/// Refuses to delete what git may not be able to restore, or what the usage log may wrongly report as unused.
fn check(plan: &Plan, used: &Used, git: &Git) -> Result<()> {
    if let Git::Unknown(why) = git
        && !plan.deleted.is_empty()
    {
        return Err(Error::new(ErrorKind::Settings, format!("nothing was deleted: {why}"))
            .with_hint("run it without --yes to see the files, then add --force to delete them permanently"));
    }
    if !used.unreadable.is_empty() {
        return Err(Error::new(
            ErrorKind::Settings,
            format!(
                "nothing was deleted: {} of the usage log cannot be read, and may name used cassettes",
                count(used.unreadable.len(), "line")
            ),
        )
        .with_hint("run the tests with a new usage log, or add --force"));
    }
    Ok(())
}

/// Deletes a file, and the folders that become empty.
fn delete(root: &Path, path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(Error::engine(format!("cannot remove {}", path.display())).with_source(error));
        }
        _ => {}
    }
    for folder in path.ancestors().skip(1).take_while(|folder| *folder != root) {
        // Fails for a folder that is not empty.
        if fs::remove_dir(folder).is_err() {
            break;
        }
    }
    Ok(())
}
