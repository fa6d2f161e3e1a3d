//! `refresh`: asks the upstream again for what is recorded.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::show::find;
use crate::cli::change::ChangeKind;
use crate::cli::prices::{Prices, dollars, model_of};
use crate::cli::refresh::{Budget, Journal, Outcome, Recording, Refreshed, Refresher, is_drift, with_followers};
use crate::cli::store::Store;
use crate::cli::{Directory, Format, PRICES_VARIABLE, SUCCESS, count, print_differences, runtime, say, wrong};
use crate::client::{Client, Retries};
use crate::diff::Difference;
use crate::engine::{CacheEngine, DirectoryEngine, inline_bodies};
use crate::error::{Error, ErrorKind, Result};
use crate::key::RequestKey;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    directory: Directory,
    /// Which: paths, names, beginnings of keys; by default all.
    #[arg(value_name = "CASSETTE")]
    cassettes: Vec<String>,
    /// Only those of this scope and the scopes in it.
    #[arg(long, value_name = "NAME")]
    scope: Option<String>,
    /// Only those of this endpoint, such as chat-completions.
    #[arg(long, value_name = "NAME")]
    endpoint: Option<String>,
    /// Only those of this model.
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// Only those that this test recorded; a part of its name is enough.
    #[arg(long, value_name = "NAME")]
    test: Option<String>,
    /// Only those that were recorded longer ago than this: 12h, 30d.
    #[arg(long, value_name = "DURATION", value_parser = crate::settings::duration::parse_duration)]
    older_than: Option<Duration>,
    /// Write nothing; exit with 1 when answers have changed by more than ids and times.
    #[arg(long)]
    dry_run: bool,
    /// Put new recordings aside, for `review` to step through.
    #[arg(long, conflicts_with = "dry_run")]
    review: bool,
    /// The most requests to send; what is left stays as it was.
    #[arg(long, value_name = "NUMBER", default_value_t = usize::MAX, hide_default_value = true)]
    max_requests: usize,
    /// The most to spend, in US dollars, by the table of prices; what is left stays as it was.
    #[arg(long, value_name = "DOLLARS", value_parser = amount)]
    max_cost: Option<f64>,
    /// A table of prices, in place of the one that comes with the program.
    #[arg(long, value_name = "FILE", env = PRICES_VARIABLE)]
    prices: Option<PathBuf>,
    /// Begin again, in place of going on with a refresh that was broken off.
    #[arg(long)]
    restart: bool,
    /// How many requests to send at once.
    #[arg(long, value_name = "NUMBER", default_value_t = 4)]
    at_once: usize,
    /// Where the real API is.
    #[arg(long, value_name = "URL", default_value = crate::upstream::DEFAULT_UPSTREAM)]
    upstream: String,
    /// Show what has changed in each, and not only that.
    #[arg(long)]
    show: bool,
    /// How to print.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let key = std::env::var(crate::http::API_KEY_VARIABLE)
        .ok()
        .filter(|key| !key.is_empty())
        .ok_or_else(|| {
            Error::new(ErrorKind::Settings, "there is no API key to ask the upstream with")
                .with_hint("set MISTRAL_API_KEY")
        })?;
    let store = arguments.directory.open()?;
    let prices = Prices::new(arguments.prices.as_deref())?;
    let journal = arguments.journal(&store)?;
    runtime()?.block_on(async {
        let client = Client::builder()
            .api_key(key)
            .base_url(&arguments.upstream)
            .retries(Retries::new(5))
            .build()?;
        let mut refresher = Refresher {
            aside: arguments.aside(&store)?,
            engine: store.engine.clone(),
            settings: store.settings().await?,
            client,
            is_dry: arguments.dry_run,
            budget: Budget {
                requests: arguments.max_requests,
                cost: arguments.max_cost.unwrap_or(f64::INFINITY),
            },
            prices,
            at_once: arguments.at_once,
            journal,
            stop: CancellationToken::new(),
        };
        if let Some(journal) = refresher.journal.as_ref().filter(|journal| journal.goes_on) {
            say(&format!(
                "going on with the refresh that began at {}; --restart begins again",
                journal.head.at
            ));
        }
        let done = refresher.done().await?;
        let (chosen, mut is_well) = arguments.chosen(&store, &refresher, &done).await?;
        let estimate = Estimate::of(&chosen, &refresher.prices);
        if arguments.max_cost.is_some() {
            estimate.demand_prices()?;
        }
        say(&estimate.to_string());
        let all = with_bar(&refresher, chosen).await;
        is_well &= !all.iter().any(|refreshed| match &refreshed.outcome {
            Outcome::Failed(_) | Outcome::NotSent(_) => true,
            outcome => arguments.dry_run && is_drift(outcome),
        });
        is_well &= !refresher.stop.is_cancelled();
        print_differences(&match arguments.format {
            Format::Text => text(&all, arguments.show),
            Format::Json => format!("{:#}\n", document(&all, &estimate)),
        })?;
        end(refresher, &all)?;
        Ok(if is_well { SUCCESS } else { wrong() })
    })
}

