//! Expiry: how long a recording is used before its request is sent to the upstream again.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use crate::cassette::History;
use crate::settings::duration;

/// How long recordings are used. By default they do not expire, which suits recordings that are committed. Set an expiry for
/// caches.
///
/// The request of an expired recording is sent to the upstream again. Where this is not possible (mode `strict`, no API
/// key), the expired recording is replayed. The age of a recording counts from `recorded.at` in its document.
///
/// ```yaml
/// expiry:
///   time_to_live: 7d                 # of all recordings
///   endpoints: { models: 1h }        # of one endpoint, by the name of its folder
///   stale_while_revalidate: 1h       # how long after that a recording is still replayed while it is refreshed
///   adaptive:                        # see Adaptive
///     shortest: 1h
///     longest: 30d
/// ```
///
/// Write durations as `90s`, `15m`, `12h`, `7d` or `1d 12h`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Expiry {
    /// The time to live (TTL) of recordings; unlimited by default.
    #[serde(deserialize_with = "duration::optional")]
    pub time_to_live: Option<Duration>,
    /// The TTL for single endpoints, such as `embeddings` or `chat-completions`, by the name of the endpoint's folder.
    #[serde(deserialize_with = "duration::by_name")]
    pub endpoints: BTreeMap<String, Duration>,
    /// How long after its TTL a recording is still replayed while the upstream is requested in the background.
    #[serde(deserialize_with = "duration::one")]
    pub stale_while_revalidate: Duration,
    /// TTLs that adapt to the history of each recording. The time to live is then the initial TTL.
    pub adaptive: Option<Adaptive>,
}

/// Adaptive TTLs. The TTL of a recording grows while its response stays the same, and shrinks when the response changes or
/// when it is requested often.
///
/// # The rule
/// Let a response change μ times a second, be requested λ times a second, and have the TTL T. Then each period T costs one
/// request to the upstream, and on average λμT²/2 outdated responses. The total cost over time is least at
///
/// > T = √(2w / λμ)
///
/// where w is the number of outdated responses that cost as much as one upstream request ([`worth`](Self::worth)). λ is
/// counted. μ is estimated from checks. A check shows whether a response has changed, not how often. For n checks in S seconds,
/// X of which found a change,
///
/// > μ = −ln((n − X + ½) / (n + 1)) · n / S
///
/// after Cho and Garcia-Molina, [Estimating Frequency of Change](https://doi.org/10.1145/857166.857170) (ACM Transactions on
/// Internet Technology 3(3), 2003). Their estimator divides by n + ½. With n + 1 (Jeffreys' prior), one check without a change
/// does not give a rate of zero. The weight of each check is nine tenths of the next one's, so that the TTL follows a response
/// whose rate of change varies. `cargo run --release --example adaptive_expiry` simulates adaptive and fixed TTLs.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Adaptive {
    /// The minimum TTL.
    #[serde(deserialize_with = "duration::one")]
    pub shortest: Duration,
    /// The maximum TTL.
    #[serde(deserialize_with = "duration::one")]
    pub longest: Duration,
    /// The number of outdated responses that cost as much as one upstream request; 1 by default. A larger number gives longer
    /// TTLs.
    #[serde(default = "one")]
    pub worth: f64,
}

impl Adaptive {
    /// Adaptive TTLs within these bounds.
    pub fn between(shortest: Duration, longest: Duration) -> Self {
        Self {
            shortest,
            longest,
            worth: one(),
        }
    }

    /// Sets the number of outdated responses that cost as much as one upstream request.
    #[must_use]
    pub fn worth(mut self, responses: f64) -> Self {
        self.worth = responses;
        self
    }

    /// Computes the TTL of a recording with this history. Before the first check it is `initial`.
    pub fn ttl(&self, history: &History, initial: Duration) -> Duration {
        let ttl = if history.checks > 0.0 && history.seconds > 0.0 {
            let unchanged = (history.checks - history.changes + 0.5) / (history.checks + 1.0);
            let change_rate = -unchanged.ln() * history.checks / history.seconds;
            // Each check was a request.
            let request_rate = history.asks.max(history.checks) / history.seconds;
            Duration::try_from_secs_f64((2.0 * self.worth / (request_rate * change_rate)).sqrt())
                .unwrap_or(self.longest)
        } else {
            initial
        };
        ttl.max(self.shortest).min(self.longest)
    }
}

/// Whether a recording may still be replayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Freshness {
    Fresh,
    /// The recording is replayed while the upstream is requested in the background.
    Stale,
    Expired,
}

impl Expiry {
    /// Whether any recording can expire.
    pub(crate) fn is_set(&self) -> bool {
        self.time_to_live.is_some() || !self.endpoints.is_empty() || self.adaptive.is_some()
    }

    /// The TTL of a recording of this endpoint; `None` when it does not expire.
    pub(crate) fn ttl(&self, endpoint: &str, history: Option<&History>) -> Option<Duration> {
        let fixed = self.endpoints.get(endpoint).copied().or(self.time_to_live);
        match &self.adaptive {
            // A TTL that is set for an endpoint does not adapt.
            Some(adaptive) if !self.endpoints.contains_key(endpoint) => {
                let initial = fixed.unwrap_or_else(|| {
                    Duration::from_secs_f64((adaptive.shortest.as_secs_f64() * adaptive.longest.as_secs_f64()).sqrt())
                });
                Some(adaptive.ttl(history.unwrap_or(&History::default()), initial))
            }
            _ => fixed,
        }
    }

