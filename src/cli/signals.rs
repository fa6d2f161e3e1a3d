//! The signals that ask a process to stop.

use crate::error::{Error, ErrorKind, Result};

/// A signal that asks a process to stop.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    /// SIGINT: a terminal sends it to each process of the foreground command.
    Interrupt,
    /// SIGTERM, or SIGHUP when the terminal is closed.
    #[cfg(unix)]
    Terminate,
}

/// Receives these signals, which then no longer end the process.
pub(crate) struct Signals {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    hangup: tokio::signal::unix::Signal,
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    pub(crate) fn new() -> Result<Self> {
        #[cfg(unix)]
        {
            use tokio::signal::unix::{SignalKind, signal};
            let failed = |error| Error::new(ErrorKind::Internal, "cannot listen for signals").with_source(error);
            Ok(Self {
                terminate: signal(SignalKind::terminate()).map_err(failed)?,
                hangup: signal(SignalKind::hangup()).map_err(failed)?,
                interrupt: signal(SignalKind::interrupt()).map_err(failed)?,
            })
        }
        #[cfg(not(unix))]
        Ok(Self {})
    }

    /// Waits for the next signal.
    pub(crate) async fn next(&mut self) -> Signal {
        #[cfg(unix)]
        return tokio::select! {
            _ = self.terminate.recv() => Signal::Terminate,
            _ = self.hangup.recv() => Signal::Terminate,
            _ = self.interrupt.recv() => Signal::Interrupt,
        };
        #[cfg(not(unix))]
        {
            let _ = tokio::signal::ctrl_c().await;
            Signal::Interrupt
        }
    }
}
