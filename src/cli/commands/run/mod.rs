//! `run`: runs a command with a proxy, and prints the verdict.

mod child;
mod repeat;
mod usage;

use std::ffi::OsString;
use std::path::Path;
use std::process::{ExitCode, ExitStatus};
use std::sync::Arc;

use self::child::{run_child, status_code};
use self::repeat::{Counter, Ended};
use self::usage::UsageWatch;
use crate::cli::intercept::{Environment, INTERCEPTION, Variable};
use crate::cli::output::{SUCCESS, count, findings, print_message};
use crate::cli::proxy_session::{Extras, ProxyArguments, print_verdict, stop};
use crate::cli::runtime::runtime;
use crate::cli::signals::Signals;
use crate::cli::ui::UiArguments;
#[cfg(target_os = "linux")]
use crate::cli::{output::print_error, sandbox::Sandbox};
use crate::engine::StagedEngine;
use crate::error::{Error, ErrorKind, Result};
use crate::key::Scope;
use crate::mode::Mode;
use crate::proxy::{Interception, Proxy};
use crate::recorder::{RequestListener, Summary};

/// When the recordings of a run are saved.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum SaveOn {
    /// As soon as a response is complete.
    Always,
    /// At the end of a run that succeeded.
    Success,
}

#[derive(clap::Args, Clone)]
#[command(group = clap::ArgGroup::new("unused").args(["fail_unused", "prune"]))]
pub(crate) struct Arguments {
    #[command(flatten)]
    proxy: ProxyArguments,
    #[command(flatten)]
    ui: UiArguments,
    /// Do not intercept HTTPS: the command has to use the base URL variables.
    #[arg(long, conflicts_with_all = ["intercept", "ca_file", "block_network", "allow_net"], help_heading = INTERCEPTION)]
    no_intercept: bool,
    /// On Linux: run the command in a network in which only the proxy is reachable, so that a client that ignores it fails.
    #[arg(long, conflicts_with = "no_intercept", help_heading = INTERCEPTION)]
    sandbox: bool,
    /// Accept a run in which the command sends no request to the API.
    #[arg(long)]
    allow_no_requests: bool,
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
    /// When to save what the run records. With success, it is discarded if the command or the verdict fails.
    #[arg(long, value_name = "WHEN", default_value = "always")]
    save_on: SaveOn,
    /// Run the command this many times, from the second time on in mode strict, and report the requests that differ from those
    /// of the first run.
    #[arg(long, value_name = "NUMBER", conflicts_with_all = ["fail_unused", "prune", "ui"], value_parser = clap::value_parser!(u16).range(2..))]
    repeat: Option<u16>,
    /// The command and its arguments, after --.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let Some(times) = arguments.repeat else {
        return once(arguments).map(|ended| ended.exit);
    };
    if arguments.proxy.mode()? == Mode::Live {
        return Err(Error::new(
            ErrorKind::Settings,
            "--repeat compares runs with recordings, and mode live makes none",
        )
        .with_hint("use mode replay"));
    }
    let mut strict = arguments.clone();
    // A request that differs must not be recorded, because the next run would then replay it.
    strict.proxy.mode = Some(Mode::Strict);
    repeat::run(times, || once(arguments), || once(&strict))
}

