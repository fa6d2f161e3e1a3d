//! `refresh`: asks the upstream again for what is recorded.

use std::process::ExitCode;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use super::show::find;
use super::store::Store;
use super::{Directory, Format, WELL, count, print_differences, runtime, say, wrong};
use crate::cassette::{Blob, RecordedBody};
use crate::client::{Client, Retries};
use crate::difference::Difference;
use crate::error::{Error, ErrorKind, Result};
use crate::grade::Grade;
use crate::key::RequestKey;
use crate::message::parse;
use crate::refresh::{Outcome, Recording, Refreshed, Refresher, is_drift, whole, with_followers};

#[derive(clap::Args)]
pub(super) struct Arguments {
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
    #[arg(long, value_name = "DURATION", value_parser = crate::expiry::parsed)]
    older_than: Option<Duration>,
    /// Write nothing; exit with 1 when answers have changed by more than ids and times.
    #[arg(long)]
    dry_run: bool,
    /// The most requests to send; what is left stays as it was.
    #[arg(long, value_name = "NUMBER", default_value_t = usize::MAX, hide_default_value = true)]
    max_requests: usize,
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

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let key = std::env::var(crate::recorder::KEY_VARIABLE)
        .ok()
        .filter(|key| !key.is_empty())
        .ok_or_else(|| {
            Error::new(ErrorKind::Settings, "there is no API key to ask the upstream with")
                .with_hint("set MISTRAL_API_KEY")
        })?;
    let store = arguments.directory.open()?;
    runtime()?.block_on(async {
        let client = Client::builder()
            .api_key(key)
            .base_url(&arguments.upstream)
            .retries(Retries::new(5))
            .build()?;
        let (chosen, mut is_well) = arguments.chosen(&store).await?;
        let bar = ProgressBar::new(chosen.len() as u64);
        if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} recordings, {eta} left") {
            bar.set_style(style);
        }
        let refresher = Refresher {
            engine: store.engine.clone(),
            settings: store.settings().await?,
            client,
            is_dry: arguments.dry_run,
            most_requests: arguments.max_requests,
            at_once: arguments.at_once,
        };
        let mut all = refresher.run(chosen, |_| bar.inc(1)).await;
        bar.finish_and_clear();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        print_differences(&match arguments.format {
            Format::Text => text(&all, arguments.show),
            Format::Json => format!("{:#}\n", document(&all)),
        })?;
        is_well &= !all.iter().any(|refreshed| match &refreshed.outcome {
            Outcome::Failed(_) | Outcome::NotSent(_) => true,
            outcome => arguments.dry_run && is_drift(outcome),
        });
        Ok(if is_well { WELL } else { wrong() })
    })
}

impl Arguments {
    /// The recordings that are meant, and those that follow from them; and whether all could be read.
    async fn chosen(&self, store: &Store) -> Result<(Vec<Recording>, bool)> {
        let all = store.read_all().await?;
        let mut named = Vec::new();
        for wanted in &self.cassettes {
            named.extend(
                find(store, &all, wanted)?
                    .into_iter()
                    .map(|(listed, _)| listed.name.clone()),
            );
        }
        let (mut recordings, mut is_well) = (Vec::new(), true);
        for (listed, cassette) in all {
            let place = store.place_of(&listed);
            let read = async { whole(&*store.engine, cassette?, &place).await };
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
            let key = RequestKey::from_parts(
                cassette.key.clone(),
                found.scope().clone(),
                found.endpoint().to_owned(),
                found.slug().to_owned(),
            );
            recordings.push(Recording {
                name: listed.name,
                key,
                cassette,
            });
        }
        let is_chosen =
            |recording: &Recording| (named.is_empty() || named.contains(&recording.name)) && self.is_meant(recording);
        Ok((with_followers(recordings, is_chosen), is_well))
    }

    fn is_meant(&self, recording: &Recording) -> bool {
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
                .is_none_or(|model| model_of(&cassette.request.body).as_ref() == Some(model))
            && self
                .test
                .as_ref()
                .is_none_or(|test| cassette.recorded.test.as_ref().is_some_and(|name| name.contains(test)))
            && self.older_than.is_none_or(|age| cassette.recorded.age() > age)
    }
}

fn model_of(body: &RecordedBody) -> Option<String> {
    match body {
        RecordedBody::Blob(Blob::Here(bytes)) => parse(bytes)?["model"].as_str().map(str::to_owned),
        RecordedBody::Blob(Blob::Filed { .. }) => None,
        RecordedBody::Multipart(parts) => parts.iter().find_map(|part| match &part.content {
            Blob::Here(bytes) if part.name == "model" => String::from_utf8(bytes.to_vec()).ok(),
            _ => None,
        }),
    }
}

fn said(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Asked { change, moved: None } => change.grade.name().to_owned(),
        Outcome::Asked {
            change,
            moved: Some(moved),
        } => format!("{}, asked otherwise now: {moved}", change.grade),
        Outcome::NotSent(why) => format!("not asked: {why}"),
        Outcome::Failed(error) => format!("failed: {}", error.message().lines().next().unwrap_or_default()),
        Outcome::Left => "left: the budget is spent".to_owned(),
    }
}

fn text(all: &[Refreshed], show: bool) -> String {
    let mut text = String::new();
    let mut same = 0;
    for refreshed in all {
        match &refreshed.outcome {
            Outcome::Asked { change, moved: None } if change.grade <= Grade::Volatile => same += 1,
            outcome => text.push_str(&format!("{}: {}\n", refreshed.name, said(outcome))),
        }
        if let (true, Outcome::Asked { change, .. }) = (show, &refreshed.outcome) {
            for line in change.differences.iter().flat_map(Difference::lines) {
                text.push_str(&format!("    {line}\n"));
            }
        }
    }
    text.push_str(&format!(
        "{} asked for, {same} say the same\n",
        count(all.len(), "recording")
    ));
    text
}

fn document(all: &[Refreshed]) -> Value {
    let row = |refreshed: &Refreshed| {
        let (change, moved, differences) = match &refreshed.outcome {
            Outcome::Asked { change, moved } => (Some(change.grade.name()), moved.clone(), change.differences.clone()),
            _ => (None, None, Vec::new()),
        };
        let differences: Vec<Value> = differences
            .iter()
            .map(|difference| json!({ "pointer": difference.pointer, "old": difference.old, "new": difference.new }))
            .collect();
        json!({ "name": refreshed.name, "outcome": said(&refreshed.outcome), "change": change, "moved": moved, "differences": differences })
    };
    json!({ "recordings": all.iter().map(row).collect::<Vec<_>>() })
}
