//! The command line: one file a subcommand.

pub(crate) mod change;
mod commands;
mod git;
pub(crate) mod import_export;
mod prices;
mod refresh;
mod report;
mod store;

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use self::store::Store;
use crate::cassette::{Blob, Form, RecordedBody, RecordedResponse};
use crate::engine::LayeredEngine;
use crate::error::{Error, ErrorKind, Result};
use crate::escape::escape_controls;
use crate::key::Scope;
use crate::mode::Mode;
use crate::proxy::Proxy;
use crate::recorder::Recorder;
use crate::settings::Settings;
use crate::settings::faults::Faults;
use crate::settings::pace::Pace;
use crate::settings::playback::{Fragments, Playback};
use crate::upstream::Upstream;

/// The environment variable with the path of a table of prices.
const PRICES_VARIABLE: &str = "MISTRAL_CASSETTE_PRICES";

/// All is well.
const SUCCESS: ExitCode = ExitCode::SUCCESS;

/// The recordings are wrong, differ or were missed.
fn wrong() -> ExitCode {
    ExitCode::from(1)
}

/// Record and replay Mistral API calls: readable cassettes, keyed by the whole request, for tests that run offline.
#[derive(Parser)]
#[command(
    name = "mistral-cassette",
    version,
    after_help = "Exit status: 0 well; 1 the recordings are wrong, differ or were missed; 2 anything else."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// Say what becomes of each request.
    #[arg(short, long, global = true)]
    verbose: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the API on this machine, from recordings or recording: point any client's base URL at it.
    Proxy(ProxyArguments),
    /// Start a proxy, run a command with the base-URL variables set, and give the verdict.
    Run(commands::run::Arguments),
    /// List the recordings.
    List(Listing),
    /// Show recordings as a person reads them: messages, tool calls, the text of a stream, usage.
    Show(commands::show::Arguments),
    /// Check every recording: that it can be read, fits its key and its name, and holds no secret.
    Verify(Listing),
    /// Compare recordings, and say what each change means: wording, tool call, ending, shape.
    Diff(commands::diff::Arguments),
    /// Write one HTML page to read the recordings in: conversations, streams at their pace, pictures, and what has changed.
    Report(commands::report::Arguments),
    /// Ask the upstream again for what is recorded, and keep what has changed.
    Refresh(commands::refresh::Arguments),
    /// Step through the new recordings of `refresh --review`: accept, reject, skip.
    Review(commands::review::Arguments),
    /// Count what is kept: cassettes, bytes, age, tokens, hits and misses; what it cost, and what replaying has saved.
    Stats(commands::stats::Arguments),
    /// Copy all cassettes to another place; what is there already is left, so that it can be run again.
    Copy(commands::copy::Arguments),
    /// Import what other tools have recorded: VCR.py, VCR, go-vcr, rvcr, Polly.js, HAR, JSON lines.
    Import(commands::import::Arguments),
    /// Export recordings as HAR or JSON lines.
    Export(commands::export::Arguments),
    /// Delete the cassettes that no session of a ledger has used, and the bodies that nothing refers to.
    Prune(commands::prune::Arguments),
    /// Give cassettes the keys that their requests have since the settings for matching have changed.
    Rekey(commands::rekey::Arguments),
    /// Rewrite documents of older format versions.
    Migrate(commands::migrate::Arguments),
    /// Remove cassettes.
    Remove(commands::remove::Arguments),
    /// Remove all cassettes.
    Clear(commands::clear::Arguments),
    /// Print the completion script of a shell.
    Completions(commands::completions::Arguments),
}

/// Where a command's cassettes are.
#[derive(Args)]
struct Directory {
    /// The cassette directory, or the URL of a cache: memory:, redis://, s3://, sqlite:, postgres://.
    #[arg(long, value_name = "DIR", default_value = "cassettes")]
    dir: String,
}

impl Directory {
    fn open(&self) -> Result<Store> {
        Store::open(&self.dir)
    }
}

/// How a table is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs: one JSON document.
    Json,
}

