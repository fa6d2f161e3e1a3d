//! `completions`: prints a completion script for a shell.

use std::process::ExitCode;

use crate::cli::output::{SUCCESS, print};
use crate::error::Result;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The shell.
    shell: clap_complete::Shell,
}

/// `command` is the command line to complete.
pub(crate) fn run(arguments: &Arguments, mut command: clap::Command) -> Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut command, "mistral-cassette", &mut script);
    print(&with_equal_names(&String::from_utf8_lossy(&script)))?;
    Ok(SUCCESS)
}

/// Returns the script with one name for each subcommand. In a bash script of clap_complete, the first `case` selects a label
/// and the second one has the labels. Only the second one takes the hyphen in the name of this binary for the start of a
/// subcommand, so the labels differ and no subcommand is completed (<https://github.com/clap-rs/clap/issues/6421>). If a later
/// version uses either name in both places, the result here is the same.
fn with_equal_names(script: &str) -> String {
    script.replace("mistral__subcmd__cassette", "mistral__cassette")
}
