//! `completions`: a completion script for a shell.

use std::process::ExitCode;

use clap::CommandFactory;

use super::{WELL, print};
use crate::error::Result;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The shell.
    shell: clap_complete::Shell,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(
        arguments.shell,
        &mut super::Arguments::command(),
        "mistral-cassette",
        &mut script,
    );
    print(&String::from_utf8_lossy(&script))?;
    Ok(WELL)
}
