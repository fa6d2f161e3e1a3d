//! `review`: accepts or rejects the new recordings of a refresh.

mod chain;
mod prompt;
mod session;

use std::process::ExitCode;

use self::chain::Chain;
use self::prompt::{Decision, prompt};
use self::session::Review;
use crate::cli::output::{SUCCESS, findings, print, print_differences};
use crate::cli::refresh::Journal;
use crate::cli::runtime::runtime;
use crate::cli::store::Store;
use crate::error::{Error, ErrorKind, Result};

/// How many lines of differences are shown at first.
const LINES_SHOWN: usize = 40;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The cassette directory.
    #[arg(long, value_name = "DIR", default_value = "cassettes")]
    dir: String,
    /// Accept all new recordings without a prompt.
    #[arg(long, conflicts_with = "reject_all")]
    accept_all: bool,
    /// Reject all new recordings without a prompt.
    #[arg(long)]
    reject_all: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let store = Store::open(&arguments.dir)?;
    let Some(directory) = &store.directory else {
        return Err(Error::new(
            ErrorKind::Settings,
            format!("review needs a cassette directory, but {} is a cache", store.location()),
        ));
    };
    store.check_exists()?;
    let Some(journal) = Journal::load(directory.root())? else {
        print("there is nothing to review\n")?;
        return Ok(SUCCESS);
    };
    if !journal.head.for_review {
        return Err(Error::new(
            ErrorKind::Settings,
            format!("the refresh of {} did not use --review", journal.head.at),
        )
        .with_hint("mistral-cassette refresh resumes it; use git to review what it has changed"));
    }
    let decide: fn(&Chain) -> Result<Decision> = match (arguments.accept_all, arguments.reject_all) {
        (true, _) => |_| Ok(Decision::Accept),
        (_, true) => |_| Ok(Decision::Reject),
        _ => prompt,
    };
    runtime()?.block_on(async {
        let review = Review::new(&store, directory, journal).await?;
        let chains = review.chains().await?;
        let total: usize = chains.iter().map(Chain::len).sum();
        let (mut accepted, mut rejected, mut seen) = (0, 0, 0);
        for chain in &chains {
            print_differences(&chain.text(seen, total, Some(LINES_SHOWN)))?;
            seen += chain.len();
            match decide(chain)? {
                Decision::Accept => {
                    review.accept(chain).await?;
                    accepted += chain.len();
                }
                Decision::Reject => {
                    review.reject(chain).await?;
                    rejected += chain.len();
                }
                Decision::Skip => {}
                Decision::Quit => break,
            }
        }
        let left = total - accepted - rejected;
        print(&format!("{accepted} accepted, {rejected} rejected, {left} left\n"))?;
        if left > 0 {
            return Ok(findings());
        }
        if !review.end()? {
            print("the refresh was interrupted: run the same refresh command to resume it\n")?;
        }
        Ok(SUCCESS)
    })
}
