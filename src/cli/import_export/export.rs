//! Turns cassettes into interactions, for `export` to write in the format of another tool.

use super::interaction::{Interaction, Timing, split_url};
use super::session::Session;
use crate::cassette::{Blob, Cassette, RecordedBody, RecordedPart};
use crate::engine::{CacheEngine, inline_bodies};
use crate::error::{Error, ErrorKind, Result};
use crate::http::{Part, parse_json, write_multipart};
use crate::key::Scope;

/// Returns the interactions of a cassette, one for each response, with external bodies loaded; `location` names the
/// cassette in errors.
///
/// # Errors
/// [`ErrorKind::Cassette`] when an external body is missing or damaged, or the parts of a form cannot be written as one body.
pub(crate) async fn interactions_of(
    engine: &dyn CacheEngine,
    cassette: Cassette,
    scope: &Scope,
    location: &str,
) -> Result<Vec<Interaction>> {
    let cassette = inline_bodies(engine, cassette, location).await?;
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
            let kind = request.content_type.clone();
            (body, kind.or_else(|| is_json.then(|| "application/json".to_owned())))
        }
        RecordedBody::Multipart(parts) => {
            let boundary = format!("mistral-cassette-{}", &cassette.key.get(..16).unwrap_or("form"));
            let parts: Option<Vec<Part>> = parts.iter().map(RecordedPart::to_part).collect();
            let body = parts
                .and_then(|parts| write_multipart(&parts, &boundary))
                .ok_or_else(|| {
                    Error::new(
                        ErrorKind::Cassette,
                        format!("{location}: cannot write the parts of the form as one body"),
                    )
                })?;
            (body, Some(format!("multipart/form-data; boundary={boundary}")))
        }
        // They are in the session.
        RecordedBody::Messages(_) => (bytes::Bytes::new(), None),
    };
    let base = Interaction {
        method: request.method.clone(),
        // Redundant when it is the origin of the URL.
        from: from.filter(|from| split_url(&url).is_none_or(|(origin, _)| origin.as_ref() != Some(from))),
        url,
        request_headers: kind.into_iter().map(|kind| ("content-type".to_owned(), kind)).collect(),
        request_body: body,
        host: request.host.clone(),
        scope: (!scope.is_root()).then(|| scope.to_string()),
        test: cassette.recorded.test.clone(),
        is_own_export: true,
        ..Interaction::default()
    };
    let (recorded, number) = (cassette.recorded, cassette.responses.len());
    let responses = cassette.responses.into_iter().enumerate();
    Ok(responses
        .map(|(turn, response)| Interaction {
            recorded_at: Some(recorded.time_of(turn, number).unwrap_or_default()),
            status: response.status.as_u16(),
            session: Session::of(&response),
            response_headers: response.headers,
            response_body: bytes(response.body),
            timing: Timing::Pieces(response.timing_ms),
            ..base.clone()
        })
        .collect())
}
