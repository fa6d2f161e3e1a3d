//! Finds the recording of a request, and decides whether it may be replayed.

use std::sync::Arc;

use bytes::Bytes;

use super::document_cache::Document;
use super::exchange::{Damage, Exchange};
use super::store::Store;
use crate::cassette::{Blob, RecordedBody, RecordedPart, RecordedRequest, yaml};
use crate::engine;
use crate::error::{Error, ErrorKind, Result};
use crate::hash::sha256_hex;
use crate::key::RequestKey;
use crate::mode::OnMiss;
use crate::settings::Settings;
use crate::settings::expiry::Freshness;

/// What the store has for a request.
pub(super) enum Lookup {
    /// A recording to replay.
    Found(Arc<Document>),
    /// A recording after its TTL, which is replayed while a new response is requested (`stale_while_revalidate`).
    Stale(Arc<Document>),
    /// Nothing to replay. An expired recording is in [`Exchange::expired`].
    Missing,
    /// The store, or its entry, cannot be read.
    Unavailable(Error),
}

impl Store {
    /// Finds the recording of a request.
    pub(super) async fn find(&self, exchange: &mut Exchange) -> Lookup {
        exchange.damage = None;
        let document = match self.read(exchange.key()).await {
            Ok(Some(document)) => document,
            Ok(None) => return Lookup::Missing,
            // A damaged entry of a cache is recorded again. A damaged file in a directory is for a person to look at.
            Err(error) if error.kind() == ErrorKind::Cassette && self.may_bypass(&error, exchange.plan) => {
                tracing::warn!("a recording is damaged and is recorded again: {}", error.in_one_line());
                exchange.damage = Some(Damage::Document);
                return Lookup::Missing;
            }
            Err(error) => return Lookup::Unavailable(error),
        };
        // If the request cannot be sent, an expired recording is better than none.
        if exchange.plan.on_miss == OnMiss::Fail {
            if !document.is_checked() {
                // Boxed, because it is done once for each document.
                if let Err(error) = Box::pin(self.check_request(exchange, &document)).await {
                    return Lookup::Unavailable(error);
                }
                document.set_checked();
            }
            return Lookup::Found(document);
        }
        if let Some((index, sha256)) = self.external_body(exchange, &document)
            && let Err(error) = Box::pin(self.load_in_advance(exchange, sha256)).await
        {
            if error.kind() != ErrorKind::Cassette {
                return Lookup::Unavailable(error);
            }
            tracing::warn!("a recording is damaged and is recorded again: {}", error.in_one_line());
            exchange.damage = Some(Damage::Response(index));
            return Lookup::Missing;
        }
        let expiry = &exchange.settings.settings.expiry;
        let endpoint = exchange.key().endpoint();
        match expiry.freshness(endpoint, document.history.as_ref(), document.recorded.age()) {
            Freshness::Fresh => Lookup::Found(document),
            Freshness::Stale => Lookup::Stale(document),
            Freshness::Expired => {
                exchange.expired = Some(document);
                Lookup::Missing
            }
        }
    }

    /// Checks that the request in a document has its key.
    ///
    /// # Errors
    /// [`ErrorKind::Cassette`] if it has another one, or if a part of the request is missing.
    async fn check_request(&self, exchange: &Exchange, document: &Document) -> Result<()> {
        if is_same(&document.request, &exchange.prepared.request) {
            // The usual case, in which the key need not be computed.
            return Ok(());
        }
        self.check_key(exchange.key(), &exchange.settings.settings, document)
            .await
    }

    /// Checks that the request in a document has the key of the document, unless it was checked before.
    ///
    /// # Errors
    /// The same as [`check_request`](Self::check_request).
    #[cfg(feature = "realtime")]
    pub(super) async fn check_once(&self, key: &RequestKey, settings: &Settings, document: &Document) -> Result<()> {
        if !document.is_checked() {
            // Boxed, because it is done once for each document.
            Box::pin(self.check_key(key, settings, document)).await?;
            document.set_checked();
        }
        Ok(())
    }

