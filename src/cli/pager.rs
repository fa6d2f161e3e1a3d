//! Shows long output in a pager, if stdout is a terminal.

use std::env;
use std::ffi::OsString;
use std::io::{self, IsTerminal as _, Write as _};
use std::process::{Command, Stdio};

use super::output::write_out;
use crate::error::Result;

/// The variables that name a pager; the first one that is set counts. An empty value and `cat` mean none.
const VARIABLES: [&str; 2] = ["MISTRAL_CASSETTE_PAGER", "PAGER"];

/// The pager without a variable, as that of git.
const DEFAULT: &str = "less";

/// Prints text whose control characters are escaped: through the pager of the user on a terminal.
pub(crate) fn page(text: &str) -> Result<()> {
    if io::stdout().is_terminal()
        && io::stdin().is_terminal()
        && let Some(pager) = pager()
        && show_in(&pager, text).is_ok()
    {
        return Ok(());
    }
    write_out(text)
}

fn pager() -> Option<OsString> {
    let named = VARIABLES.iter().find_map(env::var_os);
    if named.is_none() && cfg!(windows) {
        return None;
    }
    let pager = named.unwrap_or_else(|| DEFAULT.into());
    (!pager.is_empty() && pager != "cat").then_some(pager)
}

/// Runs a pager, a command of the shell, to its end.
///
/// # Errors
/// It does not start: the text has to be printed without it.
fn show_in(pager: &OsString, text: &str) -> io::Result<()> {
    let mut command = Command::new(if cfg!(windows) { "cmd" } else { "sh" });
    command.arg(if cfg!(windows) { "/C" } else { "-c" }).arg(pager);
    if env::var_os("LESS").is_none() {
        // As git: no pager for what fits on the screen, colors, and the text stays there.
        command.env("LESS", "FRX");
    }
    let mut process = command.stdin(Stdio::piped()).spawn()?;
    if let Some(mut input) = process.stdin.take() {
        // The user may leave before the end.
        let _ = input.write_all(text.as_bytes());
    }
    let status = process.wait()?;
    /// The shell has not found the command.
    const NOT_FOUND: i32 = 127;
    match status.code() {
        Some(NOT_FOUND) => Err(io::ErrorKind::NotFound.into()),
        _ => Ok(()),
    }
}
