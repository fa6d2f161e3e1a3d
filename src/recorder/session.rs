//! What happened in a session: turns, counts, and the verdict at its end.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use lru::LruCache;

use super::in_progress::InProgress;
use super::outcome::{AnsweredRequest, RequestListener};
use crate::cassette::{Cassette, Recorded, RecordedRequest, RecordedResponse};
use crate::error::{Error, ErrorKind, Result};
use crate::key::{RequestKey, Scope};
use crate::settings::faults::Injection;

/// A session over a cache may last for months, so it counts the turns of this many requests. Beyond that, the least recently
/// sent request starts again with its first response.
const CACHE_SESSION_CAPACITY: NonZeroUsize = NonZeroUsize::new(100_000).unwrap();

/// How many failures are stored with their text. All failures are counted.
const MAX_FAILURES: usize = 1000;

/// One run of a program or a test suite with a recorder: how often each request was sent, and how it was answered.
#[derive(Debug, Default)]
pub struct Session {
    state: Mutex<State>,
    in_progress: Arc<InProgress>,
    has_ended: AtomicBool,
    listener: Option<Arc<dyn RequestListener>>,
}

#[derive(Debug)]
struct State {
    turns: LruCache<RequestKey, Turns>,
    saved: LruCache<RequestKey, SavedResponses>,
    /// How many requests that may change a state were sent in each scope.
    writes: HashMap<Scope, u64>,
    summary: Summary,
    failures: Vec<Error>,
    /// Whether the warning that the engine is unavailable was printed.
    warned_unavailable: bool,
    /// The transient errors that were warned about: the kind of error, and scope and test.
    warned_transient: BTreeSet<(String, String)>,
    /// The names of the cassettes that another session has recorded meanwhile.
    warned_collisions: BTreeSet<String>,
    /// The SHA-256 of each API key that the upstream has refused.
    refused_keys: BTreeSet<String>,
    /// Whether a request was not sent, or not recorded, because its API key is wrong or missing.
    is_ended_without_key: bool,
    began: Timestamp,
    /// What happened to each request, in a session that keeps them.
    requests: Option<Vec<AnsweredRequest>>,
}

/// How often a key was requested.
#[derive(Debug, Default)]
struct Turns {
    requests: usize,
    /// How many of these requests took a recorded response. An injected fault takes none.
    taken: usize,
    /// Those of the turns before `taken` that were given back.
    returned: BTreeSet<usize>,
}

impl Turns {
    /// Takes the first turn that is free.
    fn take(&mut self) -> usize {
        self.returned.pop_first().unwrap_or_else(|| {
            self.taken += 1;
            self.taken - 1
        })
    }

    #[cfg(feature = "realtime")]
    fn give_back(&mut self, turn: usize) {
        if turn < self.taken {
            self.returned.insert(turn);
        }
    }

    /// The turn that is taken next.
    fn next(&self) -> usize {
        self.returned.first().copied().unwrap_or(self.taken)
    }
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
            saved: LruCache::unbounded(),
            writes: HashMap::new(),
            summary: Summary::default(),
            failures: Vec::new(),
            warned_unavailable: false,
            warned_transient: BTreeSet::new(),
            warned_collisions: BTreeSet::new(),
            refused_keys: BTreeSet::new(),
            is_ended_without_key: false,
            began: Timestamp::now(),
            requests: None,
        }
    }
}

/// How many requests were answered in which way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary {
    /// Answered from a cassette, or with the response to an equal request in progress.
    pub replayed: usize,
    /// Answered by the upstream and recorded.
    pub recorded: usize,
    /// Answered by the upstream and not recorded: mode `live`, or a transient error (401, 429, 5xx).
    pub passed_on: usize,
    /// Not recorded and not sent to the upstream.
    pub missed: usize,
    /// Answered by the upstream and not recorded, because the response is too large or the engine failed.
    pub skipped: usize,
    /// The tokens that the replayed responses used when they were recorded.
    pub tokens_saved: u64,
    /// The milliseconds that the replayed responses took when they were recorded.
    pub milliseconds_saved: u64,
    /// Failed for another reason: a damaged cassette, a truncated response of the upstream, a directory that cannot be written.
    pub failed: usize,
    /// Recorded, and answered with an [injected](crate::Playback::inject) fault.
    pub injected: usize,
    /// Refused by the proxy, because a web page of another site sent it, or its `Host` is not this machine. A refusal is not
    /// a failure: otherwise any web page could make tests fail.
    pub refused: usize,
    /// Answered after an injected delay. These requests are also counted in another field.
    pub delayed: usize,
}

