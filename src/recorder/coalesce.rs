//! Concurrent requests with one key share one call to the upstream.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::{HeaderMap, StatusCode};
use tokio::sync::watch;

use super::shared_body::SharedBody;
use crate::error::Result;
use crate::http::Response;
use crate::key::RequestKey;

/// The calls in progress that other requests can still join.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    calls: Mutex<HashMap<RequestKey, Call>>,
}

#[derive(Clone, Debug)]
struct Call {
    response: watch::Receiver<Option<Result<SharedResponse>>>,
    requests: Arc<AtomicUsize>,
}

/// A status, headers, and a body that is still arriving.
#[derive(Clone, Debug)]
pub(super) struct SharedResponse {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Arc<SharedBody>,
}

impl SharedResponse {
    /// The response for one of its readers, from the first byte.
    pub(super) fn response(&self) -> Response {
        Response::new(self.status, self.body.read()).headers(self.headers.clone())
    }
}

/// What a request does about a call.
pub(super) enum Role {
    /// It makes the call.
    Leader(Leader),
    /// It waits for the call of another request.
    Follower(Follower),
}

impl InFlight {
    fn calls(&self) -> MutexGuard<'_, HashMap<RequestKey, Call>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Joins the call for this key, or starts one.
    pub(super) fn join(self: &Arc<Self>, key: &RequestKey) -> Role {
        let mut calls = self.calls();
        if let Some(call) = calls.get(key) {
            call.requests.fetch_add(1, Ordering::Relaxed);
            return Role::Follower(Follower {
                response: call.response.clone(),
            });
        }
        let (sender, response) = watch::channel(None);
        let requests = Arc::new(AtomicUsize::new(1));
        let call = Call {
            response,
            requests: requests.clone(),
        };
        calls.insert(key.clone(), call);
        Role::Leader(Leader {
            in_flight: self.clone(),
            key: key.clone(),
            sender,
            requests,
            is_open: true,
        })
    }
}

/// The request that makes the call. When it is dropped, no other request can join any more.
pub(super) struct Leader {
    in_flight: Arc<InFlight>,
    key: RequestKey,
    sender: watch::Sender<Option<Result<SharedResponse>>>,
    requests: Arc<AtomicUsize>,
    is_open: bool,
}

impl Leader {
    /// Gives the response, or the error, to all followers.
    pub(super) fn publish(&self, response: Result<SharedResponse>) {
        self.sender.send_replace(Some(response));
    }

    /// Ends joining: the next request with this key is a new call.
    pub(super) fn close(&mut self) {
        if self.is_open {
            self.in_flight.calls().remove(&self.key);
            self.is_open = false;
        }
    }

    /// How many requests this call answers.
    pub(super) fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        self.close();
    }
}

/// A request that waits for the call of another one.
pub(super) struct Follower {
    response: watch::Receiver<Option<Result<SharedResponse>>>,
}

impl Follower {
    /// The response of the call; `None` if the leader gave up before there was one.
    pub(super) async fn response(mut self) -> Option<Result<Response>> {
        let shared = self.response.wait_for(Option::is_some).await.ok()?.clone()?;
        Some(shared.map(|shared| shared.response()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> RequestKey {
        RequestKey::from_name("models/models-0123456789abcdef").unwrap()
    }

    fn lead(in_flight: &Arc<InFlight>) -> Leader {
        match in_flight.join(&key()) {
            Role::Leader(leader) => leader,
            Role::Follower(_) => panic!("a call is in progress"),
        }
    }

    fn follow(in_flight: &Arc<InFlight>) -> Follower {
        match in_flight.join(&key()) {
            Role::Follower(follower) => follower,
            Role::Leader(_) => panic!("no call is in progress"),
        }
    }

    #[tokio::test]
    async fn followers_get_the_response_of_the_leader() {
        let in_flight = Arc::new(InFlight::default());
        let leader = lead(&in_flight);
        let follower = follow(&in_flight);
        assert_eq!(leader.requests(), 2);
        let response = SharedResponse {
            status: StatusCode::ACCEPTED,
            headers: HeaderMap::new(),
            body: Arc::default(),
        };
        response.body.finish(Ok(()));
        leader.publish(Ok(response));
        let response = follower.response().await.unwrap().unwrap();
        assert_eq!(response.status(), StatusCode::ACCEPTED);
    }

    #[tokio::test]
    async fn a_leader_that_gives_up_releases_its_followers_and_the_key() {
        let in_flight = Arc::new(InFlight::default());
        let leader = lead(&in_flight);
        let follower = follow(&in_flight);
        drop(leader);
        assert!(follower.response().await.is_none());
        let mut leader = lead(&in_flight);
        leader.close();
        lead(&in_flight);
    }
}
