//! A cache of parsed documents.

use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use http::{HeaderMap, HeaderName};

use crate::cassette::{Cassette, RecordedResponse};
use crate::engine::SizedLru;
use crate::http::{header_value, make_locations_relative, strip_response_headers, total_tokens};
use crate::key::RequestKey;

/// How many bytes of documents are cached.
const CAPACITY_BYTES: usize = 16 << 20;

/// A parsed document, and what all replays of a response share.
pub(super) struct Document {
    pub(super) cassette: Cassette,
    replayed: Vec<OnceLock<Replayed>>,
    /// Whether its key was compared with its request.
    is_checked: AtomicBool,
}

/// What is computed at the first replay of a response.
pub(super) struct Replayed {
    pub(super) headers: HeaderMap,
    /// The tokens that the response used when it was recorded.
    pub(super) tokens: u64,
}

impl Document {
    pub(super) fn new(cassette: Cassette) -> Self {
        Self {
            replayed: cassette.responses.iter().map(|_| OnceLock::new()).collect(),
            is_checked: AtomicBool::new(false),
            cassette,
        }
    }

    /// Whether the key of the cassette was compared with its request.
    pub(super) fn is_checked(&self) -> bool {
        self.is_checked.load(Ordering::Relaxed)
    }

    pub(super) fn set_checked(&self) {
        self.is_checked.store(true, Ordering::Relaxed);
    }

    /// Headers and tokens of the response at this index. `body` is the body of that response.
    pub(super) fn replayed(&self, index: usize, body: &Bytes) -> &Replayed {
        self.replayed[index].get_or_init(|| {
            let request = &self.cassette.request;
            let mut headers = headers_of(&self.cassette.responses[index], &request.method);
            if let Some(from) = &self.cassette.recorded.from {
                make_locations_relative(&mut headers, from, &request.target());
            }
            Replayed {
                headers,
                tokens: total_tokens(body),
            }
        })
    }
}

impl Deref for Document {
    type Target = Cassette;

    fn deref(&self) -> &Cassette {
        &self.cassette
    }
}

fn headers_of(response: &RecordedResponse, method: &str) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(response.headers.len());
    for (name, value) in &response.headers {
        // The reader of the format has checked that they are valid headers.
        if let (Ok(name), Some(value)) = (HeaderName::from_bytes(name.as_bytes()), header_value(value)) {
            headers.append(name, value);
        }
    }
    // The recorder never writes these headers, but a person may.
    strip_response_headers(&mut headers, method);
    headers
}

/// Parsed documents, each with the bytes that it was parsed from.
pub(super) struct DocumentCache(Mutex<SizedLru<(Bytes, Arc<Document>)>>);

impl Default for DocumentCache {
    fn default() -> Self {
        Self(Mutex::new(SizedLru::new(CAPACITY_BYTES)))
    }
}

impl DocumentCache {
    /// The document that was parsed from these bytes, if it is cached.
    pub(super) fn get(&self, key: &RequestKey, bytes: &Bytes) -> Option<Arc<Document>> {
        let mut documents = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (parsed, document) = documents.get_mut(key)?;
        if !is_same_memory(parsed, bytes) {
            if parsed != bytes {
                return None;
            }
            // If the engine returns these bytes again, they need not be compared.
            *parsed = bytes.clone();
        }
        Some(document.clone())
    }

    /// Caches a document.
    pub(super) fn put(&self, key: &RequestKey, bytes: Bytes, document: Arc<Document>) {
        let mut documents = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let length = bytes.len();
        documents.put(key.clone(), (bytes, document), length);
    }
}

/// Whether both are the same memory.
fn is_same_memory(a: &Bytes, b: &Bytes) -> bool {
    a.as_ptr() == b.as_ptr() && a.len() == b.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cassette::{Recorded, RecordedRequest};

    fn document() -> Arc<Document> {
        let request = RecordedRequest::new("GET", "/v1/models", "");
        Arc::new(Document::new(Cassette {
            key: String::new(),
            recorded: Recorded::now(None, None),
            history: None,
            request,
            responses: Vec::new(),
        }))
    }

    fn key(number: usize) -> RequestKey {
        RequestKey::from_name(&format!("chat/a-{number:016x}")).unwrap()
    }

    #[test]
    fn a_document_is_found_by_its_bytes_wherever_they_are_in_memory() {
        let cache = DocumentCache::default();
        let known = document();
        let here = Bytes::from(b"one".to_vec());
        cache.put(&key(1), here.clone(), known.clone());
        let there = Bytes::from(b"one".to_vec());
        for bytes in [&here, &there, &there, &here] {
            let found = cache.get(&key(1), bytes).unwrap();
            assert!(Arc::ptr_eq(&found, &known));
            // The next call need not compare them.
            let mut documents = cache.0.lock().unwrap();
            assert!(is_same_memory(&documents.get_mut(&key(1)).unwrap().0, bytes));
        }
        assert!(cache.get(&key(1), &Bytes::from_static(b"two")).is_none());
        assert!(cache.get(&key(2), &here).is_none());
    }
}
