//! The `mistral-cassette` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    mistral_cassette::cli::main()
}
