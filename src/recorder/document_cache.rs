//! The documents that were read, parsed.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::cassette::{Cassette, RecordedResponse};
use crate::http::{strip_connection_headers, tokens_in};
use crate::key::RequestKey;

/// How much the documents may weigh before all are forgotten.
const MOST_BYTES: usize = 16 << 20;

/// A parsed document, and what of its responses is the same each time they are handed on.
pub(super) struct Document {
    pub(super) cassette: Cassette,
    handed_on: Vec<OnceLock<HandedOn>>,
}

/// What is worked out when a response is handed on for the first time.
pub(super) struct HandedOn {
    pub(super) headers: HeaderMap,
    /// The tokens that the answer took when it was recorded.
    pub(super) tokens: u64,
}

impl Document {
    pub(super) fn new(cassette: Cassette) -> Self {
        Self {
            handed_on: cassette.responses.iter().map(|_| OnceLock::new()).collect(),
            cassette,
        }
    }

    /// What the response at this place, whose body is this, has each time.
    pub(super) fn handed_on(&self, at: usize, body: &Bytes) -> &HandedOn {
        self.handed_on[at].get_or_init(|| HandedOn {
            headers: headers_of(&self.cassette.responses[at]),
            tokens: tokens_in(body),
        })
    }
}

impl Deref for Document {
    type Target = Cassette;

    fn deref(&self) -> &Cassette {
        &self.cassette
    }
}

fn headers_of(response: &RecordedResponse) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(response.headers.len());
    for (name, value) in &response.headers {
        // The format has seen that they are headers.
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value)) {
            headers.append(name, value);
        }
    }
    // Nobody records these, but anybody can write them into a file.
    strip_connection_headers(&mut headers);
    headers
}

/// Parsed documents, each beside the bytes it was parsed from.
#[derive(Default)]
pub(super) struct DocumentCache(Mutex<Documents>);

#[derive(Default)]
struct Documents {
    of: HashMap<RequestKey, (Bytes, Arc<Document>)>,
    bytes: usize,
}

impl DocumentCache {
    /// The document that was parsed from these bytes.
    pub(super) fn get(&self, key: &RequestKey, bytes: &Bytes) -> Option<Arc<Document>> {
        let mut documents = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (parsed, document) = documents.of.get_mut(key)?;
        if !is_one(parsed, bytes) {
            if parsed != bytes {
                return None;
            }
            // The engine may hold these from now on, and there need be no comparison then.
            *parsed = bytes.clone();
        }
        Some(document.clone())
    }

    pub(super) fn put(&self, key: &RequestKey, bytes: Bytes, document: Arc<Document>) {
        let mut documents = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if documents.bytes + bytes.len() > MOST_BYTES {
            *documents = Documents::default();
        }
        documents.bytes += bytes.len();
        if let Some((earlier, _)) = documents.of.insert(key.clone(), (bytes, document)) {
            documents.bytes -= earlier.len();
        }
    }
}

/// Whether they are the same place in memory.
fn is_one(a: &Bytes, b: &Bytes) -> bool {
    a.as_ptr() == b.as_ptr() && a.len() == b.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cassette::{Blob, Recorded, RecordedBody, RecordedRequest};

    fn document() -> Arc<Document> {
        let request = RecordedRequest {
            method: "GET".to_owned(),
            path: "/v1/models".to_owned(),
            query: None,
            body: RecordedBody::Blob(Blob::Inline(Bytes::new())),
        };
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
    fn a_document_is_known_by_its_bytes_wherever_they_are() {
        let remembered = DocumentCache::default();
        let known = document();
        let here = Bytes::from(b"one".to_vec());
        remembered.put(&key(1), here.clone(), known.clone());
        let there = Bytes::from(b"one".to_vec());
        for bytes in [&here, &there, &there, &here] {
            let found = remembered.get(&key(1), bytes).unwrap();
            assert!(Arc::ptr_eq(&found, &known));
            // The next time they need not be compared.
            assert!(is_one(&remembered.0.lock().unwrap().of[&key(1)].0, bytes));
        }
        assert!(remembered.get(&key(1), &Bytes::from_static(b"two")).is_none());
        assert!(remembered.get(&key(2), &here).is_none());
    }

    #[test]
    fn documents_that_are_replaced_weigh_nothing() {
        let remembered = DocumentCache::default();
        let half = Bytes::from(vec![b'x'; MOST_BYTES / 2]);
        for _ in 0..10 {
            remembered.put(&key(1), half.clone(), document());
        }
        remembered.put(&key(2), half.clone(), document());
        assert!(remembered.get(&key(1), &half).is_some());
        remembered.put(&key(3), half.clone(), document());
        assert!(remembered.get(&key(1), &half).is_none());
        assert!(remembered.get(&key(3), &half).is_some());
    }
}