fn once(arguments: &Arguments) -> Result<Ended> {
    let records = arguments.proxy.records()?;
    if arguments.prune && !records {
        return Err(Error::new(ErrorKind::Settings, "--prune needs mode record").with_hint(
            "after a run in another mode, mistral-cassette prune deletes unused cassettes, given its usage log",
        ));
    }
    let watch = UsageWatch::new(&arguments.proxy, arguments.fail_unused)?;
    let scope = arguments.scope.as_deref().map(Scope::new).transpose()?;
    let interception = arguments.interception(scope.as_ref())?;
    runtime()?.block_on(async {
        let mut signals = Signals::new()?;
        let usage_log = watch.file();
        let is_staged = arguments.save_on == SaveOn::Success;
        let (engine, staged) = StagedEngine::stage_if(is_staged, arguments.proxy.engine()?)?;
        let mut ui = arguments.ui.open().await?;
        let counter = arguments.repeat.map(|_| Arc::new(Counter::default()));
        let counting = || counter.clone().map(|counter| counter as Arc<dyn RequestListener>);
        let extras = Extras {
            usage_log: Some(usage_log),
            interception: interception.clone(),
            // --repeat and --ui exclude each other.
            listener: ui.listener().or_else(counting),
            ..Extras::default()
        };
        let proxy = arguments.proxy.start(engine.clone(), extras).await?;
        if let Some(page) = ui.serve(&proxy, &arguments.proxy, engine)? {
            print_message(&format!("mistral-cassette: live view on {page}"));
        }
        let environment = arguments.environment(&proxy, scope.as_ref(), interception.as_ref())?;
        let recorder = proxy.recorder().clone();
        let variables = environment.variables.clone();
        let status = match arguments.sandbox {
            true => run_in_sandbox(&arguments.command, variables, usage_log, &mut signals, &proxy).await,
            false => run_child(&arguments.command, variables, usage_log, &mut signals).await,
        };
        let verdict = stop(proxy, &mut signals).await;
        ui.end(&recorder).await;
        let verdict = verdict?;
        let status = status?;
        let has_succeeded = status.success() && verdict.result.is_ok();
        let of_command = watch.of_command(&recorder)?;
        let mut exit = print_verdict(verdict, recorder.session(), of_command);
        if let Some(staged) = staged {
            save(&staged, has_succeeded).await?;
        }
        let has_requests = recorder.session().summary() != Summary::default() || of_command.is_some();
        if status.success() && !has_requests && !arguments.allow_no_requests {
            print_message(&format!("mistral-cassette: {}", NO_REQUESTS));
            exit = findings();
        }
        let lacks_key = recorder.session().is_ended_without_key();
        if !arguments.check_unused(&watch, has_succeeded, recorder.mode()).await? && !lacks_key {
            exit = findings();
        }
        if !status.success() && !lacks_key {
            exit = ExitCode::from(status_code(status));
        }
        Ok(Ended {
            exit,
            is_success: exit == SUCCESS,
            failures: recorder.session().failures(),
            sent: counter.map(|counter| counter.take()).unwrap_or_default(),
        })
    })
}

/// Runs the command in a namespace, whose connections the proxy accepts.
#[cfg(target_os = "linux")]
async fn run_in_sandbox(
    command: &[OsString],
    variables: Vec<Variable>,
    usage_log: &Path,
    signals: &mut Signals,
    proxy: &Proxy,
) -> Result<ExitStatus> {
    let sandbox = Sandbox::new()?;
    let command = sandbox.wrap(command, proxy.address())?;
    let ended = run_child(&command, variables, usage_log, signals);
    let accepting = async {
        match sandbox.listener().await {
            Ok(listener) => proxy.accept_from(listener).await,
            Err(error) => print_error(&error),
        }
        std::future::pending().await
    };
    tokio::select! {
        status = ended => status,
        () = accepting => Err(Error::new(ErrorKind::Internal, "the proxy of the sandbox has ended")),
    }
}

#[cfg(not(target_os = "linux"))]
async fn run_in_sandbox(
    _command: &[OsString],
    _variables: Vec<Variable>,
    _usage_log: &Path,
    _signals: &mut Signals,
    _proxy: &Proxy,
) -> Result<ExitStatus> {
    Err(
        Error::new(ErrorKind::Settings, "--sandbox needs the namespaces of Linux")
            .with_hint("use --block-network, which refuses what passes through the proxy"),
    )
}

/// The message of a run in which the command has sent no request to the API.
const NO_REQUESTS: &str = "the proxy received no request from the command

hint: docs/interception.md says what to do for a client that reads neither HTTPS_PROXY nor a base URL variable; --allow-no-requests accepts a run without requests";

impl Arguments {
    fn interception(&self, scope: Option<&Scope>) -> Result<Option<Interception>> {
        if self.no_intercept {
            return Ok(None);
        }
        let scope = scope.cloned().unwrap_or_else(Scope::root);
        self.proxy.intercept.interception(scope).map(Some)
    }

    /// The variables for the command, and the files to which they refer.
    fn environment(
        &self,
        proxy: &Proxy,
        scope: Option<&Scope>,
        interception: Option<&Interception>,
    ) -> Result<Environment> {
        let base = scope.map_or_else(|| proxy.url(), |scope| proxy.url_in(scope));
        Environment::new(proxy, &base, interception, self.proxy.intercept.takes_plain_http())
    }

    /// Names, deletes or reports the cassettes that the run has not used, depending on the options. Returns whether the run
    /// may end with success.
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
    let recordings = count(staged.staged(), "recording");
    print_message(&format!(
        "mistral-cassette: the run failed: {recordings} not saved (--save-on success)"
    ));
    Ok(())
}
