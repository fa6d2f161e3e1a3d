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

/// The script with one name for each subcommand. The bash script of clap_complete takes the hyphen in the name of the binary for
/// the start of a subcommand in the labels of its second `case`, but not in its first one, which selects the label. Then no
/// subcommand is completed (<https://github.com/clap-rs/clap/issues/6421>). It does not matter if a later version agrees on
/// either name: both become one here.
fn with_equal_names(script: &str) -> String {
    script.replace("mistral__subcmd__cassette", "mistral__cassette")
}
