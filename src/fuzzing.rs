//! Access to crate internals for the fuzz targets in `fuzz/`; compiled for them only.

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::cassette::{Blob, History, Recorded, RecordedBody, RecordedResponse, yaml};
use crate::cli::change;
use crate::cli::import_export::{self, Import};
use crate::diff::{self, Difference};
use crate::engine::CacheEngine;
use crate::error::Result;
use crate::http::{self as message, Request};
use crate::key::{CanonicalRequest, RequestKey, Scope};
use crate::recorder::Recorder;
use crate::redaction::{Redactor, secret_scan};
use crate::settings::Settings;
use crate::settings::matching::Matching;
use crate::upstream::Upstream;

/// A cassette.
#[derive(Clone, Debug, PartialEq)]
pub struct Cassette(crate::cassette::Cassette);

impl Cassette {
    /// Reads a document.
    ///
    /// # Errors
    /// The document is not a cassette.
    pub fn read(document: &[u8]) -> Result<Self> {
        yaml::read(document, "fuzz.yaml").map(Self)
    }

    /// Creates the cassette of a recording, with every response header that a cassette may contain.
    pub fn of(request: &Request, responses: Vec<(StatusCode, HeaderMap, Bytes)>) -> Self {
        let names = responses.iter().flat_map(|(_, headers, _)| headers.keys());
        let names: Vec<String> = names.map(|name| name.as_str().to_owned()).collect();
        let redactor = Redactor::new([], &[], &names);
        let request = redactor.redact_request(request);
        let response = |(status, headers, body): (StatusCode, HeaderMap, Bytes)| RecordedResponse {
            status,
            headers: redactor.recorded_headers(&headers),
            body: body.into(),
            timing_ms: vec![0],
            messages: Vec::new(),
        };
        Self(crate::cassette::Cassette {
            key: RequestKey::of(&request, &Scope::root(), &Matching::default())
                .hash()
                .to_owned(),
            recorded: Recorded::now(None, None),
            history: None,
            request,
            responses: responses.into_iter().map(response).collect(),
        })
    }

    /// Returns its document.
    ///
    /// # Errors
    /// The cassette cannot be written.
    pub fn write(&self) -> Result<Bytes> {
        yaml::write(&self.0)
    }

    /// Returns the inline bodies: of the request or its parts, then of the responses.
    pub fn bodies(&self) -> Vec<Bytes> {
        let mut cassette = self.0.clone();
        let blobs = cassette.bodies_mut().into_iter();
        blobs
            .filter_map(|blob| match blob {
                Blob::Inline(bytes) => Some(bytes.clone()),
                Blob::External { .. } => None,
            })
            .collect()
    }

    /// Whether the request body is a form.
    pub fn is_multipart(&self) -> bool {
        matches!(self.0.request.body, RecordedBody::Multipart(_))
    }

    /// Returns the recorded headers of each response.
    pub fn headers(&self) -> Vec<&[(String, String)]> {
        let responses = self.0.responses.iter();
        responses.map(|response| response.headers.as_slice()).collect()
    }

    /// Returns its interactions in an export format; `engine` holds its external bodies.
    ///
    /// # Errors
    /// The cassette cannot be exported, or the format is unknown.
    pub async fn exported(&self, engine: &dyn CacheEngine, scope: &Scope, to: &str) -> Result<String> {
        let interactions = import_export::interactions_of(engine, self.0.clone(), scope, "fuzz.yaml").await?;
        Ok(import_export::write(to.parse()?, &interactions))
    }

    /// Compares its responses with those of a newer cassette: the kind of the change, and the differences as lines.
    pub fn change(&self, new: &Self) -> (&'static str, Vec<String>) {
        let change = change::compare(&self.0.responses, &new.0.responses, |_| false);
        let lines = change.differences.iter().flat_map(Difference::lines);
        (change.kind.name(), lines.collect())
    }

    /// Returns the messages about certain secrets in its interactions.
    pub fn secrets(&self) -> Vec<String> {
        let responses = self.0.responses.iter();
        responses
            .flat_map(|response| secret_scan::certain_secrets(&self.0.request, response))
            .collect()
    }
}

/// Returns the key of a request, and the canonical text whose hash it is.
pub fn key(request: &Request, settings: &Settings) -> (RequestKey, String) {
    let request = Redactor::new([], &settings.redaction, &settings.headers.keep).redact_request(request);
    let canonical = CanonicalRequest::of(&request, &settings.matching);
    (RequestKey::from_canonical(&canonical, &Scope::root()), canonical.text())
}

