//! A request as it is hashed and recorded, and a cache of those that were prepared last.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, header};
use lru::LruCache;

use super::effective_settings::EffectiveSettings;
use crate::cassette::RecordedRequest;
use crate::error::{Error, ErrorKind, Result};
use crate::http::Request;
use crate::key::{CanonicalRequest, RequestKey, Scope};
use crate::redaction::Redactor;

/// How many prepared requests are cached.
const CAPACITY: NonZeroUsize = NonZeroUsize::new(256).unwrap();

/// Requests with larger bodies are not cached.
const MAX_CACHED_BODY_BYTES: usize = 64 * 1024;

/// A redacted request, its key, and the redactor with its secrets.
pub(super) struct PreparedRequest {
    pub(super) redactor: Redactor,
    pub(super) request: RecordedRequest,
    /// For the comparison with recordings on a miss.
    pub(super) canonical: CanonicalRequest,
    pub(super) key: RequestKey,
}

impl PreparedRequest {
    fn new(effective: &EffectiveSettings, scope: &Scope, request: &Request, secrets: &[String]) -> Result<Self> {
        let redactor = effective.redactor.with_secrets(secrets.iter().map(String::as_str));
        if redactor.redact_text(scope.as_str()) != scope.as_str() {
            return Err(Error::new(
                ErrorKind::Request,
                "the name of the scope contains a secret, and would become the name of a folder",
            )
            .with_hint("name the scope after the test"));
        }
        let request = redactor.redact_request(request);
        let canonical = CanonicalRequest::of(&request, &effective.settings.matching);
        Ok(Self {
            key: RequestKey::from_canonical(&canonical, scope),
            canonical,
            redactor,
            request,
        })
    }
}

/// Everything that the prepared request depends on besides the settings.
#[derive(PartialEq, Eq, Hash)]
struct CacheKey {
    method: Method,
    host: Option<String>,
    target: PathAndQuery,
    content_type: Option<HeaderValue>,
    body: Bytes,
    secrets: Vec<String>,
    scope: Scope,
}

impl CacheKey {
    /// A copy in memory of its own. The original may share buffers with a connection, which the cache must not hold.
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

/// The requests that were prepared last.
pub(super) struct RequestCache(Mutex<LruCache<CacheKey, Arc<PreparedRequest>>>);

impl Default for RequestCache {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(CAPACITY)))
    }
}

impl RequestCache {
    /// Redacts a request that carries these secrets, and computes its key.
    ///
    /// # Errors
    /// [`ErrorKind::Request`] if the name of the scope contains a secret.
    pub(super) fn prepare<'a>(
        &self,
        effective: &EffectiveSettings,
        scope: &Scope,
        request: &'a Request,
        secrets: impl Iterator<Item = &'a str>,
    ) -> Result<Arc<PreparedRequest>> {
        let secrets: Vec<String> = secrets.map(str::to_owned).collect();
        if request.body_bytes().len() > MAX_CACHED_BODY_BYTES {
            return Ok(Arc::new(PreparedRequest::new(effective, scope, request, &secrets)?));
        }
        let cache_key = CacheKey {
            method: request.method().clone(),
            host: request.host().map(str::to_owned),
            target: request.path_and_query().clone(),
            content_type: request.header_map().get(header::CONTENT_TYPE).cloned(),
            body: request.body_bytes().clone(),
            secrets,
            scope: scope.clone(),
        };
        let cache = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(prepared) = cache().get(&cache_key) {
            return Ok(prepared.clone());
        }
        let cache_key = cache_key.copied();
        let request = request.clone().body(cache_key.body.clone());
        let prepared = Arc::new(PreparedRequest::new(effective, scope, &request, &cache_key.secrets)?);
        cache().put(cache_key, prepared.clone());
        Ok(prepared)
    }
}
