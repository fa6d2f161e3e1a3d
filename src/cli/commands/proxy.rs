//! `proxy`: serves until a signal arrives, then prints the verdict.

use std::process::ExitCode;

use crate::cli::intercept::{Trust, explain};
use crate::cli::output::{print, print_message};
use crate::cli::proxy_session::{ProxyArguments, print_verdict, stop};
use crate::cli::runtime::runtime;
use crate::cli::signals::Signals;
use crate::error::Result;
use crate::key::Scope;

pub(crate) fn run(arguments: &ProxyArguments) -> Result<ExitCode> {
    let interception = match arguments.intercept.is_wanted() {
        true => Some(arguments.intercept.interception(Scope::root())?),
        false => None,
    };
    runtime()?.block_on(async {
        let mut signals = Signals::new()?;
        let proxy = arguments.start(arguments.engine()?, None, interception.clone()).await?;
        let trust = match (&interception, proxy.certificate()) {
            (Some(interception), Some(certificate)) => Some(Trust::new(certificate, interception, proxy.address())?),
            _ => None,
        };
        print(&format!("listening on {}\n", proxy.url()))?;
        if let (Some(interception), Some(trust)) = (&interception, &trust) {
            print_message(&explain(&proxy.url(), interception, trust));
        }
        signals.next().await;
        let recorder = proxy.recorder().clone();
        Ok(print_verdict(
            stop(proxy, &mut signals).await?,
            recorder.session(),
            None,
        ))
    })
}
