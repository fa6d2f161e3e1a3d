//! An API key that the upstream refuses, or that is missing, ends a session that records: nothing more is sent with it.

use http::StatusCode;

use super::Recorder;
use super::exchange::Exchange;
use crate::error::{Error, ErrorKind, Result};
use crate::hash::sha256_hex;
use crate::http::{API_KEY_VARIABLE, Request, Transport};
use crate::redaction::secret_scan::mask;

impl Recorder {
    /// Stores the SHA-256 of the API key with which a request is sent, so that a refusal ends the session. Does nothing in
    /// modes other than `record`, and where status 401 is to be recorded.
    ///
    /// # Errors
    /// [`ErrorKind::Settings`] if the upstream has refused this key, or needs one and there is none.
    pub(super) fn check_key(
        &self,
        exchange: &mut Exchange,
        request: &Request,
        upstream: &impl Transport,
    ) -> Result<()> {
        if !self.shared.mode.ends_without_key() || exchange.saves_error(StatusCode::UNAUTHORIZED) {
            return Ok(());
        }
        let session = self.session();
        if upstream.needs_key() && !upstream.has_key(request) {
            session.end_without_key();
            let message = format!("not sent: mode record needs an API key: {}", self.line_of(exchange));
            return Err(Error::new(ErrorKind::Settings, message).with_hint(format!(
                "set {API_KEY_VARIABLE}, to any text if the upstream needs no key"
            )));
        }
        let key = request.credentials().next().or_else(|| upstream.secret());
        let key = sha256_hex(key.unwrap_or_default().as_bytes());
        if session.has_refused(&key) {
            let message = format!(
                "not sent: the upstream has refused the API key (status 401): {}",
                self.line_of(exchange)
            );
            return Err(Error::new(ErrorKind::Settings, message).with_hint(HINT));
        }
        exchange.api_key = Some(key);
        Ok(())
    }

    /// Remembers a key that the upstream has refused. The caller gets the response.
    pub(super) fn refuse_key(&self, exchange: &Exchange) {
        let Some(key) = &exchange.api_key else { return };
        let message = format!(
            "the upstream refused the API key (status 401): {}",
            self.line_of(exchange)
        );
        let error = Error::new(ErrorKind::Settings, message).with_hint(HINT);
        tracing::warn!("{}; nothing more is sent with this key", error.message());
        self.session().refuse_key(key.clone());
        self.session().failed(&error);
    }

    fn line_of(&self, exchange: &Exchange) -> String {
        format!("{}{}", mask(&exchange.prepared.request.line()), self.origin())
    }
}

const HINT: &str = "check MISTRAL_API_KEY; if a test needs this response, select 401 with save_errors or the header mistral-cassette-save-errors";
