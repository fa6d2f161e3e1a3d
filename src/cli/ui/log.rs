//! The last requests of a session, which browsers follow. Its size is bounded, and nobody who reads it delays a request.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use tokio::sync::watch;

use super::entry::entry;
use crate::cassette::RecordedRequest;
use crate::error::Error;
use crate::key::RequestKey;
use crate::recorder::{AnsweredRequest, RequestListener};

/// How many requests the log has at most.
pub(super) const MAX_ENTRIES: usize = 1000;

/// How many bytes of JSON the log has at most; a single entry has less than a tenth of that.
const MAX_BYTES: usize = 8 << 20;

/// How many entries a reader gets at once.
const BATCH: usize = 100;

/// The last requests of a session, numbered from 1.
#[derive(Debug)]
pub(super) struct RequestLog {
    state: Mutex<State>,
    /// Changes with each entry, and with the end.
    changes: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct State {
    entries: VecDeque<Entry>,
    bytes: usize,
    /// The number of the last entry.
    last: u64,
    /// How the requests of the session were answered, once it has ended.
    ended: Option<String>,
}

#[derive(Debug)]
struct Entry {
    json: Arc<str>,
    key: Option<RequestKey>,
}

/// What a reader gets.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Batch {
    /// How many entries before these the log no longer has.
    pub(super) missing: u64,
    /// The number and the JSON of each entry.
    pub(super) entries: Vec<(u64, Arc<str>)>,
    /// How the requests of the session were answered, if it has ended and these are the last entries.
    pub(super) ended: Option<String>,
}

impl Batch {
    fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.ended.is_none()
    }
}

impl RequestLog {
    pub(super) fn new() -> Self {
        Self {
            state: Mutex::default(),
            changes: watch::Sender::new(()),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, entry: &Value, key: Option<RequestKey>) {
        let json: Arc<str> = entry.to_string().into();
        {
            let mut state = self.state();
            state.last += 1;
            state.bytes += json.len();
            state.entries.push_back(Entry { json, key });
            while state.entries.len() > MAX_ENTRIES || state.bytes > MAX_BYTES {
                state.bytes -= state.entries.pop_front().map_or(0, |oldest| oldest.json.len());
            }
        }
        self.changes.send_replace(());
    }

    /// Says that the session has ended, and how its requests were answered.
    pub(super) fn end(&self, summary: String) {
        self.state().ended = Some(summary);
        self.changes.send_replace(());
    }

    /// Waits for entries after this number, or for the end.
    pub(super) async fn after(&self, number: u64) -> Batch {
        let mut changes = self.changes.subscribe();
        loop {
            let batch = self.batch(number);
            if !batch.is_empty() {
                return batch;
            }
            // The sender is a part of `self`.
            let _ = changes.changed().await;
        }
    }

    fn batch(&self, number: u64) -> Batch {
        let state = self.state();
        let first = state.last - state.entries.len() as u64 + 1;
        let from = (number.min(state.last) + 1).max(first);
        let skipped = usize::try_from(from - first).unwrap_or(usize::MAX);
        let entries = state.entries.iter().skip(skipped).take(BATCH);
        let entries: Vec<_> = (from..).zip(entries.map(|entry| entry.json.clone())).collect();
        let is_last = skipped + entries.len() == state.entries.len();
        Batch {
            missing: from - number.min(state.last) - 1,
            entries,
            ended: state.ended.clone().filter(|_| is_last),
        }
    }

    /// The number of the last entry; 0 if there is none.
    pub(super) fn last(&self) -> u64 {
        self.state().last
    }

    /// The key of the cassette with this file name, if a request in the log has used it.
    pub(super) fn key_of(&self, name: &str) -> Option<RequestKey> {
        let state = self.state();
        let mut keys = state.entries.iter().rev().filter_map(|entry| entry.key.as_ref());
        keys.find(|key| key.file_name() == name).cloned()
    }
}

impl RequestListener for RequestLog {
    fn answered(&self, answered: &AnsweredRequest, request: Option<&RecordedRequest>, error: Option<&Error>) {
        self.add(&entry(answered, request, error), answered.key.clone());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn numbers(batch: &Batch) -> (u64, Vec<u64>) {
        (batch.missing, batch.entries.iter().map(|(number, _)| *number).collect())
    }

    #[tokio::test]
    async fn the_log_has_the_last_entries_and_says_how_many_are_missing() {
        let log = RequestLog::new();
        for number in 1..=3 {
            log.add(&json!(number), None);
        }
        let batch = log.after(1).await;
        assert_eq!(numbers(&batch), (0, vec![2, 3]));
        assert_eq!(&*batch.entries[0].1, "2");
        for number in 4..=MAX_ENTRIES + 5 {
            log.add(&json!(number), None);
        }
        assert_eq!(log.state().entries.len(), MAX_ENTRIES);
        // The browser has seen 2 of the 5 that are gone.
        let mut batch = log.after(2).await;
        assert_eq!((batch.missing, batch.entries[0].0), (3, 6));
        let mut seen = 0;
        while !batch.is_empty() {
            assert!(batch.entries.len() <= BATCH);
            seen += batch.entries.len();
            let last = batch.entries.last().unwrap().0;
            batch = log.batch(last);
            assert_eq!(batch.missing, 0);
        }
        assert_eq!(seen, MAX_ENTRIES);
        // A number that is too large, as of another process.
        assert!(log.batch(u64::MAX).is_empty());
    }

    #[test]
    fn the_size_of_the_log_is_bounded_in_bytes() {
        let log = RequestLog::new();
        let large = json!("x".repeat(MAX_BYTES / 10));
        for _ in 0..50 {
            log.add(&large, None);
            assert!(log.state().bytes <= MAX_BYTES);
        }
        assert_eq!(log.state().entries.len(), 9);
        assert_eq!(log.batch(0).missing, 41);
    }

    #[tokio::test]
    async fn a_reader_waits_for_the_next_entry_and_gets_the_end_last() {
        let log = Arc::new(RequestLog::new());
        let reading = tokio::spawn({
            let log = log.clone();
            async move { log.after(0).await }
        });
        tokio::task::yield_now().await;
        log.add(&json!(1), None);
        assert_eq!(numbers(&reading.await.unwrap()), (0, vec![1]));
        for number in 0..BATCH {
            log.add(&json!(number), None);
        }
        log.end("done".to_owned());
        let (first, second) = (log.batch(0), log.batch(BATCH as u64));
        assert_eq!((first.entries.len(), first.ended), (BATCH, None));
        assert_eq!((second.entries.len(), second.ended.as_deref()), (1, Some("done")));
        assert_eq!(log.after(BATCH as u64 + 1).await.ended.as_deref(), Some("done"));
    }
}
