//! What commands print, and their exit statuses.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use console::Term;

use super::side_by_side::View;
use crate::error::{Error, ErrorKind, Result};
use crate::escape::escape_controls;
use crate::key::Scope;

/// Exit status 0.
pub(crate) const SUCCESS: ExitCode = ExitCode::SUCCESS;

/// Exit status 1: recordings are invalid, differ or are missing.
pub(crate) fn findings() -> ExitCode {
    ExitCode::from(1)
}

/// Exit status 2: any other error.
pub(crate) fn other_error() -> ExitCode {
    ExitCode::from(2)
}

/// The exit status of a command that has completed: 0 if it found nothing wrong, else 1.
pub(crate) fn success_if(is_success: bool) -> ExitCode {
    if is_success { SUCCESS } else { findings() }
}

/// The exit status of a command that has failed.
pub(crate) fn failure(error: &Error) -> ExitCode {
    match error.kind() {
        ErrorKind::Miss | ErrorKind::Cassette => findings(),
        _ => other_error(),
    }
}

/// Prints a line to stderr, with control characters escaped. Ignores a closed stderr.
pub(crate) fn print_message(text: &str) {
    let text = colored(&escape_controls(text), io::stderr().is_terminal());
    let _ = writeln!(io::stderr(), "{text}");
}

/// Prints an error, its causes and its hint to stderr.
pub(crate) fn print_error(error: &Error) {
    print_message(&format!("error: {}", error.report()));
}

/// Prints to stdout, with control characters escaped.
pub(crate) fn print(text: &str) -> Result<()> {
    write_out(&escape_controls(text))
}

/// Like [`print`], with differences in color on a terminal.
pub(crate) fn print_differences(text: &str) -> Result<()> {
    write_out(&colored_differences(text))
}

/// Text with its control characters escaped, and with differences in color on a terminal.
pub(crate) fn colored_differences(text: &str) -> String {
    colored(&escape_controls(text), io::stdout().is_terminal())
}

/// How two whole texts are shown on stdout.
pub(crate) fn view() -> View {
    let terminal = Term::stdout();
    View {
        columns: terminal.size_checked().map(|(_, columns)| columns.into()),
        is_colored: is_colored(io::stdout().is_terminal()),
    }
}

/// Whether output to a terminal is colored: unless `NO_COLOR` is set, or `TERM` says that the terminal has no colors.
fn is_colored(is_terminal: bool) -> bool {
    is_terminal
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && std::env::var_os("TERM").is_none_or(|name| name != "dumb")
}

/// Writes to stdout. Ignores a closed pipe, such as that of `| head`.
pub(crate) fn write_out(text: &str) -> Result<()> {
    match io::stdout()
        .lock()
        .write_all(text.as_bytes())
        .and_then(|()| io::stdout().flush())
    {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Error::new(ErrorKind::Io, "cannot write the output").with_source(error))
        }
        _ => Ok(()),
    }
}

/// Colors the lines of differences on a terminal that has colors.
fn colored(text: &str, is_terminal: bool) -> String {
    if !is_colored(is_terminal) {
        return text.to_owned();
    }
    let color = |line: &str| {
        // A miss prints differences without indentation; other output indents them by four spaces.
        let color = match line.strip_prefix("    ").unwrap_or(line).get(..2) {
            Some("- ") => 31,
            Some("+ ") => 32,
            Some("@ ") => 36,
            _ => return line.to_owned(),
        };
        format!("\x1b[{color}m{line}\x1b[0m")
    };
    text.split('\n').map(color).collect::<Vec<_>>().join("\n")
}

/// A number with its noun: `1 cassette`, `2 cassettes`.
pub(crate) fn count(number: usize, noun: &str) -> String {
    if number == 1 {
        format!("1 {noun}")
    } else {
        format!("{number} {noun}s")
    }
}

/// The names of the first scopes, and the number of the others.
pub(crate) fn scope_names<'a>(scopes: impl ExactSizeIterator<Item = &'a Scope>) -> String {
    const SHOWN: usize = 5;
    let more = scopes.len().saturating_sub(SHOWN);
    let name = |scope: &'a Scope| if scope.is_root() { "the root" } else { scope.as_str() };
    let names = scopes.take(SHOWN).map(name).collect::<Vec<_>>().join(", ");
    if more > 0 {
        format!("{names} and {more} more")
    } else {
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_differences_are_colored() {
        let text = "it differs:\n@ /a\n- old\n+ new\n    - old\nhint:\n  - pattern: x";
        assert_eq!(colored(text, false), text);
        assert_eq!(
            colored(text, true),
            "it differs:\n\x1b[36m@ /a\x1b[0m\n\x1b[31m- old\x1b[0m\n\x1b[32m+ new\x1b[0m\n\x1b[31m    - old\x1b[0m\nhint:\n  - pattern: x"
        );
    }
}