    /// How long a store must retain a recording with this TTL. It includes the time in which the recording is stale. With
    /// adaptive TTLs it also includes the maximum TTL, so that the next check finds the old response to compare with.
    pub(crate) fn retention(&self, ttl: Duration) -> Duration {
        let until_next_check = self
            .adaptive
            .as_ref()
            .map_or(Duration::ZERO, |adaptive| adaptive.longest);
        ttl.saturating_add(self.stale_while_revalidate)
            .saturating_add(until_next_check)
    }

    /// The freshness of a recording of this age.
    pub(crate) fn freshness(&self, endpoint: &str, history: Option<&History>, age: Duration) -> Freshness {
        match self.ttl(endpoint, history) {
            None => Freshness::Fresh,
            Some(ttl) if age < ttl => Freshness::Fresh,
            Some(ttl) if age < ttl.saturating_add(self.stale_while_revalidate) => Freshness::Stale,
            Some(_) => Freshness::Expired,
        }
    }
}

fn one() -> f64 {
    1.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cassette::yaml;
    use crate::error::ErrorKind;

    const HOUR: Duration = Duration::from_secs(3600);
    const DAY: Duration = Duration::from_secs(86_400);

    fn read(yaml: &str) -> Result<Expiry, String> {
        yaml::read_yaml(yaml.as_bytes(), "settings.yaml", ErrorKind::Settings).map_err(|error| error.to_string())
    }

    #[test]
    fn durations_are_parsed_in_every_member() {
        let expiry =
            read("time_to_live: 1d 12h\nendpoints: { models: 90s }\nadaptive: { shortest: 15m, longest: 30d }\n")
                .unwrap();
        assert_eq!(expiry.time_to_live, Some(36 * HOUR));
        assert_eq!(expiry.endpoints["models"], Duration::from_secs(90));
        assert_eq!(expiry.adaptive.unwrap().longest, 30 * DAY);
        for wrong in ["7", "soon", "-1h", "1y"] {
            let error = read(&format!("time_to_live: {wrong}\n")).unwrap_err();
            assert!(error.contains("is not a duration: write it as 90s"), "{error}");
        }
    }

    #[test]
    fn an_endpoint_may_have_its_own_ttl() {
        let expiry = read("time_to_live: 1h\nendpoints: { models: 1d }\nstale_while_revalidate: 10m\n").unwrap();
        let freshness = |endpoint, age| expiry.freshness(endpoint, None, age);
        assert_eq!(freshness("embeddings", HOUR - Duration::from_secs(1)), Freshness::Fresh);
        assert_eq!(freshness("embeddings", HOUR), Freshness::Stale);
        assert_eq!(
            freshness("embeddings", HOUR + Duration::from_secs(600)),
            Freshness::Expired
        );
        assert_eq!(freshness("models", 2 * HOUR), Freshness::Fresh);
        assert_eq!(
            Expiry::default().freshness("models", None, 9999 * DAY),
            Freshness::Fresh
        );
    }

    #[test]
    fn the_retention_covers_the_stale_period_and_the_longest_adaptive_ttl() {
        let fixed = read("time_to_live: 1h\nstale_while_revalidate: 10m\n").unwrap();
        assert_eq!(fixed.retention(HOUR), HOUR + Duration::from_secs(600));
        let adaptive = read("adaptive: { shortest: 1h, longest: 30d }\n").unwrap();
        assert_eq!(adaptive.retention(HOUR), HOUR + 30 * DAY);
    }

    #[test]
    fn ttls_grow_while_a_response_stays_the_same_and_shrink_when_it_changes() {
        let adaptive = Adaptive::between(HOUR, 30 * DAY);
        let ttls = |has_changed: bool| {
            let mut history = History::default();
            (0..10)
                .map(|_| {
                    history = history.checked(DAY, 10, has_changed);
                    adaptive.ttl(&history, DAY)
                })
                .collect::<Vec<_>>()
        };
        assert!(ttls(false).is_sorted() && ttls(false)[9] > ttls(true)[9] * 5);
        assert!(ttls(true).iter().rev().is_sorted(), "{:?}", ttls(true));
        assert_eq!(adaptive.ttl(&History::default(), DAY), DAY);
    }

    #[test]
    fn frequent_requests_shorten_the_ttl_within_its_bounds() {
        let adaptive = Adaptive::between(HOUR, 30 * DAY);
        let ttl = |requests| adaptive.ttl(&History::default().checked(DAY, requests, false), DAY);
        assert!(ttl(1) > ttl(100) && ttl(100) > ttl(10_000));
        assert_eq!(ttl(u64::MAX), HOUR);
        assert_eq!(
            adaptive
                .worth(1e12)
                .ttl(&History::default().checked(DAY, 1, false), DAY),
            30 * DAY
        );
    }
}
