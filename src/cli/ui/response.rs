//! The responses of the page, with the headers that all of them have.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Frame;

use super::guard::Refused;
use super::log::RequestLog;
use crate::recorder::Recorder;

/// A response of the page.
pub(super) type PageResponse = Response<UnsyncBoxBody<Bytes, Infallible>>;

/// The policy of responses that are no page.
const NO_PAGE: &str = "default-src 'none'; frame-ancestors 'none'";

/// After this idle time a comment is sent. It keeps the connection open, and fails if the browser has gone.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Headers that keep other sites and the disk cache of the browser out.
const HEADERS: [(HeaderName, &str); 6] = [
    (header::CACHE_CONTROL, "no-store"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

fn response(
    status: StatusCode,
    kind: &'static str,
    policy: &str,
    body: UnsyncBoxBody<Bytes, Infallible>,
) -> PageResponse {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    if let Ok(policy) = HeaderValue::from_str(policy) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    response
}

fn complete(text: String) -> UnsyncBoxBody<Bytes, Infallible> {
    Full::from(text).boxed_unsync()
}

pub(super) fn page(html: String, policy: &str) -> PageResponse {
    let policy = format!("{policy}; frame-ancestors 'none'");
    response(StatusCode::OK, "text/html; charset=utf-8", &policy, complete(html))
}

pub(super) fn json(value: &serde_json::Value) -> PageResponse {
    response(StatusCode::OK, "application/json", NO_PAGE, complete(value.to_string()))
}

pub(super) fn refused((status, reason): Refused) -> PageResponse {
    let text = complete(format!("{reason}\n"));
    let mut response = response(status, "text/plain; charset=utf-8", NO_PAGE, text);
    if status == StatusCode::METHOD_NOT_ALLOWED {
        response
            .headers_mut()
            .insert(header::ALLOW, HeaderValue::from_static("GET"));
    }
    response
}

pub(super) fn failed(report: &str) -> PageResponse {
    let text = complete(format!("{report}\n"));
    response(
        StatusCode::INTERNAL_SERVER_ERROR,
        "text/plain; charset=utf-8",
        NO_PAGE,
        text,
    )
}

/// The events after this number of the log: `missing`, `request`, `summary`, and at last `ended`.
pub(super) fn events(log: Arc<RequestLog>, recorder: Recorder, after: u64) -> PageResponse {
    let follower = Follower {
        log,
        recorder,
        after,
        has_ended: false,
    };
    // At once, so that the page knows that it is connected.
    let first = stream::iter([follower.summary()]);
    let texts = first.chain(stream::unfold(follower, Follower::next));
    let body = StreamBody::new(texts.map(|text| Ok(Frame::data(Bytes::from(text)))));
    response(StatusCode::OK, "text/event-stream", NO_PAGE, body.boxed_unsync())
}

/// Reads the log for a browser: the next entries only when the browser has taken those before.
struct Follower {
    log: Arc<RequestLog>,
    recorder: Recorder,
    /// The number of the last entry that was read.
    after: u64,
    has_ended: bool,
}

impl Follower {
    async fn next(mut self) -> Option<(String, Self)> {
        if self.has_ended {
            return None;
        }
        let Ok(batch) = tokio::time::timeout(KEEP_ALIVE, self.log.after(self.after)).await else {
            return Some((": still here\n\n".to_owned(), self));
        };
        let mut text = String::new();
        if batch.missing > 0 {
            text.push_str(&event("missing", None, &batch.missing.to_string()));
        }
        for (number, json) in &batch.entries {
            text.push_str(&event("request", Some(*number), json));
            self.after = *number;
        }
        text.push_str(&self.summary());
        if let Some(summary) = &batch.ended {
            text.push_str(&event("ended", None, summary));
            self.has_ended = true;
        }
        Some((text, self))
    }

    fn summary(&self) -> String {
        event("summary", None, &self.recorder.session().summary().to_string())
    }
}

/// An event; `data` has no line breaks.
fn event(name: &str, id: Option<u64>, data: &str) -> String {
    let id = id.map(|id| format!("id: {id}\n")).unwrap_or_default();
    format!("{id}event: {name}\ndata: {data}\n\n")
}
