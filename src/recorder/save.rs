//! Saves a complete response: decides whether it may be recorded, merges it with what is on file, and stores the result.

use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;

use super::Recorder;
use super::assessment::{Assessment, RequestLine, assess};
use super::coalesce::{Leader, SharedResponse};
use super::exchange::{Damage, Exchange};
use super::session::SavedResponses;
use super::usage_log::Use;
use crate::cassette::{Blob, Cassette, History, Recorded, RecordedRequest, RecordedResponse, is_equivalent};
use crate::engine;
use crate::error::{Error, ErrorKind, Result};
use crate::key::RequestKey;
use crate::redaction::secret_scan::{WrittenNames, scan_exchange};
use crate::settings::{Exhausted, Secrets, Settings};

impl Recorder {
    /// Saves a response unless it is transient, contains a secret, or is too large.
    pub(super) async fn save_if_lasting(
        &self,
        exchange: Exchange,
        call: &Leader,
        response: &SharedResponse,
        origin: Option<String>,
        timing_ms: Vec<u64>,
    ) -> Result<()> {
        let prepared = exchange.prepared.clone();
        let body = response.body.complete();
        if !self.is_lasting(&exchange, response, &body) {
            return Ok(());
        }
        let redactor = &prepared.redactor;
        let recorded_response = RecordedResponse {
            status: response.status,
            headers: redactor.recorded_headers(&response.headers),
            body: Blob::Inline(redactor.redact_body(&body)),
            timing_ms,
        };
        if let Err(error) = self.check_secrets(&exchange, &recorded_response) {
            // The caller still gets its response; the verdict says that it was not recorded.
            self.session().failed(&error);
            tracing::warn!("{}", error.message());
            return Ok(());
        }
        let redacted = |text: &str| redactor.redact_text(text).into_owned();
        let recorded = Recorded::now(origin.as_deref().map(redacted), self.test.as_deref().map(redacted));
        if self
            .save(exchange, recorded_response, recorded, call.requests())
            .await?
        {
            self.session().count(|summary| summary.recorded += 1);
            self.log_use(&prepared.key, Use::Recorded);
            tracing::info!("recorded {}", prepared.key.name());
        } else {
            self.skip_too_large(&prepared.key);
        }
        Ok(())
    }

    /// Whether a response is recorded: it is lasting, or a transient error that the request or the settings select. Otherwise
    /// the session warns or fails; the caller gets the response in any case.
    fn is_lasting(&self, exchange: &Exchange, response: &SharedResponse, body: &Bytes) -> bool {
        let request = &exchange.prepared.request;
        let line = request.line();
        match assess(RequestLine::of(request), response.status, &response.headers, body) {
            Assessment::Lasting => true,
            Assessment::Transient(reason) => {
                let settings = &exchange.settings.settings;
                let selected = exchange.save_errors.as_ref().unwrap_or(&settings.save_errors);
                let is_selected = selected.includes(response.status);
                if !is_selected {
                    self.session().count(|summary| summary.passed_on += 1);
                    self.warn_transient(response.status, &reason, &line);
                }
                is_selected
            }
            Assessment::Incomplete(reason) => {
                let message = format!("not recorded: the response to {line} is {reason}");
                let error = Error::new(ErrorKind::Upstream, message);
                self.session().failed(&error);
                tracing::warn!("{}", error.message());
                false
            }
        }
    }

    /// Warns that a transient error was not recorded, once for each kind of error and test.
    fn warn_transient(&self, status: StatusCode, reason: &str, line: &str) {
        let mut origin = String::new();
        if !self.scope.as_str().is_empty() {
            origin.push_str(&format!(", scope {}", self.scope.as_str()));
        }
        if let Some(test) = &self.test {
            origin.push_str(&format!(", test {test}"));
        }
        let advice = match status.as_u16() {
            401 | 403 => "the API key is missing or not authorized",
            402 => "the account has no credit",
            407 => "a proxy between here and the API requires credentials",
            206 | 304 => "send the request without Range, If-None-Match and If-Modified-Since to record it",
            _ => "to record such responses set save_errors; to test with one inject it",
        };
        let message = format!("transient error not recorded: {reason} for {line}{origin}");
        if self.session().is_first_transient(status, &origin) {
            tracing::warn!("{message}; unless a retry is recorded, a strict run will miss this request ({advice})");
        } else {
            tracing::info!("{message}");
        }
    }

    /// Counts a response that is larger than the limits allow.
    pub(super) fn skip_too_large(&self, key: &RequestKey) {
        self.session().count(|summary| summary.skipped += 1);
        tracing::warn!("not recorded, larger than limits allow: {}", key.name());
    }

