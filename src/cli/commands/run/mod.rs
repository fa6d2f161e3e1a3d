//! `run`: runs a command with a proxy, and prints the verdict.

mod child;
mod usage;

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;

use self::child::{run_child, status_code};
use self::usage::UsageWatch;
use crate::cli::output::{count, findings, print_message};
use crate::cli::runtime::runtime;
use crate::cli::serve::{ProxyArguments, print_verdict, stop};
use crate::cli::signals::Signals;
use crate::engine::StagedEngine;
use crate::error::{Error, ErrorKind, Result};
use crate::key::Scope;
use crate::mode::Mode;
use crate::recorder::Summary;

/// When the recordings of a run are saved.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum SaveOn {
    /// As soon as a response is complete.
    Always,
    /// At the end of a run that succeeded.
    Success,
}

#[derive(clap::Args)]
#[command(group = clap::ArgGroup::new("unused").args(["fail_unused", "prune"]))]
pub(crate) struct Arguments {
    #[command(flatten)]
    proxy: ProxyArguments,
    /// Record and replay in this scope, a folder in the cassette directory.
    #[arg(long, value_name = "NAME")]
    scope: Option<String>,
    /// Fail if a cassette in the scopes in use is not used by the proxy or by a session that the command starts.
    #[arg(long)]
    fail_unused: bool,
    /// With --fail-unused or --prune: consider the cassettes in all scopes, not only in the scopes in use.
    #[arg(long, requires = "unused")]
    all_scopes: bool,
    /// In mode record, after a run that succeeded: delete the cassettes in the scopes in use that the run has not used, if
    /// git can restore them.
    #[arg(long)]
    prune: bool,
    /// When what the run records is saved: success discards it if the command or the verdict fails.
    #[arg(long, value_name = "WHEN", default_value = "always")]
    save_on: SaveOn,
    /// The command and its arguments, after --.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let records = arguments.proxy.records()?;
    if arguments.prune && !records {
        return Err(Error::new(ErrorKind::Settings, "--prune needs mode record").with_hint(
            "after a run in another mode, mistral-cassette prune deletes unused cassettes, given its usage log",
        ));
    }
    let watch = UsageWatch::new(&arguments.proxy, arguments.fail_unused, records)?;
    let scope = arguments.scope.as_deref().map(Scope::new).transpose()?;
    runtime()?.block_on(async {
        let mut signals = Signals::new()?;
        let usage_log = watch.as_ref().map(UsageWatch::file);
        let mut engine = arguments.proxy.engine()?;
        let staged = match arguments.save_on {
            SaveOn::Always => None,
            SaveOn::Success => Some(Arc::new(StagedEngine::new(engine.clone())?)),
        };
        if let Some(staged) = &staged {
            engine = staged.clone();
        }
        let proxy = arguments.proxy.start(engine, usage_log).await?;
        let mut base = proxy.url();
        if let Some(scope) = scope {
            base = format!("{base}/c/{}", scope.as_str().replace('/', "%2F"));
        }
        let recorder = proxy.recorder().clone();
        let status = run_child(&arguments.command, &base, recorder.mode(), usage_log, &mut signals).await;
        let verdict = stop(proxy, &mut signals).await?;
        let status = status?;
        let has_succeeded = status.success() && verdict.is_ok();
        let mut exit = print_verdict(verdict, recorder.session());
        if let Some(staged) = staged {
            save(&staged, has_succeeded).await?;
        }
        let has_own_sessions = watch.as_ref().is_some_and(UsageWatch::has_lines);
        if status.success() && recorder.session().summary() == Summary::default() && !has_own_sessions {
            print_message(
                "mistral-cassette: warning: the proxy received no request: does the command read the base URL from MISTRAL_SERVER_URL, or from another variable that run sets?",
            );
        }
        if let Some(watch) = &watch
            && !arguments.check_unused(watch, has_succeeded, recorder.mode()).await?
        {
            exit = findings();
        }
        Ok(if status.success() || recorder.session().is_ended_without_key() {
            exit
        } else {
            ExitCode::from(status_code(status))
        })
    })
}

impl Arguments {
    /// Names, deletes or reports the cassettes that the run has not used, as the options say. Returns whether the run may
    /// end with success.
    async fn check_unused(&self, watch: &UsageWatch, has_succeeded: bool, mode: Mode) -> Result<bool> {
        let directory = &self.proxy.directory;
        if self.prune {
            // After a failure, unused cassettes may be those of tests that did not run.
            return Ok(!has_succeeded || watch.prune(directory, self.all_scopes).await?);
        }
        if self.fail_unused {
            return watch.all_are_used(directory, self.all_scopes);
        }
        if has_succeeded && mode == Mode::Record {
            watch.name_unused(directory)?;
        }
        Ok(true)
    }
}

/// Saves what a run that has succeeded has recorded.
async fn save(staged: &StagedEngine, has_succeeded: bool) -> Result<()> {
    if has_succeeded {
        staged.commit().await?;
        return Ok(());
    }
    let recordings = count(staged.staged().await?, "recording");
    print_message(&format!(
        "mistral-cassette: the run failed: {recordings} not saved (--save-on success)"
    ));
    Ok(())
}
