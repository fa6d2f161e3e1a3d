//! What happened since the start: turns, counts, and the verdict at the end.

use std::collections::BTreeSet;
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};

use http::StatusCode;
use lru::LruCache;

use crate::cassette::{Cassette, Recorded, RecordedRequest, RecordedResponse};
use crate::error::{Error, ErrorKind, Result};
use crate::key::RequestKey;
use crate::settings::faults::Injection;

/// Over a cache, which may serve for months, turns are counted for as many requests; what was not asked for longest begins
/// again with its first response.
const TURNS_OF_A_CACHE: NonZeroUsize = NonZeroUsize::new(100_000).unwrap();

/// How many failures are kept with their text; the others are counted.
const FAILURES_KEPT: usize = 1000;

/// One run of a program or a test suite against a recorder: how often each request was asked, and what became of it.
#[derive(Debug, Default)]
pub struct Session {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    turns: LruCache<RequestKey, Turns>,
    kept: LruCache<RequestKey, Kept>,
    summary: Summary,
    failures: Vec<Error>,
    /// Whether it was said that the engine is of no use.
    told: bool,
    /// The statuses of the day of which it was said that they are not kept.
    warned_transient: BTreeSet<u16>,
}

/// How often a key was asked for.
#[derive(Debug, Default)]
struct Turns {
    asked: usize,
    /// How many of these asks got the answer that was theirs.
    taken: usize,
}

impl State {
    fn turns(&mut self, key: &RequestKey) -> &mut Turns {
        self.turns.get_or_insert_mut_ref(key, Turns::default)
    }
}

impl Default for State {
    fn default() -> Self {
        Self {
            turns: LruCache::unbounded(),
            kept: LruCache::unbounded(),
            summary: Summary::default(),
            failures: Vec::new(),
            told: false,
            warned_transient: BTreeSet::new(),
        }
    }
}

/// How many requests were answered in which way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary {
    /// Answered from a cassette, or with the answer that another request was just waiting for.
    pub replayed: usize,
    /// Answered by the upstream, and kept.
    pub recorded: usize,
    /// Answered by the upstream, and not kept: mode `live`, or an answer of the day (401, 429, 5xx).
    pub passed_on: usize,
    /// Not recorded, and not asked of the upstream.
    pub missed: usize,
    /// Answered by the upstream, and not kept because it is too large or the engine failed.
    pub skipped: usize,
    /// The tokens that the replayed answers took when they were recorded.
    pub tokens_saved: u64,
    /// The milliseconds that they took.
    pub milliseconds_saved: u64,
    /// Failed otherwise: a damaged cassette, an upstream that broke off, a directory that cannot be written.
    pub failed: usize,
    /// Recorded, and answered with a fault that was [injected](crate::Playback::inject).
    pub injected: usize,
    /// Not answered by the proxy, since a web page of another site asked, or by a name that is not this machine's. It is no
    /// failure: any page could make tests fail otherwise.
    pub refused: usize,
    /// Answered later than need be, since that was injected; they count among the others too.
    pub delayed: usize,
}

/// What this session has kept under one key.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kept {
    /// How many asks the kept responses have answered: the next response belongs behind as many.
    pub(crate) asks: usize,
    /// What an earlier session had kept, to be taken over where a new answer says the same.
    pub(crate) earlier: Vec<RecordedResponse>,
    /// Who had recorded that, and of which request; `None` as soon as anything is different.
    pub(crate) earlier_head: Option<(Recorded, RecordedRequest)>,
}

impl Kept {
    /// Nothing yet, after an earlier session has left this cassette.
    pub(crate) fn after(earlier: &Cassette) -> Self {
        Self {
            asks: 0,
            earlier: earlier.responses.clone(),
            earlier_head: Some((earlier.recorded.clone(), earlier.request.clone())),
        }
    }
}

