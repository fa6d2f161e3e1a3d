//! `proxy`: serve until a signal, then give the verdict.

use std::process::ExitCode;

use crate::cli::{ProxyArguments, SUCCESS, print, runtime, say, wrong};
use crate::error::{Error, ErrorKind, Result};
use crate::recorder::Summary;

pub(crate) fn run(arguments: &ProxyArguments) -> Result<ExitCode> {
    runtime()?.block_on(async {
        let mut signals = Signals::new()?;
        let proxy = arguments.start(None).await?;
        print(&format!("listening on {}\n", proxy.url()))?;
        signals.next().await;
        // Recordings may take a while to finish; who asks twice does not want to wait for them.
        let verdict = tokio::select! {
            verdict = proxy.stop() => verdict,
            _ = signals.next() => return Err(given_up()),
        };
        Ok(tell(verdict))
    })
}

/// The error of who asks twice to stop.
pub(crate) fn given_up() -> Error {
    Error::new(ErrorKind::Upstream, "stopped while recordings were still being made")
}

/// Prints the verdict; the exit status that it means.
pub(crate) fn tell(verdict: Result<Summary>) -> ExitCode {
    match verdict {
        Ok(summary) => {
            say(&format!("mistral-cassette: {summary}"));
            SUCCESS
        }
        Err(error) => {
            say(&format!("mistral-cassette: {}", error.report()));
            wrong()
        }
    }
}

/// A signal that asks a process to stop.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    /// SIGINT: a terminal sends it to every process of the command.
    Interrupt,
    /// SIGTERM: it reaches this process alone.
    #[cfg(unix)]
    Terminate,
}

/// The signals that ask a process to stop.
pub(crate) struct Signals {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    pub(crate) fn new() -> Result<Self> {
        #[cfg(unix)]
        {
            use tokio::signal::unix::{SignalKind, signal};
            let failed = |error| Error::new(ErrorKind::Internal, "signals cannot be listened to").with_source(error);
            Ok(Self {
                terminate: signal(SignalKind::terminate()).map_err(failed)?,
                interrupt: signal(SignalKind::interrupt()).map_err(failed)?,
            })
        }
        #[cfg(not(unix))]
        Ok(Self {})
    }

    pub(crate) async fn next(&mut self) -> Signal {
        #[cfg(unix)]
        return tokio::select! {
            _ = self.terminate.recv() => Signal::Terminate,
            _ = self.interrupt.recv() => Signal::Interrupt,
        };
        #[cfg(not(unix))]
        {
            let _ = tokio::signal::ctrl_c().await;
            Signal::Interrupt
        }
    }
}
