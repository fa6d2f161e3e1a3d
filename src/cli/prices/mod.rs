//! What requests cost: a table of prices, and what is estimated with it.

mod usage;

use serde::Deserialize;

pub(crate) use self::usage::{Usage, model_of};
use crate::cassette::{Cassette, yaml};
use crate::error::{Error, ErrorKind, Result};

/// The prices that come with the program.
const TABLE: &str = include_str!("table.yaml");

/// What the models cost, in US dollars.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Prices {
    /// When they were collected: `2026-11-21`.
    pub(crate) date: String,
    /// Where they are from.
    pub(crate) source: String,
    models: Vec<Price>,
}

/// What some models cost.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Price {
    /// Exact names, or beginnings that end in `*`.
    names: Vec<String>,
    /// For a million tokens.
    input: Option<f64>,
    /// For a million tokens of input that were cached; a tenth of `input` where it is not given.
    cached: Option<f64>,
    /// For a million tokens.
    output: Option<f64>,
    page: Option<f64>,
    annotated_page: Option<f64>,
    audio_second: Option<f64>,
    character: Option<f64>,
}

/// What a recording took, and what that costs.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Spent {
    pub(crate) model: Option<String>,
    /// Of all responses.
    pub(crate) usage: Usage,
    /// In US dollars; `None` when something was counted and its price is not known.
    pub(crate) cost: Option<f64>,
}

impl Prices {
    /// The prices that come with the program, or those of a file.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] when the file cannot be read, [`ErrorKind::Settings`] when it is invalid.
    pub(crate) fn new(file: Option<&std::path::Path>) -> Result<Self> {
        let Some(file) = file else {
            return Self::read(TABLE.as_bytes(), "the table of prices");
        };
        let place = file.display().to_string();
        let document = std::fs::read(file)
            .map_err(|error| Error::new(ErrorKind::Io, format!("cannot read {place}")).with_source(error))?;
        Self::read(&document, &place)
    }

    fn read(document: &[u8], place: &str) -> Result<Self> {
        let prices: Self = yaml::read_yaml(document, place, ErrorKind::Settings)
            .map_err(|error| error.with_hint("its form is described in docs/costs.md"))?;
        let mut all = prices.models.iter().flat_map(|price| {
            [
                price.input,
                price.cached,
                price.output,
                price.page,
                price.annotated_page,
                price.audio_second,
                price.character,
            ]
        });
        if all.any(|price| price.is_some_and(|price| !price.is_finite() || price < 0.0)) {
            return Err(Error::new(
                ErrorKind::Settings,
                format!("{place}: a price is no number, or less than nothing"),
            ));
        }
        Ok(prices)
    }

    fn of(&self, model: &str) -> Option<&Price> {
        let named = |found: fn(&str, &str) -> bool| {
            self.models
                .iter()
                .find(|price| price.names.iter().any(|name| found(name, model)))
        };
        named(|name, model| name == model)
            .or_else(|| named(|name, model| name.strip_suffix('*').is_some_and(|begin| model.starts_with(begin))))
    }

    /// What this costs in US dollars; `None` when a price is not known.
    pub(crate) fn cost(&self, model: Option<&str>, usage: &Usage) -> Option<f64> {
        if *usage == Usage::default() {
            return Some(0.0);
        }
        // A fine-tuned model costs what its base model does: ft:<base>:<owner>:<date>:<id>.
        let model = model?;
        let base = model.strip_prefix("ft:").and_then(|rest| rest.split(':').next());
        let price = self.of(base.unwrap_or(model))?;
        let million = |price: Option<f64>| price.map(|price| price / 1_000_000.0);
        let cached = usage.cached_tokens.min(usage.input_tokens);
        let counts = [
            (usage.input_tokens - cached, million(price.input)),
            (
                cached,
                million(price.cached.or_else(|| price.input.map(|input| input / 10.0))),
            ),
            (usage.output_tokens, million(price.output)),
            (usage.pages, price.page),
            (usage.annotated_pages, price.annotated_page),
            (usage.audio_seconds, price.audio_second),
            (usage.characters, price.character),
        ];
        // What a model does not charge for is counted all the same, such as the tokens of a transcription.
        if counts.iter().all(|(count, price)| *count == 0 || price.is_none()) {
            return None;
        }
        Some(
            counts
                .iter()
                .map(|(count, price)| *count as f64 * price.unwrap_or_default())
                .sum(),
        )
    }

