//! Compares adaptive and fixed TTLs: simulates 60 days of requests whose popularity follows Zipf's law.
//!
//! `cargo run --release --example adaptive_expiry`
#![allow(clippy::cast_precision_loss, clippy::unwrap_used)]

use std::time::Duration;

use mistral_cassette::settings::{Adaptive, History};

const KEYS: usize = 5_000;
const REQUESTS_PER_SECOND: f64 = 1.0;
const DAYS: f64 = 60.0;
const HOUR: f64 = 3600.0;
const DAY: f64 = 24.0 * HOUR;

/// A response that is requested and that changes.
struct Entry {
    changes_per_second: f64,
    /// The current version at the upstream.
    version: u32,
    next_change: f64,
    recorded: Option<Recorded>,
}

struct Recorded {
    version: u32,
    since: f64,
    requests: u64,
    history: History,
}

#[derive(Default)]
struct Result {
    requests: u64,
    hits: u64,
    outdated: u64,
}

fn main() {
    println!(
        "{KEYS} responses, requested by Zipf's law {REQUESTS_PER_SECOND} times per second for {DAYS} days; they change between once an"
    );
    println!(
        "hour and once in 90 days (log-uniform). Outdated: the share of responses that differ from those of the upstream.\n"
    );
    println!(
        "{:28} {:>9} {:>10} {:>18}",
        "TTL", "hit rate", "outdated", "upstream requests"
    );
    for hours in [1.0, 6.0, 24.0, 7.0 * 24.0] {
        let fixed = Duration::from_secs_f64(hours * HOUR);
        report(&format!("fixed, {hours} h"), &simulate(|_| fixed));
    }
    for worth in [0.1, 1.0, 10.0] {
        let bounds = (Duration::from_secs_f64(HOUR / 4.0), Duration::from_secs_f64(30.0 * DAY));
        let adaptive = Adaptive::between(bounds.0, bounds.1).worth(worth);
        let first = Duration::from_secs_f64(6.0 * HOUR);
        report(
            &format!("adaptive, worth {worth}"),
            &simulate(|history| adaptive.ttl(history, first)),
        );
    }
}

fn report(name: &str, result: &Result) {
    let of_all = |part: u64| part as f64 / result.requests as f64 * 100.0;
    let upstream = result.requests - result.hits;
    println!(
        "{name:28} {:>7.2} % {:>8.2} % {upstream:>18}",
        of_all(result.hits),
        of_all(result.outdated)
    );
}

fn simulate(ttl: impl Fn(&History) -> Duration) -> Result {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut entries: Vec<Entry> = (0..KEYS)
        .map(|_| {
            let (slowest, fastest) = (1.0 / (90.0 * DAY), 1.0 / HOUR);
            let changes_per_second = slowest * f64::powf(fastest / slowest, random.next());
            let next_change = random.wait(changes_per_second);
            Entry {
                changes_per_second,
                version: 0,
                next_change,
                recorded: None,
            }
        })
        .collect();
    let weights: Vec<f64> = (1..=KEYS)
        .scan(0.0, |sum, rank| {
            *sum += 1.0 / rank as f64;
            Some(*sum)
        })
        .collect();
    let (mut now, mut result) = (0.0, Result::default());
    loop {
        now += random.wait(REQUESTS_PER_SECOND);
        if now > DAYS * DAY {
            return result;
        }
        let at = random.next() * weights.last().unwrap();
        let entry = &mut entries[weights.partition_point(|weight| *weight < at).min(KEYS - 1)];
        while entry.next_change < now {
            entry.version += 1;
            entry.next_change += random.wait(entry.changes_per_second);
        }
        result.requests += 1;
        let version = entry.version;
        match &mut entry.recorded {
            Some(recorded) if now - recorded.since < ttl(&recorded.history).as_secs_f64() => {
                recorded.requests += 1;
                result.hits += 1;
                result.outdated += u64::from(recorded.version != version);
            }
            Some(recorded) => {
                let after = Duration::from_secs_f64(now - recorded.since);
                let history = recorded
                    .history
                    .checked(after, recorded.requests + 1, recorded.version != version);
                *recorded = Recorded {
                    version,
                    since: now,
                    requests: 0,
                    history,
                };
            }
            None => {
                entry.recorded = Some(Recorded {
                    version,
                    since: now,
                    requests: 0,
                    history: History::default(),
                })
            }
        }
    }
}

/// Random numbers that are the same in each run: SplitMix64.
struct Random(u64);

impl Random {
    /// Returns a number between 0 and 1.
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((bits ^ (bits >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Returns the time until the next of events with this frequency.
    fn wait(&mut self, per_second: f64) -> f64 {
        -(1.0 - self.next()).ln() / per_second
    }
}
