//! How many bytes an import can still store, by the limits of the settings.

use crate::cassette::Cassette;
use crate::engine::CacheEngine;
use crate::error::Result;
use crate::settings::limits::Limits;

/// The remaining capacity of the store.
pub(super) struct Capacity<'a> {
    limits: &'a Limits,
    /// In bytes; `None` without a limit, or when the engine cannot report its size.
    left: Option<u64>,
}

impl<'a> Capacity<'a> {
    /// Returns the capacity that the limits leave in this engine.
    ///
    /// # Errors
    /// When the engine cannot be read.
    pub(super) async fn of(engine: &dyn CacheEngine, limits: &'a Limits) -> Result<Self> {
        let left = match limits.total_bytes {
            Some(most) => engine
                .extensions()
                .size()
                .await?
                .map(|size| most.saturating_sub(size.bytes)),
            None => None,
        };
        Ok(Self { limits, left })
    }

    /// Reserves the bytes of a cassette.
    ///
    /// # Errors
    /// The limit that the cassette exceeds.
    pub(super) fn reserve(&mut self, cassette: &mut Cassette) -> Result<(), String> {
        let bytes: u64 = cassette.bodies_mut().iter().map(|blob| blob.len() as u64).sum();
        let responses = cassette.responses.iter().map(|response| response.body.len() as u64);
        // The default limit applies to each response body, a configured one to the complete cassette.
        let limited = match self.limits.entry_bytes {
            Some(_) => bytes,
            None => responses.max().unwrap_or_default(),
        };
        let most = self.limits.max_response_bytes();
        if limited > most {
            return Err(format!("too large: {limited} bytes, and limits.entry_bytes is {most}"));
        }
        if let Some(left) = &mut self.left {
            let rest = left.checked_sub(bytes);
            *left = rest.ok_or_else(|| format!("too large: {bytes} bytes, and limits.total_bytes leaves {left}"))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;
    use crate::cassette::{Blob, Recorded, RecordedRequest, RecordedResponse};

    fn cassette(request_bytes: usize, response_bytes: usize) -> Cassette {
        Cassette {
            key: String::new(),
            recorded: Recorded::now(None, None),
            history: None,
            request: RecordedRequest::new("POST", "/v1/x", vec![b'x'; request_bytes]),
            responses: vec![RecordedResponse {
                status: StatusCode::OK,
                headers: Vec::new(),
                body: Blob::Inline(vec![b'x'; response_bytes].into()),
                timing_ms: vec![1],
                messages: Vec::new(),
            }],
        }
    }

    /// The same rule applies to a recording.
    #[test]
    fn the_default_limit_applies_to_responses_only() {
        let large = usize::try_from(Limits::default().max_response_bytes()).unwrap();
        for (entry_bytes, request_bytes, response_bytes, is_reserved) in [
            (None, large + 1, large, true),
            (None, 0, large + 1, false),
            (Some(10), 5, 5, true),
            (Some(10), 6, 5, false),
        ] {
            let limits = Limits {
                entry_bytes,
                ..Limits::default()
            };
            let mut capacity = Capacity {
                limits: &limits,
                left: None,
            };
            let reserved = capacity.reserve(&mut cassette(request_bytes, response_bytes));
            assert_eq!(reserved.is_ok(), is_reserved, "{entry_bytes:?}: {reserved:?}");
        }
    }

    #[test]
    fn each_cassette_reduces_the_remaining_capacity() {
        let limits = Limits::default();
        let mut capacity = Capacity {
            limits: &limits,
            left: Some(10),
        };
        assert!(capacity.reserve(&mut cassette(2, 4)).is_ok());
        assert!(capacity.reserve(&mut cassette(2, 3)).is_err());
        assert!(capacity.reserve(&mut cassette(2, 2)).is_ok());
    }
}
