//! Lives that adapt, beside fixed ones: a simulation of 60 days of a service that asks by Zipf's law.
//!
//! `cargo run --release --example adaptive_expiry`
#![allow(clippy::cast_precision_loss, clippy::unwrap_used)]

use std::time::Duration;

use mistral_cassette::{Adaptive, History};

const KEYS: usize = 5_000;
const ASKS_A_SECOND: f64 = 1.0;
const DAYS: f64 = 60.0;
const HOUR: f64 = 3600.0;
const DAY: f64 = 24.0 * HOUR;

/// One answer that is asked for and changes, each as often as it does.
struct Entry {
    changes_a_second: f64,
    /// Which version the upstream would give, and when the next one comes.
    version: u32,
    next_change: f64,
    kept: Option<Kept>,
}

struct Kept {
    version: u32,
    since: f64,
    asks: u64,
    history: History,
}

#[derive(Default)]
struct Result {
    asks: u64,
    hits: u64,
    outdated: u64,
}

fn main() {
    println!(
        "{KEYS} answers, asked by Zipf's law {ASKS_A_SECOND} times a second for {DAYS} days; they change between once an"
    );
    println!(
        "hour and once in 90 days (log-uniform). Outdated: of all answers, those that the upstream would give otherwise.\n"
    );
    println!(
        "{:28} {:>9} {:>10} {:>18}",
        "life", "hit rate", "outdated", "asks of upstream"
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
    let of_all = |part: u64| part as f64 / result.asks as f64 * 100.0;
    let upstream = result.asks - result.hits;
    println!(
        "{name:28} {:>7.2} % {:>8.2} % {upstream:>18}",
        of_all(result.hits),
        of_all(result.outdated)
    );
}

fn simulate(life: impl Fn(&History) -> Duration) -> Result {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut entries: Vec<Entry> = (0..KEYS)
        .map(|_| {
            let (slowest, fastest) = (1.0 / (90.0 * DAY), 1.0 / HOUR);
            let changes_a_second = slowest * f64::powf(fastest / slowest, random.next());
            let next_change = random.wait(changes_a_second);
            Entry {
                changes_a_second,
                version: 0,
                next_change,
                kept: None,
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
        now += random.wait(ASKS_A_SECOND);
        if now > DAYS * DAY {
            return result;
        }
        let at = random.next() * weights.last().unwrap();
        let entry = &mut entries[weights.partition_point(|weight| *weight < at).min(KEYS - 1)];
        while entry.next_change < now {
            entry.version += 1;
            entry.next_change += random.wait(entry.changes_a_second);
        }
        result.asks += 1;
        let version = entry.version;
        match &mut entry.kept {
            Some(kept) if now - kept.since < life(&kept.history).as_secs_f64() => {
                kept.asks += 1;
                result.hits += 1;
                result.outdated += u64::from(kept.version != version);
            }
            Some(kept) => {
                let after = Duration::from_secs_f64(now - kept.since);
                let history = kept.history.checked(after, kept.asks + 1, kept.version != version);
                *kept = Kept {
                    version,
                    since: now,
                    asks: 0,
                    history,
                };
            }
            None => {
                entry.kept = Some(Kept {
                    version,
                    since: now,
                    asks: 0,
                    history: History::default(),
                })
            }
        }
    }
}

/// The same numbers each time: SplitMix64.
struct Random(u64);

impl Random {
    /// Between 0 and 1.
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((bits ^ (bits >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// The time to the next of events that come so often.
    fn wait(&mut self, a_second: f64) -> f64 {
        -(1.0 - self.next()).ln() / a_second
    }
}
