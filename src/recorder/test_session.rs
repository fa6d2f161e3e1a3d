//! Recordings in the session of a test, and its end.
//!
//! The session ends in a destructor, on the thread that also drives the runtime of the test. Nothing on that runtime makes
//! progress then, so a recording there could not be waited for: requests run on a runtime of the session.

use std::time::Duration;

use super::Recorder;
use super::coalesce::Leader;
use super::exchange::Exchange;
use crate::error::{Error, ErrorKind, Result};
use crate::http::{Request, Response, Transport};
use crate::redaction::secret_scan::mask;

impl Recorder {
    /// Records a response: in the session of a test on the runtime of the session, if the transport can run without its caller.
    pub(super) async fn record_in_session(
        &self,
        mut exchange: Exchange,
        call: Leader,
        request: Request,
        upstream: impl Transport,
    ) -> Result<Response> {
        let Some(runtime) = &self.shared.background else {
            return self.record(exchange, call, request, upstream).await;
        };
        let background = upstream.for_background().zip(runtime.handle());
        let line = mask(&exchange.prepared.request.line()).into_owned();
        exchange.in_progress = Some(self.session().in_progress().begin(line.clone(), background.is_some()));
        let Some((upstream, runtime)) = background else {
            let mut guard = FailIfCancelled {
                recorder: self,
                line,
                has_response: false,
            };
            let result = self.record(exchange, call, request, upstream).await;
            guard.has_response = true;
            return result;
        };
        let recorder = self.clone();
        let (sender, receiver) = tokio::sync::oneshot::channel();
        runtime.spawn(async move {
            let result = recorder.record(exchange, call, request, upstream).await;
            // Nobody else counts the error if the caller has left.
            if let Err(Err(error)) = sender.send(result) {
                recorder.session().failed(&error);
            }
        });
        let panicked = |_| Err(Error::new(ErrorKind::Internal, "the request has panicked"));
        receiver.await.unwrap_or_else(panicked)
    }

    /// Runs a task: in the session of a test on the runtime of the session, so that the task continues while the
    /// session ends.
    #[cfg(feature = "realtime")]
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let runtime = self.shared.background.as_ref().and_then(|runtime| runtime.handle());
        match runtime {
            Some(runtime) => drop(runtime.spawn(task)),
            None => drop(tokio::spawn(task)),
        }
    }

    /// Counts a request that is not recorded because of what the test does.
    fn failed_by_test(&self, line: &str, what: &str, hint: &str) {
        let error = Error::new(ErrorKind::Upstream, format!("{line}: {what}"));
        self.session().failed(&error.with_hint(hint));
    }

    /// Ends the session: blocks until the requests that run independently of the caller are recorded, counts the others as
    /// failed, and refuses later ones.
    pub(crate) fn end(&self, limit: Duration) {
        self.session().in_progress().block(limit);
        self.refuse_requests();
    }

    /// As [`end`](Self::end), without blocking the runtime: all requests can make progress.
    pub(crate) async fn end_async(&self, limit: Duration) {
        self.session().in_progress().wait(limit).await;
        self.refuse_requests();
    }

    fn refuse_requests(&self) {
        for line in self.session().in_progress().lines() {
            let what = "still in progress when the session of the test ended";
            let hint = "wait for the tasks that the test has started, or end the test with session.finish().await";
            self.failed_by_test(&line, what, hint);
        }
        self.session().end();
        self.write_further_uses();
    }
}

/// A request that runs where its caller does. If the caller drops it before there is a response, nothing is recorded, and a
/// strict run would miss it.
struct FailIfCancelled<'a> {
    recorder: &'a Recorder,
    line: String,
    has_response: bool,
}

impl Drop for FailIfCancelled<'_> {
    fn drop(&mut self) {
        let session = self.recorder.session();
        if !self.has_response && !session.has_ended() && !std::thread::panicking() {
            let what = "not recorded: the program has cancelled the request before its response";
            let hint = "let the request run to its end while it is recorded, for example with a longer timeout";
            self.recorder.failed_by_test(&self.line, what, hint);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use http::StatusCode;

    use super::*;
    use crate::engine::MemoryEngine;
    use crate::http::BackgroundTransport;
    use crate::mode::Mode;

    /// An API that refuses every request, for a client with this key.
    #[derive(Clone)]
    struct Refusing {
        key: Option<&'static str>,
        sent: Arc<AtomicUsize>,
    }

    impl Transport for Refusing {
        fn has_key(&self, _: &Request) -> bool {
            self.key.is_some()
        }

        fn needs_key(&self) -> bool {
            true
        }

        fn secret(&self) -> Option<&str> {
            self.key
        }

        fn for_background(&self) -> Option<BackgroundTransport> {
            let transport = self.clone();
            Some(Box::new(|request| Box::pin(transport.send(request))))
        }

        async fn send(self, _: Request) -> Result<Response> {
            self.sent.fetch_add(1, Ordering::Relaxed);
            Ok(Response::new(StatusCode::UNAUTHORIZED, "{}"))
        }
    }

    #[tokio::test]
    async fn a_cancelled_request_that_is_not_recorded_fails_the_verdict() {
        let recorder = Recorder::builder(MemoryEngine::new()).mode(Mode::Record).of_test();
        let recorder = recorder.allow_record_in_ci().build().unwrap();
        let never = async |_: Request| std::future::pending().await;
        let request = recorder.answer(Request::get("/v1/models").unwrap(), never);
        assert!(tokio::time::timeout(Duration::from_millis(1), request).await.is_err());
        insta::assert_snapshot!(recorder.session().verdict().unwrap_err().report(), @r"
        1 request has failed

        GET /v1/models: not recorded: the program has cancelled the request before its response

        hint: let the request run to its end while it is recorded, for example with a longer timeout
        ");
    }

    #[tokio::test]
    async fn a_key_is_checked_before_its_request_leaves_the_caller() {
        let recorder = Recorder::builder(MemoryEngine::new()).mode(Mode::Record).of_test();
        let recorder = recorder.allow_record_in_ci().build().unwrap();
        let sent = Arc::new(AtomicUsize::new(0));
        let ask = async |key| {
            let upstream = Refusing {
                key,
                sent: sent.clone(),
            };
            let answer = recorder.answer(Request::get("/v1/models").unwrap(), upstream).await;
            answer.map(|response| response.status().as_u16())
        };
        let missing = ask(None).await.unwrap_err();
        assert!(missing.message().contains("needs an API key"), "{missing}");
        assert_eq!(ask(Some("a-wrong-key-0123")).await.unwrap(), 401);
        let refused = ask(Some("a-wrong-key-0123")).await.unwrap_err();
        assert!(refused.message().contains("has refused the API key"), "{refused}");
        // Another key of the same session may be right.
        assert_eq!(ask(Some("another-key-4567")).await.unwrap(), 401);
        assert_eq!(sent.load(Ordering::Relaxed), 2);
    }
}
