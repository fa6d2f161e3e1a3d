//! Durations in settings and flags: `90s`, `15m`, `12h`, `7d`, `1d 12h`.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Deserializer, de};

/// Parses a duration such as `7d` or `1h 30m`. A day has 24 hours.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let invalid = || format!("{text:?} is not a duration: write it as 90s, 15m, 12h, 7d or 1d 12h");
    let span: jiff::Span = text.parse().map_err(|_| invalid())?;
    let seconds = span
        .total((jiff::Unit::Second, jiff::SpanRelativeTo::days_are_24_hours()))
        .map_err(|_| invalid())?;
    Duration::try_from_secs_f64(seconds).map_err(|_| invalid())
}

/// For `deserialize_with`: one duration.
pub(super) fn one<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    parse_duration(&String::deserialize(deserializer)?).map_err(de::Error::custom)
}

/// For `deserialize_with`: a member that may be absent.
pub(super) fn optional<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    one(deserializer).map(Some)
}

/// For `deserialize_with`: a mapping from names to durations.
pub(super) fn by_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, Duration>, D::Error> {
    BTreeMap::<String, String>::deserialize(deserializer)?
        .into_iter()
        .map(|(name, text)| Ok((name, parse_duration(&text).map_err(de::Error::custom)?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_may_be_combined() {
        for (text, seconds) in [("90s", 90), ("15m", 900), ("12h", 43_200), ("1d 12h", 129_600)] {
            assert_eq!(parse_duration(text), Ok(Duration::from_secs(seconds)));
        }
    }

    #[test]
    fn a_duration_needs_a_known_unit_and_is_not_negative() {
        for text in ["", "7", "soon", "-1h", "1y"] {
            let error = parse_duration(text).unwrap_err();
            assert!(
                error.contains("is not a duration: write it as 90s, 15m, 12h, 7d or 1d 12h"),
                "{error}"
            );
        }
    }
}
