//! What the steps of the request path share about one request.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::StatusCode;

use super::document_cache::Document;
use super::effective_settings::EffectiveSettings;
use super::held_lock::HeldLock;
use super::in_progress::RequestInProgress;
use super::prepared::PreparedRequest;
use crate::key::RequestKey;
use crate::mode::Plan;
use crate::settings::SaveErrors;
use crate::settings::faults::Injection;
use crate::settings::playback::Playback;

/// What cannot be read in the entry of a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Damage {
    /// The document: it is replaced.
    Document,
    /// The body of the response at this index: the response is replaced, and the others stay.
    Response(usize),
}

/// One request on its way through the recorder.
pub(super) struct Exchange {
    pub(super) settings: Arc<EffectiveSettings>,
    pub(super) prepared: Arc<PreparedRequest>,
    pub(super) playback: Arc<Playback>,
    /// The transient errors to record, in place of those of the settings.
    pub(super) save_errors: Option<SaveErrors>,
    /// What the mode means for this request.
    pub(super) plan: Plan,
    /// The delay and the fault to inject into the replayed response.
    pub(super) injection: Injection,
    /// How many requests of this session took a response under this key before this one. `None` while an injected fault
    /// takes the place of the response.
    pub(super) turn: Option<usize>,
    pub(super) started: Instant,
    /// The recording that is too old to be replayed.
    pub(super) expired: Option<Arc<Document>>,
    /// What cannot be read in the entry of a cache, and is recorded again.
    pub(super) damage: Option<Damage>,
    /// The external body that the look-up has loaded, by its SHA-256.
    pub(super) body: Option<(String, Bytes)>,
    /// The lock that lets this process, and no other, send the request.
    pub(super) lock: Option<HeldLock>,
    /// Whether the request reads a state and was first recorded in this session, so that it is sent again.
    pub(super) is_polling: bool,
    /// The SHA-256 of the API key with which mode `record` sends the request.
    pub(super) api_key: Option<String>,
    /// In the session of a test: the request counts as in progress until its response is saved.
    pub(super) in_progress: Option<RequestInProgress>,
}

impl Exchange {
    /// The request key.
    pub(super) fn key(&self) -> &RequestKey {
        &self.prepared.key
    }

    /// Whether a transient error with this status is recorded.
    pub(super) fn saves_error(&self, status: StatusCode) -> bool {
        let selected = self.save_errors.as_ref().unwrap_or(&self.settings.settings.save_errors);
        selected.includes(status)
    }

    /// The same request, to be sent in the background.
    pub(super) fn for_background(&self, plan: Plan) -> Self {
        Self {
            settings: self.settings.clone(),
            prepared: self.prepared.clone(),
            playback: self.playback.clone(),
            save_errors: self.save_errors.clone(),
            plan,
            injection: Injection::default(),
            turn: self.turn,
            started: Instant::now(),
            expired: self.expired.clone(),
            damage: None,
            body: None,
            lock: None,
            is_polling: false,
            api_key: None,
            in_progress: None,
        }
    }

    /// Whether each request is a call of its own unless calls overlap (mode `record`). Otherwise one recording answers all
    /// later requests.
    pub(super) fn records_each_request(&self) -> bool {
        !self.plan.looks_up
    }
}
