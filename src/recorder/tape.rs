//! An answer that is arriving, readable from its start by everyone who waits for it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures_util::stream;
use tokio::sync::Notify;

use crate::error::Result;
use crate::message::Body;

/// The pieces that have arrived so far, and how it ended.
#[derive(Debug, Default)]
pub(super) struct Tape {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    pieces: Vec<Bytes>,
    end: Option<Result<()>>,
}

impl Tape {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn push(&self, piece: Bytes) {
        self.state().pieces.push(piece);
        self.changed.notify_waiters();
    }

    /// Ends the tape; readers get everything first, then the error if there is one. It ends once.
    pub(super) fn finish(&self, end: Result<()>) {
        self.state().end.get_or_insert(end);
        self.changed.notify_waiters();
    }

    /// Everything so far.
    pub(super) fn whole(&self) -> Bytes {
        match self.state().pieces.as_slice() {
            [piece] => piece.clone(),
            pieces => pieces.concat().into(),
        }
    }

    /// A body that begins with the first piece, whenever it is asked for.
    pub(super) fn read(self: &Arc<Self>) -> Body {
        Body::from_stream(stream::unfold(Some((self.clone(), 0)), |position| async move {
            let (tape, at) = position?;
            match tape.piece(at).await {
                Some(Ok(piece)) => Some((Ok(piece), Some((tape, at + 1)))),
                Some(Err(error)) => Some((Err(error), None)),
                None => None,
            }
        }))
    }

    async fn piece(&self, at: usize) -> Option<Result<Bytes>> {
        loop {
            // Made before the look, so that what happens between the look and the wait is not lost.
            let changed = self.changed.notified();
            {
                let state = self.state();
                if let Some(piece) = state.pieces.get(at) {
                    return Some(Ok(piece.clone()));
                }
                if let Some(end) = &state.end {
                    return end.clone().err().map(Err);
                }
            }
            changed.await;
        }
    }
}
