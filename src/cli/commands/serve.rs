//! `serve`: a proxy whose sessions a test runner opens and closes over the control channel.

use std::process::ExitCode;
use std::time::Duration;

use crate::cli::arguments::PriceTable;
use crate::cli::control::Controller;
use crate::cli::intercept::Environment;
use crate::cli::output::SUCCESS;
use crate::cli::proxy_session::{Extras, ProxyArguments, print_verdict, stop};
use crate::cli::runtime::runtime;
use crate::cli::signals::Signals;
use crate::error::{Error, ErrorKind, Result};
use crate::key::Scope;
use crate::proxy::OpenSessions;

/// How the runner controls the process.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Control {
    /// Commands on standard input, answers on standard output: JSON, one object in each line.
    Stdio,
}

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    proxy: ProxyArguments,
    #[command(flatten)]
    prices: PriceTable,
    /// How the runner controls the process (docs/control.md).
    #[arg(long, required = true)]
    control: Control,
}

/// How long the end of the process waits for requests. The sessions of the runner have been waited for before.
const LAST_WAIT: Duration = Duration::from_secs(3);

fn still_in_progress() -> Error {
    Error::new(
        ErrorKind::Upstream,
        "stopped while requests were in progress: their responses are not recorded",
    )
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let Control::Stdio = arguments.control;
    let interception = arguments.proxy.intercept.interception(Scope::root())?;
    let prices = arguments.prices.read()?;
    runtime()?.block_on(async {
        let mut signals = Signals::new()?;
        let (open, options) = (OpenSessions::default(), &arguments.proxy);
        let extras = Extras {
            interception: Some(interception.clone()),
            sessions: Some(open.clone()),
            ..Extras::default()
        };
        let proxy = options.start(options.engine()?, extras).await?;
        let environment = Environment::new(
            &proxy,
            &proxy.url(),
            Some(&interception),
            options.intercept.takes_plain_http(),
        )?;
        let mut controller = Controller::new(options, &proxy, &environment, prices, open)?;
        let ended = controller.run(&mut signals).await;
        let recorder = proxy.recorder().clone();
        let stopped = tokio::time::timeout(LAST_WAIT, stop(proxy, &mut signals)).await;
        ended?;
        let verdict = stopped.unwrap_or_else(|_| Err(still_in_progress()))?;
        // The runner has asked for the verdicts of its sessions. What belongs to none of them is reported here.
        Ok(match verdict.result.is_ok() {
            true => SUCCESS,
            false => print_verdict(verdict, recorder.session(), None),
        })
    })
}
