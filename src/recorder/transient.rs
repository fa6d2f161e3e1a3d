//! Which responses tell of the moment, and are not recorded by default.

use http::StatusCode;

/// Whether an error is transient: it depends on the API key, a rate limit or an outage, not on the request.
pub(crate) fn is_transient(status: StatusCode) -> bool {
    matches!(status.as_u16(), 401 | 403 | 408 | 429 | 500..)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_key_rate_limit_and_server_are_transient() {
        for (status, expected) in [
            (200, false),
            (400, false),
            (401, true),
            (403, true),
            (404, false),
            (408, true),
            (422, false),
            (429, true),
            (500, true),
            (503, true),
            (599, true),
        ] {
            assert_eq!(
                is_transient(StatusCode::from_u16(status).unwrap()),
                expected,
                "{status}"
            );
        }
    }
}
