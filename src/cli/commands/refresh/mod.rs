//! `refresh`: sends the recorded requests again, and records the responses that changed.

mod estimate;
mod selection;
mod summary;

use std::collections::HashSet;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio_util::sync::CancellationToken;

use self::estimate::Estimate;
use self::selection::Selection;
use crate::cli::arguments::{ComparisonOutput, Directory, Format, PriceTable};
use crate::cli::output::{count, print_differences, print_message};
use crate::cli::progress::Progress;
use crate::cli::refresh::{Budget, Journal, Outcome, Recording, RefreshResult, Refresher};
use crate::cli::runtime::runtime;
use crate::cli::store::Store;
use crate::client::{Client, Retries};
use crate::engine::{CacheEngine, DirectoryEngine};
use crate::error::{Error, ErrorKind, Result};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    directory: Directory,
    #[command(flatten)]
    selection: Selection,
    /// Write nothing; exit with status 1 if responses changed in more than ids and times.
    #[arg(long)]
    dry_run: bool,
    /// With --dry-run: also send the requests that create, change or delete something upstream.
    #[arg(long, requires = "dry_run")]
    send_writes: bool,
    /// Store the new recordings separately, for `review`.
    #[arg(long, conflicts_with = "dry_run")]
    review: bool,
    /// Send at most this number of requests; the other recordings do not change.
    #[arg(long, value_name = "NUMBER", default_value_t = usize::MAX, hide_default_value = true)]
    max_requests: usize,
    /// Spend at most this amount in US dollars, according to the price table; the other recordings do not change.
    #[arg(long, value_name = "DOLLARS", value_parser = amount)]
    max_cost: Option<f64>,
    #[command(flatten)]
    prices: PriceTable,
    /// Start over instead of resuming an interrupted refresh.
    #[arg(long)]
    restart: bool,
    /// The number of chains of requests that are sent at the same time.
    #[arg(long, value_name = "NUMBER", default_value_t = 4)]
    at_once: usize,
    /// The base URL of the real API. Without it, MISTRAL_SERVER_URL, or the API itself; recordings must then be from there.
    #[arg(long, value_name = "URL")]
    upstream: Option<String>,
    /// Write what has changed to this file, as Markdown for a pull request.
    #[arg(long, value_name = "FILE")]
    summary: Option<PathBuf>,
    #[command(flatten)]
    comparison: ComparisonOutput,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let key = api_key()?;
    let store = arguments.directory.open()?;
    store.check_exists()?;
    runtime()?.block_on(async {
        let mut refresher = arguments.refresher(key, &store).await?;
        if let Some(journal) = refresher.journal.as_ref().filter(|journal| journal.is_resumed) {
            print_message(&format!(
                "resuming the refresh of {}; --restart starts over",
                journal.head.at
            ));
        }
        let done = refresher.resume().await?;
        let mut checked = arguments.selection.checked(&store)?;
        let before = (checked.as_ref(), &*refresher.upstream);
        let (chosen, mut is_complete) = arguments.selection.apply(&store, &done, before).await?;
        if arguments.upstream.is_none() {
            check_origins(&chosen, &refresher.upstream)?;
        }
        let estimate = Estimate::of(&chosen, &refresher.prices);
        if arguments.max_cost.is_some() {
            estimate.require_prices()?;
        }
        print_message(&estimate.to_string());
        let all = send(&refresher, chosen).await;
        is_complete &= !refresher.stop.is_cancelled();
        let sent = refresher.sent.load(Ordering::Relaxed);
        print_differences(&match arguments.comparison.output.format {
            Format::Text => summary::text(&all, sent, arguments.comparison.show),
            Format::Json => format!("{:#}\n", summary::document(&all, sent, &estimate)),
        })?;
        if let Some(file) = &arguments.summary {
            std::fs::write(file, summary::markdown(&all, sent)).map_err(|error| {
                Error::new(ErrorKind::Io, format!("cannot write {}", file.display())).with_source(error)
            })?;
        }
        if let Some(checked) = checked.as_mut().filter(|_| !arguments.dry_run) {
            let names = names(&store).await?;
            let checks = std::mem::take(&mut *refresher.checks());
            checked.update(checks, |name| names.contains(name))?;
        }
        let is_key_refused = refresher.is_key_refused.load(Ordering::Relaxed);
        close_journal(refresher, &all)?;
        if is_key_refused {
            return Err(
                Error::new(ErrorKind::Settings, "the upstream refused the API key (status 401)")
                    .with_hint("check MISTRAL_API_KEY; no more requests were sent, and the same command resumes"),
            );
        }
        Ok(exit_code(&all, is_complete, arguments.dry_run))
    })
}

/// 0: no recording has changed. 1: some have, or in a dry run they would by more than ids and times. 2: something failed.
fn exit_code(all: &[RefreshResult], is_complete: bool, dry_run: bool) -> ExitCode {
    let has_failed = all.iter().any(|result| {
        matches!(
            result.outcome,
            Outcome::Failed(_) | Outcome::NotSent(_) | Outcome::LeftForChain { .. }
        )
    });
    let has_changed = all.iter().any(|result| match &result.outcome {
        Outcome::Refreshed { is_changed, .. } if !dry_run => *is_changed,
        outcome => outcome.is_drift(),
    });
    ExitCode::from(match (is_complete && !has_failed, has_changed) {
        (false, _) => 2,
        (true, true) => 1,
        (true, false) => 0,
    })
}

