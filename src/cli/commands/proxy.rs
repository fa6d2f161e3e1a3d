//! `proxy`: serves until a signal arrives, then prints the verdict.

use std::process::ExitCode;

use crate::cli::output::print;
use crate::cli::runtime::runtime;
use crate::cli::serve::{ProxyArguments, print_verdict, stop};
use crate::cli::signals::Signals;
use crate::error::Result;

pub(crate) fn run(arguments: &ProxyArguments) -> Result<ExitCode> {
    runtime()?.block_on(async {
        let mut signals = Signals::new()?;
        let proxy = arguments.start(arguments.engine()?, None).await?;
        print(&format!("listening on {}\n", proxy.url()))?;
        signals.next().await;
        let recorder = proxy.recorder().clone();
        Ok(print_verdict(stop(proxy, &mut signals).await?, recorder.session()))
    })
}