impl Session {
    /// A session that remembers a bounded number of requests.
    pub(crate) fn for_cache() -> Self {
        Self {
            state: Mutex::new(State {
                turns: LruCache::new(TURNS_OF_A_CACHE),
                kept: LruCache::new(TURNS_OF_A_CACHE),
                ..State::default()
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts an ask of this key, whose fate is told by how many there were before. It takes its turn as well, unless a
    /// fault is to take the place of its answer.
    pub(crate) fn next_ask(
        &self,
        key: &RequestKey,
        fate: impl FnOnce(usize) -> Injection,
    ) -> (Injection, Option<usize>) {
        let mut state = self.state();
        let turns = state.turns(key);
        let fate = fate(turns.asked);
        turns.asked += 1;
        let turn = fate.fault.is_none().then_some(turns.taken);
        turns.taken += usize::from(turn.is_some());
        (fate, turn)
    }

    /// Takes the turn for the next answer under this key, and returns how many were taken before.
    pub(crate) fn next_turn(&self, key: &RequestKey) -> usize {
        let mut state = self.state();
        let turns = state.turns(key);
        turns.taken += 1;
        turns.taken - 1
    }

    /// How many turns were taken under this key.
    pub(crate) fn turns_taken(&self, key: &RequestKey) -> usize {
        self.state().turns(key).taken
    }

    /// Forgets what was kept under this key; as many asks of it are new ones. How many there were.
    pub(crate) fn begin_again(&self, key: &RequestKey, asks: usize) -> u64 {
        let mut state = self.state();
        state.kept.pop(key);
        std::mem::replace(&mut state.turns(key).taken, asks) as u64
    }

    /// Says once that the engine is of no use.
    pub(crate) fn warn_once(&self, error: &Error) {
        let is_new = !std::mem::replace(&mut self.state().told, true);
        if is_new {
            tracing::warn!("the engine is of no use, answers come from the upstream and are not kept: {error}");
        } else {
            tracing::debug!("the engine is of no use: {error}");
        }
    }

    /// Says once for each status that an answer of the day was not kept, and what to do about it.
    pub(crate) fn warn_transient(&self, status: StatusCode, line: &str) {
        let advice = match status.as_u16() {
            401 | 403 => "the API key is missing, or has no right to this",
            _ => "to keep such answers set save_errors, and to test with one have it injected",
        };
        if self.state().warned_transient.insert(status.as_u16()) {
            tracing::warn!("not kept, since it speaks of the day: {status} for {line} ({advice})");
        } else {
            tracing::info!("not kept, since it speaks of the day: {status} for {line}");
        }
    }

    pub(crate) fn kept(&self, key: &RequestKey) -> Option<Kept> {
        self.state().kept.get(key).cloned()
    }

    pub(crate) fn set_kept(&self, key: &RequestKey, kept: Kept) {
        self.state().kept.put(key.clone(), kept);
    }

    pub(crate) fn count(&self, what: impl FnOnce(&mut Summary)) {
        let mut state = self.state();
        let before = state.summary;
        what(&mut state.summary);
        told(&before, &state.summary);
    }

    /// Counts a request that nobody may ask; the first one is said.
    #[cfg(feature = "proxy")]
    pub(crate) fn refused(&self, error: &Error) {
        self.count(|summary| summary.refused += 1);
        if self.summary().refused == 1 {
            tracing::warn!("refused, and others like it will be: {}", error.message());
        }
    }

    pub(crate) fn failed(&self, error: &Error) {
        self.count(|summary| match error.kind() {
            ErrorKind::Miss => summary.missed += 1,
            _ => summary.failed += 1,
        });
        let mut state = self.state();
        if state.failures.len() < FAILURES_KEPT {
            state.failures.push(error.clone());
        }
    }

    /// How many requests were answered in which way so far.
    pub fn summary(&self) -> Summary {
        self.state().summary
    }

    /// Everything that went wrong so far, in order, whether or not the caller noticed: the first thousand.
    pub fn failures(&self) -> Vec<Error> {
        self.state().failures.clone()
    }

    /// Whether all went well: no miss and no failure, not even one that the caller swallowed.
    ///
    /// # Errors
    /// [`ErrorKind::Miss`] when a request was missed, else the kind of the first failure; the message tells them all.
    pub fn verdict(&self) -> Result<Summary> {
        const TOLD: usize = 3;
        let state = self.state();
        let Some(first) = state.failures.first() else {
            return Ok(state.summary);
        };
        let kind = if state.summary.missed > 0 {
            ErrorKind::Miss
        } else {
            first.kind()
        };
        let mut message = match (state.summary.missed, state.summary.failed) {
            (missed, 0) => format!("{} not recorded", requests(missed, "was", "were")),
            (0, failed) => format!("{} failed", requests(failed, "has", "have")),
            (missed, failed) => format!("{} not recorded, and {failed} failed", requests(missed, "was", "were")),
        };
        let mut hints: Vec<&str> = Vec::new();
        for failure in state.failures.iter().take(TOLD) {
            message.push_str("\n\n");
            message.push_str(&failure.with_causes());
            hints.extend(failure.hint().filter(|hint| !hints.contains(hint)));
        }
        let all = state.summary.missed + state.summary.failed;
        if all > TOLD {
            message.push_str(&format!("\n\n… and {} more", all - TOLD));
        }
        for hint in hints {
            message.push_str(&format!("\n\nhint: {hint}"));
        }
        Err(Error::new(kind, message))
    }
}

/// What has come to a summary, as counters of the `metrics` crate.
#[cfg(feature = "metrics")]
fn told(before: &Summary, after: &Summary) {
    for (outcome, before, after) in [
        ("replayed", before.replayed, after.replayed),
        ("recorded", before.recorded, after.recorded),
        ("passed_on", before.passed_on, after.passed_on),
        ("skipped", before.skipped, after.skipped),
        ("missed", before.missed, after.missed),
        ("failed", before.failed, after.failed),
        ("injected", before.injected, after.injected),
        ("refused", before.refused, after.refused),
    ] {
        if after > before {
            metrics::counter!("mistral_cassette_requests_total", "outcome" => outcome)
                .increment((after - before) as u64);
        }
    }
    let (tokens, milliseconds) = (
        after.tokens_saved - before.tokens_saved,
        after.milliseconds_saved - before.milliseconds_saved,
    );
    if tokens > 0 {
        metrics::counter!("mistral_cassette_saved_tokens_total").increment(tokens);
    }
    if milliseconds > 0 {
        metrics::counter!("mistral_cassette_saved_milliseconds_total").increment(milliseconds);
    }
}

#[cfg(not(feature = "metrics"))]
fn told(_before: &Summary, _after: &Summary) {}

fn requests(count: usize, one: &str, more: &str) -> String {
    if count == 1 {
        format!("1 request {one}")
    } else {
        format!("{count} requests {more}")
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            replayed,
            recorded,
            passed_on,
            missed,
            failed,
            skipped,
            injected,
            delayed,
            refused,
            ..
        } = self;
        write!(f, "{replayed} replayed, {recorded} recorded")?;
        for (count, what) in [
            (passed_on, "passed on"),
            (skipped, "not kept"),
            (injected, "injected"),
            (delayed, "delayed"),
            (refused, "refused"),
            (missed, "missed"),
            (failed, "failed"),
        ] {
            if *count > 0 {
                write!(f, ", {count} {what}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verdict_tells_the_first_failures_and_each_hint_once() {
        let session = Session::default();
        session.count(|summary| summary.replayed += 2);
        assert_eq!(session.verdict().unwrap().to_string(), "2 replayed, 0 recorded");
        session.failed(&Error::new(ErrorKind::Upstream, "the upstream broke off"));
        assert_eq!(session.verdict().unwrap_err().kind(), ErrorKind::Upstream);
        for number in 0..3 {
            session.failed(&Error::new(ErrorKind::Miss, format!("not recorded: {number}")).with_hint("record it"));
        }
        let verdict = session.verdict().unwrap_err();
        assert_eq!(verdict.kind(), ErrorKind::Miss);
        insta::assert_snapshot!(verdict, @r"
        3 requests were not recorded, and 1 failed

        the upstream broke off

        not recorded: 0

        not recorded: 1

        … and 1 more

        hint: record it
        ");
        assert_eq!(
            session.summary().to_string(),
            "2 replayed, 0 recorded, 3 missed, 1 failed"
        );
    }
}
