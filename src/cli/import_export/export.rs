//! From cassettes to interactions that other tools read.

use super::{Exchange, Timing, split_url, time};
use crate::cassette::{Blob, Cassette, RecordedBody, RecordedPart};
use crate::engine::{CacheEngine, inline_bodies};
use crate::error::{Error, ErrorKind, Result};
use crate::http::{Part, parse_json, write_multipart};
use crate::key::Scope;

/// The interactions of a cassette, one a response, with the bodies that are kept beside it; `place` names it in errors.
///
/// # Errors
/// [`ErrorKind::Cassette`] when a body is missing or damaged, or the parts of a form cannot be written as one body.
pub(crate) async fn exported(
    engine: &dyn CacheEngine,
    cassette: Cassette,
    scope: &Scope,
    place: &str,
) -> Result<Vec<Exchange>> {
    let cassette = inline_bodies(engine, cassette, place).await?;
    let bytes = |blob: Blob| match blob {
        Blob::Inline(bytes) => bytes,
        Blob::External { .. } => bytes::Bytes::new(),
    };
    let request = &cassette.request;
    let from = cassette.recorded.from.clone();
    let url = format!("{}{}", from.as_deref().unwrap_or_default(), request.target());
    let (body, kind) = match &request.body {
        RecordedBody::Blob(blob) => {
            let body = bytes(blob.clone());
            let is_json = parse_json(&body).is_some_and(|value| value.is_object() || value.is_array());
            (body, is_json.then(|| "application/json".to_owned()))
        }
        RecordedBody::Multipart(parts) => {
            let boundary = format!("mistral-cassette-{}", &cassette.key.get(..16).unwrap_or("form"));
            let parts: Option<Vec<Part>> = parts.iter().map(RecordedPart::to_part).collect();
            let body = parts
                .and_then(|parts| write_multipart(&parts, &boundary))
                .ok_or_else(|| {
                    Error::new(
                        ErrorKind::Cassette,
                        format!("{place}: the parts of its form cannot be written as one body"),
                    )
                })?;
            (body, Some(format!("multipart/form-data; boundary={boundary}")))
        }
    };
    let base = Exchange {
        method: request.method.clone(),
        // Where the URL alone tells who answered, it is enough.
        from: from.filter(|from| split_url(&url).is_none_or(|(origin, _)| origin.as_ref() != Some(from))),
        url,
        request_headers: kind.into_iter().map(|kind| ("content-type".to_owned(), kind)).collect(),
        request_body: body,
        at: Some(time(&cassette.recorded.at).unwrap_or_default()),
        scope: (!scope.is_root()).then(|| scope.to_string()),
        test: cassette.recorded.test.clone(),
        is_ours: true,
        ..Exchange::default()
    };
    let responses = cassette.responses.into_iter();
    Ok(responses
        .map(|response| Exchange {
            status: response.status.as_u16(),
            response_headers: response.headers,
            response_body: bytes(response.body),
            timing: Timing::Pieces(response.timing_ms),
            ..base.clone()
        })
        .collect())
}