/// The arguments of a command that prints a table of what is kept.
#[derive(Args)]
struct Listing {
    #[command(flatten)]
    directory: Directory,
    /// How to print.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Above the flags that test the program, and not the API.
const PLAYBACK: &str = "To test the program itself (docs/faults.md)";

/// What `proxy` and `run` share.
#[derive(Args)]
struct ProxyArguments {
    #[command(flatten)]
    directory: Directory,
    /// record, replay, strict or live; by default MISTRAL_CASSETTE_MODE, else strict where CI is set, else replay.
    #[arg(long, value_name = "MODE")]
    mode: Option<Mode>,
    /// Where the real API is.
    #[arg(long, value_name = "URL", default_value = crate::upstream::DEFAULT_UPSTREAM)]
    upstream: String,
    /// Where to listen; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    listen: String,
    /// Keep answers that speak of the day and not of the request (401, 403, 408, 429, 5xx) too.
    #[arg(long)]
    save_errors: bool,
    /// Keep answers in which a secret is left after redaction.
    #[arg(long)]
    allow_secrets: bool,
    /// Allow mode record where the variable CI is set.
    #[arg(long)]
    allow_ci: bool,
    /// Allow an address that other machines reach: they could use your key and read your recordings.
    #[arg(long)]
    allow_remote: bool,
    /// A name by which callers may name it, beside localhost, loopback addresses and what it listens on; repeatable.
    #[arg(long, value_name = "HOST")]
    allow_host: Vec<String>,
    /// An origin whose web pages may ask, beside those of localhost and loopback addresses; repeatable.
    #[arg(long, value_name = "ORIGIN")]
    allow_origin: Vec<String>,
    /// The most bytes of a request's body; 1 GiB by default.
    #[arg(long, value_name = "BYTES")]
    max_body: Option<u64>,
    /// How long to wait for the upstream to connect, and between two pieces of an answer.
    #[arg(long, value_name = "SECONDS", default_value_t = crate::upstream::DEFAULT_TIMEOUT.as_secs())]
    timeout: u64,
    /// How long a cache may take to answer before its answers come from the upstream.
    #[arg(long, value_name = "SECONDS", default_value_t = crate::recorder::ENGINE_TIMEOUT.as_secs())]
    engine_timeout: u64,
    /// A settings file, in place of the one beside the cassettes.
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// A file to which a line is added for each cassette that is used; by default what MISTRAL_CASSETTE_LEDGER names.
    #[arg(long, value_name = "FILE")]
    ledger: Option<PathBuf>,
    /// A nearer cache in front of --dir: memory:, or a directory.
    #[arg(long, value_name = "URL")]
    near: Option<String>,
    /// How fast replayed answers are handed on: none, recorded, or a factor as in 2x; by default what the settings say.
    #[arg(long, value_name = "PACE", help_heading = PLAYBACK)]
    pace: Option<Pace>,
    /// Hand replayed bodies on in pieces of so many bytes, again from the first after the last: 1,5,2,13.
    #[arg(long, value_name = "BYTES,…", help_heading = PLAYBACK)]
    fragment: Option<Fragments>,
    /// Faults in place of replayed answers: 429:0.1,cut:0.05,malformed:0.05,reset:0.05,delay:200ms,seed:1.
    #[arg(long, value_name = "FAULT:P,…", help_heading = PLAYBACK)]
    inject: Option<Faults>,
}

impl ProxyArguments {
    async fn start(&self, ledger: Option<&Path>) -> Result<Proxy> {
        let engine = self.directory.open()?.engine;
        let mut recorder = match &self.near {
            Some(near) => Recorder::builder(LayeredEngine::new(Store::open(near)?.engine, engine)),
            None => Recorder::builder_on(engine),
        };
        recorder = recorder.engine_timeout(Duration::from_secs(self.engine_timeout));
        if let Some(file) = &self.settings {
            let place = file.display().to_string();
            let document = std::fs::read(file)
                .map_err(|error| Error::new(ErrorKind::Io, format!("cannot read {place}")).with_source(error))?;
            recorder = recorder.settings(Settings::from_yaml(&document, &place)?);
        }
        if let Some(mode) = self.mode {
            recorder = recorder.mode(mode);
        }
        if self.save_errors {
            recorder = recorder.save_errors();
        }
        if let Some(file) = ledger.or(self.ledger.as_deref()) {
            recorder = recorder.ledger(file);
        }
        if self.allow_secrets {
            recorder = recorder.allow_secrets();
        }
        if self.allow_ci {
            recorder = recorder.allow_record_in_ci();
        }
        if let Some(faults) = &self.inject {
            say(&format!("mistral-cassette: injects {faults}"));
        }
        let playback = Playback::from_flags(self.pace, self.fragment.clone(), self.inject.clone());
        let recorder = recorder.playback(playback).build()?;
        let mut upstream = Upstream::builder()
            .base_url(&self.upstream)
            .timeout(Duration::from_secs(self.timeout));
        if let Ok(key) = std::env::var(crate::http::API_KEY_VARIABLE) {
            upstream = upstream.api_key(key);
        }
        let upstream = upstream.build()?;
        let mut proxy = Proxy::builder();
        if self.allow_remote {
            proxy = proxy.allow_remote();
        }
        for name in &self.allow_host {
            proxy = proxy.allow_host(name)?;
        }
        for origin in &self.allow_origin {
            proxy = proxy.allow_origin(origin)?;
        }
        if let Some(bytes) = self.max_body {
            proxy = proxy.max_body_bytes(bytes);
        }
        proxy.start(&self.listen, recorder, upstream).await
    }
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let level = if arguments.verbose {
        tracing::Level::INFO
    } else {
        tracing::Level::WARN
    };
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_target(false)
        .without_time()
        .init();
    let done = match arguments.command {
        Command::Proxy(arguments) => commands::proxy::run(&arguments),
        Command::Run(arguments) => commands::run::run(&arguments),
        Command::List(arguments) => commands::list::run(&arguments),
        Command::Show(arguments) => commands::show::run(&arguments),
        Command::Verify(arguments) => commands::verify::run(&arguments),
        Command::Diff(arguments) => commands::diff::run(&arguments),
        Command::Report(arguments) => commands::report::run(&arguments),
        Command::Refresh(arguments) => commands::refresh::run(&arguments),
        Command::Review(arguments) => commands::review::run(&arguments),
        Command::Stats(arguments) => commands::stats::run(&arguments),
        Command::Copy(arguments) => commands::copy::run(&arguments),
        Command::Import(arguments) => commands::import::run(&arguments),
        Command::Export(arguments) => commands::export::run(&arguments),
        Command::Prune(arguments) => commands::prune::run(&arguments),
        Command::Rekey(arguments) => commands::rekey::run(&arguments),
        Command::Migrate(arguments) => commands::migrate::run(&arguments),
        Command::Remove(arguments) => commands::remove::run(&arguments),
        Command::Clear(arguments) => commands::clear::run(&arguments),
        Command::Completions(arguments) => commands::completions::run(&arguments),
    };
    done.unwrap_or_else(|error| {
        say(&format!("error: {}", error.report()));
        match error.kind() {
            ErrorKind::Miss | ErrorKind::Cassette => wrong(),
            _ => ExitCode::from(2),
        }
    })
}

/// Writes to stderr; whoever closed it does not want to hear.
fn say(text: &str) {
    let text = painted(&escape_controls(text), io::stderr().is_terminal());
    let _ = writeln!(io::stderr(), "{text}");
}

/// A text with the lines of differences in colour, for a terminal whose owner has not set `NO_COLOR`.
fn painted(text: &str, is_terminal: bool) -> String {
    if !is_terminal || std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()) {
        return text.to_owned();
    }
    let paint = |line: &str| {
        // As they stand in a miss, or indented below the name of a cassette.
        let colour = match line.strip_prefix("    ").unwrap_or(line).get(..2) {
            Some("- ") => 31,
            Some("+ ") => 32,
            Some("@ ") => 36,
            _ => return line.to_owned(),
        };
        format!("\x1b[{colour}m{line}\x1b[0m")
    };
    text.split('\n').map(paint).collect::<Vec<_>>().join("\n")
}