    async fn check_key(&self, key: &RequestKey, settings: &Settings, document: &Document) -> Result<()> {
        let location = self.location_of(key);
        let found = engine::key_of(self.engine(), document, key.scope(), settings, &location).await?;
        if found == *key {
            return Ok(());
        }
        let message =
            format!("{location}: the request was changed: it has the key {found}, and the file has the key {key}");
        Err(Error::new(ErrorKind::Cassette, message)
            .with_hint("restore the file, record the request again, or run mistral-cassette rekey to keep the change"))
    }

    /// The index and the SHA-256 of the response to replay, if its body is external and the store is a cache: then the body
    /// may be missing although the document is there, and the response is recorded again.
    fn external_body(&self, exchange: &Exchange, document: &Document) -> Option<(usize, String)> {
        if !self.is_cache() {
            return None;
        }
        let exhausted = exchange.settings.settings.exhausted;
        let index = exhausted.index(exchange.turn?, document.responses.len())?;
        match &document.responses[index].body {
            Blob::External { sha256 } => Some((index, sha256.clone())),
            Blob::Inline(_) => None,
        }
    }

    /// Loads the body of the response before it is certain that it is replayed.
    async fn load_in_advance(&self, exchange: &mut Exchange, sha256: String) -> Result<()> {
        let blob = Blob::External { sha256: sha256.clone() };
        let body = self.load_body(&blob, exchange.key()).await?;
        exchange.body = Some((sha256, body));
        Ok(())
    }

    /// The parsed cassette of a key, if there is one.
    ///
    /// # Errors
    /// [`ErrorKind::Cassette`] if it is damaged or belongs to another key, [`ErrorKind::Engine`] if it cannot be read.
    pub(super) async fn read(&self, key: &RequestKey) -> Result<Option<Arc<Document>>> {
        let Some(bytes) = self.engine.get(key).await? else {
            return Ok(None);
        };
        self.parse(key, bytes).map(Some)
    }

    /// Checks that a recording may be replaced: there is none, or it is not damaged.
    ///
    /// # Errors
    /// The same as [`read`](Self::read).
    pub(super) async fn check(&self, key: &RequestKey) -> Result<()> {
        match self.engine.get(key).await? {
            Some(bytes) if !self.written.is(key, &bytes) => self.parse(key, bytes).map(drop),
            _ => Ok(()),
        }
    }

    /// Parses the document of a key, unless the same bytes were parsed before.
    ///
    /// # Errors
    /// [`ErrorKind::Cassette`] if it is damaged or belongs to another key.
    pub(super) fn parse(&self, key: &RequestKey, bytes: Bytes) -> Result<Arc<Document>> {
        if let Some(document) = self.documents.get(key, &bytes) {
            return Ok(document);
        }
        let cassette = yaml::read(&bytes, &self.location_of(key))?;
        key.check(&cassette, || self.location_of(key))?;
        let document = Arc::new(Document::new(cassette));
        self.documents.put(key, bytes, document.clone());
        Ok(document)
    }
}

/// Whether a request on file has the same bytes as a prepared one, whose bodies are inline.
fn is_same(on_file: &RecordedRequest, prepared: &RecordedRequest) -> bool {
    let is_same_blob = |on_file: &Blob, prepared: &Blob| match (on_file, prepared) {
        (Blob::External { sha256 }, Blob::Inline(bytes)) => sha256_hex(bytes) == *sha256,
        (on_file, prepared) => on_file == prepared,
    };
    let is_same_part = |(on_file, prepared): (&RecordedPart, &RecordedPart)| {
        on_file.name == prepared.name
            && on_file.filename == prepared.filename
            && on_file.content_type == prepared.content_type
            && on_file.headers == prepared.headers
            && is_same_blob(&on_file.content, &prepared.content)
    };
    let is_same_body = match (&on_file.body, &prepared.body) {
        (RecordedBody::Blob(on_file), RecordedBody::Blob(prepared)) => is_same_blob(on_file, prepared),
        (RecordedBody::Multipart(on_file), RecordedBody::Multipart(prepared)) => {
            on_file.len() == prepared.len() && on_file.iter().zip(prepared).all(is_same_part)
        }
        _ => false,
    };
    on_file.method == prepared.method
        && on_file.path == prepared.path
        && on_file.query == prepared.query
        && is_same_body
}
