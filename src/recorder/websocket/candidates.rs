//! The recorded sessions that a client may repeat. Each message of the client rules out those that do not contain it.

use http::HeaderValue;
use http::header::SEC_WEBSOCKET_PROTOCOL;

use super::candidate::{Candidate, Mismatch, Output, Sent};
use super::position::Position;
use super::turn::Turn;
use crate::error::{Error, ErrorKind, Result};
use crate::http::{Closing, header_value};
use crate::key::CanonicalRequest;
use crate::mode::OnMiss;
use crate::recorder::Recorder;
use crate::recorder::exchange::Exchange;
use crate::recorder::store::Store;
use crate::settings::Exhausted;
use crate::settings::expiry::Freshness;

/// The sessions that contain everything that the client has sent: by name at first, later with the likely one in front.
pub(super) struct Candidates {
    sessions: Vec<Candidate>,
    /// Those that were replayed as often as they are recorded, with `exhausted: fail`.
    exhausted: Vec<Candidate>,
    /// The turn of the first session, if it is the only one or was guessed.
    turn: Option<Turn>,
    recorder: Recorder,
    when_exhausted: Exhausted,
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
    /// The only sessions that contain it were already replayed as often as they are recorded.
    Exhausted,
    /// No session contains it: the name of the nearest one, and the difference.
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
        let (mut sessions, mut exhausted) = (Vec::new(), Vec::new());
        for key in keys {
            let document = match store.read(&key).await {
                Ok(Some(document)) => document,
                Ok(None) => continue,
                // A damaged entry of a cache counts as missing. A damaged file is for a person to look at.
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
            if exchange.plan.on_miss == OnMiss::Fail {
                store.check_once(&key, settings, &document).await?;
            }
            let turn = recorder.session().next_turn(&key);
            match settings.exhausted.index(turn, document.responses.len()) {
                Some(index) => sessions.push(Candidate::new(key, document, index, &settings.matching)),
                None => exhausted.push(Candidate::new(key, document, 0, &settings.matching)),
            }
        }
        let mut candidates = Self {
            sessions,
            exhausted,
            turn: None,
            recorder: recorder.clone(),
            when_exhausted: settings.exhausted,
            position: Position::default(),
            is_guessed: false,
        };
        candidates.take_certain_turn();
        Ok(candidates)
    }

    /// Takes the turn of the session that is left, if it is only one. Other sessions at the same time get the next turns.
    fn take_certain_turn(&mut self) {
        if self.sessions.len() == 1 {
            self.take_turn();
        }
    }

    /// Takes a turn for the first session, if it has none. Returns whether it had one.
    fn take_turn(&mut self) -> bool {
        let first = &mut self.sessions[0];
        if self.turn.as_ref().is_some_and(|turn| turn.is_of(&first.key)) {
            return true;
        }
        let turn = Turn::take(&self.recorder, &first.key);
        match self.when_exhausted.index(turn.number, first.document.responses.len()) {
            Some(index) => {
                first.set_index(index);
                self.turn = Some(turn);
            }
            // Others have taken the last one meanwhile.
            None => self.exhausted.push(self.sessions.remove(0)),
        }
        false
    }

    /// Puts the session that has the next message first, although others disagree, and takes its turn. Returns whether it had a
    /// turn already: if not, the next message may be another one now.
    pub(super) fn guess(&mut self) -> bool {
        let due = |session: &Candidate| session.due(self.position).is_some();
        let Some(at) = self.sessions.iter().position(due) else {
            return false;
        };
        self.sessions[..=at].rotate_right(1);
        self.is_guessed = true;
        let had_turn = self.take_turn();
        // The guessed session may have had no turn left.
        self.take_certain_turn();
        had_turn
    }

    /// Uses the turn of the session that the client has repeated. Returns whether there was one.
    pub(super) fn use_turn(&mut self) -> bool {
        let Some(at) = self.ended_at() else { return false };
        self.sessions[..=at].rotate_right(1);
        self.take_turn();
        let turn = self
            .turn
            .as_mut()
            .filter(|turn| self.sessions.first().is_some_and(|first| turn.is_of(&first.key)));
        turn.map(Turn::set_used).is_some()
    }

    /// The error of a session that was replayed as often as it is recorded; `None` if there is none.
    pub(super) fn exhausted(&self) -> Option<Error> {
        let session = self.exhausted.last()?;
        let turn = self.recorder.session().next_turn(&session.key);
        Some(self.recorder.exhausted(&session.key, &session.document, turn))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// The subprotocol of a recording that the client offers.
    pub(super) fn protocol(&self, offered: &[HeaderValue]) -> Option<HeaderValue> {
        let mut recorded = self.sessions.iter().filter_map(|session| {
            let response = &session.document.responses[session.index];
            header_value(response.header(SEC_WEBSOCKET_PROTOCOL.as_str())?)
        });
        recorded.find(|protocol| offered.contains(protocol))
    }

    /// The session that the client has repeated when it ends one here: of those that are left, the one that it has completed.
    pub(super) fn ended(&self) -> Option<&Candidate> {
        self.sessions.get(self.ended_at()?)
    }

    fn ended_at(&self) -> Option<usize> {
        let mut sessions = self.sessions.iter();
        let complete = sessions.position(|session| session.is_complete(self.position));
        complete.or_else(|| (!self.sessions.is_empty()).then_some(0))
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
                other.follow(output);
            }
            first.deliver();
        }
        self.is_guessed |= certainty != Certainty::Certain;
    }

    /// Removes the sessions that do not contain a message of the client. If none contains it, they stay.
    ///
    /// # Errors
    /// The audio of a session cannot be read.
    pub(super) async fn advance(&mut self, sent: &Sent, store: &Store) -> Result<Step> {
        let accepted = accepting(&mut self.sessions, sent, self.position, store).await?;
        let has_exhausted = accepting(&mut self.exhausted, sent, self.position, store).await?;
        if !accepted.contains(&true) {
            if has_exhausted.contains(&true) {
                retain(&mut self.exhausted, has_exhausted);
                return Ok(Step::Exhausted);
            }
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
        if !accepted[0] {
            // The messages of a wrong guess do not count for the sessions that are left.
            self.is_guessed = false;
            self.turn = None;
        }
        retain(&mut self.sessions, accepted);
        retain(&mut self.exhausted, has_exhausted);
        self.position = match sent {
            Sent::Audio(audio) => self.position.after_audio(audio.len()),
            Sent::Message(_) => self.position.after_message(),
        };
        self.take_certain_turn();
        Ok(match self.sessions.is_empty() {
            true => Step::Exhausted,
            false => Step::Continues,
        })
    }
}

/// Which of the sessions contain a message of the client.
async fn accepting(sessions: &mut [Candidate], sent: &Sent, position: Position, store: &Store) -> Result<Vec<bool>> {
    let mut accepted = Vec::with_capacity(sessions.len());
    for session in sessions {
        accepted.push(session.accepts(sent, position, store).await?);
    }
    Ok(accepted)
}

fn retain(sessions: &mut Vec<Candidate>, accepted: Vec<bool>) {
    let mut accepted = accepted.into_iter();
    sessions.retain(|_| accepted.next().unwrap_or_default());
}
