//! Merges a new response with what is on file. These functions are pure.

use std::sync::Arc;
use std::time::Duration;

use super::session::SavedResponses;
use crate::cassette::{Cassette, History, Recorded, RecordedRequest, RecordedResponse};
use crate::settings::{Exhausted, Settings};

/// A response to be merged into a cassette.
pub(super) struct NewResponse {
    /// The request key: 64 hex digits.
    pub(super) key: String,
    pub(super) request: RecordedRequest,
    pub(super) response: RecordedResponse,
    pub(super) recorded: Recorded,
    /// Whether it is equivalent to its [counterpart](Turn::counterpart).
    pub(super) is_unchanged: bool,
    /// The recording that it replaces because that was too old.
    pub(super) expired: Option<Expired>,
}

/// What is known about an expired recording.
pub(super) struct Expired {
    pub(super) history: History,
    pub(super) age: Duration,
    /// How often it was requested.
    pub(super) requests: u64,
}

/// The place of a new response in its session.
pub(super) struct Turn {
    saved: SavedResponses,
    /// How many responses of this session are on file.
    responses: usize,
    /// The last of them.
    last: Option<RecordedResponse>,
    /// How many requests the new response answers: more than one if they were coalesced.
    requests: usize,
}

impl Turn {
    /// `saved` is what this session has saved under the key so far.
    pub(super) fn new(saved: Option<SavedResponses>, on_file: Option<&Cassette>, requests: usize) -> Self {
        match (saved, on_file) {
            (Some(saved), Some(cassette)) => {
                let last = cassette.responses.last().cloned();
                Self::after(saved, cassette.responses.len(), last, requests)
            }
            (None, Some(cassette)) => Self::after(SavedResponses::after(cassette), 0, None, requests),
            (_, None) => Self::after(SavedResponses::default(), 0, None, requests),
        }
    }

    /// `responses` of this session are on file, with this one as the last.
    pub(super) fn after(
        saved: SavedResponses,
        responses: usize,
        last: Option<RecordedResponse>,
        requests: usize,
    ) -> Self {
        Self {
            saved,
            responses,
            last,
            requests,
        }
    }

    /// How many responses of this session stay on file.
    pub(super) fn responses(&self) -> usize {
        self.responses
    }

    /// How often the last response must be repeated before the new one is added: once for each further request that it
    /// answered. Requests that were coalesced are sent one by one in a replay, and the n-th gets the n-th response.
    fn repetitions(&self) -> usize {
        match self.last {
            Some(_) => self.saved.requests.saturating_sub(self.responses),
            None => 0,
        }
    }

    /// The response of an earlier session that the new one replaces. If both are equivalent, the old one stays, so that
    /// the file does not change.
    pub(super) fn counterpart(&self, settings: &Settings) -> Option<&RecordedResponse> {
        let old = self.saved.earlier.get(self.responses + self.repetitions())?;
        (!settings.rewrite_unchanged).then_some(old)
    }
}