/// Splits an event stream that arrives in chunks into pieces.
pub fn pieces<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<Bytes> {
    let mut splitter = message::EventSplitter::default();
    let mut pieces: Vec<Bytes> = chunks.into_iter().flat_map(|chunk| splitter.push(chunk)).collect();
    pieces.extend(splitter.rest());
    pieces
}

/// Returns the type and the data of each event in a complete stream.
pub fn events(stream: &[u8]) -> Vec<(Option<String>, String)> {
    let events = message::parse_events(stream).into_iter();
    events.map(|event| (event.name, event.data)).collect()
}

/// A part of a form: name, file name, content type and bytes.
pub type Part = (String, Option<String>, Option<String>, Bytes);

/// Whether a form that is read and written with another boundary is the same form: all parts with all headers.
pub fn is_form_preserved(body: &Bytes, boundary: &str) -> bool {
    let Some(parts) = message::parse_multipart(body, boundary) else {
        return true;
    };
    let (kind, sent) = message::write_form(&parts);
    let boundary = message::multipart_boundary(&kind);
    boundary.and_then(|boundary| message::parse_multipart(&sent, &boundary)) == Some(parts)
}

/// Returns the boundary in a content type.
pub fn boundary_of(content_type: &str) -> Option<String> {
    message::multipart_boundary(content_type)
}

/// Returns the parts of a form.
pub fn parts(body: &Bytes, boundary: &str) -> Option<Vec<Part>> {
    let parts = message::parse_multipart(body, boundary)?.into_iter();
    Some(
        parts
            .map(|part| (part.name, part.filename, part.content_type, part.content))
            .collect(),
    )
}

fn message_parts(parts: &[Part]) -> Vec<message::Part> {
    let part = |(name, filename, content_type, content): &Part| message::Part {
        name: name.clone(),
        filename: filename.clone(),
        content_type: content_type.clone(),
        headers: Vec::new(),
        content: content.clone(),
    };
    parts.iter().map(part).collect()
}

/// Writes a form for a request: content type and body.
pub fn sent_form(parts: &[Part]) -> (String, Bytes) {
    message::write_form(&message_parts(parts))
}

/// Writes a form for an export.
pub fn exported_form(parts: &[Part], boundary: &str) -> Option<Bytes> {
    message::write_multipart(&message_parts(parts), boundary)
}

/// Imports a document, and returns messages about interactions that cannot be imported.
///
/// # Errors
/// The document is not in an import format.
pub async fn import(engine: &dyn CacheEngine, document: &[u8], format: Option<&str>) -> Result<Vec<String>> {
    let found = import_export::read(document, "fuzz", format.map(str::parse).transpose()?)?;
    let settings = Settings::default();
    let import = Import {
        engine,
        settings: &settings,
        redactor: Redactor::new([], &[], &[]),
        scope: None,
        force: false,
        all_paths: false,
    };
    Ok(import.run(vec![("fuzz".to_owned(), found)]).await?.problems)
}

/// Compares two values: the differences as lines, and the similarity.
pub fn differences(old: &Value, new: &Value) -> (Vec<String>, f32) {
    let lines = diff::differences(old, new).iter().flat_map(Difference::lines).collect();
    (lines, diff::similarity(old, new))
}

/// Returns the kind and the range of each likely secret in a body.
pub fn secrets(body: &[u8]) -> Vec<(&'static str, Option<Range<usize>>)> {
    let found = secret_scan::find_in_body(body).into_iter();
    found.map(|secret| (secret.kind, Some(secret.at))).collect()
}

/// Serves one connection to its end, as the proxy does.
pub async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    recorder: Recorder,
    upstream: Upstream,
) {
    crate::proxy::serve_one(stream, recorder, upstream).await;
}

/// Returns the TTL of a recording of this endpoint after some checks, and how long a store keeps the recording.
pub fn ttl(settings: &Settings, endpoint: &str) -> Option<(Duration, Duration)> {
    let (since, mut history) = (Duration::from_secs(60), History::default());
    for has_changed in [false, true] {
        history = history.checked(since, 3, has_changed);
    }
    settings.expiry.freshness(endpoint, Some(&history), since);
    let ttl = settings.expiry.ttl(endpoint, Some(&history))?;
    Some((ttl, settings.expiry.retention(ttl)))
}
