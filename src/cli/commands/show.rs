//! `show`: prints cassettes as text.

use std::process::ExitCode;

use crate::cli::arguments::Directory;
use crate::cli::output::SUCCESS;
use crate::cli::pager::page;
use crate::cli::runtime::runtime;
use crate::cli::select::{find, outside};
use crate::cli::store::Store;
use crate::cli::transcript::{Extent, transcript};
use crate::error::Result;
use crate::escape::escape_controls;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    directory: Directory,
    /// The path of any cassette, or in the directory a name, a part of a name, or the start of a key.
    #[arg(required = true, value_name = "CASSETTE")]
    cassettes: Vec<String>,
    /// Cut nothing: long texts and lists are shown whole.
    #[arg(long)]
    full: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let store = arguments.directory.open()?;
    let mut text = String::new();
    let shown = runtime()?.block_on(transcripts(&store, arguments, &mut text));
    page(&escape_controls(&text))?;
    shown.map(|()| SUCCESS)
}

/// Appends the text of each cassette. An error leaves the text of those before it.
async fn transcripts(store: &Store, arguments: &Arguments, text: &mut String) -> Result<()> {
    let mut names = None;
    let extent = Extent::whole_if(arguments.full);
    for wanted in &arguments.cassettes {
        if let Some((other, listed)) = outside(store, wanted)? {
            *text += &transcript(&other, &listed, wanted, extent).await?;
            continue;
        }
        let all = match &mut names {
            Some(all) => all,
            none => none.insert(store.list().await?),
        };
        for listed in find(store, all, wanted).await? {
            *text += &transcript(store, &listed, &listed.name, extent).await?;
        }
    }
    Ok(())
}
