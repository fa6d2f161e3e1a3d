//! The number of tokens that a call used, and the parsing of JSON that a model generated.

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::error::{Error, Result};

/// Parses JSON that a model generated.
pub(super) fn parsed<T: DeserializeOwned>(text: &str, what: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| {
        let message = format!("{what} cannot be parsed as the requested type: {error}");
        Error::parse(message, text.as_bytes()).with_source(error)
    })
}

/// The number of tokens that a call used, and the seconds of audio.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Usage {
    /// Tokens of the request.
    #[serde(default, deserialize_with = "whole")]
    pub prompt_tokens: i64,
    /// Tokens of the response.
    #[serde(
        default,
        deserialize_with = "optional_whole",
        skip_serializing_if = "Option::is_none"
    )]
    pub completion_tokens: Option<i64>,
    /// The sum of both.
    #[serde(default, deserialize_with = "whole")]
    pub total_tokens: i64,
    /// All other members (`num_cached_tokens`, `prompt_tokens_details`, `prompt_audio_seconds`, `service_tier`).
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// Deserializes a count that may be written as `1.0`, or be `null`.
fn optional_whole<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    let Some(number) = Option::<serde_json::Number>::deserialize(deserializer)? else {
        return Ok(None);
    };
    if let Some(whole) = number.as_i64() {
        return Ok(Some(whole));
    }
    // Counts of tokens are far below 2^53.
    match number.as_f64() {
        Some(count) if count.fract() == 0.0 && count.abs() < 9e15 => Ok(Some(count as i64)),
        _ => Err(D::Error::custom(format!("{number} is not a whole number"))),
    }
}

fn whole<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    optional_whole(deserializer).map(Option::unwrap_or_default)
}
