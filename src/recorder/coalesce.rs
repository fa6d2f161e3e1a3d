//! Single flight: concurrent asks of one key share one call to the upstream.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::{HeaderMap, StatusCode};
use tokio::sync::watch;

use super::shared_body::SharedBody;
use crate::error::{Error, Result};
use crate::http::Response;
use crate::key::RequestKey;

/// The calls that are under way and can still be joined.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    under_way: Mutex<HashMap<RequestKey, InFlightCall>>,
}

#[derive(Clone, Debug)]
struct InFlightCall {
    answer: watch::Receiver<Option<Result<Answer>>>,
    asks: Arc<AtomicUsize>,
}

/// Status, headers and a body that is arriving.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) tape: Arc<SharedBody>,
}

impl Answer {
    pub(super) fn response(&self) -> Response {
        Response::new(self.status, self.tape.read()).headers(self.headers.clone())
    }
}

pub(super) enum Boarding {
    /// The caller makes the call.
    Lead(Lead),
    /// Somebody else is making it.
    Join(Join),
}

impl InFlight {
    fn under_way(&self) -> MutexGuard<'_, HashMap<RequestKey, InFlightCall>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Joins the call for this key, or leads a new one.
    pub(super) fn board(self: &Arc<Self>, key: &RequestKey) -> Boarding {
        let mut under_way = self.under_way();
        if let Some(flight) = under_way.get(key) {
            flight.asks.fetch_add(1, Ordering::Relaxed);
            return Boarding::Join(Join {
                answer: flight.answer.clone(),
            });
        }
        let (sender, answer) = watch::channel(None);
        let asks = Arc::new(AtomicUsize::new(1));
        under_way.insert(
            key.clone(),
            InFlightCall {
                answer,
                asks: asks.clone(),
            },
        );
        Boarding::Lead(Lead {
            flights: self.clone(),
            key: key.clone(),
            sender,
            asks,
            is_open: true,
        })
    }
}

/// A call under way. Dropping it, answered or not, ends the boarding.
pub(super) struct Lead {
    flights: Arc<InFlight>,
    key: RequestKey,
    sender: watch::Sender<Option<Result<Answer>>>,
    asks: Arc<AtomicUsize>,
    is_open: bool,
}

impl Lead {
    /// Tells everyone who joined what the upstream answers.
    pub(super) fn answer(&self, answer: Result<Answer>) {
        self.sender.send_replace(Some(answer));
    }

    /// From now on an ask of this key is a new one.
    pub(super) fn close(&mut self) {
        if self.is_open {
            self.flights.under_way().remove(&self.key);
            self.is_open = false;
        }
    }

    /// How many asks this call answers.
    pub(super) fn asks(&self) -> usize {
        self.asks.load(Ordering::Relaxed)
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        self.close();
    }
}

pub(super) struct Join {
    answer: watch::Receiver<Option<Result<Answer>>>,
}

impl Join {
    /// The answer; `None` when the caller who led gave up before there was one.
    pub(super) async fn answer(mut self) -> Option<Result<Answer, Error>> {
        let answer = self.answer.wait_for(Option::is_some).await.ok()?;
        answer.clone()
    }
}
