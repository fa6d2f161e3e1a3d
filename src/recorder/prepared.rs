//! A request as it is hashed and kept. Of one that was asked before, byte for byte, that is known.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, header};
use lru::LruCache;

use super::EffectiveSettings;
use crate::cassette::RecordedRequest;
use crate::error::{Error, ErrorKind, Result};
use crate::http::Request;
use crate::key::{RequestKey, Scope};
use crate::redaction::Redactor;

/// How many requests are known.
const KNOWN: NonZeroUsize = NonZeroUsize::new(256).unwrap();

/// A larger body is worked out again, in place of being held.
const LARGEST_KNOWN_BYTES: usize = 64 * 1024;

/// A request without its secrets, its key, and what took them out.
pub(super) struct PreparedRequest {
    pub(super) redactor: Redactor,
    pub(super) request: RecordedRequest,
    pub(super) key: RequestKey,
}

impl PreparedRequest {
    fn new(agreed: &EffectiveSettings, scope: &Scope, request: &Request, secrets: &[String]) -> Result<Self> {
        let redactor = agreed.redactor.knowing(secrets.iter().map(String::as_str));
        if redactor.text(scope.as_str()) != scope.as_str() {
            return Err(Error::new(
                ErrorKind::Request,
                "the name of the scope holds a secret, and would be a folder name",
            )
            .with_hint("name the scope after the test"));
        }
        let request = redactor.request(request);
        Ok(Self {
            key: RequestKey::of(&request, scope, &agreed.settings.matching),
            redactor,
            request,
        })
    }
}

/// All that decides what a request comes to, under the same settings.
#[derive(PartialEq, Eq, Hash)]
struct Raw {
    method: Method,
    target: PathAndQuery,
    content_type: Option<HeaderValue>,
    body: Bytes,
    secrets: Vec<String>,
    scope: Scope,
}

impl Raw {
    /// The same in memory of its own: what is known must not hold the buffers of connections, of which it may be a part.
    fn copied(self) -> Self {
        let copied = |value: HeaderValue| HeaderValue::from_bytes(value.as_bytes()).unwrap_or(value);
        Self {
            target: self.target.as_str().parse().unwrap_or(self.target),
            content_type: self.content_type.map(copied),
            body: Bytes::copy_from_slice(&self.body),
            ..self
        }
    }
}

/// The requests that were asked last.
pub(super) struct RequestCache(Mutex<LruCache<Raw, Arc<PreparedRequest>>>);

impl Default for RequestCache {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(KNOWN)))
    }
}

impl RequestCache {
    /// What a request comes to that brings these secrets along.
    ///
    /// # Errors
    /// [`ErrorKind::Request`] when the scope's name holds a secret.
    pub(super) fn asked<'a>(
        &self,
        agreed: &EffectiveSettings,
        scope: &Scope,
        request: &'a Request,
        secrets: impl Iterator<Item = &'a str>,
    ) -> Result<Arc<PreparedRequest>> {
        let secrets: Vec<String> = secrets.map(str::to_owned).collect();
        if request.body_bytes().len() > LARGEST_KNOWN_BYTES {
            return Ok(Arc::new(PreparedRequest::new(agreed, scope, request, &secrets)?));
        }
        let raw = Raw {
            method: request.method().clone(),
            target: request.path_and_query().clone(),
            content_type: request.header_map().get(header::CONTENT_TYPE).cloned(),
            body: request.body_bytes().clone(),
            secrets,
            scope: scope.clone(),
        };
        let known = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(asked) = known().get(&raw) {
            return Ok(asked.clone());
        }
        let raw = raw.copied();
        let request = request.clone().body(raw.body.clone());
        let asked = Arc::new(PreparedRequest::new(agreed, scope, &request, &raw.secrets)?);
        known().put(raw, asked.clone());
        Ok(asked)
    }
}
