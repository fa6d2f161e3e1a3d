//! `proxy`: serves until a signal arrives, then prints the verdict.

use std::process::ExitCode;

use crate::cli::intercept::{Trust, explain};
use crate::cli::output::{print, print_message};
use crate::cli::proxy_session::{Extras, ProxyArguments, print_verdict, stop};
use crate::cli::runtime::runtime;
use crate::cli::signals::Signals;
use crate::cli::ui::UiArguments;
use crate::error::Result;
use crate::key::Scope;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    proxy: ProxyArguments,
    #[command(flatten)]
    ui: UiArguments,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let options = &arguments.proxy;
    let interception = match options.intercept.is_wanted() {
        true => Some(options.intercept.interception(Scope::root())?),
        false => None,
    };
    runtime()?.block_on(async {
        let mut signals = Signals::new()?;
        let mut ui = arguments.ui.open().await?;
        let extras = Extras {
            interception: interception.clone(),
            listener: ui.listener(),
            ..Extras::default()
        };
        let engine = options.engine()?;
        let proxy = options.start(engine.clone(), extras).await?;
        let trust = match (&interception, proxy.certificate()) {
            (Some(interception), Some(certificate)) => Some(Trust::new(certificate, interception, proxy.address())?),
            _ => None,
        };
        let mut addresses = format!("listening on {}\n", proxy.url());
        if let Some(page) = ui.serve(&proxy, options, engine)? {
            addresses.push_str(&format!("live view on {page}\n"));
        }
        print(&addresses)?;
        if let (Some(interception), Some(trust)) = (&interception, &trust) {
            print_message(&explain(&proxy.url(), interception, trust));
        }
        signals.next().await;
        let recorder = proxy.recorder().clone();
        let verdict = stop(proxy, &mut signals).await;
        ui.end(&recorder).await;
        Ok(print_verdict(verdict?, recorder.session(), None))
    })
}
