//! The command line: the commands, dispatch and logging.

mod api;
mod arguments;
mod assembled;
pub(crate) mod change;
mod commands;
mod comparison;
mod control;
mod git;
pub(crate) mod import_export;
mod intercept;
mod messages;
mod output;
mod output_file;
mod pager;
mod parallel;
mod prices;
mod progress;
mod proxy_session;
mod refresh;
mod report;
mod request_line;
mod runtime;
#[cfg(target_os = "linux")]
mod sandbox;
mod select;
mod severity;
mod side_by_side;
mod signals;
mod store;
mod texts;
mod transcript;
mod ui;

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use self::output::{failure, print_error};
use crate::error::Result;

/// Record and replay Mistral API calls: readable cassettes, keyed by the complete request, for tests that run offline.
#[derive(Parser)]
#[command(
    name = "mistral-cassette",
    version,
    after_help = "Exit status: 0 success; 1 recordings are invalid, differ or are missing; 2 any other error."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// Log the outcome of each request to stderr.
    #[arg(short, long, global = true)]
    verbose: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the API on this machine from recordings, and record; point the base URL of any client at it.
    Proxy(commands::proxy::Arguments),
    /// Start a proxy, run a command whose requests to the API it intercepts, and print the verdict.
    Run(commands::run::Arguments),
    /// Serve a test runner, which opens a session for each test over a control channel (docs/control.md).
    Serve(commands::serve::Arguments),
    /// List the cassettes.
    List(commands::list::Arguments),
    /// Show cassettes as text: messages, tool calls, the text of streams, token usage.
    Show(commands::show::Arguments),
    /// Check that each cassette can be read, matches its key and its name, and contains no secret.
    Verify(commands::verify::Arguments),
    /// Compare cassettes, and classify each change: numbers, wording, tool call, ending, shape.
    Diff(commands::diff::Arguments),
    /// Write an HTML page that shows the recordings: conversations, streams at their speed, images, changes.
    Report(commands::report::Arguments),
    /// Send the recorded requests again, and record the responses that changed.
    Refresh(commands::refresh::Arguments),
    /// Accept, reject or skip each new recording of `refresh --review`.
    Review(commands::review::Arguments),
    /// Print statistics: cassettes, bytes, age, tokens, hits, misses, cost, and savings by replay.
    Stats(commands::stats::Arguments),
    /// Copy all cassettes to another location, without those that it already has.
    Copy(commands::copy::Arguments),
    /// Import recordings of other tools: VCR.py, VCR, go-vcr, rvcr, Polly.js, HAR, httpmock, WireMock, nock, cassetter, JSON
    /// lines.
    Import(commands::import::Arguments),
    /// Export recordings as HAR or JSON lines.
    Export(commands::export::Arguments),
    /// Delete the cassettes that no session of a usage log has used, and the body files that no cassette refers to.
    Prune(commands::prune::Arguments),
    /// Update the keys of cassettes after a change of the matching settings.
    Rekey(commands::rekey::Arguments),
    /// Remove cassettes.
    Remove(commands::remove::Arguments),
    /// Remove all cassettes.
    Clear(commands::clear::Arguments),
    /// Start the command of `run --sandbox` in its namespace.
    #[cfg(target_os = "linux")]
    #[command(hide = true)]
    Sandboxed(sandbox::Arguments),
    /// Print a completion script for a shell.
    Completions(commands::completions::Arguments),
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    start_logging(arguments.verbose);
    dispatch(&arguments.command).unwrap_or_else(|error| {
        print_error(&error);
        failure(&error)
    })
}

/// Logs to stderr. Warnings of libraries are shown only with `--verbose`.
fn start_logging(is_verbose: bool) {
    let (own, libraries) = if is_verbose {
        (LevelFilter::INFO, LevelFilter::INFO)
    } else {
        (LevelFilter::WARN, LevelFilter::OFF)
    };
    let filter = Targets::new()
        .with_default(libraries)
        .with_target(env!("CARGO_CRATE_NAME"), own);
    let format = tracing_subscriber::fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_target(false);
    // The lines of a session have a time, messages for people have none.
    let format = if is_verbose {
        format.boxed()
    } else {
        format.without_time().boxed()
    };
    tracing_subscriber::registry().with(format).with(filter).init();
}

fn dispatch(command: &Command) -> Result<ExitCode> {
    match command {
        Command::Proxy(arguments) => commands::proxy::run(arguments),
        Command::Run(arguments) => commands::run::run(arguments),
        Command::Serve(arguments) => commands::serve::run(arguments),
        Command::List(arguments) => commands::list::run(arguments),
        Command::Show(arguments) => commands::show::run(arguments),
        Command::Verify(arguments) => commands::verify::run(arguments),
        Command::Diff(arguments) => commands::diff::run(arguments),
        Command::Report(arguments) => commands::report::run(arguments),
        Command::Refresh(arguments) => commands::refresh::run(arguments),
        Command::Review(arguments) => commands::review::run(arguments),
        Command::Stats(arguments) => commands::stats::run(arguments),
        Command::Copy(arguments) => commands::copy::run(arguments),
        Command::Import(arguments) => commands::import::run(arguments),
        Command::Export(arguments) => commands::export::run(arguments),
        Command::Prune(arguments) => commands::prune::run(arguments),
        Command::Rekey(arguments) => commands::rekey::run(arguments),
        Command::Remove(arguments) => commands::remove::run(arguments),
        Command::Clear(arguments) => commands::clear::run(arguments),
        #[cfg(target_os = "linux")]
        Command::Sandboxed(arguments) => sandbox::run(arguments),
        Command::Completions(arguments) => commands::completions::run(arguments, Arguments::command()),
    }
}