/// Writes to stdout what may hold anything that was recorded.
fn print(text: &str) -> Result<()> {
    write_out(&escape_controls(text))
}

/// As [`print`], with differences in colour.
fn print_differences(text: &str) -> Result<()> {
    write_out(&painted(&escape_controls(text), io::stdout().is_terminal()))
}

/// A reader that has gone (`| head`) has seen enough.
fn write_out(text: &str) -> Result<()> {
    match io::stdout()
        .lock()
        .write_all(text.as_bytes())
        .and_then(|()| io::stdout().flush())
    {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Error::new(ErrorKind::Io, "the output cannot be written").with_source(error))
        }
        _ => Ok(()),
    }
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::new(ErrorKind::Internal, "the async runtime cannot be started").with_source(error))
}

/// A number of things: `1 cassette`, `2 cassettes`.
fn count(number: usize, thing: &str) -> String {
    if number == 1 {
        format!("1 {thing}")
    } else {
        format!("{number} {thing}s")
    }
}

/// The names of these scopes, of many the first ones.
fn scopes<'a>(all: impl ExactSizeIterator<Item = &'a Scope>) -> String {
    const TOLD: usize = 5;
    let more = all.len().saturating_sub(TOLD);
    let name = |scope: &'a Scope| if scope.is_root() { "the root" } else { scope.as_str() };
    let told = all.take(TOLD).map(name).collect::<Vec<_>>().join(", ");
    if more > 0 {
        format!("{told} and {more} more")
    } else {
        told
    }
}

/// The form in which a response's body stands in its cassette.
fn form_of(response: &RecordedResponse) -> &'static str {
    match &response.body {
        Blob::Inline(bytes) => Form::of(bytes, response.is_event_stream()).name(),
        Blob::External { .. } => "file",
    }
}

fn request_form(body: &RecordedBody) -> &'static str {
    match body {
        RecordedBody::Blob(Blob::Inline(bytes)) => Form::of(bytes, false).name(),
        RecordedBody::Blob(Blob::External { .. }) => "file",
        RecordedBody::Multipart(_) => "multipart",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_have_colours_and_nothing_else_has() {
        let text = "it differs:\n@ /a\n- old\n+ new\n    - old\nhint:\n  - pattern: x";
        assert_eq!(painted(text, false), text);
        assert_eq!(
            painted(text, true),
            "it differs:\n\x1b[36m@ /a\x1b[0m\n\x1b[31m- old\x1b[0m\n\x1b[32m+ new\x1b[0m\n\x1b[31m    - old\x1b[0m\nhint:\n  - pattern: x"
        );
    }
}
