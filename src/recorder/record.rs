//! Sends a request to the upstream, and streams the response to the caller while it is recorded.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures_util::future::poll_immediate;
use futures_util::{FutureExt as _, StreamExt};
use http::{HeaderMap, StatusCode};

use super::Recorder;
use super::coalesce::{Leader, SharedResponse};
use super::exchange::Exchange;
use super::session::Session;
use super::shared_body::{Capacity, SharedBody};
use crate::error::{Error, ErrorKind, Result};
use crate::http::{Body, Request, Response, StreamFormat, StreamSplitter, Transport, content_type, is_done};
use crate::redaction::secret_scan::mask;

impl Recorder {
    /// Sends the request, streams the response to the caller, and saves it when it is complete.
    pub(super) async fn record(
        &self,
        exchange: Exchange,
        call: Leader,
        request: Request,
        upstream: impl Transport,
    ) -> Result<Response> {
        let response = match self.send(&exchange, request, upstream).await {
            Ok(response) => response.without_connection_headers(&exchange.prepared.request.method),
            Err(error) => {
                call.publish(Err(error.clone()));
                return Err(error);
            }
        };
        if response.status() == StatusCode::UNAUTHORIZED {
            self.refuse_key(&exchange);
        }
        if !self.shared.store.is_cache() && !exchange.prepared.request.is_safe() {
            self.session().count_write(exchange.key().scope());
        }
        let origin = response.recorded_origin().map(str::to_owned);
        let (status, headers, body) = response.into_parts();
        let shared = SharedResponse {
            status,
            headers,
            body: Arc::default(),
        };
        call.publish(Ok(shared.clone()));
        let response = shared.response();
        let is_stream = StreamFormat::of(content_type(response.header_map())).is_some();
        let recorder = self.clone();
        let recording = async move { recorder.copy_and_save(exchange, call, shared, origin, body).await };
        // `FinishOnDrop` reports a panic, here as in a task.
        let recording = AssertUnwindSafe(self.shared.recordings.track_future(recording)).catch_unwind();
        let mut recording = Box::pin(recording);
        // A body that is complete already is saved here, which is faster than in a new task. A stream is returned to
        // the caller first.
        if is_stream || poll_immediate(&mut recording).await.is_none() {
            tokio::spawn(recording);
        }
        Ok(response)
    }

    /// Sends the request, after a check that its response can be saved.
    async fn send(&self, exchange: &Exchange, request: Request, upstream: impl Transport) -> Result<Response> {
        let store = &self.shared.store;
        // A cache that cannot be written does not stop a response in mode `replay`.
        if exchange.records_each_request() || !store.is_cache() {
            store.engine().extensions().check_writable().await?;
        }
        if exchange.records_each_request() {
            // A damaged cassette is reported, not overwritten. Modes that look up have read it already.
            store.check(exchange.key()).await?;
        }
        upstream.send(request).await
    }

    /// Copies the body from the upstream to its readers, and saves it when it is complete.
    async fn copy_and_save(
        &self,
        exchange: Exchange,
        mut call: Leader,
        response: SharedResponse,
        origin: Option<String>,
        body: Body,
    ) {
        let records_each_request = exchange.records_each_request();
        let (prepared, started) = (exchange.prepared.clone(), exchange.started);
        let mut guard = FinishOnDrop {
            session: self.session(),
            body: &response.body,
            is_finished: false,
        };
        let result = match self.copy_body(&exchange, &mut call, &response, body).await {
            Ok(Some(timing)) => self.save_if_lasting(exchange, &call, &response, origin, timing).await,
            Ok(None) => {
                self.skip_too_large(&exchange.prepared, exchange.started, response.status);
                Ok(())
            }
            Err(error) => Err(error),
        };
        let result = match result {
            // The caller still gets a response that a cache cannot store.
            Err(error) if self.is_tolerated(&error, records_each_request) => {
                self.skip_unavailable(&prepared, started, response.status, &error);
                Ok(())
            }
            result => result,
        };
        let result = result.map_err(|error| match error.kind() {
            ErrorKind::Upstream => {
                let line = prepared.request.line();
                error.with_prefix(&format!("{}{}", mask(&line), self.origin()))
            }
            _ => error,
        });
        if let Err(error) = &result {
            self.session().failed(error);
            self.report_error(&prepared.request.line(), started, Some(&prepared), error);
        }
        call.close();
        guard.is_finished = true;
        response.body.finish(result);
    }

