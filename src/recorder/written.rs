//! What this process has written: a further response to the same request is added to it without parsing and writing all
//! earlier ones as YAML again, and a change by another session is noticed.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use lru::LruCache;

use crate::cassette::{Cassette, History, RecordedResponse, yaml};
use crate::key::RequestKey;

/// How many bytes of documents are remembered.
const CAPACITY_BYTES: usize = 16 << 20;

/// A document that this session has written.
#[derive(Clone, Debug)]
pub(super) struct Written {
    pub(super) document: Bytes,
    /// Where its responses begin.
    pub(super) responses_at: usize,
    /// How many responses it has.
    pub(super) responses: usize,
    pub(super) last: RecordedResponse,
    pub(super) history: Option<History>,
}

impl Written {
    /// `cassette` has the last responses of the document, which has as many in all.
    pub(super) fn new(document: Bytes, cassette: &Cassette, responses: usize) -> Option<Self> {
        Some(Self {
            responses_at: yaml::responses_at(&document)?,
            document,
            responses,
            last: cassette.responses.last()?.clone(),
            history: cassette.history,
        })
    }
}

/// The documents that this session has written last, each under its key. Those that were not used for longest are
/// forgotten first.
#[derive(Default)]
pub(super) struct WrittenDocuments(Mutex<Documents>);

struct Documents {
    by_key: LruCache<RequestKey, Written>,
    bytes: usize,
}

impl Default for Documents {
    fn default() -> Self {
        Self {
            by_key: LruCache::unbounded(),
            bytes: 0,
        }
    }
}

impl WrittenDocuments {
    fn documents(&self) -> MutexGuard<'_, Documents> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The document that was written last under this key, if it is remembered.
    pub(super) fn get(&self, key: &RequestKey) -> Option<Written> {
        self.documents().by_key.get(key).cloned()
    }

    /// Whether these bytes are the document that was written last under this key.
    pub(super) fn is(&self, key: &RequestKey, document: &Bytes) -> bool {
        self.get(key).is_some_and(|written| written.document == *document)
    }

    /// Remembers a document, or forgets the one under this key.
    pub(super) fn set(&self, key: &RequestKey, written: Option<Written>) {
        let mut documents = self.documents();
        let added = written.as_ref().map_or(0, |written| written.document.len());
        let removed = match written {
            Some(written) => documents.by_key.put(key.clone(), written),
            None => documents.by_key.pop(key),
        };
        documents.bytes += added;
        documents.bytes -= removed.map_or(0, |written| written.document.len());
        // A document larger than the capacity is remembered alone.
        while documents.bytes > CAPACITY_BYTES && documents.by_key.len() > 1 {
            let Some((_, oldest)) = documents.by_key.pop_lru() else {
                break;
            };
            documents.bytes -= oldest.document.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;
    use crate::cassette::Blob;

    fn written(bytes: usize) -> Written {
        Written {
            document: vec![b'x'; bytes].into(),
            responses_at: 0,
            responses: 1,
            last: RecordedResponse {
                status: StatusCode::OK,
                headers: Vec::new(),
                body: Blob::Inline(Bytes::new()),
                timing_ms: vec![1],
            },
            history: None,
        }
    }

    #[test]
    fn the_documents_that_were_not_used_for_longest_are_forgotten() {
        let key = |number: usize| RequestKey::from_name(&format!("chat/a-{number:016x}")).unwrap();
        let documents = WrittenDocuments::default();
        for number in [1, 2, 1, 3] {
            documents.set(&key(number), Some(written(CAPACITY_BYTES / 2)));
        }
        let remembered = [1, 2, 3].map(|number| documents.get(&key(number)).is_some());
        assert_eq!(remembered, [true, false, true]);
        documents.set(&key(1), None);
        documents.set(&key(4), Some(written(CAPACITY_BYTES * 2)));
        assert!(documents.get(&key(4)).is_some());
        assert_eq!(documents.documents().by_key.len(), 1);
        assert_eq!(documents.documents().bytes, CAPACITY_BYTES * 2);
    }
}
