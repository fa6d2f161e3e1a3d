//! Saves a complete response: decides whether it may be recorded, merges it with what is on file, and stores the result.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::StatusCode;

use super::Recorder;
use super::assessment::{Assessment, RequestLine, assess};
use super::coalesce::{Leader, SharedResponse};
use super::document_cache::Document;
use super::exchange::{Damage, Exchange};
use super::merge::{Expired, NewResponse, Turn, merge};
use super::outcome::Outcome;
use super::prepared::PreparedRequest;
use super::usage_log::Use;
use super::written::Written;
use crate::cassette::{Blob, Cassette, History, Recorded, RecordedResponse, is_equivalent, yaml};
use crate::engine;
use crate::error::{Error, ErrorKind, Result};
use crate::key::RequestKey;
use crate::redaction::secret_scan::{WrittenNames, mask, scan_exchange};
use crate::settings::{Exhausted, Secrets};

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
        let (prepared, started) = (exchange.prepared.clone(), exchange.started);
        let body = response.body.complete();
        let not_recorded = |reason: String| {
            self.log_use(&prepared.key, Use::NotRecorded);
            self.report(&prepared, started, response.status, Outcome::NotRecorded(reason));
        };
        if let Err(reason) = self.check_lasting(&exchange, response, &body) {
            not_recorded(reason);
            return Ok(());
        }
        let redactor = &prepared.redactor;
        let recorded_response = RecordedResponse {
            status: response.status,
            headers: redactor.recorded_headers(&response.headers),
            body: Blob::Inline(redactor.redact_body(&body)),
            timing_ms,
            messages: Vec::new(),
        };
        if let Err(error) = self.check_secrets(&exchange, &recorded_response) {
            // The caller still gets its response; the verdict says that it was not recorded.
            self.session().failed(&error);
            tracing::warn!("{}", error.message());
            not_recorded("the response contains a secret".to_owned());
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
            self.report(&prepared, started, response.status, Outcome::Recorded);
        } else {
            self.skip_too_large(&prepared, started, response.status);
        }
        Ok(())
    }

    /// Checks whether a response is recorded: it is lasting, or a transient error that the request or the settings select.
    /// Otherwise the session warns or fails, and the reason is returned; the caller gets the response in any case.
    fn check_lasting(&self, exchange: &Exchange, response: &SharedResponse, body: &Bytes) -> Result<(), String> {
        let request = &exchange.prepared.request;
        match assess(RequestLine::of(request), response.status, &response.headers, body) {
            Assessment::Lasting => Ok(()),
            Assessment::Transient(reason) => {
                if exchange.saves_error(response.status) {
                    return Ok(());
                }
                self.session().count(|summary| summary.passed_on += 1);
                // A refused key was reported already.
                let is_refusal = response.status == StatusCode::UNAUTHORIZED && self.shared.mode.ends_without_key();
                if !is_refusal {
                    self.warn_transient(response.status, &reason, exchange);
                }
                Err(format!("transient: {reason}"))
            }
            Assessment::Incomplete(reason) => {
                let line = mask(&request.line()).into_owned();
                let message = format!("not recorded: the response to {line}{} is {reason}", self.origin());
                let error = Error::new(ErrorKind::Upstream, message);
                self.session().failed(&error);
                tracing::warn!("{}", error.message());
                Err(format!("the response is {reason}"))
            }
        }
    }

    /// The scope and the test of a request, for messages.
    pub(super) fn origin(&self) -> String {
        let mut origin = String::new();
        if !self.scope.as_str().is_empty() {
            origin.push_str(&format!(", scope {}", self.scope.as_str()));
        }
        if let Some(test) = &self.test {
            origin.push_str(&format!(", test {test}"));
        }
        origin
    }

    /// Warns that a transient error was not recorded, once for each kind of error and test.
    pub(super) fn warn_transient(&self, status: StatusCode, reason: &str, exchange: &Exchange) {
        let (line, origin) = (exchange.prepared.request.line(), self.origin());
        let advice = match status.as_u16() {
            401 | 403 => "the API key is missing or not authorized",
            402 => "the account has no credit",
            407 => "a proxy between here and the API requires credentials",
            206 | 304 => "send the request without Range, If-None-Match and If-Modified-Since to record it",
            _ => "to record such responses set save_errors; to test with one inject it",
        };
        let message = format!("transient error not recorded: {reason} for {}{origin}", mask(&line));
        // All WebSocket sessions have status 101, so the reason takes its place.
        let kind = match status {
            StatusCode::SWITCHING_PROTOCOLS => reason,
            _ => status.as_str(),
        };
        if self.session().is_first_transient(kind, &origin) {
            tracing::warn!("{message}; unless a retry is recorded, a strict run will miss this request ({advice})");
        } else {
            tracing::info!("{message}");
        }
    }

    /// Whether an error of the engine after a response only means that the response is not recorded.
    pub(super) fn is_tolerated(&self, error: &Error, records_each_request: bool) -> bool {
        error.kind() == ErrorKind::Engine && self.shared.store.is_cache() && !records_each_request
    }

    /// Counts a response that a cache could not store.
    pub(super) fn skip_unavailable(
        &self,
        prepared: &PreparedRequest,
        started: Instant,
        status: StatusCode,
        error: &Error,
    ) {
        self.session().warn_unavailable(error);
        self.session().count(|summary| summary.skipped += 1);
        self.log_use(&prepared.key, Use::NotRecorded);
        let reason = "the engine is unavailable".to_owned();
        self.report(prepared, started, status, Outcome::NotRecorded(reason));
    }

    /// Counts a response that is larger than the limits allow.
    pub(super) fn skip_too_large(&self, prepared: &PreparedRequest, started: Instant, status: StatusCode) {
        self.session().count(|summary| summary.skipped += 1);
        self.log_use(&prepared.key, Use::NotRecorded);
        tracing::warn!("not recorded, larger than limits allow: {}", prepared.key.name());
        let reason = "larger than limits allow".to_owned();
        self.report(prepared, started, status, Outcome::NotRecorded(reason));
    }

    /// Refuses or reports a response that still contains a secret, depending on the settings.
    pub(super) fn check_secrets(&self, exchange: &Exchange, response: &RecordedResponse) -> Result<()> {
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
    pub(super) async fn save(
        &self,
        exchange: Exchange,
        response: RecordedResponse,
        recorded: Recorded,
        requests: usize,
    ) -> Result<bool> {
        let session = self.session();
        let (settings, key) = (&exchange.settings.settings, exchange.key());
        let _saving = self.shared.saving.lock().await;
        let on_file = match exchange.damage {
            Some(Damage::Document) => None,
            _ => self.on_file(&exchange).await?,
        };
        // A state that has not changed is stored once.
        if exchange.is_polling
            && settings.exhausted != Exhausted::Fail
            && let Some(last) = on_file.as_ref().and_then(OnFile::last)
            && self.is_unchanged(last, &exchange, &response).await
        {
            session.count_unchanged(key, requests);
            return Ok(true);
        }
        if let (Some(Damage::Response(index)), Some(on_file)) = (exchange.damage, &on_file)
            && let OnFile::Read { document, .. } = on_file
            && let Some(cassette) = repaired(document, index, &exchange, &response)
        {
            return self.write(&exchange, cassette, on_file.unchanged()).await;
        }
        let expired = exchange.expired.as_ref().map(|expired| Expired {
            history: expired.history.unwrap_or_default(),
            age: expired.recorded.age(),
            // An expired recording is replaced as in a new session.
            requests: session.restart(key, requests),
        });
        let is_first = !session.has_saved(key);
        let turn = match (&on_file, session.saved_before_change(key)) {
            (Some(OnFile::Written(written)), Some(saved)) => {
                Turn::after(saved, written.responses, Some(written.last.clone()), requests)
            }
            (Some(OnFile::Read { document, .. }), saved) => Turn::new(saved, Some(&document.cassette), requests),
            (_, saved) => Turn::new(saved, None, requests),
        };
        let is_unchanged = match turn.counterpart(settings) {
            Some(counterpart) => self.is_unchanged(counterpart, &exchange, &response).await,
            None => false,
        };
        if let Some(OnFile::Read { document, .. }) = &on_file
            && is_first
            && exchange.records_each_request()
            && !(is_unchanged && document.responses.len() == 1)
            && session.has_begun_before(&document.recorded)
        {
            self.warn_replaced(key);
        }
        let new = NewResponse {
            key: key.hash().to_owned(),
            request: exchange.prepared.request.clone(),
            response,
            recorded,
            is_unchanged,
            expired,
        };
        let staying = turn.responses();
        let history = on_file.as_ref().and_then(OnFile::history);
        let (mut cassette, saved) = merge(history, new, turn, settings);
        let is_written = match &on_file {
            Some(OnFile::Written(written)) => self.append(&exchange, cassette, written).await?,
            Some(OnFile::Read { document, .. }) => {
                let staying = document.responses[..staying].iter().cloned();
                cassette.responses.splice(0..0, staying);
                let existing = on_file.as_ref().and_then(OnFile::unchanged);
                self.write(&exchange, cassette, existing).await?
            }
            None => self.write(&exchange, cassette, None).await?,
        };
        if is_written {
            session.set_saved(key, saved);
        }
        Ok(is_written)
    }

    /// The cassette on file, or the one of this session that another session has replaced.
    async fn on_file(&self, exchange: &Exchange) -> Result<Option<OnFile>> {
        let (session, store, key) = (self.session(), &self.shared.store, exchange.key());
        let Some(bytes) = store.engine().get(key).await? else {
            return Ok(None);
        };
        let written = store.written.get(key).filter(|_| session.has_saved(key));
        if let Some(written) = written {
            if written.document != bytes {
                return self.replaced(key, bytes, &written).map(Some);
            }
            let limits = &exchange.settings.settings.limits;
            let is_limited = limits.entry_bytes.is_some() || limits.total_bytes.is_some();
            if !is_limited && exchange.expired.is_none() && exchange.damage.is_none() {
                return Ok(Some(OnFile::Written(written)));
            }
        }
        let document = store.parse(key, bytes)?;
        Ok(Some(OnFile::Read {
            document,
            is_current: true,
        }))
    }

    /// The cassette to add to if the document on file is not the one that this session has written last: that of this session,
    /// so that the responses of two sessions are not mixed.
    fn replaced(&self, key: &RequestKey, found: Bytes, written: &Written) -> Result<OnFile> {
        let store = &self.shared.store;
        let document = store.parse(key, found)?;
        let own = yaml::read(&written.document, &store.location_of(key))?;
        if own == document.cassette {
            // Only its format has changed.
            return Ok(OnFile::Read {
                document,
                is_current: true,
            });
        }
        self.warn_replaced(key);
        Ok(OnFile::Read {
            document: Arc::new(Document::new(own)),
            is_current: false,
        })
    }

    /// Warns once that two sessions record the same request.
    fn warn_replaced(&self, key: &RequestKey) {
        if self.session().is_first_collision(key) {
            tracing::warn!(
                "another session has recorded {} since this one began; the responses of this session replace its responses",
                self.shared.store.location_of(key)
            );
        }
    }

    /// Writes a cassette, unless it equals `existing`. Returns whether the limits allow it.
    async fn write(&self, exchange: &Exchange, mut cassette: Cassette, existing: Option<&Cassette>) -> Result<bool> {
        let (store, settings, key) = (&self.shared.store, &exchange.settings.settings, exchange.key());
        if !store
            .quota
            .admits(&mut cassette, &settings.limits, store.engine())
            .await
        {
            return Ok(false);
        }
        let document = engine::write_cassette(store.engine(), key, &mut cassette, existing, settings).await?;
        // In mode `replay` a cache answers repeated requests from the recording, so nothing is appended to this
        // document.
        let written = document
            .filter(|_| !store.is_cache() || exchange.records_each_request())
            .and_then(|document| Written::new(document, &cassette, cassette.responses.len()));
        store.written.set(key, written);
        Ok(true)
    }

    /// Adds responses to the document that this session has written last. Its earlier responses are not written as YAML
    /// again.
    async fn append(&self, exchange: &Exchange, mut added: Cassette, before: &Written) -> Result<bool> {
        let (store, settings, key) = (&self.shared.store, &exchange.settings.settings, exchange.key());
        let earlier = &before.document[before.responses_at..];
        let document = engine::append_responses(store.engine(), key, earlier, &mut added, settings).await?;
        let responses = before.responses + added.responses.len();
        store.written.set(key, Written::new(document, &added, responses));
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

/// The cassette that a save adds to.
enum OnFile {
    /// The one that this session has written last.
    Written(Written),
    /// Another one. It is current unless it is an earlier one of this session that another session has replaced.
    Read { document: Arc<Document>, is_current: bool },
}

impl OnFile {
    fn last(&self) -> Option<&RecordedResponse> {
        match self {
            Self::Written(written) => Some(&written.last),
            Self::Read { document, .. } => document.responses.last(),
        }
    }

    fn history(&self) -> Option<History> {
        match self {
            Self::Written(written) => written.history,
            Self::Read { document, .. } => document.history,
        }
    }

    /// The cassette, if it is on file as it is here.
    fn unchanged(&self) -> Option<&Cassette> {
        match self {
            Self::Read {
                document,
                is_current: true,
            } => Some(&document.cassette),
            _ => None,
        }
    }
}

/// The cassette with a new response in place of the one whose body is missing or damaged. The other responses and the recording
/// time stay.
fn repaired(on_file: &Cassette, index: usize, exchange: &Exchange, response: &RecordedResponse) -> Option<Cassette> {
    let mut cassette = on_file.clone();
    *cassette.responses.get_mut(index)? = response.clone();
    cassette.request = exchange.prepared.request.clone();
    Some(cassette)
}
