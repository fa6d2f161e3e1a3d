//! Kills processes at random moments, and counts the kills that hit in the middle of their work.

use std::fmt;
use std::process::{Child, ExitStatus};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::process::{Pid, Signal, kill_process};

use super::skip::print;

/// How often each command is killed: 5 times, or the value of `MISTRAL_CASSETTE_ROUNDS`.
pub fn rounds() -> usize {
    let rounds = std::env::var("MISTRAL_CASSETTE_ROUNDS");
    rounds.map_or(5, |rounds| rounds.parse().unwrap())
}

/// The progress of a process when it was killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hit {
    /// Nothing was changed.
    Before,
    /// Part of the work was done.
    Middle,
    /// All of the work was done.
    Behind,
}

/// The duration of the shortest run without a kill.
#[derive(Clone, Copy, Debug)]
struct Undisturbed {
    whole: Duration,
    /// From its first change on.
    work: Duration,
}

/// The end of a round, with a description for messages.
pub struct Ended {
    pub status: ExitStatus,
    told: String,
}

impl fmt::Display for Ended {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.told)
    }
}

/// When to kill.
#[derive(Clone, Copy, Debug)]
enum Moment {
    OfRun(Duration),
    OfWork(Duration),
}

/// Only one test at a time measures and kills processes, since others would change the durations.
static TURN: Mutex<()> = Mutex::new(());

/// The kills of one test.
pub struct Kills {
    what: &'static str,
    _turn: MutexGuard<'static, ()>,
    state: u64,
    undisturbed: Undisturbed,
    hits: Vec<Hit>,
}

impl Kills {
    /// The moments are random; the seed is printed, and `MISTRAL_CASSETTE_SEED` sets it.
    pub fn new(what: &'static str) -> Self {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() % (1 << 48);
        let seed = std::env::var("MISTRAL_CASSETTE_SEED");
        let state = seed.map_or_else(|_| u64::try_from(now()).unwrap(), |seed| seed.parse().unwrap());
        print(&format!("{what}: MISTRAL_CASSETTE_SEED={state}, {} rounds\n", rounds()));
        Self {
            what,
            _turn: turn,
            state,
            undisturbed: Undisturbed {
                whole: Duration::MAX,
                work: Duration::MAX,
            },
            hits: Vec::new(),
        }
    }

    /// A random moment in this period.
    pub fn moment(&mut self, within: Duration) -> Duration {
        // SplitMix64 with its published constants.
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        within.mul_f64(((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64)
    }

    /// Waits for the end of a process that was just started, and measures its duration.
    pub fn measure(&mut self, child: &mut Child, has_begun: impl FnMut() -> bool) {
        self.wait(child, None, has_begun);
        // Status 1 says that something has changed, 2 that something failed.
        let code = child.wait().unwrap().code();
        assert!(matches!(code, Some(0 | 1)), "{code:?}");
    }

    /// Sends this signal to a process that was just started, alternately at a random moment of its run and of its
    /// work, and
    /// waits until it has ended.
    pub fn end(&mut self, child: &mut Child, signal: Signal, has_begun: impl FnMut() -> bool) -> Ended {
        let round = self.hits.len();
        let Undisturbed { whole, work } = self.undisturbed;
        let moment = if round.is_multiple_of(2) {
            Moment::OfRun(self.moment(whole))
        } else {
            Moment::OfWork(self.moment(work))
        };
        let has_ended = self.wait(child, Some(moment), has_begun);
        if !has_ended {
            kill_process(Pid::from_raw(child.id().cast_signed()).unwrap(), signal).unwrap();
        }
        let status = child.wait().unwrap();
        let what = self.what;
        let told = format!("{what}, round {round}, {signal:?} at {moment:?} of {whole:?} and {work:?}: {status}");
        Ended { status, told }
    }

    /// Waits for this moment or the end of the process; returns whether the process has ended.
    fn wait(&mut self, child: &mut Child, moment: Option<Moment>, mut has_begun: impl FnMut() -> bool) -> bool {
        let (start, mut begun) = (Instant::now(), None);
        while child.try_wait().unwrap().is_none() {
            if begun.is_none() && has_begun() {
                begun = Some(Instant::now());
            }
            match (moment, begun) {
                (Some(Moment::OfRun(moment)), _) if start.elapsed() >= moment => return false,
                (Some(Moment::OfWork(moment)), Some(begun)) if begun.elapsed() >= moment => return false,
                _ => {}
            }
            // The process needs the processor more than this loop.
            std::thread::sleep(Duration::from_micros(100));
        }
        self.undisturbed.whole = self.undisturbed.whole.min(start.elapsed());
        // The work may be done between two checks.
        if let Some(begun) = begun {
            self.undisturbed.work = self.undisturbed.work.min(begun.elapsed());
        }
        true
    }

    /// The number of the next round. While too few kills have hit in the middle, there are up to eight times as many rounds.
    pub fn next_round(&self) -> Option<usize> {
        let round = self.hits.len();
        let is_enough = round >= rounds() && (self.has_enough_in_the_middle() || round >= 8 * rounds());
        (!is_enough).then_some(round)
    }

    fn has_enough_in_the_middle(&self) -> bool {
        20 * self.hits.iter().filter(|hit| **hit == Hit::Middle).count() >= self.hits.len()
    }

    /// Records the progress at the kill of this round.
    pub fn note(&mut self, hit: Hit) {
        self.hits.push(hit);
    }

    /// Prints the counts; fails if too few kills hit in the middle, since then the test shows nothing.
    pub fn tell(self) {
        let count = |wanted: Hit| self.hits.iter().filter(|hit| **hit == wanted).count();
        let (before, middle, behind) = (count(Hit::Before), count(Hit::Middle), count(Hit::Behind));
        print(&format!(
            "{}: {middle} of {} kills were in the middle, {before} before anything was changed, {behind} behind the end\n",
            self.what,
            self.hits.len()
        ));
        assert!(self.has_enough_in_the_middle(), "too few kills were in the middle");
    }
}
