//! The pace of replayed responses.

use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, de};

use crate::error::{Error, ErrorKind, Result};

/// How fast replayed responses are sent to the caller.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub enum Pace {
    /// Without pauses, one event at a time: `instant`, `none`.
    #[default]
    Instant,
    /// With the recorded delays: each event as long after the request as when it was recorded, a plain body when it was
    /// complete: `recorded`.
    Recorded,
    /// With the recorded delays divided by this factor: `2x` is twice as fast, `0.5x` half as fast. A factor that is not
    /// above 0 means no pauses.
    Times(f64),
}

impl Pace {
    /// How long after its request a piece is sent that was recorded `milliseconds` after its request.
    pub(crate) fn delay(self, milliseconds: u64) -> Duration {
        match self {
            Self::Instant => Duration::ZERO,
            Self::Recorded => Duration::from_millis(milliseconds),
            Self::Times(factor) => {
                Duration::try_from_secs_f64(milliseconds as f64 / 1000.0 / factor).unwrap_or_default()
            }
        }
    }
}

impl FromStr for Pace {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let text = text.trim();
        let factor = || {
            let factor: f64 = text.strip_suffix('x')?.parse().ok()?;
            (factor.is_finite() && factor > 0.0).then_some(Self::Times(factor))
        };
        match text {
            "instant" | "none" => Some(Self::Instant),
            "recorded" => Some(Self::Recorded),
            _ => factor(),
        }
        .ok_or_else(|| {
            Error::new(ErrorKind::Settings, format!("{text:?} is not a pace"))
                .with_hint("give none, recorded, or a factor above 0 as in 2x or 0.5x")
        })
    }
}

impl<'de> Deserialize<'de> for Pace {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(|error: Error| {
            // A YAML error has one line.
            de::Error::custom(format!("{}; {}", error.message(), error.hint().unwrap_or_default()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_is_a_word_or_a_factor() {
        for (text, pace) in [
            ("none", Pace::Instant),
            ("instant", Pace::Instant),
            ("recorded", Pace::Recorded),
            ("2x", Pace::Times(2.0)),
            (" 0.5x", Pace::Times(0.5)),
        ] {
            assert_eq!(text.parse::<Pace>().unwrap(), pace);
        }
        for wrong in ["", "fast", "0x", "-1x", "2", "x", "NaNx", "infx", "2x,none"] {
            let error = wrong.parse::<Pace>().unwrap_err();
            assert!(error.hint().unwrap().contains("as in 2x or 0.5x"), "{error}");
        }
    }

    #[test]
    fn a_factor_divides_the_recorded_delay() {
        assert_eq!(Pace::Times(2.0).delay(100), Duration::from_millis(50));
        assert_eq!(Pace::Times(0.5).delay(100), Duration::from_millis(200));
        for invalid in [0.0, -1.0, f64::NAN] {
            assert_eq!(Pace::Times(invalid).delay(100), Duration::ZERO);
        }
    }
}
