//! Arguments that several commands share, each defined once.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::prices::Prices;
use super::store::Store;
use crate::error::Result;

/// Where the cassettes of a command are.
#[derive(Args, Clone)]
pub(crate) struct Directory {
    /// The cassette directory, or the URL of a cache: memory:, redis://, s3://, sqlite:, postgres://.
    #[arg(long, value_name = "DIR", default_value = "cassettes")]
    pub(crate) dir: String,
}

impl Directory {
    pub(crate) fn open(&self) -> Result<Store> {
        Store::open(&self.dir)
    }
}

/// The format of a command's output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Text for people.
    #[default]
    Text,
    /// One JSON document for programs.
    Json,
}

/// The output of a command.
#[derive(Args)]
pub(crate) struct Output {
    /// The format of the output.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

/// The output of a command that compares cassettes.
#[derive(Args)]
pub(crate) struct ComparisonOutput {
    /// Show the differences within each cassette too.
    #[arg(long)]
    pub(crate) show: bool,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// The arguments of a command that reads all cassettes and prints a table.
#[derive(Args)]
pub(crate) struct Listing {
    #[command(flatten)]
    pub(crate) directory: Directory,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// Permission to make changes.
#[derive(Args)]
pub(crate) struct Confirmation {
    /// Make the changes; without this flag, only show them.
    #[arg(long)]
    pub(crate) yes: bool,
}

/// The arguments of a command that changes files after safety checks.
#[derive(Args)]
pub(crate) struct FileChanges {
    #[command(flatten)]
    pub(crate) confirmation: Confirmation,
    /// Make the changes even if a safety check fails, for example because git cannot restore a file.
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) output: Output,
}

impl FileChanges {
    pub(crate) fn yes(&self) -> bool {
        self.confirmation.yes
    }
}

/// The table of prices of a command.
#[derive(Args)]
pub(crate) struct PriceTable {
    /// Use this table of prices instead of the built-in one.
    #[arg(long, value_name = "FILE", env = "MISTRAL_CASSETTE_PRICES")]
    prices: Option<PathBuf>,
}

impl PriceTable {
    pub(crate) fn read(&self) -> Result<Prices> {
        Prices::new(self.prices.as_deref())
    }
}