/// Asks for all, under a bar; an interrupt lets what is under way come to its end, a second one does not.
async fn with_bar(refresher: &Refresher, chosen: Vec<Recording>) -> Vec<Refreshed> {
    let bar = ProgressBar::new(chosen.len() as u64);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} recordings, {eta} left") {
        bar.set_style(style);
    }
    let stop = refresher.stop.clone();
    let listening = tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            stop.cancel();
            say("waiting for the requests that are under way; another interrupt ends them");
        }
        if tokio::signal::ctrl_c().await.is_ok() {
            std::process::exit(130);
        }
    });
    let mut all = refresher.run(chosen, |_| bar.inc(1)).await;
    listening.abort();
    bar.finish_and_clear();
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

/// Closes the journal, unless there is something to go on with.
fn end(refresher: Refresher, all: &[Refreshed]) -> Result<()> {
    let Some(journal) = refresher.journal else {
        return Ok(());
    };
    let is_left = |refreshed: &&Refreshed| matches!(refreshed.outcome, Outcome::Failed(_) | Outcome::Left(_));
    match all.iter().filter(is_left).count() {
        0 if journal.is_waiting() => {
            say("nothing is changed yet: mistral-cassette review steps through what is new");
            journal.finish()
        }
        0 => journal.remove(),
        left => {
            if !journal.is_empty() {
                let left = count(left, "recording");
                say(&format!(
                    "{left} left: the same command goes on with them, with --restart it begins again"
                ));
            }
            Ok(())
        }
    }
}

/// What a refresh will probably cost: what the recordings took when they were made.
struct Estimate {
    recordings: usize,
    requests: usize,
    cost: f64,
    /// Models without a price, and how many recordings they have.
    unknown: BTreeMap<String, usize>,
    /// The date of the prices.
    date: String,
}

impl Estimate {
    fn of(chosen: &[Recording], prices: &Prices) -> Self {
        let mut estimate = Self {
            recordings: chosen.len(),
            requests: 0,
            cost: 0.0,
            unknown: BTreeMap::new(),
            date: prices.date.clone(),
        };
        for recording in chosen {
            estimate.requests += recording.cassette.responses.len();
            let spent = prices.spent(&recording.cassette);
            match spent.cost {
                Some(cost) => estimate.cost += cost,
                None => {
                    *estimate
                        .unknown
                        .entry(spent.model.unwrap_or_else(|| "no model".to_owned()))
                        .or_default() += 1
                }
            }
        }
        estimate
    }

    /// # Errors
    /// [`ErrorKind::Settings`] when a price is not known: a budget would not be kept.
    fn demand_prices(&self) -> Result<()> {
        if self.unknown.is_empty() {
            return Ok(());
        }
        let models: Vec<&str> = self.unknown.keys().map(String::as_str).collect();
        Err(Error::new(
            ErrorKind::Settings,
            format!("--max-cost cannot be kept: there is no price for {}", models.join(", ")),
        )
        .with_hint("name them in a table of your own with --prices FILE, or leave them out with --model"))
    }
}

