//! The recorded sessions that a client may repeat. Each message of the client leaves only those that have it.

use super::candidate::{Candidate, Mismatch, Output, Sent};
use super::position::Position;
use crate::error::{ErrorKind, Result};
use crate::http::Closing;
use crate::key::CanonicalRequest;
use crate::recorder::Recorder;
use crate::recorder::exchange::Exchange;
use crate::recorder::store::Store;
use crate::settings::expiry::Freshness;

/// The sessions that have everything that the client has sent, in the order of their names.
pub(super) struct Candidates {
    sessions: Vec<Candidate>,
    pub(super) position: Position,
    /// How many messages the client has got.
    delivered: usize,
}

/// What the client gets next. Unless it `is_certain`, the sessions that are left disagree about it.
pub(super) enum Next<'a> {
    Output {
        session: &'a Candidate,
        output: &'a Output,
        is_certain: bool,
    },
    /// The end of the session.
    Close { closing: Closing, is_certain: bool },
    /// Nothing before it sends more.
    Nothing,
}

/// What a message of the client means.
pub(super) enum Step {
    Continues,
    /// No session has it: the name of the nearest one, and the difference.
    Differs {
        location: String,
        mismatch: Mismatch,
    },
}

impl Candidates {
    /// Reads the recorded sessions with this handshake.
    ///
    /// # Errors
    /// The recordings cannot be listed or read.
    pub(super) async fn load(recorder: &Recorder, exchange: &Exchange) -> Result<Self> {
        let store = &recorder.shared.store;
        let settings = &exchange.settings.settings;
        let handshake = &exchange.prepared.canonical;
        let mut keys = store.engine().keys().await?;
        keys.retain(|key| key.scope() == exchange.key().scope() && key.endpoint() == exchange.key().endpoint());
        keys.sort_by_key(|key| key.name());
        let mut sessions = Vec::new();
        for key in keys {
            let document = match store.read(&key).await {
                Ok(Some(document)) => document,
                Ok(None) => continue,
                // A damaged entry of a cache is one that is missing. A damaged file is for a person to look at.
                Err(error) if error.kind() == ErrorKind::Cassette && store.is_cache() => continue,
                Err(error) => return Err(error),
            };
            let canonical = CanonicalRequest::of(&document.request, &settings.matching);
            let is_same = CanonicalRequest {
                body: None,
                ..canonical
            } == *handshake;
            if document.responses[0].messages.is_empty() || !is_same {
                continue;
            }
            let freshness =
                settings
                    .expiry
                    .freshness(key.endpoint(), document.history.as_ref(), document.recorded.age());
            if freshness == Freshness::Expired && !recorder.shared.mode.is_offline() {
                continue;
            }
            // The name of a key from a list has only a part of the hash.
            let key = key.with_hash(&document.key);
            let taken = recorder.session().turns_taken(&key);
            if let Some(index) = settings.exhausted.index(taken, document.responses.len()) {
                sessions.push(Candidate::new(key, document, index, &settings.matching));
            }
        }
        Ok(Self {
            sessions,
            position: Position::default(),
            delivered: 0,
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// The session that is replayed, as far as that is known.
    pub(super) fn first(&self) -> Option<&Candidate> {
        self.sessions.first()
    }

    /// How many messages the client has got.
    pub(super) fn delivered(&self) -> usize {
        self.delivered
    }

    /// The message of a session that the client gets next.
    fn due<'a>(&self, session: &'a Candidate) -> Option<&'a Output> {
        session.due(self.delivered, self.position)
    }

    /// What the client gets next.
    pub(super) fn next(&self) -> Next<'_> {
        let next = self
            .sessions
            .iter()
            .find_map(|session| Some((session, self.due(session)?)));
        if let Some((session, output)) = next {
            let agrees = |other| self.due(other).is_some_and(|its| its.is_like(output));
            return Next::Output {
                session,
                output,
                is_certain: self.sessions.iter().all(agrees),
            };
        }
        let end = |session: &Candidate| {
            let is_at_end = session.outputs.len() <= self.delivered && session.is_complete(self.position);
            session.close.clone().filter(|_| is_at_end)
        };
        match self.sessions.iter().find_map(end) {
            Some(closing) => Next::Close {
                closing,
                is_certain: self.sessions.len() == 1,
            },
            None => Next::Nothing,
        }
    }

    /// Notes that the client has got the next message: the session that has it comes first from now on.
    pub(super) fn set_delivered(&mut self) {
        let at = self.sessions.iter().position(|session| self.due(session).is_some());
        if let Some(at) = at {
            self.sessions[..=at].rotate_right(1);
        }
        self.delivered += 1;
    }

    /// Leaves the sessions that have a message of the client. If there are none, nothing changes.
    ///
    /// # Errors
    /// The audio of a session cannot be read.
    pub(super) async fn advance(&mut self, sent: &Sent, store: &Store) -> Result<Step> {
        let mut accepted = Vec::with_capacity(self.sessions.len());
        for session in &mut self.sessions {
            accepted.push(session.accepts(sent, self.position, store).await?);
        }
        if !accepted.contains(&true) {
            let nearest = self.sessions.first();
            return Ok(Step::Differs {
                location: nearest
                    .map(|nearest| store.location_of(&nearest.key))
                    .unwrap_or_default(),
                mismatch: nearest
                    .map(|nearest| nearest.mismatch(sent, self.position))
                    .unwrap_or_default(),
            });
        }
        let mut accepted = accepted.into_iter();
        self.sessions.retain(|_| accepted.next().unwrap_or_default());
        self.position = match sent {
            Sent::Audio(audio) => self.position.after_audio(audio.len()),
            Sent::Message(_) => self.position.after_message(),
        };
        Ok(Step::Continues)
    }
}