    /// Copies the body to its readers. Returns when each event or the body was complete, in milliseconds since the request,
    /// or `None` if the body is too large to be recorded.
    async fn copy_body(
        &self,
        exchange: &Exchange,
        call: &mut Leader,
        response: &SharedResponse,
        body: Body,
    ) -> Result<Option<Vec<u64>>> {
        let limit = exchange.settings.settings.limits.max_response_bytes();
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let mut chunks = body.into_stream();
        let mut timing = Timing::new(&response.headers, exchange.started);
        let mut capacity = Capacity::Sufficient;
        while let Some(chunk) = chunks.next().await.transpose()? {
            // A client that has read the last event may send the same request before the file is written.
            if timing.add(&chunk) && exchange.records_each_request() {
                call.close();
            }
            capacity = response.body.push(chunk, limit).await;
            match capacity {
                Capacity::Sufficient => {}
                Capacity::Exceeded => {
                    // A new reader would miss the beginning.
                    call.close();
                    timing.stop();
                }
                // The body may be endless.
                Capacity::ExceededWithoutReaders => break,
            }
        }
        Ok((capacity == Capacity::Sufficient).then(|| timing.finish()))
    }
}

/// Ends a body whose recording is dropped with its runtime, or panics: readers must not wait forever, and the verdict must
/// report it.
struct FinishOnDrop<'a> {
    session: &'a Session,
    body: &'a SharedBody,
    is_finished: bool,
}

impl Drop for FinishOnDrop<'_> {
    fn drop(&mut self) {
        if !self.is_finished {
            let error = Error::new(
                ErrorKind::Upstream,
                "the recording was stopped before the response was complete",
            );
            self.session.failed(&error);
            self.body.finish(Err(error));
        }
    }
}

/// When each event of a stream, or a plain body, was complete.
struct Timing {
    started: Instant,
    events: Option<StreamSplitter>,
    milliseconds: Vec<u64>,
}

impl Timing {
    fn new(headers: &HeaderMap, started: Instant) -> Self {
        Self {
            started,
            events: StreamFormat::of(content_type(headers)).map(StreamFormat::splitter),
            milliseconds: Vec::new(),
        }
    }

    /// Adds a chunk. Returns whether it contains the event that ends the stream (`data: [DONE]`).
    fn add(&mut self, chunk: &Bytes) -> bool {
        let Some(splitter) = &mut self.events else { return false };
        let events = splitter.push(chunk);
        let now = milliseconds(self.started);
        self.milliseconds.extend(events.iter().map(|_| now));
        events.iter().any(|event| is_done(event))
    }

    /// Stores nothing more: a body that is not recorded may be endless.
    fn stop(&mut self) {
        self.events = None;
        self.milliseconds = Vec::new();
    }

    fn finish(mut self) -> Vec<u64> {
        if self.events.as_mut().is_none_or(|splitter| splitter.rest().is_some()) {
            self.milliseconds.push(milliseconds(self.started));
        }
        self.milliseconds
    }
}

fn milliseconds(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, header};

    use super::*;

    fn timing(content_type: &'static str, chunks: &[&'static str]) -> (Vec<bool>, usize) {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        let mut timing = Timing::new(&headers, Instant::now());
        let ends = chunks
            .iter()
            .map(|chunk| timing.add(&Bytes::from_static(chunk.as_bytes())))
            .collect();
        (ends, timing.finish().len())
    }

    #[test]
    fn timing_has_one_entry_per_event_and_one_for_a_plain_body() {
        let stream = ["data: 1\n", "\ndata: 2\n\n", "data: [DONE]\n\n"];
        assert_eq!(timing("text/event-stream", &stream), (vec![false, false, true], 3));
        assert_eq!(timing("text/event-stream", &["data: 1\n\ndata: 2"]), (vec![false], 2));
        assert_eq!(timing("application/json", &["{", "}"]), (vec![false, false], 1));
    }
}