impl fmt::Display for Estimate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "asking again for {} with {}: about {} at the prices of {}",
            count(self.recordings, "recording"),
            count(self.requests, "request"),
            dollars(self.cost),
            self.date
        )?;
        if !self.unknown.is_empty() {
            let models: Vec<String> = self
                .unknown
                .iter()
                .map(|(model, number)| format!("{model} ({number})"))
                .collect();
            write!(f, ", and what has no price there: {}", models.join(", "))?;
        }
        Ok(())
    }
}

/// An amount of money on the command line.
fn amount(text: &str) -> Result<f64, String> {
    match text.trim_start_matches('$').parse::<f64>() {
        Ok(amount) if amount.is_finite() && amount >= 0.0 => Ok(amount),
        _ => Err("an amount in US dollars such as 0.50 is wanted".to_owned()),
    }
}

impl Arguments {
    /// What was done is written down in a directory; a cache is asked again from the start.
    fn journal(&self, store: &Store) -> Result<Option<Journal>> {
        match &store.directory {
            Some(directory) if !self.dry_run => Journal::open(directory.root(), self.review, self.restart).map(Some),
            _ => Ok(None),
        }
    }

    /// Where new recordings wait for review.
    fn aside(&self, store: &Store) -> Result<Option<Arc<dyn CacheEngine>>> {
        if !self.review {
            return Ok(None);
        }
        let Some(directory) = &store.directory else {
            return Err(Error::new(
                ErrorKind::Settings,
                "--review needs a cassette directory, and this is a cache",
            ));
        };
        Ok(Some(Arc::new(DirectoryEngine::new(Journal::pending(directory.root())))))
    }

    /// The recordings that are meant, and those that follow from them; and whether all could be read.
    async fn chosen(
        &self,
        store: &Store,
        refresher: &Refresher,
        done: &BTreeSet<String>,
    ) -> Result<(Vec<Recording>, bool)> {
        let all = store.read_all().await?;
        let mut named = Vec::new();
        for wanted in &self.cassettes {
            named.extend(
                find(store, &all, wanted)?
                    .into_iter()
                    .map(|(listed, _)| listed.name.clone()),
            );
        }
        let (mut recordings, mut is_well, mut has_any) = (Vec::new(), true, false);
        for (listed, cassette) in all {
            let place = store.place_of(&listed);
            let read = async { inline_bodies(&*store.engine, cassette?, &place).await };
            let cassette = match read.await {
                Ok(cassette) => cassette,
                Err(error) => {
                    say(&format!("error: {}", error.report()));
                    is_well = false;
                    continue;
                }
            };
            // A file that no key is named after is never found, and so not refreshed.
            let Some(found) = listed.key else { continue };
            if let Err(error) = found.check(&cassette, || place) {
                say(&format!("error: {}", error.report()));
                is_well = false;
                continue;
            }
            let key = RequestKey::from_parts(
                cassette.key.clone(),
                found.scope().clone(),
                found.endpoint().to_owned(),
                found.slug().to_owned(),
            );
            let recording = Recording {
                name: listed.name,
                key,
                cassette,
            };
            has_any |= self.is_of(&recording);
            if !done.contains(&recording.name) {
                recordings.push(recording);
            }
        }
        let filters = [
            ("scope", &self.scope),
            ("endpoint", &self.endpoint),
            ("model", &self.model),
            ("test", &self.test),
        ];
        let given = filters
            .iter()
            .filter_map(|(name, value)| Some(format!(" --{name} {}", value.as_ref()?)));
        let given: String = given.collect();
        // A slip of the pen would end well without a word, with nothing asked.
        if !has_any && !given.is_empty() {
            say(&format!("warning: no recording in {} is of{given}", store.place()));
        }
        let is_chosen = |recording: &Recording| {
            let is_named = named.is_empty() || named.contains(&recording.name);
            (is_named && self.is_meant(recording)) || refresher.is_behind(recording)
        };
        Ok((with_followers(recordings, is_chosen), is_well))
    }

