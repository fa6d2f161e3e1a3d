//! The documents that this process has written. A further response to the same request is appended without parsing and
//! writing the earlier ones again. A change by another session is noticed, because the document on file then differs.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::cassette::{Cassette, History, RecordedResponse, yaml};
use crate::engine::SizedLru;
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
    /// `cassette` has the last responses of the document, and `responses` is the number of all of them.
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

/// The documents that this session has written last, each under its key.
pub(super) struct WrittenDocuments(Mutex<SizedLru<Written>>);

impl Default for WrittenDocuments {
    fn default() -> Self {
        Self(Mutex::new(SizedLru::new(CAPACITY_BYTES)))
    }
}

impl WrittenDocuments {
    fn documents(&self) -> MutexGuard<'_, SizedLru<Written>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The document that was written last under this key, if it is remembered.
    pub(super) fn get(&self, key: &RequestKey) -> Option<Written> {
        self.documents().get_mut(key).cloned()
    }

    /// Whether these bytes are the document that was written last under this key.
    pub(super) fn is(&self, key: &RequestKey, document: &Bytes) -> bool {
        let mut documents = self.documents();
        documents
            .get_mut(key)
            .is_some_and(|written| written.document == *document)
    }

    /// Remembers a document, or forgets the one under this key.
    pub(super) fn set(&self, key: &RequestKey, written: Option<Written>) {
        let mut documents = self.documents();
        match written {
            Some(written) => {
                let bytes = written.document.len();
                documents.put(key.clone(), written, bytes);
            }
            None => {
                documents.pop(key);
            }
        }
    }
}
