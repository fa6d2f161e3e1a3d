//! Doors for the fuzz targets in `fuzz/`: thin, and compiled for them alone.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::cassette::History;
use crate::cassette::{Blob, Recorded, RecordedBody, RecordedResponse, yaml};
use crate::cli::import_export::{self, Import};
use crate::engine::CacheEngine;
use crate::error::Result;
use crate::http::{self, Request};
use crate::key::{self, RequestKey, Scope};
use crate::recorder::Recorder;
use crate::redaction::Redactor;
use crate::settings::Settings;
use crate::settings::matching::Matching;
use crate::upstream::Upstream;
use crate::{difference, grade, secrets};

/// A cassette, read or made.
#[derive(Clone, Debug, PartialEq)]
pub struct Cassette(crate::cassette::Cassette);

impl Cassette {
    /// Reads a document.
    ///
    /// # Errors
    /// As the reader has it.
    pub fn read(document: &[u8]) -> Result<Self> {
        yaml::read(document, "fuzz.yaml").map(Self)
    }

    /// What a recording of these makes, with every header kept that may be.
    pub fn of(request: &Request, responses: Vec<(StatusCode, HeaderMap, Bytes)>) -> Self {
        let names = responses.iter().flat_map(|(_, headers, _)| headers.keys());
        let names: Vec<String> = names.map(|name| name.as_str().to_owned()).collect();
        let redactor = Redactor::new([], &[], &names);
        let request = redactor.request(request);
        let response = |(status, headers, body): (StatusCode, HeaderMap, Bytes)| RecordedResponse {
            status,
            headers: redactor.headers(&headers),
            body: body.into(),
            timing_ms: vec![0],
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

    /// Its document.
    ///
    /// # Errors
    /// As the writer has it.
    pub fn write(&self) -> Result<Bytes> {
        yaml::write(&self.0)
    }

    /// The bodies that its document holds: that of the request, or those of its parts, then those of the responses.
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

    /// Whether its request is a form.
    pub fn is_multipart(&self) -> bool {
        matches!(self.0.request.body, RecordedBody::Multipart(_))
    }

    /// The headers of each response, as they are kept.
    pub fn headers(&self) -> Vec<&[(String, String)]> {
        let responses = self.0.responses.iter();
        responses.map(|response| response.headers.as_slice()).collect()
    }

    /// Its interactions in a format of `export`; `engine` holds what is kept beside it.
    ///
    /// # Errors
    /// As `export` has it.
    pub async fn exported(&self, engine: &dyn CacheEngine, scope: &Scope, to: &str) -> Result<String> {
        let exchanges = exchange::exported(engine, self.0.clone(), scope, "fuzz.yaml").await?;
        Ok(to.parse::<exchange::TargetFormat>()?.write(&exchanges))
    }

    /// The grade of the change from the responses of one to those of another, and the differences as they are shown.
    pub fn change(&self, new: &Self) -> (&'static str, Vec<String>) {
        let change = grade::compare(&self.0.responses, &new.0.responses);
        let lines = change.differences.iter().flat_map(difference::Difference::lines);
        (change.grade.name(), lines.collect())
    }

    /// What surely is a secret in its exchanges, as a refusal tells it.
    pub fn secrets(&self) -> Vec<String> {
        let responses = self.0.responses.iter();
        responses
            .flat_map(|response| secret_scan::in_exchange(&self.0.request, response))
            .collect()
    }
}

/// The key of a request, and the canonical text that it is the hash of.
pub fn key(request: &Request, settings: &Settings) -> (RequestKey, String) {
    let request = Redactor::new([], &settings.redaction, &settings.headers.keep).request(request);
    let key = RequestKey::of(&request, &Scope::root(), &settings.matching);
    (
        key,
        key::canonical_text(key::canonical_value(&request, &settings.matching)),
    )
}

/// The pieces of an event stream that arrives in these chunks.
pub fn pieces<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<Bytes> {
    let mut splitter = message::Splitter::default();
    let mut pieces: Vec<Bytes> = chunks.into_iter().flat_map(|chunk| splitter.push(chunk)).collect();
    pieces.extend(splitter.rest());
    pieces
}

/// The events of a whole stream: type and data.
pub fn events(stream: &[u8]) -> Vec<(Option<String>, String)> {
    let events = message::events(stream).into_iter();
    events.map(|event| (event.name, event.data)).collect()
}

/// One part of a form: name, file name, content type and bytes.
pub type Part = (String, Option<String>, Option<String>, Bytes);

/// The boundary that a content type names.
pub fn boundary_of(content_type: &str) -> Option<String> {
    message::boundary_of(content_type)
}

/// The parts of a form.
pub fn parts(body: &Bytes, boundary: &str) -> Option<Vec<Part>> {
    let parts = message::parts(body, boundary)?.into_iter();
    Some(
        parts
            .map(|part| (part.name, part.filename, part.content_type, part.content))
            .collect(),
    )
}

fn own(parts: &[Part]) -> Vec<message::Part> {
    let own = |(name, filename, content_type, content): &Part| message::Part {
        name: name.clone(),
        filename: filename.clone(),
        content_type: content_type.clone(),
        content: content.clone(),
    };
    parts.iter().map(own).collect()
}

/// The content type and the body of a form that is sent.
pub fn sent_form(parts: &[Part]) -> (String, Bytes) {
    message::written(&own(parts))
}

/// The body of a form that is exported.
pub fn exported_form(parts: &[Part], boundary: &str) -> Option<Bytes> {
    message::write_parts(&own(parts), boundary)
}

/// Imports a document, and returns what could not be imported.
///
/// # Errors
/// As `import` has it.
pub async fn import(engine: &dyn CacheEngine, document: &[u8], format: Option<&str>) -> Result<Vec<String>> {
    let found = exchange::read(document, "fuzz", format.map(str::parse).transpose()?)?;
    let settings = Settings::default();
    let import = Import {
        engine,
        settings: &settings,
        redactor: Redactor::new([], &[], &[]),
        scope: None,
        force: false,
    };
    Ok(import.all(vec![("fuzz".to_owned(), found)]).await?.problems)
}

/// The differences of two values, as they are shown, and how alike they are.
pub fn differences(old: &Value, new: &Value) -> (Vec<String>, f32) {
    let found = difference::differences(old, new);
    let lines = found.iter().flat_map(difference::Difference::lines).collect();
    (lines, difference::similarity(old, new))
}

/// What looks like a secret in a body: what it is, and where.
pub fn secrets(body: &[u8]) -> Vec<(&'static str, Option<std::ops::Range<usize>>)> {
    let found = secret_scan::secrets_in_body(body).into_iter();
    found.map(|secret| (secret.kind, secret.at)).collect()
}

/// Serves one connection as the proxy does, to its end.
///
/// # Errors
/// As the HTTP server has it.
pub async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    recorder: Recorder,
    upstream: Upstream,
) -> Result<(), hyper::Error> {
    crate::proxy::serve_one(stream, recorder, upstream).await
}

/// How long a recording of this endpoint lives, and how long a store should keep it, after some checks.
pub fn lives(settings: &Settings, endpoint: &str) -> Option<(Duration, Duration)> {
    let (since, mut history) = (Duration::from_secs(60), History::default());
    for has_changed in [false, true] {
        history = history.checked(since, 3, has_changed);
    }
    settings.expiry.freshness(endpoint, Some(&history), since);
    let life = settings.expiry.ttl(endpoint, Some(&history))?;
    Some((life, settings.expiry.retention(life)))
}
