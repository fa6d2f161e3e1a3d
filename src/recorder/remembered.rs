//! The documents that were read or written last, parsed.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::cassette::{Cassette, RecordedResponse};
use crate::key::RequestKey;
use crate::message::tokens_in;
use crate::redaction::strip_hop_by_hop;

/// How much the documents may weigh before they are forgotten.
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

    /// The response at this place, whose body is this.
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
    strip_hop_by_hop(&mut headers);
    headers
}

/// Parsed documents, each beside the bytes it was parsed from.
#[derive(Default)]
pub(super) struct Remembered(Mutex<Documents>);

#[derive(Default)]
struct Documents {
    of: HashMap<RequestKey, (Bytes, Arc<Document>)>,
    bytes: usize,
}

impl Remembered {
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
        documents.of.insert(key.clone(), (bytes, document));
    }
}

/// Whether they are the same place in memory.
fn is_one(a: &Bytes, b: &Bytes) -> bool {
    a.as_ptr() == b.as_ptr() && a.len() == b.len()
}