    /// What a recording took; its bodies must be there.
    pub(crate) fn spent(&self, cassette: &Cassette) -> Spent {
        let mut usage = Usage::default();
        for response in &cassette.responses {
            usage += Usage::of(&cassette.request, response).unwrap_or_default();
        }
        let model = model_of(cassette);
        let cost = self.cost(model.as_deref(), &usage);
        Spent { model, usage, cost }
    }
}

/// An amount as people read it: `$12.30`, `$0.0042`, `< $0.000001`.
pub(crate) fn dollars(amount: f64) -> String {
    if amount > 0.0 && amount < 0.000_001 {
        return "< $0.000001".to_owned();
    }
    if amount == 0.0 || amount >= 1.0 {
        format!("${amount:.2}")
    } else {
        format!("${amount:.6}").trim_end_matches('0').to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prices() -> Prices {
        Prices::new(None).unwrap()
    }

    #[test]
    fn the_table_can_be_read_and_names_each_model_once() {
        let prices = prices();
        assert!(prices.date.parse::<jiff::civil::Date>().is_ok());
        let mut names: Vec<_> = prices.models.iter().flat_map(|price| &price.names).collect();
        let all = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), all);
    }

    #[test]
    fn costs_are_added_up() {
        let prices = prices();
        let usage = Usage {
            input_tokens: 1_000_000,
            cached_tokens: 500_000,
            output_tokens: 100_000,
            ..Usage::default()
        };
        let close = |cost: Option<f64>, wanted: f64| (cost.unwrap() - wanted).abs() < 1e-9;
        assert!(close(
            prices.cost(Some("mistral-small-latest"), &usage),
            0.075 + 0.0075 + 0.06
        ));
        assert!(close(
            prices.cost(Some("ft:mistral-small-latest:org:20260101:abc"), &usage),
            0.1425
        ));
        assert!(close(
            prices.cost(Some("magistral-medium-2509"), &usage),
            1.0 + 0.1 + 0.5
        ));
        let pages = Usage {
            pages: 3,
            ..Usage::default()
        };
        assert!(close(prices.cost(Some("mistral-ocr-latest"), &pages), 0.012));
        assert_eq!(prices.cost(Some("nobody-knows"), &usage), None);
        assert_eq!(prices.cost(None, &usage), None);
        // A model that charges by the page, and tokens were counted.
        assert_eq!(prices.cost(Some("mistral-ocr-latest"), &usage), None);
        assert_eq!(prices.cost(None, &Usage::default()), Some(0.0));
    }

    #[test]
    fn a_wrong_table_is_told_with_its_line() {
        let wrong = "date: x\nsource: y\nmodels:\n- names: [a]\n  inputt: 1\n";
        let error = Prices::read(wrong.as_bytes(), "my.yaml").unwrap_err();
        assert!(
            error.message().contains("my.yaml:5") && error.message().contains("inputt"),
            "{error}"
        );
        let negative = "date: x\nsource: y\nmodels:\n- names: [a]\n  input: -1\n";
        assert!(Prices::read(negative.as_bytes(), "my.yaml").is_err());
    }

    #[test]
    fn amounts_are_short() {
        assert_eq!(dollars(0.0), "$0.00");
        assert_eq!(dollars(12.3), "$12.30");
        assert_eq!(dollars(0.0042), "$0.0042");
        assert_eq!(dollars(0.000_000_1), "< $0.000001");
    }
}
