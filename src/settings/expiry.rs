//! How long a recording is used before the upstream is asked again.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Deserializer, de};

use crate::cassette::History;

/// How long recordings are used. By default for ever, which is what recordings that are committed want; this is for caches.
///
/// A recording whose life is over is asked of the upstream again; where that cannot be (mode `strict`, no API key) it
/// serves all the same. Its age counts from `recorded.at` in its document.
///
/// ```yaml
/// expiry:
///   time_to_live: 7d                 # of all recordings
///   endpoints: { models: 1h }        # of those of one endpoint, by the name of its folder
///   stale_while_revalidate: 1h       # how much longer an old one is handed out while the upstream is asked
///   adaptive:                        # see Adaptive
///     shortest: 1h
///     longest: 30d
/// ```
///
/// Durations are written as `90s`, `15m`, `12h`, `7d` or `1d 12h`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Expiry {
    /// How long a recording is used; for ever when there is none.
    #[serde(deserialize_with = "optional_duration")]
    pub time_to_live: Option<Duration>,
    /// The same for one endpoint, such as `embeddings` or `chat-completions`: the name of its folder.
    #[serde(deserialize_with = "durations")]
    pub endpoints: BTreeMap<String, Duration>,
    /// How long after that an old recording is still handed out, while the upstream is asked in the background.
    #[serde(deserialize_with = "duration")]
    pub stale_while_revalidate: Duration,
    /// Lives that follow what is seen of each recording; the time to live is then the first one.
    pub adaptive: Option<Adaptive>,
}

/// Lives that adapt: a recording that came out the same when it was asked again lives longer, one that had changed lives
/// shorter, and one that is asked often is looked at more often.
///
/// # The rule
/// An answer that changes μ times a second and is asked λ times a second, kept for a life T, costs one ask of the
/// upstream a life, and about λμT²/2 answers that are out of date. The sum of both over time is least at
///
/// > T = √(2w / λμ)
///
/// where w says how many outdated answers one ask of the upstream is worth ([`worth`](Self::worth)). λ is counted. μ is estimated from
/// checks, which see whether an answer has changed and not how often: of n checks in S seconds with X changes,
///
/// > μ = −ln((n − X + ½) / (n + 1)) · n / S
///
/// after Cho and Garcia-Molina, [Estimating Frequency of Change](https://doi.org/10.1145/857166.857170) (ACM Transactions on Internet
/// Technology 3(3), 2003), whose estimator divides by n + ½; with n + 1 (Jeffreys' prior) one check that saw no change does not mean that
/// there never is one. A check counts for nine tenths of the one after it, so that an entry can change its ways.
/// `cargo run --release --example adaptive_expiry` simulates it beside fixed lives.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Adaptive {
    /// No life is shorter.
    #[serde(deserialize_with = "duration")]
    pub shortest: Duration,
    /// No life is longer.
    #[serde(deserialize_with = "duration")]
    pub longest: Duration,
    /// How many answers that are out of date one ask of the upstream is worth: 1 by default. More makes lives longer.
    #[serde(default = "one")]
    pub worth: f64,
}

impl Adaptive {
    /// Lives between these two.
    pub fn between(shortest: Duration, longest: Duration) -> Self {
        Self {
            shortest,
            longest,
            worth: one(),
        }
    }

    /// How many outdated answers one ask of the upstream is worth.
    #[must_use]
    pub fn worth(mut self, answers: f64) -> Self {
        self.worth = answers;
        self
    }

    /// The life of a recording with this history; before the first check it is `first`.
    pub fn life(&self, history: &History, first: Duration) -> Duration {
        let life = if history.checks > 0.0 && history.seconds > 0.0 {
            let unchanged = (history.checks - history.changes + 0.5) / (history.checks + 1.0);
            let changes = -unchanged.ln() * history.checks / history.seconds;
            // It was asked at least for each check.
            let asks = history.asks.max(history.checks) / history.seconds;
            Duration::try_from_secs_f64((2.0 * self.worth / (asks * changes)).sqrt()).unwrap_or(self.longest)
        } else {
            first
        };
        life.max(self.shortest).min(self.longest)
    }
}

/// Whether a recording may still be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Age {
    Fresh,
    /// It may be handed out once more while the upstream is asked.
    Stale,
    Expired,
}

impl Expiry {
    /// Whether recordings end at all.
    pub(crate) fn is_on(&self) -> bool {
        self.time_to_live.is_some() || !self.endpoints.is_empty() || self.adaptive.is_some()
    }

    /// The life of a recording of this endpoint; `None` when it has no end.
    pub(crate) fn life(&self, endpoint: &str, history: Option<&History>) -> Option<Duration> {
        let fixed = self.endpoints.get(endpoint).copied().or(self.time_to_live);
        match &self.adaptive {
            // What is fixed for an endpoint stays fixed.
            Some(adaptive) if !self.endpoints.contains_key(endpoint) => {
                let first = fixed.unwrap_or_else(|| {
                    Duration::from_secs_f64((adaptive.shortest.as_secs_f64() * adaptive.longest.as_secs_f64()).sqrt())
                });
                Some(adaptive.life(history.unwrap_or(&History::default()), first))
            }
            _ => fixed,
        }
    }