/// What this session has saved under one key.
#[derive(Clone, Debug, Default)]
pub(super) struct SavedResponses {
    /// How many requests the saved responses have answered: the next response comes after as many.
    pub(super) requests: usize,
    /// The responses of an earlier session. One stays on file if the new response at its place is equivalent.
    pub(super) earlier: Arc<Vec<RecordedResponse>>,
    /// When the saved responses were recorded.
    pub(super) recorded: Option<Recorded>,
    /// When the earlier responses were recorded, and for which request. `None` as soon as a new response differs.
    pub(super) earlier_head: Option<Arc<(Recorded, RecordedRequest)>>,
    /// How many requests since the last saved response read the same state again, and how many writes came before the last
    /// of them.
    unchanged: (usize, u64),
}

impl SavedResponses {
    /// Nothing is saved yet, and an earlier session has left this cassette.
    pub(super) fn after(earlier: &Cassette) -> Self {
        Self {
            requests: 0,
            recorded: None,
            earlier: Arc::new(earlier.responses.clone()),
            earlier_head: Some(Arc::new((earlier.recorded.clone(), earlier.request.clone()))),
            unchanged: (0, 0),
        }
    }

    /// Adds the times of further responses: repetitions of the last one, which have its time, and copies of a new one.
    pub(super) fn add_times(&mut self, new: &Recorded, repetitions: usize, copies: usize) {
        let last = self.recorded.clone().unwrap_or_else(|| new.clone());
        let times = std::iter::repeat_n(&last, repetitions).chain(std::iter::repeat_n(new, copies));
        for next in times {
            self.recorded = Some(match self.recorded.take() {
                Some(before) => before.followed_by(next.clone()),
                None => next.clone(),
            });
        }
    }
}

impl Session {
    /// A session that counts the turns of a bounded number of requests.
    pub(super) fn for_cache() -> Self {
        Self {
            state: Mutex::new(State {
                turns: LruCache::new(CACHE_SESSION_CAPACITY),
                saved: LruCache::new(CACHE_SESSION_CAPACITY),
                ..State::default()
            }),
            ..Self::default()
        }
    }

    /// The requests of a test that are in progress.
    pub(super) fn in_progress(&self) -> &Arc<InProgress> {
        &self.in_progress
    }

    /// Whether the session has ended, so that nobody would see the outcome of another request.
    pub(super) fn has_ended(&self) -> bool {
        self.has_ended.load(Ordering::Relaxed)
    }