    fn is_meant(&self, recording: &Recording) -> bool {
        self.is_of(recording)
            && self
                .older_than
                .is_none_or(|age| recording.cassette.recorded.age() > age)
    }

    /// Whether it is of the scope, endpoint, model and test that were named.
    fn is_of(&self, recording: &Recording) -> bool {
        let Recording { key, cassette, .. } = recording;
        let in_scope = |wanted: &String| {
            let scope = key.scope().as_str();
            scope == wanted
                || scope
                    .strip_prefix(wanted.as_str())
                    .is_some_and(|rest| rest.starts_with('/'))
        };
        self.scope.as_ref().is_none_or(in_scope)
            && self.endpoint.as_ref().is_none_or(|endpoint| key.endpoint() == endpoint)
            && self
                .model
                .as_ref()
                .is_none_or(|model| model_of(cassette).as_ref() == Some(model))
            && self
                .test
                .as_ref()
                .is_none_or(|test| cassette.recorded.test.as_ref().is_some_and(|name| name.contains(test)))
    }
}

fn said(outcome: &Outcome) -> String {
    match outcome {
        Outcome::PreparedRequest { change, moved: None } => change.grade.name().to_owned(),
        Outcome::PreparedRequest {
            change,
            moved: Some(moved),
        } => format!("{}, asked otherwise now: {moved}", change.grade),
        Outcome::NotSent(why) => format!("not asked: {why}"),
        Outcome::Failed(error) => format!("failed: {}", error.message().lines().next().unwrap_or_default()),
        Outcome::Left(why) => format!("left: {why}"),
    }
}

fn text(all: &[Refreshed], show: bool) -> String {
    let mut text = String::new();
    let mut same = 0;
    for refreshed in all {
        match &refreshed.outcome {
            Outcome::PreparedRequest { change, moved: None } if change.grade <= ChangeKind::Volatile => same += 1,
            outcome => text.push_str(&format!("{}: {}\n", refreshed.name, said(outcome))),
        }
        if let (true, Outcome::PreparedRequest { change, .. }) = (show, &refreshed.outcome) {
            for line in change.differences.iter().flat_map(Difference::lines) {
                text.push_str(&format!("    {line}\n"));
            }
        }
    }
    text.push_str(&format!(
        "{} asked for, {same} say the same, {} spent\n",
        count(all.len(), "recording"),
        dollars(spent(all))
    ));
    text
}

/// What asking has cost, as far as prices are known.
fn spent(all: &[Refreshed]) -> f64 {
    // The sum of nothing is a negative zero.
    all.iter()
        .filter_map(|refreshed| refreshed.cost)
        .fold(0.0, |sum, cost| sum + cost)
}

fn document(all: &[Refreshed], estimate: &Estimate) -> Value {
    let row = |refreshed: &Refreshed| {
        let (change, moved, differences) = match &refreshed.outcome {
            Outcome::PreparedRequest { change, moved } => {
                (Some(change.grade.name()), moved.clone(), change.differences.clone())
            }
            _ => (None, None, Vec::new()),
        };
        let differences: Vec<Value> = differences
            .iter()
            .map(|difference| json!({ "pointer": difference.pointer, "old": difference.old, "new": difference.new }))
            .collect();
        json!({ "name": refreshed.name, "outcome": said(&refreshed.outcome), "change": change, "moved": moved, "cost": refreshed.cost, "differences": differences })
    };
    json!({
        "recordings": all.iter().map(row).collect::<Vec<_>>(),
        "estimated_cost": estimate.cost,
        "cost": spent(all),
        "prices": estimate.date,
    })
}
