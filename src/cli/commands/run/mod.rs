//! `run`: runs a command with a proxy, and prints the verdict.

mod child;
mod usage;

use std::ffi::OsString;
use std::process::ExitCode;

use self::child::{run_child, status_code};
use self::usage::UsageWatch;
use crate::cli::output::{findings, print_message};
use crate::cli::runtime::runtime;
use crate::cli::serve::{ProxyArguments, print_verdict, stop};
use crate::cli::signals::Signals;
use crate::error::Result;
use crate::key::Scope;
use crate::recorder::Summary;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    proxy: ProxyArguments,
    /// Record and replay in this scope, a folder in the cassette directory.
    #[arg(long, value_name = "NAME")]
    scope: Option<String>,
    /// Fail if a cassette in the scopes in use is not used by the proxy or by a session that the command starts.
    #[arg(long)]
    fail_unused: bool,
    /// With --fail-unused: fail for unused cassettes in all scopes, not only in the scopes in use.
    #[arg(long, requires = "fail_unused")]
    all_scopes: bool,
    /// The command and its arguments, after --.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let watch = UsageWatch::new(&arguments.proxy, arguments.fail_unused)?;
    let scope = arguments.scope.as_deref().map(Scope::new).transpose()?;
    runtime()?.block_on(async {
        let mut signals = Signals::new()?;
        let usage_log = watch.as_ref().map(UsageWatch::file);
        let proxy = arguments.proxy.start(usage_log).await?;
        let mut base = proxy.url();
        if let Some(scope) = scope {
            base = format!("{base}/c/{}", scope.as_str().replace('/', "%2F"));
        }
        let recorder = proxy.recorder().clone();
        let status = run_child(&arguments.command, &base, recorder.mode(), usage_log, &mut signals).await;
        let verdict = stop(proxy, &mut signals).await?;
        let status = status?;
        let mut exit = print_verdict(verdict);
        let has_own_sessions = watch.as_ref().is_some_and(UsageWatch::has_lines);
        if status.success() && recorder.session().summary() == Summary::default() && !has_own_sessions {
            print_message(
                "mistral-cassette: warning: the proxy received no request: does the command read the base URL from MISTRAL_SERVER_URL, or from another variable that run sets?",
            );
        }
        if arguments.fail_unused
            && let Some(watch) = &watch
            && !watch.all_are_used(&arguments.proxy.directory, arguments.all_scopes)?
        {
            exit = findings();
        }
        Ok(if status.success() {
            exit
        } else {
            ExitCode::from(status_code(status))
        })
    })
}