    pub(super) fn end(&self) {
        self.has_ended.store(true, Ordering::Relaxed);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a request with this key. `inject` decides what to inject; its argument is the number of requests before this one.
    /// Returns the injection, and the turn of the request, or no turn if a fault takes the place of the response.
    pub(super) fn next_request(
        &self,
        key: &RequestKey,
        inject: impl FnOnce(usize) -> Injection,
    ) -> (Injection, Option<usize>) {
        let mut state = self.state();
        let turns = state.turns(key);
        let injection = inject(turns.requests);
        turns.requests += 1;
        let turn = injection.fault.is_none().then(|| turns.take());
        (injection, turn)
    }

    /// Takes the next turn under this key. Returns how many were taken before.
    pub(super) fn take_turn(&self, key: &RequestKey) -> usize {
        self.state().turns(key).take()
    }

    /// Gives a turn back that was not used. It is the next one that is taken.
    #[cfg(feature = "realtime")]
    pub(super) fn give_turn_back(&self, key: &RequestKey, turn: usize) {
        self.state().turns(key).give_back(turn);
    }

    /// The turn under this key that is taken next: how many were taken, if none was given back.
    pub(super) fn next_turn(&self, key: &RequestKey) -> usize {
        self.state().turns(key).next()
    }

    /// Starts the key again, as in a new session with this number of requests. Returns the number of turns so far.
    pub(super) fn restart(&self, key: &RequestKey, requests: usize) -> u64 {
        let mut state = self.state();
        state.saved.pop(key);
        let turns = state.turns(key);
        turns.returned.clear();
        std::mem::replace(&mut turns.taken, requests) as u64
    }

    /// Warns once that the engine is unavailable.
    pub(super) fn warn_unavailable(&self, error: &Error) {
        let is_new = !std::mem::replace(&mut self.state().warned_unavailable, true);
        if is_new {
            tracing::warn!(
                "the engine is unavailable; the upstream answers and nothing is recorded: {}",
                error.in_one_line()
            );
        } else {
            tracing::debug!("the engine is unavailable: {}", error.in_one_line());
        }
    }

    /// Whether this is the first transient error of this kind from this scope and test.
    pub(super) fn is_first_transient(&self, kind: &str, origin: &str) -> bool {
        self.state()
            .warned_transient
            .insert((kind.to_owned(), origin.to_owned()))
    }

    /// Whether this is the first time that another session has recorded this key too.
    pub(super) fn is_first_collision(&self, key: &RequestKey) -> bool {
        self.state().warned_collisions.insert(key.name())
    }

    /// Remembers that the upstream has refused a key, by its SHA-256.
    pub(super) fn refuse_key(&self, key: String) {
        let mut state = self.state();
        state.refused_keys.insert(key);
        state.is_ended_without_key = true;
    }

    /// Whether the upstream has refused this key.
    pub(super) fn has_refused(&self, key: &str) -> bool {
        self.state().refused_keys.contains(key)
    }

    /// Remembers that a request was not sent, because there is no API key.
    pub(super) fn end_without_key(&self) {
        self.state().is_ended_without_key = true;
    }

    /// Whether the API key was wrong or missing, so that the session could not record.
    #[cfg(feature = "cli")]
    pub(crate) fn is_ended_without_key(&self) -> bool {
        self.state().is_ended_without_key
    }

    /// Whether the session began before the last response of a recording.
    pub(super) fn has_begun_before(&self, recorded: &Recorded) -> bool {
        recorded.time().is_some_and(|at| self.state().began < at)
    }

    /// Counts a request that may change what others in its scope read.
    pub(super) fn count_write(&self, scope: &Scope) {
        *self.state().writes.entry(scope.clone()).or_default() += 1;
    }

    /// Counts requests that read the state that was saved last under this key.
    pub(super) fn count_unchanged(&self, key: &RequestKey, requests: usize) {
        let mut state = self.state();
        let writes = state.writes.get(key.scope()).copied().unwrap_or_default();
        if let Some(saved) = state.saved.get_mut(key) {
            saved.unchanged = (saved.unchanged.0 + requests, writes);
        }
    }

    /// What this session has saved under this key, before a response with a new state is added. If the program has sent a write
    /// since the last request that got the old state, the new state may be the effect of that write. The requests that got the
    /// old state again then count, so that in a replay as many requests get it. Otherwise the state has changed by itself, and
    /// a program that polls for the change need not poll as often in a replay.
    pub(super) fn saved_before_change(&self, key: &RequestKey) -> Option<SavedResponses> {
        let mut state = self.state();
        let writes = state.writes.get(key.scope()).copied().unwrap_or_default();
        let mut saved = state.saved.get(key).cloned()?;
        let (requests, writes_before) = std::mem::take(&mut saved.unchanged);
        if writes > writes_before {
            saved.requests += requests;
        }
        Some(saved)
    }

    /// Whether this session has saved a response under this key.
    pub(super) fn has_saved(&self, key: &RequestKey) -> bool {
        self.state().saved.contains(key)
    }

    /// Stores what this session has saved under this key.
    pub(super) fn set_saved(&self, key: &RequestKey, saved: SavedResponses) {
        self.state().saved.put(key.clone(), saved);
    }

    /// Changes the counts.
    pub(crate) fn count(&self, change: impl FnOnce(&mut Summary)) {
        let mut state = self.state();
        let before = state.summary;
        change(&mut state.summary);
        emit_metrics(&before, &state.summary);
    }

    /// Keeps what happens to each request from now on.
    pub(super) fn keep_requests(&self) {
        self.state().requests = Some(Vec::new());
    }

    /// Reports each request to this listener from now on.
    pub(super) fn listen(&mut self, listener: Arc<dyn RequestListener>) {
        self.listener = Some(listener);
    }

    /// Whether there is a listener, which gets the request itself besides its entry.
    pub(super) fn has_listener(&self) -> bool {
        self.listener.is_some()
    }

    /// Adds a request, if this session keeps them, and reports it to the listener.
    pub(super) fn keep(
        &self,
        answered: impl FnOnce() -> AnsweredRequest,
        request: Option<&RecordedRequest>,
        error: Option<&Error>,
    ) {
        let Some(listener) = &self.listener else {
            if let Some(requests) = &mut self.state().requests {
                requests.push(answered());
            }
            return;
        };
        // The session is not locked meanwhile.
        let answered = answered();
        listener.answered(&answered, request, error);
        if let Some(requests) = &mut self.state().requests {
            requests.push(answered);
        }
    }

    /// Reports what is no request of the session to the listener.
    #[cfg(feature = "proxy")]
    pub(super) fn notify(&self, answered: impl FnOnce() -> AnsweredRequest, error: &Error) {
        if let Some(listener) = &self.listener {
            listener.answered(&answered(), None, Some(error));
        }
    }

    /// What happened to each request so far; empty unless the session keeps them.
    #[cfg(feature = "cli")]
    pub(crate) fn requests(&self) -> Vec<AnsweredRequest> {
        self.state().requests.clone().unwrap_or_default()
    }

    /// Counts a refused request, and warns about the first one. Returns how many there are.
    #[cfg(feature = "proxy")]
    pub(super) fn refused(&self, error: &Error) -> usize {
        let mut refused = 0;
        self.count(|summary| {
            summary.refused += 1;
            refused = summary.refused;
        });
        if refused == 1 {
            tracing::warn!("refused a request, and will refuse others like it: {}", error.message());
        }
        refused
    }

    /// Counts a failure and stores its text for the verdict.
    pub(crate) fn failed(&self, error: &Error) {
        self.count(|summary| match error.kind() {
            ErrorKind::Miss => summary.missed += 1,
            _ => summary.failed += 1,
        });
        let mut state = self.state();
        if state.failures.len() < MAX_FAILURES {
            state.failures.push(error.clone());
        }
    }

    /// How requests were answered so far.
    pub fn summary(&self) -> Summary {
        self.state().summary
    }

    /// The misses and failures so far, in order, including those that the caller ignored: at most the first 1,000.
    pub fn failures(&self) -> Vec<Error> {
        self.state().failures.clone()
    }

    /// The summary, if there was no miss and no failure, not even one that the caller ignored.
    ///
    /// # Errors
    /// [`ErrorKind::Miss`] if there was a miss, else the kind of the first failure. The message contains the first three in
    /// full and counts the others.
    pub fn verdict(&self) -> Result<Summary> {
        const SHOWN: usize = 3;
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
        for failure in state.failures.iter().take(SHOWN) {
            message.push_str("\n\n");
            message.push_str(&failure.with_causes());
            hints.extend(failure.hint().filter(|hint| !hints.contains(hint)));
        }
        let all = state.summary.missed + state.summary.failed;
        if all > SHOWN {
            message.push_str(&format!("\n\n… and {} more", all - SHOWN));
        }
        for hint in hints {
            message.push_str(&format!("\n\nhint: {hint}"));
        }
        Err(Error::new(kind, message))
    }
}

/// Adds the difference to the counters of the `metrics` crate.
#[cfg(feature = "metrics")]
fn emit_metrics(before: &Summary, after: &Summary) {
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
fn emit_metrics(_before: &Summary, _after: &Summary) {}

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
            (skipped, "not recorded"),
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
    fn the_verdict_shows_the_first_failures_and_each_hint_once() {
        let session = Session::default();
        session.count(|summary| summary.replayed += 2);
        assert_eq!(session.verdict().unwrap().to_string(), "2 replayed, 0 recorded");
        session.failed(&Error::new(ErrorKind::Upstream, "the upstream closed the connection"));
        assert_eq!(session.verdict().unwrap_err().kind(), ErrorKind::Upstream);
        for number in 0..3 {
            session.failed(&Error::new(ErrorKind::Miss, format!("not recorded: {number}")).with_hint("record it"));
        }
        let verdict = session.verdict().unwrap_err();
        assert_eq!(verdict.kind(), ErrorKind::Miss);
        insta::assert_snapshot!(verdict, @r"
        3 requests were not recorded, and 1 failed

        the upstream closed the connection

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