/// Adds a new response after those of this session and in place of those of an earlier one. Returns a cassette with only the
/// responses that follow the first [`Turn::responses`] ones on file, and what this session has then saved. `history` is the
/// history on file.
pub(super) fn merge(
    history: Option<History>,
    new: NewResponse,
    turn: Turn,
    settings: &Settings,
) -> (Cassette, SavedResponses) {
    let unchanged = turn.counterpart(settings).filter(|_| new.is_unchanged).cloned();
    let repetitions = turn.repetitions();
    let Turn {
        mut saved,
        responses: before,
        last,
        requests,
    } = turn;
    let response = unchanged.unwrap_or_else(|| {
        saved.earlier_head = None;
        new.response
    });
    saved.requests += requests;
    // With `exhausted: fail` each request needs a response of its own.
    let copies = if settings.exhausted == Exhausted::Fail {
        requests
    } else {
        1
    };
    let mut responses = Vec::with_capacity(repetitions + copies);
    if let Some(last) = last {
        responses.extend(std::iter::repeat_n(last, repetitions));
    }
    responses.extend(std::iter::repeat_n(response, copies));
    saved.add_times(&new.recorded, repetitions, copies);
    // Where recordings expire, the age of an unchanged one starts again.
    let head = saved.earlier_head.as_deref().filter(|_| !settings.expiry.is_set());
    let count = before + responses.len();
    let (recorded, request) = match head {
        Some((recorded, request)) => (recorded.of_first(count), request.clone()),
        None => {
            let recorded = saved.recorded.clone().unwrap_or(new.recorded);
            (recorded.with_times_of(count), new.request)
        }
    };
    let history = match (&settings.expiry.adaptive, new.expired) {
        (Some(_), Some(expired)) => {
            let checked = expired
                .history
                .checked(expired.age, expired.requests, !new.is_unchanged);
            Some(checked)
        }
        _ => history,
    };
    if saved.earlier.len() <= before + responses.len() {
        // All responses of the earlier session are replaced.
        saved.earlier = Arc::default();
        saved.earlier_head = None;
    }
    let cassette = Cassette {
        key: new.key,
        recorded,
        history,
        request,
        responses,
    };
    (cassette, saved)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::StatusCode;

    use super::*;
    use crate::cassette::Blob;

    fn response(body: &'static str) -> RecordedResponse {
        RecordedResponse {
            status: StatusCode::OK,
            headers: Vec::new(),
            body: Blob::Inline(Bytes::from_static(body.as_bytes())),
            timing_ms: vec![1],
            messages: Vec::new(),
        }
    }

    fn request(path: &str) -> RecordedRequest {
        RecordedRequest::new("GET", path, "")
    }

    fn recorded(at: &str) -> Recorded {
        Recorded {
            earlier_us: Vec::new(),
            at: at.to_owned(),
            ..Recorded::now(None, None)
        }
    }

    fn cassette(bodies: &[&'static str]) -> Cassette {
        Cassette {
            key: "0".repeat(64),
            recorded: recorded("2026-01-01T00:00:00Z"),
            history: None,
            request: request("/v1/old"),
            responses: bodies.iter().map(|body| response(body)).collect(),
        }
    }

    fn new(body: &'static str, is_unchanged: bool) -> NewResponse {
        NewResponse {
            key: "0".repeat(64),
            request: request("/v1/new"),
            response: response(body),
            recorded: recorded("2026-02-02T00:00:00Z"),
            is_unchanged,
            expired: None,
        }
    }

    fn bodies(cassette: &Cassette) -> Vec<String> {
        let text = |response: &RecordedResponse| match &response.body {
            Blob::Inline(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            Blob::External { sha256 } => sha256.clone(),
        };
        cassette.responses.iter().map(text).collect()
    }

    /// The complete cassette after a save.
    fn merged(old: Option<&Cassette>, new: NewResponse, turn: Turn, settings: &Settings) -> (Cassette, SavedResponses) {
        let mut responses = old.map_or(Vec::new(), |old| old.responses[..turn.responses()].to_vec());
        let (mut cassette, saved) = merge(old.and_then(|old| old.history), new, turn, settings);
        responses.append(&mut cassette.responses);
        cassette.responses = responses;
        (cassette, saved)
    }

    /// A session that saves these responses one after the other, each for one request.
    fn session(old: Option<Cassette>, responses: &[(&'static str, bool)], settings: &Settings) -> Vec<Cassette> {
        let (mut on_file, mut saved, mut states) = (old, None, Vec::new());
        for (body, is_unchanged) in responses {
            let turn = Turn::new(saved.take(), on_file.as_ref(), 1);
            let (cassette, now_saved) = merged(on_file.as_ref(), new(body, *is_unchanged), turn, settings);
            states.push(cassette.clone());
            (on_file, saved) = (Some(cassette), Some(now_saved));
        }
        states
    }

    #[test]
    fn the_first_response_of_a_session_replaces_all_of_an_earlier_one() {
        let states = session(
            Some(cassette(&["a", "b", "c"])),
            &[("x", false), ("y", false)],
            &Settings::default(),
        );
        assert_eq!(bodies(&states[0]), ["x"]);
        assert_eq!(bodies(&states[1]), ["x", "y"]);
        assert_eq!(states[0].recorded.at, "2026-02-02T00:00:00Z");
        assert_eq!(states[0].request.path, "/v1/new");
    }

    #[test]
    fn an_unchanged_recording_stays_byte_for_byte() {
        let old = cassette(&["a", "b"]);
        let states = session(Some(old.clone()), &[("x", true), ("y", true)], &Settings::default());
        assert_eq!(states[1], old);
        let states = session(Some(old), &[("x", true), ("y", false)], &Settings::default());
        assert_eq!(bodies(&states[1]), ["a", "y"]);
        assert_eq!(states[1].recorded.at, "2026-02-02T00:00:00Z");
    }

    #[test]
    fn rewrite_unchanged_leaves_no_response_to_compare_with() {
        let settings = Settings {
            rewrite_unchanged: true,
            ..Settings::default()
        };
        let old = cassette(&["a"]);
        let turn = Turn::new(None, Some(&old), 1);
        assert!(turn.counterpart(&settings).is_none());
        assert!(turn.counterpart(&Settings::default()).is_some());
        assert_eq!(bodies(&merged(Some(&old), new("x", false), turn, &settings).0), ["x"]);
    }

    #[test]
    fn coalesced_requests_count_as_turns() {
        let turn = Turn::new(None, None, 3);
        let (first, saved) = merged(None, new("x", false), turn, &Settings::default());
        assert_eq!((bodies(&first), saved.requests), (vec!["x".to_owned()], 3));
        // The fourth request gets the fourth response.
        let turn = Turn::new(Some(saved), Some(&first), 1);
        let (second, _) = merged(Some(&first), new("y", false), turn, &Settings::default());
        assert_eq!(bodies(&second), ["x", "x", "x", "y"]);
    }

    #[test]
    fn with_exhausted_fail_each_coalesced_request_has_a_response() {
        let settings = Settings {
            exhausted: Exhausted::Fail,
            ..Settings::default()
        };
        let (cassette, _) = merged(None, new("x", false), Turn::new(None, None, 3), &settings);
        assert_eq!(bodies(&cassette), ["x", "x", "x"]);
    }

    #[test]
    fn an_unchanged_recording_that_expires_gets_the_new_time() {
        let settings = Settings::from_yaml(b"expiry: { time_to_live: 1h }", "settings.yaml").unwrap();
        let old = cassette(&["a"]);
        let turn = Turn::new(None, Some(&old), 1);
        let (merged, _) = merged(Some(&old), new("x", true), turn, &settings);
        assert_eq!(bodies(&merged), ["a"]);
        assert_eq!(merged.recorded.at, "2026-02-02T00:00:00Z");
    }

    #[test]
    fn with_adaptive_expiry_a_check_is_added_to_the_history() {
        let settings =
            Settings::from_yaml(b"expiry: { adaptive: { shortest: 1h, longest: 30d } }", "settings.yaml").unwrap();
        let old = cassette(&["a"]);
        let expired = Expired {
            history: History::default(),
            age: Duration::from_secs(60),
            requests: 5,
        };
        let new = NewResponse {
            expired: Some(expired),
            ..new("x", false)
        };
        let (merged, _) = merged(Some(&old), new, Turn::new(None, Some(&old), 1), &settings);
        let history = merged.history.unwrap();
        let checked = (history.checks, history.changes, history.seconds, history.asks);
        assert_eq!(checked, (1.0, 1.0, 60.0, 5.0));
    }
}
