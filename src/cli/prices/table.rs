//! The price table, and the estimated cost of recordings.

use serde::Deserialize;

use super::usage::{Usage, model_of};
use crate::cassette::{Cassette, yaml};
use crate::error::{Error, ErrorKind, Result};

/// The built-in prices.
const TABLE: &str = include_str!("table.yaml");

/// The prices of the models, in US dollars.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Prices {
    /// The date of the prices, for example `2026-11-21`.
    pub(crate) date: String,
    /// The source of the prices.
    pub(crate) source: String,
    models: Vec<Price>,
}

/// The prices of one or more models.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Price {
    /// Exact names, or prefixes that end in `*`.
    names: Vec<String>,
    /// Per million input tokens.
    input: Option<f64>,
    /// Per million cached input tokens; a tenth of `input` by default.
    cached: Option<f64>,
    /// Per million output tokens.
    output: Option<f64>,
    page: Option<f64>,
    annotated_page: Option<f64>,
    audio_second: Option<f64>,
    character: Option<f64>,
}

/// The usage of a recording, and its estimated cost.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct CostEstimate {
    pub(crate) model: Option<String>,
    /// The sum over all responses.
    pub(crate) usage: Usage,
    /// In US dollars; `None` when there is usage with an unknown price.
    pub(crate) cost: Option<f64>,
}

impl Prices {
    /// Returns the prices of a file, or the built-in prices.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] when the file cannot be read, [`ErrorKind::Settings`] when it is invalid.
    pub(crate) fn new(file: Option<&std::path::Path>) -> Result<Self> {
        let Some(file) = file else {
            return Self::read(TABLE.as_bytes(), "the built-in prices");
        };
        let location = file.display().to_string();
        let document = std::fs::read(file)
            .map_err(|error| Error::new(ErrorKind::Io, format!("cannot read {location}")).with_source(error))?;
        Self::read(&document, &location)
    }

    fn read(document: &[u8], location: &str) -> Result<Self> {
        let prices: Self = yaml::read_yaml(document, location, ErrorKind::Settings)
            .map_err(|error| error.with_hint("docs/costs.md describes the format"))?;
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
                format!("{location}: a price is not a number, or is negative"),
            ));
        }
        Ok(prices)
    }

    /// Finds the prices of a model: by its exact name, then by a prefix.
    fn find(&self, model: &str) -> Option<&Price> {
        let first = |matches: fn(&str, &str) -> bool| {
            self.models
                .iter()
                .find(|price| price.names.iter().any(|name| matches(name, model)))
        };
        let has_prefix =
            |name: &str, model: &str| name.strip_suffix('*').is_some_and(|prefix| model.starts_with(prefix));
        first(|name, model| name == model).or_else(|| first(has_prefix))
    }

    /// Returns the cost in US dollars; `None` when the price is unknown.
    pub(crate) fn cost(&self, model: Option<&str>, usage: &Usage) -> Option<f64> {
        if *usage == Usage::default() {
            return Some(0.0);
        }
        // A fine-tuned model has the prices of its base model. Its name is ft:<base>:<owner>:<date>:<id>.
        let model = model?;
        let base = model.strip_prefix("ft:").and_then(|rest| rest.split(':').next());
        let price = self.find(base.unwrap_or(model))?;
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
        // The API also counts what it does not charge for, such as the tokens of a transcription.
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

    /// Adds up the usage of a recording and its cost. The bodies must be inline.
    pub(crate) fn estimate(&self, cassette: &Cassette) -> CostEstimate {
        self.estimate_of(model_of(cassette), &usages(cassette))
    }

    /// [`estimate`](Self::estimate) with the model and the usage of each response.
    pub(crate) fn estimate_of(&self, model: Option<String>, usages: &[Option<Usage>]) -> CostEstimate {
        let mut usage = Usage::default();
        usages.iter().flatten().for_each(|one| usage += *one);
        let cost = self.cost(model.as_deref(), &usage);
        CostEstimate { model, usage, cost }
    }
}

/// The usage of each response of a recording. The bodies must be inline.
pub(crate) fn usages(cassette: &Cassette) -> Vec<Option<Usage>> {
    let responses = cassette.responses.iter();
    responses
        .map(|response| Usage::of(&cassette.request, response))
        .collect()
}

/// Formats an amount: `$12.30`, `$0.0042`, `< $0.000001`.
pub(crate) fn format_dollars(amount: f64) -> String {
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
    fn the_built_in_table_is_valid_and_names_each_model_once() {
        let prices = prices();
        assert!(prices.date.parse::<jiff::civil::Date>().is_ok());
        let mut names: Vec<_> = prices.models.iter().flat_map(|price| &price.names).collect();
        let all = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), all);
    }

    #[test]
    fn the_cost_is_the_sum_over_all_units() {
        let prices = prices();
        let usage = Usage {
            input_tokens: 1_000_000,
            cached_tokens: 500_000,
            output_tokens: 100_000,
            ..Usage::default()
        };
        let close = |cost: Option<f64>, expected: f64| (cost.unwrap() - expected).abs() < 1e-9;
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
        assert_eq!(prices.cost(Some("unknown-model"), &usage), None);
        assert_eq!(prices.cost(None, &usage), None);
        // The model has a price per page, and the usage is in tokens.
        assert_eq!(prices.cost(Some("mistral-ocr-latest"), &usage), None);
        assert_eq!(prices.cost(None, &Usage::default()), Some(0.0));
    }

    #[test]
    fn an_invalid_table_is_an_error_with_its_line() {
        let unknown_member = "date: x\nsource: y\nmodels:\n- names: [a]\n  inputt: 1\n";
        let error = Prices::read(unknown_member.as_bytes(), "my.yaml").unwrap_err();
        assert!(
            error.message().contains("my.yaml: line 5") && error.message().contains("inputt"),
            "{error}"
        );
        let negative = "date: x\nsource: y\nmodels:\n- names: [a]\n  input: -1\n";
        assert!(Prices::read(negative.as_bytes(), "my.yaml").is_err());
    }

    #[test]
    fn amounts_have_no_needless_digits() {
        assert_eq!(format_dollars(0.0), "$0.00");
        assert_eq!(format_dollars(12.3), "$12.30");
        assert_eq!(format_dollars(0.0042), "$0.0042");
        assert_eq!(format_dollars(0.000_000_1), "< $0.000001");
    }
}