    /// Refuses or reports a response that still contains a secret, depending on the settings.
    fn check_secrets(&self, exchange: &Exchange, response: &RecordedResponse) -> Result<()> {
        let policy = exchange.settings.settings.secrets;
        let request = &exchange.prepared.request;
        let names = WrittenNames {
            scope: exchange.key().scope().as_str(),
            test: self.test.as_deref().unwrap_or_default(),
            slug: exchange.key().slug(),
        };
        let Some(finding) = scan_exchange(request, response, &names, policy) else {
            return Ok(());
        };
        // The query is left out, since it may contain the secret.
        let endpoint = finding.without_secrets(exchange.key().endpoint());
        let line = format_args!("{} {endpoint}", request.method);
        let reason = finding.reason();
        if policy == Secrets::Warn {
            tracing::warn!("{line} is recorded, although {reason}");
            return Ok(());
        }
        let message = format!("not recorded: {line}: {reason}");
        Err(Error::new(ErrorKind::Cassette, message).with_hint(finding.hint()))
    }

    /// Merges a response with what is on file and stores the result. Returns whether the limits allow it.
    async fn save(
        &self,
        exchange: Exchange,
        response: RecordedResponse,
        recorded: Recorded,
        requests: usize,
    ) -> Result<bool> {
        let (session, store) = (self.session(), &self.shared.store);
        let (settings, key) = (&exchange.settings.settings, exchange.key());
        let _saving = self.shared.saving.lock().await;
        let on_file = match exchange.damage {
            Some(Damage::Document) => None,
            _ => store.read(key).await?,
        };
        let on_file = on_file.as_ref().map(|document| &document.cassette);
        // A state that has not changed is stored once.
        if exchange.is_polling
            && settings.exhausted != Exhausted::Fail
            && let Some(last) = on_file.and_then(|cassette| cassette.responses.last())
            && self.is_unchanged(last, &exchange, &response).await
        {
            return Ok(true);
        }
        if let (Some(Damage::Response(index)), Some(on_file)) = (exchange.damage, on_file)
            && let Some(cassette) = healed(on_file, index, &exchange, &response)
        {
            return self.write(&exchange, cassette, Some(on_file)).await;
        }
        let expired = exchange.expired.as_ref().map(|expired| Expired {
            history: expired.history.unwrap_or_default(),
            age: expired.recorded.age(),
            // An expired recording is replaced as in a new session.
            requests: session.restart(key, requests),
        });
        let turn = Turn::new(session.saved(key), on_file, requests);
        let is_unchanged = match turn.counterpart(settings) {
            Some(counterpart) => self.is_unchanged(counterpart, &exchange, &response).await,
            None => false,
        };
        let new = NewResponse {
            key: key.hash().to_owned(),
            request: exchange.prepared.request.clone(),
            response,
            recorded,
            is_unchanged,
            expired,
        };
        let (cassette, saved) = merge(on_file, new, turn, settings);
        let is_written = self.write(&exchange, cassette, on_file).await?;
        if is_written {
            session.set_saved(key, saved);
        }
        Ok(is_written)
    }

    /// Writes a cassette. Returns whether the limits allow it.
    async fn write(&self, exchange: &Exchange, mut cassette: Cassette, on_file: Option<&Cassette>) -> Result<bool> {
        let (store, settings) = (&self.shared.store, &exchange.settings.settings);
        if !store
            .quota
            .admits(&mut cassette, &settings.limits, store.engine())
            .await
        {
            return Ok(false);
        }
        engine::write_cassette(store.engine(), exchange.key(), &mut cassette, on_file, settings).await?;
        Ok(true)
    }

    async fn is_unchanged(&self, old: &RecordedResponse, exchange: &Exchange, new: &RecordedResponse) -> bool {
        // A large body that is missing is written again.
        let Ok(body) = self.shared.store.load_body(&old.body, exchange.key()).await else {
            return false;
        };
        let old = RecordedResponse {
            body: Blob::Inline(body),
            ..old.clone()
        };
        is_equivalent(&exchange.prepared.request, &old, new)
    }

    /// Adds a line to the usage log. An error fails the session: without the line, `prune` would delete a cassette in use.
    pub(super) fn log_use(&self, key: &RequestKey, what: Use) {
        if let Some(usage_log) = &self.shared.usage_log
            && let Err(error) = usage_log.used(key, what, self.test.as_deref())
        {
            self.session().failed(&error);
        }
    }
}

/// The cassette with a new response at the place of the one whose body is missing or damaged. The others stay, and so does
/// the age.
fn healed(on_file: &Cassette, index: usize, exchange: &Exchange, response: &RecordedResponse) -> Option<Cassette> {
    let mut cassette = on_file.clone();
    *cassette.responses.get_mut(index)? = response.clone();
    cassette.request = exchange.prepared.request.clone();
    Some(cassette)
}

/// A response to be merged into a cassette.
struct NewResponse {
    /// The request key: 64 hex digits.
    key: String,
    request: RecordedRequest,
    response: RecordedResponse,
    recorded: Recorded,
    /// Whether it is equivalent to its [counterpart](Turn::counterpart).
    is_unchanged: bool,
    /// The recording that it replaces because that was too old.
    expired: Option<Expired>,
}

/// What is known about an expired recording.
struct Expired {
    history: History,
    age: Duration,
    /// How often it was requested.
    requests: u64,
}

/// The place of a new response in its session.
struct Turn {
    saved: SavedResponses,
    /// The responses of this session that are on file.
    responses: Vec<RecordedResponse>,
    /// How many requests the new response answers: more than one if they were coalesced.
    requests: usize,
}

