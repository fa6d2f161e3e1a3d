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
    /// Whether the client has got a message of the first session about which the others disagreed.
    is_guessed: bool,
}

/// What the client gets next.
pub(super) enum Next<'a> {
    Output {
        session: &'a Candidate,
        output: &'a Output,
        certainty: Certainty,
    },
    /// The end of the session.
    Close { closing: Closing, certainty: Certainty },
    /// Nothing before it sends more.
    Nothing,
}

/// How certain it is that the client gets something next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Certainty {
    /// The sessions that are left agree.
    Certain,
    /// They disagree.
    Guess,
    /// It contradicts the session that was guessed before, or it is an end after which the others send more.
    Unlikely,
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
            is_guessed: false,
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// The session that is replayed, as far as that is known.
    pub(super) fn first(&self) -> Option<&Candidate> {
        self.sessions.first()
    }

    /// The session that the client has repeated when it ends one here: of those that are left, the one that it has completed.
    pub(super) fn ended(&self) -> Option<&Candidate> {
        let is_complete = |session: &&Candidate| session.is_complete(self.position);
        let mut complete = self.sessions.iter().filter(is_complete);
        complete.next().or_else(|| self.sessions.first())
    }

    /// What the client gets next.
    pub(super) fn next(&self) -> Next<'_> {
        let position = self.position;
        let mut due = self.sessions.iter().enumerate();
        if let Some((at, session, output)) = due.find_map(|(at, it)| Some((at, it, it.due(position)?))) {
            let agrees = |other: &Candidate| other.due(position).is_some_and(|its| its.is_like(output));
            let certainty = match self.sessions.iter().all(agrees) {
                true => Certainty::Certain,
                false if self.is_guessed && at > 0 => Certainty::Unlikely,
                false => Certainty::Guess,
            };
            return Next::Output {
                session,
                output,
                certainty,
            };
        }
        let end = |session: &Candidate| {
            let is_at_end = session.is_delivered() && session.is_complete(position);
            session.close.clone().filter(|_| is_at_end)
        };
        match self.sessions.iter().find_map(end) {
            Some(closing) if self.sessions.len() == 1 => Next::Close {
                closing,
                certainty: Certainty::Certain,
            },
            Some(closing) => Next::Close {
                closing,
                certainty: Certainty::Unlikely,
            },
            None => Next::Nothing,
        }
    }

    /// Whether this is the place for a fault: the client has got half of the messages of the session that is replayed. While that
    /// is not known, half of each session that is left.
    pub(super) fn is_half_delivered(&self, next: &Next<'_>) -> bool {
        match next {
            Next::Output { certainty, .. } if *certainty == Certainty::Certain && !self.is_guessed => {
                self.sessions.iter().all(Candidate::is_half_delivered)
            }
            Next::Output { session, .. } => session.is_half_delivered(),
            Next::Close { .. } => true,
            Next::Nothing => self.is_silent(),
        }
    }

    /// Whether the client gets no message in any session that is left.
    pub(super) fn is_silent(&self) -> bool {
        self.sessions.iter().all(|session| session.outputs.is_empty())
    }

    /// Notes that the client has got the next message: the session that has it comes first from now on.
    pub(super) fn set_delivered(&mut self) {
        let position = self.position;
        let Next::Output { certainty, .. } = self.next() else {
            return;
        };
        let Some(at) = self.sessions.iter().position(|session| session.due(position).is_some()) else {
            return;
        };
        self.sessions[..=at].rotate_right(1);
        if let Some((first, others)) = self.sessions.split_first_mut()
            && let Some(output) = first.due(position)
        {
            for other in others {
                other.follow(output, position);
            }
            first.deliver();
        }
        self.is_guessed |= certainty != Certainty::Certain;
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
        // The messages of a wrong guess do not count for the sessions that are left.
        self.is_guessed &= accepted[0];
        let mut accepted = accepted.into_iter();
        self.sessions.retain(|_| accepted.next().unwrap_or_default());
        self.position = match sent {
            Sent::Audio(audio) => self.position.after_audio(audio.len()),
            Sent::Message(_) => self.position.after_message(),
        };
        Ok(Step::Continues)
    }
}
