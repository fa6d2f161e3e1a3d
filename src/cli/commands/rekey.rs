//! `rekey`: updates the keys and names of cassettes after a change of the matching settings.

use std::collections::HashMap;
use std::process::ExitCode;

use bytes::Bytes;
use serde_json::json;

use crate::cli::arguments::{Directory, FileChanges, Format};
use crate::cli::git::Git;
use crate::cli::output::{count, print, print_error, success_if};
use crate::cli::runtime::runtime;
use crate::cli::store::Store;
use crate::engine::{Listed, key_of};
use crate::error::{Error, ErrorKind, Result};
use crate::key::{RequestKey, Scope};
use crate::settings::Settings;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    directory: Directory,
    #[command(flatten)]
    changes: FileChanges,
}

/// A cassette whose key differs from the key of its request.
struct Move {
    listed: Listed,
    old: String,
    new: RequestKey,
    /// Why the cassette is not changed.
    skipped: Option<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let store = arguments.directory.open()?;
    let yes = arguments.changes.yes();
    runtime()?.block_on(async {
        let settings = store.settings().await?;
        let (mut moves, errors) = find_moves(&store, &settings).await?;
        if !arguments.changes.force {
            protect(&store, &mut moves, yes)?;
        }
        if yes {
            for one in moves.iter().filter(|one| one.skipped.is_none()) {
                apply(&store, one).await?;
            }
        }
        errors.iter().for_each(print_error);
        print(&match arguments.changes.output.format {
            Format::Text => text(yes, &moves),
            Format::Json => format!("{:#}\n", document(&moves)),
        })?;
        Ok(success_if(
            errors.is_empty() && moves.iter().all(|one| one.skipped.is_none()),
        ))
    })
}

/// Skips the files of a directory that git cannot restore.
///
/// # Errors
/// [`ErrorKind::Settings`] when the state in git is unknown and there are changes to make.
fn protect(store: &Store, moves: &mut [Move], yes: bool) -> Result<()> {
    let Some(directory) = &store.directory else {
        return Ok(());
    };
    let git = Git::of(directory.root());
    if let Git::Unknown(why) = &git
        && yes
        && !moves.is_empty()
    {
        return Err(Error::new(ErrorKind::Settings, format!("nothing was changed: {why}"))
            .with_hint("run it without --yes to see the changes, then add --force to make them"));
    }
    for one in moves.iter_mut().filter(|one| one.skipped.is_none()) {
        one.skipped = git
            .risk(&directory.root().join(&one.listed.name))
            .map(|risk| format!("{risk}: commit it, or add --force"));
    }
    Ok(())
}

/// The cassettes to change, and the errors of those that cannot be read.
async fn find_moves(store: &Store, settings: &Settings) -> Result<(Vec<Move>, Vec<Error>)> {
    let (mut moves, mut errors) = (Vec::<Move>::new(), Vec::new());
    let mut taken = HashMap::<(Scope, String), Listed>::new();
    for (listed, cassette) in store.read_all().await? {
        let scope = listed.key.as_ref().map(|key| key.scope().clone()).unwrap_or_default();
        let computed = async {
            let cassette = cassette?;
            let key = key_of(&*store.engine, &cassette, &scope, settings, &store.location_of(&listed)).await?;
            Ok::<_, Error>((cassette.key, key))
        };
        match computed.await {
            Err(error) => errors.push(error),
            Ok((old, new)) if old == new.hash() => drop(taken.insert((scope, old), listed)),
            Ok((old, new)) => moves.push(Move {
                listed,
                old,
                new,
                skipped: None,
            }),
        }
    }
    for one in &mut moves {
        let identity = (one.new.scope().clone(), one.new.hash().to_owned());
        match taken.get(&identity) {
            // An earlier run was killed before it removed the old file: only the removal is left to do.
            Some(other) if store.document(other).await? == rekeyed(store, one).await? => {}
            // Under the new settings both requests are equal; a person must choose one of the responses.
            Some(other) => {
                one.skipped = Some(format!(
                    "its request now has the key of {}: delete one of them",
                    other.name
                ))
            }
            None => drop(taken.insert(identity, one.listed.clone())),
        }
    }
    Ok((moves, errors))
}

/// The document with the new key, and otherwise unchanged.
async fn rekeyed(store: &Store, one: &Move) -> Result<Bytes> {
    let document = store.document(&one.listed).await?;
    let text = String::from_utf8_lossy(&document).replacen(&one.old, one.new.hash(), 1);
    Ok(text.into())
}

/// Writes the document under its new name, then removes the old one.
async fn apply(store: &Store, one: &Move) -> Result<()> {
    store.engine.set(&one.new, rekeyed(store, one).await?).await?;
    if one.listed.name != one.new.file_name() {
        store.remove(&one.listed).await?;
    }
    Ok(())
}

fn text(yes: bool, moves: &[Move]) -> String {
    let mut text = String::new();
    for one in moves {
        match &one.skipped {
            Some(why) => text.push_str(&format!("skipped {}: {why}\n", one.listed.name)),
            None => text.push_str(&format!("{} -> {}\n", one.listed.name, one.new.file_name())),
        }
    }
    let changed = moves.iter().filter(|one| one.skipped.is_none()).count();
    let skipped = moves.len() - changed;
    let verb = if yes { "updated" } else { "to update" };
    text.push_str(&format!("{} {verb}, {skipped} skipped\n", count(changed, "cassette")));
    if !yes && changed > 0 {
        text.push_str("--yes updates them\n");
    }
    text
}

fn document(moves: &[Move]) -> serde_json::Value {
    let row = |one: &Move| json!({ "name": one.listed.name, "new_name": one.new.file_name(), "old_key": one.old, "new_key": one.new.hash(), "stays": one.skipped });
    json!({ "cassettes": moves.iter().map(row).collect::<Vec<_>>() })
}
