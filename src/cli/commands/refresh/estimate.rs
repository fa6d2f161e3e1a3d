//! Estimates the cost of a refresh.

use std::collections::BTreeMap;
use std::fmt;

use crate::cli::output::count;
use crate::cli::prices::{Prices, format_dollars};
use crate::cli::refresh::Recording;
use crate::error::{Error, ErrorKind, Result};

/// The estimated cost of a refresh: the cost of the current recordings.
pub(super) struct Estimate {
    recordings: usize,
    requests: usize,
    pub(super) cost: f64,
    /// The number of recordings of each model without a price.
    without_price: BTreeMap<String, usize>,
    /// The date of the prices.
    pub(super) date: String,
}

impl Estimate {
    pub(super) fn of(chosen: &[Recording], prices: &Prices) -> Self {
        let mut estimate = Self {
            recordings: chosen.len(),
            requests: 0,
            cost: 0.0,
            without_price: BTreeMap::new(),
            date: prices.date.clone(),
        };
        for recording in chosen {
            estimate.requests += recording.cassette.responses.len();
            let spent = prices.estimate(&recording.cassette);
            match spent.cost {
                Some(cost) => estimate.cost += cost,
                None => {
                    let model = spent.model.unwrap_or_else(|| "no model".to_owned());
                    *estimate.without_price.entry(model).or_default() += 1;
                }
            }
        }
        estimate
    }

    /// # Errors
    /// [`ErrorKind::Settings`] when a price is unknown, because a cost limit would then have no effect.
    pub(super) fn require_prices(&self) -> Result<()> {
        if self.without_price.is_empty() {
            return Ok(());
        }
        let models: Vec<&str> = self.without_price.keys().map(String::as_str).collect();
        Err(Error::new(
            ErrorKind::Settings,
            format!(
                "--max-cost needs the price of every model: there is no price for {}",
                models.join(", ")
            ),
        )
        .with_hint("add the prices to a table of your own with --prices FILE, or select other models with --model"))
    }
}

impl fmt::Display for Estimate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "refreshing {} with {}: about {} at the prices of {}",
            count(self.recordings, "recording"),
            count(self.requests, "request"),
            format_dollars(self.cost),
            self.date
        )?;
        if !self.without_price.is_empty() {
            let models: Vec<String> = self
                .without_price
                .iter()
                .map(|(model, number)| format!("{model} ({number})"))
                .collect();
            write!(f, ", without models of unknown price: {}", models.join(", "))?;
        }
        Ok(())
    }
}
