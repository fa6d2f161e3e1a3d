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
    print(&String::from_utf8_lossy(&script))?;
    Ok(SUCCESS)
}
