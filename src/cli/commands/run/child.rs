//! The process of the command.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitStatus;

use tokio::process::{Child, Command};

use crate::cli::intercept::Variable;
use crate::cli::signals::{Signal, Signals};
use crate::error::{Error, ErrorKind, Result};
use crate::recorder::{FORMER_USAGE_LOG_VARIABLE, USAGE_LOG_VARIABLE};

/// Runs the command until it ends, and passes signals on to it.
pub(super) async fn run_child(
    command: &[OsString],
    variables: Vec<Variable>,
    usage_log: &Path,
    signals: &mut Signals,
) -> Result<ExitStatus> {
    let (program, arguments) = command
        .split_first()
        .ok_or_else(|| Error::new(ErrorKind::Settings, "there is no command to run"))?;
    let mut child = Command::new(program);
    child.args(arguments).envs(variables);
    // Earlier versions of the library read only the former variable.
    child.env(USAGE_LOG_VARIABLE, usage_log);
    child.env(FORMER_USAGE_LOG_VARIABLE, usage_log);
    let failed = |what: &str| {
        let message = format!("{what} {}", program.display());
        move |error| Error::new(ErrorKind::Settings, message).with_source(error)
    };
    let mut child = child.spawn().map_err(failed("cannot run"))?;
    let mut interrupts = 0;
    loop {
        tokio::select! {
            // Handle a signal before the exit that it causes: it must not count as a second signal later.
            biased;
            signal = signals.next() => {
                interrupts += u32::from(signal == Signal::Interrupt);
                // A terminal sends its interrupt to the command too, so the first one is not passed on.
                if signal != Signal::Interrupt || interrupts > 1 {
                    terminate(&child);
                }
            }
            status = child.wait() => return status.map_err(failed("cannot wait for")),
        }
    }
}

fn terminate(child: &Child) {
    #[cfg(unix)]
    if let Some(pid) = child
        .id()
        .and_then(|id| rustix::process::Pid::from_raw(id.cast_signed()))
    {
        // Fails if the command has ended.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }
    #[cfg(not(unix))]
    let _ = child;
}

/// The status as shells report it: 128 plus the number of the signal, or the exit status.
pub(super) fn status_code(status: ExitStatus) -> u8 {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        return u8::try_from(128 + signal).unwrap_or(u8::MAX);
    }
    status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}