impl Turn {
    /// `saved` is what this session has saved under the key so far.
    fn new(saved: Option<SavedResponses>, on_file: Option<&Cassette>, requests: usize) -> Self {
        let (saved, mut responses) = match (saved, on_file) {
            (Some(saved), Some(cassette)) => (saved, cassette.responses.clone()),
            (None, Some(cassette)) => (SavedResponses::after(cassette), Vec::new()),
            (_, None) => (SavedResponses::default(), Vec::new()),
        };
        // Coalesced requests count as requests: one by one, the n-th gets the n-th response.
        if let Some(last) = responses.last().cloned() {
            responses.resize(saved.requests.max(responses.len()), last);
        }
        Self {
            saved,
            responses,
            requests,
        }
    }

    /// The response of an earlier session that the new one replaces. If both are equivalent, the old one stays, so that
    /// the file does not change.
    fn counterpart(&self, settings: &Settings) -> Option<&RecordedResponse> {
        let old = self.saved.earlier.get(self.responses.len())?;
        (!settings.rewrite_unchanged).then_some(old)
    }
}

/// Adds a new response behind those of this session and in place of those of an earlier one. Returns the cassette to store,
/// and what this session has then saved.
fn merge(old: Option<&Cassette>, new: NewResponse, turn: Turn, settings: &Settings) -> (Cassette, SavedResponses) {
    let unchanged = turn.counterpart(settings).filter(|_| new.is_unchanged).cloned();
    let Turn {
        mut saved,
        mut responses,
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
    responses.extend(std::iter::repeat_n(response, copies));
    // Where recordings expire, the age of an unchanged one starts again.
    let head = saved.earlier_head.clone().filter(|_| !settings.expiry.is_set());
    let (recorded, request) = head.unwrap_or((new.recorded, new.request));
    let history = match (&settings.expiry.adaptive, new.expired) {
        (Some(_), Some(expired)) => {
            let checked = expired
                .history
                .checked(expired.age, expired.requests, !new.is_unchanged);
            Some(checked)
        }
        _ => old.and_then(|old| old.history),
    };
    if saved.earlier.len() <= responses.len() {
        // All responses of the earlier session are replaced.
        saved.earlier.clear();
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
    use crate::cassette::RecordedBody;

    fn response(body: &'static str) -> RecordedResponse {
        RecordedResponse {
            status: StatusCode::OK,
            headers: Vec::new(),
            body: Blob::Inline(Bytes::from_static(body.as_bytes())),
            timing_ms: vec![1],
        }
    }

    fn request(path: &str) -> RecordedRequest {
        RecordedRequest {
            method: "GET".to_owned(),
            path: path.to_owned(),
            query: None,
            content_type: None,
            body: RecordedBody::Blob(Blob::Inline(Bytes::new())),
        }
    }

    fn recorded(at: &str) -> Recorded {
        Recorded {
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

    /// A session that saves these responses one after the other, each for one request.
    fn session(old: Option<Cassette>, responses: &[(&'static str, bool)], settings: &Settings) -> Vec<Cassette> {
        let (mut on_file, mut saved, mut states) = (old, None, Vec::new());
        for (body, is_unchanged) in responses {
            let turn = Turn::new(saved.take(), on_file.as_ref(), 1);
            let (cassette, now_saved) = merge(on_file.as_ref(), new(body, *is_unchanged), turn, settings);
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
        assert_eq!(bodies(&merge(Some(&old), new("x", false), turn, &settings).0), ["x"]);
    }

    #[test]
    fn coalesced_requests_count_as_turns() {
        let turn = Turn::new(None, None, 3);
        let (first, saved) = merge(None, new("x", false), turn, &Settings::default());
        assert_eq!((bodies(&first), saved.requests), (vec!["x".to_owned()], 3));
        // The fourth request gets the fourth response.
        let turn = Turn::new(Some(saved), Some(&first), 1);
        let (second, _) = merge(Some(&first), new("y", false), turn, &Settings::default());
        assert_eq!(bodies(&second), ["x", "x", "x", "y"]);
    }

    #[test]
    fn with_exhausted_fail_each_coalesced_request_has_a_response() {
        let settings = Settings {
            exhausted: Exhausted::Fail,
            ..Settings::default()
        };
        let (cassette, _) = merge(None, new("x", false), Turn::new(None, None, 3), &settings);
        assert_eq!(bodies(&cassette), ["x", "x", "x"]);
    }

    #[test]
    fn an_unchanged_recording_that_expires_gets_the_new_time() {
        let settings = Settings::from_yaml(b"expiry: { time_to_live: 1h }", "settings.yaml").unwrap();
        let old = cassette(&["a"]);
        let turn = Turn::new(None, Some(&old), 1);
        let (merged, _) = merge(Some(&old), new("x", true), turn, &settings);
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
        let (merged, _) = merge(Some(&old), new, Turn::new(None, Some(&old), 1), &settings);
        let history = merged.history.unwrap();
        let checked = (history.checks, history.changes, history.seconds, history.asks);
        assert_eq!(checked, (1.0, 1.0, 60.0, 5.0));
    }
}
