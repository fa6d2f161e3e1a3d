//! The turn of a session: which of the recorded sessions with the same key it replays.

use crate::key::RequestKey;
use crate::recorder::Recorder;

/// A turn that a session has taken. It is given back when this is dropped, unless it was used.
pub(super) struct Turn {
    recorder: Recorder,
    key: RequestKey,
    pub(super) number: usize,
    is_used: bool,
}

impl Turn {
    pub(super) fn take(recorder: &Recorder, key: &RequestKey) -> Self {
        Self {
            recorder: recorder.clone(),
            key: key.clone(),
            number: recorder.session().take_turn(key),
            is_used: false,
        }
    }

    pub(super) fn is_of(&self, key: &RequestKey) -> bool {
        self.key == *key
    }

    /// The next session with this key gets another turn.
    pub(super) fn set_used(&mut self) {
        self.is_used = true;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if !self.is_used {
            self.recorder.session().give_turn_back(&self.key, self.number);
        }
    }
}
