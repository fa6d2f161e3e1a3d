//! `rekey`: new keys and names after the settings for matching have changed.

use std::collections::HashMap;
use std::process::ExitCode;

use bytes::Bytes;
use serde_json::json;

use crate::cli::git::Git;
use crate::cli::store::Store;
use crate::cli::{Directory, Format, SUCCESS, count, print, runtime, say, wrong};
use crate::engine::{Listed, key_of};
use crate::error::{Error, ErrorKind, Result};
use crate::key::{RequestKey, Scope};
use crate::settings::Settings;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    directory: Directory,
    /// Do it; without it, what would be done is shown.
    #[arg(long)]
    yes: bool,
    /// Do it also to files that git could not bring back.
    #[arg(long)]
    force: bool,
    /// How to print.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// A cassette whose key is no longer that of its request.
struct Move {
    listed: Listed,
    old: String,
    new: RequestKey,
    /// Why it stays as it is.
    stays: Option<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let store = arguments.directory.open()?;
    runtime()?.block_on(async {
        let settings = store.settings().await?;
        let (mut moves, trouble) = moves(&store, &settings).await?;
        let git = store.directory.as_ref().map(|directory| Git::of(directory.root()));
        if let (Some(directory), Some(git), false) = (&store.directory, &git, arguments.force) {
            if let Git::None(why) = git
                && arguments.yes
                && !moves.is_empty()
            {
                return Err(Error::new(ErrorKind::Settings, format!("nothing was done: {why}"))
                    .with_hint("look at what is shown without --yes, and add --force to do it all the same"));
            }
            for one in moves.iter_mut().filter(|one| one.stays.is_none()) {
                one.stays = git
                    .risk(&directory.root().join(&one.listed.name))
                    .map(|risk| format!("{risk}: commit it, or add --force"));
            }
        }
        if arguments.yes {
            for one in moves.iter().filter(|one| one.stays.is_none()) {
                carry_out(&store, one).await?;
            }
        }
        for error in &trouble {
            say(&format!("error: {}", error.report()));
        }
        print(&match arguments.format {
            Format::Text => text(arguments, &moves),
            Format::Json => format!("{:#}\n", document(&moves)),
        })?;
        let is_well = trouble.is_empty() && moves.iter().all(|one| one.stays.is_none());
        Ok(if is_well { SUCCESS } else { wrong() })
    })
}

async fn moves(store: &Store, settings: &Settings) -> Result<(Vec<Move>, Vec<Error>)> {
    let (mut moves, mut trouble) = (Vec::<Move>::new(), Vec::new());
    let mut taken = HashMap::<(Scope, String), Listed>::new();
    for (listed, cassette) in store.read_all().await? {
        let scope = listed.key.as_ref().map(|key| key.scope().clone()).unwrap_or_default();
        let computed = async {
            let cassette = cassette?;
            let key = key_of(&*store.engine, &cassette, &scope, settings, &store.place_of(&listed)).await?;
            Ok::<_, Error>((cassette.key, key))
        };
        match computed.await {
            Err(error) => trouble.push(error),
            Ok((old, new)) if old == new.hash() => drop(taken.insert((scope, old), listed)),
            Ok((old, new)) => moves.push(Move {
                listed,
                old,
                new,
                stays: None,
            }),
        }
    }
    for one in &mut moves {
        let identity = (one.new.scope().clone(), one.new.hash().to_owned());
        match taken.get(&identity) {
            // Killed before the old file was removed: what is left to do is to remove it.
            Some(other) if store.document(other).await? == rekeyed(store, one).await? => {}
            // Under the new settings two requests are one; which of the answers is meant is for a person to say.
            Some(other) => one.stays = Some(format!("its request is now that of {}: delete one of them", other.name)),
            None => drop(taken.insert(identity, one.listed.clone())),
        }
    }
    Ok((moves, trouble))
}

/// The document with its new key, and nothing else in it changed.
async fn rekeyed(store: &Store, one: &Move) -> Result<Bytes> {
    let document = store.document(&one.listed).await?;
    let text = String::from_utf8_lossy(&document).replacen(&one.old, one.new.hash(), 1);
    Ok(text.into())
}

/// Writes the document under its new name; then the old one goes.
async fn carry_out(store: &Store, one: &Move) -> Result<()> {
    store.engine.set(&one.new, rekeyed(store, one).await?).await?;
    let is_same_place = one.listed.name == one.new.file_name();
    if !is_same_place {
        store.remove(&one.listed).await?;
    }
    Ok(())
}

fn text(arguments: &Arguments, moves: &[Move]) -> String {
    let mut text = String::new();
    for one in moves {
        match &one.stays {
            Some(why) => text.push_str(&format!("{}: stays, {why}\n", one.listed.name)),
            None => text.push_str(&format!("{} -> {}\n", one.listed.name, one.new.file_name())),
        }
    }
    let goes = moves.iter().filter(|one| one.stays.is_none()).count();
    let done = if arguments.yes { "new keys" } else { "new keys to give" };
    let left = moves.len() - goes;
    text.push_str(&format!("{done}: {}; left: {left}\n", count(goes, "cassette")));
    if !arguments.yes && goes > 0 {
        text.push_str("add --yes to do it\n");
    }
    text
}

fn document(moves: &[Move]) -> serde_json::Value {
    let row = |one: &Move| json!({ "name": one.listed.name, "new_name": one.new.file_name(), "old_key": one.old, "new_key": one.new.hash(), "stays": one.stays });
    json!({ "cassettes": moves.iter().map(row).collect::<Vec<_>>() })
}