    /// How long a store should keep what has this life: with what is handed out stale, and where lives adapt long
    /// enough for the next check to see what there was.
    pub(crate) fn kept_for(&self, life: Duration) -> Duration {
        let watched = self
            .adaptive
            .as_ref()
            .map_or(Duration::ZERO, |adaptive| adaptive.longest);
        life.saturating_add(self.stale_while_revalidate).saturating_add(watched)
    }

    /// The age of what was recorded this long ago.
    pub(crate) fn age(&self, endpoint: &str, history: Option<&History>, since: Duration) -> Age {
        match self.life(endpoint, history) {
            None => Age::Fresh,
            Some(life) if since < life => Age::Fresh,
            Some(life) if since < life.saturating_add(self.stale_while_revalidate) => Age::Stale,
            Some(_) => Age::Expired,
        }
    }
}

fn one() -> f64 {
    1.0
}

/// `7d`, `1h 30m`: a day has 24 hours.
pub(crate) fn parsed(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no duration: they are written as 90s, 15m, 12h, 7d or 1d 12h");
    let span: jiff::Span = text.parse().map_err(|_| wrong())?;
    let seconds = span
        .total((jiff::Unit::Second, jiff::SpanRelativeTo::days_are_24_hours()))
        .map_err(|_| wrong())?;
    Duration::try_from_secs_f64(seconds).map_err(|_| wrong())
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    parsed(&String::deserialize(deserializer)?).map_err(de::Error::custom)
}

fn optional_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    duration(deserializer).map(Some)
}

fn durations<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, Duration>, D::Error> {
    BTreeMap::<String, String>::deserialize(deserializer)?
        .into_iter()
        .map(|(endpoint, text)| Ok((endpoint, parsed(&text).map_err(de::Error::custom)?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const DAY: Duration = Duration::from_secs(86_400);

    fn read(yaml: &str) -> Result<Expiry, String> {
        crate::Settings::from_yaml(format!("expiry:\n{yaml}").as_bytes(), "settings.yaml")
            .map(|settings| settings.expiry)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn durations_are_read_as_people_write_them() {
        let expiry =
            read("  time_to_live: 1d 12h\n  endpoints: { models: 90s }\n  adaptive: { shortest: 15m, longest: 30d }\n")
                .unwrap();
        assert_eq!(expiry.time_to_live, Some(36 * HOUR));
        assert_eq!(expiry.endpoints["models"], Duration::from_secs(90));
        assert_eq!(expiry.adaptive.unwrap().longest, 30 * DAY);
        for wrong in ["7", "soon", "-1h", "1y"] {
            let error = read(&format!("  time_to_live: {wrong}\n")).unwrap_err();
            assert!(error.contains("is no duration: they are written as 90s"), "{error}");
        }
    }

    #[test]
    fn an_endpoint_may_have_a_life_of_its_own() {
        let expiry = read("  time_to_live: 1h\n  endpoints: { models: 1d }\n  stale_while_revalidate: 10m\n").unwrap();
        let age = |endpoint, since| expiry.age(endpoint, None, since);
        assert_eq!(age("embeddings", HOUR - Duration::from_secs(1)), Age::Fresh);
        assert_eq!(age("embeddings", HOUR), Age::Stale);
        assert_eq!(age("embeddings", HOUR + Duration::from_secs(600)), Age::Expired);
        assert_eq!(age("models", 2 * HOUR), Age::Fresh);
        assert_eq!(Expiry::default().age("models", None, 9999 * DAY), Age::Fresh);
    }

    #[test]
    fn what_stays_the_same_lives_longer_and_what_changes_shorter() {
        let adaptive = Adaptive::between(HOUR, 30 * DAY);
        let lives = |has_changed: bool| {
            let mut history = History::default();
            (0..10)
                .map(|_| {
                    history = history.checked(DAY, 10, has_changed);
                    adaptive.life(&history, DAY)
                })
                .collect::<Vec<_>>()
        };
        assert!(lives(false).is_sorted() && lives(false)[9] > lives(true)[9] * 5);
        assert!(lives(true).iter().rev().is_sorted(), "{:?}", lives(true));
        assert_eq!(adaptive.life(&History::default(), DAY), DAY);
    }

    #[test]
    fn what_is_asked_often_is_looked_at_more_often_within_the_bounds() {
        let adaptive = Adaptive::between(HOUR, 30 * DAY);
        let life = |asks| adaptive.life(&History::default().checked(DAY, asks, false), DAY);
        assert!(life(1) > life(100) && life(100) > life(10_000));
        assert_eq!(life(u64::MAX), HOUR);
        assert_eq!(
            adaptive
                .worth(1e12)
                .life(&History::default().checked(DAY, 1, false), DAY),
            30 * DAY
        );
    }
}
