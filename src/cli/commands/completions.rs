//! `completions`: a completion script for a shell.

use std::process::ExitCode;

use clap::CommandFactory;

use crate::cli::{SUCCESS, print};
use crate::error::Result;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The shell.
    shell: clap_complete::Shell,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(
        arguments.shell,
        &mut crate::cli::Arguments::command(),
        "mistral-cassette",
        &mut script,
    );
    print(&String::from_utf8_lossy(&script))?;
    Ok(SUCCESS)
}
