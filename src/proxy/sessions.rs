//! Which session a request of the proxy belongs to.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use tokio_util::task::TaskTracker;

use crate::error::{Error, ErrorKind, Result};
use crate::key::Scope;
use crate::recorder::Recorder;

/// The recorder of a request, and the tracker that counts the request as in progress.
#[derive(Clone, Debug)]
pub(super) struct Selected {
    pub(super) recorder: Recorder,
    pub(super) requests: TaskTracker,
}

/// The sessions of a proxy.
#[derive(Debug)]
pub(super) struct Sessions {
    /// The session of requests that belong to no other one.
    pub(super) own: Selected,
    /// The sessions that the owner of the proxy opens and closes while it runs. If `None`, all requests belong to `own`.
    pub(super) opened: Option<OpenSessions>,
}

impl Sessions {
    pub(super) fn new(own: Recorder, opened: Option<OpenSessions>) -> Self {
        let requests = TaskTracker::new();
        Self {
            own: Selected {
                recorder: own,
                requests,
            },
            opened,
        }
    }

    /// The recorder of a request with this scope, if it names one.
    ///
    /// # Errors
    /// [`ErrorKind::Request`] if no open session has the request, or the combined name of the scopes is too long.
    pub(super) fn select(&self, named: Option<&Scope>, default: &Scope) -> Result<Selected> {
        match &self.opened {
            None => Ok(Selected {
                recorder: self.own.recorder.within(named.unwrap_or(default))?,
                requests: self.own.requests.clone(),
            }),
            Some(opened) => opened.select(named),
        }
    }

    /// Ends the delays of all replays.
    pub(super) fn skip_delays(&self) {
        self.all().iter().for_each(|selected| selected.recorder.skip_delays());
    }

    /// Waits until no request and no recording is in progress.
    pub(super) async fn finish(&self) {
        for selected in self.all() {
            selected.finish().await;
        }
    }

    fn all(&self) -> Vec<Selected> {
        let opened = self.opened.iter().flat_map(OpenSessions::all);
        std::iter::once(self.own.clone()).chain(opened).collect()
    }
}

impl Selected {
    /// Waits until no request and no recording of the session is in progress.
    pub(super) async fn finish(&self) {
        self.requests.close();
        // A closed tracker still accepts new tasks and waits for them.
        self.requests.wait().await;
        let _ = self.recorder.finish().await;
    }
}

/// The sessions that the owner of a proxy has opened, by number. A clone shares them.
#[derive(Clone, Debug, Default)]
pub(crate) struct OpenSessions(Arc<RwLock<Table>>);

#[derive(Debug, Default)]
struct Table {
    sessions: BTreeMap<u64, OpenSession>,
    /// The session of requests that name no scope.
    current: Option<u64>,
    /// The number of the session that was opened last.
    #[cfg(feature = "cli")]
    last: u64,
}

#[derive(Debug)]
struct OpenSession {
    scope: Scope,
    selected: Selected,
}

#[cfg(feature = "cli")]
impl OpenSessions {
    /// Adds a session, whose recorder has this scope. Returns its number.
    pub(crate) fn open(&self, scope: Scope, recorder: Recorder) -> u64 {
        let mut table = self.0.write().unwrap_or_else(PoisonError::into_inner);
        table.last += 1;
        let number = table.last;
        let requests = TaskTracker::new();
        let selected = Selected { recorder, requests };
        table.sessions.insert(number, OpenSession { scope, selected });
        number
    }

    /// Sets the current session: requests that name no scope belong to it.
    pub(crate) fn set_current(&self, number: Option<u64>) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).current = number;
    }

    /// Waits until no request of a session is in progress.
    pub(crate) async fn finish(&self, number: u64) {
        let selected = {
            let table = self.0.read().unwrap_or_else(PoisonError::into_inner);
            table.sessions.get(&number).map(|session| session.selected.clone())
        };
        if let Some(selected) = selected {
            selected.finish().await;
        }
    }

    /// The number of requests of a session that are in progress.
    pub(crate) fn in_progress(&self, number: u64) -> usize {
        let table = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let session = table.sessions.get(&number);
        session.map_or(0, |session| {
            session.selected.requests.len() + session.selected.recorder.recordings_in_progress()
        })
    }

    /// Removes a session. Requests that name no scope belong to no session if it was the current one.
    pub(crate) fn close(&self, number: u64) {
        let mut table = self.0.write().unwrap_or_else(PoisonError::into_inner);
        table.sessions.remove(&number);
        if table.current == Some(number) {
            table.current = None;
        }
    }
}

impl OpenSessions {
    fn all(&self) -> Vec<Selected> {
        let table = self.0.read().unwrap_or_else(PoisonError::into_inner);
        table
            .sessions
            .values()
            .map(|session| session.selected.clone())
            .collect()
    }

    fn select(&self, named: Option<&Scope>) -> Result<Selected> {
        let table = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let Some(scope) = named else {
            let current = table.current.and_then(|number| table.sessions.get(&number));
            return match current {
                Some(session) => Ok(session.selected.clone()),
                None => Err(not_open("the request names no scope, and no session is current")),
            };
        };
        // Of several sessions with this scope, the one that was opened last; else the one of the nearest scope above.
        let nearest = table
            .sessions
            .values()
            .filter(|session| is_within(scope, &session.scope))
            .max_by_key(|session| session.scope.as_str().len());
        let Some(session) = nearest else {
            return Err(not_open(&format!("no session is open for the scope {scope}")));
        };
        Ok(Selected {
            recorder: session.selected.recorder.scoped(scope.clone()),
            requests: session.selected.requests.clone(),
        })
    }
}

/// Whether a scope is this one, or below it.
fn is_within(scope: &Scope, above: &Scope) -> bool {
    match scope.as_str().strip_prefix(above.as_str()) {
        Some(rest) => above.is_root() || rest.is_empty() || rest.starts_with('/'),
        None => false,
    }
}

fn not_open(message: &str) -> Error {
    Error::new(ErrorKind::Request, message)
        .with_hint("open a session over the control channel before the request is sent (docs/control.md)")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::MemoryEngine;
    use crate::mode::Mode;

    fn scope(name: &str) -> Scope {
        Scope::new(name).unwrap()
    }

    #[test]
    fn requests_belong_to_the_current_session_or_to_that_of_the_nearest_scope() {
        let opened = OpenSessions::default();
        let open = |name: &str| {
            let recorder = Recorder::builder(MemoryEngine::new()).mode(Mode::Strict);
            opened.open(scope(name), recorder.scope(scope(name)).test(name).build().unwrap())
        };
        let of = |named: Option<&str>| {
            let selected = opened.select(named.map(scope).as_ref())?;
            Ok::<_, Error>(format!("{:?}", selected.recorder))
        };
        assert!(of(None).is_err() && of(Some("a")).is_err());
        let (a, below) = (open("a"), open("a/b"));
        opened.set_current(Some(a));
        assert!(of(None).unwrap().contains("\"a\""));
        for (named, found) in [
            ("a", "\"a\""),
            ("a/b", "\"a/b\""),
            ("a/b/c", "\"a/b/c\""),
            ("a/x", "\"a/x\""),
        ] {
            assert!(of(Some(named)).unwrap().contains(found), "{named}");
        }
        assert!(of(Some("ab")).is_err());
        opened.close(below);
        assert!(of(Some("a/b")).unwrap().contains("\"a/b\""));
        opened.close(a);
        assert!(of(None).is_err() && of(Some("a/b")).is_err());
    }
}
