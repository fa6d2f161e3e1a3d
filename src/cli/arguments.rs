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

/// The variable that names a price table.
const PRICES_VARIABLE: &str = "MISTRAL_CASSETTE_PRICES";

/// The price table of a command.
#[derive(Args)]
pub(crate) struct PriceTable {
    /// Use this price table instead of the built-in one.
    #[arg(long, value_name = "FILE", env = PRICES_VARIABLE)]
    prices: Option<PathBuf>,
}

impl PriceTable {
    /// The price table of a command that has no option for it.
    pub(crate) fn from_environment() -> Self {
        let prices = std::env::var_os(PRICES_VARIABLE).filter(|file| !file.is_empty());
        Self {
            prices: prices.map(PathBuf::from),
        }
    }

    pub(crate) fn read(&self) -> Result<Prices> {
        Prices::new(self.prices.as_deref())
    }
}

/// Parses a number of bytes: `1000`, `16MiB`, `500 kB`. Units are those of the SI and of IEC 80000, in any case.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    let invalid = || format!("{text:?} is not a size: write it in bytes or with a unit, as 1000, 500kB, 16MiB or 1GiB");
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit.trim_start().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" => 1000,
        "m" | "mb" => 1_000_000,
        "g" | "gb" => 1_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        _ => return Err(invalid()),
    };
    let number: u64 = number.parse().map_err(|_| invalid())?;
    number.checked_mul(factor).ok_or_else(invalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_has_an_optional_unit() {
        for (text, size) in [
            ("0", 0),
            ("1000", 1000),
            ("500kB", 500_000),
            ("16MiB", 16 << 20),
            ("16 mib", 16 << 20),
            ("1GiB", 1 << 30),
            ("2G", 2_000_000_000),
        ] {
            assert_eq!(parse_size(text), Ok(size), "{text}");
        }
        for text in ["", "MiB", "1.5MiB", "-1", "16 MiBs", "99999999999GiB", "1 0"] {
            assert!(parse_size(text).unwrap_err().contains("16MiB"), "{text}");
        }
    }
}