fn api_key() -> Result<String> {
    std::env::var(crate::http::API_KEY_VARIABLE)
        .ok()
        .filter(|key| !key.is_empty())
        .ok_or_else(|| Error::new(ErrorKind::Settings, "refresh needs an API key").with_hint("set MISTRAL_API_KEY"))
}

/// The base URL that the environment names, or that of the API.
fn upstream_of_environment() -> String {
    let named = std::env::var(crate::upstream::BASE_URL_VARIABLE)
        .ok()
        .filter(|url| !url.is_empty());
    named.unwrap_or_else(|| crate::upstream::DEFAULT_UPSTREAM.to_owned())
}

/// Fails when a recording is from another host than the one to which the API key would be sent.
fn check_origins(recordings: &[Recording], upstream: &str) -> Result<()> {
    let host = |url: &str| {
        reqwest::Url::parse(url)
            .ok()
            .map(|url| url.origin().ascii_serialization())
    };
    let other = recordings.iter().find_map(|recording| {
        let from = recording.cassette.recorded.from.as_deref()?;
        (host(from) != host(upstream)).then_some((&recording.name, from))
    });
    let Some((name, from)) = other else { return Ok(()) };
    let message = format!("{name} was recorded from {from}, and the API key would be sent to {upstream}");
    Err(Error::new(ErrorKind::Settings, message).with_hint(format!(
        "pass --upstream {from} or --upstream {upstream} to say where the key may go"
    )))
}

/// The names of all recordings.
async fn names(store: &Store) -> Result<HashSet<String>> {
    let listed = store.list().await?.into_iter();
    Ok(listed.map(|listed| listed.name).collect())
}

/// An amount of money on the command line.
fn amount(text: &str) -> Result<f64, String> {
    match text.trim_start_matches('$').parse::<f64>() {
        Ok(amount) if amount.is_finite() && amount >= 0.0 => Ok(amount),
        _ => Err("expected an amount in US dollars such as 0.50".to_owned()),
    }
}

impl Arguments {
    async fn refresher(&self, key: String, store: &Store) -> Result<Refresher> {
        let prices = self.prices.read()?;
        let journal = self.journal(store)?;
        let upstream = self.upstream.clone().unwrap_or_else(upstream_of_environment);
        let client = Client::builder()
            .api_key(key)
            .base_url(&upstream)
            .retries(Retries::new(5))
            .build()?;
        Ok(Refresher {
            pending: self.review_engine(store)?,
            engine: store.engine.clone(),
            settings: store.settings().await?,
            upstream: client.origin().to_owned(),
            client,
            dry_run: self.dry_run,
            sends_writes: self.send_writes,
            budget: Mutex::new(Budget {
                requests: self.max_requests,
                cost: self.max_cost.unwrap_or(f64::INFINITY),
            }),
            sent: AtomicUsize::new(0),
            prices,
            concurrency: self.at_once,
            journal,
            stop: CancellationToken::new(),
            is_key_refused: AtomicBool::new(false),
            checks: Mutex::default(),
        })
    }

    /// The journal, which lets an interrupted refresh of a directory resume; the refresh of a cache starts over.
    fn journal(&self, store: &Store) -> Result<Option<Journal>> {
        match &store.directory {
            Some(directory) if !self.dry_run => Journal::open(directory.root(), self.review, self.restart).map(Some),
            _ => Ok(None),
        }
    }

    /// The engine that stores new recordings until their review.
    fn review_engine(&self, store: &Store) -> Result<Option<Arc<dyn CacheEngine>>> {
        if !self.review {
            return Ok(None);
        }
        let Some(directory) = &store.directory else {
            return Err(Error::new(
                ErrorKind::Settings,
                format!(
                    "--review needs a cassette directory, but {} is a cache",
                    store.location()
                ),
            ));
        };
        Ok(Some(Arc::new(DirectoryEngine::new(Journal::pending_folder(
            directory.root(),
        )))))
    }
}

/// Sends all requests, and shows a progress bar. The first interrupt waits for the running requests, the second does not.
async fn send(refresher: &Refresher, chosen: Vec<Recording>) -> Vec<RefreshResult> {
    let mut progress = Progress::new(chosen.len(), "recordings");
    let stop = refresher.stop.clone();
    let listening = tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            stop.cancel();
            print_message("waiting for the running requests; interrupt again to stop now");
        }
        if tokio::signal::ctrl_c().await.is_ok() {
            std::process::exit(130);
        }
    });
    let mut all = refresher.run(chosen, |_| progress.advance()).await;
    listening.abort();
    drop(progress);
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

/// Closes the journal, unless the refresh is incomplete and can resume.
fn close_journal(refresher: Refresher, all: &[RefreshResult]) -> Result<()> {
    let Some(journal) = refresher.journal else {
        return Ok(());
    };
    let is_left = |refreshed: &&RefreshResult| matches!(refreshed.outcome, Outcome::Failed(_) | Outcome::Skipped(_));
    match all.iter().filter(is_left).count() {
        0 if journal.has_pending() => {
            print_message(
                "no cassette has changed yet: run mistral-cassette review to accept or reject the new recordings",
            );
            journal.finish()
        }
        0 => journal.remove(),
        left => {
            if !journal.is_empty() {
                let left = count(left, "recording");
                print_message(&format!(
                    "{left} left: run the same command to resume, or add --restart to start over"
                ));
            }
            Ok(())
        }
    }
}
